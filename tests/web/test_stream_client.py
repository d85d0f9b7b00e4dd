"""The pages' protocol client and book builder alone, in a browser without an exchange behind them: a fake socket tells the story."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

import dashboard
from orders.checksum import checksum
from tests.web.browser import started_browser

SCRIPTS = Path(dashboard.__file__).parent / "static" / "dashboard"
SETTING = """async () => {
  const { Stream } = await import("http://pages.test/stream.js");
  class Socket {
    constructor() { this.readyState = 1; this.sent = []; Socket.all.push(this); setTimeout(() => this.onopen?.()); }
    send(text) { this.sent.push(JSON.parse(text)); }
    close() { this.readyState = 3; }
    say(message) { this.onmessage({ data: JSON.stringify(message) }); }
  }
  Socket.all = [];
  const credentials = async () => ({ token: "t", account: "a" });
  const heard = [], stream = new Stream("ws://nobody/stream", { WebSocket: Socket, credentials });
  stream.subscribe("trades.A/B", message => heard.push([message.type, message.sequence]));
  stream.subscribe("user.orders", message => heard.push([message.type, message.sequence]));
  stream.open();
  await new Promise(done => setTimeout(done, 50));
  const say = (type, sequence) => Socket.all.at(-1).say({ type, channel: "trades.A/B", sequence, data: {} });
  window.told = { Socket, stream, heard, say };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started_browser() as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    def serve(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        if name:
            route.fulfill(path=SCRIPTS / name, content_type="text/javascript")
        else:
            route.fulfill(body="<!doctype html>", content_type="text/html")

    context = browser.new_context()
    opened = context.new_page()
    opened.route("http://pages.test/**", serve)
    opened.goto("http://pages.test/")
    yield opened
    context.close()


@pytest.fixture
def stream(page: Page) -> Page:
    page.evaluate(SETTING)
    return page


def sent(page: Page) -> Any:
    """[type, channels or channel, last_sequence] of what the client has said on its newest socket."""
    messages = page.evaluate("told.Socket.all.at(-1).sent")
    return [[said["type"], said.get("channels", said.get("channel")), said.get("last_sequence")] for said in messages]


def heard(page: Page) -> Any:
    return page.evaluate("told.heard")


def test_public_channels_are_asked_for_at_once_and_private_ones_after_the_log_in(stream: Page) -> None:
    assert sent(stream) == [["SUBSCRIBE", ["trades.A/B"], None], ["AUTH", None, None]]
    stream.evaluate("told.Socket.all[0].say({type: 'ACK', id: 'auth', data: {}})")
    assert sent(stream)[-1] == ["SUBSCRIBE", ["user.orders"], None]


def test_a_handler_sees_a_snapshot_and_then_what_follows_once_and_in_order(stream: Page) -> None:
    stream.evaluate("told.say('TRADE', 4); told.say('SNAPSHOT', 5); told.say('TRADE', 5); told.say('TRADE', 6); told.say('TRADE', 6)")
    assert heard(stream) == [["SNAPSHOT", 5], ["TRADE", 6]]
    assert stream.evaluate("told.stream.state") == "live"


def test_a_gap_is_asked_for_once_and_filled_in_order(stream: Page) -> None:
    stream.evaluate("told.say('SNAPSHOT', 5); told.say('TRADE', 8); told.say('TRADE', 9)")
    assert sent(stream)[-1] == ["RESYNC", "trades.A/B", 5]
    assert [row for row in sent(stream) if row[0] == "RESYNC"] == [["RESYNC", "trades.A/B", 5]]
    stream.evaluate("for (const n of [6, 7, 8, 9, 10]) told.say('TRADE', n)")
    assert heard(stream) == [["SNAPSHOT", 5], *(["TRADE", n] for n in (6, 7, 8, 9, 10))]


def test_a_heartbeat_that_is_ahead_finds_what_was_lost_at_the_end(stream: Page) -> None:
    stream.evaluate("told.say('SNAPSHOT', 5); told.Socket.all[0].say({type: 'HEARTBEAT', data: {'trades.A/B': 7}})")
    assert sent(stream)[-1] == ["RESYNC", "trades.A/B", 5]


def test_a_lost_socket_is_replaced_and_everything_asked_for_anew(stream: Page) -> None:
    stream.evaluate("told.say('SNAPSHOT', 5); told.Socket.all[0].onclose({code: 1012})")
    assert stream.evaluate("told.stream.state") == "away"
    stream.wait_for_timeout(700)
    assert stream.evaluate("told.Socket.all.length") == 2
    assert sent(stream)[0] == ["SUBSCRIBE", ["trades.A/B"], None]
    stream.evaluate("told.say('TRADE', 9); told.say('SNAPSHOT', 9)")
    assert heard(stream)[-1] == ["SNAPSHOT", 9]
    assert stream.evaluate("told.stream.state") == "live"


def test_the_book_is_built_and_checked_as_the_exchange_reckons(page: Page) -> None:
    bids, asks = [["100.50", "2.000"], ["99.00", "1.000"]], [["101.00", "3.000"]]
    after = [["100.50", "2.000"], ["100.00", "0.500"]]
    story = {
        "snapshot": {"bids": bids, "asks": asks, "checksum": checksum(bids, asks)},
        "delta": {"bids": [["99.00", "0"], ["100.00", "0.500"]], "asks": [["101.00", "0"]], "checksum": checksum(after, [])},
        "wrong": {"bids": [["100.00", "0.600"]], "asks": [], "checksum": checksum(after, [])},
    }
    told = page.evaluate(
        """async ({snapshot, delta, wrong}) => {
          const { Book } = await import("http://pages.test/book.js"), book = new Book();
          return [book.take(snapshot, {isSnapshot: true}), book.take(delta, {}), book.bids, book.asks, book.take(wrong, {})];
        }""",
        story,
    )
    assert told == [True, True, after, [], False]


def test_amounts_are_exact_decimals(page: Page) -> None:
    told = page.evaluate(
        """async () => {
          const { units, plain, isFiner, decimalsOf } = await import("http://pages.test/decimal.js");
          return [plain(units("90071992547409.93", 8), 8), plain(units("0.1", 8) + units("0.2", 8), 8), units("1e5", 2), units("", 2),
                  isFiner("0.001", 2), isFiner("0.0100", 2), decimalsOf("0.010"), decimalsOf("1")];
        }"""
    )
    assert told == ["90071992547409.93000000", "0.30000000", None, None, True, False, 2, 0]
