"""Every figure of the exchange, declared once; rooms fill them: `metrics.trades_executed.labels(symbol).inc(3)`.

Names and labels are a contract with dashboards and alert rules. A family whose part does not exist yet is declared all the same and
has no samples. Hot paths add up a batch first (`orders.metrics`) or write later (`exchange_platform.telemetry.buffers`).
"""

from typing import Any, Final

from exchange_platform.telemetry.families import (
    LATENCY_BUCKETS,
    MICROSECOND_BUCKETS,
    RATIO_BUCKETS,
    SIZE_BUCKETS,
    STAGE_BUCKETS,
    Counter,
    Family,
    Gauge,
    Histogram,
    Reading,
)

# -- orders, counted by intake and settlement after their commit

orders_placed = Counter("orders_placed_total", "Orders that intake has taken: durable and funded", ["symbol", "type", "side"])
orders_matched = Counter("orders_matched_total", "Orders that traded, once per settlement in which they did", ["symbol"])
orders_filled = Counter("orders_filled_total", "Orders filled whole", ["symbol", "side"])
orders_canceled = Counter("orders_canceled_total", "Orders that ended as CANCELLED or EXPIRED, by reason", ["symbol", "reason"])
orders_rejected = Counter("orders_rejected_total", "Orders recorded as REJECTED, by intake or by the book", ["symbol", "reason"])
trades_executed = Counter("trades_executed_total", "Trades settled", ["symbol"])
order_book_depth = Reading("order_book_depth", "Price levels in the book", ["symbol", "side"])
order_placement_duration_seconds = Histogram(
    "order_placement_duration_seconds", "From the arrival of a request to its answer, per order", ["symbol"], buckets=LATENCY_BUCKETS
)
matching_duration_seconds = Histogram("matching_duration_seconds", "Books' work on one batch of commands", buckets=STAGE_BUCKETS)
trade_creation_duration_seconds = Histogram(
    "trade_creation_duration_seconds", "Writing and committing one settlement", buckets=STAGE_BUCKETS
)
matching_batch_size = Histogram("matching_batch_size", "Commands per settlement", buckets=SIZE_BUCKETS)
matching_inbox_pending = Reading("matching_inbox_pending", "Commands that wait for their matching worker", ["shard"])
matching_lease_epoch = Reading("matching_lease_epoch", "Epoch of the shard's owner: grows when it is taken or a symbol comes", ["shard"])
stop_orders_waiting = Gauge("stop_orders_waiting", "Stop orders that wait for their trigger", ["symbol"], mode="livemostrecent")
stop_slippage_ratio = Histogram(
    "stop_slippage_ratio", "Average price of a triggered stop against its trigger", ["symbol"], buckets=RATIO_BUCKETS
)
reference_price_age_seconds = Reading("reference_price_age_seconds", "Age of the reference price", ["symbol"])
ledger_breaks_open = Gauge("ledger_breaks_open", "Disagreements found by the last reconciliation", mode="mostrecent")
command_log_breaks_open = Gauge(
    "command_log_breaks_open", "Missing or changed entries found by the last verification of all command logs", mode="mostrecent"
)

# -- risk

risk_checks = Counter("risk_checks_total", "Risk decisions, one per order that reached them", ["type", "result"])
risk_violations = Counter("risk_violations_total", "Orders refused by a risk rule", ["type"])
alerts_open = Reading("alerts_open", "Surveillance alerts that nobody has closed", ["severity"])

# -- doors

rate_limit_reached = Counter("rate_limit_reached_total", "Requests refused with RATE_LIMITED, by what was counted", ["type"])
validation_failures = Counter("validation_failures_total", "Requests and orders refused for what they say, by error code", ["rule"])
http_responses = Counter("http_responses_total", "Answers of the API by status", ["status"])
cache_hits = Counter("cache_hits_total", "Look-ups of keys, people, accounts and symbols answered from memory")
cache_misses = Counter("cache_misses_total", "Look-ups of keys, people, accounts and symbols that went to the database")
websocket_connections = Gauge("websocket_connections", "Open WebSockets", mode="livesum")
websocket_slow_clients = Counter("websocket_slow_clients_total", "WebSockets closed because their client did not read")

# -- outbox and database, read when the metrics are asked for

outbox_pending = Reading("outbox_pending", "Events that wait to be published")
outbox_lag_seconds = Reading("outbox_lag_seconds", "Age of the oldest event that waits to be published")
outbox_dead_letters = Reading("outbox_dead_letters", "Events given up that nobody has settled")
postgresql_connections = Reading("postgresql_connections", "Sessions of all clients on the server")
postgresql_connections_limit = Reading("postgresql_connections_limit", "Sessions the server allows")

# -- venues

order_submission_duration_seconds = Histogram(
    "order_submission_duration_seconds", "Sending an order to a venue", ["symbol", "exchange"], buckets=LATENCY_BUCKETS
)
circuit_breaker_state = Gauge("circuit_breaker_state", "0 closed, 1 half-open, 2 open", ["name"], mode="livemostrecent")
exchange_api_requests = Counter("exchange_api_requests_total", "Requests to venues", ["exchange", "endpoint", "status"])
exchange_api_errors = Counter("exchange_api_errors_total", "Errors of venues", ["exchange", "error_code"])
exchange_api_duration_seconds = Histogram(
    "exchange_api_duration_seconds", "Requests to venues", ["exchange", "endpoint"], buckets=LATENCY_BUCKETS
)

# -- strategies

_P: Final = "strategy_engine_"
strategy_signals = Counter(f"{_P}strategy_signals_total", "Signals", ["strategy", "symbol", "side"])
strategy_errors = Counter(f"{_P}strategy_errors_total", "Errors of strategies", ["strategy", "type"])
signals_dropped = Counter(f"{_P}signals_dropped_total", "Signals not acted upon", ["strategy", "symbol", "reason"])
strategy_latency_microseconds = Histogram(
    f"{_P}strategy_latency_microseconds", "A strategy's answer to one event", ["strategy"], buckets=MICROSECOND_BUCKETS
)
market_data_received = Counter(f"{_P}market_data_received_total", "Market data events", ["symbol", "type"])
market_data_latency_microseconds = Histogram(f"{_P}market_data_latency_microseconds", "From event to strategy", buckets=MICROSECOND_BUCKETS)
strategy_orders_submitted = Counter(f"{_P}orders_submitted_total", "Orders sent by strategies", ["strategy", "symbol"])
strategy_orders_rejected = Counter(f"{_P}orders_rejected_total", "Orders of strategies that were refused", ["strategy", "reason"])
strategy_order_latency_microseconds = Histogram(f"{_P}order_latency_microseconds", "From signal to order", buckets=MICROSECOND_BUCKETS)
strategy_fills = Counter(f"{_P}fills_received_total", "Fills of strategies' orders", ["strategy", "symbol", "side"])
strategy_position_updates = Counter(f"{_P}position_updates_total", "Changes of strategies' positions", ["strategy", "symbol"])
strategy_positions = Gauge(f"{_P}current_positions", "Positions of strategies", ["strategy", "symbol"], mode="livemostrecent")
strategy_risk_checks = Counter(f"{_P}risk_checks_total", "Risk decisions of the strategy engine", ["type", "result"])
strategy_risk_violations = Counter(f"{_P}risk_violations_total", "Signals refused by a risk rule", ["type", "strategy"])
active_strategies = Gauge(f"{_P}active_strategies", "Strategies that run", mode="livesum")
plugin_reloads = Counter(f"{_P}plugin_reloads_total", "Reloads of strategy plug-ins", ["result"])
signal_queue_size = Gauge(f"{_P}signal_queue_size", "Signals that wait", mode="livesum")
processing_time_microseconds = Histogram(
    f"{_P}processing_time_microseconds", "Work per component", ["component"], buckets=MICROSECOND_BUCKETS
)

FAMILIES: Final[tuple[Family[Any], ...]] = tuple(value for value in list(globals().values()) if isinstance(value, Family))
