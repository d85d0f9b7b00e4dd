"""`manage.py seed_demo`: what it leaves in the database and in its file."""

import json
import stat
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from institutions.models import Account, ApiKey, Institution, User
from institutions.queries import accounts_of, find_api_key
from institutions.services import revoke_api_key
from markets.models import Symbol
from markets.queries import symbols
from wallet.models import Balance, Transfer

pytestmark = pytest.mark.django_db


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "demo.json"


def seed(path: Path) -> dict[str, Any]:
    call_command("seed_demo", "--credentials", str(path), verbosity=0, stdout=StringIO())
    return json.loads(path.read_text())


def counts() -> tuple[int, ...]:
    return tuple(model.objects.count() for model in (Institution, User, Account, ApiKey, Symbol, Transfer, Balance))


def test_the_file_is_private_and_has_the_shape_of_the_contract(path):
    told = seed(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    assert set(told) == {"users", "api_keys", "symbols"}
    assert {"BTC/USDT", "ETH/USDT", "TEST/USDT"} <= set(told["symbols"])
    assert all(set(user) == {"username", "password", "role", "institution", "totp_secret"} for user in told["users"])
    assert all(set(key) == {"account", "institution", "key", "secret", "kind", "scopes", "unlimited"} for key in told["api_keys"])


def test_there_are_people_of_every_role_and_their_passwords_open(path):
    told = seed(path)

    assert {(user["role"], user["institution"]) for user in told["users"]} == {
        ("operator", None),
        ("compliance", None),
        ("superuser", None),
        *((role, institution) for role in ("trader", "institution_admin", "quant") for institution in ("alpha", "beta")),
    }
    assert all(User.objects.get(username=user["username"]).check_password(user["password"]) for user in told["users"])


def test_every_account_is_funded_in_every_asset_and_has_one_unlimited_key(path):
    told = seed(path)

    accounts = [account.name for account in accounts_of(None)]
    unlimited = [key["account"] for key in told["api_keys"] if key["unlimited"]]
    assert sorted(unlimited) == sorted(accounts)
    assert all(sum(account.startswith(institution) for account in accounts) >= 4 for institution in ("alpha", "beta"))
    assert Balance.objects.filter(posted__gte=Decimal(100_000)).count() == len(accounts) * 4


def test_the_keys_come_in_the_order_that_checks_rely_on(path):
    keys = seed(path)["api_keys"]

    first, second, third = keys[:3]
    assert all(key["unlimited"] and key["scopes"] == ["read", "trade"] for key in (first, second, third))
    assert first["institution"] != second["institution"]
    assert any(k["unlimited"] and k["institution"] != first["institution"] and k["account"] != second["account"] for k in keys[2:])
    limited = [key for key in keys if not key["unlimited"]]
    assert any(key["scopes"] == ["read", "trade"] and key["account"] and key["kind"] == "hmac" for key in limited)
    assert any(key["scopes"] == ["read"] and key["account"] for key in limited)
    assert {key["institution"] for key in limited if key["account"] is None} == {"alpha", "beta"}
    assert [key["kind"] for key in keys].count("ed25519") == 1


def test_every_key_opens_what_the_file_says(path):
    for key in seed(path)["api_keys"]:
        found = find_api_key(key["key"])
        assert (found.account_name, found.institution_code, found.kind) == (key["account"], key["institution"], key["kind"])
        assert (sorted(found.scopes), found.is_unlimited) == (key["scopes"], key["unlimited"])
        assert (found.secret == key["secret"].encode()) == (key["kind"] == "hmac")


def test_the_quiet_symbol_is_as_the_contract_says(path):
    seed(path)

    (row,) = [row for row in symbols() if row["symbol"] == "TEST/USDT"]
    assert (row["tick_size"], row["lot_size"], row["min_quantity"], row["max_quantity"]) == ("0.01", "0.001", "0.001", "1000000.000")
    assert (row["min_notional"], row["reference_price"], row["maker_fee"], row["taker_fee"]) == ("0.00000000", "100.00", "0.001", "0.001")
    quiet = Symbol.objects.get(name="TEST/USDT")
    assert (quiet.static_band, quiet.dynamic_band) == (None, None)


def test_doing_it_again_changes_nothing(path):
    told, before = seed(path), counts()
    assert (seed(path), counts()) == (told, before)


@pytest.mark.parametrize("harm", ["gone", "torn", "revoked", "other secret", "lacking a key", "lacking a user"])
def test_a_file_that_does_not_open_everything_is_replaced_and_its_keys_revoked(path, harm):
    told, before = seed(path), counts()
    if harm == "gone":
        path.unlink()
    elif harm == "torn":
        path.write_text(path.read_text()[:-50])
    elif harm == "revoked":
        revoke_api_key(key=told["api_keys"][3]["key"], actor="tests", reason="test")
    else:
        changed = json.loads(path.read_text())
        if harm == "other secret":
            changed["api_keys"][0]["secret"] = "00" * 32
        elif harm == "lacking a key":
            del changed["api_keys"][-1]
        else:
            del changed["users"][-1]
        path.write_text(json.dumps(changed))

    again = seed(path)

    assert not {key["key"] for key in told["api_keys"]} & {key["key"] for key in again["api_keys"]}
    assert not {user["password"] for user in told["users"]} & {user["password"] for user in again["users"]}
    assert all(find_api_key(key["key"]) is None for key in told["api_keys"])
    assert all(find_api_key(key["key"]) for key in again["api_keys"])
    assert all(User.objects.get(username=user["username"]).check_password(user["password"]) for user in again["users"])
    after = counts()
    assert after[:3] + after[4:] == before[:3] + before[4:]
