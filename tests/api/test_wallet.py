"""Money over REST: withdrawals and their addresses, deposits, transfers, statements; with keys, rows and threads as they are in earnest."""

import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api import threads
from institutions import queries as institutions
from institutions.services import IssuedKey, freeze_account
from tests.api.conftest import Client, forget_all
from tests.factories import AccountFactory, AssetFactory, InstitutionFactory, api_key, fund, house
from tests.money import assert_money_conserved
from tests.support.approvals import staff, two_people
from tests.wallet.conftest import STAFF
from wallet import queries, withdrawals
from wallet.asking import OutcomeUnknown
from wallet.models import Withdrawal
from wallet.withdrawals import complete

REAL = {name: getattr(institutions, name) for name in ("find_api_key", "find_user", "find_account", "accounts_of")}
Act = Callable[["Teller"], Awaitable[Any]]
BODY = {"asset": "USD", "amount": "10", "address": "bc1-somewhere"}


@dataclass
class Teller:
    """Signs with the key it is told."""

    client: Client
    keys: dict[str, IssuedKey]

    async def call(
        self, method: str, path: str, body: Any = None, *, key: str = "full", idem: str | None = None, at: int | None = None
    ) -> httpx.Response:
        import orjson

        issued, target = self.keys[key], "/api/v1" + path
        content = b"" if body is None else orjson.dumps(body)
        stamp = time.time_ns() // 1_000_000 if at is None else at
        text = f"{stamp}5000{method}{target}".encode() + content
        signature = hmac.new(str(issued.secret).encode(), text, hashlib.sha256).hexdigest()
        headers = {"X-API-Key": issued.key, "X-Timestamp": str(stamp), "X-Recv-Window": "5000", "X-Signature": signature}
        if content:
            headers["Content-Type"] = "application/json"
        if idem is not None:
            headers["Idempotency-Key"] = idem
        return await self.client.http.request(method, target, content=content, headers=headers)


@pytest.fixture
def tell(fresh_database: str, monkeypatch: pytest.MonkeyPatch, settings: Any, run_api: Any) -> Iterator[Callable[[Act], Any]]:
    threads.shut_down()
    for name, real in REAL.items():
        monkeypatch.setattr(institutions, name, real)
    settings.WITHDRAWAL_COOL_OFF_S = 0
    forget_all()
    queries.forget()
    house()
    north = InstitutionFactory(code="north")
    mine, sibling = AccountFactory(name="north-1", institution=north), AccountFactory(name="north-2", institution=north)
    theirs = AccountFactory(name="south-1", institution=InstitutionFactory(code="south"))
    usd = AssetFactory(code="USD", scale=2)
    for account in (mine, theirs):
        fund(account, usd, 1000)
    everything: dict[str, Any] = {"scopes": ["read", "trade", "withdraw"], "ip_allow_list": ["127.0.0.0/8"]}
    keys = {
        "full": api_key(mine, **everything),
        "trade": api_key(mine),
        "theirs": api_key(theirs, **everything),
        "sibling": api_key(sibling, **everything),
    }
    yield lambda act: run_api(lambda client: act(Teller(client, keys)))
    threads.shut_down()
    forget_all()
    queries.forget()
    assert_money_conserved()


def told(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json().get("code", "")


async def listed(teller: Teller, key: str = "full") -> str:
    reply = await teller.call("POST", "/withdrawal-addresses", {"asset": "USD", "address": BODY["address"], "label": "cold"}, key=key)
    assert reply.status_code in (200, 201), reply.text
    return str(reply.json()["address_id"])


def test_a_withdrawal_from_asking_to_its_end(tell: Any) -> None:
    async def act(teller: Teller) -> None:
        await listed(teller)
        made = await teller.call("POST", "/withdrawals", BODY, idem="w-1")
        assert made.status_code == 201, made.text
        body = made.json()
        assert {name: body[name] for name in ("account", "asset", "amount", "address", "status", "transfer_id", "reference")} == {
            "account": "north-1", "asset": "USD", "amount": "10.00", "address": "bc1-somewhere", "status": "REQUESTED",
            "transfer_id": None, "reference": None,
        }  # fmt: skip
        [balance] = (await teller.call("GET", "/balances")).json()["results"]
        assert (balance["held"], balance["available"]) == ("10.00", "990.00")

        again = await teller.call("POST", "/withdrawals", {**BODY, "amount": "10.00"}, idem="w-1")
        assert (again.status_code, again.headers["idempotent-replay"], again.json()) == (200, "true", body)
        assert told(await teller.call("POST", "/withdrawals", {**BODY, "amount": "11"}, idem="w-1")) == (409, "IDEMPOTENCY_CONFLICT")

        path = f"/withdrawals/{body['withdrawal_id']}"
        assert (await teller.call("GET", path)).json() == body
        assert (await teller.call("GET", "/withdrawals?status=REQUESTED&asset=USD")).json() == {"results": [body], "next_cursor": None}
        assert (await teller.call("GET", "/withdrawals?status=COMPLETED")).json()["results"] == []
        assert told(await teller.call("GET", path, key="theirs")) == (404, "NOT_FOUND")
        assert told(await teller.call("DELETE", path, key="theirs")) == (404, "NOT_FOUND")
        assert told(await teller.call("DELETE", path, key="sibling")) == (404, "NOT_FOUND")
        ended = await teller.call("DELETE", path)
        assert (ended.status_code, ended.json()["status"]) == (200, "CANCELLED")
        assert told(await teller.call("DELETE", path)) == (409, "WITHDRAWAL_NOT_OPEN")
        [balance] = (await teller.call("GET", "/balances")).json()["results"]
        assert (balance["held"], balance["available"]) == ("0.00", "1000.00")

    tell(act)


def test_a_completed_one_is_in_ledger_and_statement(tell: Any) -> None:
    two_people("withdrawal.limit", {"asset": "USD", "automatic": "500"})

    async def ask(teller: Teller) -> str:
        await listed(teller)
        reply = await teller.call("POST", "/withdrawals", BODY, idem="w-1")
        assert reply.json()["status"] == "APPROVED"
        return str(reply.json()["withdrawal_id"])

    wanted = tell(ask)
    complete(withdrawal_id=Withdrawal.objects.get().pk, reference="=chain", asked=STAFF)

    async def look(teller: Teller) -> None:
        found = (await teller.call("GET", f"/withdrawals/{wanted}")).json()
        assert (found["status"], found["reference"]) == ("COMPLETED", "=chain")
        entry = (await teller.call("GET", "/ledger")).json()["results"][0]
        assert (entry["id"], entry["kind"], entry["amount"]) == (found["transfer_id"], "WITHDRAWAL", "-10.00")
        since = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        statement = (await teller.call("GET", f"/statements?from={since}")).json()
        assert statement["assets"] == [{"asset": "USD", "opening": "0.00", "movements": "990.00", "closing": "990.00"}]
        assert [(e["kind"], e["amount"], e["balance"]) for e in statement["entries"]] == [
            ("DEPOSIT", "1000.00", "1000.00"), ("WITHDRAWAL", "-10.00", "990.00"),
        ]  # fmt: skip
        sheet = await teller.call("GET", f"/statements?from={since}&format=csv")
        assert sheet.headers["content-type"] == "text/csv; charset=utf-8"
        assert "attachment" in sheet.headers["content-disposition"]
        lines = sheet.text.splitlines()
        assert lines[0] == "timestamp,id,kind,asset,amount,balance,reference"
        assert lines[-1].endswith(",CLOSING,USD,,990.00,")
        assert ",'=chain" in sheet.text  # no formula
        assert told(await teller.call("GET", "/statements")) == (400, "MISSING_FIELD")
        assert told(await teller.call("GET", f"/statements?from={since}&account=south-1")) == (404, "NOT_FOUND")
        assert told(await teller.call("GET", f"/statements?from={since}&format=pdf")) == (400, "INVALID_FIELD")
        assert told(await teller.call("GET", "/statements?from=2999-01-01T00:00:00Z")) == (400, "INVALID_FIELD")

    tell(look)


def test_withdrawing_needs_its_own_scope(tell: Any) -> None:
    async def act(teller: Teller) -> None:
        for method, path, body in (
            ("POST", "/withdrawals", BODY),
            ("POST", "/withdrawal-addresses", {"asset": "USD", "address": "x"}),
            ("DELETE", f"/withdrawals/{uuid4()}", None),
            ("DELETE", f"/withdrawal-addresses/{uuid4()}", None),
        ):
            assert told(await teller.call(method, path, body, key="trade", idem="k")) == (403, "SCOPE_MISSING")
        assert (await teller.call("GET", "/withdrawals", key="trade")).status_code == 200

    tell(act)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"asset": "USD", "amount": "1"}, (400, "MISSING_FIELD")),
        ({**BODY, "fee": "1"}, (400, "UNKNOWN_FIELD")),
        ({**BODY, "amount": 1}, (400, "INVALID_FIELD")),
        ({**BODY, "amount": "0"}, (400, "INVALID_NUMBER")),
        ({**BODY, "amount": "-1"}, (400, "INVALID_NUMBER")),
        ({**BODY, "amount": "NaN"}, (400, "INVALID_NUMBER")),
        ({**BODY, "amount": "1e3"}, (400, "INVALID_NUMBER")),
        ({**BODY, "amount": "0.001"}, (400, "INVALID_NUMBER")),
        ({**BODY, "address": ""}, (400, "INVALID_FIELD")),
        ({**BODY, "address": "a b"}, (400, "INVALID_FIELD")),
        ({**BODY, "address": "x" * 121}, (400, "INVALID_FIELD")),
        ({**BODY, "asset": "NONE"}, (404, "NOT_FOUND")),
        ({**BODY, "account": "south-1"}, (404, "NOT_FOUND")),
        ({**BODY, "account": "north-2"}, (404, "NOT_FOUND")),
        ({**BODY, "amount": "1000.01"}, (422, "INSUFFICIENT_FUNDS")),
        ({**BODY, "address": "elsewhere"}, (422, "ADDRESS_NOT_LISTED")),
        ({**BODY, "account": "north-1"}, (201, "")),
    ],
)
def test_what_is_asked_wrongly_is_refused(tell: Any, body: Any, expected: tuple[int, str]) -> None:
    async def act(teller: Teller) -> None:
        await listed(teller)
        assert told(await teller.call("POST", "/withdrawals", body, idem="w-1")) == expected

    tell(act)


def test_money_moves_with_an_idempotency_key_alone(tell: Any) -> None:
    async def act(teller: Teller) -> None:
        await listed(teller)
        transfer = {"from_account": "north-1", "to_account": "north-2", "asset": "USD", "amount": "1"}
        for path, body in (("/withdrawals", BODY), ("/transfers", transfer)):
            reply = await teller.call("POST", path, body)
            assert (told(reply), reply.json()["field"]) == ((400, "MISSING_FIELD"), "Idempotency-Key")
            assert told(await teller.call("POST", path, body, idem="x" * 101)) == (400, "INVALID_FIELD")
            assert told(await teller.call("POST", path, body, idem="")) == (400, "INVALID_FIELD")
        at = time.time_ns() // 1_000_000
        assert (await teller.call("POST", "/transfers", transfer, idem="t-1", at=at)).status_code == 201
        assert told(await teller.call("POST", "/transfers", transfer, idem="t-1", at=at)) == (401, "REPLAYED_SIGNATURE")

    tell(act)


def test_transfers_stay_within_the_institution(tell: Any) -> None:
    async def act(teller: Teller) -> None:
        body = {"from_account": "north-1", "to_account": "north-2", "asset": "USD", "amount": "25.5"}
        made = await teller.call("POST", "/transfers", body, key="trade", idem="t-1")
        assert made.status_code == 201, made.text
        assert {name: made.json()[name] for name in body} == {**body, "amount": "25.50"}
        again = await teller.call("POST", "/transfers", body, key="trade", idem="t-1")
        assert (again.status_code, again.json()) == (200, made.json())
        for giver, taker in (("north-1", "south-1"), ("south-1", "north-1"), ("north-2", "north-1"), ("north-1", "nobody"),
                             ("north-1", "house-external")):  # fmt: skip
            reply = await teller.call("POST", "/transfers", {**body, "from_account": giver, "to_account": taker}, idem=f"{giver}{taker}")
            assert told(reply) == (404, "NOT_FOUND"), (giver, taker)
        assert told(await teller.call("POST", "/transfers", {**body, "to_account": "north-1"}, idem="t-2")) == (400, "CONFLICTING_FIELDS")
        assert told(await teller.call("POST", "/transfers", {**body, "amount": "5000"}, idem="t-3")) == (422, "INSUFFICIENT_FUNDS")

    tell(act)


def test_addresses_are_listed_and_removed(tell: Any) -> None:
    async def act(teller: Teller) -> None:
        made = await listed(teller)
        assert await listed(teller) == made
        [row] = (await teller.call("GET", "/withdrawal-addresses")).json()["results"]
        assert (row["address_id"], row["label"], row["removed_at"]) == (made, "cold", None)
        for path in (f"/withdrawal-addresses/{uuid4()}", "/withdrawal-addresses/x"):
            assert told(await teller.call("DELETE", path)) == (404, "NOT_FOUND")
        for key in ("theirs", "sibling"):
            assert told(await teller.call("DELETE", f"/withdrawal-addresses/{made}", key=key)) == (404, "NOT_FOUND")
        gone = await teller.call("DELETE", f"/withdrawal-addresses/{made}")
        assert gone.json()["removed_at"]
        assert (await teller.call("DELETE", f"/withdrawal-addresses/{made}")).json() == gone.json()
        assert (await teller.call("GET", "/withdrawal-addresses")).json()["results"] == []

    tell(act)


def test_deposits_come_in_pages_and_show_nothing_foreign(tell: Any) -> None:
    async def act(teller: Teller) -> None:
        [first] = (await teller.call("GET", "/deposits")).json()["results"]
        assert (first["account"], first["amount"]) == ("north-1", "1000.00")
        assert told(await teller.call("GET", "/deposits?account=south-1")) == (404, "NOT_FOUND")
        assert (await teller.call("GET", "/withdrawals?asset=NONE")).json()["results"] == []
        await listed(teller)
        for number in range(3):
            await teller.call("POST", "/withdrawals", BODY, idem=f"w-{number}")
        page = (await teller.call("GET", "/withdrawals?limit=2")).json()
        rest = (await teller.call("GET", f"/withdrawals?limit=2&cursor={page['next_cursor']}")).json()
        ids = [row["withdrawal_id"] for row in page["results"] + rest["results"]]
        assert (len(ids), ids, rest["next_cursor"]) == (3, sorted(ids, reverse=True), None)

    tell(act)


def test_who_is_frozen_withdraws_nothing(tell: Any) -> None:
    async def prepare(teller: Teller) -> None:
        await listed(teller)

    tell(prepare)
    freeze_account(account_id=REAL["find_account"]("north-1").id, actor=f"user:{staff('olga').pk}:olga", reason="a test")

    async def act(teller: Teller) -> None:
        assert told(await teller.call("POST", "/withdrawals", BODY, idem="w-1")) == (422, "ACCOUNT_FROZEN")
        body = {"from_account": "north-1", "to_account": "north-2", "asset": "USD", "amount": "1"}
        assert told(await teller.call("POST", "/transfers", body, idem="t-1")) == (422, "ACCOUNT_FROZEN")

    tell(act)


def test_where_nobody_knows_whether_it_was_committed_there_is_no_answer(tell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = withdrawals.request_withdrawal

    def broken(**asked: Any) -> None:
        real(**asked)
        raise OutcomeUnknown

    async def act(teller: Teller) -> None:
        await listed(teller)
        with monkeypatch.context() as patched:
            patched.setattr(withdrawals, "request_withdrawal", broken)
            with pytest.raises(Exception):  # noqa: B017  # this transport tells of a dropped connection by any exception
                await teller.call("POST", "/withdrawals", BODY, idem="w-1")
        again = await teller.call("POST", "/withdrawals", BODY, idem="w-1")
        assert (again.status_code, again.headers["idempotent-replay"]) == (200, "true")
        [balance] = (await teller.call("GET", "/balances")).json()["results"]
        assert Decimal(balance["held"]) == 10

    tell(act)
