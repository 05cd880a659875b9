"""Stacks of several files as one sorted table without duplicates.

Stacks are sorted by their frames, root first, and frames by name: as tuples, never as joined text, in which ``$`` would
stand before the separator. The sort goes through blocks of levels, each block one fixed-width key of bytes, so that
neither depth nor a few very deep stacks cost memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jvbtune.flame.model import Frames, Int32, Int64, Kind, Profile

ROOT_NAME = "all"

#: Levels of one key of the sort.
BLOCK = 24


@dataclass(frozen=True, eq=False)
class Table:
    """Different stacks in order; stack ``i`` is ``flat[start[i]:start[i] + length[i]]``, as indices into ``frames``.

    ``frames`` begins with the root's; the others are in order of name and kind.
    """

    frames: Frames
    flat: Int32
    start: Int64
    length: Int32

    def __len__(self) -> int:
        return len(self.start)


@dataclass(frozen=True, eq=False)
class Weighted:
    """What one profile adds to a table: ``counts[i]`` to stack ``stack[i]``; a stack may come several times."""

    stack: Int64
    counts: npt.NDArray[np.float64]
    used: npt.NDArray[np.bool_]  # the profile's rows that are in ``stack``

    def by_stack(self, stacks: int) -> npt.NDArray[np.float64]:
        """Counts of all stacks of the table."""
        return np.bincount(self.stack, weights=self.counts, minlength=stacks).astype(np.float64)

    def of_rows(self, values: npt.NDArray[np.float64], stacks: int) -> npt.NDArray[np.float64]:
        """Sums by stack of further values of the profile's rows."""
        return np.bincount(self.stack, weights=values[self.used], minlength=stacks).astype(np.float64)


def sort_stacks(profiles: Sequence[Profile]) -> tuple[Table, list[Weighted]]:
    """One table for all profiles, whatever tables they came with, and each profile's rows in terms of it."""
    tables = list({id(profile.stacks): profile.stacks for profile in profiles}.values())
    frames, numbers = _common_frames([table.frames for table in tables])
    flat = np.concatenate([number[table.flat] for table, number in zip(tables, numbers, strict=True)])
    lengths = np.concatenate([np.diff(table.offsets) for table in tables]).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])[:-1]
    sizes = np.cumsum([0, *(len(table) for table in tables)])
    first = {id(table): int(size) for table, size in zip(tables, sizes, strict=False)}

    rows, counts, uses = [], [], []  # only what is used is sorted
    for profile in profiles:
        used = profile.counts != 0
        uses.append(used)
        rows.append(profile.stack[used].astype(np.int64) + first[id(profile.stacks)])
        counts.append(profile.counts[used])
    stack, which = np.unique(np.concatenate(rows), return_inverse=True)
    rank = _ranks(flat, starts[stack], lengths[stack], len(frames))
    one = np.empty(int(rank.max()) + 1 if len(rank) else 0, dtype=np.int64)
    one[rank] = stack
    parts = np.split(rank[which], np.cumsum([len(part) for part in counts])[:-1])
    weighted = [Weighted(*each) for each in zip(parts, counts, uses, strict=True)]
    return Table(frames, flat, starts[one], lengths[one]), weighted


def _common_frames(tables: Sequence[Frames]) -> tuple[Frames, list[Int32]]:
    """All frames by name and kind, and each table's numbers in them."""
    pairs: set[tuple[str, int]] = set()
    for frames in tables:
        pairs.update(zip(frames.names, frames.kinds.tolist(), strict=True))
    ordered = sorted(pairs)
    number = {pair: i + 1 for i, pair in enumerate(ordered)}
    common = Frames(
        (ROOT_NAME, *(name for name, _ in ordered)),
        np.array([Kind.ROOT, *(kind for _, kind in ordered)], dtype=np.uint8),
    )
    return common, [
        np.array([number[pair] for pair in zip(frames.names, frames.kinds.tolist(), strict=True)], dtype=np.int32)
        for frames in tables
    ]


def _ranks(flat: Int32, start: Int64, length: Int32, frames: int) -> Int64:
    """Each stack's rank among the different ones. A stack stands before those that go on from it."""
    rank = np.zeros(len(start), dtype=np.int64)
    deepest = int(length.max()) if len(length) else 0
    width: npt.DTypeLike = ">u2" if frames < 1 << 16 else ">u4"
    for level in range(0, deepest, BLOCK):
        going = np.flatnonzero(length > level)
        key = np.zeros((len(going), BLOCK), dtype=width)
        for column in range(min(BLOCK, deepest - level)):
            here = np.flatnonzero(length[going] > level + column)
            key[here, column] = flat[start[going[here]] + level + column]
        block = np.zeros(len(start), dtype=np.int64)  # 0: the stack ended before this block
        block[going] = _dense(key.view(f"S{key.dtype.itemsize * BLOCK}").reshape(-1)) + 1
        rank = _dense(rank * (len(going) + 1) + block)
    return rank


def _dense(values: npt.NDArray[Any]) -> Int64:
    """The rank of each value among the different ones."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    out = np.empty(len(values), dtype=np.int64)
    out[order] = np.cumsum(np.concatenate([[False], ordered[1:] != ordered[:-1]]))
    return out
