"""What libraries count with prometheus-client is in the exchange's own files, and told with the rest."""

import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from exchange_platform import metrics
from exchange_platform.telemetry.text import exposition


def told() -> dict[str, float]:
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(exposition(metrics.FAMILIES, {}).decode()):
        for sample in family.samples:
            if sample.name.startswith("django_"):
                found[f"{sample.name}{sorted(sample.labels.items())}"] = sample.value
    return found


@pytest.mark.django_db(databases=["default", "tenant"])
def test_pages_are_counted_by_django_prometheus_and_told_beside_our_own_figures(client: Client) -> None:
    before = told()
    client.get("/admin/login/")
    client.get("/no/such/page")
    after = told()
    grown = {name for name, value in after.items() if value > before.get(name, 0.0)}
    assert any(name.startswith("django_http_responses_total_by_status_total[('status', '404')]") for name in grown)
    assert any(name.startswith("django_http_requests_latency_seconds_by_view_method_count") and "login" in name for name in grown)
