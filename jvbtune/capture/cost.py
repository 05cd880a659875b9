"""What profiling costs: CPU per packet with the profiler on over off, from windows in turn. Pure.

Each slice follows a window of the same length without the profiler, under the same load. The logarithms of their
ratios are averaged; Student's t over the pairs gives the interval (pairs, because load and JIT drift together).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import scipy


@dataclass(frozen=True)
class Cost:
    """``ratio`` 1.02 is 2 % more CPU per ``per`` with the profiler on; ``low`` and ``high`` enclose it."""

    ratio: float
    low: float
    high: float
    confidence: float
    pairs: int
    per: str  #: "packet", or "second" where the packets are not known

    @property
    def significant(self) -> bool:
        return not self.low <= 1 <= self.high

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Cost:
        return cls(**{name: value for name, value in data.items() if name != "significant"})

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "significant": self.significant}

    def __str__(self) -> str:
        text = (
            f"{self.ratio - 1:+.1%} of CPU per {self.per} "
            f"({self.confidence:.0%} interval {self.low - 1:+.1%} to {self.high - 1:+.1%}, {self.pairs} pairs)"
        )
        return text if self.significant else text + ": not significant"


def cost(on: Sequence[Mapping[str, Any]], off: Sequence[Mapping[str, Any]], *, confidence: float = 0.95) -> Cost | None:
    """From windows with ``cpu_seconds``, ``seconds`` and ``packets``, pair by pair; None: fewer than 3 usable pairs."""
    pairs = list(zip(on, off, strict=True))
    per = "packet" if all(_packets(one) and _packets(other) for one, other in pairs) else "second"
    logs = []
    for one, other in pairs:
        work_on, work_off = (
            (_packets(one), _packets(other)) if per == "packet" else (float(one["seconds"]), float(other["seconds"]))
        )
        if min(work_on, work_off, one["cpu_seconds"], other["cpu_seconds"]) > 0:
            logs.append(math.log(one["cpu_seconds"] / work_on) - math.log(other["cpu_seconds"] / work_off))
    if len(logs) < 3:
        return None
    mean = math.fsum(logs) / len(logs)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in logs) / (len(logs) - 1) / len(logs))
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, len(logs) - 1)) * spread
    return Cost(math.exp(mean), math.exp(mean - half), math.exp(mean + half), confidence, len(logs), per)


def _packets(window: Mapping[str, Any]) -> float:
    return float(window.get("packets") or 0)
