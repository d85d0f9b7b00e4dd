"""A process that stops where a test wants to kill it: it says so on standard output and does nothing more.

relay BROKER ADDRESS             published, not yet marked: before the relay's commit
consumer BROKER ADDRESS WHERE    `inside` the effect of the third event, or `before` its acknowledgement; NEVER: to the end
"""

import asyncio
import sys
import time


def main() -> None:
    import django

    django.setup()
    {"relay": relay, "consumer": consumer}[sys.argv[1]](*sys.argv[2:])


def relay(broker: str, address: str) -> None:
    from exchange_platform.db import connect_direct
    from tests.notifications.letters import relay_to
    from tests.support.brokers import make_sink

    connection = connect_direct(name="relay")
    connection.commit = lambda: stop("published")  # type: ignore[method-assign]
    with asyncio.Runner() as runner:
        relay_to(make_sink(broker, address)).drain(connection, runner)


def consumer(broker: str, address: str, where: str) -> None:
    from django.db import connection

    from notifications.consumers import Arrival, apply_once
    from notifications.events import Event
    from tests.support.brokers import deliveries

    applied = 0

    def effect(event: Event, arrival: Arrival) -> None:
        nonlocal applied
        applied += 1
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO effect (stream, sequence) VALUES (%s, %s)", [event.stream, event.sequence])
        if (applied, where) == (3, "inside"):
            stop("inside")

    for event, acknowledge in deliveries(broker, address):
        apply_once(consumer="effects", event=event, effect=effect)
        if (applied, where) == (3, "before"):
            stop("before")
        acknowledge()


def stop(where: str) -> None:
    print(where, flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main()
