"""Who is internal: by the address that is connected, never by what a header claims."""

import ipaddress
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any, Final

from django.conf import settings

# A request that carries one of these came through a proxy: its sender is somebody else than who is connected. The headers are never
# believed, they only ever take the right away.
FORWARDING: Final = frozenset({b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"forwarded"})


def is_internal(scope: MutableMapping[str, Any], headers: Mapping[bytes, bytes]) -> bool:
    """Whether an ASGI request comes straight from one of `settings.INTERNAL_NETWORKS`."""
    if FORWARDING & headers.keys():
        return False
    client = scope.get("client")
    return client is None or _is_in(client[0], tuple(settings.INTERNAL_NETWORKS))  # without an address: a socket of this machine


@lru_cache(maxsize=1024)
def _is_in(address: str, networks: tuple[str, ...]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in network for network in map(ipaddress.ip_network, networks) if network.version == found.version)
