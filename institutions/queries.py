"""Reads: who a key, a name or an id stands for. Asked before a tenant is known, so as the engine's role, never by RLS."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import QuerySet

from institutions.models import Account, AccountKind, ApiKey, User
from institutions.secrets import unseal


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """A trading account, or one of the house's (`kind`: CUSTOMER, FEES, EXTERNAL, ADJUSTMENT)."""

    id: int
    name: str
    institution_id: int
    institution_code: str
    kind: str
    is_frozen: bool


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An active API key. `account_id` null: any account of the institution.

    `secret` (HMAC) are the very bytes that sign; `public_key` (Ed25519) the client's raw 32 bytes; the other one is null.
    `ip_allow_list`: addresses and networks in canonical spelling; empty: from anywhere. `kind`: hmac or ed25519.
    """

    id: int
    key: str
    kind: str
    institution_id: int
    institution_code: str
    account_id: int | None
    account_name: str | None
    scopes: frozenset[str]
    ip_allow_list: tuple[str, ...]
    is_unlimited: bool
    secret: bytes | None
    public_key: bytes | None


@dataclass(frozen=True, slots=True)
class UserRecord:
    """An active person. `institution_id` null: staff of the platform, who see all tenants."""

    id: int
    username: str
    role: str
    institution_id: int | None
    institution_code: str | None


def find_api_key(key: str) -> KeyRecord | None:
    """The key with its secret decrypted; null when it is unknown or revoked. One statement.

    Raises: institutions.secrets.SecretUnreadable.
    """
    row = ApiKey.objects.select_related("institution", "account").filter(key=key, is_active=True).first()
    if row is None:
        return None
    return KeyRecord(
        id=row.pk,
        key=row.key,
        kind=row.kind,
        institution_id=row.institution_id,
        institution_code=row.institution.code,
        account_id=row.account_id,
        account_name=row.account.name if row.account else None,
        scopes=frozenset(row.scopes),
        ip_allow_list=tuple(row.ip_allow_list),
        is_unlimited=row.is_unlimited,
        secret=None if row.secret is None else unseal(bytes(row.secret), context=row.key),
        public_key=None if row.public_key is None else bytes(row.public_key),
    )


def find_account(name: str) -> AccountRecord | None:
    """The account of that name, whoever owns it, house accounts too: the caller decides whether it is in reach."""
    return next(_records(Account.objects.filter(name=name)), None)


def accounts_of(institution_id: int | None) -> list[AccountRecord]:
    """The customers' trading accounts of an institution (null: of all), by id, so in the order in which they were made."""
    accounts = Account.objects.filter(kind=AccountKind.CUSTOMER).order_by("pk")
    return list(_records(accounts if institution_id is None else accounts.filter(institution_id=institution_id)))


def find_user(user_id: int) -> UserRecord | None:
    """The person; null when unknown or deactivated. One statement."""
    row = User.objects.select_related("institution").filter(pk=user_id, is_active=True).first()
    if row is None:
        return None
    code = row.institution.code if row.institution else None
    return UserRecord(id=row.pk, username=row.username, role=row.role, institution_id=row.institution_id, institution_code=code)


def _records(accounts: "QuerySet[Account]") -> Iterator[AccountRecord]:
    columns = accounts.values_list("pk", "name", "institution_id", "institution__code", "kind", "is_frozen")
    return (AccountRecord(*row) for row in columns)
