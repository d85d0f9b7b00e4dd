"""What is to be told, and how far it has been. Rows are written by the transaction whose news they carry."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class Feed(models.Model):
    """How many messages each private channel of an account has had: the sequence of its last one. Whoever changes an account's
    orders or money raises these in the same transaction, so they have no gap and no two messages share one."""

    account_id = models.BigIntegerField(primary_key=True)
    orders = models.BigIntegerField(default=0)
    trades = models.BigIntegerField(default=0)
    balances = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(orders__gte=0, trades__gte=0, balances__gte=0), name="feed_not_negative")]


class News(models.Model):
    """Something that is to be published: `topic` says who can put `payload` (msgpack) into words, `stream` within what order is kept."""

    topic = models.CharField(max_length=20)
    stream = models.CharField(max_length=60)
    events = models.IntegerField()
    payload = models.BinaryField()

    class Meta:
        abstract = True


class Outbox(News):
    """Waits to be published, and leaves when it has been: at least once, in order per stream.

    `attempts` and `next_try_at` are of news that could not be published; what follows on its stream waits behind it.
    """

    created_at = models.DateTimeField(db_default=Now())
    attempts = models.SmallIntegerField(db_default=0)
    next_try_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=500, db_default="")

    class Meta:
        indexes = [models.Index(fields=["stream", "id"], condition=Q(next_try_at__isnull=False), name="outbox_failing")]


class DeadLetter(News):
    """News that could not be published ten times. Kept for ever; the stream went on without it. Somebody settles it, once: sends it again,
    as a new row of the outbox (`sent_again_as`), or puts it aside. What fails again comes back as a new dead letter with that row's
    number (`outbox_id`)."""

    outbox_id = models.BigIntegerField(null=True)
    created_at = models.DateTimeField()
    failed_at = models.DateTimeField(db_default=Now(), db_index=True)
    attempts = models.SmallIntegerField()
    error = models.CharField(max_length=500)
    settled_at = models.DateTimeField(null=True)
    settled_by = models.CharField(max_length=80, db_default="")
    sent_again_as = models.BigIntegerField(null=True)

    class Meta:
        ordering = [F("failed_at").desc()]
        indexes = [models.Index(fields=["outbox_id"], name="dead_letter_outbox")]
        constraints = [
            models.CheckConstraint(
                condition=Q(settled_at__isnull=True, settled_by="") | (Q(settled_at__isnull=False) & ~Q(settled_by="")),
                name="dead_letter_settled_by_somebody",
            ),
            models.CheckConstraint(
                condition=Q(sent_again_as__isnull=True) | Q(settled_at__isnull=False), name="dead_letter_sent_again_is_settled"
            ),
        ]


class Receipt(models.Model):
    """A consumer has applied this event: written by the transaction of its effect. Kept longer than any sink keeps events."""

    pk = models.CompositePrimaryKey("consumer", "event_id")
    consumer = models.CharField(max_length=60)
    event_id = models.CharField(max_length=120)
    received_at = models.DateTimeField(db_default=Now())


class ConsumerPosition(models.Model):
    """The highest sequence that a consumer has applied of a stream of events; 0: none yet."""

    pk = models.CompositePrimaryKey("consumer", "stream")
    consumer = models.CharField(max_length=60)
    stream = models.CharField(max_length=80)
    sequence = models.BigIntegerField()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(sequence__gte=0), name="consumer_position_not_negative")]
