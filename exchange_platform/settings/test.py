"""The test suite, type checks and `makemigrations --check`.

The suite starts its own PostgreSQL and Redis and sets their addresses before this module is read; the addresses below
lead nowhere and serve only tools that import settings without connecting.
"""

from exchange_platform.settings import env

env.fill_missing(
    {
        "DATABASE_URL": "postgresql://exchange:unused@127.0.0.1:1/exchange",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "SECRET_KEY": "test-secret-key-that-protects-nothing-at-all",
        "FIELD_ENCRYPTION_KEY": "dGVzdC1rZXktdGhhdC1wcm90ZWN0cy1ub3RoaW5nISE=",
    }
)

from exchange_platform.settings.base import *  # noqa: E402, F403
from exchange_platform.settings.base import DATABASES  # noqa: E402

ALLOWED_HOSTS = ["*"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# A test that rolls back is one transaction from beginning to end, however long it takes.
for _alias in DATABASES.values():
    _alias["OPTIONS"].pop("options", None)
