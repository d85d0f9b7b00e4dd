"""The pages in a browser, against a running stack with its simulated market: they move, trade, halt and resume."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser

from tests.support.stacks import RunningStack, started_stack
from tests.web.back_office import approve_latest
from tests.web.browser import DESKTOP, PHONE, Tab, started_browser

pytestmark = pytest.mark.slow

MARKET = "/markets/BTC-USDT"
PAGES = ("/", MARKET)
ROW = 'tr[data-symbol="BTC/USDT"]'
NEWEST = "document.querySelector('#tape li')?.textContent"
BEST_BID = "document.querySelector('#bids li')?.dataset.price"


@pytest.fixture(scope="module")
def stack() -> Iterator[RunningStack]:
    with started_stack(STACK_DEMO="1") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started_browser() as started:
        yield started


@pytest.fixture
def tabs(stack: RunningStack, browser: Browser) -> Iterator[Any]:
    """Opens tabs: `tabs(size=…, dark=…)`."""
    opened: list[Tab] = []

    def new(**how: Any) -> Tab:
        opened.append(Tab(browser, str(stack["base_url"]), **how))
        return opened[-1]

    yield new
    for tab in opened:
        tab.close()


def user(stack: RunningStack, role: str) -> dict[str, Any]:
    found: dict[str, Any] = next(user for user in stack["users"] if user["role"] == role)
    return found


def test_a_market_moves_by_itself(tabs: Any) -> None:
    tab = tabs().open(MARKET)
    before = {name: tab.until(expression) for name, expression in (("trade", NEWEST), ("bid", BEST_BID))}
    tab.until(f"{NEWEST} !== {before['trade']!r}")
    tab.until(f"{BEST_BID} && {BEST_BID} !== {before['bid']!r}", within_s=60)
    assert tab.until("document.querySelector('#candles canvas') && document.querySelector('#legend').textContent")
    assert "–" not in tab.text("#last")


def test_the_book_shown_is_the_book_of_the_exchange(stack: RunningStack, tabs: Any) -> None:
    tab = tabs().open("/markets/TEST-USDT")
    assert "No trades yet" in tab.text(".tape")
    with httpx.Client(base_url=str(stack["base_url"]), trust_env=False) as api:
        book = api.get("/api/v1/orderbook/TEST-USDT").json()
    assert (book["bids"], book["asks"]) == ([], []), "the simulated market never touches TEST/USDT"
    assert tab.value(BEST_BID) == ""


def test_a_trader_places_orders_sees_them_open_and_filled_and_cancels(stack: RunningStack, tabs: Any) -> None:
    tab = tabs().open(MARKET)
    tab.log_in(user(stack, "trader"))
    tab.until("document.querySelector('#available').textContent.includes('USDT')")
    page = tab.page
    page.fill("[name=price]", "60000")
    page.fill("[name=amount]", "0.01")
    page.click("#send")
    tab.until("document.querySelector('#answer').textContent.startsWith('In the book')")
    tab.until("document.querySelector('#mine tbody tr')?.textContent.includes('60\\u202f000.00')")
    page.click("#kind [value=MARKET]")
    page.fill("[name=amount]", "1000")
    page.click("#send")
    tab.until("/^Bought .* Filled\\.$/.test(document.querySelector('#answer').textContent)")
    page.click("#list [value=fills]")
    tab.until("document.querySelector('#mine tbody')?.textContent.includes('taker')")
    page.click("#list [value=orders]")
    page.click("#mine tbody button")
    tab.until("document.querySelectorAll('#mine tbody tr').length === 0")
    assert tab.problems == []


def test_a_refused_order_says_what_to_do(stack: RunningStack, tabs: Any) -> None:
    tab = tabs().open(MARKET)
    tab.log_in(user(stack, "trader"))
    tab.until(f"document.querySelector('#available').textContent.includes('USDT') && {BEST_BID}")
    tab.page.fill("[name=price]", "60000.001")
    tab.page.fill("[name=amount]", "0.01")
    tab.page.click("#send")
    assert tab.text("#price-problem") == "In steps of 0.01."
    tab.page.fill("[name=price]", "30000")
    tab.page.click("#send")
    tab.until("document.querySelector('#price-problem').textContent.startsWith('The price is too far')")


def test_a_price_in_the_book_fills_the_form_by_click_and_by_key(tabs: Any) -> None:
    tab = tabs().open(MARKET)
    tab.until(BEST_BID)
    tab.page.locator("#asks li").last.click()
    assert tab.value("document.querySelector('#order').dataset.side") == "BUY"
    tab.page.locator("#ladder").press("ArrowDown")
    tab.page.locator("#ladder").press("Enter")
    assert float(tab.page.input_value("[name=price]")) > 50_000


def test_an_operator_halts_while_orders_flow_and_resumes(stack: RunningStack, tabs: Any) -> None:
    watcher = tabs().open(MARKET)
    watcher.until(NEWEST)
    tab = tabs().open("/")
    assert tab.page.locator(f"{ROW} [data-control=halt]").is_hidden(), "only operators see the controls"
    tab.log_in(user(stack, "operator"))
    use(tab, "halt", "a test of the halt")
    tab.until("/is halted in the worker's sequence/.test(document.querySelector('#control .result').textContent)")
    watcher.until("!document.querySelector('#banner').hidden && document.querySelector('#status').textContent === 'halted'")
    with httpx.Client(base_url=str(stack["base_url"]), trust_env=False) as api:
        halted = api.get("/api/v1/trades?symbol=BTC-USDT&limit=1").json()["results"][0]["trade_id"]
        watcher.page.wait_for_timeout(3000)
        assert api.get("/api/v1/trades?symbol=BTC-USDT&limit=1").json()["results"][0]["trade_id"] == halted
    newest = watcher.value(NEWEST)
    tab.page.keyboard.press("Escape")
    use(tab, "resume", "the test is over")
    tab.until("/stays halted until another person agrees/.test(document.querySelector('#control .result').textContent)")
    approve_latest(tabs(), stack)
    watcher.until(f"document.querySelector('#banner').hidden && {NEWEST} !== {newest!r}", within_s=30)
    tab.until("document.querySelector('#used').textContent.includes('the test is over')")
    assert tab.problems == []


def test_a_trader_places_a_stop_sees_it_wait_and_its_position_and_cancels_it(stack: RunningStack, tabs: Any) -> None:
    tab = tabs().open(MARKET)
    tab.log_in(user(stack, "trader"))
    tab.until(f"document.querySelector('#available').textContent.includes('USDT') && {BEST_BID}")
    page, bid = tab.page, float(tab.value(BEST_BID))
    page.click("#kind [value=MARKET]")
    page.fill("[name=amount]", "1000")
    page.click("#send")
    tab.until("document.querySelector('#answer').textContent.startsWith('Bought')")
    page.click("#side [value=SELL]")
    page.click("#kind [value=STOP]")
    page.select_option("[name=stop_kind]", "STOP_LIMIT")
    page.fill("[name=stop_price]", f"{bid * 1.02:.2f}")
    page.fill("[name=price]", f"{bid * 0.96:.2f}")
    page.fill("[name=amount]", "0.01")
    page.select_option("[name=time_in_force]", "GTD")
    page.check("[name=reduce_only]")
    page.click("#send")
    tab.until("document.querySelector('#stop_price-problem').textContent.startsWith('The price has reached')")
    page.fill("[name=stop_price]", f"{bid * 0.97:.2f}")
    page.click("#send")
    tab.until("document.querySelector('#answer').textContent.startsWith('Waiting: acts when the price comes to')")
    tab.until("/stop limit GTD.* waiting/.test(document.querySelector('#mine tbody tr')?.textContent)")
    with httpx.Client(base_url=str(stack["base_url"]), trust_env=False) as api:
        trader = user(stack, "trader")
        tokens = api.post("/api/v1/auth/token", json={"username": trader["username"], "password": trader["password"]}).json()
        api.headers["Authorization"] = f"Bearer {tokens['access']}"
        [order] = [o for o in api.get("/api/v1/orders?status=open").json()["results"] if o["stop_price"]]
    assert (order["order_type"], order["time_in_force"], order["status"]) == ("STOP_LIMIT", "GTD", "PENDING_TRIGGER")
    page.click("#list [value=positions]")
    tab.until("document.querySelector('#mine tbody tr')?.textContent.startsWith('BTC/USDT')")
    page.click("#list [value=orders]")
    page.click("#mine tbody button")
    tab.until("!document.querySelector('#mine tbody').textContent.includes('waiting')")
    assert [problem for problem in tab.problems if "422" not in problem] == [], "the refusal alone is in the console"


def test_an_operator_calls_an_auction_whose_price_and_end_everybody_sees(stack: RunningStack, tabs: Any) -> None:
    watcher = tabs().open(MARKET)
    watcher.until(BEST_BID, within_s=60)
    tab = tabs().open("/")
    tab.log_in(user(stack, "operator"))
    use(tab, "auction", "a test of the auction")
    tab.until("/is auction in the worker's sequence/.test(document.querySelector('#control .result').textContent)")
    watcher.until("/^Ends in [0-9]:[0-9]{2}$/.test(document.querySelector('#countdown').textContent)")
    assert "by an operator" in watcher.text("#banner-text")
    assert watcher.value("document.querySelector('#indicated').textContent") != ""
    tab.until(f"/by an operator.*left/.test(document.querySelector('{ROW} .phase').textContent)")
    tab.page.keyboard.press("Escape")
    use(tab, "resume", "the auction's test is over")
    tab.until("/is trading in the worker's sequence/.test(document.querySelector('#control .result').textContent)")
    watcher.until("document.querySelector('#banner').hidden")
    assert tab.problems == []


def test_cancel_all_tells_the_effect_before_and_after(stack: RunningStack, tabs: Any) -> None:
    tab = tabs().open("/")
    tab.log_in(user(stack, "operator"))
    tab.page.locator(f"{ROW} [data-control=cancel_all]").click()
    tab.until("/open orders of all clients end/.test(document.querySelector('#control .effect').textContent)")
    tab.page.fill("#control [name=reason]", "a test of cancel all")
    tab.page.click("#control [type=submit]")
    tab.until("/cancels carried out/.test(document.querySelector('#control .result').textContent)")
    tab.open(MARKET)
    tab.until(BEST_BID, within_s=90)  # the makers come back


def use(tab: Tab, control: str, reason: str) -> None:
    tab.page.locator(f"{ROW} [data-control={control}]").click()
    tab.page.fill("#control [name=reason]", reason)
    tab.until("!document.querySelector('#control [type=submit]').disabled")
    tab.page.click("#control [type=submit]")


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("size", [DESKTOP, (1024, 768), PHONE], ids=["desktop", "tablet", "phone"])
def test_a_page_fits_in_both_colour_schemes_and_asks_nobody_else(stack: RunningStack, tabs: Any, path: str, size: tuple[int, int]) -> None:
    grounds = []
    host = str(stack["base_url"]).partition("//")[2]
    for dark in (False, True):
        tab = tabs(size=size, dark=dark).open(path)
        tab.page.wait_for_timeout(700)
        for part in ("book", "form", "mine", "chart") if path == MARKET and size == PHONE else ():
            tab.page.click(f"#tabs [value={part}]")
            assert tab.value("document.documentElement.scrollWidth <= innerWidth"), part
        assert tab.value("document.documentElement.scrollWidth <= innerWidth")
        grounds.append(tab.value("getComputedStyle(document.body).backgroundColor"))
        assert [url for url in tab.requested if url.partition("//")[2].partition("/")[0] != host] == []
        assert tab.problems == []
    assert grounds[0] != grounds[1]


def test_the_switch_of_colours_is_remembered(tabs: Any) -> None:
    tab = tabs().open("/")
    before = tab.value("getComputedStyle(document.body).backgroundColor")
    tab.page.click("#theme")
    chosen = tab.value("getComputedStyle(document.body).backgroundColor")
    assert chosen != before
    tab.open(MARKET)
    assert tab.value("getComputedStyle(document.body).backgroundColor") == chosen


def test_a_page_says_that_the_stream_is_away_goes_on_over_rest_and_comes_back(stack: RunningStack, tabs: Any) -> None:
    tab = tabs()
    tab.page.route_web_socket("**/stream", lambda socket: socket.close(code=1012))
    tab.page.goto(MARKET)
    tab.until("document.querySelector('#connection').dataset.is === 'polled'")
    newest = tab.until(NEWEST)
    tab.until(f"{NEWEST} !== {newest!r}")
    fresh = tabs().open(MARKET)
    killed = stack.kill("web-0")
    stack.wait_until_replaced("web-0", killed)
    newest = fresh.value(NEWEST)
    fresh.until(f"document.querySelector('#connection').dataset.is === 'live' && {NEWEST} !== {newest!r}", within_s=60)
