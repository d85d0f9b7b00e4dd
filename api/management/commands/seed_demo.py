"""`manage.py seed_demo --credentials PATH`: who and what a fresh exchange needs to be tried out, and the log-ins for it.

Institutions, accounts, funds and symbols are made where they are missing. Log-ins are made together with the file that names
them: a file that still opens everything is left alone, anything else is answered with new keys and new passwords.
"""

import base64
import json
import os
import secrets
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from django.core.management.base import BaseCommand
from django.db import connection

from institutions import queries
from institutions.models import ApiKey, Institution, KeyKind, Role, User
from institutions.secrets import SecretUnreadable
from institutions.services import change_password, create_account, create_api_key, create_institution, create_user, revoke_api_key
from markets.models import Asset, Symbol
from markets.services import create_asset, create_symbol
from wallet.services import deposit

ACTOR: Final = "seed_demo"
LABEL: Final = "demo"
ACCOUNTS_EACH: Final = 5
INSTITUTIONS: Final = {"alpha": "Alpha Capital", "beta": "Beta Trading"}
STAFF: Final = (("operator", Role.OPERATOR), ("compliance", Role.COMPLIANCE), ("superuser", Role.SUPERUSER))
PEOPLE: Final = (("trader", Role.TRADER), ("admin", Role.INSTITUTION_ADMIN), ("quant", Role.QUANT))
ASSET_SCALE: Final = 8

# Ample for every check and load, yet within one largest order of TEST/USDT, so that running out of funds can be tried.
FUNDS: Final = {"USDT": Decimal(90_000_000), "TEST": Decimal(900_000), "BTC": Decimal(1_000_000), "ETH": Decimal(10_000_000)}

MARKETS: Final[dict[str, dict[str, Any]]] = {
    "BTC/USDT": {"tick_size": Decimal("0.01"), "lot_size": Decimal("0.00001"), "min_notional": Decimal(5)},
    "ETH/USDT": {"tick_size": Decimal("0.01"), "lot_size": Decimal("0.0001"), "min_notional": Decimal(5)},
    "TEST/USDT": {
        "tick_size": Decimal("0.01"),
        "lot_size": Decimal("0.001"),
        "max_quantity": Decimal(1_000_000),
        "static_band": None,
        "dynamic_band": None,
        "reference_price": Decimal(100),
    },
}


@dataclass(frozen=True, slots=True)
class KeyWanted:
    """One key of the file: of an account, or of an institution (account null)."""

    institution: str
    account: str | None
    scopes: tuple[str, ...]
    kind: str = KeyKind.HMAC
    unlimited: bool = False


class Command(BaseCommand):
    help = "Makes demo institutions, users, funded accounts, keys and symbols, and writes their log-ins to a private file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--credentials", required=True, type=Path, metavar="PATH", help="where the log-ins are kept (mode 0600)")

    def handle(self, *_: Any, credentials: Path, **__: Any) -> None:
        seed_institutions()
        seed_markets()
        seed_funds()
        if opens_everything(credentials):
            self.stdout.write(f"Demo data is complete; {credentials} is still valid.")
            return
        revoke_demo_keys()
        write_private(credentials, {"users": list(make_users()), "api_keys": list(make_keys()), "symbols": list(MARKETS)})
        self.stdout.write(f"Demo data is complete; new log-ins are in {credentials}.")


def seed_institutions() -> None:
    """The house, the demo institutions and their accounts, where missing."""
    codes = set(Institution.objects.values_list("code", flat=True))
    if not Institution.objects.filter(is_house=True).exists():
        create_institution(code="house", name="The house", is_house=True, actor=ACTOR)
    for code, name in INSTITUTIONS.items():
        if code not in codes:
            create_institution(code=code, name=name, actor=ACTOR)
    known = {account.name for account in queries.accounts_of(None)}
    for institution, account in account_names():
        if account not in known:
            owner = f"{INSTITUTIONS[institution]} desk {account[-1]}"
            create_account(institution_id=_institution_id(institution), name=account, beneficial_owner=owner, actor=ACTOR)


def seed_markets() -> None:
    known = set(Asset.objects.values_list("code", flat=True))
    for code in FUNDS:
        if code not in known:
            create_asset(code=code, scale=ASSET_SCALE, actor=ACTOR)
    listed = set(Symbol.objects.values_list("name", flat=True))
    for name, rules in MARKETS.items():
        if name not in listed:
            base, quote = name.split("/")
            create_symbol(base=base, quote=quote, actor=ACTOR, **rules)


def seed_funds() -> None:
    """Deposit once what each demo account starts with."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT key FROM wallet_transferkey WHERE scope = 'deposit' AND key LIKE 'demo:%'")
        done = {key for (key,) in cursor.fetchall()}
    ids = {account.name: account.id for account in queries.accounts_of(None)}
    for _, account in account_names():
        for asset, amount in FUNDS.items():
            reference = f"demo:{account}:{asset}"
            if reference not in done:
                deposit(account_id=ids[account], asset=asset, amount=amount, reference=reference, actor=ACTOR, reason="demo funds")


def account_names() -> Iterator[tuple[str, str]]:
    """(institution, account): the institutions take turns, so neighbours belong to different ones."""
    for number in range(1, ACCOUNTS_EACH + 1):
        for institution in INSTITUTIONS:
            yield institution, f"{institution}-{number}"


def keys_wanted() -> Iterator[KeyWanted]:
    """In the order of the file: first one unlimited key per account, then what has the default limits, on each institution's
    last account, which the others leave quiet."""
    for institution, account in account_names():
        yield KeyWanted(institution, account, ("read", "trade"), unlimited=True)
    for institution in INSTITUTIONS:
        yield KeyWanted(institution, f"{institution}-{ACCOUNTS_EACH}", ("read", "trade"))
        yield KeyWanted(institution, f"{institution}-{ACCOUNTS_EACH}", ("read",))
        yield KeyWanted(institution, None, ("read", "trade"))
    first = next(iter(INSTITUTIONS))
    yield KeyWanted(first, f"{first}-{ACCOUNTS_EACH}", ("read", "trade"), kind=KeyKind.ED25519)


def users_wanted() -> Iterator[tuple[str, str, str | None]]:
    """(username, role, institution)."""
    yield from ((username, role, None) for username, role in STAFF)
    for institution in INSTITUTIONS:
        yield from ((f"{institution}-{name}", role, institution) for name, role in PEOPLE)


def opens_everything(path: Path) -> bool:
    """Whether the file names every user and key wanted, the users are there and each key still opens what it says.

    Passwords are not tried (that takes a third of a second each); one that was changed since stays changed.
    """
    try:
        kept = json.loads(path.read_text())
        users = {user["username"] for user in kept["users"]}
        keys = [(key["key"], key["secret"], key["kind"]) for key in kept["api_keys"]]
        shape = [(key["institution"], key["account"], tuple(key["scopes"]), key["kind"], key["unlimited"]) for key in kept["api_keys"]]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if shape != [(k.institution, k.account, k.scopes, k.kind, k.unlimited) for k in keys_wanted()] or kept.get("symbols") != list(MARKETS):
        return False
    if users != {username for username, _, _ in users_wanted()}:
        return False
    return User.objects.filter(username__in=users, is_active=True).count() == len(users) and all(_key_opens(*key) for key in keys)


def _key_opens(key: str, secret: str, kind: str) -> bool:
    try:
        found = queries.find_api_key(key)
    except SecretUnreadable:
        return False
    if found is None:
        return False
    if kind == KeyKind.HMAC:
        return found.secret == secret.encode()
    return found.public_key == Ed25519PrivateKey.from_private_bytes(base64.b64decode(secret)).public_key().public_bytes_raw()


def revoke_demo_keys() -> None:
    """Keys of an earlier file that nobody can know any more."""
    for key in ApiKey.objects.filter(label=LABEL, is_active=True).values_list("key", flat=True):
        revoke_api_key(key=key, actor=ACTOR, reason="its credentials file is gone or incomplete")


def make_users() -> Iterator[dict[str, Any]]:
    known = set(User.objects.values_list("username", flat=True))
    for username, role, institution in users_wanted():
        password = secrets.token_urlsafe(18)
        if username in known:
            change_password(username=username, password=password, actor=ACTOR, reason="its credentials file is gone or incomplete")
        else:
            institution_id = None if institution is None else _institution_id(institution)
            create_user(username=username, password=password, role=role, institution_id=institution_id, actor=ACTOR)
        yield {"username": username, "password": password, "role": str(role), "institution": institution, "totp_secret": None}


def make_keys() -> Iterator[dict[str, Any]]:
    ids = {account.name: account.id for account in queries.accounts_of(None)}
    for wanted in keys_wanted():
        private = Ed25519PrivateKey.generate() if wanted.kind == KeyKind.ED25519 else None
        public = None if private is None else private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        issued = create_api_key(
            institution_id=_institution_id(wanted.institution),
            account_id=None if wanted.account is None else ids[wanted.account],
            kind=wanted.kind,
            scopes=wanted.scopes,
            public_key=None if public is None else base64.b64encode(public).decode(),
            is_unlimited=wanted.unlimited,
            label=LABEL,
            actor=ACTOR,
        )
        secret = issued.secret
        if private is not None:
            secret = base64.b64encode(private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())).decode()
        yield {
            "account": wanted.account,
            "institution": wanted.institution,
            "key": issued.key,
            "secret": secret,
            "kind": str(wanted.kind),
            "scopes": list(wanted.scopes),
            "unlimited": wanted.unlimited,
        }


def _institution_id(code: str) -> int:
    return Institution.objects.values_list("pk", flat=True).get(code=code)


def write_private(path: Path, content: dict[str, Any]) -> None:
    """The whole file or none of it, readable by its owner alone."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
