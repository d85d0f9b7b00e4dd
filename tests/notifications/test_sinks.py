"""Each sink against its real broker: nothing is missing and nothing overtakes within a key; what is refused holds up nobody."""

import asyncio
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import redis
from confluent_kafka import KafkaError
from django.conf import settings
from django.db import transaction

from exchange_platform.db import connect_direct
from notifications import dead_letters
from notifications import relay as relay_module
from notifications.models import DeadLetter, Outbox
from notifications.relay import TRIES, Relay, Unavailable
from notifications.sinks import WITHHELD, Sink, SinkUnavailable, jetstream, kafka
from tests.notifications.letters import Load, count, event_of, once_each, relay_to, sequences, wait_until, write
from tests.support.brokers import BROKERS, Broker, KafkaBroker, NatsBroker, RedisBroker, make_sink


@pytest.fixture(params=BROKERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def broker(name: str) -> Iterator[Broker]:
    made = BROKERS[name]()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def sink(name: str, broker: Broker) -> Iterator[Sink]:
    made = make_sink(name, broker.address)
    yield made
    made.close()


@pytest.fixture
def connection(fresh_database: str) -> Iterator[psycopg.Connection[Any]]:
    with connect_direct(name="test") as made:
        yield made


def drain(relay: Relay) -> int:
    with connect_direct(name="relay") as connection, asyncio.Runner() as runner:
        published = 0
        while some := relay.drain(connection, runner):
            published += some
        return published


@pytest.mark.slow
def test_nothing_is_missing_and_nothing_overtakes_when_the_broker_was_down(connection: Any, broker: Broker, sink: Sink) -> None:
    relay = relay_to(sink)
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        with Load() as load:
            wait_until(lambda: sum(load.written.values()) > 200, within_s=30)
            broker.go_down()
            time.sleep(2.0)
            waited = count("notifications_outbox")
            assert connection.execute("SELECT max(attempts) FROM notifications_outbox").fetchone() == (0,)  # an outage is nobody's fault
            connection.commit()
            broker.come_back()
            time.sleep(1.0)
        wait_until(lambda: count("notifications_outbox") == 0, within_s=60)
    finally:
        relay.stop()
        thread.join(30)
    assert waited > 50
    assert count("notifications_deadletter") == 0
    arrived = {stream: once_each(numbers) for stream, numbers in sequences(broker.kept()).items()}
    assert arrived == {stream: list(range(1, last + 1)) for stream, last in load.written.items()}


@pytest.mark.slow
def test_a_relay_killed_before_it_marked_and_a_consumer_killed_before_it_acknowledged(
    connection: Any, broker: Broker, sink: Sink, name: str
) -> None:
    told = {f"trades.S{n}/USD": 4 for n in range(3)}
    for sequence in range(1, 5):
        for n in range(3):
            write(connection, f"market.{n}", [(f"trades.S{n}/USD", sequence)])
    with psycopg.connect(settings.DATABASE_URL, autocommit=True) as owner:
        owner.execute("CREATE TABLE effect (stream text, sequence bigint)")
        owner.execute("GRANT SELECT, INSERT ON effect TO exchange_engine")

    kill_at("published", "relay", name, broker.address)
    assert count("notifications_outbox") == 12  # nothing is marked ...
    assert sum(map(len, sequences(broker.kept()).values())) == 12  # ... and everything is there
    write(connection, "market.0", [("trades.S0/USD", 5)])
    told["trades.S0/USD"] = 5
    drain(relay_to(sink))
    kept = sequences(broker.kept())
    assert {stream: once_each(numbers) for stream, numbers in kept.items()} == {s: list(range(1, n + 1)) for s, n in told.items()}
    assert sum(map(len, kept.values())) == (13 + 12 if name == "kafka" else 13)  # Kafka knows nothing of another producer's messages

    kill_at("inside", "consumer", name, broker.address, "inside")
    kill_at("before", "consumer", name, broker.address, "before")
    wait_for(start("consumer", name, broker.address, "NEVER"))
    applied = connection.execute("SELECT stream, sequence FROM effect ORDER BY stream, sequence").fetchall()
    assert applied == [(stream, n) for stream in sorted(told) for n in range(1, told[stream] + 1)]


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-m", "tests.notifications.killed", *arguments], stdout=subprocess.PIPE, text=True)


def kill_at(where: str, *arguments: str) -> None:
    process = start(*arguments)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{where}\n"
    finally:
        process.kill()
        process.communicate()


def wait_for(process: "subprocess.Popen[str]") -> None:
    process.communicate(timeout=60)
    assert process.returncode == 0


class Poison:
    """Makes one event unacceptable to a broker, and cures what was wrong."""

    stream = "status.A/B"
    size = 80_000

    def __init__(self, name: str, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
        self.name, self.broker, self.monkeypatch = name, broker, monkeypatch
        if name == "redis":
            redis.Redis.from_url(broker.address).set(f"events:{self.stream}", "of another kind")
        elif name == "kafka":
            monkeypatch.setattr(kafka, "LARGEST_EVENT_BYTES", 50_000)

    def cure(self) -> None:
        if self.name == "redis":
            redis.Redis.from_url(self.broker.address).delete(f"events:{self.stream}")
        elif self.name == "kafka":
            self.monkeypatch.setattr(kafka, "LARGEST_EVENT_BYTES", 900_000)
        else:
            assert isinstance(self.broker, NatsBroker)
            self.broker.go_down()
            self.broker.largest_bytes = 1_000_000
            self.broker.come_back()


def test_a_poisoned_event_ends_as_a_dead_letter_and_holds_up_nobody_else(
    connection: Any, broker: Broker, sink: Sink, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "FIRST_BACK_OFF_S", 0.001)
    poison, relay = Poison(name, broker, monkeypatch), relay_to(sink)
    write(connection, "market.1", [("trades.A/B", 1), (poison.stream, 1, poison.size), ("trades.A/B", 2)])
    write(connection, "market.1", [("trades.A/B", 3)])
    write(connection, "market.2", [("trades.C/D", 1)])
    drain(relay)
    arrived = sequences(broker.kept())
    assert arrived["trades.C/D"] == [1]
    if name != "redis":  # each of its streams is a key of its own
        assert once_each(arrived["trades.A/B"]) == [1]

    def try_again() -> bool:
        drain(relay)
        return count("notifications_outbox") == 0

    wait_until(try_again, within_s=30)
    [letter] = DeadLetter.objects.all()
    assert (letter.stream, letter.attempts) == ("market.1", TRIES)
    assert letter.error.startswith(f"{poison.stream}:1: ")
    arrived = sequences(broker.kept())
    assert poison.stream not in arrived
    assert {stream: once_each(numbers) for stream, numbers in arrived.items()} == {"trades.A/B": [1, 2, 3], "trades.C/D": [1]}

    # Sent again before anything was cured it is back, and what its stream has told meanwhile did not wait for it.
    with transaction.atomic():
        dead_letters.send_again(dead_letter_id=letter.pk, actor="tests")
    write(connection, "market.1", [("trades.A/B", 4)])
    drain(relay)
    assert once_each(sequences(broker.kept())["trades.A/B"]) == [1, 2, 3, 4]
    wait_until(try_again, within_s=30)
    letter.refresh_from_db()
    back = DeadLetter.objects.get(settled_at=None)
    assert (back.outbox_id, back.stream) == (letter.sent_again_as, "market.1")

    poison.cure()
    with transaction.atomic():
        row = dead_letters.send_again(dead_letter_id=back.pk, actor="tests")
    with pytest.raises(dead_letters.AlreadySettled), transaction.atomic():
        dead_letters.send_again(dead_letter_id=back.pk, actor="tests")
    wait_until(lambda: drain(relay) == 1, within_s=10)
    assert not Outbox.objects.filter(pk=row.pk).exists()
    assert not DeadLetter.objects.filter(settled_at=None).exists()
    assert sequences(broker.kept())[poison.stream] == [1]


def test_what_stands_behind_a_refused_event_of_its_key_is_withheld(sink: Sink, broker: Broker, name: str, monkeypatch: Any) -> None:
    poison = Poison(name, broker, monkeypatch)
    events = [event_of(poison.stream, 1, poison.size), event_of(poison.stream, 2), event_of("status.C/D", 1)]
    refused = sink.publish(events)
    assert set(refused) == {f"{poison.stream}:1", f"{poison.stream}:2"}
    assert refused[f"{poison.stream}:1"] != WITHHELD
    assert name == "redis" or refused[f"{poison.stream}:2"] == WITHHELD
    assert sequences(broker.kept()) == {"status.C/D": [1]}


def test_what_cannot_be_written_is_refused(sink: Sink, broker: Broker) -> None:
    unwritable = replace(event_of("trades.A/B", 1), payload={"symbol": "A/B", "quantity": object()})
    refused = sink.publish([unwritable, event_of("trades.C/D", 1)])
    assert list(refused) == ["trades.A/B:1"]
    assert sequences(broker.kept()) == {"trades.C/D": [1]}


def test_a_broker_that_is_not_there_costs_no_letter_a_try(connection: Any, broker: Broker, sink: Sink) -> None:
    write(connection, "market.1", [("trades.A/B", 1)])
    broker.go_down()
    relay = relay_to(sink)
    with connect_direct(name="relay") as relaying, asyncio.Runner() as runner:
        for _ in range(2):
            with pytest.raises(Unavailable):
                relay.drain(relaying, runner)
    assert connection.execute("SELECT attempts, next_try_at FROM notifications_outbox").fetchall() == [(0, None)]
    broker.come_back()
    assert drain(relay) == 1
    assert sequences(broker.kept()) == {"trades.A/B": [1]}


# -- what is one broker's own


@pytest.fixture
def redis_server() -> Iterator[RedisBroker]:
    made = RedisBroker()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def nats_server() -> Iterator[NatsBroker]:
    made = NatsBroker()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def kafka_cluster() -> Iterator[KafkaBroker]:
    made = KafkaBroker()
    made.start()
    yield made
    made.stop()


def test_jetstream_recognises_what_it_has(nats_server: NatsBroker) -> None:
    sink = make_sink("nats", nats_server.address)
    events = [event_of("trades.A/B", n) for n in range(1, 4)]
    assert sink.publish(events) == {}
    # Again, with others in front of and between what is known: a letter that was committed late, say.
    again = [event_of("trades.C/D", 1), *events[:2], event_of("trades.C/D", 2), events[2], event_of("trades.A/B", 4)]
    assert sink.publish(again) == {}
    sink.close()
    assert sequences(nats_server.kept()) == {"trades.A/B": [1, 2, 3, 4], "trades.C/D": [1, 2]}


def test_jetstream_keeps_events_for_thirty_days_unless_its_operators_say_otherwise(nats_server: NatsBroker) -> None:
    import nats

    make_sink("nats", nats_server.address).publish([event_of("trades.A/B", 1)])

    async def with_smaller_messages() -> Any:
        client = await nats.connect(nats_server.address)
        stream = await client.jetstream().stream_info(jetstream.STREAM)
        await client.jetstream().update_stream(stream.config, max_msg_size=2_000)
        await client.close()
        return stream.config

    config = asyncio.run(with_smaller_messages())
    assert (config.max_age, config.storage, config.num_replicas) == (30 * 86_400, "file", 1)
    # A limit that only the server knows: it refuses one in the middle of a batch, and takes none of its key behind it.
    sink = make_sink("nats", nats_server.address)
    events = [event_of("trades.A/B", 2), event_of("trades.A/B", 3, 3_000), event_of("trades.A/B", 4), event_of("trades.C/D", 1)]
    refused = sink.publish(events)
    sink.close()
    assert refused == {"trades.A/B:3": "message size exceeds maximum allowed", "trades.A/B:4": WITHHELD}
    assert sequences(nats_server.kept()) == {"trades.A/B": [1, 2], "trades.C/D": [1]}


@pytest.mark.slow
def test_a_nats_server_that_has_stopped_reading_hangs_nobody(nats_server: NatsBroker) -> None:
    sink = make_sink("nats", nats_server.address)
    sink.publish([event_of("trades.A/B", 1)])
    events = [event_of("trades.A/B", n, 20_000) for n in range(2, 1_500)]  # more than sockets and buffers hold
    nats_server.freeze()
    with pytest.raises(SinkUnavailable):
        sink.publish(events)
    nats_server.thaw()
    assert sink.publish(events) == {}
    sink.close()
    assert once_each(sequences(nats_server.kept())["trades.A/B"]) == list(range(1, 1_500))


def test_what_jetstream_does_not_keep_is_an_outage_and_no_refusal(nats_server: NatsBroker) -> None:
    import nats

    async def take_over() -> None:
        client = await nats.connect(nats_server.address)
        await client.jetstream().add_stream(name=jetstream.STREAM, subjects=["something.else"])
        await client.close()

    asyncio.run(take_over())
    with pytest.raises(SinkUnavailable, match="nobody keeps this subject"):
        make_sink("nats", nats_server.address).publish([event_of("trades.A/B", 1)])


def test_a_batch_that_kafka_refuses_is_sorted_out_one_by_one(kafka_cluster: KafkaBroker) -> None:
    sink = make_sink("kafka", kafka_cluster.address)
    assert sink.publish([event_of("trades.A/B", 1)]) == {}
    kafka_cluster.refuse_next_batch(KafkaError.MSG_SIZE_TOO_LARGE)  # for one of the batch; which, nobody says
    assert sink.publish([event_of("trades.A/B", n) for n in range(2, 6)]) == {}
    assert sink.publish([event_of("trades.A/B", 6)]) == {}
    sink.close()
    assert once_each(sequences(kafka_cluster.kept())["trades.A/B"]) == [1, 2, 3, 4, 5, 6]


def test_what_stands_behind_a_refused_batch_of_kafka_does_not_overtake_it(kafka_cluster: KafkaBroker) -> None:
    sink = make_sink("kafka", kafka_cluster.address)
    assert sink.publish([event_of("trades.A/B", 1)]) == {}
    kafka_cluster.refuse_next_batch(KafkaError.MSG_SIZE_TOO_LARGE)
    noise = random.Random(1)
    events = [replace(event_of("trades.A/B", n), payload={"symbol": "A/B", "noise": noise.randbytes(100_000).hex()}) for n in range(2, 16)]
    assert sink.publish(events) == {}  # several requests, as large as they are
    sink.close()
    assert once_each(sequences(kafka_cluster.kept())["trades.A/B"]) == list(range(1, 16))


def test_an_event_that_kafka_refuses_by_itself_is_refused(kafka_cluster: KafkaBroker) -> None:
    sink = make_sink("kafka", kafka_cluster.address)
    sink.publish([event_of("trades.A/B", 1)])
    kafka_cluster.refuse_next_batch(KafkaError.MSG_SIZE_TOO_LARGE)
    kafka_cluster.refuse_next_batch(KafkaError.MSG_SIZE_TOO_LARGE)
    refused = sink.publish([event_of("trades.A/B", 2), event_of("trades.A/B", 3)])
    sink.close()
    assert refused == {"trades.A/B:2": "Broker: Message size too large", "trades.A/B:3": WITHHELD}
    assert sequences(kafka_cluster.kept()) == {"trades.A/B": [1]}


def test_what_kafka_may_take_later_is_no_refusal(kafka_cluster: KafkaBroker) -> None:
    sink = make_sink("kafka", kafka_cluster.address)
    kafka_cluster.refuse_next_batch(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(SinkUnavailable, match="authorization"):
        sink.publish([event_of("trades.A/B", 1)])
    assert sink.publish([event_of("trades.A/B", 1)]) == {}
    sink.close()
    assert sequences(kafka_cluster.kept()) == {"trades.A/B": [1]}


def test_redis_takes_an_event_that_comes_late_and_knows_it_again(redis_server: RedisBroker) -> None:
    sink = make_sink("redis", redis_server.address)
    assert sink.publish([event_of("trades.A/B", n) for n in (1, 3, 4)]) == {}
    assert sink.publish([event_of("trades.A/B", n) for n in (1, 2, 3)]) == {}
    assert sink.publish([event_of("trades.A/B", 5)]) == {}
    entries: Any = redis.Redis.from_url(redis_server.address).xrange("events:trades.A/B")
    sink.close()
    assert [identity for identity, _ in entries] == [b"1-0", b"3-0", b"4-0", b"4-1", b"5-0"]
    assert sequences(redis_server.kept()) == {"trades.A/B": [1, 3, 4, 2, 5]}


def test_redis_without_memory_is_an_outage_and_no_refusal(redis_server: RedisBroker) -> None:
    redis.Redis.from_url(redis_server.address).config_set("maxmemory", "1")
    sink = make_sink("redis", redis_server.address)
    with pytest.raises(SinkUnavailable, match="maxmemory"):
        sink.publish([event_of("trades.A/B", 1)])
    sink.close()
