"""The platform: settings, database words, the root error, wiring, and the supervisor of the whole stack.

It knows the other rooms by name only and imports none of them. It owns no model and no rule of the exchange.
The Celery application is bound in `apps`, not here: the supervisor imports this package and must stay small.
"""
