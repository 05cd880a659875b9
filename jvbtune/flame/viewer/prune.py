"""Cuts a huge tree down to what a picture can show; nothing is lost from any total.

A node's share of its side never exceeds its caller's, so the nodes above a threshold form a tree. What is cut off
below a node is put back as one child, ``(small frames)``, that holds the time of all of them. The table is taken from
the whole tree, so it stays exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from jvbtune.flame.compare.trie import by_frame as sum_by_frame
from jvbtune.flame.compare.trie import outermost
from jvbtune.flame.model import Float64, Frames, Kind, Significance, Tree

#: Nodes that the page decodes, lays out and draws within a second.
LARGEST_PICTURE = 2_000_000

SMALL_FRAMES = "(small frames)"


@dataclass(frozen=True)
class Pruned:
    tree: Tree
    left_out: int  # nodes of the whole tree that the picture does not show
    share: float  # each of them is below this share of its side's total, on every side


@dataclass(frozen=True)
class ExactTable:
    """What the page would sum up by frame, had it the whole tree: arrays with one value a frame."""

    self_: Float64  # (sides, frames)
    total: Float64  # (sides, frames), recursion counted once
    slices: tuple[Float64, ...]  # for each side (slices, frames); no slices where there is but one
    stacks: Float64  # equal for frames that the very same stacks go through
    moments: tuple[Float64, ...]  # for each side Σ w² by frame; () where a side's samples weigh the same


def exact_table(tree: Tree) -> ExactTable:
    """The table of a tree that is about to be pruned."""
    nodes = np.flatnonzero(outermost(tree.frame, tree.subtree))
    first = np.searchsorted(tree.self_nodes, nodes)
    last = np.searchsorted(tree.self_nodes, nodes + tree.subtree[nodes])
    frame = tree.frame[nodes]

    def by_frame(self_: Float64) -> Float64:
        running = np.concatenate([[0.0], np.cumsum(self_)])
        return sum_by_frame(running[last] - running[first], frame, len(tree.frames))

    # Whole numbers, so that sums are exact; as the page draws them for a tree that it has whole (sameStacks).
    drawn = np.arange(1, len(tree.self_nodes) + 1, dtype=np.uint32) * np.uint32(0x9E3779B1) >> np.uint32(2)
    slices = tuple(
        np.stack([by_frame(row) for row in rows]) if len(rows) > 1 else np.zeros((0, len(tree.frames)))
        for rows in tree.slice_self
    )
    moments = tuple(by_frame(values) for values in tree.moments)
    return ExactTable(tree.table.self_, tree.table.total, slices, by_frame(drawn.astype(np.float64)), moments)


def prune(tree: Tree, largest: int) -> Pruned:
    """The tree with at most ``largest`` nodes of its own, besides those that stand for what was cut off."""
    if len(tree) <= largest:
        return Pruned(tree, 0, 0.0)
    wholes = np.maximum(tree.total[:, :1], 1e-300)
    share = (tree.total / wholes).max(axis=0)
    threshold = float(np.partition(share, len(tree) - largest)[len(tree) - largest])
    kept = share > threshold
    kept[0] = True
    # Walk from the cut-off subtrees' tops only: a node that is not kept, below one that is.
    parent = tree.parent
    tops = np.flatnonzero(~kept[1:] & kept[parent[1:]]) + 1
    holders = np.unique(parent[tops])
    # Preorder of the new tree: kept nodes at their old places, each stand-in after its parent's subtree's last node.
    places = np.concatenate([np.flatnonzero(kept), holders])
    position = np.concatenate(
        [np.flatnonzero(kept).astype(float), holders + tree.subtree[holders] - 1 + 0.5 - tree.depth[holders] * 1e-7]
    )
    stands_in = np.concatenate([np.zeros(int(kept.sum()), dtype=bool), np.ones(len(holders), dtype=bool)])
    order = np.argsort(position, kind="stable")
    places, stands_in = places[order], stands_in[order]
    new_kept = np.full(len(tree), -1, dtype=np.int64)
    new_kept[places[~stands_in]] = np.flatnonzero(~stands_in)
    new_small = np.full(len(tree), -1, dtype=np.int64)
    new_small[places[stands_in]] = np.flatnonzero(stands_in)
    return Pruned(_cut(tree, places, stands_in, new_kept, new_small, tops), len(tree) - int(kept.sum()), threshold)


def _cut(
    tree: Tree,
    places: npt.NDArray[np.int64],
    stands_in: npt.NDArray[np.bool_],
    new_kept: npt.NDArray[np.int64],
    new_small: npt.NDArray[np.int64],
    tops: npt.NDArray[np.int64],
) -> Tree:
    """The new tree: ``places`` are old nodes (for a stand-in, its parent), ``new_*`` map old nodes to new ones."""
    target = new_kept.copy()
    # All below a top is cut off with it, so the nodes without a place are the tops' subtrees, one after another.
    target[new_kept < 0] = np.repeat(new_small[tree.parent[tops]], tree.subtree[tops])
    size = len(places)
    small = len(tree.frames)
    parent = np.where(stands_in, new_kept[places], new_kept[np.maximum(tree.parent[places], 0)])
    parent[0] = -1
    depth = tree.depth[places] + stands_in
    before = np.concatenate([[0], np.cumsum((new_kept >= 0).astype(np.int64) + (new_small >= 0))])
    subtree = np.where(stands_in, 1, before[places + tree.subtree[places]] - before[places])
    sides = len(tree.sides)
    self_ = np.stack([np.bincount(target, weights=tree.self_[s], minlength=size) for s in range(sides)])
    total = np.where(stands_in, self_, tree.total[:, places])
    self_nodes, which = np.unique(target[tree.self_nodes], return_inverse=True)
    slice_self = tuple(
        np.stack([np.bincount(which, weights=row, minlength=len(self_nodes)) for row in rows])
        if len(rows)
        else np.zeros((0, len(self_nodes)))
        for rows in tree.slice_self
    )

    def of_kept(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.where(stands_in, np.nan, values[places])

    found = tree.significance
    return replace(
        tree,
        frames=Frames((*tree.frames.names, SMALL_FRAMES), np.append(tree.frames.kinds, np.uint8(Kind.OTHER))),
        frame=np.where(stands_in, small, tree.frame[places]).astype(np.int32),
        parent=parent.astype(np.int32),
        depth=depth.astype(np.int32),
        subtree=subtree.astype(np.int32),
        self_=self_.astype(np.float64),
        total=total,
        self_nodes=self_nodes.astype(np.int32),
        slice_self=tuple(values.astype(np.float64) for values in slice_self),
        moments=tuple(
            np.bincount(which, weights=values, minlength=len(self_nodes)).astype(np.float64) for values in tree.moments
        ),
        significance=None
        if found is None
        else Significance(
            of_kept(found.p_value),
            of_kept(found.q_value),
            np.where(stands_in, False, found.significant[places]),
            of_kept(found.low),
            of_kept(found.high),
        ),
        columns={name: of_kept(values) for name, values in tree.columns.items()},
    )
