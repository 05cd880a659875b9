"""Whether a bridge is worse off than before: readings in, a reason out. Pure.

Worse is one of these:

- it is not healthy, or it does not answer, in two readings that follow each other; or its process is another one;
- its media sockets drop more: a loss ratio above ``LOSS_RATIO`` and above twice that of before, from at least
  ``LEAST_DROPS`` packets;
- it is overloaded for Jicofo (stress of 0.8 or more) for longer than one refresh of its statistics, at a packet rate
  that it took before without being overloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jvbtune.fit.thresholds import JICOFO_OVERLOADED_STRESS

#: Ten times the limit by which jvbtune measures (``fit.limits``): a burst of a start is not yet a worse setting.
LOSS_RATIO = 1e-3
LEAST_DROPS = 20
#: Traffic is never twice the same.
RATE_SLACK = 1.1
#: A bridge samples its load every 10 s: as long it may have to be overloaded.
OVERLOADED_SECONDS = 10.0


@dataclass(frozen=True)
class Reading:
    """``drops`` and ``datagrams`` are counters; None: it did not answer, or does not report it."""

    seconds: float
    process: tuple[int, int] | None
    drops: int | None
    datagrams: int | None
    healthy: bool
    stress: float | None
    packet_rate_pps: float | None


def worse(before: Sequence[Reading], after: Sequence[Reading]) -> str | None:
    """Why it is worse, in words; None: it is not. ``before`` may be empty; its rates are then taken as zero."""
    if len(after) >= 2 and not after[-1].healthy and not after[-2].healthy:
        return "the bridge is not healthy"
    processes = {reading.process for reading in after if reading.process is not None}
    if len(processes) > 1:
        return "the bridge restarted by itself"
    return _drops(before, after) or _overloaded(before, after)


def _drops(before: Sequence[Reading], after: Sequence[Reading]) -> str | None:
    old, (dropped, ratio) = _loss(before)[1], _loss(after)
    if dropped >= LEAST_DROPS and ratio > max(LOSS_RATIO, 2 * old):
        return f"its sockets dropped {dropped} packets, {ratio:.2%} of what arrived (before: {old:.2%})"
    return None


def _loss(readings: Sequence[Reading]) -> tuple[int, float]:
    """Dropped packets, and their share of what arrived, between the first and the last reading of one process."""
    known = [(r.process, r.drops, r.datagrams) for r in readings if r.drops is not None and r.datagrams is not None]
    known = [one for one in known if one[0] == known[-1][0]]
    if len(known) < 2:
        return 0, 0.0
    (_, drops, datagrams), (_, drops_now, datagrams_now) = known[0], known[-1]
    dropped, received = max(0, drops_now - drops), max(0, datagrams_now - datagrams)
    return dropped, dropped / max(1, dropped + received)


def _overloaded(before: Sequence[Reading], after: Sequence[Reading]) -> str | None:
    rates = [r.packet_rate_pps or 0.0 for r in before if r.stress is not None and r.stress < JICOFO_OVERLOADED_STRESS]
    taken = RATE_SLACK * max(rates, default=0.0)
    since: Reading | None = None
    for reading in after:
        if reading.stress is None:
            continue
        if reading.stress < JICOFO_OVERLOADED_STRESS or (reading.packet_rate_pps or 0.0) > taken:
            since = None
        elif since is None:
            since = reading
        elif reading.seconds - since.seconds >= OVERLOADED_SECONDS:
            return (
                f"it reports a stress of {reading.stress:.2f} at {reading.packet_rate_pps or 0:.0f} pps, a packet rate "
                "that it took before without being overloaded"
            )
    return None
