"""Trials of a simulated host one at a time, for a search that chooses the next load by the last one's outcome."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from jvbtune.fit.simulator.host import SimulatedHost
from jvbtune.fit.simulator.trials import Design, Disturbance, steady_rows


@dataclass
class SimulatedBridge:
    """``restart`` draws a new luck; ``hold`` gives a trial's row; ``clock_seconds`` is what it all would have taken."""

    host: SimulatedHost
    disturbance: Disturbance
    seed: int
    design: Design = field(default_factory=lambda: Design(()))
    restart_seconds: float = 24.0  #: with warm-up
    overhead_seconds: float = 3.0  #: of a trial: set-up, settling, the quiet edges
    clock_seconds: float = 0.0
    factor: float = 1.0

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    def restart(self) -> None:
        self.factor = float(np.exp(self.disturbance.restart_sd * self._rng.standard_normal()))
        self.clock_seconds += self.restart_seconds

    def hold(self, pps: float, seconds: float) -> dict[str, Any]:
        """The row of one steady trial, in the store's columns."""
        self.clock_seconds += seconds + self.overhead_seconds
        design = replace(self.design, packet_rates_pps=(pps,), duration_seconds=seconds)
        factor = np.array([self.factor])
        (row,) = steady_rows(self.host, design, self.disturbance, self._rng, np.array([pps]), factor)
        return row | {"cores": self.host.cores}
