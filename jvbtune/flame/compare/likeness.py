"""How far two captures of one program may differ by themselves: by the way they were taken.

Measured on the lab's bridge at one steady load (docs/flamegraphs.md, Unlike captures):

- A sampling profiler loses the time of threads that run for some microseconds between two switches, 12 to 27 % of a
  bridge's CPU, more at a low load. So a sample stands for its part of the CPU that the kernel says the process used
  (``normalise``), if that is known. What this cannot mend is allowed for: a frame may have lost nothing, or twice
  as much as the whole. Only what goes beyond is significant.
- Sampling costs CPU of its own, which depends on the interval: the same load took 2 to 36 % more CPU at 3 ms than at
  10 ms, and 30 % more at 1 ms, by the kernel's account. Nothing in a capture tells that from a change of the program,
  so at unlike intervals nothing is tested.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jvbtune.flame.compare.facts import SAME_INTERVAL, sampled_ratio
from jvbtune.flame.model import Side

#: A frame loses at most this many times as much as the whole: 1.8 times in the reference captures (threads that read
#: sockets), more only in pools below 1 % of the CPU.
MOST_LOSS = 2.0

#: Ratios of coverage that differ by less than this many of their own standard errors are alike.
RESOLVED = 2.6


@dataclass(frozen=True)
class Likeness:
    """``allowed``: relative difference of a frame that the captures explain. ``untested``: why nothing is tested."""

    allowed: float = 0.0
    untested: str | None = None
    notes: tuple[str, ...] = ()


def likeness(sides: Sequence[Side]) -> Likeness:
    """Of two sides, by the way they were sampled."""
    intervals = [side.meta.interval_ns for side in sides]
    known = [one for one in intervals if one]
    if len(known) == 2 and max(known) > (1 + SAME_INTERVAL) * min(known):
        a, b = (f"{one / 1e6:g} ms" for one in known)
        return Likeness(
            untested=f"A was sampled every {a} and B every {b}. Sampling costs the bridge CPU of its own, which "
            "depends on the interval, so any difference may be the profiler's. Take both captures at one interval."
        )
    ratios = [sampled_ratio(side) for side in sides]
    if ratios[0] is None or ratios[1] is None:
        return Likeness()
    allowed = _coverage(sides, ratios[0], ratios[1])
    if not allowed:
        return Likeness()
    return Likeness(
        allowed,
        notes=(
            f"The samples are {ratios[0]:.0%} of A's CPU time and {ratios[1]:.0%} of B's by the kernel's account. "
            "Totals are scaled to that account. Threads that were sampled less on one side can still make a frame "
            f"differ by {allowed:.0%}: only what goes beyond is called significant.",
        ),
    )


def _coverage(sides: Sequence[Side], a: float, b: float) -> float:
    """How much the values of a frame may differ because of what each side lost, as a ratio less 1.

    From a frame that lost nothing to one that lost ``MOST_LOSS`` times as much as the whole; 0 if the sides' losses may
    differ by the noise of sampling only.
    """
    numbers = [side.total / (side.per_sample or 1.0) for side in sides]
    error = math.sqrt(sum(1 / max(number, 1.0) for number in numbers))
    if abs(math.log(a / b)) <= RESOLVED * error:
        return 0.0
    ratios = [_of_frame(times, a) / _of_frame(times, b) for times in (0.0, MOST_LOSS)]
    return max(max(ratio, 1 / ratio) for ratio in ratios) - 1


def _of_frame(times: float, covered: float) -> float:
    """A frame's value over its true one, if it lost ``times`` as much as the whole and all is scaled to the whole."""
    return max(0.1, 1 - times * (1 - covered)) / covered
