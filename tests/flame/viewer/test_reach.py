"""Finding one's way: search, keyboard, screen reader, accessibility rules, contrast, colours."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.flame.viewer import reference
from tests.flame.viewer.conftest import Open, Shown
from tests.flame.viewer.trees import tree_of

pytestmark = pytest.mark.browser

SIDES = [reference.random_side(31), reference.random_side(32)]


@pytest.fixture(scope="module")
def shown(show: Open) -> Shown:
    return show(tree_of([[side] for side in SIDES], packets=[[1000.0], [1300.0]]))


@pytest.mark.parametrize("pattern", ["EVP", "queue", r"^\[k\]udp", "Node|Sender", "thread", "^<init>$", "a;b"])
def test_the_matched_share_counts_nested_matches_once(shown: Shown, pattern: str) -> None:
    shown.state()
    shown.page.fill("#search", pattern)
    shares = " | ".join(f"{share:.2f} %" for share in reference.matched_shares(SIDES, pattern))
    assert shown.page.inner_text("#found").startswith(f"{shares} · ")


def test_the_matched_share_is_of_what_the_filters_leave(shown: Shown) -> None:
    shown.state(focus="Sender", search="EVP")
    left = [reference.filtered(side, focus="Sender") for side in SIDES]
    shares = " | ".join(f"{share:.2f} %" for share in reference.matched_shares(left, "EVP"))
    assert shown.page.inner_text("#found").startswith(shares)


def test_matches_stand_out_in_picture_and_table(shown: Shown) -> None:
    shown.state(view="icicle", search="EVP")
    marked = shown.js(
        """() => {
            const { picture } = jvbtune.viewer.panes.list[0];
            const context = picture.canvas.getContext('2d');
            return jvbtune.drawn()[0].frames.filter((f) => f.path && f.width > 4).map((f) => {
                const [x, y] = [f.left + 2, f.top + 16].map((v) => v * devicePixelRatio);
                const [r, g, b] = context.getImageData(x, y, 1, 1).data;
                return [f.path.at(-1).includes('EVP'), r === 176 && g === 0 && b === 122];
            });
        }"""
    )
    assert {matching for matching, _ in marked} == {True, False}
    assert all(matching == underlined for matching, underlined in marked)
    shown.page.check("#matching")
    assert set(shown.rows()) == {"EVP_CipherUpdate"}


def test_next_and_previous_match(shown: Shown) -> None:
    shown.state(view="icicle", search="EVP")
    number = int(shown.page.inner_text("#found").rpartition("·")[2])
    assert number > 2
    seen = []
    for _ in range(number + 1):
        shown.page.click("#next")
        seen.append(shown.js("jvbtune.viewer.state.node"))
        assert shown.page.inner_text("#status").startswith(
            f"Match {(len(seen) - 1) % number + 1} of {number}: EVP_Ciph"
        )
    assert seen[-1] == seen[0]
    assert len(set(seen)) == number
    shown.page.click("#previous")
    assert shown.js("jvbtune.viewer.state.node") == seen[number - 1]
    boxes = [f for f in shown.drawn()[0]["frames"] if f["path"] and f["path"][-1] == "EVP_CipherUpdate"]
    assert any(0 <= frame["top"] < 700 and frame["width"] >= 2 for frame in boxes)


def test_no_pattern_is_said_and_changes_nothing(shown: Shown) -> None:
    shown.state(search="EVP")
    before = shown.page.inner_text("#found")
    shown.page.fill("#search", "EVP(")
    assert shown.page.get_attribute("#search", "aria-invalid") == "true"
    assert "not a regular expression" in shown.page.inner_text("#status")
    assert shown.page.inner_text("#found") == before
    shown.page.fill("#search", "")
    assert shown.page.inner_text("#found") == ""
    assert shown.page.get_attribute("#search", "aria-invalid") == "false"


def reads(shown: Shown) -> tuple[str, int]:
    """What a screen reader reads of the focused tree: the active descendant's name and level."""
    tree = shown.page.locator("[role=tree]:focus")
    item = shown.page.locator(f"[id='{tree.get_attribute('aria-activedescendant')}']")
    assert item.get_attribute("role") == "treeitem"
    return str(item.get_attribute("aria-label")), int(item.get_attribute("aria-level") or 0)


@pytest.mark.parametrize(
    ("view", "away", "back"), [("icicle", "ArrowDown", "ArrowUp"), ("flame", "ArrowUp", "ArrowDown")]
)
def test_arrow_keys_walk_from_frame_to_frame(shown: Shown, view: str, away: str, back: str) -> None:
    scales = [1e3 / 1000, 1e3 / 1300]
    widths = reference.layout(SIDES, scales, "sum")
    shown.state(view=view)
    shown.page.focus("[role=tree]")
    assert reads(shown)[0].startswith("all, root. A ")
    path: tuple[str, ...] = ()
    for depth in range(1, 4):  # away from the root: to the widest callee
        shown.page.keyboard.press(away)
        path = max(
            (p for p in widths if p[:-1] == path and len(p) == depth), key=lambda p: (widths[p][1], -widths[p][0])
        )
        name, level = reads(shown)
        assert name.startswith(f"{path[-1]}, ")
        assert level == depth + 1
        for word in ("A ", "B ", "difference ", "self", "µs of CPU per packet"):
            assert word in name
    siblings = sorted({p[-1] for p in widths if p[:-1] == path[:-1] and len(p) == 3})
    place = siblings.index(path[-1])
    if place + 1 < len(siblings):
        shown.page.keyboard.press("ArrowRight")
        assert reads(shown)[0].startswith(f"{siblings[place + 1]}, ")
        shown.page.keyboard.press("ArrowLeft")
    assert reads(shown)[0].startswith(f"{path[-1]}, ")
    item = shown.page.locator("[role=treeitem]")
    assert (item.get_attribute("aria-setsize"), item.get_attribute("aria-posinset")) == (
        str(len(siblings)),
        str(place + 1),
    )
    shown.page.keyboard.press("Enter")
    root = next(frame for frame in shown.drawn()[0]["frames"] if frame["path"] == ["all", *path])
    assert root["width"] == pytest.approx(shown.drawn()[0]["width"])
    shown.page.keyboard.press(back)
    assert reads(shown)[0].startswith(f"{path[-2]}, ")
    shown.page.keyboard.press("Home")
    assert reads(shown)[0].startswith("all, ")
    shown.page.keyboard.press(away)
    shown.page.keyboard.press("s")
    assert shown.js("jvbtune.viewer.state.view") == "sandwich"
    shown.page.focus("[role=tree]")
    shown.page.keyboard.press("Escape")
    assert shown.js("jvbtune.viewer.state.view") == "flame"


def test_keys_focus_hide_and_merge_a_frame(shown: Shown) -> None:
    for key, name in (("f", "focus"), ("h", "hide"), ("m", "merge")):
        shown.state(view="icicle")
        shown.page.focus("[role=tree]")
        shown.page.keyboard.press("ArrowDown")
        shown.page.keyboard.press("ArrowDown")
        frame = reads(shown)[0].split(", ")[0]
        shown.page.keyboard.press(key)
        pattern = shown.js(f"jvbtune.viewer.state.{name}")
        sides = [reference.filtered(side, **{name: pattern}) for side in SIDES]
        assert sides != SIDES
        assert set(shown.rows()) == set(reference.table(sides))
        assert frame in shown.page.input_value(f"#filter-{name}").replace("\\", "")


def test_the_table_walks_by_keyboard(shown: Shown) -> None:
    shown.state(table=True)
    rows = list(shown.rows())
    shown.js("jvbtune.viewer.table.moveTo(0)")
    current = (
        "document.activeElement.cells?.[0].getAttribute('aria-label') ?? document.activeElement.cells?.[0].textContent"
    )
    for key, index in (("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("End", len(rows) - 1), ("Home", 0)):
        shown.page.keyboard.press(key)
        assert shown.js(current) == rows[index]
        assert shown.js("document.activeElement.getAttribute('aria-rowindex')") == str(index + 2)
    shown.page.keyboard.press(" ")
    assert shown.js("document.activeElement.getAttribute('aria-current')") == "true"
    shown.page.keyboard.press("Enter")
    assert shown.js("jvbtune.viewer.state.frame") == rows[0]


def test_columns_sort_by_a_button(shown: Shown) -> None:
    shown.state()
    button = shown.page.get_by_role("button", name="Self B")
    head = shown.page.locator("th", has=button)
    assert head.get_attribute("aria-sort") == "none"
    own = {name: values[1][1] for name, values in reference.table(SIDES).items()}
    button.focus()
    shown.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert [own[name] for name in shown.rows()] == sorted(own.values(), reverse=True)
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert [own[name] for name in shown.rows()] == sorted(own.values())
    delta = {n: t[1] / 1300 - t[0] / 1000 for n, (t, _) in reference.table(SIDES).items()}
    button = shown.page.get_by_role("button", name="Δ total")
    for order, key in (("other", lambda d: -abs(d)), ("descending", lambda d: -d), ("ascending", lambda d: d)):
        button.click()
        assert shown.page.locator("th", has=button).get_attribute("aria-sort") == order
        found = [key(delta[name]) for name in shown.rows()]
        assert found == pytest.approx(sorted(found))


def test_rows_of_one_side_only(shown: Shown) -> None:
    shown.state()
    table = reference.table(SIDES)
    for which, keep in (("new", lambda t: t[0] == 0), ("removed", lambda t: t[1] == 0), ("all", lambda t: True)):
        shown.page.click(f"#rows button[data-value={which}]")
        assert set(shown.rows()) == {name for name, (totals, _) in table.items() if keep(totals)}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(
    "state", [{"filters": True, "search": "EVP"}, {"view": "sandwich", "frame": "EVP_CipherUpdate"}]
)
def test_accessibility_rules(show: Open, dark: bool, state: dict[str, object]) -> None:
    shown = show(tree_of([[side] for side in SIDES], packets=[[1000.0], [1300.0]]), dark=dark)
    shown.state(**state)
    found = Axe().run(shown.page).response
    assert [(v["id"], [node["html"] for node in v["nodes"]][:3]) for v in found["violations"]] == []
    shown.page.click("#help")
    found = Axe().run(shown.page, context="#help-dialog").response
    assert [v["id"] for v in found["violations"]] == []


def test_everything_is_reached_by_tab(shown: Shown) -> None:
    shown.state(filters=True, search="EVP")
    shown.page.evaluate("document.activeElement.blur()")
    seen = []
    for _ in range(60):
        shown.page.keyboard.press("Tab")
        seen.append(shown.js("(({ id, role, tagName }) => id || role || tagName)(document.activeElement)"))
    for wanted in (
        "norm",
        "export-svg",
        "theme",
        "help",
        "width",
        "colour",
        "search",
        "next",
        "tree",
        "splitter",
        "TR",
    ):
        assert wanted in seen
    for wanted in ("filter-focus", "filter-hide", "filter-merge", "level", "small", "least", "clear-filters"):
        assert wanted in seen


def luminance(colour: str) -> float:
    channels = (
        [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        if len(colour) == 7
        else [int(c * 2, 16) / 255 for c in colour[1:]]
    )
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in channels)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_names_on_frames_are_readable(shown: Shown, theme: str) -> None:
    shown.state(theme=theme)
    for swatch in shown.js("jvbtune.viewer.palette.swatches"):
        one, other = sorted((luminance(swatch["fill"]), luminance(swatch["ink"])))
        assert (other + 0.05) / (one + 0.05) >= 4.5, swatch


#: Machado, Oliveira, Fernandes 2009, severity 1: what an eye without one of its cones sees, in linear light.
BLINDNESS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "none": np.eye(3).tolist(),
}


def lab(colour: str, blindness: str) -> np.ndarray:
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(BLINDNESS[blindness]) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    f = np.cbrt(np.maximum(xyz / np.array([0.9505, 1, 1.089]), 0.008856))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("blindness", BLINDNESS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_more_less_and_noise_stay_apart_for_every_eye(shown: Shown, theme: str, blindness: str) -> None:
    shown.state(theme=theme)
    colours = shown.js(
        """(() => {
            const { palette } = jvbtune.viewer;
            const swatches = [-1, -0.5, 0.5, 1].map((v) => palette.diverging(v));
            return [...swatches, palette.grey].map((swatch) => palette.swatches[swatch].fill);
        })()"""
    )
    for one, other in itertools.combinations(colours, 2):
        assert np.linalg.norm(lab(one, blindness) - lab(other, blindness)) > 10, (one, other)


def test_a_kind_has_one_colour_in_every_picture(show: Open) -> None:
    fills = []
    for side in ({("[k]a",): 1.0, ("x/y.z",): 5.0}, {("[k]a",): 50.0, ("b",): 1.0, ("x/y.z",): 2.0}):
        shown = show(tree_of([[side]]))
        shown.state(colour="kind")
        fills.append({f["path"][-1]: f["fill"] for f in shown.drawn()[0]["frames"]})
        assert "kernel" in shown.page.inner_text("#legend")
    assert fills[0]["[k]a"] == fills[1]["[k]a"] != fills[0]["x/y.z"] == fills[1]["x/y.z"]


def test_the_pointer_shows_a_frames_figures_on_both_sides(shown: Shown) -> None:
    shown.state(view="icicle", split=True, norm="samples")
    frame = next(f for f in shown.drawn()[0]["frames"] if f["path"] == ["all", "thread 1"])
    box = shown.page.locator("canvas").first.bounding_box()
    assert box is not None
    shown.page.mouse.move(box["x"] + frame["left"] + 8, box["y"] + frame["top"] + 9)
    tip = shown.page.inner_text("#tip")
    assert tip.startswith("thread 1")
    for side in SIDES:
        total = sum(count for stack, count in side.items() if stack[0] == "thread 1")
        assert f"{total:,.0f} samples · {100 * total / sum(side.values()):.2f} %" in tip
    shown.page.mouse.move(5, 5)
    assert not shown.page.is_visible("#tip")
