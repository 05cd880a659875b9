"""What the page says of noise, held against scipy; and that it never contradicts the comparison that it shows."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy import stats

from jvbtune.flame import model
from jvbtune.flame.compare import merge
from jvbtune.flame.model import Meta, Profile, Significance
from tests.flame.compare.build import profile
from tests.flame.viewer import reference
from tests.flame.viewer.conftest import Open, Shown
from tests.flame.viewer.trees import tree_of

pytestmark = pytest.mark.browser

A = [reference.random_side(seed) for seed in (41, 42, 43)]
B = [reference.random_side(seed) for seed in (51, 52, 53, 54)]
PACKETS = [[1000.0] * 3, [1300.0] * 4]


def judged_rows(shown: Shown) -> dict[str, dict[str, float]]:
    rows: list[list[Any]] = shown.js(
        """(() => {
            const { analysis } = jvbtune.viewer;
            const { judged, present } = analysis.rows;
            return Array.from(present, (there, f) => there && [analysis.nameOf(f), {
                p: judged.p[f], q: judged.q[f], low: judged.low[f], high: judged.high[f],
            }]).filter(Boolean);
        })()"""
    )
    return dict(rows)


def test_without_slices_a_poisson_test(show: Open) -> None:
    sides = [reference.summed(A), reference.summed(B)]
    shown = show(tree_of([[sides[0]], [sides[1]]], packets=[[1000.0], [1300.0]]))
    found = judged_rows(shown)
    expected = {}
    for name, ((a, b), _) in reference.table(sides).items():
        if a + b < 16:
            assert np.isnan(found[name]["p"])
            continue
        # Given the sum, B is binomial: under no difference B's part of the samples is that of its packets.
        part = 1300 / 2300
        tails = stats.binom.sf(b - 1, a + b, part), stats.binom.cdf(b, a + b, part)
        expected[name] = min(1.0, 2 * min(tails))
        assert found[name]["p"] == pytest.approx(expected[name], rel=1e-5, abs=1e-30)
        half = stats.norm.ppf(0.975) * np.sqrt(a / 1000**2 + b / 1300**2) * 1000
        delta = (b / 1300 - a / 1000) * 1000
        assert (found[name]["low"], found[name]["high"]) == pytest.approx((delta - half, delta + half), rel=1e-5)
    assert len(expected) > 10
    adjusted = stats.false_discovery_control(list(expected.values()))
    assert [found[name]["q"] for name in expected] == pytest.approx(adjusted.tolist(), rel=1e-5)
    shown.page.click("#help")
    assert "lower bound on the noise" in shown.page.inner_text("#reading")


@pytest.mark.parametrize(("slices", "captures"), [(1, 1), (4, 1), (8, 3)], ids=["poisson", "slices", "captures"])
def test_what_the_comparison_did_not_test_is_tested_alike(show: Open, slices: int, captures: int) -> None:
    """The page's own test, in every normalisation, over nodes and over frames, against the comparison's."""
    r = np.random.default_rng(slices)
    base = {stack: count for seed in range(6) for stack, count in reference.random_side(seed + 70).items()}

    def capture(title: str, packets: float) -> list[Profile]:
        drift = r.normal(1, 0.05, slices)
        return [
            profile(
                {
                    stack: float(r.poisson(count * r.gamma(50, 1 / 50) * drift[k] * (2 if "EVP" in stack[-1] else 1)))
                    for stack, count in base.items()
                    if title == "b" or "Sender.add" not in stack[-1]
                },
                Meta(
                    title=title,
                    interval_ns=1e6,
                    seconds=10.0 + k % 2,
                    packets=packets * drift[k],
                    extra={"id": f"capture {k % captures}"},
                ),
            )
            for k in range(slices)
        ]

    sides = [capture("a", 1000.0), capture("b", 1300.0)]
    trees = {name: merge(sides, normalise=name) for name in ("packets", "seconds", "samples", "share")}
    assert [len(side.slices) for side in trees["share"].sides] == [slices if captures == 1 else captures] * 2
    shown, pruned = show(trees["packets"]), show(trees["packets"], largest_picture=60)
    shown.state(norm="factor")  # never the comparison's own test
    shown.page.click("#help")
    said = shown.page.inner_text("#reading")
    assert ("over the captures of each side" in said, "over the slices" in said) == (captures > 1, slices == 4)
    shown.page.keyboard.press("Escape")
    for name, tree in trees.items():
        shown.state(norm=name)
        pruned.state(norm=name)
        found = judged_rows(shown)
        for frame, values in judged_rows(pruned).items():
            assert values == pytest.approx(found[frame], nan_ok=True)
        wanted = tree.table.significance
        assert wanted is not None
        for f, frame in enumerate(tree.frames.names[1:], 1):
            for key, values in (
                ("p", wanted.p_value),
                ("q", wanted.q_value),
                ("low", wanted.low),
                ("high", wanted.high),
            ):
                assert found[frame][key] == pytest.approx(values[f], rel=2e-5, abs=1e-30, nan_ok=True), (
                    name,
                    frame,
                    key,
                )
        shown.state(norm=name, view="sandwich", frame="EVP_CipherUpdate")
        for which in ("callers", "callees"):  # the frame itself is the table's, and is as sure as there
            root = shown.js(
                f"(({{ p, low, high }}) => [p[0], low[0], high[0]])(jvbtune.viewer.analysis.nodes('{which}'))"
            )
            assert root == pytest.approx([found["EVP_CipherUpdate"][key] for key in ("p", "low", "high")], rel=2e-5)
        shown.state(norm=name)
        nodes = shown.js(
            "(({ row, p, q }) => Array.from(row, (r) => [p[r], q[r]]))(jvbtune.viewer.analysis.nodes('main'))"
        )
        assert tree.significance is not None
        tested = ~np.isnan(tree.significance.p_value)
        assert 20 < tested.sum() < len(tree)
        for place, values in enumerate((tree.significance.p_value, tree.significance.q_value)):
            page = np.array([node[place] for node in nodes], dtype=float)
            assert np.isnan(page).tolist() == (~tested).tolist()
            assert page[tested] == pytest.approx(values[tested], rel=2e-5, abs=1e-30)


def test_the_comparisons_own_verdict_is_shown(show: Open) -> None:
    tree = tree_of([A, B], packets=PACKETS)
    r = np.random.default_rng(3)

    def verdict(size: int) -> Significance:
        q = r.uniform(0, 0.2, size)
        q[::7] = np.nan
        return Significance(q / 3, q, q <= 0.05, r.normal(-5, 1, size), r.normal(5, 1, size))

    nodes, frames = verdict(len(tree)), verdict(len(tree.frames))
    tree = dataclasses.replace(
        tree,
        significance=nodes,
        table=dataclasses.replace(tree.table, significance=frames),
        test=model.TestInfo("welch", 0.05, "packets", "as the comparison says"),
    )
    shown = show(tree)
    found = judged_rows(shown)
    for f, name in enumerate(tree.frames.names[1:], 1):
        for key, values in (("p", frames.p_value), ("q", frames.q_value), ("low", frames.low), ("high", frames.high)):
            assert found[name][key] == pytest.approx(values[f], rel=1e-6, nan_ok=True)
    for level in (0.01, 0.05, 0.1):
        shown.state(level=level, view="icicle")
        grey = shown.js("jvbtune.viewer.palette.swatches[jvbtune.viewer.palette.grey].fill")
        places = {path: i for i, path in enumerate(paths_of(tree))}
        for frame in shown.drawn()[0]["frames"]:
            if frame["path"] is None:
                continue
            significant = nodes.q_value[places[tuple(frame["path"])]] <= level
            a, b = tree.total[:, places[tuple(frame["path"])]]
            unchanged = a / 3000 == b / 5200
            assert (frame["fill"] == grey) != significant or unchanged, frame["path"]
        shown.js("document.getElementById('table-host').scrollTop = 0")
        cells = shown.js(
            """(() => {
                const heads = [...document.querySelectorAll('#table thead button')];
                const place = heads.findIndex((button) => button.dataset.column === 'delta_total');
                return [...document.querySelectorAll('#table tbody tr[data-index]')].map((row) =>
                    [row.cells[0].getAttribute('aria-label') ?? row.cells[0].textContent, row.cells[place].className]);
            })()"""
        )
        for name, colour in cells:
            q = frames.q_value[tree.frames.names.index(name)]
            assert (colour == "noise") == (not q <= level) or colour == "", name
        changed = sum(q <= level for q in frames.q_value[1:])
        assert shown.page.inner_text("#rows button[data-value=changed]") == f"Changed {changed}"
    shown.state(norm="samples")
    assert judged_rows(shown) != found  # what was not tested by the comparison is tested here
    shown.state(level=1)
    assert "no value" in shown.page.inner_text("#legend")


def paths_of(tree: Any) -> list[tuple[str, ...]]:
    paths: list[tuple[str, ...]] = []
    for frame, parent in zip(tree.frame, tree.parent, strict=True):
        paths.append((*(paths[parent] if parent >= 0 else ()), tree.frames.names[frame]))
    return paths


def test_small_differences_are_greyed(show: Open) -> None:
    sides = [{("a",): 1000.0, ("b",): 1000.0}, {("a",): 2000.0, ("b",): 1400.0}]
    shown = show(tree_of([[side] for side in sides]))
    shown.state(norm="samples")
    grey = shown.js("jvbtune.viewer.palette.swatches[jvbtune.viewer.palette.grey].fill")
    for small, expected in ((0, {"all": False, "a": False, "b": False}), (20, {"all": False, "a": False, "b": True})):
        shown.state(norm="samples", small=small)
        assert {f["path"][-1]: f["fill"] == grey for f in shown.drawn()[0]["frames"]} == expected
