"""Merged trees of collapsed stacks for the viewer's benchmark, without the package's readers and its comparison.

Stacks are rows of a matrix, sorted; a node begins where a row leaves the row before it. So the tree comes out in
preorder, by a handful of numpy passes.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.flame_workload import CallGraph
from jvbtune.flame.model import Frames, FrameTable, Kind, Meta, Normalisation, Side, Tree

Array = npt.NDArray[Any]
INTERVAL_NS = 10e6


def read_collapsed(files: list[Path]) -> tuple[list[str], list[tuple[Array, Array]]]:
    """Frame names, and for each file a matrix of stacks (padded with -1) and their counts."""
    number: dict[str, int] = {}
    sides = []
    for file in files:
        rows, counts = [], []
        with file.open() as lines:
            for line in lines:
                stack, _, count = line.rpartition(" ")
                rows.append(np.array([number.setdefault(name, len(number)) for name in stack.split(";")], np.int32))
                counts.append(float(count))
        matrix = np.full((len(rows), max(map(len, rows))), -1, np.int32)
        for i, row in enumerate(rows):
            matrix[i, : len(row)] = row
        sides.append((matrix, np.array(counts)))
    return list(number), sides


def random_pair(number: int, depth: int = 41, seed: int = 1) -> tuple[list[str], list[tuple[Array, Array]]]:
    """As ``flame_workload.write_collapsed_pair`` makes them, without files: for sizes whose text would take minutes."""
    graph = CallGraph(random.Random(seed))
    callees = np.array(graph.callees, np.int32)
    r = np.random.default_rng(seed)
    wanted = number + number // 10
    paths = np.zeros((1, depth), np.int32)
    while len(paths) < wanted:
        # Each stack branches off from an earlier one about half-way up.
        new = paths[r.integers(0, len(paths), min(len(paths) * 2, wanted))]
        branch = r.integers(4, depth - 2, len(new))
        for level in range(1, depth):
            pick = np.minimum(r.exponential(2, len(new)).astype(int), callees.shape[1] - 1)
            new[:, level] = np.where(level < branch, new[:, level], callees[new[:, level - 1], pick])
        paths = np.unique(np.concatenate([paths, new]), axis=0)
    paths = paths[r.permutation(len(paths))[:wanted]]
    counts = [1 + r.exponential(5, number).astype(int).astype(float) for _ in "AB"]
    return graph.names, [(paths[:number], counts[0]), (paths[wanted - number :], counts[1])]


def merged(names: list[str], sides: list[tuple[Array, Array]], packets: tuple[float, ...] | None = None) -> Tree:
    """One tree of all sides; each side is one slice."""
    width = max(matrix.shape[1] for matrix, _ in sides)
    stacks = np.concatenate([np.pad(m, ((0, 0), (0, width - m.shape[1])), constant_values=-1) for m, _ in sides])
    counts = np.zeros((len(sides), len(stacks)))
    begin = 0
    for side, (matrix, own) in enumerate(sides):
        counts[side, begin : begin + len(matrix)] = own
        begin += len(matrix)
    order = np.lexsort(stacks.T[::-1])
    stacks, counts = stacks[order], counts[:, order]
    differs = np.ones(stacks.shape, bool)
    differs[1:] = np.logical_or.accumulate(stacks[1:] != stacks[:-1], axis=1)
    begins = differs & (stacks >= 0)
    size = int(begins.sum()) + 1
    node = np.zeros(stacks.shape, np.int32)
    node[begins] = np.arange(1, size)
    node = np.maximum.accumulate(node, axis=0)
    lengths = (stacks >= 0).sum(axis=1)
    above = np.concatenate([np.zeros((len(stacks), 1), np.int32), node[:, :-1]], axis=1)
    parent = np.concatenate([[-1], above[begins]]).astype(np.int32)
    depth = np.concatenate([[0], np.broadcast_to(np.arange(1, width + 1), stacks.shape)[begins]]).astype(np.int32)
    leaf = node[np.arange(len(stacks)), lengths - 1]
    self_ = np.stack([np.bincount(leaf, weights=row, minlength=size) for row in counts])
    total = np.zeros_like(self_)
    for column in range(width):
        there = stacks[:, column] >= 0
        for side in range(len(sides)):
            total[side] += np.bincount(node[there, column], weights=counts[side, there], minlength=size)
    total[:, 0] = counts.sum(axis=1)
    frame = np.concatenate([[len(names)], stacks[begins]]).astype(np.int32)
    self_nodes = np.flatnonzero(self_.any(axis=0)).astype(np.int32)
    tree_sides, normalisations = _sides(self_, packets)
    kinds = [Kind.KERNEL if name.startswith("sun/") else Kind.JAVA if "/" in name else Kind.NATIVE for name in names]
    return Tree(
        frames=Frames((*names, "all"), np.array([*kinds, Kind.ROOT], np.uint8)),
        frame=frame,
        parent=parent,
        depth=depth,
        subtree=_subtrees(depth),
        self_=self_,
        total=total,
        sides=tree_sides,
        normalisations=normalisations,
        table=_table(stacks, counts, leaf, frame, len(names) + 1),
        self_nodes=self_nodes,
        slice_self=tuple(row[None, self_nodes] for row in self_),
    )


def _table(stacks: Array, counts: Array, leaf: Array, frame: Array, frames: int) -> FrameTable:
    self_ = np.stack([np.bincount(frame[leaf], weights=row, minlength=frames) for row in counts])
    total = np.zeros_like(self_)
    total[:, frames - 1] = counts.sum(axis=1)
    for column in range(stacks.shape[1]):
        here = stacks[:, column]
        fresh = (here >= 0) & ~(stacks[:, :column] == here[:, None]).any(axis=1)
        for side, row in enumerate(counts):
            total[side] += np.bincount(here[fresh], weights=row[fresh], minlength=frames)
    return FrameTable(self_, total)


def _subtrees(depth: Array) -> Array:
    size = len(depth)
    end = np.full(size, size)
    for level in range(int(depth.max()), -1, -1):
        here = np.flatnonzero(depth == level)
        stop = np.flatnonzero(depth <= level)
        after = np.searchsorted(stop, here, side="right")
        end[here] = np.append(stop, size)[after]
    return (end - np.arange(size)).astype(np.int32)


def _sides(self_: Array, packets: tuple[float, ...] | None) -> tuple[tuple[Side, ...], tuple[Normalisation, ...]]:
    sides = []
    for index, row in enumerate(self_):
        total = float(row.sum())
        meta = Meta(
            title=("before", "after")[index],
            engine="async-profiler",
            event="cpu",
            interval_ns=INTERVAL_NS,
            seconds=60.0,
            packets=packets[index] if packets else None,
        )
        sides.append(Side(meta, (meta,), (total,)))
    seconds = INTERVAL_NS * 1e-9
    normalisations = [
        Normalisation("share", "%", tuple(100 / side.total for side in sides)),
        Normalisation("seconds", "CPU seconds", (seconds,) * len(sides)),
        Normalisation("samples", "samples", (1.0,) * len(sides)),
    ]
    if packets:
        factors = tuple(seconds * 1e6 / number for number in packets)
        normalisations.insert(0, Normalisation("packets", "µs of CPU per packet", factors))
    return tuple(sides), tuple(normalisations)
