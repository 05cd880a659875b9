"""What is drawn, held against the stacks alone: widths, zoom, sides, sandwich, and the sums of every view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from jvbtune.flame.model import Kind
from tests.flame.viewer import reference
from tests.flame.viewer.conftest import Open, Shown
from tests.flame.viewer.reference import Side, Stack
from tests.flame.viewer.trees import tree_of

pytestmark = pytest.mark.browser

A = [reference.random_side(seed) for seed in (1, 2, 3)]
B = [reference.random_side(seed, threads=4) for seed in (11, 12, 13, 14)]
SIDES = [reference.summed(A), reference.summed(B)]
PACKETS = [[1000.0, 1100.0, 900.0], [1500.0, 1400.0, 1450.0, 1650.0]]
#: µs of CPU per packet of one sample of 1 ms.
SCALES = [1000 / sum(side) for side in PACKETS]
FRAME = "org/jitsi/nlj/Queue.add"


@pytest.fixture(scope="module")
def shown(show: Open) -> Shown:
    return show(tree_of([A, B], packets=PACKETS))


def assert_drawn(
    pane: Mapping[str, Any], expected: Mapping[Stack, tuple[float, float]], *, above: Stack = (), root: Stack = ("all",)
) -> None:
    """Every frame of at least a pixel is drawn, where it belongs and as wide as it is; nothing else is."""
    wide = pane["width"]
    drawn = {tuple(frame["path"]): frame for frame in pane["frames"] if frame["path"] is not None}
    callers = {root + above[:depth] for depth in range(len(above))}
    visible = {root + path for path, (_, width) in expected.items() if width * wide >= 1.001}
    assert visible <= set(drawn)
    assert set(drawn) - callers <= {root + path for path, (_, width) in expected.items() if width * wide >= 0.999}
    for path in visible:
        left, width = expected[path[len(root) :]]
        assert drawn[path]["left"] == pytest.approx(left * wide, abs=0.01), path
        assert drawn[path]["width"] == pytest.approx(width * wide, abs=0.01), path
    for path in callers:
        assert (drawn[path]["left"], drawn[path]["width"]) == (0, pytest.approx(wide))


def number(text: str) -> float:
    return float(text.split()[0].replace("−", "-").replace("+", "").replace(",", "").replace("%", ""))


@pytest.mark.parametrize("view", ["flame", "icicle"])
@pytest.mark.parametrize("mode", ["a", "b", "sum", "delta"])
def test_frames_are_as_wide_as_their_value(shown: Shown, view: str, mode: str) -> None:
    shown.state(view=view, width=mode)
    (pane,) = shown.drawn()
    assert_drawn(pane, reference.layout(SIDES, SCALES, mode))
    roots = {frame["top"] for frame in pane["frames"] if frame["path"] == ["all"]}
    others = {frame["top"] for frame in pane["frames"] if frame["path"] != ["all"]}
    assert roots.isdisjoint(others)
    assert max(roots) > max(others) if view == "flame" else max(roots) < min(others)


@pytest.mark.parametrize("norm", ["samples", "seconds", "share"])
def test_the_normalisation_decides_the_widths(shown: Shown, norm: str) -> None:
    scales = {"samples": [1, 1], "seconds": [1e-3, 1e-3], "share": [100 / sum(side.values()) for side in SIDES]}[norm]
    shown.state(norm=norm)
    assert_drawn(shown.drawn()[0], reference.layout(SIDES, scales, "sum"))
    head = shown.page.inner_text("#sums")
    assert {"samples": "samples", "seconds": "CPU seconds", "share": "%"}[norm] in head


def test_factors_of_the_user(shown: Shown) -> None:
    shown.state(norm="factor", factor="2:0.5")
    assert_drawn(shown.drawn()[0], reference.layout(SIDES, [2, 0.5], "sum"))
    shown.state()
    shown.page.select_option("#norm", "factor")
    shown.page.fill("#factor", "1:3")
    shown.page.press("#factor", "Enter")
    assert_drawn(shown.drawn()[0], reference.layout(SIDES, [1, 3], "sum"))
    shown.page.fill("#factor", "1:x")
    shown.page.press("#factor", "Enter")
    assert shown.page.get_attribute("#factor", "aria-invalid") == "true"
    assert_drawn(shown.drawn()[0], reference.layout(SIDES, [1, 3], "sum"))


def test_pixels_are_where_the_boxes_are(shown: Shown) -> None:
    """The canvas itself: along the upper edge of each row the colour changes where a frame ends."""
    shown.state(view="icicle", colour="kind")
    expected = reference.layout(SIDES, SCALES, "sum")
    rows = shown.js(
        """[0, 1, 2, 3].map((row) => {
            const canvas = document.querySelector('canvas');
            const line = canvas.getContext('2d').getImageData(0, row * 18 * devicePixelRatio + 1, canvas.width, 1).data;
            return Array.from({ length: canvas.width }, (_, x) => line.slice(4 * x, 4 * x + 3).join(' '));
        })"""
    )
    paper = shown.js("jvbtune.viewer.colours.paper")
    empty = " ".join(str(int(paper[at : at + 2], 16)) for at in (1, 3, 5))
    fills = {tuple(frame["path"]): frame["fill"] for frame in shown.drawn()[0]["frames"] if frame["path"]}
    checked = 0
    for depth, line in enumerate(rows):
        for path, (left, width) in expected.items():
            if len(path) != depth or width * len(line) < 8:
                continue
            fill = fills["all", *path]
            colour = " ".join(str(int(fill[at : at + 2], 16)) for at in (1, 3, 5))
            begin, end = left * len(line), (left + width) * len(line)
            assert set(line[int(begin) + 1 : int(end - 1)]) == {colour}, path
            assert line[int(end - 0.51)] != colour, path  # the gap before the next frame
            checked += 1
        used = max((left + width) * len(line) for path, (left, width) in expected.items() if len(path) == depth)
        assert set(line[int(used) + 2 :]) <= {empty}
    assert checked > 12


@pytest.mark.parametrize("mode", ["sum", "b"])
def test_zoom_fills_the_width(shown: Shown, mode: str) -> None:
    path = max((stack[:2] for stack in SIDES[1]), key=lambda path: sum(v for s, v in SIDES[1].items() if s[:2] == path))
    shown.state(width=mode, view="icicle")
    frame = next(frame for frame in shown.drawn()[0]["frames"] if frame["path"] == ["all", *path])
    box = shown.page.locator("canvas").bounding_box()
    assert box is not None
    shown.page.mouse.click(box["x"] + frame["left"] + frame["width"] / 2, box["y"] + frame["top"] + 9)
    assert_drawn(shown.drawn()[0], reference.layout(SIDES, SCALES, mode, zoom=path), above=path)
    assert shown.page.locator("#crumbs button").first.inner_text().strip() == "all"
    shown.page.locator("#crumbs button").first.click()
    assert_drawn(shown.drawn()[0], reference.layout(SIDES, SCALES, mode))
    shown.page.go_back()
    assert_drawn(shown.drawn()[0], reference.layout(SIDES, SCALES, mode, zoom=path), above=path)


def test_side_by_side_zooms_both(shown: Shown) -> None:
    shown.state(split=True, view="icicle")
    a, b = shown.drawn()
    assert_drawn(a, reference.layout(SIDES, SCALES, "a"))
    assert_drawn(b, reference.layout(SIDES, SCALES, "b"))
    frame = next(frame for frame in a["frames"] if frame["path"] == ["all", "thread 1"])
    box = shown.page.locator("canvas").first.bounding_box()
    assert box is not None
    shown.page.mouse.click(box["x"] + frame["left"] + frame["width"] / 2, box["y"] + frame["top"] + 9)
    a, b = shown.drawn()
    assert_drawn(a, reference.layout(SIDES, SCALES, "a", zoom=("thread 1",)), above=("thread 1",))
    assert_drawn(b, reference.layout(SIDES, SCALES, "b", zoom=("thread 1",)), above=("thread 1",))


def test_one_side_has_nothing_of_a_frame(shown: Shown) -> None:
    shown.state(split=True, view="icicle")
    node = shown.js("jvbtune.viewer.analysis.tree('main').frame.indexOf(jvbtune.viewer.analysis.frameOf('thread 3'))")
    shown.state(split=True, view="icicle", zoom=node)
    captions = shown.page.locator(".pane h2").all_inner_texts()
    assert captions == ["A · before — nothing in thread 3", "B · after"]
    assert [frame["path"] for frame in shown.drawn()[0]["frames"]] == [["all"]]


@pytest.mark.parametrize("frame", [FRAME, "[k]udp_sendmsg", "thread 0", "<init>"])
def test_a_sandwich_sums_up_all_call_sites(shown: Shown, frame: str) -> None:
    shown.state(view="sandwich", frame=frame)
    above, below = shown.drawn()
    assert (above["which"], below["which"]) == ("callers", "callees")
    assert_drawn(
        above, reference.layout([reference.callers(side, frame) for side in SIDES], SCALES, "sum"), root=(frame,)
    )
    assert_drawn(
        below, reference.layout([reference.callees(side, frame) for side in SIDES], SCALES, "sum"), root=(frame,)
    )
    through = [sum(count for stack, count in side.items() if frame in stack) for side in SIDES]
    for which in ("callers", "callees"):
        assert shown.js(f"jvbtune.viewer.analysis.tree('{which}').total.map((v) => v[0])") == pytest.approx(through)


def test_a_sandwich_opens_from_the_table(shown: Shown) -> None:
    shown.state()
    shown.page.locator("#table tbody tr[data-index]").nth(1).dblclick()
    assert "view=sandwich" in shown.page.url
    name = shown.page.locator("#table tbody tr[data-index] th").nth(1)
    assert (name.get_attribute("aria-label") or name.inner_text()) in shown.page.locator(".pane h2").first.inner_text()


FILTERS: list[dict[str, str]] = [
    {"hide": "^java/lang|Queue"},
    {"hide": r"^\[k\]"},
    {"focus": "Sender"},
    {"merge": "^org/jitsi"},
    {"focus": "EVP", "hide": "thread", "merge": "Node"},
    {"focus": "nowhere to be found"},
]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_filters_reshape_the_stacks(shown: Shown, filters: dict[str, str]) -> None:
    shown.state(view="icicle", **filters)
    sides = [reference.filtered(side, **filters) for side in SIDES]
    totals = [sum(side.values()) for side in sides]
    assert shown.js("jvbtune.viewer.analysis.tree('main').total.map((v) => v[0])") == totals
    if sum(totals):
        assert_drawn(shown.drawn()[0], reference.layout(sides, SCALES, "sum"))
    assert_table(shown, sides)


def test_the_thread_filter(shown: Shown) -> None:
    shown.state(view="icicle")
    shown.page.click("#filters-toggle")
    shown.page.uncheck("#threads input[data-thread='thread 1']")
    shown.page.uncheck("#threads input[data-thread='thread 3']")
    sides = [reference.filtered(side, without=["thread 1", "thread 3"]) for side in SIDES]
    assert_drawn(shown.drawn()[0], reference.layout(sides, SCALES, "sum"))
    assert_table(shown, sides)
    assert "shown" in shown.page.inner_text("#sums")
    shown.page.click("#threads button:text('None')")
    shown.page.check("#threads input[data-thread='thread 2']")
    only = [reference.filtered(side, without=["thread 0", "thread 1", "thread 3"]) for side in SIDES]
    assert_drawn(shown.drawn()[0], reference.layout(only, SCALES, "sum"))
    shown.page.click("#clear-filters")
    assert_drawn(shown.drawn()[0], reference.layout(SIDES, SCALES, "sum"))
    shown.page.click("#filters-toggle")


def test_frames_below_the_threshold_are_not_drawn(shown: Shown) -> None:
    shown.state(view="icicle", least=5)
    drawn = {tuple(frame["path"]) for frame in shown.drawn()[0]["frames"]}
    expected = reference.layout(SIDES, SCALES, "sum")
    assert drawn == {("all", *path) for path, (_, width) in expected.items() if width >= 0.05}


def assert_table(shown: Shown, sides: Sequence[Side]) -> None:
    rows = shown.rows()
    expected = reference.table(sides)
    assert set(rows) == set(expected)
    for name, (totals, own) in expected.items():
        a, b = (total * scale for total, scale in zip(totals, SCALES, strict=True))
        for column, value in (
            ("total_a", a),
            ("total_b", b),
            ("self_a", own[0] * SCALES[0]),
            ("self_b", own[1] * SCALES[1]),
            ("delta_total", b - a),
            ("delta_self", own[1] * SCALES[1] - own[0] * SCALES[0]),
        ):
            assert number(rows[name][column]) == pytest.approx(value, rel=6e-4, abs=1e-6), (name, column)
        change = "new" if a == 0 else "removed" if b == 0 else None
        assert (
            rows[name]["change"] == change
            if change
            else number(rows[name]["change"]) == pytest.approx(100 * (b / a - 1), abs=0.6)
        )


def test_the_table_is_exact(shown: Shown) -> None:
    shown.state()
    assert_table(shown, SIDES)


@pytest.mark.parametrize("view", ["flame", "icicle", "split"])
def test_every_view_holds_the_whole_input(shown: Shown, view: str) -> None:
    shown.state(**({"split": True} if view == "split" else {"view": view}))
    totals = [sum(side.values()) for side in SIDES]
    assert shown.js("jvbtune.viewer.analysis.tree('main').total.map((v) => v[0])") == totals
    head = shown.page.inner_text("#sums")
    for total, scale in zip(totals, SCALES, strict=True):
        assert f"{total * scale:,.0f} µs" in head
    for pane in shown.drawn():
        root = next(frame for frame in pane["frames"] if frame["path"] == ["all"])
        assert root["width"] == pytest.approx(pane["width"])


def test_a_pruned_picture_keeps_totals_and_an_exact_table(show: Open) -> None:
    tree = tree_of([A, B], packets=PACKETS)
    shown = show(tree, largest_picture=80)
    assert len(tree) > 2 * shown.js("jvbtune.viewer.analysis.tree('main').size") - 80
    assert "leaves out" in shown.page.inner_text("#remarks")
    assert shown.js("jvbtune.viewer.analysis.tree('main').total.map((v) => v[0])") == [sum(s.values()) for s in SIDES]
    assert_table(shown, SIDES)
    shown.state(view="icicle")
    widths = {tuple(frame["path"]): frame["width"] for frame in shown.drawn()[0]["frames"] if frame["path"]}
    expected = reference.layout(SIDES, SCALES, "sum")
    for path, width in widths.items():
        if path[-1] != "(small frames)":
            assert width == pytest.approx(expected[path[1:]][1] * shown.drawn()[0]["width"], abs=0.01)
    assert any(path[-1] == "(small frames)" for path in widths)
    shown.page.fill("#search", "EVP")
    assert shown.page.inner_text("#found").startswith("≥ ")
    shown.state(hide="EVP")
    assert "pruned" in shown.page.inner_text("#row-count")


def test_frames_of_one_name_and_two_kinds_are_two(show: Open) -> None:
    import dataclasses

    import numpy as np

    tree = tree_of([[{("main", "read"): 3.0, ("main", "second"): 5.0}]])
    names = tuple("read" if name == "second" else name for name in tree.frames.names)
    kinds = np.array([Kind.ROOT, Kind.NATIVE, Kind.KERNEL, Kind.NATIVE], np.uint8)
    shown = show(dataclasses.replace(tree, frames=dataclasses.replace(tree.frames, names=names, kinds=kinds)))
    totals = []
    for key in ("read", "read [native]"):
        shown.state(view="sandwich", frame=key)
        totals.append(shown.js("jvbtune.viewer.analysis.tree('callees').total[0][0]"))
    assert sorted(totals) == [3, 5]
