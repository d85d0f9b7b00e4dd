"""A headless Chromium for tests, driven by playwright: the system's, or the one that playwright has installed."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LOUD = "NO BROWSER: the pages were not looked at. Install chromium (apt-get install chromium) to test them."
DESKTOP, PHONE = (1440, 900), (390, 844)


@contextmanager
def started_browser() -> Iterator[Browser]:
    """Skips the test, loudly, where there is none."""
    with sync_playwright() as playwright:
        path = program(playwright)
        if path is None:
            pytest.skip(LOUD)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def program(playwright: Playwright) -> str | None:
    """The path of a Chromium or Chrome. Null: there is none."""
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    own = playwright.chromium.executable_path
    return found or (own if Path(own).exists() else None)


class Tab:
    """One person's window. `problems`: what it wrote to its console, failed with or was refused; `requested`: every address."""

    def __init__(self, browser: Browser, base_url: str, *, size: tuple[int, int] = DESKTOP, dark: bool = False) -> None:
        is_phone = size[0] < 600
        self._context = browser.new_context(
            base_url=base_url,
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            is_mobile=is_phone,
            has_touch=is_phone,
        )
        self.page: Page = self._context.new_page()
        self.problems: list[str] = []
        self.requested: list[str] = []
        self.page.on("console", lambda message: self.problems.append(message.text) if message.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("websocket", lambda socket: self.requested.append(socket.url))

    def close(self) -> None:
        self._context.close()

    def open(self, path: str) -> "Tab":
        """The page, when its feed is live."""
        self.page.goto(path)
        self.until("document.querySelector('#connection').dataset.is === 'live'")
        return self

    def value(self, expression: str) -> Any:
        return self.page.evaluate(expression)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).first.inner_text()

    def until(self, expression: str, *, within_s: float = 20.0) -> Any:
        """The first true value. (Playwright's own waiting evaluates text in the page, which the pages' policy forbids.)"""
        deadline = time.monotonic() + within_s
        while not (found := self.page.evaluate(expression)):
            if time.monotonic() > deadline:
                shown = self.page.locator("body").inner_text()
                raise AssertionError(f"not within {within_s:.0f} s: {expression}\npage: {shown}\nproblems: {self.problems}")
            self.page.wait_for_timeout(50)
        return found

    def log_in(self, user: dict[str, Any]) -> None:
        self.page.locator("[data-log-in]").click()
        self.page.locator("#log-in [name=username]").fill(user["username"])
        self.page.locator("#log-in [name=password]").fill(user["password"])
        self.page.locator("#log-in [type=submit]").click()
        self.page.locator("#log-out").wait_for(state="visible")
