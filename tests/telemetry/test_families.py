"""The families of the contract, and how they are shown."""

import re
from pathlib import Path
from typing import Any

import pytest

from exchange_platform import metrics
from exchange_platform.telemetry import buffers, text
from exchange_platform.telemetry.families import Counter, Family, Reading
from tests.telemetry.figures import figure, shown

CONTRACT = """orders_placed_total{symbol,type,side} orders_matched_total{symbol} orders_filled_total{symbol,side}
    orders_canceled_total{symbol,reason} orders_rejected_total{symbol,reason} trades_executed_total{symbol} order_book_depth{symbol,side}
    order_placement_duration_seconds{symbol} matching_duration_seconds trade_creation_duration_seconds
    order_submission_duration_seconds{symbol,exchange} circuit_breaker_state{name} rate_limit_reached_total{type}
    validation_failures_total{rule} exchange_api_requests_total{exchange,endpoint,status} exchange_api_errors_total{exchange,error_code}
    exchange_api_duration_seconds{exchange,endpoint} cache_hits_total cache_misses_total outbox_pending outbox_lag_seconds
    outbox_dead_letters matching_batch_size matching_inbox_pending{shard} matching_lease_epoch{shard} stop_orders_waiting{symbol}
    stop_slippage_ratio{symbol} reference_price_age_seconds{symbol} websocket_connections websocket_slow_clients_total
    ledger_breaks_open risk_checks_total{type,result} risk_violations_total{type} alerts_open{severity}""".split()
STRATEGY_CONTRACT = """strategy_signals_total{strategy,symbol,side} strategy_errors_total{strategy,type}
    signals_dropped_total{strategy,symbol,reason} strategy_latency_microseconds{strategy} market_data_received_total{symbol,type}
    market_data_latency_microseconds orders_submitted_total{strategy,symbol} orders_rejected_total{strategy,reason}
    order_latency_microseconds fills_received_total{strategy,symbol,side} position_updates_total{strategy,symbol}
    current_positions{strategy,symbol} risk_checks_total{type,result} risk_violations_total{type,strategy} active_strategies
    plugin_reloads_total{result} signal_queue_size processing_time_microseconds{component}""".split()
BEYOND = {"command_log_breaks_open", "http_responses_total", "postgresql_connections", "postgresql_connections_limit"}


def contract() -> dict[str, tuple[str, ...]]:
    named = CONTRACT + ["strategy_engine_" + name for name in STRATEGY_CONTRACT]
    return {name.split("{")[0]: tuple(re.findall(r"\w+", name.partition("{")[2])) for name in named}


def test_names_and_labels_are_those_of_the_contract() -> None:
    declared = {family.name: family.label_names for family in metrics.FAMILIES}
    assert len(declared) == len(metrics.FAMILIES), "a name is there twice"
    assert declared.keys() - contract().keys() == BEYOND
    assert {name: set(labels) for name, labels in declared.items() if name in contract()} == {n: set(v) for n, v in contract().items()}


def test_counters_end_in_total_and_nothing_else_does() -> None:
    for family in metrics.FAMILIES:
        assert family.name.endswith("_total") == isinstance(family, Counter), family.name


def test_a_family_without_samples_shows_help_and_type(home: Path) -> None:
    written = text.exposition(metrics.FAMILIES, {}).decode()
    for family in metrics.FAMILIES:
        assert f"# HELP {family.name} {family.told}\n# TYPE {family.name} {family.kind}\n" in written
    assert shown() == {}


def every_sample() -> None:
    for family in metrics.FAMILIES:
        labels = [f'odd "{name}"\\\n' for name in family.label_names]
        child: Any = None if isinstance(family, Reading) else family.labels(*labels)
        if family.kind == "counter":
            child.inc(2)
        elif family.kind == "histogram":
            child.observe(0.02)
        elif child is not None:
            child.set(3)


def test_every_family_can_be_filled_and_read_back(home: Path) -> None:
    every_sample()
    found = shown()
    for family in metrics.FAMILIES:
        labels = tuple(sorted((name, f'odd "{name}"\\\n') for name in family.label_names))
        name = family.name + ("_count" if family.kind == "histogram" else "")
        if not isinstance(family, Reading):
            assert found[name, labels] == {"counter": 2, "histogram": 1, "gauge": 3}[family.kind], family.name


def test_readings_are_shown_under_their_labels(home: Path) -> None:
    readings = {"matching_inbox_pending": [(("0",), 5.0), (("1",), 0.0)], "outbox_pending": [((), 2.0)]}
    written = text.exposition(metrics.FAMILIES, readings).decode()
    assert 'matching_inbox_pending{shard="0"} 5.0\nmatching_inbox_pending{shard="1"} 0.0\n' in written
    assert "\noutbox_pending 2.0\n" in written


def test_a_histogram_counts_upper_bounds_as_inside(home: Path) -> None:
    histogram = metrics.matching_batch_size
    for size in (1, 2, 3, 10_000, 10_001):
        histogram.observe(size)
    buckets = {le: figure("matching_batch_size_bucket", le=le) for le in ("1.0", "2.0", "5.0", "5000.0", "10000.0", "+Inf")}
    assert buckets == {"1.0": 1, "2.0": 2, "5.0": 3, "5000.0": 3, "10000.0": 4, "+Inf": 5}
    assert figure("matching_batch_size_sum") == 1 + 2 + 3 + 10_000 + 10_001


def test_many_observations_at_once_are_the_same_as_one_by_one(home: Path) -> None:
    values = [0.0001, 0.02, 0.02, 0.3, 99.0]
    metrics.order_placement_duration_seconds.labels("A/B").observe_all(values)
    for value in values:
        metrics.order_placement_duration_seconds.labels("C/D").observe(value)
    found = shown()
    of = {symbol: [v for (_, labels), v in sorted(found.items()) if ("symbol", symbol) in labels] for symbol in ("A/B", "C/D")}
    assert of["A/B"] == of["C/D"] != []


@pytest.mark.parametrize("labels", [(), ("a",), ("a", "b", "c", "d")])
def test_a_wrong_number_of_labels_is_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="orders_placed_total"):
        metrics.orders_placed.labels(*labels)


def test_labels_by_name_are_those_by_position(home: Path) -> None:
    metrics.orders_placed.labels(side="BUY", symbol="A/B", type="LIMIT").inc()
    metrics.orders_placed.labels("A/B", "LIMIT", "BUY").inc()
    assert figure("orders_placed_total", symbol="A/B", type="LIMIT", side="BUY") == 2
    with pytest.raises(ValueError):
        metrics.orders_placed.labels(symbol="A/B", side="BUY")


def test_a_number_as_label_is_its_text(home: Path) -> None:
    metrics.http_responses.labels(200).inc()
    metrics.http_responses.labels("200").inc()
    assert figure("http_responses_total", status="200") == 2


def test_buffers_write_when_they_are_flushed(home: Path) -> None:
    before = list(buffers._buffers)
    try:
        tally = buffers.Tally(metrics.cache_hits)
        counts, observations = buffers.Counts(metrics.http_responses), buffers.Observations(metrics.order_placement_duration_seconds)
        tally.count += 3
        counts.add(200)
        counts.add(200)
        observations.add(0.02, "A/B")
        assert shown() == {}
        for _ in range(2):  # a second flush adds nothing
            for buffer in (tally, counts, observations):
                buffer.flush()
            assert figure("cache_hits_total") == 3
            assert figure("http_responses_total", status="200") == 2
            assert figure("order_placement_duration_seconds_count", symbol="A/B") == 1
        tally.count += 1
        tally.flush()
        assert figure("cache_hits_total") == 4
    finally:
        buffers._buffers[:] = before


def test_a_reading_cannot_be_set() -> None:
    with pytest.raises(TypeError):
        metrics.outbox_pending.labels()
    assert isinstance(metrics.outbox_pending, Family)
