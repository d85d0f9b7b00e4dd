"""Who and what a test needs, made by the services that make them in earnest, so every rule and the audit trail hold."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import factory
from django.db import connection, transaction
from django.test import override_settings

from exchange_platform.ids import uuid7, uuid_ms
from institutions.models import Account, Institution, User
from institutions.services import IssuedKey, create_account, create_api_key, create_institution, create_user
from markets.models import Asset, Symbol
from markets.services import create_asset, create_symbol
from wallet.addresses import add_address
from wallet.asking import Asked
from wallet.services import deposit
from wallet.withdrawals import request_withdrawal

ACTOR = "tests"
PASSWORD = "correct horse battery staple"


class InstitutionFactory(factory.Factory):
    class Meta:
        model = Institution

    code = factory.Sequence(lambda n: f"institution-{n}")
    name = factory.LazyAttribute(lambda o: o.code.title())

    @classmethod
    def _create(cls, model_class: Any, *args: Any, **kwargs: Any) -> Institution:
        return create_institution(actor=ACTOR, **kwargs)


def house() -> Institution:
    """The house, made when it is not there yet."""
    return Institution.objects.filter(is_house=True).first() or InstitutionFactory(code="house", is_house=True)


class AccountFactory(factory.Factory):
    class Meta:
        model = Account

    institution = factory.SubFactory(InstitutionFactory)
    name = factory.Sequence(lambda n: f"account-{n}")

    @classmethod
    def _create(cls, model_class: Any, *args: Any, institution: Institution, **kwargs: Any) -> Account:
        return create_account(institution_id=institution.pk, actor=ACTOR, **kwargs)


class UserFactory(factory.Factory):
    class Meta:
        model = User

    institution = factory.SubFactory(InstitutionFactory)
    username = factory.Sequence(lambda n: f"user-{n}")
    password = PASSWORD
    role = "trader"

    @classmethod
    def _create(cls, model_class: Any, *args: Any, institution: Institution | None, **kwargs: Any) -> User:
        return create_user(institution_id=institution and institution.pk, actor=ACTOR, **kwargs)


def api_key(account: Account, **kwargs: Any) -> IssuedKey:
    return create_api_key(
        institution_id=account.institution_id, account_id=account.pk, **{"scopes": ["read", "trade"], "actor": ACTOR, **kwargs}
    )


class AssetFactory(factory.Factory):
    class Meta:
        model = Asset

    code = factory.Sequence(lambda n: f"COIN{n}")
    scale = 8

    @classmethod
    def _create(cls, model_class: Any, *args: Any, **kwargs: Any) -> Asset:
        return create_asset(actor=ACTOR, **kwargs)


class SymbolFactory(factory.Factory):
    """`base` and `quote` are assets; its house is made when it is not there yet."""

    class Meta:
        model = Symbol

    base = factory.SubFactory(AssetFactory)
    quote = factory.SubFactory(AssetFactory)
    tick_size = Decimal("0.01")
    lot_size = Decimal("0.001")

    @classmethod
    def _create(cls, model_class: Any, *args: Any, base: Asset, quote: Asset, **kwargs: Any) -> Symbol:
        house()
        return create_symbol(base=base.code, quote=quote.code, actor=ACTOR, **kwargs)


def fund(account: Account, asset: Asset, amount: Decimal | int | str) -> None:
    house()
    deposit(account_id=account.pk, asset=asset.code, amount=Decimal(amount), reference=f"funds {uuid7()}", actor=ACTOR)


def withdrawal_row(account: Account, asset: Asset, address: str, amount: Decimal | int = 1) -> UUID:
    """A withdrawal that waits for a person, to an address that could be used at once."""
    with override_settings(WITHDRAWAL_COOL_OFF_S=0):
        add_address(account_id=account.pk, asset=asset.code, address=address, asked=Asked(actor=ACTOR))
    return request_withdrawal(
        account_id=account.pk, asset=asset.code, amount=Decimal(amount), address=address, asked=Asked(actor=ACTOR)
    ).withdrawal_id


def _identity(at_ms: int | None) -> UUID:
    """A new UUIDv7 of that moment (null: now), also of one before the ids that this process has made."""
    return uuid7() if at_ms is None else UUID(int=at_ms << 80 | uuid7().int & (1 << 80) - 1)


def order_row(account: Account, symbol: Symbol, *, at_ms: int | None = None, status: str = "OPEN", **change: Any) -> UUID:
    """An order as intake and settlement would have left it: LIMIT BUY of 1 at 100, with its key and its place among the open ones."""
    order_id = _identity(at_ms)
    moment = datetime.fromtimestamp(uuid_ms(order_id) / 1000, UTC)
    ended = status in ("FILLED", "CANCELLED", "REJECTED", "EXPIRED")
    row: dict[str, Any] = {
        "id": order_id,
        "account_id": account.pk,
        "symbol_id": symbol.pk,
        "client_order_id": f"c-{order_id}",
        "side": "BUY",
        "order_type": "LIMIT",
        "time_in_force": "GTC",
        "self_trade_prevention": "CANCEL_NEWEST",
        "reduce_only": False,
        "quantity": Decimal(1),
        "price": Decimal(100),
        "filled_quantity": Decimal(1) if status == "FILLED" else Decimal(0),
        "filled_quote": Decimal(100) if status == "FILLED" else Decimal(0),
        "prevented_quantity": 0,
        "fee": 0,
        "held": 0,
        "maker_fee_rate": "0.001",
        "taker_fee_rate": "0.001",
        "reason": "USER_CANCEL" if status in ("CANCELLED", "REJECTED", "EXPIRED") else None,
        "sequence": 1,
        "priority_sequence": 1,
        "created_at": moment,
        "updated_at": moment,
        **change,
        "status": "REJECTED" if status == "REJECTED" else "PENDING",
    }
    with transaction.atomic(), connection.cursor() as cursor:
        columns = ", ".join(row)
        cursor.execute(f"INSERT INTO orders_order ({columns}) VALUES ({', '.join(['%s'] * len(row))})", list(row.values()))
        cursor.execute("UPDATE orders_order SET status = %s WHERE id = %s", [status, order_id])
        cursor.execute(
            "INSERT INTO orders_orderkey (account_id, client_order_id, order_id, fingerprint) VALUES (%s, %s, %s, '')",
            [account.pk, row["client_order_id"], order_id],
        )
        if not ended:
            cursor.execute(
                "INSERT INTO orders_openorder (symbol_id, order_id, account_id) VALUES (%s, %s, %s)", [symbol.pk, order_id, account.pk]
            )
    return order_id


def trade_row(
    maker: Account,
    taker: Account,
    symbol: Symbol,
    *,
    at_ms: int | None = None,
    price: str = "100",
    quantity: str = "1",
    taker_side: str = "BUY",
    maker_order_id: UUID | None = None,
    taker_order_id: UUID | None = None,
    in_auction: bool = False,
) -> UUID:
    """A trade with its two transfers and a fee of 0.1 % of what each side received, as settlement would have left it (balances
    and orders are not touched)."""
    trade_id = _identity(at_ms)
    moment = datetime.fromtimestamp(uuid_ms(trade_id) / 1000, UTC)
    buyer, seller = (taker, maker) if taker_side == "BUY" else (maker, taker)
    base, quote = Decimal(quantity), Decimal(quantity) * Decimal(price)
    fees = {buyer.pk: base / 1000, seller.pk: quote / 1000}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO orders_trade (id, symbol_id, number, sequence, price, quantity, taker_side, maker_order_id, taker_order_id,
                   maker_account_id, taker_account_id, maker_fee, taker_fee, in_auction, executed_at)
               VALUES (%s, %s, 1, 1, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            [trade_id, symbol.pk, price, quantity, taker_side, maker_order_id or uuid7(), taker_order_id or uuid7(),
             maker.pk, taker.pk, fees[maker.pk], fees[taker.pk], in_auction, moment],
        )  # fmt: skip
        legs = [
            (0, "TRADE", symbol.base_id, seller.pk, buyer.pk, base),
            (1, "TRADE", symbol.quote_id, buyer.pk, seller.pk, quote),
            (2, "TAKER_FEE" if buyer is taker else "MAKER_FEE", symbol.base_id, buyer.pk, symbol.fee_account_id, fees[buyer.pk]),
            (3, "TAKER_FEE" if seller is taker else "MAKER_FEE", symbol.quote_id, seller.pk, symbol.fee_account_id, fees[seller.pk]),
        ]
        values = ", ".join(["(%s, %s, %s, %s, %s, %s, %s, %s)"] * len(legs))
        cursor.execute(
            f"""INSERT INTO wallet_transfer (id, leg, kind, asset_id, debit_account_id, credit_account_id, amount, created_at)
                VALUES {values}""",
            [value for leg in legs for value in (trade_id, *leg, moment)],
        )
    return trade_id
