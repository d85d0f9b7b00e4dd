"""Where an event goes at a broker, and under which key its order is kept. The table is `exchange_platform.subscriptions.ADDRESSES`."""

from typing import NamedTuple

from exchange_platform.subscriptions import ADDRESSES
from notifications.events import Event


class Unaddressed(Exception):
    """Nobody has said where events of this stream go."""


class Address(NamedTuple):
    """`topic`: of Kafka. `subject`: of NATS. `key`: the account or symbol within which order is kept."""

    topic: str
    subject: str
    key: str


def address_of(event: Event) -> Address:
    """Raises: Unaddressed."""
    for channel, (topic, subject) in ADDRESSES.items():
        if event.stream.startswith(f"{channel}."):
            if "{symbol}" in subject:
                if not event.symbol:
                    raise Unaddressed(f"{event.event_id} names no symbol, which its subject needs")
                subject = subject.format(symbol=subject_token(event.symbol))
            return Address(topic, subject, event.stream[len(channel) + 1 :])
    raise Unaddressed(f"nobody knows where the stream {event.stream} goes")


def subject_token(symbol: str) -> str:
    """BTC/USDT is BTC-USDT in a subject, as it is in paths: NATS would take the slash, but gateways to MQTT make a level of it."""
    return symbol.replace("/", "-")
