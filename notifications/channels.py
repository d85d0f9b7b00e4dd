"""How live messages travel from the relay to the processes that hold WebSockets: one group of the channel layer per symbol and per
account, each message already put into its final words.

At most once: Redis forgets. Whoever receives keeps the sequences, and reads PostgreSQL anew where one is missing.
"""

from collections.abc import Sequence
from typing import Final, TypedDict

MESSAGE_TYPE: Final = "feed.messages"

Message = tuple[str, int, str]  # channel as clients name it, sequence in it, the whole WebSocket message as JSON text


class FeedMessages(TypedDict):
    """What goes through the channel layer."""

    type: str
    messages: list[Message]


def symbol_group(symbol_id: int) -> str:
    """Carries orderbook.*, trades.*, ticker.* and candles.*.* of one symbol."""
    return f"market.{symbol_id}"


def account_group(account_id: int) -> str:
    """Carries user.orders, user.trades and user.balances of one account."""
    return f"account.{account_id}"


def feed_messages(messages: Sequence[Message]) -> FeedMessages:
    """In order per channel."""
    return {"type": MESSAGE_TYPE, "messages": list(messages)}
