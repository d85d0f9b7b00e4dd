"""What an operator can do to a market: set a symbol's status. It takes effect in the worker's sequence, like everything else.

Intake refuses by the new status from the next transaction on; orders that it had taken before are refused by the engine when
their turn comes after the change, and their holds are released.
"""

from typing import Final

from django.db import connections

from exchange_platform.db import own
from exchange_platform.errors import ExchangeError
from institutions import audit
from notifications.wakeups import INBOX, NOTIFY_SQL
from orders import commands

SETTABLE: Final = ("TRADING", "POST_ONLY", "CANCEL_ONLY", "HALTED", "DELISTED")


class UnknownStatus(ExchangeError):
    code = "INVALID_FIELD"


class NoSuchSymbol(ExchangeError):
    code = "UNKNOWN_SYMBOL"


class Delisted(ExchangeError):
    code = "CONFLICTING_FIELDS"


def set_symbol_status(*, symbol: str, status: str, actor: str, reason: str, request_id: str = "") -> None:
    """Halt, resume or restrict a symbol. DELISTED cancels everything and is final.

    Owns its transaction: the symbol's row (locked), the command to its worker, the audit entry. Raises: NoSuchSymbol,
    UnknownStatus, Delisted, ValueError when no reason is given.
    """
    if not reason.strip():
        raise ValueError("a change of a symbol's status needs a reason")
    if status not in SETTABLE:
        raise UnknownStatus(f"{status} cannot be set; one of {', '.join(SETTABLE)}.", field="status")
    with own(), connections["default"].cursor() as cursor:
        cursor.execute("SELECT id, status FROM markets_symbol WHERE name = %s FOR UPDATE", [symbol])
        row = cursor.fetchone()
        if row is None:
            raise NoSuchSymbol(f"There is no symbol {symbol}.", field="symbol")
        symbol_id, before = row
        if before == "DELISTED":
            raise Delisted(f"{symbol} is delisted, which is final. List a new symbol.")
        cursor.execute("UPDATE markets_symbol SET status = %s WHERE id = %s", [status, symbol_id])
        payload = commands.pack([[commands.SET_STATUS, status, actor, request_id]])
        cursor.execute("INSERT INTO orders_inbox (symbol_id, commands, payload) VALUES (%s, 1, %s)", [symbol_id, payload])
        cursor.execute(NOTIFY_SQL, [INBOX])
        audit.record(
            actor=actor,
            action="symbol.status",
            subject=f"symbol:{symbol}",
            reason=reason,
            before={"status": before},
            after={"status": status},
            request_id=request_id,
        )
