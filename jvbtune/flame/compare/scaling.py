"""Which frames grow faster than the packet rate: captures at several loads, one curve for each frame.

captures (one a load) ─▶ merge, one side each ─▶ counts by frame and load ─▶ curves ─▶ Tree of the highest load,
                                                                                        with columns, and a table
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jvbtune.errors import UsageError
from jvbtune.flame.compare.curves import ASSUMED, Curves, Points, fit
from jvbtune.flame.compare.merge import LEVEL, merge, side_of
from jvbtune.flame.compare.normalise import normalisations, seconds_per_count
from jvbtune.flame.compare.restarts import observations, summed
from jvbtune.flame.compare.trie import by_frame, outermost
from jvbtune.flame.model import Float64, FrameTable, Int64, Kind, Meta, Profile, Tree

SCHEMA_VERSION = 1

#: Fewer different loads tell no curve.
FEWEST_LOADS = 3
#: Rates closer to each other than this are one load.
ONE_LOAD = 0.03

FEWEST_SAMPLES = 64
SMALLEST_SHARE = 0.001

#: Columns of the tree, by the names of ``Curves``.
COLUMNS = (
    "elasticity",
    "elasticity_low",
    "elasticity_high",
    "bend_cores",
    "cost_us_per_packet",
    "fixed_cores",
    "curvature",
)

NOTE = (
    "Elasticity is the relative growth of a frame's CPU for a relative growth of the packet rate, at the highest rate: "
    "1 is in proportion. Intervals are of single frames; significance is corrected for all."
)
NOTE_FEW = (
    "With so few captures a curve goes through all of them: how much captures differ by themselves cannot be seen. "
    f"{ASSUMED:.0%} is assumed; a bridge that was restarted between them differs by more."
)


@dataclass(frozen=True, eq=False)
class Scaling:
    """What a run's captures tell. ``tree`` is of the highest load, its columns by node; ``whole`` has one row."""

    tree: Tree
    rates_pps: Float64  # by capture, ascending
    cores: Float64  # by capture
    whole: Curves
    total: Curves  # by frame, with all that it calls
    own: Curves  # by frame, itself
    level: float


def scaling(
    captures: Sequence[Sequence[Profile]],
    *,
    labels: Sequence[str] | None = None,
    level: float = LEVEL,
    force: bool = False,
    rules: Sequence[str] = (),
) -> Scaling:
    """Curves of all frames over the loads of ``captures`` (the slices of each).

    Raises UsageError where there are fewer than three loads, where a capture's packets, length or the time of a sample
    are not known, or where captures do not compare.
    """
    every = merge(captures, labels=labels, level=level, force=force, rules=rules)
    rates, seconds, cores_per_rate = _exposures(every)
    order = np.argsort(rates, kind="stable")
    loads = 1 + int((np.diff(rates[order]) > ONE_LOAD * rates[order][1:]).sum())
    if loads < FEWEST_LOADS:
        said = ", ".join(f"{rate:.0f}" for rate in rates[order])
        raise UsageError(
            f"a curve takes captures at {FEWEST_LOADS} loads or more; there are {loads} ({said} packets/s)",
            hint='Sweep with captures at more packet rates: [profile] at = ["all"].',
        )
    marks = outermost(every.frame, every.subtree)
    per_sample = np.array([side.per_sample or side.meta.units_per_sample for side in every.sides])

    def points(rows: Rows) -> Points:
        slices = [rows.of(every, values) / unit for values, unit in zip(every.slice_self, per_sample, strict=True)]
        within, freedom = _within([np.array([m.seconds for m in s.slices]) for s in every.sides], slices)
        counts = np.stack([values.sum(axis=0) for values in slices])
        return Points(counts, rates, seconds, cores_per_rate * per_sample, within, freedom)

    def curves(total: Float64, nodes: Int64 | None, own: bool = False) -> Curves:
        samples = (total / per_sample[:, None]).sum(axis=0)
        whole = (every.total[:, 0] / per_sample).sum()
        worth = (samples >= FEWEST_SAMPLES) & (samples >= SMALLEST_SHARE * whole)
        chosen = np.flatnonzero(worth)
        rows = Rows(chosen, None if nodes is None else marks, own)
        return fit(points(rows), level).spread(worth)

    frames = np.arange(len(every.frames))
    of_nodes = curves(every.total, None)
    of_frames = curves(every.table.total, frames)
    of_self = curves(every.table.self_, frames, own=True)
    top = np.flatnonzero(rates >= (1 - ONE_LOAD) * rates.max())
    cores = every.total[:, 0] * cores_per_rate / seconds
    said = ", ".join(f"{rates[k]:,.0f} ({cores[k]:.3g} cores)" for k in order)
    profiles = [profile for k in top.tolist() for profile in captures[k]]
    tree = _of_top(every, profiles, top, of_nodes, f"Loads, packets/s: {said}.")
    whole = Curves(**{name: values[:1] for name, values in vars(of_nodes).items()})
    return Scaling(tree, rates[order], cores[order], whole, of_frames, of_self, level)


@dataclass(frozen=True, eq=False)
class Rows:
    """Nodes, or frames: summed over their outermost nodes, or (``own``) over what each node spends itself."""

    chosen: Int64
    outer: np.ndarray[Any, np.dtype[np.bool_]] | None
    own: bool

    def of(self, tree: Tree, slice_self: Float64) -> Float64:
        """(slices, rows) from (slices, self nodes)."""
        return np.stack([self._of_one(tree, values) for values in slice_self])

    def _of_one(self, tree: Tree, values: Float64) -> Float64:
        if self.own:
            return by_frame(values, tree.frame[tree.self_nodes], len(tree.frames))[self.chosen]
        running = np.concatenate([[0.0], np.cumsum(values)])
        nodes = self.chosen if self.outer is None else np.flatnonzero(self.outer)
        ends = np.searchsorted(tree.self_nodes, nodes + tree.subtree[nodes])
        sums: Float64 = running[ends] - running[np.searchsorted(tree.self_nodes, nodes)]
        return sums if self.outer is None else by_frame(sums, tree.frame[nodes], len(tree.frames))[self.chosen]


def _exposures(tree: Tree) -> tuple[Float64, Float64, Float64]:
    """(packets/s, seconds, seconds of CPU of one count) by capture. Raises UsageError that names what is missing."""
    needed: tuple[tuple[str, Callable[[Meta], float | None]], ...] = (
        ("its packets are not known", lambda meta: meta.packets),
        ("its length is not known", lambda meta: meta.seconds),
        ("the time that one sample stands for is not known", lambda meta: meta.seconds_per_unit),
    )
    for what, of in needed:
        lacking = [side.meta.title for side in tree.sides if not all(of(meta) for meta in side.slices)]
        if lacking:
            raise UsageError(f"{lacking[0]}: {what}, so it has no place on a curve of CPU against packet rate")
    metas = [side.meta for side in tree.sides]
    return (
        np.array([meta.packet_rate_pps or 0.0 for meta in metas]),
        np.array([meta.seconds or 0.0 for meta in metas]),
        np.array(seconds_per_count(tree.sides)),
    )


def _within(seconds: Sequence[Float64], slices: Sequence[Float64]) -> tuple[Float64, int]:
    """Scatter between the slices of one capture over Poisson's, by row, over all captures."""
    rows = slices[0].shape[1]
    squares, freedom = np.zeros(rows), 0
    for lengths, counts in zip(seconds, slices, strict=True):
        expected = counts.sum(axis=0) * (lengths / lengths.sum())[:, None]
        squares += ((counts - expected) ** 2 / np.maximum(expected, 1e-9)).sum(axis=0)
        freedom += len(lengths) - 1
    return squares / max(1, freedom), freedom


def _of_top(every: Tree, profiles: Sequence[Profile], top: Int64, curves: Curves, loads: str) -> Tree:
    """The captures of the highest load as one side, with the curves of all as columns."""
    side = side_of(profiles, every.sides[int(top[0])].meta.title)
    parts = [meta for k in top.tolist() for meta in every.sides[k].slices]
    notes = (loads, *every.notes, NOTE, *((NOTE_FEW,) if len(every.sides) <= FEWEST_LOADS + 1 else ()))
    return replace(
        every,
        self_=every.self_[top].sum(axis=0, keepdims=True),
        total=every.total[top].sum(axis=0, keepdims=True),
        sides=(side,),
        normalisations=normalisations((side,)),
        table=FrameTable(
            every.table.self_[top].sum(axis=0, keepdims=True), every.table.total[top].sum(axis=0, keepdims=True)
        ),
        slice_self=(summed(np.concatenate([every.slice_self[k] for k in top.tolist()]), observations(parts)),),
        columns={name: getattr(curves, name) for name in COLUMNS},
        notes=notes,
    )


def rows(found: Scaling) -> list[dict[str, Any]]:
    """The frames that bend the host's curve, as a table: most CPU beyond proportion first.

    ``bend_cores`` is what a frame with all it calls takes beyond proportion, per doubling of the rate in the limit:
    cores × (elasticity − 1). ``significant``: its elasticity is not 1.
    """
    out = []
    root = int(found.tree.frame[0])
    for i, name in enumerate(found.tree.frames.names):
        if i == root or math.isnan(found.total.elasticity[i]):
            continue
        row: dict[str, Any] = {"frame": name, "kind": Kind(int(found.tree.frames.kinds[i])).label}
        row |= _values(found.total, i)
        row["self_cores"] = _or_none(found.own.cores[i])
        row["self_elasticity"] = _or_none(found.own.elasticity[i])
        row["bend_cores"] = float(found.total.bend_cores[i])
        row["p_value"] = _or_none(found.total.p_value[i])
        row["significant"] = bool(found.total.q_value[i] <= found.level)
        out.append(row)
    return sorted(out, key=lambda row: (not row["significant"], -row["bend_cores"], row["frame"]))


def as_json(found: Scaling) -> dict[str, Any]:
    """The table for scripts. Rates in packets/s, CPU in cores; curvature in ns by a further 1000 packets/s."""
    return {
        "schema_version": SCHEMA_VERSION,
        "level": found.level,
        "loads": [
            {"packet_rate_pps": float(rate), "cores": float(cores)}
            for rate, cores in zip(found.rates_pps, found.cores, strict=True)
        ],
        "whole": {**_values(found.whole, 0), "p_value": _or_none(found.whole.p_value[0])},
        "rows": rows(found),
        "notes": list(found.tree.notes),
    }


def as_markdown(found: Scaling, most: int = 30) -> str:
    """The table for people."""
    every = rows(found)
    whole = _values(found.whole, 0)
    loads, *notes = found.tree.notes
    lines = [
        f"{loads}  ",
        f"The whole: elasticity {_interval(whole, 'elasticity')}, a further packet costs "
        f"{_interval(whole, 'cost_us_per_packet')} µs, {_interval(whole, 'fixed_cores')} cores are fixed.",
        "",
        "| frame | kind | cores | elasticity | beyond proportion, cores | µs/packet | fixed cores | p | |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in every[:most]:
        growth = "bends upward" if row["elasticity"] > 1 else "amortised"
        verdict = f"**{growth}**" if row["significant"] else "in proportion, or unresolved"
        name = row["frame"].replace("|", "\\|").replace("`", "'")
        lines.append(
            f"| `{' '.join(name.split()) or ' '}` | {row['kind']} | {row['cores']:.3g} "
            f"| {_interval(row, 'elasticity')} | {row['bend_cores']:+.3g} | {_interval(row, 'cost_us_per_packet')} "
            f"| {_interval(row, 'fixed_cores')} | {row['p_value']:.2g} | {verdict} |"
        )
    if len(every) > most:
        lines.append(f"\n{len(every) - most} more frames are not shown.")
    return "\n".join([*lines, "", *notes]) + "\n"


def _values(curves: Curves, i: int) -> dict[str, Any]:
    names = ("elasticity", "cost_us_per_packet", "fixed_cores", "curvature")
    ends = [name for each in names for name in (each, f"{each}_low", f"{each}_high")]
    return {name: _or_none(getattr(curves, name)[i]) for name in ("cores", *ends)}


def _interval(row: dict[str, Any], name: str) -> str:
    if row[name] is None:
        return "–"
    return f"{row[name]:.3g} [{row[f'{name}_low']:.3g}, {row[f'{name}_high']:.3g}]"


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
