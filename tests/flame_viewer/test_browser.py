"""The page in a real headless Chromium, from file:// and without a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from jvbtune.flame.viewer import render_html
from tests.flame_viewer.trees import tree_of

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: make test installs it"),
]

A = {("main", "read"): 60.0, ("main", "parse"): 40.0, ("main", "<img src=x onerror=alert(1)>"): 10.0}
B = {("main", "read"): 60.0, ("main", "parse"): 80.0, ("main", "write"): 20.0}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    path = tmp_path / "diff.html"
    path.write_text(render_html(tree_of([[A], [B]]), title="before and after"), encoding="utf-8")
    opened = browser.new_page(viewport={"width": 1400, "height": 900}, offline=True)
    faults: list[str] = []
    opened.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.goto(path.as_uri())
    opened.wait_for_selector("table")
    opened.wait_for_timeout(300)
    yield opened
    opened.close()
    assert faults == []


def test_frames_of_both_sides_are_in_the_one_page(page: Page) -> None:
    text = page.inner_text("body")
    for frame in ("read", "parse", "write", "<img src=x onerror=alert(1)>"):
        assert frame in text


def test_a_name_is_never_code(page: Page) -> None:
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert "alert(1)" in page.inner_text("table")


def test_the_picture_is_drawn(page: Page) -> None:
    colours = page.evaluate(
        """() => {
            const canvas = document.querySelector('canvas');
            const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            const seen = new Set();
            for (let i = 0; i < data.length; i += 4 * 97) seen.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]);
            return seen.size;
        }"""
    )
    assert colours > 3


def test_the_page_asks_nothing_of_a_network() -> None:
    html = render_html(tree_of([[A], [B]]), title="x")
    assert "default-src 'none'" in html
    assert 'src="http' not in html
    assert 'href="http' not in html
