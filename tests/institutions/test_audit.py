import pytest
from django.db import transaction

from institutions import audit
from institutions.models import AuditEntry
from institutions.services import InvalidValue
from tests.factories import InstitutionFactory


@pytest.fixture(autouse=True)
def _committed(fresh_database: str) -> None:
    """Outside any test's transaction."""


def test_an_entry_is_never_written_without_a_transaction():
    with pytest.raises(RuntimeError, match="joins a transaction"):
        audit.record(actor="tests", action="test", subject="test")


def test_what_is_too_long_for_the_trail_is_cut_not_refused():
    with transaction.atomic():
        audit.record(actor="a" * 200, action="test", subject="s" * 200, user_agent="u" * 400, request_id="r" * 100)

    (entry,) = AuditEntry.objects.all()
    assert [len(x) for x in (entry.actor, entry.subject, entry.user_agent, entry.request_id)] == [80, 120, 300, 40]


def test_an_entry_goes_with_what_it_tells_of():
    with transaction.atomic():
        audit.record(actor="tests", action="test", subject="test")
        transaction.set_rollback(True)

    assert not AuditEntry.objects.exists()


def test_a_service_refuses_to_run_inside_another_transaction():
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        InstitutionFactory()


def test_a_refused_service_leaves_nothing_behind():
    InstitutionFactory(code="north")
    with pytest.raises(InvalidValue):
        InstitutionFactory(code="north")
    InstitutionFactory(code="south")

    assert list(AuditEntry.objects.order_by("pk").values_list("subject", flat=True)) == ["institution:north", "institution:south"]
