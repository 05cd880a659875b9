"""The page itself: names are never code, no network, no browser too old without a word, everything in its link."""

from __future__ import annotations

import base64
import http.server
import re
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from jvbtune.flame.viewer import render_html
from tests.flame.viewer import reference
from tests.flame.viewer.conftest import Open, Shown
from tests.flame.viewer.trees import tree_of

pytestmark = pytest.mark.browser

EVIL = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "<!--<script>",
    "{{script}}",
    "a'b\"c&amp;d",
    "\u2028line",
    "javascript:alert(3)",
]
A = {("main", name): 60.0 + i for i, name in enumerate(EVIL)}
B = {**A, ("main", "read"): 60.0, ("main", "parse", "Queue.add"): 80.0}
TITLE = "<b>before</b> & {{data}} </title>"
SIDES = [reference.random_side(21), reference.random_side(22)]


@pytest.fixture(scope="module")
def evil(show: Open) -> Shown:
    return show(tree_of([[A], [B]], titles=("<i>a</i>", "</span>b")), title=TITLE)


@pytest.fixture(scope="module")
def shown(show: Open) -> Shown:
    return show(tree_of([[side] for side in SIDES], packets=[[1000.0], [1300.0]]), title="before and after")


def test_a_name_is_never_code(evil: Shown) -> None:
    assert evil.js("document.querySelectorAll('img, b:not([class]) > b, h1 *').length") == 0
    assert set(EVIL) <= set(evil.rows())
    assert evil.page.title() == TITLE
    assert "<i>a</i>" in evil.page.inner_text("#sums")
    svg = ET.fromstring(evil.js("jvbtune.svg()"))
    texts = {text for element in svg.iter() if (text := element.text)}
    assert any(EVIL[1] in text for text in texts)
    assert {element.tag.partition("}")[2] for element in svg.iter()} == {"svg", "title", "rect", "text", "g"}


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_policy_permits_no_network_and_no_other_script(
    browser: Browser, listener: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, asked = listener
    path = tmp_path / "diff.html"
    path.write_text(render_html(tree_of([[A], [B]]), title="x"), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    outcome = page.evaluate(
        """async (address) => {
            const fetched = await fetch(`${address}/fetch`).then(() => 'permitted', () => 'refused');
            for (const [tag, key] of [['img', 'src'], ['script', 'src'], ['iframe', 'src'], ['object', 'data']]) {
                const element = document.createElement(tag);
                element[key] = `${address}/${tag}`;
                document.body.append(element);
            }
            const script = document.createElement('script');
            script.textContent = 'window.ran = true';
            document.body.append(script);
            await new Promise((resolve) => setTimeout(resolve, 300));
            return [fetched, window.ran ?? false];
        }""",
        address,
    )
    page.close()
    assert outcome == ["refused", False]
    assert asked == []


def test_damaged_data_is_said(browser: Browser, tmp_path: Path) -> None:
    html = render_html(tree_of([[A], [B]]), title="x")
    path = tmp_path / "damaged.html"
    path.write_text(re.sub(r'(id="data">.{40})', r"\1AAAA", html), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready=failed]")
    assert "cannot be shown" in page.get_by_role("alert").inner_text()
    page.close()


def test_a_link_shows_what_one_sees(shown: Shown, show: Open) -> None:
    shown.state()
    page = shown.page
    page.click("#view button[data-value=icicle]")
    page.select_option("#width", "delta")
    page.select_option("#norm", "samples")
    page.select_option("#colour", "package")
    page.click("#theme")
    page.click("#filters-toggle")
    page.fill("#filter-hide", r"java/lang|^\[k\]")
    page.press("#filter-hide", "Enter")
    page.uncheck("#threads input[data-thread='thread 2']")
    page.fill("#search", "Queue|EVP")
    page.click("#next")
    page.click("#rows button[data-value=changed]")
    page.click("#table thead button[data-column=self_b]")
    page.locator("#table tbody tr[data-index]").nth(1).click()
    page.evaluate("document.getElementById('level').value = 5")
    page.dispatch_event("#level", "input")
    page.focus("#splitter")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**tableWidth=*")

    other = show(tree_of([[side] for side in SIDES], packets=[[1000.0], [1300.0]]), title="before and after")
    other.page.goto(other.url + page.evaluate("location.hash"))
    other.page.reload()
    other.page.wait_for_selector("html[data-ready]")
    assert other.js("jvbtune.viewer.state") == shown.js("jvbtune.viewer.state")
    assert other.drawn() == shown.drawn()
    assert other.rows() == shown.rows()
    for part in ("#sums", "#found", "#crumbs", "#legend", "#details", "#filters"):
        assert other.page.inner_text(part) == page.inner_text(part), part
    for field in ("#search", "#filter-hide", "#norm", "#width"):
        assert other.page.input_value(field) == page.input_value(field), field
    assert other.js("document.documentElement.className") == "dark"


@pytest.mark.parametrize(
    "fragment",
    [
        "#zoom=1e9&node=-7&pane=callers",
        "#view=sandwich&frame=no+such+frame",
        "#view=<script>&width=c&norm=x&colour=__proto__&rows=constructor&sort=toString&__proto__=1",
        "#search=(&hide=[&focus=*&merge=(?",
        "#level=-1&least=NaN&tableWidth=1e99&zoom=1.5&factor=0:0&norm=factor",
        "#%E0%A4%A",
    ],
)
def test_a_strange_link_still_shows_the_picture(show: Open, shown: Shown, fragment: str) -> None:
    shown.page.evaluate("fragment => { location.hash = fragment; jvbtune.viewer.readFragment(); }", fragment)
    (pane,) = shown.drawn()
    assert pane["frames"][0]["path"] == ["all"]
    assert shown.js("jvbtune.viewer.analysis.tree('main').total.map((v) => v[0])") == [sum(s.values()) for s in SIDES]


def test_svg_holds_every_frame(shown: Shown, tmp_path: Path) -> None:
    shown.state(view="flame", width="b", norm="samples")
    with shown.page.expect_download() as download:
        shown.page.click("#export-svg")
    assert download.value.suggested_filename == "before-and-after.svg"
    file = tmp_path / "picture.svg"
    download.value.save_as(file)
    svg = ET.parse(file).getroot()
    space = {"s": "http://www.w3.org/2000/svg"}
    expected = reference.layout(SIDES, [1, 1], "b")
    rects = svg.findall(".//s:g[@data-node]", space)
    root = next(group for group in rects if group.get("data-node") == "0")
    wide = float(root.find("s:rect", space).get("width"))  # type: ignore[union-attr, arg-type]
    drawn = sorted(float(group.find("s:rect", space).get("width")) for group in rects)  # type: ignore[union-attr, arg-type]
    wanted = sorted(width * wide for _, width in expected.values() if width * wide >= 1)
    assert drawn == pytest.approx(wanted, abs=0.006)
    text = file.read_text(encoding="utf-8")
    assert "samples" in text
    titles = [group.findtext("s:title", "", space) for group in rects]
    assert any(title.startswith("EVP_CipherUpdate, native. A ") for title in titles)


@pytest.mark.parametrize("state", [{}, {"split": True}, {"view": "sandwich", "frame": "EVP_CipherUpdate"}], ids=str)
def test_png_is_the_picture_as_it_is_seen(shown: Shown, state: dict[str, object], tmp_path: Path) -> None:
    shown.state(**state)
    with shown.page.expect_download() as download:
        shown.page.click("#export-png")
    file = tmp_path / "picture.png"
    download.value.save_as(file)
    assert file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    where = shown.js(
        """() => {
            const area = document.getElementById('panes').getBoundingClientRect();
            return [...document.querySelectorAll('canvas')].map((c) => {
                const at = c.getBoundingClientRect();
                return [at.left - area.left, at.top - area.top];
            });
        }"""
    )
    bottom = max(
        top + frame["top"] + 18 for pane, (_, top) in zip(shown.drawn(), where, strict=True) for frame in pane["frames"]
    )
    points = [
        (left + frame["left"] + 1.5, bottom - (top + frame["top"] + 2.5), frame["fill"])  # y from the lowest row's end
        for pane, (left, top) in zip(shown.drawn(), where, strict=True)
        for frame in pane["frames"]
        if frame["path"] and frame["width"] > 12
    ]
    assert len(points) > 4
    colours = shown.page.evaluate(
        """async ([data, points]) => {
            const image = new Image();
            image.src = data;
            await image.decode();
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [image.width, image.height];
            const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0);
            return points.map(([x, y]) => '#' + [...context.getImageData(2 * x, image.height - 2 * (4 + y), 1, 1).data]
                .slice(0, 3).map((v) => v.toString(16).padStart(2, '0')).join(''));
        }""",
        ["data:image/png;base64," + base64.b64encode(file.read_bytes()).decode(), [point[:2] for point in points]],
    )
    assert colours == [fill for *_, fill in points]
