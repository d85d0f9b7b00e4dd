"""What an operator can do to a market: set a symbol's status, cancel what is open. Both take effect in the worker's sequence, like
everything else.

Intake refuses by the new status from the next transaction on; orders that it had taken before are refused by the engine when
their turn comes after the change, and their holds are released.

Who may do it is the door's question (`institutions.rights`).
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from django.db import connections

from exchange_platform.db import own, require_transaction
from exchange_platform.errors import ExchangeError
from institutions import audit
from orders import commands, inbox

SETTABLE: Final = ("TRADING", "POST_ONLY", "CANCEL_ONLY", "HALTED", "AUCTION", "DELISTED")
ACTOR_LENGTH: Final = 80  # what a transition keeps of them; longer ones would stop the worker
REQUEST_ID_LENGTH: Final = 40
ADMIN_CANCEL: Final = "ADMIN_CANCEL"


class UnknownStatus(ExchangeError):
    code = "INVALID_FIELD"


class NoSuchSymbol(ExchangeError):
    code = "UNKNOWN_SYMBOL"


class Delisted(ExchangeError):
    code = "CONFLICTING_FIELDS"


class SecondPersonNeeded(ExchangeError):
    code = "SECOND_PERSON_NEEDED"


class NoSuchScope(ExchangeError):
    """No such account or institution, or the account belongs to another institution; `field` says which."""

    code = "NOT_FOUND"


@dataclass(frozen=True, slots=True)
class LiveOrders:
    """Open orders of one symbol within a scope: how many, and what they hold in the base asset (sells) and quote asset (buys)."""

    symbol: str
    orders: int
    buys: int
    sells: int
    held_base: Decimal
    held_quote: Decimal


@dataclass(frozen=True, slots=True)
class Scope:
    """`where` is over orders_openorder as p. `subject`: whom the audit trail says it was done to, the narrowest client named."""

    where: str
    parameters: list[Any]
    subject: str
    account_id: int | None
    institution_id: int | None


def needs_two(before: str, status: str) -> bool:
    """Whether a symbol goes from one status to the other only when a second person agrees (`orders.resuming`): out of a halt, and also to
    CANCEL_ONLY, from which one person could let it trade. Pure."""
    return before == "HALTED" and status not in ("HALTED", "DELISTED")


def set_symbol_status(*, symbol: str, status: str, actor: str, reason: str, request_id: str = "") -> str:
    """Halt or restrict a symbol, or let one trade that was not halted. DELISTED cancels everything and is final. Returns the status that
    was set.

    Owns its transaction: the symbol's row (locked), the command to its worker, the audit entry. Raises: NoSuchSymbol,
    UnknownStatus, Delisted, SecondPersonNeeded, ValueError when no reason is given.
    """
    with own(), connections["default"].cursor() as cursor:
        cursor.execute("SELECT status FROM markets_symbol WHERE name = %s FOR UPDATE", [symbol])
        row = cursor.fetchone()
        if row is not None and needs_two(row[0], status):
            raise SecondPersonNeeded(f"{symbol} is halted. Resuming it takes a second person: ask for it in the back office.")
        return move_symbol(cursor, symbol=symbol, status=status, actor=actor, reason=reason, request_id=request_id)


def move_symbol(cursor: Any, *, symbol: str, status: str, actor: str, reason: str, request_id: str = "") -> str:
    """As `set_symbol_status`, whoever has agreed to it. TRADING after HALTED means AUCTION first when the symbol resumes by auction.

    Joins the caller's transaction; locks the symbol's row. Raises: NoSuchSymbol, UnknownStatus, Delisted, ValueError (no reason),
    RuntimeError outside a transaction.
    """
    if not reason.strip():
        raise ValueError("a change of a symbol's status needs a reason")
    if status not in SETTABLE:
        raise UnknownStatus(f"{status} cannot be set; one of {', '.join(SETTABLE)}.", field="status")
    cursor.execute("SELECT id, status, resumes_by_auction FROM markets_symbol WHERE name = %s FOR UPDATE", [symbol])
    row = cursor.fetchone()
    if row is None:
        raise NoSuchSymbol(f"There is no symbol {symbol}.", field="symbol")
    symbol_id, before, resumes_by_auction = row
    if before == "DELISTED":
        raise Delisted(f"{symbol} is delisted, which is final. List a new symbol.")
    if status == "TRADING" and before == "HALTED" and resumes_by_auction:
        status = "AUCTION"
    put_status(cursor, symbol_id=symbol_id, symbol=symbol, before=before, status=status, actor=actor, reason=reason, request_id=request_id)
    return status


def put_status(
    cursor: Any, *, symbol_id: int, symbol: str, before: str, status: str, actor: str, reason: str, request_id: str = ""
) -> None:
    """The symbol's new status, the command to its worker, the audit entry. Joins the caller's transaction, which holds the symbol's row
    locked and has seen that it may go from `before` to `status`. Raises: RuntimeError outside a transaction."""
    require_transaction()
    cursor.execute("UPDATE markets_symbol SET status = %s WHERE id = %s", [status, symbol_id])
    inbox.post(cursor, {symbol_id: [[commands.SET_STATUS, status, actor[:ACTOR_LENGTH], request_id[:REQUEST_ID_LENGTH]]]})
    audit.record(
        actor=actor,
        action="symbol.status",
        subject=f"symbol:{symbol}",
        reason=reason,
        before={"status": before},
        after={"status": status},
        request_id=request_id,
    )


def cancel_all(*, symbol: str | None, account: str | None, institution: str | None, actor: str, reason: str, request_id: str = "") -> int:
    """Cancel what is open of a symbol, an account or an institution (by name or code), or where these meet; all three null: everything.

    Returns how many orders were asked to end, with reason ADMIN_CANCEL; some may fill before their cancel's turn. Every order
    that intake has committed before this returns is among them; what comes afterwards is not: halt or freeze first to keep it out.
    Owns its transaction: lock, one command per order, the audit entry. Locks: an account's row (NO KEY UPDATE) for an account, the table
    of institutions for an institution, the platform's otherwise (EXCLUSIVE): intake's shared row locks let each other pass, so only
    on the table does one queue with them instead of starving behind them.
    Raises: NoSuchSymbol, NoSuchScope, ValueError when no reason is given.
    """
    if not reason.strip():
        raise ValueError("cancelling other people's orders needs a reason")
    with own(), connections["default"].cursor() as cursor:
        scope = scope_of(cursor, symbol, account, institution)
        if scope.account_id is not None:
            cursor.execute("SELECT 1 FROM institutions_account WHERE id = %s FOR NO KEY UPDATE", [scope.account_id])
        else:
            table = "institutions_platform" if scope.institution_id is None else "institutions_institution"
            cursor.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
        asked = cancel_open(cursor, scope, cause=ADMIN_CANCEL, actor=actor, request_id=request_id)
        audit.record(
            actor=actor,
            action="orders.cancel_all",
            subject=scope.subject,
            reason=reason,
            after={"symbol": symbol, "account": account, "institution": institution, "orders": asked},
            request_id=request_id,
        )
    return asked


def cancel_open(cursor: Any, scope: Scope, *, cause: str, actor: str, request_id: str) -> int:
    """One command per open order of the scope, into the inboxes of their symbols, also of those that nobody owns at the moment: whoever
    owns them next obeys. Returns how many. Joins the caller's transaction, which holds the lock that keeps new orders out or in view.
    """
    require_transaction()
    cursor.execute(f"SELECT p.symbol_id, p.order_id FROM orders_openorder p WHERE {scope.where} ORDER BY p.order_id", scope.parameters)
    told = (cause, actor[:ACTOR_LENGTH], request_id[:REQUEST_ID_LENGTH])
    cancels: dict[int, list[commands.Command]] = {}
    for symbol_id, order_id in cursor.fetchall():
        cancels.setdefault(symbol_id, []).append([commands.CANCEL, order_id.hex, *told])
    inbox.post(cursor, cancels)
    return sum(len(orders) for orders in cancels.values())


def live_orders(*, symbol: str | None, account: str | None, institution: str | None) -> list[LiveOrders]:
    """What is open at this moment within the scope of a `cancel_all`, by symbol name; a symbol without open orders has no entry.

    One statement beside those that resolve the names; reads every open order of the scope.
    Raises: NoSuchSymbol, NoSuchScope.
    """
    with connections["default"].cursor() as cursor:
        scope = scope_of(cursor, symbol, account, institution)
        cursor.execute(
            f"""SELECT s.name, count(*), count(*) FILTER (WHERE o.side = 'BUY'), count(*) FILTER (WHERE o.side = 'SELL'),
                    coalesce(sum(o.held) FILTER (WHERE o.side = 'SELL'), 0), coalesce(sum(o.held) FILTER (WHERE o.side = 'BUY'), 0)
                FROM orders_openorder p JOIN orders_order o ON o.id = p.order_id JOIN markets_symbol s ON s.id = p.symbol_id
                WHERE {scope.where} GROUP BY s.name ORDER BY s.name""",
            scope.parameters,
        )
        return [LiveOrders(*row) for row in cursor.fetchall()]


def scope_of(cursor: Any, symbol: str | None, account: str | None, institution: str | None) -> Scope:
    """By name or code; all null: everything. Raises: NoSuchSymbol, NoSuchScope."""
    conditions, parameters, named = ["true"], list[Any](), list[str]()
    institution_id = account_id = None
    if institution is not None:
        institution_id = _one(cursor, "SELECT id FROM institutions_institution WHERE code = %s", [institution])
        if institution_id is None:
            raise NoSuchScope(f"There is no institution {institution}.", field="institution")
        named.append(f"institution:{institution}")
    if account is not None:
        account_id = _one(
            cursor,
            "SELECT id FROM institutions_account WHERE name = %s AND kind = 'CUSTOMER' AND (institution_id = %s OR %s::bigint IS NULL)",
            [account, institution_id, institution_id],
        )
        if account_id is None:
            raise NoSuchScope(f"There is no trading account {account} in reach.", field="account")
        conditions, parameters = [*conditions, "p.account_id = %s"], [*parameters, account_id]
        named.insert(0, f"account:{account}")
    elif institution_id is not None:
        conditions.append("p.account_id IN (SELECT id FROM institutions_account WHERE institution_id = %s)")
        parameters.append(institution_id)
    if symbol is not None:
        symbol_id = _one(cursor, "SELECT id FROM markets_symbol WHERE name = %s", [symbol])
        if symbol_id is None:
            raise NoSuchSymbol(f"There is no symbol {symbol}.", field="symbol")
        conditions, parameters = [*conditions, "p.symbol_id = %s"], [*parameters, symbol_id]
        named.append(f"symbol:{symbol}")
    return Scope(" AND ".join(conditions), parameters, named[0] if named else "platform", account_id, institution_id)


def _one(cursor: Any, sql: str, parameters: list[Any]) -> int | None:
    cursor.execute(sql, parameters)
    row = cursor.fetchone()
    return None if row is None else int(row[0])
