"""How late each packet left against its own schedule: a histogram, so that no number of packets is too many."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

from jvbtune.protocol.worker import LATENESS_EDGES_US


class Lateness:
    """Of the packets since it was made. ``counts``: by ``LATENESS_EDGES_US``, and one bin above them."""

    __slots__ = ("counts", "latest_us")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENESS_EDGES_US) + 1)
        self.latest_us = 0.0

    def add(self, seconds: float, packets: int = 1) -> None:
        late_us = seconds * 1e6
        self.counts[bisect_left(LATENESS_EDGES_US, late_us)] += packets
        self.latest_us = max(self.latest_us, late_us)

    def quantile_ms(self, share: float) -> float:
        """Interpolated in the bin in which it lies: within a tenth of the true one. 0 where no packet was sent."""
        wanted = share * sum(self.counts)
        if not wanted:
            return 0.0
        reached = list(accumulate(self.counts))
        at = bisect_left(reached, wanted)
        low = LATENESS_EDGES_US[at - 1] if at else 0
        high = min(LATENESS_EDGES_US[at], self.latest_us) if at < len(LATENESS_EDGES_US) else self.latest_us
        return (low + (high - low) * (1 - (reached[at] - wanted) / self.counts[at])) / 1000
