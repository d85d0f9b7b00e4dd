"""Money is conserved: every integration test ends by asking the books whether they agree with each other."""

import psycopg

from orders.reconcile import Report, reconcile


def assert_money_conserved(url: str | None = None) -> Report:
    """Reconciles the present database, or the one at `url`; fails naming every break. Returns the report."""
    if url is None:
        report = reconcile()
    else:
        with psycopg.connect(url) as connection:
            report = reconcile(connection=connection)
    assert report.is_clean, f"{report.broken} breaks:\n" + "\n".join(f"{b.check}: {b.sentence}" for b in report.breaks[:20])
    return report
