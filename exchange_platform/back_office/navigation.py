"""The way around, by question: what is traded, where the money is, who may lose what, who the clients are, does it run."""

from collections.abc import Callable
from typing import Any, Final

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

Entry = tuple[str, str, str, str, str]  # title, icon, url name, right, what one finds there

GROUPS: Final[list[tuple[str, list[Entry]]]] = [
    (
        "Trading",
        [
            ("Orders", "receipt_long", "orders_order_changelist", "back_office", "Every order with its history and fills"),
            ("Trades", "swap_horiz", "orders_trade_changelist", "back_office", "Who met whom, at which price and fee"),
            (
                "Positions",
                "stacked_line_chart",
                "orders_positions",
                "back_office",
                "What was bought and not sold again, by account and symbol",
            ),
            ("Symbols", "candlestick_chart", "markets_symbol_changelist", "back_office", "Trading rules; halt, resume, cancel all"),
            ("Assets", "toll", "markets_asset_changelist", "back_office", "What can be owned, and its decimals"),
        ],
    ),
    (
        "Money",
        [
            ("Balances", "account_balance_wallet", "wallet_balances", "back_office", "Posted, held and available, by account and asset"),
            ("Transfers", "sync_alt", "wallet_transfers", "back_office", "The double-entry ledger, trades and movements"),
            ("Withdrawals", "outbound", "wallet_withdrawal_changelist", "back_office", "What goes out: sent, failed, cancelled"),
            ("Addresses", "contacts", "wallet_address_changelist", "back_office", "Where accounts may withdraw to, and from when on"),
            ("Statements", "description", "wallet_statements", "back_office", "Of an account and period, also as a file"),
            ("Breaks", "rule", "orders_break_changelist", "read_platform", "What did not agree, and what it was"),
        ],
    ),
    (
        "Risk",
        [
            ("Alerts", "notification_important", "risk_alert_changelist", "read_platform", "What somebody must look at, and who has it"),
            ("Limits", "speed", "risk_limit_changelist", "back_office", "Upper bounds by institution, account and symbol"),
            ("Symbol rules", "rule", "risk_symbolrule_changelist", "back_office", "Which symbols somebody may trade, or may not"),
            ("Kill switch", "power_settings_new", "institutions_platform_changelist", "read_platform", "Stop everything, start it again"),
        ],
    ),
    (
        "Clients",
        [
            ("Institutions", "apartment", "institutions_institution_changelist", "back_office", "Tenants and the house"),
            ("Accounts", "badge", "institutions_account_changelist", "back_office", "Trading accounts: freeze, cancel all"),
            ("People", "group", "institutions_user_changelist", "back_office", "Who can log in, and in which role"),
            ("API keys", "key", "institutions_apikey_changelist", "back_office", "Signing keys, their scopes and addresses"),
        ],
    ),
    (
        "Operations",
        [
            (
                "Requests",
                "fact_check",
                "institutions_changerequest_changelist",
                "back_office",
                "What takes a second person, and who decided",
            ),
            ("Audit trail", "history", "institutions_auditentry_changelist", "read_audit", "Who did what, when and why"),
            ("Outbox", "outbox", "notifications_outbox_changelist", "read_platform", "News that waits to be published"),
            ("Dead letters", "mark_email_unread", "notifications_deadletter_changelist", "read_platform", "News that could not be"),
            ("Matching", "memory", "orders_checkpoint_changelist", "read_platform", "How far each symbol's history has come"),
            ("Archive", "inventory_2", "orders_archivedpartition_changelist", "read_platform", "Old months that have left their tables"),
            ("Shards", "hub", "orders_shard_changelist", "read_platform", "Which worker owns which symbols, and since when"),
        ],
    ),
]


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The groups as the sidebar wants them; an entry whose page is not installed is left out."""
    return [{"title": title, "items": [_item(entry) for entry in entries if _url(entry[2])]} for title, entries in GROUPS]


def _item(entry: Entry) -> dict[str, Any]:
    title, icon, name, right, about = entry
    return {"title": title, "icon": icon, "link": _url(name), "permission": _has(right), "about": about}


def _has(right: str) -> Callable[[HttpRequest], bool]:
    return lambda request: bool(request.user.has_perm(right))


def _url(name: str) -> str:
    try:
        return reverse(f"admin:{name}")
    except NoReverseMatch:
        return ""
