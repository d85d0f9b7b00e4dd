"""Who has to do with the news of the outbox: the one table. Rooms are named here, not imported.

Reactions are Celery tasks, called with the key of what has changed once it has been published, and not more often per key than the
table says. They are wake-ups: a task reads what there is to do from PostgreSQL, so a lost or repeated call changes
nothing, and a sweep by Celery beat finds what nobody was called for.
"""

from typing import Final

# topic → who puts its letters into words
RENDERERS: Final = {
    "account": "orders.feeds.account_words",
    "market": "orders.feeds.market_words",
    "market_data": "orders.candles.market_data_words",
    "alert": "risk.alert_news.alert_words",
}

# topic of a reaction → tasks, each with the least seconds between two calls for one key
REACTIONS: Final = {
    "trades": (("orders.tasks.update_market_data", 0.25), ("risk.tasks.watch_trades", 2.0)),
    "book": (("orders.tasks.update_market_data", 1.0),),  # the ticker's best bid and ask
    "halts": (("orders.tasks.raise_halt_alerts", 1.0),),  # of symbols by themselves
}

# Who says what a symbol's engine was after a command, as bytes from which a replay can begin: (connection, symbol, sequence).
ENGINE_SNAPSHOT: Final = "matching.snapshots.at"

# Sinks by the names that the setting EVENT_SINKS gives them.
SINKS: Final = {
    "redis": "notifications.sinks.redis_streams.RedisStreams",
    "nats": "notifications.sinks.jetstream.JetStream",
    "kafka": "notifications.sinks.kafka.Kafka",
}

# Where brokers carry the events of a channel: topic of Kafka, subject of NATS. What follows the channel in a stream's name, an account's
# or an alert's number or a symbol, is the key under which order is kept.
ADDRESSES: Final = {
    "trades": ("trade.events", "trading.fills"),
    "status": ("trade.events", "market.status.{symbol}"),
    "user.orders": ("order.events", "orders.updates.{symbol}"),
    "user.balances": ("order.events", "trading.positions"),
    "alerts": ("audit.logs", "trading.alerts"),
}
