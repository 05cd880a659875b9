"""The test of a merged tree of two sides: by which method, in which units, of which rows, or why there is none.

merge ─▶ Judge (slices, Poisson, or nothing) ─▶ significance.py ─▶ Significance by node and by frame
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jvbtune.flame.compare import samples
from jvbtune.flame.compare.likeness import Likeness
from jvbtune.flame.compare.normalise import exposures
from jvbtune.flame.compare.order import Table, Weighted
from jvbtune.flame.compare.significance import Sliced, judge_poisson, judge_slices, loan, worth_testing
from jvbtune.flame.compare.trie import Trie, by_frame
from jvbtune.flame.model import Bool, Float64, Normalisation, Profile, Side, Significance, TestInfo

Places = npt.NDArray[np.int64]

NOTE_SLICES = (
    "The noise is that between the slices of each side, and rows lend each other what they have in common. Slices of "
    "one capture follow one another in one JVM: what differs between restarts of the bridge is not in them, nor all of "
    "what drifts slowly. Only captures after several restarts show that."
)
NOTE_CAPTURES = (
    "The noise is the scatter between the captures of each side. Each capture counts once, and rows lend each other "
    "what they have in common. If the bridge was restarted before each capture, the noise includes what differs "
    "between restarts."
)
NOTE_ONE_CAPTURE = (
    "One side is several captures, and each of them counts once. The other side is one capture, and its slices follow "
    "one another in one JVM: its noise does not include what differs between restarts of the bridge. Give several "
    "captures of that side too."
)
NOTE_POISSON = (
    "For want of slices on both sides this is sampling noise only (Poisson): a lower bound on the noise. What differs "
    "between any two captures of the same program comes on top."
)


def moments_of(
    sides: Sequence[Sequence[Profile]], whole: Sequence[Side], weighted: Sequence[Weighted], stacks: int
) -> tuple[Float64, ...]:
    """Σ w² by stack for each side; () if every sample of a side weighs the same, or the samples are not known."""
    rows = iter(weighted)
    out = []
    uniform = True
    for slices, side in zip(sides, whole, strict=True):
        sums = np.zeros(stacks)
        weights = np.zeros(stacks)
        for profile in slices:
            row = next(rows)
            moments = samples.second_moments(profile)
            if moments is None:
                return ()
            sums += row.of_rows(moments, stacks)
            weights += row.by_stack(stacks)
        uniform &= bool(np.allclose(sums, weights * (side.per_sample or 1.0), rtol=1e-9))
        out.append(sums)
    return () if uniform else tuple(out)


def why_untested(
    sides: Sequence[Sequence[Profile]], whole: Sequence[Side], labels: Sequence[str], forced: list[str], alike: Likeness
) -> str | None:
    """Why nothing is tested; None if it is."""
    if forced:
        return "Nothing was tested: the captures are unlike, and were forced together."
    if alike.untested:
        return f"Nothing was tested. {alike.untested}"
    if all(len(side.slices) >= 2 and side.per_sample is not None for side in whole):
        return None
    reasons = []
    for slices, label in zip(sides, labels, strict=True):
        unknown = next((profile for profile in slices if samples.samples(profile) is None), None)
        if unknown is not None:
            reasons.append(f"{label} {samples.why_unknown(unknown)}")
    if not reasons:
        return None
    return (
        f"Nothing was tested: {'; '.join(reasons)}. The noise of sampling depends on numbers of samples. Give files "
        "that hold them (perf script, pprof with samples/count), or several files a side: their scatter is the noise."
    )


@dataclass(frozen=True, eq=False)
class Judge:
    """Tests the rows of a tree of two sides in the chosen normalisation."""

    trie: Trie
    table: Table
    outer: Bool
    slice_self: Sequence[Float64]
    sides: Sequence[Side]
    chosen: Normalisation
    level: float
    stack_moments: tuple[Float64, ...]  # by stack, as ``_moments`` gives them
    alike: Likeness
    why_not: str | None  # why nothing is tested

    @property
    def tests(self) -> bool:
        return self.why_not is None

    @property
    def sliced(self) -> bool:
        return all(len(side.slices) >= 2 for side in self.sides)

    @property
    def moments(self) -> tuple[Float64, ...]:
        """By self node, for the tree: every stack ends in a node of its own."""
        return self.stack_moments if self.tests and not self.sliced else ()

    @property
    def info(self) -> TestInfo:
        if self.why_not is not None:
            return TestInfo("none", self.level, self.chosen.name, self.why_not)
        restarted = [side.captures > 1 for side in self.sides]
        note = NOTE_CAPTURES if all(restarted) else NOTE_ONE_CAPTURE if any(restarted) else NOTE_SLICES
        method, note = ("welch", note) if self.sliced else ("poisson", NOTE_POISSON)
        return TestInfo(method, self.level, self.chosen.name, note, self._allowed(True), self._allowed(False))

    def _allowed(self, whole: bool) -> float:
        """The relative difference that the captures explain: none of a whole that is scaled to the kernel's account."""
        scaled = self.chosen.name in ("packets", "seconds", "share")
        return 0.0 if whole and scaled else self.alike.allowed

    def nodes(self, total: Float64) -> Significance:
        """Every node that has enough samples."""
        chosen = np.flatnonzero(self._worth(total))
        allowed = np.where(chosen == 0, self._allowed(True), self._allowed(False))
        return self._judged(
            chosen,
            total,
            allowed,
            lambda sums: sums[self.trie.last[chosen]] - sums[self.trie.first[chosen]],
            whole=True,
        )

    def frames(self, total: Float64) -> Significance:
        """Every frame that has enough samples; a recursion counts once."""
        worth = self._worth(total)
        worth[0] = False  # the root is a node, and no frame of the program
        chosen = np.flatnonzero(worth)
        nodes = np.flatnonzero(self.outer & worth[self.trie.frame])
        first, last, frame = self.trie.first[nodes], self.trie.last[nodes], self.trie.frame[nodes]
        return self._judged(
            chosen,
            total,
            np.full(len(chosen), self._allowed(False)),
            lambda sums: by_frame(sums[last] - sums[first], frame, len(self.table.frames))[chosen],
        )

    @property
    def _units(self) -> list[float]:
        return [side.per_sample or 1.0 for side in self.sides]

    def _samples(self, values: Float64) -> list[Float64]:
        return [row / unit for row, unit in zip(values, self._units, strict=True)]

    def _worth(self, total: Float64) -> Bool:
        wholes = [side.total / unit for side, unit in zip(self.sides, self._units, strict=True)]
        return worth_testing(self._samples(total), wholes)

    def _judged(
        self,
        rows: Places,
        total: Float64,
        allowed: Float64,
        of_stacks: Callable[[Float64], Float64],
        *,
        whole: bool = False,
    ) -> Significance:
        """Tests ``rows``; ``of_stacks`` gives their values from the running sums of values by stack. ``whole``: the
        first row is all there is: that is one question, asked beforehand, and is not corrected for the others.

        Rows that the very same stacks go through, as along a chain of callers, are one test.
        """
        factors = [factor * unit for factor, unit in zip(self.chosen.factors, self._units, strict=True)]
        size = total.shape[1]
        if not len(rows) or min(factors) <= 0:
            return _spread(None, rows, rows, size)
        marks = np.random.default_rng(0).random(len(self.table))
        _, once, same = np.unique(of_stacks(_running(marks)).round(9), return_index=True, return_inverse=True)
        if not self.sliced:
            wholes = [side.total / unit for side, unit in zip(self.sides, self._units, strict=True)]
            sums = self._samples(total[:, rows[once]])
            weight = self._weight(sums, [of_stacks(_running(one))[once] for one in self.stack_moments])
            found = judge_poisson(sums, wholes, factors, self.level, weight=weight, allowed=allowed[once])
            return _spread(_whole_apart(found, rows, same, self.level) if whole else found, rows, same, size)
        sides = []
        for side, values, factor, per_sample in zip(self.sides, self.slice_self, factors, self._units, strict=True):
            counts = np.stack([of_stacks(_running(row))[once] for row in values]) / per_sample
            wholes_of = np.array(side.slice_totals) / per_sample
            sides.append(Sliced(counts, wholes_of, exposures(side, self.chosen), factor, self.chosen.name == "share"))
        found = judge_slices(sides, [loan(side) for side in sides], self.level, allowed[once])
        return _spread(_whole_apart(found, rows, same, self.level) if whole else found, rows, same, size)

    def _weight(self, counts: Sequence[Float64], moments: Sequence[Float64]) -> Float64 | float:
        """How much heavier a row's samples are than those of its sides on average (samples.py), both sides together."""
        if not moments:
            return 1.0
        square = sum((one / unit**2 for one, unit in zip(moments, self._units, strict=True)), np.zeros(len(counts[0])))
        return np.maximum(square, 1e-300) / np.maximum(counts[0] + counts[1], 1e-300)


def _whole_apart(found: Significance, rows: Places, same: Places, level: float) -> Significance:
    """The outcomes with that of the root, if it was tested, by its own p-value."""
    if rows[0] == 0:
        root = same[0]
        found.q_value[root] = found.p_value[root]
        found.significant[root] = found.p_value[root] <= level
    return found


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
