"""Tables of who takes part. Integrity lives in the migrations beside this file."""

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q


class Platform(models.Model):
    """The one row that intake locks first (shared) and a platform-wide kill switch locks whole."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    is_frozen = models.BooleanField(default=False)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="platform_is_one_row")]


class Institution(models.Model):
    """A tenant. The house itself is one, and owns the house accounts."""

    code = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=120)
    is_house = models.BooleanField(default=False)
    is_frozen = models.BooleanField(default=False)
    cors_origins = ArrayField(models.CharField(max_length=200), default=list, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["is_house"], condition=Q(is_house=True), name="institution_one_house")]

    def __str__(self) -> str:
        return self.code


class Role(models.TextChoices):
    TRADER = "trader"
    INSTITUTION_ADMIN = "institution_admin"
    COMPLIANCE = "compliance"
    OPERATOR = "operator"
    QUANT = "quant"
    SUPERUSER = "superuser"


class User(AbstractUser):
    """A person. Staff of the platform (compliance, operator, superuser) have no institution and see all; others only their own."""

    role = models.CharField(max_length=20, choices=Role.choices, default=Role.TRADER)
    institution = models.ForeignKey(Institution, null=True, blank=True, on_delete=models.PROTECT, related_name="users")

    def has_perm(self, perm: str, obj: object = None) -> bool:
        """Whether the role has this right (`institutions.rights`); flags and permissions of the framework grant nothing."""
        from institutions.rights import rights_of  # it knows this model

        return perm in rights_of(self)

    def has_module_perms(self, app_label: str) -> bool:
        return self.has_perm("back_office")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(institution__isnull=False) | Q(role__in=["compliance", "operator", "superuser"]),
                name="user_without_institution_is_staff",
            ),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="user_role_known"),
        ]


class AccountKind(models.TextChoices):
    CUSTOMER = "CUSTOMER"
    FEES = "FEES"  # one per symbol, owned by the house
    EXTERNAL = "EXTERNAL"  # the world outside: deposits come from it, withdrawals go to it
    ADJUSTMENT = "ADJUSTMENT"


class PreventionMode(models.TextChoices):
    CANCEL_NEWEST = "CANCEL_NEWEST"
    CANCEL_OLDEST = "CANCEL_OLDEST"
    CANCEL_BOTH = "CANCEL_BOTH"
    DECREMENT = "DECREMENT"


class Account(models.Model):
    """A trading account. Its row is the lock under which money and limits of the account are decided."""

    institution = models.ForeignKey(Institution, on_delete=models.PROTECT, related_name="accounts")
    name = models.SlugField(max_length=60, unique=True)
    kind = models.CharField(max_length=12, choices=AccountKind.choices, default=AccountKind.CUSTOMER)
    beneficial_owner = models.CharField(max_length=120, blank=True, default="")
    is_frozen = models.BooleanField(default=False)
    self_trade_prevention = models.CharField(max_length=13, choices=PreventionMode.choices, default=PreventionMode.CANCEL_NEWEST)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=AccountKind.values), name="account_kind_known"),
            models.CheckConstraint(condition=Q(self_trade_prevention__in=PreventionMode.values), name="account_prevention_known"),
        ]

    def __str__(self) -> str:
        return self.name


class KeyKind(models.TextChoices):
    HMAC = "hmac"
    ED25519 = "ed25519"


class ApiKey(models.Model):
    """A signing key of an account, or of a whole institution (account null).

    HMAC: `secret` is the shared secret, encrypted (see `institutions.secrets`). Ed25519: `public_key` is the client's raw
    32 bytes and no secret is kept here.
    """

    key = models.CharField(max_length=40, unique=True)
    kind = models.CharField(max_length=8, choices=KeyKind.choices, default=KeyKind.HMAC)
    institution = models.ForeignKey(Institution, on_delete=models.PROTECT, related_name="api_keys")
    account = models.ForeignKey(Account, null=True, blank=True, on_delete=models.PROTECT, related_name="api_keys")
    secret = models.BinaryField(null=True)
    public_key = models.BinaryField(null=True)
    scopes = ArrayField(models.CharField(max_length=10))
    ip_allow_list = ArrayField(models.CharField(max_length=50), default=list, blank=True)
    is_unlimited = models.BooleanField(default=False, help_text="Request limits and pre-trade limits off, except funds and frozen.")
    is_active = models.BooleanField(default=True)
    label = models.CharField(max_length=80, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(kind="hmac", secret__isnull=False, public_key__isnull=True)
                | Q(kind="ed25519", secret__isnull=True, public_key__isnull=False),
                name="apikey_secret_matches_kind",
            ),
            models.CheckConstraint(condition=Q(scopes__contained_by=["read", "trade", "withdraw", "admin"]), name="apikey_scopes_known"),
            models.CheckConstraint(
                condition=~Q(scopes__contains=["withdraw"]) | ~Q(ip_allow_list=[]), name="apikey_withdraw_needs_ip_allow_list"
            ),
        ]

    def __str__(self) -> str:
        return self.key


class SpentNonce(models.Model):
    """A signed request that changed something, used up by the transaction that committed it. Kept while its window could last."""

    pk = models.CompositePrimaryKey("api_key_id", "digest")
    api_key_id = models.BigIntegerField()
    digest = models.BinaryField()
    spent_at = models.DateTimeField()


class AuditEntry(models.Model):
    """Who did what, when, from where. Append-only: the database refuses change and removal."""

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    actor = models.CharField(max_length=80)
    action = models.CharField(max_length=60)
    subject = models.CharField(max_length=120)
    reason = models.TextField(blank=True, default="")
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    ip = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=300, blank=True, default="")
    request_id = models.CharField(max_length=40, blank=True, default="")

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(fields=["subject", "id"], name="audit_by_subject"),
            models.Index(fields=["actor", "id"], name="audit_by_actor"),
            models.Index(fields=["action", "id"], name="audit_by_action"),
            models.Index(fields=["request_id"], condition=~Q(request_id=""), name="audit_by_request"),
        ]


class ChangeRequest(models.Model):
    """Something that takes two people: asked for by one, decided by another. The database holds both to it (migration 0005)."""

    class State(models.TextChoices):
        PENDING = "PENDING"
        APPROVED = "APPROVED"
        REJECTED = "REJECTED"
        WITHDRAWN = "WITHDRAWN"
        EXPIRED = "EXPIRED"

    kind = models.CharField(max_length=40)
    subject = models.CharField(max_length=120)
    institution = models.ForeignKey(Institution, null=True, on_delete=models.PROTECT)
    payload = models.TextField()  # JSON, to the letter what will be applied
    payload_hash = models.BinaryField()  # SHA-256 of it, by the database
    effect = models.JSONField()  # what the maker was shown: summary, before, after, facts
    maker = models.CharField(max_length=80)
    maker_user = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")  # null: a client's key asked
    reason = models.TextField()
    request_id = models.CharField(max_length=40, blank=True, default="")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    checker = models.CharField(max_length=80, blank=True, default="")
    checker_user = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    approved_hash = models.BinaryField(null=True)  # of what the checker saw
    check_reason = models.TextField(blank=True, default="")
    checked_at = models.DateTimeField(null=True)
    result = models.JSONField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["PENDING", "APPROVED", "REJECTED", "WITHDRAWN", "EXPIRED"]), name="request_state_known"
            ),
            models.CheckConstraint(condition=Q(state="PENDING") | Q(checked_at__isnull=False), name="request_end_has_a_time"),
            models.UniqueConstraint(fields=["kind", "subject", "payload_hash"], condition=Q(state="PENDING"), name="request_pending_once"),
        ]
        indexes = [
            models.Index(fields=["expires_at"], condition=Q(state="PENDING"), name="request_pending_by_expiry"),
            models.Index(fields=["kind", "subject", "id"], name="request_by_subject"),
        ]
