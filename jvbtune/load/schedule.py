"""When each sender sends: an open loop that never waits for the bridge.

Time is a wheel of ticks. Steady: a period is one packet's interval, the senders' phases spread evenly over it. Bursts:
a period holds ``burst_packets`` intervals, and all senders send that many packets at its first tick.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

Sender = TypeVar("Sender")

TICK_SECONDS = 0.001


@dataclass(frozen=True)
class Wheel:
    """Its ticks, and how many packets a sender sends when it is due."""

    ticks: int
    packets: int

    @classmethod
    def of(cls, stream_pps: float, burst_packets: int) -> Wheel:
        """The nearest whole number of ticks; ``pps`` tells what rate that really gives."""
        return cls(max(1, round(burst_packets / stream_pps / TICK_SECONDS)), burst_packets)

    @property
    def pps(self) -> float:
        """Packets per second of one sender."""
        return self.packets / (self.ticks * TICK_SECONDS)

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


def due_times(start: float, ticks: int) -> Iterator[float]:
    """The monotonic times of the ticks."""
    return (start + index * TICK_SECONDS for index in range(ticks))
