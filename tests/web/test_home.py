"""The first visit: README's first order, and the home page in a browser, against a running stack."""

import json
import os
import re
import subprocess
from collections.abc import Iterator

import httpx
import pytest
from django.test import Client

from tests.support.servers import PROJECT
from tests.support.stacks import RunningStack
from tests.web.browser import Page, browser_page, find_browser

SOURCES = ("symbols", "ticker", "orderbook", "trades")
LIVE = "document.querySelector('#state')?.dataset.is === 'live'"
CHOSEN = "document.querySelector('#rows tr[aria-current]')?.dataset.symbol"


@pytest.fixture(scope="module")
def page_text() -> str:
    answer = Client().get("/")
    assert answer.status_code == 200
    assert answer["content-type"].startswith("text/html")
    return answer.content.decode()


def test_the_page_names_where_its_data_comes_from(page_text: str) -> None:
    assert set(SOURCES) <= set(re.findall(r"/api/v1/([a-z]+)", page_text))


def test_the_page_leads_to_the_reference(page_text: str) -> None:
    for path in ("/api/v1/docs", "/api/v1/redoc", "/api/v1/schema"):
        assert f'href="{path}"' in page_text


def test_the_page_needs_nothing_from_outside(page_text: str) -> None:
    page_text = re.sub(r'href="data:[^"]*"', "", page_text)
    assert "//" not in re.sub(r"\s//.*", "", page_text), "an address with a host, or of another scheme"
    assert not re.search(r"<(?:script|img|iframe)[^>]*\ssrc=|<link[^>]*stylesheet|@import|url\(", page_text)


# -- with a running stack


@pytest.fixture(scope="module")
def first_orders(running_stack: RunningStack) -> list[str]:
    """README's first order, run as it stands in a plain shell; the answers, one per line."""
    chapter = (PROJECT / "README.md").read_text().partition("## A first signed order\n")[2].partition("\n## ")[0]
    commands = "\n".join(re.findall(r"^```sh\n(.*?)^```", chapter, re.DOTALL | re.MULTILINE))
    environment = {**os.environ, "STACK_HOME": str(running_stack.home)}
    done = subprocess.run(
        ["sh", "-e", "-c", commands], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_first_order_of_the_readme_does_what_it_says(first_orders: list[str], running_stack: RunningStack) -> None:
    bid, sale, book, balances, ledger, cancelled = map(json.loads, first_orders)
    assert (bid["status"], bid["account"]) == ("OPEN", "alpha-1")
    assert (sale["status"], sale["filled_quantity"], len(sale["fills"])) == ("FILLED", "0.500", 1)
    assert (book["bids"], book["asks"]) == ([["99.50", "1.500"]], [])
    assert {"account": "beta-1", "asset": "TEST", "posted": "899999.50000000", "held": "0.00000000", "available": "899999.50000000"} in (
        balances["results"]
    )
    assert len(ledger["results"]) == 5
    assert cancelled == {"requested": 1, "cancelled": 1}


@pytest.fixture(scope="module")
def page(running_stack: RunningStack) -> Iterator[Page]:
    program = find_browser()
    if program is None:
        pytest.skip("NO BROWSER: the home page was not looked at. Install chromium (apt-get install chromium) to test it.")
    with browser_page(program) as opened:
        yield opened


def address(stack: RunningStack, path: str = "/") -> str:
    return str(stack["base_url"]) + path


@pytest.mark.slow
def test_every_symbol_has_a_row_with_what_the_api_says(first_orders: list[str], running_stack: RunningStack, page: Page) -> None:
    with httpx.Client(base_url=address(running_stack, "/api/v1/"), trust_env=False) as api:
        listed = [row["symbol"] for row in api.get("symbols").json()["results"]]
        tickers = {row["symbol"]: row for row in api.get("ticker").json()["results"]}
        for symbol in listed:
            for path in (f"orderbook/{symbol.replace('/', '-')}", f"trades?symbol={symbol.replace('/', '-')}"):
                assert api.get(path).status_code == 200
    page.open(address(running_stack))
    page.wait_for(LIVE)
    rows = page.value("[...document.querySelectorAll('#rows tr')].map(tr => [tr.dataset.symbol, tr.querySelector('.last').textContent])")
    assert [symbol for symbol, _ in rows] == listed
    assert dict(rows) == {symbol: tickers[symbol]["last_price"] or "–" for symbol in listed}
    assert dict(rows)["TEST/USDT"] == "99.50"


@pytest.mark.slow
def test_the_busiest_market_is_shown_and_another_can_be_chosen(first_orders: list[str], running_stack: RunningStack, page: Page) -> None:
    page.open(address(running_stack, "/?"))
    assert page.wait_for(f"{LIVE} && {CHOSEN}") == "TEST/USDT"
    assert page.value("document.querySelector('#trades tbody').innerText").split()[1:] == ["sell", "99.50", "0.500"]
    assert "No order rests" in page.value("document.querySelector('#book tbody').innerText")
    page.value("document.querySelector('#rows tr[data-symbol=\"BTC/USDT\"] button').click()")
    page.wait_for("document.querySelector('#trades').innerText.includes('Nothing has traded yet')")
    assert page.value(CHOSEN) == "BTC/USDT"
    assert page.value("location.hash") == "#BTC-USDT"


@pytest.mark.slow
def test_the_page_says_when_the_exchange_does_not_answer_and_when_it_does_again(running_stack: RunningStack, page: Page) -> None:
    page.open(address(running_stack, "/?away"))
    page.wait_for(LIVE)
    network = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.send("Network.emulateNetworkConditions", offline=True, **network)
    page.wait_for("document.querySelector('#state')?.dataset.is === 'away'")
    assert page.value("document.querySelector('#state').textContent") == "no answer, trying again"
    page.send("Network.emulateNetworkConditions", offline=False, **network)
    page.wait_for(LIVE)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_and_follows_the_colour_scheme(running_stack: RunningStack, page: Page, width: int) -> None:
    grounds = []
    for dark in (False, True):
        page.open(address(running_stack, f"/?{width}-{dark}"), width=width, dark=dark)
        page.wait_for(LIVE)
        assert page.value("document.documentElement.scrollWidth <= innerWidth")
        grounds.append(page.value("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]


@pytest.mark.slow
def test_the_page_asked_only_the_exchange_and_wrote_no_error(running_stack: RunningStack, page: Page) -> None:
    seen, written = len(page.requested), len(page.console)
    page.open(address(running_stack, "/?clean"))
    page.wait_for(f"{LIVE} && {CHOSEN}")
    assert len(page.requested) > seen
    assert not [url for url in page.requested if not url.startswith((address(running_stack), "data:"))]
    assert page.console[written:] == []
