"""How views describe themselves in the OpenAPI document."""

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent

_SIGNED = {
    "ApiKey": ("X-API-Key", "The key's public id."),
    "ApiTimestamp": ("X-Timestamp", "Milliseconds since 1970; accepted from 1,000 ms ahead to X-Recv-Window old."),
    "ApiRecvWindow": ("X-Recv-Window", "How old the request may be, 1 to 60000 ms, usually 5000."),
    "ApiSignature": (
        "X-Signature",
        "Over timestamp + recv_window + method + path with query + body, without separators: lower-case hex HMAC-SHA256, "
        "or base64 Ed25519. A signature for a request that changes something works once.",
    ),
}
_SCHEMES: dict[str, dict[str, Any]] = {
    name: {"type": "apiKey", "in": "header", "name": header, "description": description} for name, (header, description) in _SIGNED.items()
}
_SCHEMES["AccessToken"] = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "For people: POST /api/v1/auth/token."}


class ContractSchema(AutoSchema):
    """Security from the view's `access`; names, tags and answers come from `api.rest.schemas`."""

    def get_auth(self) -> list[dict[str, list[str]]]:
        access: dict[str, str] = self.view.access  # type: ignore[attr-defined]
        if access.get(self.method.upper()) in ("public", "nobody"):
            return []
        for name, scheme in _SCHEMES.items():
            self.registry.register_on_missing(
                ResolvedComponent(name=name, type=ResolvedComponent.SECURITY_SCHEMA, schema=scheme, object=name)
            )
        return [{name: [] for name in _SIGNED}, {"AccessToken": []}]

    def get_operation_id(self) -> str:
        return f"{self.method.lower()}_{type(self.view).__name__.removesuffix('View')}"

    def get_description(self) -> str:  # type: ignore[override]  # the stub is of another version
        return ""  # what a view's docstring says is for those who read the code

    def map_parsers(self) -> list[str]:
        return ["application/json"]

    def map_renderers(self, attribute: str) -> list[str]:
        return ["application/json"]
