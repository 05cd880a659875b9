"""What a stream's window counts, against the plain formula over every number that arrived."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jvbtune.load import arrived as folding
from jvbtune.load.arrived import Arrived, Counts, Ints


def counted(arrived: Ints, base: int | None) -> Counts:
    """With all numbers at hand."""
    unique, first = np.unique(arrived, return_index=True)
    once = arrived[np.sort(first)]
    behind = int(np.count_nonzero(once < np.maximum.accumulate(once)))
    base = int(unique[0]) - 1 if base is None else base
    above = unique[unique > base]
    expected = int(above[-1]) - base if len(above) else 0
    return Counts(expected, len(above), len(arrived) - len(unique), behind)


def of(*batches: list[int]) -> Arrived:
    made = Arrived()
    for batch in batches:
        made.add(np.array(batch, np.int64))
    return made


@given(
    lost=st.sets(st.integers(0, 80)),
    count=st.integers(1, 80),
    first=st.integers(-40, 70_000),
    again=st.lists(st.integers(0, 79), max_size=20),
    late=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=20),
    cuts=st.lists(st.integers(0, 100), max_size=8),
    looks=st.sets(st.integers(0, 8)),
    fold_least=st.integers(1, 50),
    before=st.none() | st.integers(-10, 90),
)
def test_counts_are_those_of_all_numbers_however_they_come(
    lost: set[int],
    count: int,
    first: int,
    again: list[int],
    late: list[tuple[int, int]],
    cuts: list[int],
    looks: set[int],
    fold_least: int,
    before: int | None,
) -> None:
    """Lost, twice, in another order, and in any batches; asked for in between or not."""
    numbers = [number for number in range(count) if number not in lost] or [0]
    numbers += [number for number in again if number in numbers]
    for one, other in late:
        one, other = one % len(numbers), other % len(numbers)
        numbers.insert(other, numbers.pop(one))
    whole = np.array(numbers, np.int64) + first
    base = None if before is None else first + before
    made = Arrived()
    made._fold_at = fold_least
    edges = sorted(cut % (len(whole) + 1) for cut in cuts)
    for at, batch in enumerate(np.split(whole, edges)):
        made.add(batch)
        if at in looks and made._waiting:
            made.counts(base)
    assert made.counts(base) == made.counts(base) == counted(whole, base)


@pytest.mark.parametrize(
    ("batches", "base", "expected"),
    [
        ([], None, Counts(0, 0, 0, 0)),
        ([[5, 6, 7]], None, Counts(3, 3, 0, 0)),
        ([[5, 8], [6]], None, Counts(4, 3, 0, 1)),
        ([[5, 6], [5, 6, 7]], 4, Counts(3, 3, 2, 0)),
        ([[1, 2]], 4, Counts(0, 0, 0, 0)),
        ([[3, 4, 5, 7]], 4, Counts(3, 2, 0, 0)),
        ([[9, 8, 8]], 4, Counts(5, 2, 1, 1)),
    ],
)
def test_counts(batches: list[list[int]], base: int | None, expected: Counts) -> None:
    assert of(*batches).counts(base) == expected


def test_memory_grows_with_gaps_and_not_with_packets() -> None:
    made = Arrived()
    for first in range(0, 1_000_000, 100):
        made.add(np.arange(first, first + 100 - (first % 100_000 == 0)))
    assert made._waiting < folding.FOLD_LEAST
    assert made.counts(None) == Counts(1_000_000, 999_990, 0, 0)
    assert len(made._starts) == len(made._ends) == 11


def test_streams_that_begin_together_are_not_folded_together() -> None:
    streams = [Arrived(number / 50) for number in range(50)]
    at_once = []
    for first in range(0, 4000, 50):
        waiting = [one._waiting for one in streams]
        for one in streams:
            one.add(np.arange(first, first + 50))
        at_once.append(sum(one._waiting < before for one, before in zip(streams, waiting, strict=True)))
    assert 0 < max(at_once) <= 10
