"""Maker and checker: who may ask and decide, and that what was approved is what is done."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from institutions import requests
from institutions.models import ApiKey, AuditEntry, ChangeRequest
from institutions.requests import AnotherPerson, InvalidRequest, NotPending, StaleRequest
from institutions.services import InvalidValue, NotFound, freeze_account, freeze_institution
from tests.factories import AccountFactory, UserFactory, api_key
from tests.support.approvals import staff, two_people

pytestmark = pytest.mark.django_db


@pytest.fixture
def account() -> Any:
    made = AccountFactory()
    freeze_account(account_id=made.pk, actor="olga", reason="a court order")
    made.refresh_from_db()
    return made


def ask(account: Any) -> ChangeRequest:
    olga = staff("olga")
    number = requests.submit(
        kind="account.unfreeze", payload={"id": account.pk}, actor=f"user:{olga.pk}:olga", maker_id=olga.pk, reason="lifted"
    )
    return ChangeRequest.objects.get(pk=number)


def decide(row: ChangeRequest, *, by: str = "carla", role: str = "compliance", shown: str | None = None) -> Any:
    person = staff(by, role)
    return requests.approve(
        change_id=row.pk,
        payload_hash=bytes(row.payload_hash).hex() if shown is None else shown,
        checker_id=person.pk,
        actor=f"user:{person.pk}:{by}",
        reason="seen",
    )


class TestTheService:
    def test_one_asks_another_agrees_and_it_is_done(self, account: Any) -> None:
        row = ask(account)
        assert (row.state, row.subject) == ("PENDING", f"account:{account.name}")
        assert (row.effect["before"], row.effect["after"]) == ({"is_frozen": True}, {"is_frozen": False})
        account.refresh_from_db()
        assert account.is_frozen, "asking changes nothing"

        decide(row)
        account.refresh_from_db()
        row.refresh_from_db()
        assert not account.is_frozen
        assert (row.state, row.result, bytes(row.approved_hash)) == ("APPROVED", {"is_frozen": False}, bytes(row.payload_hash))
        trail = list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))
        assert [action for action in trail if action in ("request.ask", "account.unfreeze", "request.approve")] == [
            "request.ask",
            "account.unfreeze",
            "request.approve",
        ]

    def test_the_maker_cannot_decide(self, account: Any) -> None:
        row = ask(account)
        with pytest.raises(AnotherPerson):
            decide(row, by="olga", role="operator")
        with pytest.raises(AnotherPerson):
            requests.reject(change_id=row.pk, checker_id=staff("olga").pk, actor="olga", reason="no")

    def test_who_decides_is_staff_with_the_right(self, account: Any) -> None:
        row, trader = ask(account), UserFactory(role="institution_admin")
        with pytest.raises(AnotherPerson):
            requests.approve(
                change_id=row.pk, payload_hash=bytes(row.payload_hash).hex(), checker_id=trader.pk, actor=trader.username, reason="mine"
            )

    def test_only_what_was_shown_is_approved(self, account: Any) -> None:
        with pytest.raises(StaleRequest):
            decide(ask(account), shown="00" * 32)

    def test_a_reason_is_needed_on_both_sides(self, account: Any) -> None:
        with pytest.raises(InvalidRequest):
            requests.submit(kind="account.unfreeze", payload={"id": account.pk}, actor="olga", maker_id=None, reason=" ")
        with pytest.raises(InvalidRequest):
            requests.reject(change_id=ask(account).pk, checker_id=staff("carla", "compliance").pk, actor="carla", reason="")

    def test_the_same_is_asked_once_at_a_time(self, account: Any) -> None:
        first = ask(account)
        with pytest.raises(NotPending):
            ask(account)
        requests.reject(change_id=first.pk, checker_id=staff("carla", "compliance").pk, actor="carla", reason="not yet")
        assert ask(account).pk != first.pk

    def test_a_decision_is_final(self, account: Any) -> None:
        row = ask(account)
        decide(row)
        with pytest.raises(NotPending):
            decide(row)
        with pytest.raises(NotPending):
            requests.withdraw(change_id=row.pk, maker_id=row.maker_user_id, actor=row.maker, reason="never mind")

    def test_only_the_maker_takes_back(self, account: Any) -> None:
        row, carla = ask(account), staff("carla", "compliance")
        with pytest.raises(AnotherPerson):
            requests.withdraw(change_id=row.pk, maker_id=carla.pk, actor=f"user:{carla.pk}:carla", reason="never mind")
        requests.withdraw(change_id=row.pk, maker_id=row.maker_user_id, actor=row.maker, reason="never mind")
        row.refresh_from_db()
        assert row.state == "WITHDRAWN"

    def test_what_cannot_be_done_is_not_asked(self) -> None:
        with pytest.raises(NotFound):
            requests.submit(kind="account.unfreeze", payload={"id": 0}, actor="olga", maker_id=None, reason="x")
        with pytest.raises(InvalidValue):
            requests.submit(kind="account.unfreeze", payload={"id": AccountFactory().pk}, actor="olga", maker_id=None, reason="x")
        with pytest.raises(InvalidRequest):
            requests.submit(kind="no.such", payload={}, actor="olga", maker_id=None, reason="x")

    def test_what_has_changed_since_is_not_approved(self) -> None:
        issued = api_key(AccountFactory(), scopes=["read"])
        olga = staff("olga")
        number = requests.submit(
            kind="api_key.scopes", payload={"key": issued.key, "scopes": ["read", "trade"]}, actor="olga", maker_id=olga.pk, reason="x"
        )
        two_people("api_key.scopes", {"key": issued.key, "scopes": ["trade"]})
        with pytest.raises(StaleRequest):
            decide(ChangeRequest.objects.get(pk=number))
        assert ApiKey.objects.get(key=issued.key).scopes == ["trade"]

    def test_where_it_cannot_be_applied_nothing_is_approved(self, account: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        row = ask(account)

        def fail(*_: Any, **__: Any) -> dict[str, Any]:
            raise InvalidValue("something came between")

        monkeypatch.setattr(type(requests.change_of("account.unfreeze")), "apply", fail)
        with pytest.raises(InvalidValue):
            decide(row)
        row.refresh_from_db()
        account.refresh_from_db()
        assert (row.state, account.is_frozen) == ("PENDING", True)

    def test_what_nobody_decides_expires(self, account: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(requests, "VALID_FOR", timedelta(milliseconds=300))
        row = ask(account)
        assert requests.expire_due() == 0
        time.sleep(0.35)
        with pytest.raises(NotPending):
            decide(row)
        assert (requests.expire_due(), requests.expire_due()) == (1, 0)
        row.refresh_from_db()
        assert (row.state, row.checker) == ("EXPIRED", requests.SYSTEM)


def test_another_transactions_approval_is_none_of_this_one(account: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT institutions_approved_now('account.unfreeze', %s)", [f"account:{account.name}"])
        assert cursor.fetchone() == (False,)
    decide(ask(account))
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT institutions_approved_now('account.unfreeze', %s), institutions_approved_now('account.unfreeze', 'account:other'),
                      institutions_approved_now('institution.unfreeze', %s)""",
            [f"account:{account.name}"] * 2,
        )
        assert cursor.fetchone() == (True, False, False)


def test_fewer_scopes_take_nobody_more_take_two(account: Any) -> None:
    issued = api_key(AccountFactory(), scopes=["read", "trade"])
    with connection.cursor() as cursor, pytest.raises(IntegrityError), transaction.atomic():
        cursor.execute("UPDATE institutions_apikey SET scopes = '{read,trade,admin}' WHERE key = %s", [issued.key])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE institutions_apikey SET scopes = '{read}' WHERE key = %s", [issued.key])
    assert two_people("api_key.scopes", {"key": issued.key, "scopes": ["trade", "read"]}) == {"scopes": ["read", "trade"]}


def test_an_institution_comes_back_with_two() -> None:
    account = AccountFactory()
    freeze_institution(institution_id=account.institution_id, actor="olga", reason="a test")
    two_people("institution.unfreeze", {"id": account.institution_id})
    account.institution.refresh_from_db()
    assert not account.institution.is_frozen


def test_the_payload_is_kept_to_the_letter(account: Any) -> None:
    row = ask(account)
    assert json.loads(row.payload) == {"id": account.pk}
    assert timedelta(hours=23) < row.expires_at - datetime.now(UTC) <= requests.VALID_FOR
