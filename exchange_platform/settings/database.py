"""Database addresses: the log-ins of the three roles are made from the one bootstrap address.

`DATABASE_URL` is the bootstrap and maintenance login. The engine's and the tenants' roles log in at the same server and
database with a password derived from its password, so that one variable configures every process.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

ENGINE_ROLE = "exchange_engine"
TENANT_ROLE = "exchange_tenant"


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """`host` is a TCP host name, or the folder of a unix socket (then it starts with "/"); `options` are libpq parameters."""

    user: str
    password: str
    host: str
    port: str
    name: str
    options: tuple[tuple[str, str], ...] = ()


def parse_database_url(url: str) -> DatabaseAddress:
    """Raises ValueError, naming what is wrong and never the password."""
    parts = urlsplit(url)
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ValueError("DATABASE_URL must start with postgresql://")
    name = unquote(parts.path.removeprefix("/"))
    if not name:
        raise ValueError("DATABASE_URL names no database: postgresql://user:password@host:port/NAME")
    query = dict(parse_qsl(parts.query))
    host = query.pop("host", "") or unquote(parts.hostname or "")
    port = query.pop("port", "") or (str(parts.port) if parts.port else "")
    user = query.pop("user", "") or unquote(parts.username or "")
    password = query.pop("password", "") or unquote(parts.password or "")
    return DatabaseAddress(user=user, password=password, host=host, port=port, name=name, options=tuple(sorted(query.items())))


def build_database_url(address: DatabaseAddress) -> str:
    login = quote(address.user, safe="")
    if address.password:
        login += ":" + quote(address.password, safe="")
    query = list(address.options)
    if address.host.startswith("/"):
        query.insert(0, ("host", address.host))
        server = f":{address.port}" if address.port else ""
    else:
        host = f"[{address.host}]" if ":" in address.host else address.host
        server = host + (f":{address.port}" if address.port else "")
    return urlunsplit(("postgresql", f"{login}@{server}", "/" + quote(address.name, safe=""), urlencode(query), ""))


def role_password(url: str, role: str) -> str:
    """Hex HMAC-SHA256 of the role's name under the bootstrap password; empty when that login has no password."""
    password = parse_database_url(url).password
    if not password:
        return ""
    return hmac.new(password.encode(), role.encode(), hashlib.sha256).hexdigest()


def role_url(url: str, role: str) -> str:
    """The same server and database as `url`, logged in as `role`."""
    address = parse_database_url(url)
    return build_database_url(
        DatabaseAddress(
            user=role,
            password=role_password(url, role),
            host=address.host,
            port=address.port,
            name=address.name,
            options=address.options,
        )
    )


def database_settings(url: str) -> dict[str, Any]:
    """One entry of Django's DATABASES for this address."""
    address = parse_database_url(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": address.name,
        "USER": address.user,
        "PASSWORD": address.password,
        "HOST": address.host,
        "PORT": address.port,
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 5, **dict(address.options)},
    }
