"""The audit trail: who did what to whom, when and why. Written by the transaction that did it, or not at all."""

from typing import Any

from exchange_platform.db import require_transaction
from institutions.models import AuditEntry


def record(
    *,
    actor: str,
    action: str,
    subject: str,
    reason: str = "",
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    ip: str | None = None,
    user_agent: str = "",
    request_id: str = "",
) -> None:
    """Append one entry. Joins the caller's transaction; takes no lock.

    Args: action: `noun.verb` ("account.freeze"). subject: what it was done to ("account:alpha-1"). before, after: only what
    changed, never a secret; JSON values, decimals as strings.
    Raises: RuntimeError outside a transaction.
    """
    require_transaction()
    AuditEntry.objects.create(
        actor=actor[:80],
        action=action,
        subject=subject[:120],
        reason=reason,
        before=before,
        after=after,
        ip=ip,
        user_agent=user_agent[:300],
        request_id=request_id[:40],
    )
