"""What a capacity search looks for: for each goal the highest packet rate that still keeps it.

A goal turns a trial's row into one number, the quantity over its limit: at most 1 is kept. NDR is the goal of no loss
at all, PDR that of a stated loss ratio; a PDR is never named without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jvbtune.errors import UsageError
from jvbtune.fit.columns import cpu_ratio_of

#: Shares of late packets for which a trial's row has the quantile.
DELAY_COLUMNS = {0.5: "delay_p50_ms", 0.05: "delay_p95_ms", 0.01: "delay_p99_ms", 0.001: "delay_p999_ms"}
#: One lost packet breaks "no loss"; a loss ratio of this is so clear that the trial is not repeated.
CLEAR_LOSS_RATIO = 1e-4


@dataclass(frozen=True)
class Goal:
    """``column`` of a trial's row at most ``limit``. ``smooth``: it grows with the load long before the limit."""

    name: str  #: ndr | pdr | cpu | rx_thread | delay
    column: str
    limit: float
    smooth: bool
    binding: bool = True  #: part of the max packet rate; NDR is told, and binds nothing

    @property
    def label(self) -> str:
        return {
            "ndr": "NDR (no loss)",
            "pdr": f"PDR (loss ratio {self.limit:g})",
            "cpu": f"CPU {self.limit:.0%} of the bridge's cores",
            "rx_thread": f"receive thread {self.limit:.0%} of a core",
            "delay": f"delay: {self.column.removeprefix('delay_').removesuffix('_ms')} {self.limit:g} ms",
        }[self.name]

    def ratio(self, row: Mapping[str, Any]) -> float | None:
        """The quantity over its limit; None where it was not measured."""
        if self.name == "cpu":
            share = cpu_ratio_of(row)
            return None if share is None else share / self.limit
        value = row.get(self.column)
        if value is None:
            return None
        if self.limit == 0:
            return 1 + float(value) / CLEAR_LOSS_RATIO if value > 0 else 0.0
        return float(value) / self.limit


def goals(
    *,
    loss_ratio: float = 0.001,
    cpu_ratio: float = 0.8,
    rx_thread_ratio: float = 0.7,
    delay: tuple[float, float] = (50.0, 0.001),
) -> tuple[Goal, ...]:
    """NDR, PDR and the limits. ``delay``: milliseconds, and the share of packets that may be later than that.

    Raises UsageError where no quantile of that share is measured.
    """
    milliseconds, share = delay
    if share not in DELAY_COLUMNS:
        known = ", ".join(f"{value:g}" for value in DELAY_COLUMNS)
        raise UsageError(f"delay: a share of {share:g} is not measured", hint=f"Measured are the shares {known}.")
    return (
        Goal("ndr", "loss_ratio", 0.0, smooth=False, binding=False),
        Goal("pdr", "loss_ratio", loss_ratio, smooth=False),
        Goal("cpu", "cpu_cores", cpu_ratio, smooth=True),
        Goal("rx_thread", "rx_thread_ratio", rx_thread_ratio, smooth=True),
        Goal("delay", DELAY_COLUMNS[share], milliseconds, smooth=True),
    )


def limits_of(wanted: Sequence[Goal]) -> dict[str, float]:
    """The same limits as ``fit`` names them, for the cross-check; a delay of another quantile than p99 is left out."""
    names = {"pdr": "loss_ratio", "cpu": "cpu_ratio", "rx_thread": "rx_thread_ratio"}
    return {
        "delay_p99_ms" if goal.column == "delay_p99_ms" else names[goal.name]: goal.limit
        for goal in wanted
        if goal.name in names or goal.column == "delay_p99_ms"
    }
