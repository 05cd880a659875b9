"""Profiles of one or more sides, each of one or more slices, merged into one tree with its table and its test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jvbtune.errors import UsageError
from jvbtune.flame.compare.drift import drifts
from jvbtune.flame.compare.normalise import exposures, normalisations, refuse_unlike
from jvbtune.flame.compare.order import Table, sort_stacks
from jvbtune.flame.compare.significance import Sliced, judge_poisson, judge_slices, loan, worth_testing
from jvbtune.flame.compare.trie import Trie, build, by_frame, outermost, totals
from jvbtune.flame.model import (
    Bool,
    Float64,
    FrameTable,
    Kind,
    Meta,
    Normalisation,
    Profile,
    Side,
    Significance,
    TestInfo,
    Tree,
)

Places = npt.NDArray[np.int64]

LEVEL = 0.05

#: Totals further apart than this are rather of unlike things than of unlike loads.
UNLIKELY_RATIO = 100.0

#: Shares of the JIT compilers further apart than this are of JVMs that are not equally warm.
UNLIKE_WARMTH = 0.05

NOTE_SLICES = (
    "The noise is that between the slices of each side, and rows lend each other what they have in common. Slices of "
    "one capture follow one another in one JVM: what differs between restarts of the bridge is not in them, nor all of "
    "what drifts slowly. Only captures after several restarts show that."
)
NOTE_POISSON = (
    "For want of slices on both sides this is sampling noise alone (Poisson): a lower bound on the noise. What differs "
    "between any two captures of the same program comes on top."
)


def merge(
    sides: Sequence[Sequence[Profile]],
    *,
    labels: Sequence[str] | None = None,
    normalise: str | None = None,
    level: float = LEVEL,
    force: bool = False,
    rules: Sequence[str] = (),
) -> Tree:
    """One tree of all sides; two sides are also tested against each other at the false-discovery rate ``level``.

    Each side is the slices of a capture, or several captures alike. Threads are frames where
    ``formats.threads.arrange_threads`` made them so, and are not told apart else. ``rules``: what was done to names, in
    words. Raises UsageError where captures do not compare (unlike engines or events, unless ``force``), or where the
    metadata does not permit ``normalise``.
    """
    if not 0 < level < 1:
        raise UsageError(f"a false-discovery rate lies between 0 and 1: {level:g}")
    named = [label_of(slices, labels[i] if labels else "", i) for i, slices in enumerate(sides)]
    notes = refuse_unlike(named, [[profile.meta for profile in slices] for slices in sides], force=force)
    whole = tuple(side_of(slices, label) for slices, label in zip(sides, named, strict=True))
    permitted = normalisations(whole, normalise)
    if normalise is None and len(sides) > 1 and permitted[0].name == "samples":
        notes.append(
            "Nothing says how long the captures were or what they did meanwhile: samples are compared as they are. "
            "--normalise share compares shares."
        )
    if permitted[0].name == "samples" and (apart := _apart(whole)) > UNLIKELY_RATIO:
        notes.append(
            f"The totals are {apart:.3g}-fold apart: the files may count different things, say samples and ns."
        )
    profiles = [profile for slices in sides for profile in slices]
    table, weighted = sort_stacks(profiles)
    trie = build(table)
    rows = iter(weighted)
    slice_self = tuple(np.stack([next(rows).by_stack(len(table)) for _ in slices]) for slices in sides)
    self_ = np.zeros((len(sides), len(trie.frame)))
    total = np.empty_like(self_)
    for s, values in enumerate(slice_self):
        self_[s, trie.end_node] = values.sum(axis=0)
        total[s] = totals(trie, values.sum(axis=0))
        total[s, 0] = whole[s].total
    outer = outermost(trie.frame, trie.subtree)
    frames = len(table.frames)
    table_self = np.stack([by_frame(row, trie.frame, frames) for row in self_])
    table_total = np.stack([by_frame(row[outer], trie.frame[outer], frames) for row in total])
    if len(sides) == 2:
        notes += _drifting(trie, slice_self, whole, permitted[0])
    notes += _unequally_warm(trie, table, total)
    judged = _Judge(trie, table, outer, slice_self, whole, permitted[0], level) if len(sides) == 2 else None
    return Tree(
        frames=table.frames,
        frame=trie.frame,
        parent=trie.parent,
        depth=trie.depth,
        subtree=trie.subtree,
        self_=self_,
        total=total,
        sides=whole,
        normalisations=permitted,
        table=FrameTable(table_self, table_total, judged.frames(table_total) if judged else None),
        self_nodes=trie.end_node,
        slice_self=slice_self,
        significance=judged.nodes(total) if judged else None,
        test=judged.info if judged else None,
        rules=tuple(rules),
        notes=tuple(notes),
    )


def _unequally_warm(trie: Trie, table: Table, total: Float64) -> list[str]:
    """A note where the compilers of a JVM took much more of one side than of another."""
    compiler = (table.frames.kinds[trie.frame] == Kind.JIT).astype(np.int32)
    if not compiler.any() or total[:, 0].min() <= 0:
        return []
    tops = (compiler > 0) & outermost(compiler, trie.subtree)
    shares = total[:, tops].sum(axis=1) / total[:, 0]
    if shares.max() - shares.min() < UNLIKE_WARMTH:
        return []
    return [
        f"The JIT compilers took {shares.min():.0%} of one side and {shares.max():.0%} of another: the JVMs were not "
        "equally warm, and much of the difference is that. Let them warm up alike."
    ]


def _drifting(trie: Trie, slice_self: Sequence[Float64], sides: Sequence[Side], chosen: Normalisation) -> list[str]:
    """A note on each side whose slices drift."""
    frame = trie.frame[trie.end_node]
    notes = []
    for side, values in zip(sides, slice_self, strict=True):
        by_leaf = np.stack([by_frame(row, frame, int(trie.frame.max()) + 1) for row in values])
        if drifts(by_leaf / side.meta.units_per_sample, exposures(side, chosen)):
            notes.append(
                f"The slices of {side.meta.title} that follow one another are more alike than others: something drifts "
                "(a JVM that still warms up?), and the noise is larger than these slices show."
            )
    return notes


def _apart(sides: Sequence[Side]) -> float:
    totals = [side.total for side in sides]
    return max(totals) / min(totals) if min(totals) > 0 else 1.0


def label_of(slices: Sequence[Profile], label: str, index: int) -> str:
    """A side's name in heads and messages."""
    return label or (slices[0].meta.title if slices else "") or f"side {'ABCDEFGH'[index % 8]}"


def side_of(slices: Sequence[Profile], label: str) -> Side:
    """The slices of a side as a whole. Raises UsageError where they do not add up."""
    if not slices:
        raise UsageError(f"{label}: no profile")
    metas = tuple(profile.meta for profile in slices)
    for what, values in (
        ("units", {meta.unit for meta in metas}),
        ("sampling intervals", {meta.interval_ns for meta in metas}),
    ):
        if len(values) > 1:
            raise UsageError(
                f"{label}: its files do not add up, they have unlike {what}: {', '.join(map(str, values))}",
                hint="The files of one side are the slices of one capture, or captures taken alike.",
            )
    for profile in slices:
        if len(profile) and not float(profile.counts.min()) >= 0:
            raise UsageError(
                f"{profile.meta.title or label}: holds counts below 0",
                hint="A difference of profiles is no profile: give the two that it was made of.",
            )
    first = metas[0]
    whole = Meta(
        title=label,
        engine=first.engine,
        event=first.event,
        unit=first.unit,
        interval_ns=first.interval_ns,
        seconds=_sum([meta.seconds for meta in metas]),
        packets=_sum([meta.packets for meta in metas]),
        cpu_seconds=_sum([meta.cpu_seconds for meta in metas]),
        extra=first.extra,
    )
    return Side(whole, metas, tuple(profile.total for profile in slices))


def _sum(values: Sequence[float | None]) -> float | None:
    """The sum, None where one part is not known."""
    known = [value for value in values if value is not None]
    return float(sum(known)) if len(known) == len(values) else None


@dataclass(frozen=True, eq=False)
class _Judge:
    """Tests the rows of a tree of two sides in the chosen normalisation."""

    trie: Trie
    table: Table
    outer: Bool
    slice_self: Sequence[Float64]
    sides: Sequence[Side]
    chosen: Normalisation
    level: float

    @property
    def sliced(self) -> bool:
        return all(len(side.slices) >= 2 for side in self.sides)

    @property
    def info(self) -> TestInfo:
        if self.sliced:
            return TestInfo("welch", self.level, self.chosen.name, NOTE_SLICES)
        return TestInfo("poisson", self.level, self.chosen.name, NOTE_POISSON)

    def nodes(self, total: Float64) -> Significance:
        """Every node that has enough samples."""
        chosen = np.flatnonzero(self._worth(total))
        return self._judged(chosen, total, lambda sums: sums[self.trie.last[chosen]] - sums[self.trie.first[chosen]])

    def frames(self, total: Float64) -> Significance:
        """Every frame that has enough samples; a recursion counts once."""
        worth = self._worth(total)
        worth[0] = False  # the root is a node, and no frame of the program
        chosen = np.flatnonzero(worth)
        nodes = np.flatnonzero(self.outer & worth[self.trie.frame])
        first, last, frame = self.trie.first[nodes], self.trie.last[nodes], self.trie.frame[nodes]
        return self._judged(
            chosen, total, lambda sums: by_frame(sums[last] - sums[first], frame, len(self.table.frames))[chosen]
        )

    def _samples(self, values: Float64) -> list[Float64]:
        return [row / side.meta.units_per_sample for row, side in zip(values, self.sides, strict=True)]

    def _worth(self, total: Float64) -> Bool:
        return worth_testing(self._samples(total), [side.total / side.meta.units_per_sample for side in self.sides])

    def _judged(self, rows: Places, total: Float64, of_stacks: Callable[[Float64], Float64]) -> Significance:
        """Tests ``rows``; ``of_stacks`` gives their values from the running sums of values by stack.

        Rows that the very same stacks go through, as along a chain of callers, are one test.
        """
        factors = [f * s.meta.units_per_sample for f, s in zip(self.chosen.factors, self.sides, strict=True)]
        size = total.shape[1]
        if not len(rows) or min(factors) <= 0:
            return _spread(None, rows, rows, size)
        marks = np.random.default_rng(0).random(len(self.table))
        _, once, same = np.unique(of_stacks(_running(marks)).round(9), return_index=True, return_inverse=True)
        if not self.sliced:
            wholes = [side.total / side.meta.units_per_sample for side in self.sides]
            found = judge_poisson(self._samples(total[:, rows[once]]), wholes, factors, self.level)
            return _spread(found, rows, same, size)
        sides = []
        for side, values, factor in zip(self.sides, self.slice_self, factors, strict=True):
            per_sample = side.meta.units_per_sample
            counts = np.stack([of_stacks(_running(row))[once] for row in values]) / per_sample
            wholes_of = np.array(side.slice_totals) / per_sample
            sides.append(Sliced(counts, wholes_of, exposures(side, self.chosen), factor, self.chosen.name == "share"))
        return _spread(judge_slices(sides, [loan(side) for side in sides], self.level), rows, same, size)


def _running(values: Float64) -> Float64:
    return np.concatenate([[0.0], np.cumsum(values)])


def _spread(found: Significance | None, rows: Places, outcome: Places, size: int) -> Significance:
    """Outcomes among all rows: row ``rows[i]`` has ``outcome[i]``, the others were not tested."""

    def wide(values: Float64 | None) -> Float64:
        out = np.full(size, np.nan)
        if values is not None:
            out[rows] = values[outcome]
        return out

    significant = np.zeros(size, dtype=bool)
    if found is None:
        return Significance(wide(None), wide(None), significant, wide(None), wide(None))
    significant[rows] = found.significant[outcome]
    return Significance(wide(found.p_value), wide(found.q_value), significant, wide(found.low), wide(found.high))
