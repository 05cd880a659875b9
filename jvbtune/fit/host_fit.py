"""What a fit says of a host: a max packet rate that can be trusted, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jvbtune.fit.bounds import Bound
from jvbtune.fit.curve import Curve
from jvbtune.fit.limits import Limits
from jvbtune.fit.mix import PacketMix
from jvbtune.fit.reasons import Reason

#: Max packet rates are floored to a multiple of this: nobody's threshold means more digits.
STEP_PPS = 250.0


@dataclass(frozen=True)
class OwnMeasurement:
    """What the bridge's own "cpu-usage" measurement reads over the packet rate."""

    scope: str  #: host | cpuset | quota: of what it is a share
    curve: Curve
    measured: bool  #: else reckoned: the bridge's process alone, as a share of that scope

    def at(self, pps: float) -> float:
        return float(min(1.0, max(0.0, self.curve.mean(np.array([pps]))[0])))


@dataclass(frozen=True)
class HostFit:
    """Of one host. ``max_packet_rate_pps`` None: no recommendation, and ``reasons`` say why and what to run.

    ``max_packet_rate_pps`` is where the average restart meets its first limit, and ``interval_pps`` the 95 % confidence
    interval of that. ``restart_low_pps`` is what 95 % of restarts sustain within every limit, and
    ``load_threshold_pps`` is that, as a threshold: half of all restarts break a limit at the max packet rate itself.
    It never lies above the highest load that was really tested.
    """

    host: str
    limits: Limits
    max_packet_rate_pps: float | None = None
    interval_pps: tuple[float, float] | None = None
    binding_limit: str | None = None
    next_limit: str | None = None
    next_limit_pps: float | None = None
    model: str | None = None
    restart_low_pps: float | None = None
    highest_tested_pps: float | None = None
    extrapolated: bool = False
    steps: tuple[str, ...] = ()  #: whose trials were used
    restarts: int = 0  #: restarts
    trials: int = 0
    reasons: tuple[Reason, ...] = ()  #: why there is no max packet rate
    remarks: tuple[Reason, ...] = ()  #: what else has to be known
    missing_columns: tuple[str, ...] = ()
    mix: PacketMix | None = None
    packets_per_participant_pps: float | None = None
    packets_per_participant_source: str | None = None  #: trials (the generator's participants) | history (production's)
    own_measurement: OwnMeasurement | None = field(default=None, repr=False)
    bounds: tuple[Bound, ...] = field(default=(), repr=False)

    @property
    def load_threshold_pps(self) -> float | None:
        """What may be written into a configuration."""
        if self.max_packet_rate_pps is None or self.restart_low_pps is None or self.highest_tested_pps is None:
            return None
        return floored(min(self.restart_low_pps, self.highest_tested_pps))

    def bound(self, name: str) -> Bound | None:
        return next((bound for bound in self.bounds if bound.name == name), None)


def floored(pps: float) -> float:
    """To a multiple of 250 pps; hosts below 2.5 kpps to two digits, lest the step be a tenth of it."""
    if pps >= 10 * STEP_PPS:
        return pps // STEP_PPS * STEP_PPS
    return float(f"{pps * 0.995:.2g}") if pps > 0 else 0.0


def none(
    host: str,
    limits: Limits,
    reasons: Sequence[Reason],
    *,
    remarks: Sequence[Reason] = (),
    missing: Sequence[str] = (),
    **more: Any,
) -> HostFit:
    """No recommendation, and why."""
    return HostFit(host, limits, reasons=tuple(reasons), remarks=tuple(remarks), missing_columns=tuple(missing), **more)
