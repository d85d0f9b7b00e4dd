"""Assets and symbols. A symbol whose smallest trade the quote asset cannot express is refused by the database."""

from decimal import Decimal

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from exchange_platform.fields import Amount


class Asset(models.Model):
    """Something that can be owned; `scale` is its number of decimals (0 to 18)."""

    id = models.SmallAutoField(primary_key=True)
    code = models.CharField(max_length=12, unique=True)
    name = models.CharField(max_length=60, blank=True, default="")
    scale = models.PositiveSmallIntegerField()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(scale__lte=18), name="asset_scale_at_most_18")]

    def __str__(self) -> str:
        return self.code


class SymbolStatus(models.TextChoices):
    TRADING = "TRADING"
    POST_ONLY = "POST_ONLY"
    CANCEL_ONLY = "CANCEL_ONLY"
    HALTED = "HALTED"
    AUCTION = "AUCTION"
    DELISTED = "DELISTED"


class Route(models.TextChoices):
    INTERNAL = "INTERNAL"
    VENUE = "VENUE"
    SMART = "SMART"


class Symbol(models.Model):
    """A market of base against quote with its trading rules. Percentages are fractions (0.10 is 10 %); null switches a rule off."""

    name = models.CharField(max_length=25, unique=True)
    base = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="+")
    quote = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="+")
    status = models.CharField(max_length=12, choices=SymbolStatus.choices, default=SymbolStatus.TRADING)
    route = models.CharField(max_length=8, choices=Route.choices, default=Route.INTERNAL)
    is_listed = models.BooleanField(default=True, help_text="On the whitelist: only listed symbols are known to clients.")
    tick_size = Amount()
    lot_size = Amount()
    min_quantity = Amount()
    max_quantity = Amount(null=True, blank=True)
    min_price = Amount(null=True, blank=True)
    max_price = Amount(null=True, blank=True)
    min_notional = Amount(default=Decimal(0))
    max_open_orders = models.PositiveIntegerField(null=True, blank=True, help_text="Per account on this symbol.")
    static_band = models.DecimalField(max_digits=6, decimal_places=4, null=True, blank=True, default=Decimal("0.10"))
    dynamic_band = models.DecimalField(max_digits=6, decimal_places=4, null=True, blank=True, default=Decimal("0.05"))
    halt_s = models.PositiveIntegerField(default=60, help_text="How long the symbol rests when its price left the dynamic band.")
    auction_s = models.PositiveIntegerField(default=60, help_text="How long an auction collects orders.")
    resumes_by_auction = models.BooleanField(default=False, help_text="Whether an operator's resumption goes through an auction.")
    opens_at = models.TimeField(null=True, blank=True, help_text="End of the daily opening auction, UTC; null: no such auction.")
    market_protection = models.DecimalField(max_digits=6, decimal_places=4, default=Decimal("0.05"))
    reference_price = Amount(null=True, blank=True, help_text="Set by an operator for a symbol without a feed; does not age.")
    maker_fee = models.DecimalField(max_digits=9, decimal_places=8, default=Decimal("0.001"))
    taker_fee = models.DecimalField(max_digits=9, decimal_places=8, default=Decimal("0.001"))
    fee_account_id = models.BigIntegerField(help_text="The house account that collects this symbol's fees.")
    order_types = ArrayField(models.CharField(max_length=20), default=list, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(tick_size__gt=0, tick_size__lt=10**15), name="symbol_tick_positive"),
            models.CheckConstraint(condition=Q(lot_size__gt=0, lot_size__lt=10**15), name="symbol_lot_positive"),
            models.CheckConstraint(condition=Q(min_quantity__gt=0, min_quantity__lt=10**18), name="symbol_min_quantity_positive"),
            models.CheckConstraint(
                condition=Q(max_quantity__isnull=True) | Q(max_quantity__gte=F("min_quantity"), max_quantity__lt=10**18),
                name="symbol_max_quantity_sane",
            ),
            models.CheckConstraint(condition=Q(min_notional__gte=0, min_notional__lt=10**18), name="symbol_min_notional_sane"),
            models.CheckConstraint(condition=Q(maker_fee__gt=-1, maker_fee__lt=1), name="symbol_maker_fee_sane"),
            models.CheckConstraint(condition=Q(taker_fee__gt=-1, taker_fee__lt=1), name="symbol_taker_fee_sane"),
            models.CheckConstraint(
                condition=Q(reference_price__isnull=True) | Q(reference_price__gt=0, reference_price__lt=10**18),
                name="symbol_reference_price_sane",
            ),
            models.CheckConstraint(condition=Q(status__in=SymbolStatus.values), name="symbol_status_known"),
            models.CheckConstraint(
                condition=Q(halt_s__gte=1, halt_s__lte=86_400, auction_s__gte=1, auction_s__lte=86_400), name="symbol_phases_sane"
            ),
            models.CheckConstraint(condition=~Q(base=F("quote")), name="symbol_two_assets"),
        ]

    def __str__(self) -> str:
        return self.name


class Candle(models.Model):
    """Trades of one minute or hour in one row; longer intervals are added up from these two. No row where nothing traded."""

    pk = models.CompositePrimaryKey("symbol_id", "interval_s", "open_time")
    symbol_id = models.IntegerField()
    interval_s = models.IntegerField()
    open_time = models.DateTimeField()
    open = Amount()
    high = Amount()
    low = Amount()
    close = Amount()
    volume = Amount()
    quote_volume = Amount()
    trade_count = models.BigIntegerField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(interval_s__in=[60, 3600]), name="candle_interval_kept"),
            models.CheckConstraint(
                condition=Q(low__gt=0, low__lte=F("open"), high__gte=F("open"), volume__gt=0, trade_count__gt=0)
                & Q(low__lte=F("close"), high__gte=F("close")),
                name="candle_sane",
            ),
        ]


class MarketFeed(models.Model):
    """How far candles and ticker of a symbol have come: the last trade that is in them, and the sequences of their channels
    (`candles`: by interval)."""

    symbol_id = models.IntegerField(primary_key=True)
    trade_id = models.UUIDField(null=True)
    ticker = models.BigIntegerField(default=0)
    candles = models.JSONField(default=dict)
