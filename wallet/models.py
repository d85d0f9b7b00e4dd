"""Balances and transfers. A transfer debits one account and credits another, so it balances by construction.

Never written through the ORM: `wallet.ledger` (movements) and `orders.intake`/`orders.settlement` (trading) write them.
"""

from django.db import models
from django.db.models import Q

from exchange_platform.fields import Amount


class Balance(models.Model):
    """What an account owns of an asset: `posted` all of it, `held` the part that orders and withdrawals have reserved."""

    pk = models.CompositePrimaryKey("account_id", "asset_id")
    account_id = models.BigIntegerField()
    asset_id = models.SmallIntegerField()
    posted = Amount(default=0)
    held = Amount(default=0)

    class Meta:
        constraints = [
            # NaN compares greater than every number, so an upper bound refuses it too.
            models.CheckConstraint(condition=Q(held__gte=0, held__lt=10**20), name="balance_held_not_negative"),
            models.CheckConstraint(condition=Q(posted__gte=models.F("held"), posted__lt=10**20), name="balance_covers_hold"),
        ]


class TransferKind(models.TextChoices):
    TRADE = "TRADE"
    MAKER_FEE = "MAKER_FEE"
    TAKER_FEE = "TAKER_FEE"
    DEPOSIT = "DEPOSIT"
    WITHDRAWAL = "WITHDRAWAL"
    ADJUSTMENT = "ADJUSTMENT"
    TRANSFER = "TRANSFER"
    VENUE = "VENUE"


class Leg(models.IntegerChoices):
    """Which transfer of a trade; movements have one leg, 0."""

    BASE = 0
    QUOTE = 1
    BUYER_FEE = 2
    SELLER_FEE = 3


class Transfer(models.Model):
    """An amount of one asset from the debit account to the credit account. Append-only; partitioned by month of its id (UUIDv7).

    The transfers of a trade carry the trade's id, told apart by `leg`, so an account's ledger is found through its trades and
    needs no index of its own on the hot path. Movements have their own partial indexes.
    """

    pk = models.CompositePrimaryKey("id", "leg")
    id = models.UUIDField()
    leg = models.SmallIntegerField(default=0)
    kind = models.CharField(max_length=12, choices=TransferKind.choices)
    asset_id = models.SmallIntegerField()
    debit_account_id = models.BigIntegerField()
    credit_account_id = models.BigIntegerField()
    amount = Amount()
    reference = models.CharField(max_length=120, null=True)
    created_at = models.DateTimeField()

    class Meta:
        managed = False  # partitioned: made in SQL by the migration
        db_table = "wallet_transfer"


class TransferKey(models.Model):
    """A movement that a person or a client caused happens once: scope and key are unique for ever."""

    pk = models.CompositePrimaryKey("scope", "key")
    scope = models.CharField(max_length=120)
    key = models.CharField(max_length=120)
    fingerprint = models.BinaryField()
    transfer_id = models.UUIDField()


class CarriedSum(models.Model):
    """What the transfers of a closed month come to: `amount` is what the account received of the asset less what it gave.

    Append-only, written by maintenance when the month is closed; with it balances stay explained after the transfers have left.
    """

    pk = models.CompositePrimaryKey("month", "account_id", "asset_id")
    month = models.DateField()
    account_id = models.BigIntegerField()
    asset_id = models.SmallIntegerField()
    amount = Amount()
    transfers = models.BigIntegerField()

    class Meta:
        constraints = [
            # NaN compares greater than every number, so an upper bound refuses it too.
            models.CheckConstraint(condition=Q(amount__gt=-(10**20), amount__lt=10**20), name="carried_amount_sane"),
            models.CheckConstraint(condition=Q(transfers__gt=0), name="carried_has_transfers"),
            models.CheckConstraint(condition=Q(month__day=1), name="carried_month_begins"),
        ]
