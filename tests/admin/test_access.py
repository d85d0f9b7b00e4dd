"""Who gets in, and what each sees: by role, and by institution."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from exchange_platform.back_office.navigation import GROUPS
from institutions.models import AuditEntry, User
from institutions.rights import RIGHTS, Right, may
from tests.admin.conftest import Office, text_of
from tests.factories import PASSWORD
from wallet.models import Address, Withdrawal

PLATFORM_ONLY = ("audit", "outbox", "deadletter", "checkpoint", "archivedpartition", "shard", "risk_alert", "orders_break", "platform")
PAGES = [entry[2] for _, entries in GROUPS for entry in entries]


def _url(name: str) -> str:
    return reverse(f"admin:{name}")


def _log_in(username: str, password: str) -> Client:
    client = Client()
    client.post("/admin/login/?next=/admin/", {"username": username, "password": password})
    return client


@pytest.mark.parametrize("role", ["superuser", "compliance", "operator", "institution_admin"])
def test_who_has_a_right_here_logs_in_with_a_password_and_stays_logged_in(office: Office, role: str) -> None:
    client = _log_in(office.users[role].username, PASSWORD)
    assert "Find an order" in text_of(client.get("/admin/"))
    assert client.post("/admin/logout/").status_code == 200
    assert client.get("/admin/").status_code == 302


@pytest.mark.parametrize("role", ["trader", "quant"])
def test_a_trader_does_not_get_in_and_learns_no_more_than_with_a_wrong_password(office: Office, role: str) -> None:
    right = Client().post("/admin/login/", {"username": office.users[role].username, "password": PASSWORD})
    wrong = Client().post("/admin/login/", {"username": office.users[role].username, "password": "wrong"})
    assert right.status_code == wrong.status_code == 200
    told = [list(response.context["form"].non_field_errors()) for response in (right, wrong)]
    assert told[0] == told[1]
    assert told[0]
    assert office.client(role).get("/admin/").status_code == 302  # a session from elsewhere opens nothing either
    assert office.client(role).get(_url("orders_order_changelist")).status_code == 302


def test_somebody_who_is_deactivated_is_out_at_once(office: Office) -> None:
    client = office.client("compliance")
    assert client.get("/admin/").status_code == 200
    User.objects.filter(pk=office.users["compliance"].pk).update(is_active=False)
    try:
        assert client.get("/admin/").status_code == 302
    finally:
        User.objects.filter(pk=office.users["compliance"].pk).update(is_active=True)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("role", ["superuser", "compliance", "operator", "institution_admin"])
def test_staff_read_every_list_and_an_institution_those_that_are_its_own(office: Office, role: str, page: str) -> None:
    is_refused = role == "institution_admin" and any(word in page for word in PLATFORM_ONLY)
    assert office.client(role).get(_url(page)).status_code == (403 if is_refused else 200)


def test_the_sidebar_offers_only_what_opens(office: Office) -> None:
    page = text_of(office.client("institution_admin").get("/admin/"))
    assert _url("orders_order_changelist") in page
    assert _url("institutions_auditentry_changelist") not in page
    assert _url("institutions_auditentry_changelist") in text_of(office.client("compliance").get("/admin/"))


LISTS: list[tuple[str, Callable[[Office], str], Callable[[Office], str]]] = [
    ("institutions_institution_changelist", lambda o: "Alpha", lambda o: "Beta"),
    ("institutions_account_changelist", lambda o: o.mine.name, lambda o: o.theirs.name),
    ("institutions_user_changelist", lambda o: "alpha-trader", lambda o: "beta-boss"),
    ("institutions_apikey_changelist", lambda o: o.my_key.key, lambda o: o.their_key.key),
    ("orders_order_changelist", lambda o: "my-order", lambda o: "their-order"),
    ("orders_trade_changelist", lambda o: str(o.trade), lambda o: str(o.their_trade)),
    ("wallet_balances", lambda o: o.mine.name, lambda o: o.theirs.name),
    ("orders_positions", lambda o: o.mine.name, lambda o: o.theirs.name),
    ("wallet_withdrawal_changelist", lambda o: o.mine.name, lambda o: o.theirs.name),
    ("wallet_address_changelist", lambda o: "my-address", lambda o: "their-address"),
    ("wallet_transfers", lambda o: str(o.trade), lambda o: str(o.their_trade)),
    ("risk_limit_changelist", lambda o: "OPEN_ORDERS</a>", lambda o: ">77<"),
    ("risk_symbolrule_changelist", lambda o: "ALLOWED</a>", lambda o: "BLOCKED</a>"),
]


@pytest.mark.parametrize(("page", "own", "foreign"), LISTS, ids=[name for name, _, _ in LISTS])
def test_an_institution_sees_its_own_rows_and_staff_see_all(
    office: Office, page: str, own: Callable[[Office], str], foreign: Callable[[Office], str]
) -> None:
    seen = text_of(office.client("institution_admin").get(_url(page)))
    assert own(office) in seen
    assert foreign(office) not in seen
    seen = text_of(office.client("compliance").get(_url(page)))
    assert own(office) in seen
    assert foreign(office) in seen


def test_pages_of_others_are_not_there_for_an_institution(office: Office) -> None:
    client = office.client("institution_admin")
    key_id, user_id = office.their_key.id, User.objects.get(username="beta-boss").pk
    for name, pk in [
        ("institutions_institution_change", office.beta.pk),
        ("institutions_account_change", office.theirs.pk),
        ("institutions_user_change", user_id),
        ("institutions_apikey_change", key_id),
        ("orders_order_change", office.their_order),
        ("orders_trade_change", office.their_trade),
        ("wallet_transfer", office.their_trade),
        ("wallet_withdrawal_change", Withdrawal.objects.get(account_id=office.theirs.pk).pk),
        ("wallet_address_change", Address.objects.get(account_id=office.theirs.pk).pk),
    ]:
        url = reverse(f"admin:{name}", args=[str(pk)])
        assert client.get(url).status_code == 404, name
        assert office.client("operator").get(url).status_code == 200, name


def test_filters_do_not_reach_into_another_institution(office: Office) -> None:
    client = office.client("institution_admin")
    for query in ("?institution=beta", "?account=beta-1", "?q=their-order", f"?q={office.their_order}", "?q=beta-1"):
        seen = text_of(client.get(_url("orders_order_changelist") + query))
        assert reverse("admin:orders_order_change", args=[str(office.their_order)]) not in seen, query
    assert "Nothing is called that" in text_of(client.get("/admin/find/?q=their-order"))


def test_the_other_side_of_a_trade_stays_untold(office: Office) -> None:
    url = reverse("admin:orders_trade_change", args=[str(office.trade)])
    seen = text_of(office.client("institution_admin").get(url))
    assert "another institution" in seen
    assert "alpha-1" in seen
    assert office.theirs.name not in seen
    assert str(office.their_order) not in seen
    assert "0.10000000 QUOTE" in seen  # my fee: a thousandth of 100 received
    assert "0.00100000" not in seen.split("What moved")[0]  # theirs
    seen = text_of(office.client("compliance").get(url))
    assert office.theirs.name in seen
    assert str(office.their_order) in seen


def test_every_role_has_its_line_in_the_table_of_rights(office: Office) -> None:
    assert set(RIGHTS) == set(office.users)
    assert may(office.users["operator"], Right.CANCEL_ALL)
    assert not may(office.users["compliance"], Right.CANCEL_ALL)
    changing = set(Right) - {Right.BACK_OFFICE, Right.READ_PLATFORM, Right.READ_AUDIT}
    assert RIGHTS["compliance"] & changing == {Right.WORK_ALERTS, Right.CHECK_CHANGES}, "they decide about what others ask"


def test_flags_of_the_framework_grant_nothing(office: Office) -> None:
    trader = User.objects.get(pk=office.users["trader"].pk)
    trader.is_superuser = trader.is_staff = True
    assert not trader.has_perm("back_office")
    assert not trader.has_perm("orders.delete_order")
    operator = User.objects.get(pk=office.users["operator"].pk)
    operator.institution_id = office.alpha.pk  # somebody else's operator
    assert not operator.has_perm("back_office")


def test_attempts_to_log_in_are_on_the_record_and_guessing_is_slowed_down(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("institutions.logins.MOST_OF_ONE", 2)
    guesser, honest = Client(REMOTE_ADDR="10.6.6.6"), Client(REMOTE_ADDR="10.7.7.7")
    asked = {"username": office.users["operator"].username, "password": "a guess"}
    assert [guesser.post("/admin/login/", asked).status_code for _ in range(3)] == [200, 200, 429]
    assert guesser.post("/admin/login/", {**asked, "password": PASSWORD}).status_code == 429  # nor the right one, for a while
    assert honest.post("/admin/login/?next=/admin/", {**asked, "password": PASSWORD}).status_code == 302  # from elsewhere it works
    entries = AuditEntry.objects.filter(
        subject=f"user:{asked['username']}", action__startswith="user.log_in", ip__startswith="10."
    ).order_by("pk")
    told = [(entry.action, entry.ip) for entry in entries]
    assert told == [("user.log_in_refused", "10.6.6.6")] * 2 + [("user.log_in", "10.7.7.7")]
    assert "a guess" not in str([entry.after for entry in entries])


def test_everything_works_while_the_cache_server_is_down(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object, **__: object) -> None:
        raise ConnectionError("no cache server")

    for word in ("get", "set", "add", "delete", "get_many", "incr"):
        monkeypatch.setattr(f"django.core.cache.backends.redis.RedisCache.{word}", down)
    client = _log_in(office.users["operator"].username, PASSWORD)
    for path in ("/admin/", _url("orders_order_changelist"), "/admin/find/?q=alpha", "/admin/search/?s=alpha"):
        assert client.get(path).status_code == 200, path
