"""When each sender sends: an open loop that never waits for the bridge.

Time is a wheel of ticks of about a millisecond, a whole number of them to a period. Steady: a period is one packet's
interval, the senders' phases spread evenly over it. Bursts: a period holds ``burst_packets`` intervals, and all senders
send that many packets at its first tick.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Sender = TypeVar("Sender")

#: About so long is a tick: what the kernel's timers and the loop keep.
NOMINAL_TICK_SECONDS = 0.001


@dataclass(frozen=True)
class Wheel:
    """Its ticks, how long each is, and how many packets a sender sends when it is due."""

    ticks: int
    tick_seconds: float
    packets: int

    @classmethod
    def of(cls, stream_pps: float, burst_packets: int) -> Wheel:
        """Exactly ``stream_pps`` packets a second of each sender."""
        period = burst_packets / stream_pps
        ticks = max(1, round(period / NOMINAL_TICK_SECONDS))
        return cls(ticks, period / ticks, burst_packets)

    @property
    def pps(self) -> float:
        """Packets per second of one sender."""
        return self.packets / (self.ticks * self.tick_seconds)

    def place(self, senders: Sequence[Sender]) -> list[list[Sender]]:
        """The senders due at each tick."""
        slots: list[list[Sender]] = [[] for _ in range(self.ticks)]
        for index, sender in enumerate(senders):
            slots[0 if self.packets > 1 else _spread(index, self.ticks)].append(sender)
        return slots


def _spread(index: int, ticks: int) -> int:
    """Evenly at every number of senders: the golden ratio's multiples (Weyl's sequence) within a round of all ticks."""
    round_, place = divmod(index, ticks)
    step = _coprime(ticks)
    return (place * step + round_) % ticks


def _coprime(ticks: int) -> int:
    wanted = round(ticks * (math.sqrt(5) - 1) / 2)
    for offset in range(ticks):
        for candidate in (wanted + offset, wanted - offset):
            if 0 < candidate < max(ticks, 2) and math.gcd(candidate, ticks) == 1:
                return candidate
    return 1
