"""Writes: institutions, people, trading accounts and API keys come into being, are frozen and revoked; all of it audited."""

import base64
import binascii
import ipaddress
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from django.contrib.auth import password_validation
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, models, transaction

from exchange_platform.db import own, require_transaction
from exchange_platform.errors import ExchangeError
from institutions import audit
from institutions.models import Account, AccountKind, ApiKey, Institution, KeyKind, Platform, PreventionMode, Role, User
from institutions.secrets import seal

STAFF_ROLES: Final = frozenset({Role.COMPLIANCE, Role.OPERATOR, Role.SUPERUSER})
SCOPES: Final = frozenset({"read", "trade", "withdraw", "admin"})
HOUSE_ACCOUNTS: Final = {AccountKind.EXTERNAL: "house-external", AccountKind.ADJUSTMENT: "house-adjustment"}
_KEY_ALPHABET: Final = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"  # without what people confuse
_ED25519_BYTES: Final = 32
_Row = TypeVar("_Row", bound=models.Model)


class InvalidValue(ExchangeError):
    """A value that cannot be stored; `field` names it."""

    code = "INVALID_FIELD"


class NotFound(ExchangeError):
    code = "NOT_FOUND"


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new API key. `secret` is shown this once: the text that HMAC requests are signed with; null for Ed25519."""

    id: int
    key: str
    secret: str | None


def create_institution(*, code: str, name: str, actor: str, is_house: bool = False, cors_origins: Sequence[str] = ()) -> Institution:
    """A new tenant; `is_house` for the one that owns the house accounts (there can be only one).

    Owns its transaction. Raises: InvalidValue.
    """
    with own():
        institution = _insert(Institution(code=code, name=name, is_house=is_house, cors_origins=list(cors_origins)))
        audit.record(actor=actor, action="institution.create", subject=f"institution:{code}", after={"name": name, "is_house": is_house})
    return institution


def create_user(*, username: str, password: str, role: str, institution_id: int | None, actor: str, email: str = "") -> User:
    """A new person. Staff of the platform (compliance, operator, superuser) may have no institution; others must have one.

    Owns its transaction. Raises: InvalidValue (also for a password that is too weak), NotFound (institution).
    """
    staff = role in STAFF_ROLES and institution_id is None
    user = User(username=username, email=email, role=role, institution_id=institution_id, is_staff=staff)
    user.is_superuser = staff and role == Role.SUPERUSER
    _set_password(user, password)
    with own():
        if institution_id is not None:
            _institution(institution_id)
        elif not staff:
            raise InvalidValue(f"A {role} belongs to an institution: name one.", field="institution")
        _insert(user)
        audit.record(actor=actor, action="user.create", subject=f"user:{username}", after={"role": role, "institution_id": institution_id})
    return user


def change_password(*, username: str, password: str, actor: str, reason: str) -> None:
    """Owns its transaction; locks the user's row. Raises: InvalidValue, NotFound."""
    with own():
        user = User.objects.select_for_update(no_key=True).filter(username=username).first()
        if user is None:
            raise NotFound(f"There is no user {username}.", field="username")
        _set_password(user, password)
        user.save(update_fields=["password"])
        audit.record(actor=actor, action="user.change_password", subject=f"user:{username}", reason=reason)


def create_account(
    *,
    institution_id: int,
    name: str,
    actor: str,
    beneficial_owner: str = "",
    self_trade_prevention: str = PreventionMode.CANCEL_NEWEST,
) -> Account:
    """A new trading account of a customer; its row of risk counters comes with it (a trigger).

    Owns its transaction. Raises: InvalidValue, NotFound (institution).
    """
    with own():
        institution = _institution(institution_id)
        account = _insert(
            Account(institution=institution, name=name, beneficial_owner=beneficial_owner, self_trade_prevention=self_trade_prevention)
        )
        audit.record(actor=actor, action="account.create", subject=f"account:{name}", after={"institution": institution.code})
    return account


def ensure_house_account(*, kind: AccountKind, name: str | None = None) -> int:
    """The id of a house account, made when it is not there yet. EXTERNAL and ADJUSTMENT have one each and need no name.

    Joins the caller's transaction; two that make the same account wait for each other. Raises: NotFound (no house institution
    yet), InvalidValue (the name belongs to another account).
    """
    require_transaction()
    name = name or HOUSE_ACCOUNTS[kind]
    found = _house_account(name, kind)
    if found is not None:
        return found
    house = Institution.objects.filter(is_house=True).first()
    if house is None:
        raise NotFound("There is no house institution yet: create it first, it owns the house accounts.")
    try:
        with transaction.atomic():
            return _insert(Account(institution=house, name=name, kind=kind)).pk
    except InvalidValue:
        made_meanwhile = _house_account(name, kind)
        if made_meanwhile is None:
            raise
        return made_meanwhile


def create_api_key(
    *,
    institution_id: int,
    account_id: int | None,
    scopes: Collection[str],
    actor: str,
    kind: str = KeyKind.HMAC,
    public_key: str | None = None,
    ip_allow_list: Sequence[str] = (),
    is_unlimited: bool = False,
    label: str = "",
) -> IssuedKey:
    """A new signing key of an account, or of the whole institution (`account_id` null).

    HMAC: the secret is 32 random bytes as hex; requests are signed with that text's ASCII bytes. Ed25519: `public_key` is the
    client's own, 32 raw bytes in base64. `ip_allow_list`: addresses or networks; the scope withdraw needs at least one.
    Owns its transaction. Raises: InvalidValue, NotFound (institution, or an account that is not a customer's of it).
    """
    check_scopes(scopes, ip_allow_list)
    key = "ak_" + "".join(secrets.choice(_KEY_ALPHABET) for _ in range(24))
    secret: str | None = None
    row = ApiKey(key=key, kind=kind, scopes=sorted(set(scopes)), ip_allow_list=[_network(ip) for ip in ip_allow_list])
    row.institution_id, row.account_id, row.is_unlimited, row.label = institution_id, account_id, is_unlimited, label
    if kind == KeyKind.HMAC:
        if public_key is not None:
            raise InvalidValue("An HMAC key has no public key: its secret is made here.", field="public_key")
        secret = secrets.token_hex(32)
        row.secret = seal(secret.encode(), context=key)
    else:
        row.public_key = _raw_public_key(public_key)
    with own():
        institution = _institution(institution_id)
        if (
            account_id is not None
            and not Account.objects.filter(pk=account_id, institution=institution, kind=AccountKind.CUSTOMER).exists()
        ):
            raise NotFound(f"Institution {institution.code} has no trading account with that id.", field="account")
        _insert(row)
        after = {"institution": institution.code, "account_id": account_id, "kind": kind, "scopes": row.scopes, "unlimited": is_unlimited}
        audit.record(actor=actor, action="api_key.create", subject=f"api_key:{key}", after=after)
    return IssuedKey(id=row.pk, key=key, secret=secret)


def revoke_api_key(*, key: str, actor: str, reason: str) -> None:
    """The key opens nothing any more, for ever. Revoking it again changes nothing.

    Owns its transaction; locks the key's row. Raises: NotFound, InvalidValue (no reason).
    """
    _check_reason(reason)
    with own():
        row = ApiKey.objects.select_for_update(no_key=True).filter(key=key).first()
        if row is None:
            raise NotFound("There is no such API key.", field="key")
        if row.is_active:
            row.is_active = False
            row.save(update_fields=["is_active"])
            audit.record(actor=actor, action="api_key.revoke", subject=f"api_key:{key}", reason=reason)


def freeze_account(*, account_id: int, actor: str, reason: str) -> None:
    """No new orders from the account; cancels go on. Intake locks the same row, so nothing slips past once this has returned. Back takes
    two people (`institutions.unfreezing`).

    Owns its transaction; locks the account's row (NO KEY UPDATE). Raises: NotFound, InvalidValue (no reason).
    """
    with own():
        set_frozen(Account, account_id, True, actor=actor, reason=reason)


def freeze_institution(*, institution_id: int, actor: str, reason: str) -> None:
    """No new orders from any account of the institution. Intake holds the same row shared, so this waits for the batch under
    way and stops the next. Back takes two people.

    Owns its transaction; locks the table of institutions (EXCLUSIVE), then the row. Raises: NotFound, InvalidValue (no reason).
    """
    with own():
        set_frozen(Institution, institution_id, True, actor=actor, reason=reason)


def set_frozen(model: type[Account] | type[Institution] | type[Platform], pk: int, frozen: bool, *, actor: str, reason: str) -> None:
    """Freeze or unfreeze a row; as it is already: nothing happens. The database refuses to unfreeze without an approved request.

    Joins the caller's transaction. Locks: the platform's or the institutions' table (EXCLUSIVE), or nothing above an account; then the row.
    Raises: NotFound, InvalidValue (no reason).
    """
    require_transaction()
    _check_reason(reason)
    what = model._meta.model_name
    if model is not Account:
        # Intake holds the row shared, and shared locks let each other pass: on the row alone a freeze can starve behind
        # overlapping batches. On the table it queues, and they queue behind it.
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {model._meta.db_table} IN EXCLUSIVE MODE")
    row = model._default_manager.select_for_update(no_key=True).filter(pk=pk).first()
    if row is None:
        raise NotFound(f"There is no such {what}.", field=what)
    if row.is_frozen != frozen:
        row.is_frozen = frozen
        row.save(update_fields=["is_frozen"])
        audit.record(
            actor=actor,
            action=f"{what}.{'freeze' if frozen else 'unfreeze'}",
            subject="platform" if model is Platform else f"{what}:{row}",
            reason=reason,
            before={"is_frozen": not frozen},
            after={"is_frozen": frozen},
        )


def _insert(row: _Row) -> _Row:
    """Checks the row as its model says, then inserts it. Joins the caller's transaction. Raises: InvalidValue."""
    try:
        row.full_clean()
        row.save(force_insert=True)
    except ValidationError as problem:
        field, messages = next(iter(problem.message_dict.items()))
        raise InvalidValue(" ".join(messages), field=None if field == "__all__" else field) from None
    except IntegrityError as problem:  # somebody else was faster, or a rule that only the database knows
        raise InvalidValue(str(problem).splitlines()[0]) from None
    return row


def _institution(institution_id: int) -> Institution:
    found = Institution.objects.filter(pk=institution_id).first()
    if found is None:
        raise NotFound("There is no such institution.", field="institution")
    return found


def _house_account(name: str, kind: AccountKind) -> int | None:
    return Account.objects.filter(name=name, kind=kind, institution__is_house=True).values_list("pk", flat=True).first()


def _set_password(user: User, password: str) -> None:
    try:
        password_validation.validate_password(password, user)
    except ValidationError as problem:
        raise InvalidValue(" ".join(problem.messages), field="password") from None
    user.set_password(password)


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise InvalidValue("Say why: the reason is kept in the audit trail.", field="reason")


def check_scopes(scopes: Collection[str], ip_allow_list: Sequence[str]) -> None:
    """Pure. Raises: InvalidValue."""
    unknown = sorted(set(scopes) - SCOPES)
    if unknown or not scopes:
        raise InvalidValue(f"Scopes are some of {', '.join(sorted(SCOPES))}, not {', '.join(unknown) or 'none'}.", field="scopes")
    if "withdraw" in scopes and not ip_allow_list:
        raise InvalidValue("A key that may withdraw needs a list of allowed addresses.", field="ip_allow_list")


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text) if "/" in text else ipaddress.ip_address(text))
    except ValueError:
        raise InvalidValue(f"{text!r} is neither an IP address nor a network.", field="ip_allow_list") from None


def _raw_public_key(text: str | None) -> bytes:
    try:
        raw = base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _ED25519_BYTES:
        raise InvalidValue("An Ed25519 key needs the client's public key: 32 raw bytes in base64.", field="public_key")
    return raw
