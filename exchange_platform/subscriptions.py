"""Who has to do with the news of the outbox: the one table. Rooms are named here, not imported.

Reactions are Celery tasks, called with the key of what has changed once it has been published, at most every
`REACTIONS_EVERY_S` per key. They are wake-ups: a task reads what there is to do from PostgreSQL, so a lost or repeated call changes
nothing, and a sweep by Celery beat finds what nobody was called for.
"""

from typing import Final

# topic → who puts its letters into words
RENDERERS: Final = {
    "account": "orders.feeds.account_words",
    "market": "orders.feeds.market_words",
    "market_data": "orders.candles.market_data_words",
}

# topic of a reaction → tasks
REACTIONS: Final = {
    "market": ("orders.tasks.update_market_data",),
}

REACTIONS_EVERY_S: Final = 0.25
