"""Which trials may be used at all, with the reason for each that may not.

An invalid trial is kept and shown, and never used. Every rule here is about a measurement that means something else
than it says; a bad result (loss, delay, full CPU) is a result, not a reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Rules:
    """Where a measurement stops being one."""

    steal_ratio: float = 0.02  #: of all cores; above it the hypervisor's neighbours are in the figure
    throttled_ratio: float = 0.01  #: cgroup periods with a throttled quota
    clock_uncertainty_seconds: float = 0.25  #: of a window's edges: 0.25 s of a 6 s window is 4 % at worst
    other_tenants_ratio: float = 0.1  #: other processes' share of the cores that the bridge may use
    frequency_drop_ratio: float = 0.05  #: of the clock frequency against the run's median
    count_mismatch_ratio: float = 0.02  #: generator's count against the bridge's, where nothing was lost,
    rtcp_pps_per_endpoint: float = 3.0  #: and what the bridge may send on top; a JVB was seen to send 2.0 RTCP packets
    sampled_ratio: float = 0.7  #: of the window that samples must cover
    baseline_drift_ratio: float = 0.25  #: a block's baseline against the median block: beyond the 20 % of restarts


DEFAULT_RULES = Rules()


def judge(
    row: Mapping[str, Any],
    *,
    expected_rcvbuf_bytes: int | None = None,
    clock_uncertainty_seconds: float | None = None,
    rules: Rules = DEFAULT_RULES,
) -> list[str]:
    """Why this trial must not be used; empty if it may. What was not measured is not judged.

    ``row`` has the names of a trial's row, and may have ``bridge_restarted``, ``sampled_seconds``,
    ``generator_limited_because``, ``frequency_ratio`` (of the run's median), ``tenants_cpu_ratio`` beside them.
    """
    because: list[str] = []
    if row.get("generator_limited"):
        why = "; ".join(str(part) for part in row.get("generator_limited_because") or ())
        because.append("the generator was the limit" + (f": {why}" if why else ""))
    if row.get("bridge_restarted"):
        because.append("the bridge restarted by itself during the trial")
    if _above(row.get("steal_ratio"), rules.steal_ratio):
        because.append(f"steal: the hypervisor took {row['steal_ratio']:.1%} (limit {rules.steal_ratio:.0%})")
    if _above(row.get("throttled_ratio"), rules.throttled_ratio):
        because.append(f"throttled: {row['throttled_ratio']:.1%} of the cgroup's periods hit the CPU quota")
    if _above(clock_uncertainty_seconds, rules.clock_uncertainty_seconds):
        because.append(f"clock: host and controller agree only to {clock_uncertainty_seconds:.2f} s")
    tenants = row.get("tenants_cpu_ratio")
    if _above(tenants, rules.other_tenants_ratio):
        because.append(f"other tenants: other processes used {tenants:.0%} of the bridge's cores")
    frequency = row.get("frequency_ratio")
    if frequency is not None and frequency < 1 - rules.frequency_drop_ratio:
        because.append(f"frequency: the CPU ran at {frequency:.0%} of the run's median clock")
    because.extend(_buffer(row, expected_rcvbuf_bytes))
    because.extend(_coverage(row, rules))
    because.extend(_counts(row, rules))
    return because


def _buffer(row: Mapping[str, Any], expected: int | None) -> list[str]:
    found = row.get("socket_rcvbuf_bytes")
    if expected is None or found is None or int(found) == int(expected):
        return []
    return [
        f"buffer: the socket has {int(found)} bytes, not the {int(expected)} of this step (clamped, or not applied)"
    ]


def _coverage(row: Mapping[str, Any], rules: Rules) -> list[str]:
    sampled, duration = row.get("sampled_seconds"), row.get("duration_s")
    if sampled is None or not duration:
        return []
    # One interval is lost at each edge of the window by the grid of 1 Hz.
    if sampled >= rules.sampled_ratio * (duration - 2):
        return []
    return [f"samples: {sampled:.0f} s of the {duration:.0f} s window are there"]


def _counts(row: Mapping[str, Any], rules: Rules) -> list[str]:
    """Steady, without loss: what the generator counts and what the bridge counts must be the same packets."""
    offered, counted, loss = row.get("offered_pps"), row.get("bridge_pps"), row.get("loss_ratio")
    if row.get("kind", "steady") != "steady" or not offered or not counted or loss is None or loss > 0.001:
        return []
    difference = counted / offered - 1
    rtcp = rules.rtcp_pps_per_endpoint * float(row.get("endpoints") or 0) / offered
    if -rules.count_mismatch_ratio <= difference <= rules.count_mismatch_ratio + rtcp:
        return []
    return [f"counts: the bridge counted {difference:+.1%} against the generator, without loss (other traffic?)"]


def _above(value: Any, limit: float) -> bool:
    return value is not None and float(value) > limit


def with_drifting_blocks(trials: pl.DataFrame, rules: Rules = DEFAULT_RULES) -> pl.DataFrame:
    """The same trials; those of a block whose baseline drifted are invalid, with the reason. Host by host.

    Needs host, block, step, kind, intended_pps, bridge_pps, cpu_cores, valid and invalid_because.
    """
    needed = ["host", "block", "step", "kind", "intended_pps", "bridge_pps", "cpu_cores", "valid"]
    known = trials.filter(pl.col("intended_pps").is_not_null()).select(needed)
    for (host,), rows in known.group_by("host"):
        for block, reason in drifting_blocks(rows.to_dicts(), rules=rules).items():
            of_block = (pl.col("host") == host) & (pl.col("block") == block)
            because = pl.col("invalid_because").fill_null([])
            trials = trials.with_columns(
                valid=pl.col("valid") & ~of_block,
                invalid_because=pl.when(of_block).then(pl.concat_list(because, pl.lit(reason))).otherwise(because),
            )
    return trials


def drifting_blocks(
    rows: Sequence[Mapping[str, Any]], *, rules: Rules = DEFAULT_RULES, baseline: str = "baseline"
) -> dict[Any, str]:
    """Blocks whose baseline step differs from the other blocks' by more than restarts do: block -> reason.

    Compared at equal intended load (CPU per packet, as the median over loads); fewer than 3 blocks cannot tell which
    one is off, and give nothing.
    """
    cost: dict[float, dict[Any, float]] = defaultdict(dict)
    for row in rows:
        usable = row.get("valid", True) and row.get("kind", "steady") == "steady" and row.get("step") == baseline
        if usable and row.get("cpu_cores") and row.get("bridge_pps") and row.get("intended_pps"):
            cost[float(row["intended_pps"])][row["block"]] = float(row["cpu_cores"]) / float(row["bridge_pps"])
    relative: dict[Any, list[float]] = defaultdict(list)
    for at_load in cost.values():
        if len(at_load) >= 3:
            middle = float(np.median(list(at_load.values())))
            for block, value in at_load.items():
                relative[block].append(value / middle - 1)
    return {
        block: f"baseline drift: this block's baseline differs by {shift:+.0%} from the other blocks'"
        for block, shifts in sorted(relative.items())
        if abs(shift := float(np.median(shifts))) > rules.baseline_drift_ratio
    }
