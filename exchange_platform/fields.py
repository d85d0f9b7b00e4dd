"""Fields that the models of every app share."""

from typing import Any

from django.db import models


class Amount(models.DecimalField):  # type: ignore[type-arg]
    """NUMERIC(38, 18), as all money and quantities are at rest."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("max_digits", 38)
        kwargs.setdefault("decimal_places", 18)
        super().__init__(**kwargs)
