"""A report in a real browser: nothing is asked for, nothing is complained of, and nothing hangs over the edge."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vlreward.evaluate.report import page

from .browser import CHROMIUM, DRIVER, SIZES, Browser, browser
from .test_report import ITEMS, SCORES, audited, item, report_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]

LONG = "Donaudampfschifffahrtsgesellschaftskapitän" * 20
_WIDE = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
_INK = "return getComputedStyle(document.body).color + getComputedStyle(document.body).backgroundColor"
_DRAWN = """return [...document.querySelectorAll('.picture')].filter(
  picture => getComputedStyle(picture).backgroundImage.startsWith('url("data:') && picture.checkVisibility()
).map(picture => picture.getBoundingClientRect().width)"""


@pytest.fixture(scope="module")
def session() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    items = [item("a"), item("b", prompt=LONG), *ITEMS[2:]]
    path.write_text(page(report_of(SCORES, items, audits=[audited()], unusable=[LONG])), encoding="utf-8")
    return path


@pytest.mark.parametrize("size", SIZES)
def test_a_report_is_at_home_in_a_browser(report: Path, session: Browser, size: str) -> None:
    inks = set()
    for scheme in ("light", "dark"):
        session.requests()
        session.show(report, *SIZES[size], scheme)
        assert session.complaints() == []
        asked = session.requests()
        assert [url for url in asked if not url.startswith("data:")] == [report.resolve().as_uri()]
        assert session.run(_WIDE) == 0
        inks.add(session.run(_INK))
        drawn = session.run(_DRAWN)
        assert len(drawn) == 2
        assert all(width == 112 for width in drawn)
    assert len(inks) == 2


def test_what_got_in_all_the_same_would_not_be_loaded(report: Path, session: Browser, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt.html"
    picture = '<img src="http://127.0.0.1:9/x.png"><script>document.body.textContent = ""</script>'
    spoilt.write_text(report.read_text("utf-8").replace("<main>", f"<main>{picture}"), encoding="utf-8")
    session.show(spoilt, *SIZES["laptop"], "light")
    assert len([line for line in session.complaints() if "Content Security Policy" in line]) == 2
    assert "Beside published systems" in session.run("return document.body.textContent")
