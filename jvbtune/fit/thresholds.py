"""From a max packet rate to what JVB and Jicofo are configured with, and at what CPU the bridge will then really run.

JVB's stress is load / threshold; Jicofo takes a bridge at stress 0.8 for overloaded (``stress-threshold``) and gives
it no more conferences while another can take them. So the max packet rate itself is the threshold: derating it once
more would waste the fifth that Jicofo already keeps free.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from jvbtune.fit.columns import prepare
from jvbtune.fit.recommend import usable_rows
from jvbtune.fit.recommendation import Recommendation

#: Of JVB's own defaults: packet-rate 40000 of 50000, cpu-usage 0.72 of 0.9.
RECOVERY_RATIO = 0.8
#: Jicofo's ``stress-threshold``.
JICOFO_OVERLOADED_STRESS = 0.8


@dataclass(frozen=True)
class Thresholds:
    """Of one host. CPU as a share of the bridge's cores."""

    load_measurement: str
    load_threshold_pps: float
    recovery_threshold_pps: float
    cpu_load_threshold: float | None  #: what to set instead where load-measurement stays "cpu-usage"
    cpu_recovery_threshold: float | None
    average_participant_stress: float | None
    packets_per_participant_pps: float | None
    overloaded_pps: float  #: where Jicofo begins to take the bridge for overloaded
    cpu_at_overloaded: float | None
    cpu_at_threshold: float | None
    bigger_machine_ratio: float | None  #: packet rate at the next limit over the max packet rate, where CPU binds

    def to_json(self) -> dict[str, Any]:
        return {name: round(v, 6) if isinstance(v, float) else v for name, v in asdict(self).items()}


def thresholds(found: Recommendation, trials: pl.DataFrame) -> Thresholds | None:
    """None where there is no recommendation. ``trials``: those that ``found`` was fitted to."""
    threshold = found.export_pps
    if threshold is None or found.max_packet_rate_pps is None:
        return None
    each = _packets_per_participant(found, trials)
    cpu = found.bound("cpu")
    at = None if cpu is None else cpu.quantity(np.array([threshold, threshold * JICOFO_OVERLOADED_STRESS]))[0]
    full = None if at is None else float(min(at[0], 1.0))
    bigger = None
    if found.binding_limit == "cpu":
        others = [b.estimate_pps for b in found.bounds if b.name == "rx_thread" and np.isfinite(b.estimate_pps)]
        bigger = min(others) / found.max_packet_rate_pps if others else None
    return Thresholds(
        load_measurement="packet-rate",
        load_threshold_pps=threshold,
        recovery_threshold_pps=threshold * RECOVERY_RATIO,
        cpu_load_threshold=full,
        cpu_recovery_threshold=None if full is None else full * RECOVERY_RATIO,
        average_participant_stress=None if each is None else each / threshold,
        packets_per_participant_pps=each,
        overloaded_pps=threshold * JICOFO_OVERLOADED_STRESS,
        cpu_at_overloaded=None if at is None else float(at[1]),
        cpu_at_threshold=full,
        bigger_machine_ratio=bigger,
    )


def _packets_per_participant(found: Recommendation, trials: pl.DataFrame) -> float | None:
    rows = usable_rows(prepare(trials).frame).filter((pl.col("host") == found.host) & (pl.col("endpoints") > 0))
    value = (rows["bridge_pps"] / rows["endpoints"]).median() if rows.height else None
    return None if value is None else float(value)  # type: ignore[arg-type]
