"""Settings shared by every environment. Secrets and addresses come from the environment through `env` alone."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from exchange_platform.settings import env
from exchange_platform.settings.database import ENGINE_ROLE, TENANT_ROLE, database_settings, role_url
from exchange_platform.settings.logs import configure_structlog, logging_settings
from exchange_platform.subscriptions import SINKS

BASE_DIR = Path(__file__).resolve().parent.parent.parent
STACK_HOME = Path(env.text("STACK_HOME", str(BASE_DIR / "var"))).resolve()

SECRET_KEY: str = env.text("SECRET_KEY")
FIELD_ENCRYPTION_KEY: str = env.key_32_bytes("FIELD_ENCRYPTION_KEY")
DEBUG: bool = False
ALLOWED_HOSTS: list[str] = env.names("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
# Who is told metrics and what is wrong with the exchange's health: this machine and private networks.
PRIVATE_NETWORKS = "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7,fe80::/10"
INTERNAL_NETWORKS: list[str] = env.names("INTERNAL_NETWORKS", PRIVATE_NETWORKS)

# After this time history leaves its tables for the archive, whole months at a time (orders.retention). The audit trail stays for good.
HISTORY_KEPT_MONTHS: int = env.whole_number("HISTORY_KEPT_MONTHS", 60)
COMMAND_LOG_KEPT_DAYS: int = env.whole_number("COMMAND_LOG_KEPT_DAYS", 90)

# A break in customers' funds stops trading of what it touches (orders.breaks); resuming needs two people.
RECONCILE_HALTS: bool = env.flag("RECONCILE_HALTS", True)
# How long an address waits before money may be withdrawn to it.
WITHDRAWAL_COOL_OFF_S: int = env.whole_number("WITHDRAWAL_COOL_OFF_S", 86_400)

INSTALLED_APPS: list[str] = [
    "unfold.apps.BasicAppConfig",
    "exchange_platform.back_office.apps.BackOfficeConfig",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "channels",
    "exchange_platform",
    "django_prometheus",
    "institutions",
    "markets",
    "wallet",
    "orders",
    "matching",
    "risk",
    "notifications",
    "api",
    "dashboard",
]

# For pages alone. The API runs without any: it has a handler of its own (exchange_platform.asgi), authenticates in api.auth and
# knows neither sessions nor cookies.
MIDDLEWARE: list[str] = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "institutions.middleware.ReachMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
PROMETHEUS_EXPORT_MIGRATIONS = False  # it would ask every database at every start
# In the database: operators must get in while Redis is down, and whoever logs out or is deactivated is out at once, which a signed
# cookie could not promise.
SESSION_ENGINE = "django.contrib.sessions.backends.db"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_NAME = "exchange_session"
X_FRAME_OPTIONS = "DENY"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
LOGIN_URL = "admin:login"

ROOT_URLCONF = "exchange_platform.urls"
ASGI_APPLICATION = "exchange_platform.asgi.application"
APPEND_SLASH = False

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# DATABASE_URL is the bootstrap and maintenance login. The engine sees all tenants; the tenants' role is bound by row-level
# security. Migrations and partitions run as maintenance: manage.py sets EXCHANGE_DB_ROLE for the commands that need it.
DATABASE_URL: str = env.text("DATABASE_URL")
ENGINE_DATABASE_URL: str = role_url(DATABASE_URL, ENGINE_ROLE)
TENANT_DATABASE_URL: str = role_url(DATABASE_URL, TENANT_ROLE)
DATABASES: dict[str, dict[str, Any]] = {
    "default": database_settings(DATABASE_URL if env.text("EXCHANGE_DB_ROLE", "engine") == "maintenance" else ENGINE_DATABASE_URL),
    "tenant": database_settings(TENANT_DATABASE_URL),
}
# A request that is stopped in the middle must not keep others from the rows it locked (transaction_timeout: PostgreSQL 17).
SERVER_LIMITS = "-c lock_timeout=5s -c statement_timeout=15s -c transaction_timeout=20s"
if DATABASES["default"]["USER"] == ENGINE_ROLE:
    DATABASES["default"]["OPTIONS"]["options"] = SERVER_LIMITS
DATABASES["tenant"]["OPTIONS"]["options"] = SERVER_LIMITS
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL: str = env.text("REDIS_URL")
CACHES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL, "KEY_PREFIX": "exchange"},
}
CHANNEL_LAYERS: dict[str, dict[str, Any]] = {
    # The default layer drops messages when a consumer's queue is full; this one pushes. Redis numbers its databases and publishes across
    # all of them, so the number is in the name.
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": f"exchange-{REDIS_URL.rpartition('/')[2]}"},
    },
}

AUTH_USER_MODEL = "institutions.User"
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]

USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False
LANGUAGE_CODE = "en"

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "static"

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Exchange back office",
    "SITE_HEADER": "Exchange",
    "SITE_SUBHEADER": "Back office",
    "SITE_SYMBOL": "candlestick_chart",
    "SITE_URL": "/",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "/static/exchange/icon.svg"}],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "STYLES": ["/static/exchange/back_office.css"],
    "LOGIN": {"form": "exchange_platform.back_office.login.LoginForm"},
    "SIDEBAR": {"show_search": True, "navigation": "exchange_platform.back_office.navigation.navigation"},
    "COLORS": {
        "primary": {  # the teal of the home page
            "50": "#f0fdfa", "100": "#ccfbf1", "200": "#99f6e4", "300": "#5eead4", "400": "#2dd4bf", "500": "#14b8a6",
            "600": "#0f766e", "700": "#0f766e", "800": "#115e59", "900": "#134e4a", "950": "#042f2e",
        }
    },
}  # fmt: skip

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
    "COERCE_DECIMAL_TO_STRING": True,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Exchange API",
    "DESCRIPTION": "Orders, market data and balances of the exchange.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}
SIMPLE_JWT: dict[str, Any] = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=5),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=1),
    "SIGNING_KEY": SECRET_KEY,
    "UPDATE_LAST_LOGIN": False,
}

# Who keeps the events of the outbox (`notifications.sinks`), by the names in `exchange_platform.subscriptions.SINKS`.
EVENT_SINKS: list[str] = env.choices("EVENT_SINKS", SINKS, "redis")
NATS_URL: str = env.text("NATS_URL", None if "nats" in EVENT_SINKS else "nats://127.0.0.1:4222")
NATS_REPLICAS: int = env.whole_number("NATS_REPLICAS", 1)
KAFKA_SERVERS: str = env.text("KAFKA_SERVERS", None if "kafka" in EVENT_SINKS else "127.0.0.1:9092")
KAFKA_PROPERTIES: str = env.text("KAFKA_PROPERTIES", "")  # a file of more settings: TLS, SASL

CELERY_BROKER_URL = REDIS_URL
CELERY_RESULT_BACKEND = REDIS_URL
CELERY_RESULT_EXPIRES = 3600
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {"visibility_timeout": 600, "socket_connect_timeout": 5, "socket_keepalive": True}
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_RESULT_SERIALIZER = "json"
CELERY_TIMEZONE = "UTC"
CELERY_TASK_QUEUES = {"background": {"exchange": "background", "routing_key": "background"}}
CELERY_TASK_DEFAULT_QUEUE = "background"
CELERY_TASK_DEFAULT_EXCHANGE = "background"
CELERY_TASK_DEFAULT_ROUTING_KEY = "background"
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_BEAT_SCHEDULE_FILENAME = str(STACK_HOME / "celery" / "beat-schedule")
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "run-reconciliation": {"task": "orders.tasks.run_reconciliation", "schedule": 300.0},
    "see-results": {"task": "orders.tasks.see_results", "schedule": 60.0, "options": {"expires": 60}},
    "purge-receipts": {"task": "notifications.tasks.purge_receipts", "schedule": 3600.0},
    "purge-spent-nonces": {"task": "orders.tasks.purge_spent_nonces", "schedule": 30.0},
    "sweep-outbox": {"task": "notifications.tasks.sweep_outbox", "schedule": 5.0},
    "sweep-market-data": {"task": "orders.tasks.update_all_market_data", "schedule": 5.0},
    "sweep-surveillance": {"task": "risk.tasks.sweep_surveillance", "schedule": 5.0, "options": {"expires": 5}},
    "take-portfolio-snapshots": {"task": "risk.tasks.take_portfolio_snapshots", "schedule": 900.0},
    "fade-scores": {"task": "risk.tasks.fade_scores", "schedule": 3600.0},
    "open-auctions": {"task": "orders.tasks.open_auctions", "schedule": 3.0, "options": {"expires": 3}},
    "raise-halt-alerts": {"task": "orders.tasks.raise_halt_alerts", "schedule": 15.0, "options": {"expires": 15}},
    "leave-heartbeat": {"task": "exchange_platform.tasks.leave_heartbeat", "schedule": 10.0, "options": {"expires": 10}},
    "expire-requests": {"task": "institutions.tasks.expire_requests", "schedule": 60.0, "options": {"expires": 60}},
    "clear-sessions": {"task": "institutions.tasks.clear_sessions", "schedule": 86400.0},
    "ensure-partitions": {"task": "exchange_platform.tasks.ensure_partitions", "schedule": 3600.0},
    "retire-history": {"task": "orders.tasks.retire_history", "schedule": 21600.0},
    "anchor-command-logs": {"task": "orders.tasks.anchor_command_logs", "schedule": 60.0, "options": {"expires": 60}},
    "verify-command-logs": {"task": "orders.tasks.verify_command_logs", "schedule": 86400.0},
}

LOG_LEVEL: str = env.text("LOG_LEVEL", "WARNING").upper()
LOGGING_CONFIG = "logging.config.dictConfig"
LOGGING: dict[str, Any] = logging_settings(LOG_LEVEL)
configure_structlog(
    secrets=[SECRET_KEY, FIELD_ENCRYPTION_KEY, DATABASE_URL, ENGINE_DATABASE_URL, TENANT_DATABASE_URL, REDIS_URL, *NATS_URL.split(",")]
)
