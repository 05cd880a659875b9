"""One capture alone, the columns of a scaling analysis, and profiles at the edges: empty, deep, odd values."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from jvbtune.flame.viewer import elasticity_columns
from tests.flame.viewer import reference
from tests.flame.viewer.conftest import Open
from tests.flame.viewer.trees import tree_of

pytestmark = pytest.mark.browser

SIDE = reference.random_side(61)


def test_one_capture(show: Open) -> None:
    shown = show(tree_of([[SIDE]], packets=[[1000.0]], titles=("20261124-jvb",)))
    widths = reference.layout([SIDE], [1], "a")
    (pane,) = shown.drawn()
    for frame in pane["frames"]:
        if frame["path"]:
            left, width = widths[tuple(frame["path"][1:])]
            assert (frame["left"], frame["width"]) == pytest.approx(
                (left * pane["width"], width * pane["width"]), abs=0.01
            )
    whole = sum(SIDE.values())
    for name, ((total,), (own,)) in reference.table([SIDE]).items():
        cells = shown.rows()[name]
        assert float(cells["total_a"].replace(",", "")) == pytest.approx(total, rel=6e-4)
        assert float(cells["self_a"].replace(",", "")) == pytest.approx(own, rel=6e-4)
        assert cells["share"] == f"{100 * total / whole:.2f} %"
    for control in ("#split", "#level-label", "#small-label", "#rows", "#width"):
        assert not shown.page.is_visible(control)
    assert "kernel" in shown.page.inner_text("#legend")


def test_scaling_is_coloured_by_elasticity(show: Open) -> None:
    tree = tree_of([[SIDE]], packets=[[1000.0]])
    r = np.random.default_rng(1)
    by_node = {"elasticity": r.uniform(0.4, 1.6, len(tree)), "cost_us_per_packet": r.uniform(0, 9, len(tree))}
    by_node["elasticity"][::5] = np.nan
    by_frame = {name: r.uniform(0.4, 1.6, len(tree.frames)) for name in by_node}
    shown = show(dataclasses.replace(tree, columns=by_node), columns=elasticity_columns(by_frame))
    elasticity = {name: by_frame["elasticity"][f] for f, name in enumerate(tree.frames.names) if f}
    rows = shown.rows()
    assert list(rows) == sorted(elasticity, key=lambda name: -elasticity[name])
    for name, cells in rows.items():
        assert float(cells["elasticity"]) == pytest.approx(elasticity[name], rel=6e-4)
    assert list(next(iter(rows.values())))[:3] == ["name", "elasticity", "cost_us_per_packet"]
    swatches = shown.js("jvbtune.viewer.palette.swatches.map((s) => s.fill)")
    grey = shown.js("jvbtune.viewer.palette.swatches[jvbtune.viewer.palette.grey].fill")
    paths: list[tuple[str, ...]] = []
    for frame, parent in zip(tree.frame, tree.parent, strict=True):
        paths.append((*(paths[parent] if parent >= 0 else ()), tree.frames.names[frame]))
    for frame in shown.drawn()[0]["frames"]:
        if frame["path"]:
            value = by_node["elasticity"][paths.index(tuple(frame["path"]))]
            step = np.clip(round((np.clip((value - 1) / 0.5, -1, 1) + 1) * 16), 0, 32) if value == value else None
            assert frame["fill"] == (grey if step is None else swatches[int(step)])
    assert "bends the curve" in shown.page.inner_text("#legend")


def test_an_elasticity_that_may_be_one_is_grey(show: Open) -> None:
    tree = tree_of([[{("a",): 5.0, ("b",): 5.0, ("c",): 5.0}]])
    ends = {
        "elasticity": [1, 1.4, 1.4, 0.6],
        "elasticity_low": [0.9, 0.9, 1.1, 0.4],
        "elasticity_high": [1.1, 2, 2, 0.9],
    }
    columns = {name: np.array(values, dtype=float) for name, values in ends.items()}
    shown = show(dataclasses.replace(tree, columns=columns), columns=elasticity_columns(columns))
    grey = shown.js("jvbtune.viewer.palette.swatches[jvbtune.viewer.palette.grey].fill")
    expected = {"all": True, "a": True, "b": False, "c": False}
    for state in ({}, {"merge": "nothing of this name"}):  # by node, then by frame
        shown.state(**state)
        found = {f["path"][-1]: f["fill"] == grey for f in shown.drawn()[0]["frames"]}
        assert found == expected


@pytest.mark.parametrize(
    "sides",
    [
        [[{}], [{}]],
        [[{("a", "b"): 4.0}], [{}]],
        [[{}]],
        [[{(): 5.0, ("a",): 1.0}]],
        [[{("x",) * 3000: 7.0, ("y",): 3.0}], [{("x",) * 2000: 7.0}]],
        [[{("a",): 0.25, ("b",): 1e-9, ("c",): 1e15}], [{("a",): 0.5}]],
    ],
    ids=["nothing", "one side only", "one empty", "root itself", "3000 deep", "odd values"],
)
def test_profiles_at_the_edges(show: Open, sides: list[list[dict[tuple[str, ...], float]]]) -> None:
    shown = show(tree_of(sides))
    totals = [sum(sum(part.values()) for part in side) for side in sides]
    assert shown.js("jvbtune.viewer.analysis.tree('main').total.map((v) => v[0])") == totals
    for state in ({"view": "icicle"}, {"width": "delta"}, {"split": True}, {"hide": "a|x"}, {"norm": "samples"}):
        shown.state(**state)
        shown.js("jvbtune.drawn()")
        shown.js("jvbtune.svg()")
    assert "NaN" not in shown.page.inner_text("body")
