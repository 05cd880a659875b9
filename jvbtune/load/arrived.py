"""The sequence numbers of one stream that arrived in a window: exact counts, in memory that grows with gaps only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

#: Numbers that wait at least, and for how many more at most: streams that began together are not folded together,
#: which would hold up what is due to be sent.
FOLD_LEAST, FOLD_SPREAD = 1024, 1024


class Counts(NamedTuple):
    """``duplicated``: arrived before. ``behind``: came for the first time, after a higher number."""

    expected: int
    received: int
    duplicated: int
    behind: int


class Arrived:
    """``add`` only keeps the numbers: they are folded into intervals when there are many, or when somebody asks."""

    __slots__ = ("_behind", "_duplicated", "_ends", "_fold_at", "_pending", "_starts", "_waiting")

    def __init__(self, share: float = 0.0) -> None:
        """``share``: from 0 to 1, different for streams that begin together."""
        self._starts: Ints = np.zeros(0, np.int64)
        self._ends: Ints = np.zeros(0, np.int64)  #: of disjoint intervals in order, with gaps between them
        self._pending: list[Ints] = []
        self._waiting = 0
        self._fold_at = FOLD_LEAST + int(share * FOLD_SPREAD)
        self._duplicated = self._behind = 0

    def add(self, extended: Ints) -> None:
        """Extended sequence numbers, in the order of arrival."""
        self._pending.append(extended)
        self._waiting += len(extended)
        if self._waiting >= self._fold_at:
            self.fold()

    def fold(self) -> None:
        """What waits becomes part of the intervals."""
        if not self._waiting:
            return
        arrived = np.concatenate(self._pending)
        self._pending, self._waiting = [], 0
        unique, first = np.unique(arrived, return_index=True)
        new = ~self._has(unique)
        once = arrived[np.sort(first[new])]
        self._duplicated += len(arrived) - len(once)
        if not len(once):
            return
        highest = np.maximum.accumulate(once)
        if len(self._ends):
            highest = np.maximum(highest, self._ends[-1])
        self._behind += int(np.count_nonzero(once < highest))
        self._merge(unique[new])

    def _has(self, numbers: Ints) -> npt.NDArray[np.bool_]:
        if not len(self._starts):
            return np.zeros(len(numbers), np.bool_)
        place = np.searchsorted(self._starts, numbers, side="right") - 1
        return (place >= 0) & (numbers <= self._ends[place])

    def _merge(self, numbers: Ints) -> None:
        """Numbers in order, of which no interval has any."""
        starts, ends = _runs(numbers, numbers)
        starts, ends = np.concatenate([self._starts, starts]), np.concatenate([self._ends, ends])
        order = np.argsort(starts, kind="stable")
        self._starts, self._ends = _runs(starts[order], ends[order])

    def counts(self, base: int | None) -> Counts:
        """Only numbers above ``base`` are expected and received; None: the window begins with the lowest that came."""
        self.fold()
        if not len(self._starts):
            return Counts(0, 0, self._duplicated, self._behind)
        if base is None:
            base = int(self._starts[0]) - 1
        received = int(np.maximum(self._ends - np.maximum(self._starts, base + 1) + 1, 0).sum())
        return Counts(max(0, int(self._ends[-1]) - base), received, self._duplicated, self._behind)


def _runs(starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
    """Disjoint intervals in order, with those as one that have no gap between them."""
    gaps = np.flatnonzero(starts[1:] > ends[:-1] + 1)
    return starts[np.concatenate([[0], gaps + 1])], ends[np.concatenate([gaps, [len(ends) - 1]])]
