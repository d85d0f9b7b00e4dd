"""The admin in a browser, against a running stack: each role finds its way, an operator halts, and resumes with a second person."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.stacks import RunningStack
from tests.web.back_office import approve_latest, log_in
from tests.web.browser import DESKTOP, PHONE, Tab, started_browser

pytestmark = pytest.mark.slow

PAGES = [
    "/admin/", "/admin/orders/order/", "/admin/orders/trade/", "/admin/markets/symbol/", "/admin/wallet/balances/",
    "/admin/wallet/transfers/",
    "/admin/institutions/account/", "/admin/institutions/apikey/do/create/", "/admin/risk/limit/",
    "/admin/institutions/changerequest/", "/admin/find/?q=alpha-1",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started_browser() as started:
        yield started


@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (PHONE, True)], ids=["desktop", "phone"])
def test_every_page_opens_without_a_complaint_and_fits_the_window(
    browser: Any, running_stack: RunningStack, size: tuple[int, int], dark: bool
) -> None:
    tab = Tab(browser, running_stack["base_url"], size=size, dark=dark)
    log_in(tab, running_stack, "superuser")
    tab.page.goto("/admin/find/?q=ETH/USDT")
    for path in [urlsplit(tab.page.url).path, *PAGES]:  # a symbol's page has the most buttons
        tab.page.goto(path)
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= size[0], path
    assert tab.problems == []
    assert {url for url in tab.requested if not url.startswith((running_stack["base_url"], "data:", "blob:"))} == set()
    tab.close()


def test_an_operator_halts_a_market_says_why_and_resumes_it(browser: Any, running_stack: RunningStack) -> None:
    tab = Tab(browser, running_stack["base_url"])
    log_in(tab, running_stack, "operator")
    tab.page.goto("/admin/find/?q=ETH/USDT")
    for button, told in (("Halt", ".bo-badge:text('HALTED')"), ("Resume", "text=another person decides")):
        tab.page.get_by_role("link", name=button, exact=True).click()
        tab.page.get_by_label("Reason").fill("a drill")
        tab.page.get_by_role("button", name=button).click()
        tab.page.wait_for_selector(told)
    second = Tab(browser, running_stack["base_url"])
    approve_latest(second, running_stack)
    tab.page.reload()
    tab.page.wait_for_selector(".bo-badge:text('TRADING')")
    assert second.problems == []
    second.close()
    assert "symbol.status" in tab.page.inner_text(".bo")
    assert "a drill" in tab.page.inner_text(".bo")
    assert tab.problems == []
    tab.close()
