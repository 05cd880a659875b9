"""What a capacity search looks for: for each goal the highest packet rate that still keeps it.

A goal turns a trial's row into one number, the quantity over its limit: at most 1 is kept. NDR is the goal of no loss
at all, PDR that of a stated loss ratio; a PDR is never named without it. Of delay it is the share of packets later than
the limit over the 1 % that may be, which a pause of the JVM makes or does not: see ``fit.lateness``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jvbtune.fit.limits import LATE_SHARE, Limits
from jvbtune.trials.delays import late_ratio
from jvbtune.trials.frame import cpu_ratio_of

#: One lost packet breaks "no loss"; a loss ratio of this is so clear that the trial is not repeated.
CLEAR_LOSS_RATIO = 1e-4


@dataclass(frozen=True)
class Goal:
    """``column`` of a trial's row at most ``limit``. ``smooth``: it grows with the load long before the limit.
    ``lumpy``: it comes in lumps, so that the mean of a load's trials decides, and more of them are run."""

    name: str  #: ndr, or the limit as ``fit`` names it: loss | cpu | rx_thread | gc | delay
    column: str
    limit: float
    smooth: bool
    binding: bool = True  #: part of the max packet rate; NDR is told, and binds nothing
    lumpy: bool = False

    @property
    def label(self) -> str:
        return {
            "ndr": "NDR (no loss)",
            "loss": f"PDR (loss ratio {self.limit:g})",
            "cpu": f"CPU {self.limit:.0%} of the bridge's cores",
            "rx_thread": f"receive thread {self.limit:.0%} of a core",
            "gc": f"garbage collection {self.limit:.1%} of the time",
            "delay": f"delay p99 {self.limit:g} ms",
        }[self.name]

    def ratio(self, row: Mapping[str, Any]) -> float | None:
        """The quantity over its limit; None where it was not measured."""
        if self.name == "cpu":
            share = cpu_ratio_of(row)
            return None if share is None else share / self.limit
        if self.name == "delay" and row.get("delay_counts"):
            return late_ratio(row["delay_counts"], self.limit) / LATE_SHARE
        value = row.get(self.column)
        if value is None:
            return None
        if self.limit == 0:
            return 1 + float(value) / CLEAR_LOSS_RATIO if value > 0 else 0.0
        return float(value) / self.limit


def goals(limits: Limits) -> tuple[Goal, ...]:
    """NDR, and the limits of a fit: a search and a curve look for the same packet rate."""
    return (
        Goal("ndr", "loss_ratio", 0.0, smooth=False, binding=False),
        Goal("loss", "loss_ratio", limits.loss_ratio, smooth=False),
        Goal("cpu", "cpu_cores", limits.cpu_ratio, smooth=True),
        Goal("rx_thread", "rx_thread_ratio", limits.rx_thread_ratio, smooth=True),
        Goal("gc", "gc_ratio", limits.gc_ratio, smooth=True),
        Goal("delay", "delay_p99_ms", limits.delay_p99_ms, smooth=True, lumpy=True),
    )
