"""What staff do in the admin reaches the engine through the services, with who, why and from where in the audit trail."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from exchange_platform.db import connect_direct
from institutions.models import Account, ApiKey, AuditEntry, ChangeRequest, Institution, User
from institutions.queries import find_api_key
from markets.models import Symbol
from risk.models import Limit, SymbolRule
from tests.admin.conftest import text_of
from tests.factories import PASSWORD, UserFactory, api_key, house
from tests.matching_worker.exchange import Exchange, Trader, code_of, open_exchange


class Floor:
    """An exchange with a market and somebody with a bid, and staff in front of the admin."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        house()
        base, self.quote = exchange.asset(), exchange.asset()
        self.symbol: Symbol = exchange.symbol(base, self.quote)
        self.trader: Trader = exchange.trader((self.quote, 1_000))
        self.bid = exchange.placed(self.trader, self.symbol, "BUY", "3", "10")
        exchange.settle()
        self.clients: dict[str, Client] = {}

    def client(self, role: str, institution: Institution | None = None) -> Client:
        if role not in self.clients:
            self.clients[role] = Client(REMOTE_ADDR="10.1.2.3", headers={"User-Agent": "a browser"})
            self.clients[role].force_login(UserFactory(username=f"the-{role}", role=role, institution=institution))
        return self.clients[role]

    def do(self, role: str, model: str, pk: object, name: str, /, **asked: Any) -> Any:
        """The answer to a posted operation; `pk` null: something is made."""
        url = reverse(f"admin:{model}_make", args=[name]) if pk is None else reverse(f"admin:{model}_do", args=[str(pk), name])
        return self.client(role).post(url, asked)


@pytest.fixture
def floor(fresh_database: str) -> Iterator[Floor]:
    with open_exchange() as exchange:
        yield Floor(exchange)


def _audited(action: str) -> AuditEntry:
    entry = AuditEntry.objects.filter(action=action).order_by("-pk").first()
    assert entry is not None, action
    return entry


def test_an_operator_halts_a_market_and_the_next_order_is_refused(floor: Floor) -> None:
    shown = text_of(floor.client("operator").get(reverse("admin:markets_symbol_do", args=[floor.symbol.pk, "halt"])))
    assert "30.00000000" in shown  # what the bid holds
    assert floor.do("operator", "markets_symbol", floor.symbol.pk, "halt", reason="a rumour").status_code == 302
    floor.exchange.settle()
    assert code_of(floor.exchange.place(floor.trader, floor.symbol, "BUY", "1", "10")) == "SYMBOL_HALTED"
    entry = _audited("symbol.status")
    user = User.objects.get(username="the-operator")
    assert (entry.actor, entry.reason) == (f"user:{user.pk}:the-operator", "a rumour")
    assert (entry.ip, entry.user_agent, bool(entry.request_id)) == ("10.1.2.3", "a browser", True)
    assert floor.do("operator", "markets_symbol", floor.symbol.pk, "resume", reason="it was nothing").status_code == 302
    floor.exchange.settle()
    assert code_of(floor.exchange.place(floor.trader, floor.symbol, "BUY", "1", "10")) == "SYMBOL_HALTED", "one person is not enough"
    assert decide(floor, "compliance", latest_request().pk).status_code == 302
    floor.exchange.settle()
    floor.exchange.placed(floor.trader, floor.symbol, "BUY", "1", "10")


@pytest.mark.parametrize("reason", ["", "   "])
def test_without_a_reason_nothing_happens_and_the_form_says_so(floor: Floor, reason: str) -> None:
    floor.client("operator")
    entries = AuditEntry.objects.count()
    assert "required" in text_of(floor.do("operator", "markets_symbol", floor.symbol.pk, "halt", reason=reason))
    assert "required" in text_of(floor.do("operator", "institutions_account", floor.trader.id, "cancel-all", reason=reason))
    assert AuditEntry.objects.count() == entries
    assert Symbol.objects.get(pk=floor.symbol.pk).status == "TRADING"


def test_what_makes_no_sense_is_not_offered(floor: Floor) -> None:
    assert floor.do("operator", "markets_symbol", floor.symbol.pk, "resume", reason="it trades").status_code == 404
    assert floor.do("operator", "institutions_account", floor.trader.id, "unfreeze", reason="it is not frozen").status_code == 404


@pytest.mark.parametrize("what", ["symbol", "account", "institution"])
def test_cancel_all_ends_the_orders_and_gives_the_holds_back(floor: Floor, what: str) -> None:
    model, pk = {
        "symbol": ("markets_symbol", floor.symbol.pk),
        "account": ("institutions_account", floor.trader.id),
        "institution": ("institutions_institution", floor.trader.account.institution_id),
    }[what]
    assert floor.do("operator", model, pk, "cancel-all", reason="a fat finger").status_code == 302
    floor.exchange.settle()
    order = floor.exchange.order(floor.bid)
    assert (order["status"], order["reason"], order["held"]) == ("CANCELLED", "ADMIN_CANCEL", 0)
    assert floor.exchange.balance(floor.trader, floor.quote) == (1_000, 0)
    page = text_of(floor.client("operator").get(reverse("admin:orders_order_change", args=[str(floor.bid)])))
    assert "admin cancel" in page
    assert "the-operator" in page
    assert _audited("orders.cancel_all").reason == "a fat finger"


def test_a_frozen_account_places_nothing_until_it_is_unfrozen(floor: Floor) -> None:
    assert floor.do("operator", "institutions_account", floor.trader.id, "freeze", reason="a subpoena").status_code == 302
    assert code_of(floor.exchange.place(floor.trader, floor.symbol, "BUY", "1", "10")) == "ACCOUNT_FROZEN"
    assert floor.do("operator", "institutions_account", floor.trader.id, "unfreeze", reason="lifted").status_code == 302
    assert code_of(floor.exchange.place(floor.trader, floor.symbol, "BUY", "1", "10")) == "ACCOUNT_FROZEN", "one person is not enough"
    assert decide(floor, "compliance", latest_request().pk).status_code == 302
    floor.exchange.placed(floor.trader, floor.symbol, "BUY", "1", "10")
    assert _audited("account.unfreeze").reason.startswith("lifted (request ")


def test_a_key_is_shown_once_opens_and_can_be_revoked(floor: Floor) -> None:
    account = floor.trader.account
    asked = {"account": f"account:{account.pk}", "kind": "hmac", "scopes": ["read", "trade"]}
    floor.client("institution_admin", account.institution)
    response = floor.do("institution_admin", "institutions_apikey", None, "create", **asked)
    assert "no-store" in response["Cache-Control"]
    key, secret = re.findall(r'<code class="bo-secret">(\S+)</code>', text_of(response))
    record = find_api_key(key)
    assert record is not None
    assert record.secret == secret.encode()
    pk = ApiKey.objects.get(key=key).pk
    assert secret not in text_of(floor.client("institution_admin").get(reverse("admin:institutions_apikey_change", args=[pk])))
    assert secret not in str(_audited("api_key.create").after)
    assert floor.do("institution_admin", "institutions_apikey", pk, "revoke", reason="it leaked").status_code == 302
    assert find_api_key(key) is None


def test_nobody_makes_a_key_for_another_institution(floor: Floor) -> None:
    stranger = floor.exchange.trader()
    floor.client("institution_admin", floor.trader.account.institution)
    for account in (f"account:{stranger.id}", f"institution:{stranger.account.institution_id}"):
        asked = {"account": account, "kind": "hmac", "scopes": ["read"]}
        assert "not one of the available choices" in text_of(floor.do("institution_admin", "institutions_apikey", None, "create", **asked))
    assert not ApiKey.objects.filter(institution=stranger.account.institution).exists()


def test_rules_change_by_the_service_and_wrong_ones_are_told_beside_their_field(floor: Floor) -> None:
    url = reverse("admin:markets_symbol_do", args=[floor.symbol.pk, "rules"])
    form = floor.client("superuser").get(url).context["form"]
    asked = {name: value for name, value in form.initial.items() if value is not None} | {"reason": "less noise"}
    wrong = text_of(floor.client("superuser").post(url, {**asked, "min_quantity": "0.0005"}))
    assert "not a whole number of lots" in wrong
    assert floor.client("superuser").post(url, {**asked, "min_notional": "20", "max_open_orders": "50"}).status_code == 302
    after = Symbol.objects.get(pk=floor.symbol.pk)
    assert (str(after.min_notional.normalize()), after.max_open_orders) == ("2E+1", 50)
    entry = _audited("symbol.change")
    assert entry.before == {"min_notional": "0", "max_open_orders": None}
    assert entry.after == {"min_notional": "20", "max_open_orders": 50}
    assert code_of(floor.exchange.place(floor.trader, floor.symbol, "BUY", "1", "10")) == "NOTIONAL_TOO_SMALL"


def decide(floor: Floor, role: str, number: int, name: str = "approve", **change: str) -> Any:
    """As the page would: with what it showed."""
    url = reverse("admin:institutions_changerequest_do", args=[number, name])
    shown = floor.client(role).get(url)
    form = {} if shown.status_code != 200 else dict(shown.context["form"].initial)
    return floor.client(role).post(url, {**form, "reason": "seen", **change})


def latest_request() -> ChangeRequest:
    found = ChangeRequest.objects.order_by("-pk").first()
    assert found is not None
    return found


def test_other_fees_take_a_second_person_and_orders_taken_keep_theirs(floor: Floor) -> None:
    asked = {"maker_fee": "0.0005", "taker_fee": "0.001", "reason": "a campaign"}
    assert floor.do("superuser", "markets_symbol", floor.symbol.pk, "fees", **asked).status_code == 302
    number = latest_request().pk
    assert str(Symbol.objects.get(pk=floor.symbol.pk).maker_fee.normalize()) == "0.001"
    assert "another person" in text_of(decide(floor, "superuser", number)), "the maker cannot"
    shown = text_of(floor.client("compliance").get(reverse("admin:institutions_changerequest_change", args=[number])))
    assert "0.0005" in shown
    assert "Approve" in shown
    assert "not the request that you were shown" in text_of(decide(floor, "compliance", number, shown="00" * 32))
    assert decide(floor, "compliance", number).status_code == 302
    assert str(Symbol.objects.get(pk=floor.symbol.pk).maker_fee.normalize()) == "0.0005"
    assert _audited("symbol.change").before == {"maker_fee": "0.001"}
    listed = text_of(floor.client("compliance").get(reverse("admin:institutions_changerequest_changelist")))
    assert "the-superuser" in listed


def test_a_request_is_rejected_or_taken_back(floor: Floor) -> None:
    asked = {"maker_fee": "0.0005", "taker_fee": "0.001", "reason": "a campaign"}
    floor.do("superuser", "markets_symbol", floor.symbol.pk, "fees", **asked)
    assert decide(floor, "compliance", latest_request().pk, "reject").status_code == 302
    assert latest_request().state == "REJECTED"
    floor.do("superuser", "markets_symbol", floor.symbol.pk, "fees", **asked)
    assert "Only whoever asked" in text_of(decide(floor, "compliance", latest_request().pk, "withdraw"))
    assert decide(floor, "superuser", latest_request().pk, "withdraw").status_code == 302
    assert latest_request().state == "WITHDRAWN"
    assert str(Symbol.objects.get(pk=floor.symbol.pk).maker_fee.normalize()) == "0.001"


def test_a_key_gets_more_scopes_with_a_second_person(floor: Floor) -> None:
    key = api_key(floor.trader.account, scopes=["read"])
    row = ApiKey.objects.get(key=key.key)
    assert floor.do("superuser", "institutions_apikey", row.pk, "scopes", scopes=["read", "trade"], reason="asked").status_code == 302
    row.refresh_from_db()
    assert row.scopes == ["read"]
    assert decide(floor, "operator", latest_request().pk).status_code == 302
    row.refresh_from_db()
    assert row.scopes == ["read", "trade"]


def test_a_change_that_changes_nothing_writes_nothing(floor: Floor) -> None:
    url = reverse("admin:markets_symbol_do", args=[floor.symbol.pk, "rules"])
    form = floor.client("superuser").get(url).context["form"]
    asked = {name: value for name, value in form.initial.items() if value is not None} | {"reason": "none"}
    assert floor.client("superuser").post(url, asked).status_code == 302
    assert not AuditEntry.objects.filter(action="symbol.change").exists()


def test_people_are_made_changed_and_deactivated_and_a_role_must_fit(floor: Floor) -> None:
    institution = floor.trader.account.institution
    asked = {"username": "nina", "password": PASSWORD, "role": "trader", "institution": str(institution.pk)}
    assert floor.do("superuser", "institutions_user", None, "create", **asked).status_code == 302
    nina = User.objects.get(username="nina")
    change = {"role": "operator", "is_active": "on", "reason": "promoted"}
    assert "no institution" in text_of(floor.do("superuser", "institutions_user", nina.pk, "change", **change))
    change = {"role": "institution_admin", "email": "nina@example.com", "reason": "promoted"}
    assert floor.do("superuser", "institutions_user", nina.pk, "change", **change).status_code == 302
    nina.refresh_from_db()
    assert (nina.role, nina.is_active, nina.email) == ("institution_admin", False, "nina@example.com")
    entry = _audited("user.change")
    assert entry.before == {"role": "trader", "is_active": True, "email": ""}
    assert PASSWORD not in str(_audited("user.create").after)


def test_clients_are_made_and_changed(floor: Floor) -> None:
    assert floor.do("superuser", "institutions_institution", None, "create", code="gamma", name="Gamma").status_code == 302
    gamma = Institution.objects.get(code="gamma")
    asked = {"institution": str(gamma.pk), "name": "gamma-1", "self_trade_prevention": "CANCEL_OLDEST"}
    assert floor.do("superuser", "institutions_account", None, "create", **asked).status_code == 302
    account = Account.objects.get(name="gamma-1")
    change = {"beneficial_owner": "G. Amma", "self_trade_prevention": "CANCEL_OLDEST", "reason": "KYC"}
    assert floor.do("superuser", "institutions_account", account.pk, "change", **change).status_code == 302
    assert _audited("account.change").after == {"beneficial_owner": "G. Amma"}
    change = {"name": "Gamma AG", "cors_origins": "https://gamma.example\nhttps://b.example", "reason": "renamed"}
    assert floor.do("superuser", "institutions_institution", gamma.pk, "change", **change).status_code == 302
    gamma.refresh_from_db()
    assert (gamma.name, gamma.cors_origins) == ("Gamma AG", ["https://gamma.example", "https://b.example"])


def test_limits_are_set_for_a_scope_by_name_and_lifted(floor: Floor) -> None:
    asked = {"kind": "OPEN_ORDERS", "value": "1", "account": floor.trader.account.name, "reason": "small"}
    assert "no symbol NO/SUCH" in text_of(floor.do("superuser", "risk_limit", None, "create", **asked, symbol="NO/SUCH"))
    assert floor.do("superuser", "risk_limit", None, "create", **asked).status_code == 302
    assert not Limit.objects.filter(account_id=floor.trader.id).exists(), "one person is not enough"
    assert decide(floor, "compliance", latest_request().pk).status_code == 302
    limit = Limit.objects.get(account_id=floor.trader.id)
    refused = floor.exchange.place(floor.trader, floor.symbol, "BUY", "1", "10", limited=True)
    assert code_of(refused) == "RISK_OPEN_ORDERS"
    assert floor.do("superuser", "risk_limit", limit.pk, "remove", reason="grown").status_code == 302
    assert decide(floor, "compliance", latest_request().pk).status_code == 302
    assert not Limit.objects.filter(pk=limit.pk).exists()
    assert _audited("limit.remove").reason.startswith("grown (request ")


def test_symbols_are_blocked_and_freed(floor: Floor) -> None:
    asked = {"rule": "BLOCKED", "account": floor.trader.account.name, "reason": "sanctions"}
    assert "no symbol NO/SUCH" in text_of(floor.do("superuser", "risk_symbolrule", None, "create", **asked, symbol="NO/SUCH"))
    assert floor.do("superuser", "risk_symbolrule", None, "create", **asked, symbol=floor.symbol.name).status_code == 302
    rule = SymbolRule.objects.get(account_id=floor.trader.id)
    assert code_of(floor.exchange.place(floor.trader, floor.symbol, "BUY", "1", "10", limited=True)) == "RISK_SYMBOL_BLOCKED"
    assert floor.do("superuser", "risk_symbolrule", rule.pk, "remove", reason="cleared").status_code == 302
    assert not SymbolRule.objects.filter(pk=rule.pk).exists()
    assert (_audited("symbol_rule.remove").reason, _audited("symbol_rule.remove").before) == ("cleared", {"rule": "BLOCKED"})


def test_a_busy_system_is_told_and_nothing_has_happened(floor: Floor) -> None:
    floor.client("operator")
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '300ms'")
    with connect_direct(name="test") as somebody:  # an intake that does not come to its end
        somebody.execute("SELECT 1 FROM institutions_platform FOR SHARE")
        page = text_of(floor.do("operator", "markets_symbol", floor.symbol.pk, "cancel-all", reason="hurry"))
        assert "The system is busy" in page
    assert not AuditEntry.objects.filter(action="orders.cancel_all").exists()
    assert floor.do("operator", "markets_symbol", floor.symbol.pk, "cancel-all", reason="hurry").status_code == 302
    assert _audited("orders.cancel_all").after["orders"] == 1
