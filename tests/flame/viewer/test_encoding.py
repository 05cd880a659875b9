"""The Python side of the viewer: varints, the bundle, pruning."""

from __future__ import annotations

import re
from collections import Counter
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvbtune.flame.viewer import bundle, render_html
from jvbtune.flame.viewer.encode import callee_ranks, varints
from jvbtune.flame.viewer.prune import SMALL_FRAMES, prune
from tests.flame.viewer import reference
from tests.flame.viewer.trees import tree_of


def read_varints(data: bytes) -> list[int]:
    out, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            out.append(value)
            value = shift = 0
    return out


@given(st.lists(st.integers(0, 2**53)))
def test_varints(values: list[int]) -> None:
    assert read_varints(varints(np.array(values, dtype=np.int64))) == values


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1))
def test_ranks_say_which_callee(calls: list[tuple[int, int]]) -> None:
    caller, callee = (np.array(side) for side in zip(*calls, strict=True))
    ranks, counts, callees = callee_ranks(caller, callee, 7)
    first = np.concatenate([[0], np.cumsum(counts)])
    assert [callees[first[c] + r] for c, r in zip(caller, ranks, strict=True)] == callee.tolist()
    for frame in range(7):
        times = Counter(callee[caller == frame].tolist())
        assert [times[c] for c in callees[first[frame] : first[frame + 1]]] == sorted(times.values(), reverse=True)


def test_names_of_the_scripts_do_not_collide() -> None:
    names = Counter(
        name
        for module in bundle.module_order()
        for name in re.findall(
            r"^(?:export )?(?:async )?(?:function|class|const|let) (\w+)",
            files("jvbtune.flame.viewer").joinpath("js", module).read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    )
    assert [name for name, times in names.items() if times > 1] == []
    assert set(bundle.module_order()) == {f.name for f in files("jvbtune.flame.viewer").joinpath("js").iterdir()}


@pytest.mark.parametrize("largest", [1, 2, 30, 150])
def test_pruning_loses_nothing(largest: int) -> None:
    tree = tree_of([[reference.random_side(s) for s in (1, 2)], [reference.random_side(s) for s in (3, 4)]])
    pruned = prune(tree, largest)
    small = pruned.tree
    own = np.flatnonzero(np.array([small.frames.names[f] != SMALL_FRAMES for f in small.frame]))
    assert len(own) <= max(1, largest)
    assert pruned.left_out == len(tree) - len(own)
    assert small.total[:, 0].tolist() == tree.total[:, 0].tolist() == small.self_.sum(axis=1).tolist()
    for side, rows in enumerate(small.slice_self):
        assert rows.sum(axis=1).tolist() == tree.slice_self[side].sum(axis=1).tolist()
        assert rows.sum(axis=0).tolist() == small.self_[side, small.self_nodes].tolist()
    for node in range(len(small)):
        stop = node + small.subtree[node]
        assert small.total[:, node].tolist() == small.self_[:, node:stop].sum(axis=1).tolist()
        if node:
            above = small.parent[node]
            assert above < node < above + small.subtree[above]
            assert small.depth[node] == small.depth[above] + 1
    if own.size > 1:
        share = (small.total / tree.total[:, :1]).max(axis=0)
        assert share[own[1:]].min() >= pruned.share


def test_a_page_asks_nothing_of_a_network() -> None:
    html = render_html(tree_of([[{("a",): 1.0}], [{("b",): 1.0}]]), title="x")
    assert "default-src 'none'" in html
    assert re.findall(r"""(?:src|href|action)=["'](?!#)[^"']*""", html) == []
    assert re.findall(r"https?://(?!www\.w3\.org/)", html) == []
