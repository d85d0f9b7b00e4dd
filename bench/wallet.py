"""How fast money comes in: single deposits one after the other, and files of them, durable when told. Beside a running exchange."""

import os
import time
from decimal import Decimal
from typing import Any

from bench import Emit
from bench.measure import machine
from bench.stack import running_stack

SINGLES = 1500
FILE = 1000
FILES = 20


def run(emit: Emit) -> None:
    """Emit deposits per second, single and by files of FILE, and what a reconciliation says afterwards."""
    with running_stack() as stack:
        os.environ.update(
            DJANGO_SETTINGS_MODULE="exchange_platform.settings.test", DATABASE_URL=stack.file["database_url"], STACK_HOME=str(stack.home)
        )
        import django

        django.setup()
        from institutions.models import Account
        from orders.reconcile import reconcile
        from wallet.bulk import Incoming, deposit_many
        from wallet.services import deposit

        accounts = list(Account.objects.filter(kind="CUSTOMER").order_by("pk").values_list("pk", flat=True))
        assets = ("BTC", "ETH", "USDT", "TEST")
        about: dict[str, Any] = {"accounts": len(accounts), "assets": len(assets)}

        def one(number: int) -> dict[str, Any]:
            place = {"account_id": accounts[number % len(accounts)], "asset": assets[number % len(assets)]}
            return {**place, "amount": Decimal("1.25"), "reference": f"bench {number}"}

        for number in range(50):
            deposit(**one(number), actor="bench")
        began = time.perf_counter()
        for number in range(50, 50 + SINGLES):
            deposit(**one(number), actor="bench")
        emit("single", round(SINGLES / (time.perf_counter() - began)), "deposits/s", count=SINGLES, **about)

        number = 50 + SINGLES
        files = []
        for _ in range(FILES + 1):
            files.append([Incoming(**one(n)) for n in range(number, number + FILE)])
            number += FILE
        deposit_many(deposits=files.pop(), actor="bench")
        times = []
        for content in files:
            began = time.perf_counter()
            deposit_many(deposits=content, actor="bench")
            times.append(time.perf_counter() - began)
        rate = FILE * FILES / sum(times)
        emit("files", round(rate), "deposits/s", file=FILE, files=FILES, best=round(FILE / min(times)), machine=machine(None), **about)
        report = reconcile()
        emit("breaks", report.broken, "breaks", transfers=report.rows["transfers"], took_s=round(report.duration.total_seconds(), 2))
