"""Nothing is edited, added or deleted by hand: not by a superuser, not by a forged request."""

import pytest
from django.contrib import admin
from django.db import models
from django.test import RequestFactory
from django.urls import reverse

from exchange_platform.back_office.base import Reader
from institutions.models import Account, ApiKey, AuditEntry
from tests.admin.conftest import Office

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)


def test_the_models_that_staff_ask_about_are_there() -> None:
    labels = {model._meta.label for model in MODELS}
    assert labels >= {
        "institutions.Institution", "institutions.Account", "institutions.User", "institutions.ApiKey", "institutions.AuditEntry",
        "markets.Asset", "markets.Symbol", "risk.Limit", "orders.Order", "orders.Trade", "notifications.Outbox", "notifications.DeadLetter",
    }  # fmt: skip


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_a_superuser_can_neither_add_change_nor_delete(office: Office, model: type[models.Model]) -> None:
    page = admin.site._registry[model]
    assert isinstance(page, Reader)
    request = RequestFactory().get("/admin/")
    request.user = office.users["superuser"]
    assert not page.has_add_permission(request)
    assert not page.has_change_permission(request)
    assert not page.has_delete_permission(request)
    assert page.has_view_permission(request)
    assert not page.get_actions(request)
    names = {url.name for url in page.get_urls()}
    assert not {name for name in names if name and name.endswith(("_add", "_delete"))}


def test_posted_forms_are_not_read(office: Office) -> None:
    client = office.client("superuser")
    account = reverse("admin:institutions_account_change", args=[office.mine.pk])
    client.post(account, {"name": "stolen", "is_frozen": "on", "_save": "Save"})
    client.post(reverse("admin:institutions_account_changelist"), {"action": "delete_selected", "_selected_action": [office.mine.pk]})
    after = Account.objects.get(pk=office.mine.pk)
    assert (after.name, after.is_frozen) == (office.mine.name, False)
    for path in ("add/", f"{office.mine.pk}/delete/"):
        assert client.post(reverse("admin:institutions_account_changelist") + path).status_code == 404


@pytest.mark.parametrize("role", ["compliance", "operator", "institution_admin"])
def test_operations_without_the_right_are_refused_and_not_offered(office: Office, role: str) -> None:
    client, entries = office.client(role), AuditEntry.objects.count()
    symbol = reverse("admin:markets_symbol_do", args=[office.symbol.pk, "halt"])
    rules = reverse("admin:markets_symbol_do", args=[office.symbol.pk, "rules"])
    account = reverse("admin:institutions_account_do", args=[office.mine.pk, "cancel-all"])
    may_operate = role == "operator"
    for url, expected in ((symbol, may_operate), (account, may_operate), (rules, False)):
        assert client.get(url).status_code == (200 if expected else 403)
        if not expected:
            assert client.post(url, {"reason": "because"}).status_code == 403
    page = client.get(reverse("admin:markets_symbol_change", args=[office.symbol.pk])).content.decode()
    assert (symbol in page) == may_operate
    assert rules not in page
    assert AuditEntry.objects.count() == entries


def test_a_secret_is_nowhere_to_be_seen(office: Office) -> None:
    client = office.client("superuser")
    sealed = bytes(ApiKey.objects.get(pk=office.my_key.id).secret or b"").hex()
    for url in (reverse("admin:institutions_apikey_changelist"), reverse("admin:institutions_apikey_change", args=[office.my_key.id])):
        page = client.get(url).content.decode()
        assert office.my_key.key in page
        assert str(office.my_key.secret) not in page
        assert sealed not in page


def test_a_form_without_its_token_is_refused(office: Office) -> None:
    client = office.client("superuser")
    client.handler.enforce_csrf_checks = True
    url = reverse("admin:markets_symbol_do", args=[office.symbol.pk, "halt"])
    assert client.post(url, {"reason": "forged"}).status_code == 403
