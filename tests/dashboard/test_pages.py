"""The pages as they are sent: nothing inline, nothing from elsewhere."""

import re
from pathlib import Path

import pytest
from django.test import Client

import dashboard
from markets.models import Symbol
from tests.factories import SymbolFactory

STATIC = Path(dashboard.__file__).parent / "static"
OUTSIDE = {"https://www.tradingview.com/"}  # a link that the charts' licence asks for; nothing is loaded from it


@pytest.fixture
def symbol(db: None) -> Symbol:
    found: Symbol = SymbolFactory()
    return found


@pytest.fixture(params=["/", "/markets", "/markets/{symbol}", "/markets/NO-ONE"])
def page(request: pytest.FixtureRequest, symbol: Symbol) -> str:
    answer = Client().get(request.param.replace("{symbol}", symbol.name.replace("/", "-")))
    assert answer.status_code == (404 if "NO-ONE" in request.param else 200)
    policy = answer["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    return answer.content.decode()


def test_nothing_is_inline_and_nothing_comes_from_elsewhere(page: str) -> None:
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=", page)
    assert set(re.findall(r'(?:src|href)="([a-z]+:[^"]*)"', page)) <= OUTSIDE


def test_every_file_of_a_page_is_there(page: str) -> None:
    named = re.findall(r'"/static/((?:dashboard|vendor)/[^"]+)"', page)
    assert named
    assert [name for name in named if not (STATIC / name).exists()] == []


@pytest.mark.parametrize("path", sorted((STATIC / "dashboard").glob("*.js")), ids=lambda path: path.name)
def test_a_script_imports_only_files_that_are_there(path: Path) -> None:
    for name in re.findall(r'^import .*?"([^"]+)";', path.read_text(), re.MULTILINE | re.DOTALL):
        assert (path.parent / name).exists(), name


def test_the_charts_carry_their_licence() -> None:
    folder = STATIC / "vendor" / "lightweight-charts"
    assert {"LICENSE", "NOTICE", "SOURCE.md"} <= {path.name for path in folder.iterdir()}
    assert "5.2.1" in (folder / "SOURCE.md").read_text()


def test_a_page_tells_beforehand_every_script_that_it_will_need(symbol: Symbol) -> None:
    page = Client().get(f"/markets/{symbol.name.replace('/', '-')}").content.decode()
    told = set(re.findall(r'modulepreload" href="/static/([^"]+)"', page))
    assert {"dashboard/stream.js", "dashboard/session.js", "dashboard/decimal.js"} <= told
    assert any(name.startswith("vendor/") for name in told)
