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


class Supply(models.Model):
    """How much of an asset has come in and not gone out again: what customers and fee accounts own together.

    Written by the database with every movement from or to the house's EXTERNAL and ADJUSTMENT accounts. Bounded below what a
    balance can hold, so that no trade can bring a balance to that bound.
    """

    asset_id = models.SmallIntegerField(primary_key=True)
    amount = Amount()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(amount__gt=-(9 * 10**19), amount__lt=9 * 10**19), name="supply_sane")]


class Address(models.Model):
    """Where an account may withdraw an asset to, from `usable_at` on. It is never changed, only removed; anew it waits anew."""

    id = models.UUIDField(primary_key=True)
    account_id = models.BigIntegerField()
    asset_id = models.SmallIntegerField()
    address = models.CharField(max_length=120)
    label = models.CharField(max_length=80, default="")
    added_by = models.CharField(max_length=80)
    added_at = models.DateTimeField()
    usable_at = models.DateTimeField()
    removed_by = models.CharField(max_length=80, null=True)
    removed_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "addresses"
        constraints = [
            models.UniqueConstraint(
                fields=["account_id", "asset_id", "address"], condition=Q(removed_at__isnull=True), name="address_listed_once"
            ),
            models.CheckConstraint(condition=Q(usable_at__gte=models.F("added_at")), name="address_usable_after_added"),
            models.CheckConstraint(
                condition=Q(removed_by__isnull=True, removed_at__isnull=True) | Q(removed_by__isnull=False, removed_at__isnull=False),
                name="address_removed_by_somebody",
            ),
        ]


class DeniedAddress(models.Model):
    """An address that nobody may withdraw to, whatever the asset."""

    address = models.CharField(max_length=120, primary_key=True)
    reason = models.CharField(max_length=500)
    added_by = models.CharField(max_length=80)
    added_at = models.DateTimeField(auto_now_add=True)


class WithdrawalLimit(models.Model):
    """How much an account may withdraw of an asset within 24 hours without a person looking at it. No row: nothing."""

    asset_id = models.SmallIntegerField(primary_key=True)
    automatic = Amount()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(automatic__gte=0, automatic__lt=10**20), name="withdrawallimit_sane")]


class WithdrawalState(models.TextChoices):
    REQUESTED = "REQUESTED"  # held; waits for a person
    APPROVED = "APPROVED"  # held; may be sent
    COMPLETED = "COMPLETED"  # sent: the hold has become a transfer
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"


class Withdrawal(models.Model):
    """Money on its way out. What is asked for never changes; `changed_by` and `note` tell of the last move, the steps of all."""

    id = models.UUIDField(primary_key=True)
    account_id = models.BigIntegerField()
    asset_id = models.SmallIntegerField()
    amount = Amount()
    address_id = models.UUIDField()
    state = models.CharField(max_length=9, choices=WithdrawalState.choices, default=WithdrawalState.REQUESTED)
    is_automatic = models.BooleanField(default=False)  # approved by the limit, not by a person; set by the database
    transfer_id = models.UUIDField(null=True)
    reference = models.CharField(max_length=120, null=True)  # what the world outside calls it
    changed_by = models.CharField(max_length=80)
    note = models.CharField(max_length=500, default="")
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0, amount__lt=10**20), name="withdrawal_amount_positive"),
            models.CheckConstraint(condition=Q(state__in=WithdrawalState.values), name="withdrawal_state_known"),
            models.CheckConstraint(
                condition=Q(state="COMPLETED", transfer_id__isnull=False, reference__isnull=False)
                | (~Q(state="COMPLETED") & Q(transfer_id__isnull=True, reference__isnull=True)),
                name="withdrawal_completed_by_transfer",
            ),
            models.UniqueConstraint(fields=["transfer_id"], name="withdrawal_transfer_once"),
        ]
        indexes = [
            models.Index(fields=["account_id", "id"], name="withdrawal_by_account"),
            models.Index(fields=["account_id", "asset_id"], condition=Q(state__in=["REQUESTED", "APPROVED"]), name="withdrawal_pending"),
            models.Index(fields=["account_id", "asset_id", "changed_at"], condition=Q(is_automatic=True), name="withdrawal_automatic"),
        ]


class WithdrawalStep(models.Model):
    """A move of a withdrawal, written by the database with it. Append-only."""

    withdrawal_id = models.UUIDField()
    from_state = models.CharField(max_length=9, null=True)
    to_state = models.CharField(max_length=9)
    actor = models.CharField(max_length=80)
    note = models.CharField(max_length=500)
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["withdrawal_id", "id"], name="withdrawalstep_by_withdrawal")]
