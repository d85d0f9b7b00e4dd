"""The page of the shards: who owns which symbols, what waits, which symbols moved. Read-only: moving is for whoever runs the machine."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from exchange_platform.back_office import show
from exchange_platform.back_office.base import Reader
from exchange_platform.back_office.listing import Column, Facts, Listed, Table, whole_number
from matching import queries
from orders.models import Shard

MOVES_SHOWN = 50


@admin.register(Shard)
class ShardAdmin(Reader):
    read_right = "read_platform"
    alias = "default"
    plural = "Shards"
    empty = "No matching worker has started yet."
    columns = (
        Column("Shard", lambda row: show.link(show.url_of("orders.shard", row.shard), row.shard)),
        Column("Owner", lambda row: row.owner or show.NOTHING),
        Column("Lease", lambda row: show.badge("OWNED" if row.is_owned else "NOBODY")),
        Column("Lease until (UTC)", lambda row: show.moment(row.lease_until)),
        Column("Epoch", lambda row: row.epoch or show.NOTHING, numeric=True),
        Column("Symbols", lambda row: ", ".join(row.symbols) or show.NOTHING),
        Column("Commands waiting", lambda row: row.waiting, numeric=True),
        Column("Oldest waits (s)", lambda row: _seconds(row), numeric=True),
    )

    def find(self, request: HttpRequest, question: dict[str, Any]) -> Listed:
        asked = question.get("q", "").upper()
        return Listed([row for row in queries.shards() if not asked or any(name.startswith(asked) for name in row.symbols)])

    def load(self, request: HttpRequest, object_id: str) -> Any:
        number = whole_number(object_id)
        return next((row for row in queries.shards() if row.shard == number), None)

    def facts(self, request: HttpRequest, row: queries.ShardRow) -> Sequence[Facts]:
        lease = [
            ("Owner", row.owner or "nobody yet"),
            ("Lease", show.badge("OWNED" if row.is_owned else "NOBODY")),
            ("Lease until (UTC)", show.moment(row.lease_until)),
            ("Epoch", row.epoch or show.NOTHING),
        ]
        work = [
            ("Symbols", ", ".join(row.symbols) or show.NOTHING),
            ("Commands waiting", row.waiting),
            ("Oldest waits (s)", _seconds(row)),
        ]
        return [Facts("Worker", lease), Facts("Work", work)]

    def tables(self, request: HttpRequest, row: queries.ShardRow) -> Sequence[Table]:
        headings = ("Asked (UTC)", "Symbol", "From", "To", "State", "By", "Reason", "Undone because")
        made = [
            [show.moment(m.requested_at), m.symbol, m.source, m.target, show.badge(m.state), m.actor, m.reason, m.note or show.NOTHING]
            for m in queries.moves(last=MOVES_SHOWN)
            if row.shard in (m.source, m.target)
        ]
        return [Table("Moves of symbols", headings, made, empty="No symbol has come or gone lately.", numeric=frozenset({2, 3}))]

    def title_of(self, row: queries.ShardRow) -> str:
        return f"Shard {row.shard}"


def _seconds(row: queries.ShardRow) -> object:
    return show.NOTHING if row.oldest_s is None else f"{row.oldest_s:.1f}"
