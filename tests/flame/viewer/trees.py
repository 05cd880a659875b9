"""Trees for the viewer's tests, built plainly from stacks: slow, and independent of the package's own merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jvbtune.flame.model import Frames, FrameTable, Kind, Meta, Normalisation, Side, Tree

Stacks = Mapping[tuple[str, ...], float]


def kind_of(name: str, place: int) -> Kind:
    if name.startswith("thread "):
        return Kind.THREAD
    if name.startswith("[k]"):
        return Kind.KERNEL
    return Kind.JAVA if "/" in name else Kind.CPP if "::" in name else Kind.NATIVE


def tree_of(
    sides: Sequence[Sequence[Stacks]],
    *,
    packets: Sequence[Sequence[float]] | None = None,
    interval_ns: float = 1e6,
    titles: Sequence[str] = ("before", "after"),
    **more: Any,
) -> Tree:
    """``sides[side][slice]`` maps stacks to sample counts; ``packets`` likewise."""
    stacks = sorted({stack for side in sides for part in side for stack in part})
    names = ["all", *sorted({name for stack in stacks for name in stack})]
    number = {name: i for i, name in enumerate(names)}
    paths: list[tuple[str, ...]] = [()]
    for stack in stacks:
        paths += [stack[:n] for n in range(1, len(stack) + 1)]
    paths = sorted(set(paths), key=lambda path: [number[name] for name in path])
    place = {path: i for i, path in enumerate(paths)}
    size = len(paths)
    slices = [np.zeros((len(side), size)) for side in sides]
    for s, side in enumerate(sides):
        for k, part in enumerate(side):
            for stack, count in part.items():
                slices[s][k, place[stack]] += count
    self_ = np.stack([rows.sum(axis=0) for rows in slices])
    total = self_.copy()
    parent = np.array([place[path[:-1]] if path else -1 for path in paths], dtype=np.int32)
    for i in range(size - 1, 0, -1):
        total[:, parent[i]] += total[:, i]
    subtree = np.ones(size, dtype=np.int32)
    for i in range(size - 1, 0, -1):
        subtree[parent[i]] += subtree[i]
    frame = np.array([number[path[-1]] if path else 0 for path in paths], dtype=np.int32)
    self_nodes = np.flatnonzero(self_.any(axis=0)).astype(np.int32)
    table_self = np.stack([np.bincount(frame, weights=row, minlength=len(names)) for row in self_])
    table_total = np.zeros_like(table_self)
    for i, path in enumerate(paths):
        if not path or path[-1] not in path[:-1]:
            table_total[:, frame[i]] += total[:, i]
    metas, normalisations = _metas(slices, packets, interval_ns, titles)
    return Tree(
        frames=Frames(
            tuple(names),
            np.array([Kind.ROOT, *(kind_of(name, 0) for name in names[1:])], dtype=np.uint8),
        ),
        frame=frame,
        parent=parent,
        depth=np.array([len(path) for path in paths], dtype=np.int32),
        subtree=subtree,
        self_=self_,
        total=total,
        sides=metas,
        normalisations=normalisations,
        table=FrameTable(table_self, table_total),
        self_nodes=self_nodes,
        slice_self=tuple(rows[:, self_nodes] for rows in slices),
        **more,
    )


def _metas(
    slices: list[Any], packets: Sequence[Sequence[float]] | None, interval_ns: float, titles: Sequence[str]
) -> tuple[tuple[Side, ...], tuple[Normalisation, ...]]:
    metas = []
    for s, rows in enumerate(slices):
        parts = tuple(
            Meta(interval_ns=interval_ns, seconds=10.0, packets=packets[s][k] if packets else None)
            for k in range(len(rows))
        )
        whole = Meta(
            title=titles[s],
            engine="async-profiler",
            event="cpu",
            interval_ns=interval_ns,
            seconds=10.0 * len(rows),
            packets=sum(packets[s]) if packets else None,
        )
        metas.append(Side(whole, parts, tuple(float(row.sum()) for row in rows)))
    totals = [side.total for side in metas]
    seconds = interval_ns * 1e-9
    normalisations = [
        Normalisation("share", "%", tuple(100 / total if total else 0.0 for total in totals)),
        Normalisation("seconds", "CPU seconds", (seconds,) * len(metas)),
        Normalisation("samples", "samples", (1.0,) * len(metas)),
    ]
    if packets:
        factors = tuple(seconds * 1e6 / sum(side) for side in packets)
        normalisations.insert(0, Normalisation("packets", "µs of CPU per packet", factors))
    return tuple(metas), tuple(normalisations)
