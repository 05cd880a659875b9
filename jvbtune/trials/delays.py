"""Delays of sampled packets as a histogram, and the share of them that is later than a limit.

Shares of windows add up to that of one long window; 99th percentiles of windows do not: in a few seconds they depend on
whether one pause of the JVM fell into them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

#: Upper edges in µs, twelve a decade from 50 µs to 10 s; one more bin lies above them. 50 ms is one of them.
DELAY_EDGES_US = tuple(round(50 * 10 ** (number / 12)) for number in range(65))
#: The bins by their upper edges, in order.
BINS = (*map(str, DELAY_EDGES_US), "more")


def delay_histogram(delays_us: npt.NDArray[np.float64]) -> dict[str, int]:
    """The bins that hold a packet, by their upper edges."""
    counts = np.bincount(np.searchsorted(DELAY_EDGES_US, delays_us), minlength=len(BINS))
    return {name: int(count) for name, count in zip(BINS, counts, strict=True) if count}


def delay_counts(histogram: Mapping[str, int]) -> list[int] | None:
    """Of all bins in order, from ``delay_histogram``; None if no packet was sampled."""
    counts = [int(histogram.get(name, 0)) for name in BINS]
    return counts if any(counts) else None


def late_ratio(counts: Sequence[int], limit_ms: float) -> float:
    """Share of the packets later than ``limit_ms``; within a bin they are taken to spread evenly over its logarithm.
    The bin above 10 s is later than any limit."""
    total = sum(counts)
    if not total:
        raise ValueError("no packet was sampled")
    limit_us = max(limit_ms * 1000, 1e-3)
    place = int(np.searchsorted(DELAY_EDGES_US, limit_us))
    late = float(sum(counts[place + 1 :]))
    if place == 0:
        late += counts[0] * (1 - limit_us / DELAY_EDGES_US[0])
    elif place < len(DELAY_EDGES_US):
        low, high = DELAY_EDGES_US[place - 1], DELAY_EDGES_US[place]
        late += counts[place] * float(np.log(high / limit_us) / np.log(high / low))
    else:
        late += counts[place]
    return min(1.0, late / total)


def with_late_ratio(trials: pl.DataFrame, limit_ms: float) -> pl.DataFrame:
    """``late_ratio`` of each trial whose delays were kept; null in all others."""
    if "delay_counts" not in trials.columns:
        return trials.with_columns(late_ratio=pl.lit(None, pl.Float64))
    shares = [late_ratio(counts, limit_ms) if counts else None for counts in trials["delay_counts"].to_list()]
    return trials.with_columns(late_ratio=pl.Series(shares, dtype=pl.Float64))
