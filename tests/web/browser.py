"""A headless Chromium spoken to over its own protocol: open a page, wait for what it shows, read it, take its picture.

Only what these tests need, so no driver has to be installed: the browser is the system's, the WebSocket library uvicorn's.
"""

import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)


def find_browser() -> str | None:
    """The path of an installed Chromium or Chrome. Null: there is none."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Page:
    """One tab. `console`: what the page wrote there or failed with; `requested`: every address it asked for."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._loads = 0
        self.console: list[str] = []
        self.requested: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, timeout_s: float = 30.0, **parameters: Any) -> dict[str, Any]:
        """One command; its result. Raises: RuntimeError with what the browser said, TimeoutError."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        deadline = time.monotonic() + timeout_s
        while True:
            message = json.loads(self._socket.recv(timeout=max(0.01, deadline - time.monotonic())))
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                result: dict[str, Any] = message["result"]
                return result
            self._notice(message)

    def _notice(self, event: dict[str, Any]) -> None:
        about = event.get("params", {})
        match event.get("method"):
            case "Runtime.consoleAPICalled":
                self.console.append(" ".join(str(part.get("value", part.get("description"))) for part in about["args"]))
            case "Runtime.exceptionThrown":
                self.console.append(about["exceptionDetails"].get("exception", {}).get("description", about["exceptionDetails"]["text"]))
            case "Log.entryAdded":
                self.console.append(about["entry"]["text"])
            case "Page.loadEventFired":
                self._loads += 1
            case "Network.requestWillBeSent":
                self.requested.append(about["request"]["url"])

    def open(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load the address at this width, in the light or the dark scheme. Another fragment alone loads nothing."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        before, deadline = self._loads, time.monotonic() + 30
        self.send("Page.navigate", url=url)
        while self._loads == before:
            if time.monotonic() > deadline:
                raise AssertionError(f"not within 30 s: {url} is loaded")
            time.sleep(0.02)
            self.value("document.readyState")  # events are taken in while an answer is awaited

    def value(self, expression: str) -> Any:
        """What the expression is in the page, as plain values."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"].get("exception", {}).get("description", expression))
        return result["result"].get("value")

    def wait_for(self, expression: str, *, within_s: float = 20.0) -> Any:
        """The first true value of the expression. Raises: AssertionError that tells what the page wrote to its console."""
        deadline = time.monotonic() + within_s
        while not (found := self.value(expression)):
            if time.monotonic() > deadline:
                shown = self.value("document.body?.innerText")
                raise AssertionError(f"not within {within_s:.0f} s: {expression}\npage: {shown}\nconsole: {self.console}")
            time.sleep(0.05)
        return found

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """A PNG of the page, all of it or what fits the window."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser_page(program: str) -> Iterator[Page]:
    """A tab in a browser with a profile of its own; both are gone afterwards."""
    profile = Path(tempfile.mkdtemp(prefix="exchange-browser-"))
    flags = [*FLAGS, f"--user-data-dir={profile}"] + (["--no-sandbox"] if os.geteuid() == 0 else [])
    process = subprocess.Popen(
        [program, *flags, "about:blank"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with connect(_address_of_tab(process, profile), max_size=64 * 1024 * 1024, proxy=None) as socket:
            yield Page(socket)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(profile, ignore_errors=True)


def _address_of_tab(process: "subprocess.Popen[bytes]", profile: Path, within_s: float = 60.0) -> str:
    """The WebSocket address of the one tab, when the browser has written where it listens."""
    from urllib.request import ProxyHandler, build_opener

    straight = build_opener(ProxyHandler({}))
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"the browser ended with status {process.returncode} before it listened")
        try:
            port = (profile / "DevToolsActivePort").read_text().splitlines()[0]
            with straight.open(f"http://127.0.0.1:{port}/json/list", timeout=5) as answer:
                tabs = [tab for tab in json.load(answer) if tab["type"] == "page"]
            if tabs:
                return str(tabs[0]["webSocketDebuggerUrl"])
        except (OSError, IndexError, ValueError):
            pass
        time.sleep(0.05)
    raise AssertionError("the browser did not tell where it listens")
