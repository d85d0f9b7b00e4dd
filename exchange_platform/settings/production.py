"""Behind a TLS-terminating proxy. Every secret and address must be in the environment; nothing is made up."""

from exchange_platform.settings import env

_REQUIRED = ("SECRET_KEY", "FIELD_ENCRYPTION_KEY", "DATABASE_URL", "REDIS_URL", "ALLOWED_HOSTS", "STACK_HOME")
for _name in _REQUIRED:
    env.text(_name)

from exchange_platform.settings.base import *  # noqa: E402, F403

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_HSTS_SECONDS = 31_536_000
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
