"""Orders, trades and what the engine keeps about its own progress.

Most tables here are written by `orders.intake` and `orders.settlement` in bulk SQL, never through the ORM; the models serve
reading. Partitioned tables are partitioned by month of a UUIDv7, whose first 48 bits are milliseconds since 1970.
"""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from exchange_platform.fields import Amount
from orders.break_models import Break as Break
from orders.chain import DETACHED, VERIFIED
from orders.lifecycle import Status

STATUS_CHOICES = [(s.value, s.value) for s in Status]


class Order(models.Model):
    """An order as it stands. Amounts: quantities in base, `filled_quote` and BUY `held` in quote, SELL `held` in base.

    `price` of a market order is null; what it was bounded by is `protection_price`. `held` is exactly what the order still
    reserves of its account's balance. `sequence` is the engine sequence of its last change, `priority_sequence` counts the places
    that the symbol's orders took in queues and watch lists. `trigger_price`: what made a stop act, and when.
    """

    id = models.UUIDField(primary_key=True)
    account_id = models.BigIntegerField()
    symbol_id = models.IntegerField()
    client_order_id = models.CharField(max_length=100)
    side = models.CharField(max_length=4)
    order_type = models.CharField(max_length=20)
    time_in_force = models.CharField(max_length=3)
    self_trade_prevention = models.CharField(max_length=13)
    reduce_only = models.BooleanField(default=False)
    status = models.CharField(max_length=16, choices=STATUS_CHOICES)
    quantity = Amount(null=True)
    quote_quantity = Amount(null=True)
    price = Amount(null=True)
    protection_price = Amount(null=True)
    stop_price = Amount(null=True)
    trigger_source = models.CharField(max_length=9, null=True)
    expire_at = models.DateTimeField(null=True)
    filled_quantity = Amount(default=0)
    filled_quote = Amount(default=0)
    prevented_quantity = Amount(default=0)
    fee = Amount(default=0)
    held = Amount(default=0)
    maker_fee_rate = models.DecimalField(max_digits=9, decimal_places=8)
    taker_fee_rate = models.DecimalField(max_digits=9, decimal_places=8)
    reason = models.CharField(max_length=32, null=True)
    trigger_price = Amount(null=True)
    triggered_at = models.DateTimeField(null=True)
    exchange_order_id = models.CharField(max_length=64, null=True)
    sequence = models.BigIntegerField(default=0)
    priority_sequence = models.BigIntegerField(default=0)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "orders_order"


class OrderKey(models.Model):
    """Idempotency, for ever: one order per account and client_order_id. Unpartitioned, so that the database can enforce it."""

    pk = models.CompositePrimaryKey("account_id", "client_order_id")
    account_id = models.BigIntegerField()
    client_order_id = models.CharField(max_length=100)
    order_id = models.UUIDField()
    fingerprint = models.BinaryField()


class OpenOrder(models.Model):
    """The orders that have not ended: what recovery loads, and lists and cancel-all look at. Keeps updates of orders HOT."""

    pk = models.CompositePrimaryKey("symbol_id", "order_id")
    symbol_id = models.IntegerField()
    order_id = models.UUIDField()
    account_id = models.BigIntegerField(db_index=True)


class Transition(models.Model):
    """A change of an order's status: engine sequence (0: intake), cause, actor. Append-only."""

    pk = models.CompositePrimaryKey("order_id", "sequence", "to_status")
    order_id = models.UUIDField()
    sequence = models.BigIntegerField()
    from_status = models.CharField(max_length=16, null=True)
    to_status = models.CharField(max_length=16)
    cause = models.CharField(max_length=32)
    actor = models.CharField(max_length=80)
    request_id = models.CharField(max_length=40, null=True)
    at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "orders_transition"


class Trade(models.Model):
    """Two orders met. `number` counts the symbol's trades from 1 without a gap. Fees are in the asset each side received; in an auction
    both pay the taker's rate, and the newer order is called the taker."""

    id = models.UUIDField(primary_key=True)
    symbol_id = models.IntegerField()
    number = models.BigIntegerField()
    sequence = models.BigIntegerField()
    price = Amount()
    quantity = Amount()
    taker_side = models.CharField(max_length=4)
    maker_order_id = models.UUIDField()
    taker_order_id = models.UUIDField()
    maker_account_id = models.BigIntegerField()
    taker_account_id = models.BigIntegerField()
    maker_fee = Amount()
    taker_fee = Amount()
    in_auction = models.BooleanField(default=False)
    executed_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "orders_trade"


class Amend(models.Model):
    """A change of price or quantity under way, with the extra it holds; then what became of it. Null: that one stays."""

    id = models.UUIDField(primary_key=True)
    order_id = models.UUIDField(db_index=True)
    account_id = models.BigIntegerField()
    symbol_id = models.IntegerField()
    price = Amount(null=True)
    quantity = Amount(null=True)
    extra_held = Amount(default=0)
    extra_quantity = Amount(db_default=0)  # what a BUY may have more to buy, in base; both are counted in `risk.models.Exposure`
    extra_value = Amount(db_default=0)  # what it may add to the order's price × quantity, in quote
    status = models.CharField(max_length=8, default="PENDING")  # PENDING, APPLIED, REFUSED
    code = models.CharField(max_length=32, null=True)
    actor = models.CharField(max_length=80)
    created_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(status__in=["PENDING", "APPLIED", "REFUSED"]), name="amend_status_known"),
            models.CheckConstraint(condition=Q(extra_held__gte=0, extra_held__lt=10**20), name="amend_extra_not_negative"),
            models.CheckConstraint(condition=Q(extra_quantity__gte=0, extra_quantity__lt=10**20), name="amend_extra_quantity_sane"),
            models.CheckConstraint(condition=Q(extra_value__gte=0, extra_value__lt=10**20), name="amend_extra_value_sane"),
            models.CheckConstraint(
                condition=Q(status="PENDING") | Q(extra_held=0, extra_quantity=0, extra_value=0), name="amend_decided_holds_nothing"
            ),
        ]
        indexes = [models.Index(fields=["order_id"], condition=Q(status="PENDING"), name="amend_pending")]


class Switch(models.Model):
    """A dead man's switch: once `deadline` has passed, a matching worker cancels what the account has open, for `reason`. `holder`:
    empty for the account's own, else the connection that keeps moving the deadline on while it lives."""

    pk = models.CompositePrimaryKey("account_id", "holder")
    account_id = models.BigIntegerField()
    holder = models.CharField(max_length=60)
    deadline = models.DateTimeField(db_index=True)
    reason = models.CharField(max_length=32)
    actor = models.CharField(max_length=80)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(reason__in=["DEAD_MAN_SWITCH", "DISCONNECT"]), name="switch_reason_known")]


class Inbox(models.Model):
    """Commands for the matching workers: one row per intake batch and symbol, deleted by the settlement that processed it."""

    symbol_id = models.IntegerField(db_index=True)
    commands = models.IntegerField()
    payload = models.BinaryField()
    created_at = models.DateTimeField(db_default=Now())


class Shard(models.Model):
    """The lease on a shard of symbols. Whoever settles must hold the current epoch (fencing); times are the database's clock.

    Epochs of all shards come from one sequence, so a symbol's epoch grows whichever shard it goes to.
    """

    id = models.PositiveSmallIntegerField(primary_key=True)
    owner = models.CharField(max_length=120)
    epoch = models.BigIntegerField()
    expires_at = models.DateTimeField()


class SymbolMove(models.Model):
    """A symbol on its way from one shard to another, at most one at a time for each; ended ones are kept.

    REQUESTED (intake takes nothing), DRAINED (its old owner has settled what waited and let go), DONE; or UNDONE, then `note` says
    why. Whoever sees it overdue undoes it.
    """

    symbol_id = models.IntegerField()
    from_shard = models.SmallIntegerField()
    to_shard = models.SmallIntegerField()
    state = models.CharField(max_length=9, default="REQUESTED")
    actor = models.CharField(max_length=80)
    reason = models.TextField()
    note = models.TextField(default="")
    requested_at = models.DateTimeField()
    overdue_at = models.DateTimeField()
    drained_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["symbol_id"], condition=Q(ended_at__isnull=True), name="symbolmove_one_at_a_time"),
            models.CheckConstraint(
                condition=Q(state__in=["REQUESTED", "DRAINED"], ended_at__isnull=True)
                | Q(state__in=["DONE", "UNDONE"], ended_at__isnull=False),
                name="symbolmove_state_known",
            ),
            models.CheckConstraint(condition=~Q(from_shard=models.F("to_shard")), name="symbolmove_goes_elsewhere"),
            models.CheckConstraint(condition=~Q(state="UNDONE") | ~Q(note=""), name="symbolmove_undone_says_why"),
        ]


class Checkpoint(models.Model):
    """How far a symbol's one history has come, written by every settlement. `shard_id`: who owns it, the only place that says so.

    `sequence`: last engine sequence. `chain`: hash over the command log so far. `state_hash`: of the book after it.
    `book_sequence`: of the public book channel, counts settlements that changed the book. `place_number`: of the last place that an
    order took. `conditions`: what `matching.core.conditions` keeps.
    """

    symbol_id = models.IntegerField(primary_key=True)
    shard_id = models.SmallIntegerField()
    epoch = models.BigIntegerField(default=0)
    sequence = models.BigIntegerField(default=0)
    trade_number = models.BigIntegerField(default=0)
    book_sequence = models.BigIntegerField(default=0)
    status = models.CharField(max_length=12)
    last_price = Amount(null=True)
    last_traded_at = models.DateTimeField(null=True)
    previous_close = Amount(null=True)  # of the last trade before the UTC day of `last_traded_at`
    chain = models.BinaryField()
    state_hash = models.DecimalField(max_digits=20, decimal_places=0, default=0)
    stamp_ms = models.BigIntegerField(default=0)
    place_number = models.BigIntegerField(default=0)
    conditions = models.JSONField(default=dict)
    settled_at = models.DateTimeField()


class SymbolStatus(models.Model):
    """A symbol's status from this engine sequence on, by whom and why. Append-only. `number` rises; two may share a sequence."""

    pk = models.CompositePrimaryKey("symbol_id", "number")
    symbol_id = models.IntegerField()
    number = models.BigIntegerField()
    sequence = models.BigIntegerField()
    status = models.CharField(max_length=12)
    actor = models.CharField(max_length=80)
    request_id = models.CharField(max_length=40, null=True)
    cause = models.CharField(max_length=32)
    at = models.DateTimeField()


class CommandLog(models.Model):
    """What the engine processed, in order: the commands `first_sequence` … `last_sequence` of a symbol. Append-only, chained."""

    pk = models.CompositePrimaryKey("symbol_id", "first_sequence", "settled_at")
    symbol_id = models.IntegerField()
    first_sequence = models.BigIntegerField()
    last_sequence = models.BigIntegerField()
    epoch = models.BigIntegerField()
    stamp_ms = models.BigIntegerField()
    payload = models.BinaryField()
    chain = models.BinaryField()
    state_hash = models.DecimalField(max_digits=20, decimal_places=0)
    settled_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "orders_commandlog"


class BookLevel(models.Model):
    """The book as readers see it: open quantity per price, written by the settlement that changed it."""

    pk = models.CompositePrimaryKey("symbol_id", "side", "price")
    symbol_id = models.IntegerField()
    side = models.CharField(max_length=4)
    price = Amount()
    quantity = Amount()


class Anchor(models.Model):
    """A point of a symbol's command log up to which it was verified. Append-only; the database holds it against the log's row.

    VERIFIED: written every so many commands, so that a start has little to verify. DETACHED: where what is left of the log begins,
    since the entries before it have left; written by maintenance. `payload`: what the engine was at that point, where it is known.
    """

    pk = models.CompositePrimaryKey("symbol_id", "sequence", "kind")
    symbol_id = models.IntegerField()
    sequence = models.BigIntegerField()
    kind = models.CharField(max_length=8, choices=[(kind, kind.capitalize()) for kind in (VERIFIED, DETACHED)])
    chain = models.BinaryField()
    state_hash = models.DecimalField(max_digits=20, decimal_places=0)
    stamp_ms = models.BigIntegerField()
    trade_number = models.BigIntegerField()
    payload = models.BinaryField(null=True)
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=["VERIFIED", "DETACHED"]), name="anchor_kind_known"),
            models.CheckConstraint(condition=Q(sequence__gt=0, trade_number__gte=0), name="anchor_sane"),
        ]


class ClosedMonth(models.Model):
    """A month of history that is over for good: its orders have ended, its sums are carried forward, its partitions may leave.

    Counts rows by table. Append-only, without a gap from the first to the last; written by maintenance.
    """

    month = models.DateField(primary_key=True)
    orders = models.BigIntegerField()
    transitions = models.BigIntegerField()
    trades = models.BigIntegerField()
    transfers = models.BigIntegerField()
    closed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(month__day=1), name="closed_month_begins"),
            models.CheckConstraint(
                condition=Q(orders__gte=0, transitions__gte=0, trades__gte=0, transfers__gte=0), name="closed_counts_not_negative"
            ),
        ]


class CarriedTrade(models.Model):
    """The last trade of a symbol in a closed month: `number` and engine `sequence` from which the next month goes on."""

    pk = models.CompositePrimaryKey("month", "symbol_id")
    month = models.DateField()
    symbol_id = models.IntegerField()
    number = models.BigIntegerField()
    sequence = models.BigIntegerField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(number__gt=0, sequence__gt=0), name="carried_trade_sane"),
            models.CheckConstraint(condition=Q(month__day=1), name="carried_trade_month_begins"),
        ]


class CarriedPosition(models.Model):
    """What an account bought and sold of a symbol in a closed month, net: `quantity` in base, `cash` in quote (paid is negative)."""

    pk = models.CompositePrimaryKey("month", "account_id", "symbol_id")
    month = models.DateField()
    account_id = models.BigIntegerField()
    symbol_id = models.IntegerField()
    quantity = Amount()
    cash = Amount()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(quantity__gt=-(10**20), quantity__lt=10**20, cash__gt=-(10**20), cash__lt=10**20), name="carried_position_sane"
            ),
            models.CheckConstraint(condition=Q(month__day=1), name="carried_position_month_begins"),
        ]


class ArchivedPartition(models.Model):
    """A partition that was detached and is kept, whole, as a table of this name in the schema `archive`."""

    name = models.CharField(max_length=63, primary_key=True)
    parent = models.CharField(max_length=63)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    rows = models.BigIntegerField()
    detached_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(ends_at__gt=models.F("starts_at")), name="archived_partition_lasts"),
            models.CheckConstraint(condition=Q(rows__gte=0), name="archived_rows_not_negative"),
        ]
