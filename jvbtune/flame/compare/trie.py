"""The call tree of sorted stacks, as arrays in preorder, without a loop over nodes.

Each stack makes the nodes below the levels that it shares with the one before it. So a node is a place in the sorted
table: the stack that makes it, and its level; all that goes through it are the stacks from there on that share it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jvbtune.flame.compare.order import Table
from jvbtune.flame.model import Bool, Float64, Int32, Int64


@dataclass(frozen=True, eq=False)
class Trie:
    """Nodes in preorder, the root first; ``first`` to ``last`` (not included) are the stacks that go through a node."""

    frame: Int32
    parent: Int32
    depth: Int32
    subtree: Int32
    first: Int32
    last: Int32
    end_node: Int32  # for each stack the node that it ends in, ascending


def build(table: Table) -> Trie:
    """The call tree of all stacks of a table."""
    stacks = len(table)
    shared = _shared_levels(table)
    made = table.length - shared
    base = np.concatenate([[1], 1 + np.cumsum(made, dtype=np.int64)])  # each stack's first node; then the end
    nodes = int(base[-1])
    frame = np.zeros(nodes, dtype=np.int32)
    parent = np.full(nodes, -1, dtype=np.int32)
    depth = np.zeros(nodes, dtype=np.int32)
    first = np.zeros(nodes, dtype=np.int32)
    last = np.full(nodes, stacks, dtype=np.int32)
    above: Int64 = np.zeros(1, dtype=np.int64)  # the stacks that make a node on the level above
    above_nodes: Int64 = np.zeros(1, dtype=np.int64)  # and those nodes
    for level in range(int(table.length.max()) if stacks else 0):
        changed = np.flatnonzero(shared <= level)
        makes = table.length[changed] > level
        going = changed[makes]
        node = (base[going] + level - shared[going]).astype(np.int64)
        frame[node] = table.flat[table.start[going] + level]
        depth[node] = level + 1
        first[node] = going
        last[node] = np.append(changed[1:], stacks)[makes]
        parent[node] = above_nodes[np.searchsorted(above, going, side="right") - 1]
        above, above_nodes = going, node
    subtree = (base[last] - np.arange(nodes)).astype(np.int32)
    return Trie(frame, parent, depth, subtree, first, last, (base[1:] - 1).astype(np.int32))


def _shared_levels(table: Table) -> Int32:
    """How many levels each stack shares with the one before it."""
    stacks = len(table)
    shared = np.zeros(stacks, dtype=np.int32)
    alike = np.arange(1, stacks)
    level = 0
    while len(alike):
        alike = alike[(table.length[alike] > level) & (table.length[alike - 1] > level)]
        same = table.flat[table.start[alike] + level] == table.flat[table.start[alike - 1] + level]
        alike = alike[same]
        level += 1
        shared[alike] = level
    return shared


def totals(trie: Trie, counts: Float64) -> Float64:
    """Sum over all stacks that go through each node; ``counts`` is by stack. Exact for whole numbers."""
    bounds = np.empty(2 * len(trie.first), dtype=np.int64)
    bounds[0::2] = trie.first
    bounds[1::2] = trie.last
    summed: Float64 = np.add.reduceat(np.append(counts, 0.0), bounds)[::2]
    return summed


def outermost(frame: Int32, subtree: Int32) -> Bool:
    """Marks the nodes that are not below another of the same frame: a recursion's total counts once."""
    nodes = len(frame)
    order = np.argsort(frame, kind="stable")
    offset = frame[order].astype(np.int64) * (nodes + 1)
    ends = np.maximum.accumulate(offset + order + subtree[order])
    nested = np.zeros(nodes, dtype=bool)
    nested[order[1:]] = ends[:-1] > (offset + order)[1:]
    return ~nested


def by_frame(values: Float64, frame: Int32, frames: int) -> Float64:
    """Sums by frame of values by node."""
    return np.bincount(frame, weights=values, minlength=frames).astype(np.float64)
