"""A tree as bytes: sections of varints, one after another, deflated as a whole.

A node costs two small numbers: how many levels the walk goes up before it, and which of the callees of its caller's
frame it is, the commonest first. Both are mostly 0 and 1, and deflate makes little of them: 1.8 million nodes fit into
about 3 MB. Values are stored only for nodes that have one of their own; totals are added up by the page.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from jvbtune.flame.model import Float64, Tree
from jvbtune.flame.viewer.prune import ExactTable

#: Whole numbers below this survive as varints: the page reads them as float64.
_EXACT = 2.0**53

Array = npt.NDArray[Any]


class Encoder:
    """Collects sections; ``sections`` is what the page needs to know to read them."""

    def __init__(self) -> None:
        self.sections: list[dict[str, object]] = []
        self._parts: list[bytes] = []

    def _add(self, name: str, coding: str, count: int, data: bytes, scale: float = 1) -> None:
        section: dict[str, object] = {"name": name, "coding": coding, "count": count, "bytes": len(data)}
        if scale != 1:
            section["scale"] = scale
        self.sections.append(section)
        self._parts.append(data)

    def add_text(self, name: str, text: str) -> None:
        data = text.encode("utf-8", errors="replace")  # a lone surrogate is no text
        self._add(name, "text", len(data), data)

    def add_integers(self, name: str, values: Array) -> None:
        """Integers of 0 and above."""
        self._add(name, "varint", len(values), varints(values))

    def add_ascending(self, name: str, values: Array) -> None:
        """Ascending integers, as gaps."""
        self.add_integers(name, np.diff(values, prepend=0))

    def add_values(self, name: str, values: Float64) -> None:
        """Any numbers of 0 and above, exactly: whole ones over their greatest common divisor, others as float64."""
        whole = bool(np.all((values == np.floor(values)) & (values >= 0) & (values < _EXACT)))
        if not whole:
            self._add(name, "float64", len(values), values.astype("<f8").tobytes())
            return
        integers = values.astype(np.int64)
        divisor = int(np.gcd.reduce(integers)) if len(integers) else 0
        self._add(name, "varint", len(values), varints(integers // max(1, divisor)), max(1, divisor))

    def add_floats(self, name: str, values: Float64) -> None:
        """Any numbers, NaN too, to float32."""
        with np.errstate(over="ignore", under="ignore"):
            self._add(name, "float32", len(values), values.astype("<f4").tobytes())

    def add_node_columns(self, columns: Mapping[str, Float64], parent: Array) -> None:
        """Values by node: rows of all columns, a new one only where a node differs from its caller in any of them. Most
        nodes are the only callee of their caller, and have its values."""
        begins = np.zeros(len(parent), dtype=bool)
        begins[:1] = True
        for values in columns.values():
            above = values[np.maximum(parent, 0)]
            begins |= ~((values == above) | (np.isnan(values) & np.isnan(above)))
        places = np.flatnonzero(begins)
        self.add_ascending("node_places", places)
        for name, values in columns.items():
            self.add_floats(f"node_{name}", values[places])

    def add_tree(self, tree: Tree) -> None:
        """Structure, frames, and the values of each side and slice."""
        root = int(tree.frame[0])
        frames = len(tree.frames)
        others = [i for i in range(frames) if i != root]
        self.add_text("names", json.dumps([tree.frames.names[i] for i in others], ensure_ascii=False))
        self.add_integers("kinds", tree.frames.kinds[others])
        number = np.arange(frames, dtype=np.int64)
        number[root + 1 :] -= 1
        number[root] = frames - 1
        frame = number[tree.frame]
        depth = tree.depth.astype(np.int64)
        self.add_integers("ups", depth[:-1] + 1 - depth[1:])
        ranks, counts, callees = callee_ranks(frame[tree.parent[1:]], frame[1:], frames)
        self.add_integers("ranks", ranks)
        self.add_integers("callee_counts", counts)
        self.add_integers("callees", callees)
        self.add_ascending("self_nodes", tree.self_nodes)
        for side in range(len(tree.sides)):
            self.add_values(f"self_{side}", tree.self_[side, tree.self_nodes])
            if len(tree.sides[side].slices) > 1:
                for index, values in enumerate(tree.slice_self[side]):
                    self.add_values(f"slice_{side}_{index}", values)
        for side, values in enumerate(tree.moments):
            self.add_values(f"moments_{side}", values)

    def add_exact_table(self, table: ExactTable, frames: Array) -> None:
        """Sums by frame, in the order of ``frames``, for a tree that was pruned."""
        for side, (own, total) in enumerate(zip(table.self_, table.total, strict=True)):
            self.add_values(f"frame_self_{side}", own[frames])
            self.add_values(f"frame_total_{side}", total[frames])
            for index, values in enumerate(table.slices[side]):
                self.add_values(f"frame_slice_{side}_{index}", values[frames])
        self.add_values("frame_stacks", table.stacks[frames])
        for side, values in enumerate(table.moments):
            self.add_values(f"frame_moments_{side}", values[frames])

    def deflated(self) -> bytes:
        """All sections, in order."""
        return zlib.compress(b"".join(self._parts), 6)


def varints(values: Array) -> bytes:
    """LEB128: seven bits a byte, the lowest first, the highest bit set on all bytes but a number's last."""
    if len(values) == 0:
        return b""
    if int(values.min()) < 0:
        raise ValueError(f"a varint cannot be negative: {int(values.min())}")
    rest = values.astype(np.uint64)
    if int(rest.max()) < 128:
        return rest.astype(np.uint8).tobytes()
    lengths = np.ones(len(rest), dtype=np.int64)
    for bits in range(7, 64, 7):
        more = rest >= np.uint64(1 << bits)
        if not more.any():
            break
        lengths += more
    ends = np.cumsum(lengths)
    out = np.zeros(int(ends[-1]), dtype=np.uint8)
    places = ends - lengths
    going = np.arange(len(rest))
    while len(going):
        last = rest[going] < np.uint64(128)
        out[places[going]] = (rest[going] & np.uint64(127)).astype(np.uint8) | np.where(last, 0, 128).astype(np.uint8)
        going = going[~last]
        places[going] += 1
        rest[going] >>= np.uint64(7)
    return out.tobytes()


def callee_ranks(caller: Array, callee: Array, frames: int) -> tuple[Array, Array, Array]:
    """Each call as the rank of the callee among all that the caller's frame ever calls, the commonest first.

    Returns the ranks (one a call), the number of callees of each frame, and those callees, frame after frame by rank.
    """
    pairs, which, times = np.unique(caller.astype(np.int64) * frames + callee, return_inverse=True, return_counts=True)
    callers = pairs // frames
    order = np.lexsort((pairs, -times, callers))
    first = np.searchsorted(callers, np.arange(frames))
    rank = np.empty(len(pairs), dtype=np.int64)
    rank[order] = np.arange(len(pairs)) - first[callers[order]]
    return rank[which.reshape(-1)], np.bincount(callers, minlength=frames), (pairs % frames)[order]
