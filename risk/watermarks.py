"""How far something has been judged. The row is the lock: whoever judges holds it until his effects are committed with the new position."""

from typing import Final
from uuid import UUID

from django.db import connection

from exchange_platform.db import require_transaction

BEGIN_SQL: Final = "INSERT INTO risk_watermark (name, position) VALUES (%s, %s) ON CONFLICT DO NOTHING"
TAKE_SQL: Final = "SELECT position FROM risk_watermark WHERE name = %s FOR UPDATE"
MOVE_SQL: Final = "UPDATE risk_watermark SET position = %s, updated_at = now() WHERE name = %s"

BEGINNING: Final = UUID(int=0)


def take(name: str) -> UUID:
    """The position, locked until the transaction ends; a new one begins before everything. Joins the caller's transaction."""
    require_transaction()
    with connection.cursor() as cursor:
        cursor.execute(BEGIN_SQL, [name, BEGINNING])
        cursor.execute(TAKE_SQL, [name])
        position: UUID = cursor.fetchone()[0]
    return position


def move(name: str, position: UUID) -> None:
    """Joins the caller's transaction, which holds the row. The database refuses to go back."""
    require_transaction()
    with connection.cursor() as cursor:
        cursor.execute(MOVE_SQL, [position, name])
