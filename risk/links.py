"""What compliance tells surveillance: accounts that belong together, and marks to look out for."""

from typing import Final

from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from exchange_platform.db import own
from exchange_platform.errors import ExchangeError
from institutions import audit
from institutions.models import Account
from risk.models import AccountLink, WatchedMark

MARK_LENGTH: Final = 200

ACTIVE_SQL: Final = "SELECT account_id, other_id FROM risk_accountlink WHERE ended_at IS NULL"
WATCHED_SQL: Final = "SELECT mark FROM risk_watchedmark WHERE ended_at IS NULL"


class InvalidLink(ExchangeError):
    code = "INVALID_FIELD"


class InvalidMark(ExchangeError):
    code = "INVALID_FIELD"


def active_links() -> list[tuple[int, int]]:
    with connection.cursor() as cursor:
        cursor.execute(ACTIVE_SQL)
        return [(row[0], row[1]) for row in cursor.fetchall()]


def watched_marks() -> frozenset[str]:
    """In lower case."""
    with connection.cursor() as cursor:
        cursor.execute(WATCHED_SQL)
        return frozenset(row[0] for row in cursor.fetchall())


def link_accounts(*, account: str, other: str, actor: str, reason: str) -> None:
    """From now on trades between these accounts (by name) count as trades of one owner. Owns its transaction; audited. Raises:
    InvalidLink."""
    _need(reason, InvalidLink)
    with own():
        low, high = sorted((_account(account), _account(other)), key=lambda found: found.pk)
        if low.pk == high.pk:
            raise InvalidLink("An account belongs to itself.", field="other")
        try:
            with transaction.atomic():
                AccountLink.objects.create(account=low, other=high, reason=reason, actor=actor)
        except IntegrityError:
            raise InvalidLink(f"{low.name} and {high.name} are linked.", field="other") from None
        audit.record(actor=actor, action="account.link", subject=f"account:{low.name}", reason=reason, after={"with": high.name})


def unlink_accounts(*, link_id: int, actor: str, reason: str) -> None:
    """End a link; what was found while it held stays. Owns its transaction; audited. Raises: InvalidLink."""
    _need(reason, InvalidLink)
    with own():
        link = (
            AccountLink.objects.select_for_update(of=("self",)).select_related("account", "other").filter(pk=link_id, ended_at=None).first()
        )
        if link is None:
            raise InvalidLink("There is no such link, or it has ended.", field="link")
        link.ended_at = Now()
        link.save(update_fields=["ended_at"])
        audit.record(
            actor=actor, action="account.unlink", subject=f"account:{link.account.name}", reason=reason, before={"with": link.other.name}
        )


def watch_mark(*, mark: str, actor: str, reason: str) -> None:
    """Look out for an address or reference, without regard to case. Owns its transaction; audited. Raises: InvalidMark."""
    _need(reason, InvalidMark)
    known = mark.strip().casefold()
    if not 0 < len(known) <= MARK_LENGTH:
        raise InvalidMark(f"A mark has 1 to {MARK_LENGTH} characters.", field="mark")
    with own():
        try:
            with transaction.atomic():
                WatchedMark.objects.create(mark=known, reason=reason, actor=actor)
        except IntegrityError:
            raise InvalidMark(f"{known} is on the watch list.", field="mark") from None
        audit.record(actor=actor, action="mark.watch", subject=f"mark:{known}"[:120], reason=reason)


def unwatch_mark(*, mark_id: int, actor: str, reason: str) -> None:
    """Take a mark off the watch list. Owns its transaction; audited. Raises: InvalidMark."""
    _need(reason, InvalidMark)
    with own():
        watched = WatchedMark.objects.select_for_update().filter(pk=mark_id, ended_at=None).first()
        if watched is None:
            raise InvalidMark("There is no such mark, or it has ended.", field="mark")
        watched.ended_at = Now()
        watched.save(update_fields=["ended_at"])
        audit.record(actor=actor, action="mark.unwatch", subject=f"mark:{watched.mark}"[:120], reason=reason)


def _account(name: str) -> Account:
    found = Account.objects.filter(name=name, kind="CUSTOMER").first()
    if found is None:
        raise InvalidLink(f"There is no trading account {name}.", field="account")
    return found


def _need(reason: str, error: type[ExchangeError]) -> None:
    if not reason.strip():
        raise error("Say why: the reason is kept in the audit trail.", field="reason")
