"""NATS JetStream: one stream of all events, kept for thirty days; subjects as `exchange_platform.subscriptions.ADDRESSES` says.

Every message carries `Nats-Msg-Id`, its event's id, by which the server recognises within two minutes what it has already, and
consumers ever after. A whole batch is on its way at once: each message names the one before it (`Nats-Expected-Last-Msg-Id`), so the
server takes none whose predecessor it does not have, and nothing can overtake, even when a batch breaks off in the middle.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

from django.conf import settings
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from notifications.events import Event
from notifications.sinks import ANSWER_WITHIN_S, LARGEST_EVENT_BYTES, Parcel, SinkUnavailable, Sorting

STREAM: Final = "EXCHANGE"
SUBJECTS: Final = ("orders.updates.>", "trading.>", "market.>")
KEPT_S: Final = 30 * 86_400
DUPLICATES_KNOWN_S: Final = 120
CONNECT_WITHIN_S: Final = 2
OPEN_WITHIN_S: Final = 10
HEADER_BYTES: Final = 1_000
IN_FLIGHT: Final = 2_000

_TOO_LARGE: Final = 10054  # codes of the server's errors
_HEADER_TOO_LARGE: Final = 10097
_REFUSALS: Final = frozenset({_TOO_LARGE, _HEADER_TOO_LARGE})

_Answer = TypeVar("_Answer")


class JetStream:
    """The client is asyncio's and answers pings between publishes, so it lives on a loop and a thread of its own."""

    def __init__(self, *, url: str | None = None, replicas: int | None = None) -> None:
        self._url: str = settings.NATS_URL if url is None else url
        self._replicas: int = settings.NATS_REPLICAS if replicas is None else replicas
        self._loop: asyncio.AbstractEventLoop | None = None
        self._link: _Link | None = None

    def publish(self, events: Sequence[Event]) -> dict[str, str]:
        """Raises: SinkUnavailable."""
        sorting = Sorting()
        try:
            self._call(self._publish(events, sorting))
        except (NatsError, OSError, TimeoutError) as error:
            self.close()
            raise SinkUnavailable(str(error) or type(error).__name__) from error
        return sorting.refused

    def close(self) -> None:
        """The loop ends with the connection: a server that does not read keeps the client from closing, the end of its loop does not."""
        link, self._link = self._link, None
        if link is not None:
            with contextlib.suppress(NatsError, OSError, TimeoutError):
                self._call(link.close())
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    async def _publish(self, events: Sequence[Event], sorting: Sorting) -> None:
        link = await self._linked()
        parcels = sorting.parcels(events, largest_bytes=min(LARGEST_EVENT_BYTES, link.largest_bytes - HEADER_BYTES))
        for start in range(0, len(parcels), IN_FLIGHT):
            chunk = [parcel for parcel in parcels[start : start + IN_FLIGHT] if not sorting.is_withheld(parcel)]
            answers = await link.send(chunk)
            missing = [parcel for parcel, answer in zip(chunk, answers, strict=True) if "error" in answer]
            for parcel in missing:  # one by one, to see which of them is refused itself
                if sorting.is_withheld(parcel):
                    continue
                [answer] = await link.send([parcel])
                if "error" in answer:
                    if answer["error"].get("err_code") not in _REFUSALS:
                        raise SinkUnavailable(f"JetStream: {answer['error']}")
                    sorting.refuse(parcel, str(answer["error"].get("description")))

    async def _linked(self) -> "_Link":
        if self._link is None or self._link.is_broken:
            async with asyncio.timeout(OPEN_WITHIN_S):
                self._link = await _Link.open(self._url, self._replicas)
        return self._link

    def _call(self, work: Coroutine[Any, Any, _Answer]) -> _Answer:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=_run_loop, args=[self._loop], name="jetstream", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


class _Link:
    """A connection and the inbox of its acknowledgements. It never reconnects: a broken one is replaced by the next publish, and nothing
    that was buffered for the old one comes late. (The client's own `publish_async` never tells of an error the server answers.)"""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = client.new_inbox()
        self._calls = 0
        self._wanted = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._changed = asyncio.Event()
        self.is_broken = False

    @classmethod
    async def open(cls, url: str, replicas: int) -> "_Link":
        """Connect, and make the stream when it is not there. Raises: NatsError, OSError, TimeoutError."""
        client = Client()
        link = cls(client)
        try:
            await client.connect(
                url.split(","),
                name="exchange-relay",
                allow_reconnect=False,
                max_reconnect_attempts=1,  # per server of the list
                reconnect_time_wait=0,
                connect_timeout=CONNECT_WITHIN_S,
                # Room for all that a call sends: without it `publish` waits for a stopped server for ever, uncancellable.
                flusher_queue_size=4 * IN_FLIGHT,
                pending_size=IN_FLIGHT * LARGEST_EVENT_BYTES,
                error_cb=_say_nothing,
                closed_cb=link._break,
                disconnected_cb=link._break,
            )
            await client.subscribe(f"{link._inbox}.*.*", cb=link._hear)
            jetstream = client.jetstream(timeout=ANSWER_WITHIN_S)
            try:
                await jetstream.stream_info(STREAM)
            except NotFoundError:
                await jetstream.add_stream(stream_config(replicas))
        except BaseException:
            await client.close()
            raise
        return link

    @property
    def largest_bytes(self) -> int:
        """What the server takes in one message, headers included."""
        return self._client.max_payload

    async def send(self, parcels: Sequence[Parcel]) -> list[dict[str, Any]]:
        """The server's answer to each; `error` is in it when it was not taken. Raises: NatsError, OSError, TimeoutError."""
        self._calls += 1
        self._answers = {}
        self._wanted = len(parcels)
        self._changed.clear()
        before = ""
        for number, parcel in enumerate(parcels):
            headers = {"Nats-Msg-Id": parcel.event_id, "Nats-Expected-Stream": STREAM}
            if before:
                headers["Nats-Expected-Last-Msg-Id"] = before
            before = parcel.event_id
            reply = f"{self._inbox}.{self._calls}.{number}"
            await self._client.publish(parcel.address.subject, parcel.body, reply=reply, headers=headers)
        while len(self._answers) < self._wanted:
            heard = len(self._answers)
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    await self._changed.wait()
            except TimeoutError:
                if len(self._answers) == heard:
                    raise TimeoutError(f"{self._wanted - heard} of {self._wanted} events were not acknowledged") from None
            if self.is_broken:
                raise ConnectionError("the connection to NATS broke")
        return [self._answers[number] for number in range(len(parcels))]

    async def close(self) -> None:
        """Raises: TimeoutError, when the server does not read what is left."""
        async with asyncio.timeout(CONNECT_WITHIN_S):
            await self._client.close()

    async def _hear(self, message: Msg) -> None:
        _, call, number = message.subject.rsplit(".", 2)
        if int(call) != self._calls:
            return
        self._answers[int(number)] = json.loads(message.data) if message.data else {"error": {"description": "nobody keeps this subject"}}
        if len(self._answers) == self._wanted:
            self._changed.set()

    async def _break(self) -> None:
        self.is_broken = True
        self._changed.set()


def stream_config(replicas: int) -> StreamConfig:
    """How the stream is made when it is not there; one that is there stays as its operators made it."""
    return StreamConfig(
        name=STREAM,
        subjects=list(SUBJECTS),
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.OLD,
        storage=StorageType.FILE,
        max_age=KEPT_S,
        duplicate_window=DUPLICATES_KNOWN_S,
        num_replicas=replicas,
    )


async def _say_nothing(_: Exception) -> None:
    """What goes wrong is told to whoever publishes; the client would write tracebacks of its own."""
