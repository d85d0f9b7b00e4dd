"""Real brokers for tests: they can be killed and come back with what they had, and be asked for everything they keep.

Kafka's is the mock cluster of its own client library: it speaks the protocol over TCP and keeps what it is sent; `go_down` makes it refuse
connections.
"""

import asyncio
import ctypes
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import nats
import redis
from confluent_kafka import Consumer, TopicPartition
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig

from exchange_platform.stack.ports import LOOPBACK, free_port
from exchange_platform.stack.processes import ProcessSpec, spawn
from exchange_platform.stack.redis import redis_server_binary
from notifications.events import Event
from notifications.sinks import Sink
from notifications.sinks.jetstream import STREAM, JetStream
from notifications.sinks.kafka import Kafka
from notifications.sinks.redis_streams import STREAM_PREFIX, RedisStreams

START_WITHIN_S = 20.0
REDELIVER_AFTER_S = 1.0

Delivery = tuple[Event, Callable[[], None]]  # and its acknowledgement


class Broker(Protocol):
    address: str

    def start(self) -> None: ...
    def go_down(self) -> None: ...
    def come_back(self) -> None: ...
    def stop(self) -> None: ...
    def kept(self) -> list[Event]:
        """Everything it keeps, in order within each key; repeated as often as it is there."""


class Served:
    """A broker that is a process of its own, with its files."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="broker-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
        log = self.home / "log"
        spec = ProcessSpec(name="broker", argv=self.command(), log=log, environment=environment, folder=self.home, stage=0)
        self._process = spawn(spec)
        deadline = time.monotonic() + START_WITHIN_S
        while not self.is_ready():
            assert self._process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)

    def go_down(self) -> None:
        """As by kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def come_back(self) -> None:
        self.start()

    def freeze(self) -> None:
        """It keeps its connections and reads no more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.go_down()
        shutil.rmtree(self.home)


class RedisBroker(Served):
    @property
    def address(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def command(self) -> list[str]:
        options = f"--port {self.port} --bind {LOOPBACK} --appendonly yes --appendfsync always --loglevel warning"
        return [str(redis_server_binary()), *options.split(), "--dir", str(self.home)]

    def is_ready(self) -> bool:
        try:
            return bool(redis.Redis.from_url(self.address).ping())
        except redis.ConnectionError:
            return False

    def kept(self) -> list[Event]:
        client: Any = redis.Redis.from_url(self.address)
        return [Event.read(entry[b"event"]) for name in _streams(client) for _, entry in client.xrange(name)]


class NatsBroker(Served):
    largest_bytes = 65_536

    @property
    def address(self) -> str:
        return f"nats://{LOOPBACK}:{self.port}"

    def command(self) -> list[str]:
        lines = f'listen: "{LOOPBACK}:{self.port}"\nmax_payload: {self.largest_bytes}\njetstream {{ store_dir: "{self.home}" }}\n'
        (self.home / "nats.conf").write_text(lines)
        return [str(Path(sys.executable).with_name("nats-server")), "-c", str(self.home / "nats.conf")]

    def is_ready(self) -> bool:
        async def ask() -> None:
            client = await nats.connect(self.address, allow_reconnect=False, connect_timeout=1, error_cb=_say_nothing)
            await client.jetstream().account_info()
            await client.close()

        try:
            asyncio.run(ask())
        except (NatsError, OSError, TimeoutError):
            return False
        return True

    def kept(self) -> list[Event]:
        async def read() -> list[Event]:
            client = await nats.connect(self.address)
            jetstream = client.jetstream()
            wanted = (await jetstream.stream_info(STREAM)).state.messages
            found: list[Event] = []
            subscription = await jetstream.pull_subscribe("", stream=STREAM)
            while len(found) < wanted:
                for message in await subscription.fetch(500, timeout=5):
                    found.append(Event.read(message.data))
                    await message.ack()
            await client.close()
            return found

        return asyncio.run(read())


class KafkaBroker:
    partitions = 3
    topics = ("trade.events", "order.events", "audit.logs")

    def start(self) -> None:
        self._library = _librdkafka()
        problem = ctypes.create_string_buffer(512)
        self._client = self._library.rd_kafka_new(0, self._library.rd_kafka_conf_new(), problem, 512)
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, 1)
        for topic in self.topics:
            self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), self.partitions, 1)
        self.address = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def go_down(self) -> None:
        self._library.rd_kafka_mock_broker_set_down(self._cluster, 1)

    def come_back(self) -> None:
        self._library.rd_kafka_mock_broker_set_up(self._cluster, 1)

    def refuse_next_batch(self, error: int) -> None:
        """The next request to keep messages is answered with this error."""
        produce = 0
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, produce, 1, (ctypes.c_int * 1)(error))

    def stop(self) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)

    def kept(self) -> list[Event]:
        consumer = kafka_consumer(self.address, group="kept")
        found: list[Event] = []
        try:
            for topic in self.topics:
                for partition in range(self.partitions):
                    place = TopicPartition(topic, partition, 0)
                    _, end = consumer.get_watermark_offsets(place, timeout=10)
                    consumer.assign([place])
                    while place.offset < end:
                        [message] = consumer.consume(1, timeout=10)
                        found.append(Event.read(message.value()))
                        place.offset = message.offset() + 1
        finally:
            consumer.close()
        return found


BROKERS: dict[str, Callable[[], Broker]] = {"redis": RedisBroker, "nats": NatsBroker, "kafka": KafkaBroker}


def make_sink(name: str, address: str) -> Sink:
    if name == "redis":
        return RedisStreams(url=address)
    if name == "nats":
        return JetStream(url=address, replicas=1)
    return Kafka(servers=address, options={})


def deliveries(name: str, address: str) -> Iterator[Delivery]:
    """Events to the one consumer of a group, those that an earlier process of it did not acknowledge included; ends when none is left."""
    return {"redis": _from_redis, "nats": _from_nats, "kafka": _from_kafka}[name](address)


def _streams(client: Any) -> list[bytes]:
    return list(client.scan_iter(f"{STREAM_PREFIX}*", _type="stream"))


def _from_redis(address: str) -> Iterator[Delivery]:
    client: Any = redis.Redis.from_url(address)
    for name in _streams(client):
        try:
            client.xgroup_create(name, "group", id="0")
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):  # it is there
                raise
        for begin in ("0", ">"):  # what this consumer has taken and not acknowledged, then what is new
            while entries := client.xreadgroup("group", "consumer", {name: begin}, count=1)[0:1]:
                [(_, found)] = entries
                if not found:
                    break
                [(identity, entry)] = found
                yield Event.read(entry[b"event"]), lambda name=name, identity=identity: client.xack(name, "group", identity)


def _from_nats(address: str) -> Iterator[Delivery]:
    with asyncio.Runner() as runner:

        async def open_subscription() -> Any:
            jetstream = (await nats.connect(address)).jetstream()
            config = ConsumerConfig(ack_wait=REDELIVER_AFTER_S, max_ack_pending=1)
            return await jetstream.pull_subscribe("", durable="group", stream=STREAM, config=config)

        subscription = runner.run(open_subscription())
        while True:
            try:
                [message] = runner.run(subscription.fetch(1, timeout=REDELIVER_AFTER_S + 1))
            except NatsError:
                return
            yield Event.read(message.data), lambda message=message: runner.run(message.ack_sync())


def _from_kafka(address: str) -> Iterator[Delivery]:
    consumer = kafka_consumer(address, group="group")
    for topic in KafkaBroker.topics:
        for partition in range(KafkaBroker.partitions):
            [place] = consumer.committed([TopicPartition(topic, partition)], timeout=10)
            start, end = consumer.get_watermark_offsets(place, timeout=10)
            place.offset = max(start, place.offset)
            consumer.assign([place])
            at = place.offset
            while at < end:
                [message] = consumer.consume(1, timeout=10)
                at = message.offset() + 1
                yield Event.read(message.value()), lambda message=message: consumer.commit(message, asynchronous=False)
    consumer.close()


def kafka_consumer(address: str, *, group: str) -> Consumer:
    return Consumer({"bootstrap.servers": address, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest"})


def _librdkafka() -> Any:
    """The client library itself, for the words that its Python face lacks."""
    found = importlib.util.find_spec("confluent_kafka")
    assert found is not None and found.origin is not None
    [path] = Path(found.origin).parent.with_name("confluent_kafka.libs").glob("librdkafka*")
    library = ctypes.CDLL(str(path))
    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, []),
        ("rd_kafka_new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("rd_kafka_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_new", pointer, [pointer, number]),
        ("rd_kafka_mock_cluster_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_bootstraps", text, [pointer]),
        ("rd_kafka_mock_topic_create", number, [pointer, text, number, number]),
        ("rd_kafka_mock_broker_set_down", number, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_broker_set_up", number, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_push_request_errors_array", None, [pointer, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(number)]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


async def _say_nothing(_: Exception) -> None:
    """A broker that is not there yet is not worth a traceback."""
