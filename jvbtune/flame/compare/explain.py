"""The deepest frames that explain a difference.

A caller's total holds all that its callees changed, so that the top of a table sorted by totals is ``Thread.run``. Here
each change belongs to the deepest frame whose callees do not explain it: a node's difference less those of the nearest
nodes below it that differ by themselves (significantly, where that was tested). The parts of all frames, with the rest
that only the root shows, add up to the difference of the whole.
"""

from __future__ import annotations

import numpy as np

from jvbtune.flame.compare.trie import by_frame
from jvbtune.flame.model import Float64, Int32, Tree

#: Without a test, a node that changes by less than this share of the larger whole explains nothing.
SMALLEST_CHANGE = 0.01


def explained(tree: Tree) -> Float64:
    """What each frame of a tree of two sides explains, over all its places, in the unit of the chosen normalisation."""
    a, b = tree.chosen.factors
    delta = b * tree.total[1] - a * tree.total[0]
    if tree.significance is not None:
        differs = tree.significance.significant.copy()
    else:
        differs = np.abs(delta) >= SMALLEST_CHANGE * max(a * tree.total[0, 0], b * tree.total[1, 0])
        differs &= delta != 0
    differs[0] = True  # what no frame explains stays with the root
    own = np.where(differs, delta, 0.0)
    below = np.flatnonzero(differs)[1:]
    np.subtract.at(own, _nearest_above(tree.parent, tree.depth, differs)[below], delta[below])
    return by_frame(own, tree.frame, len(tree.frames))


def _nearest_above(parent: Int32, depth: Int32, marked: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Int32:
    """For each node the nearest marked one above it; the root, which is marked, has none (-1)."""
    out = np.full(len(parent), -1, dtype=np.int32)
    order = np.argsort(depth, kind="stable")
    bounds = np.searchsorted(depth[order], np.arange(int(depth.max()) + 2))
    for level in range(1, len(bounds) - 1):
        nodes = order[bounds[level] : bounds[level + 1]]
        above = parent[nodes]
        out[nodes] = np.where(marked[above], above, out[above])
    return out
