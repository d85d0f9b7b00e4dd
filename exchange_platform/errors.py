"""The root of every error that a person or a client may see."""

from typing import Any


class ExchangeError(Exception):
    """Something was refused; `code` is stable and part of the contract, `message` tells a person what to do next.

    Subclasses are defined beside what raises them. Only the doors (`api.errors`) know which status a code travels under.
    """

    code = "INTERNAL"

    def __init__(self, message: str, *, code: str | None = None, field: str | None = None, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.details = details
        if code is not None:
            self.code = code
