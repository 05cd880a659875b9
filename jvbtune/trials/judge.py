"""Which trials may be used at all, with the reason for each that may not.

An invalid trial is kept and shown, and never used. Every rule here is about a measurement that means something else
than it says; a bad result (loss, delay, full CPU) is a result, not a reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import polars as pl

from jvbtune.text import clean
from jvbtune.units import size_text


class Why(StrEnum):
    """Why a trial may not be used: the codes of a trial's ``invalid_codes``."""

    GENERATOR_LIMITED = "generator_limited"
    BRIDGE_RESTARTED = "bridge_restarted"
    STEAL = "steal"
    THROTTLED = "throttled"
    CLOCK = "clock"
    OTHER_TENANTS = "other_tenants"
    FREQUENCY = "frequency"
    BUFFER = "buffer"
    SETTINGS = "settings"
    SAMPLES = "samples"
    COUNTS = "counts"
    NOT_COUNTED = "not_counted"
    NOT_MEASURED = "not_measured"
    NOT_PROFILED = "not_profiled"
    COMPILING = "compiling"
    UNSTEADY = "unsteady"
    BASELINE_DRIFT = "baseline_drift"


@dataclass(frozen=True)
class Invalid:
    """One reason: a code for programs, a text for people."""

    code: Why
    text: str


#: The columns that hold them: texts and codes, in the same order.
REASONS = ("invalid_because", "invalid_codes")


def fields_of(because: Sequence[Invalid]) -> dict[str, Any]:
    """The columns of a trial's row that say whether it may be used, and why not."""
    return {
        "valid": not because,
        "invalid_because": [reason.text for reason in because],
        "invalid_codes": [reason.code.value for reason in because],
    }


@dataclass(frozen=True)
class Rules:
    """Where a measurement stops being one."""

    steal_ratio: float = 0.02  #: of the cores; above it the hypervisor's neighbours are in the figure
    throttled_ratio: float = 0.01  #: cgroup periods with a throttled quota,
    own_quota_ratio: float = 0.9  #: unless so much of the cgroup's CPU is the bridge's: then it meets the quota itself
    compiling_cores: float = 0.05  #: the JVM's compilers, of one core: 0 to 3 % of a warm bridge, bursts of 5 to 9 %;
    compiling_ratio: float = 0.05  #: and of the bridge's own CPU, for one with many cores;
    compiling_core_seconds: float = 0.25  #: and in the window: a method or two. Above all three it is not warm
    clock_uncertainty_seconds: float = 0.25  #: of a window's edges: 0.25 s of a 6 s window is 4 % at worst
    other_tenants_ratio: float = 0.1  #: other processes' share of the cores that the bridge may use
    frequency_drop_ratio: float = 0.05  #: of the clock frequency against the median at this load
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
) -> list[Invalid]:
    """Why this trial must not be used; empty if it may. What was not measured is not judged.

    ``row`` has the names of a trial's row, and may have ``bridge_restarted``, ``sampled_seconds``,
    ``generator_limited_because``, ``frequency_ratio`` (of the median at its load), ``tenants_cpu_ratio``, and
    ``tenants`` (name -> share of the busiest) beside them. A burst trial is judged by what the socket's queue dropped,
    which the compilers of a bridge in production make no smaller: that they were at work does not take it away.
    """
    because: list[Invalid] = []

    def add(code: Why, text: str) -> None:
        because.append(Invalid(code, text))

    if row.get("generator_limited"):
        why = "; ".join(str(part) for part in row.get("generator_limited_because") or ())
        add(Why.GENERATOR_LIMITED, "the generator was the limit" + (f": {why}" if why else ""))
    if row.get("bridge_restarted"):
        add(Why.BRIDGE_RESTARTED, "the bridge restarted by itself during the trial")
    if _above(row.get("steal_ratio"), rules.steal_ratio):
        add(Why.STEAL, f"steal: the hypervisor took {row['steal_ratio']:.1%} (limit {rules.steal_ratio:.0%})")
    if _above(row.get("throttled_ratio"), rules.throttled_ratio) and not _is_own_quota(row, rules):
        add(Why.THROTTLED, f"throttled: {row['throttled_ratio']:.1%} of the cgroup's periods hit the CPU quota")
    compiler = float(row.get("compiler_cores") or 0.0)
    if compiler > _compiling_limit(row, rules) and row.get("kind") != "burst":
        add(Why.COMPILING, f"still compiling: the JVM's compilers used {compiler:.0%} of a core")
    if _above(clock_uncertainty_seconds, rules.clock_uncertainty_seconds):
        add(Why.CLOCK, f"clock: host and controller agree only to {clock_uncertainty_seconds:.2f} s")
    tenants = row.get("tenants_cpu_ratio")
    if _above(tenants, rules.other_tenants_ratio):
        add(Why.OTHER_TENANTS, _other_tenants(float(tenants or 0.0), row.get("tenants") or {}, rules))
    frequency = row.get("frequency_ratio")
    if frequency is not None and frequency < 1 - rules.frequency_drop_ratio:
        add(Why.FREQUENCY, f"frequency: the CPU ran at {frequency:.0%} of the median clock at this load")
    because.extend(_buffer(row, expected_rcvbuf_bytes))
    because.extend(_coverage(row, rules))
    because.extend(_counts(row, rules))
    return because


def _other_tenants(used: float, busiest: Mapping[str, float], rules: Rules) -> str:
    """Who they are, by name: a command line may hold secrets."""
    named = ", ".join(f"{clean(name, 15)} {share:.0%}" for name, share in busiest.items() if share >= 0.005)
    return (
        f"other tenants: other processes used {used:.0%} of the bridge's cores, and {rules.other_tenants_ratio:.0%} "
        f"is allowed{f' (busiest: {named})' if named else ''}. Stop them, or keep them off these cores (taskset)"
    )


def _is_own_quota(row: Mapping[str, Any], rules: Rules) -> bool:
    """Whether it is the bridge that uses up its cgroup's quota: it is full then, and not disturbed."""
    own, used, cores = row.get("cpu_cores"), row.get("jvb_cpu_ratio"), row.get("jvb_scope_cores")
    if row.get("jvb_scope") != "quota" or own is None or not used or not cores:
        return False
    return float(own) >= rules.own_quota_ratio * float(used) * float(cores)


def _compiling_limit(row: Mapping[str, Any], rules: Rules) -> float:
    """In cores. A window of a few seconds may have a burst that a longer one would not be invalid for."""
    seconds = float(row.get("sampled_seconds") or row.get("duration_s") or 0.0)
    brief = rules.compiling_core_seconds / seconds if seconds else 0.0
    return max(rules.compiling_cores, rules.compiling_ratio * float(row.get("cpu_cores") or 0.0), brief)


def _buffer(row: Mapping[str, Any], expected: int | None) -> list[Invalid]:
    found = row.get("socket_rcvbuf_bytes")
    if expected is None or found is None or int(found) == int(expected):
        return []
    text = (
        f"buffer: the socket has {size_text(int(found))}, not the {size_text(int(expected))} that follow from what the "
        "bridge asks for and net.core.rmem_max"
    )
    return [Invalid(Why.BUFFER, text)]


def _coverage(row: Mapping[str, Any], rules: Rules) -> list[Invalid]:
    sampled, duration = row.get("sampled_seconds"), row.get("duration_s")
    if sampled is None or not duration:
        return []
    # One interval is lost at each edge of the window by the grid of 1 Hz.
    if sampled >= rules.sampled_ratio * (duration - 2):
        return []
    return [Invalid(Why.SAMPLES, f"samples: {sampled:.0f} s of the {duration:.0f} s window are there")]


def _counts(row: Mapping[str, Any], rules: Rules) -> list[Invalid]:
    """Steady, without loss: what the generator counts and what the bridge counts must be the same packets."""
    offered, counted, loss = row.get("offered_pps"), row.get("bridge_pps"), row.get("loss_ratio")
    if row.get("kind", "steady") != "steady" or not offered or not counted or loss is None or loss > 0.001:
        return []
    difference = counted / offered - 1
    rtcp = rules.rtcp_pps_per_endpoint * float(row.get("endpoints") or 0) / offered
    if -rules.count_mismatch_ratio <= difference <= rules.count_mismatch_ratio + rtcp:
        return []
    text = f"counts: the bridge counted {difference:+.1%} against the generator, without loss (other traffic?)"
    return [Invalid(Why.COUNTS, text)]


def _above(value: Any, limit: float) -> bool:
    return value is not None and float(value) > limit


def with_drifting_blocks(trials: pl.DataFrame, rules: Rules = DEFAULT_RULES) -> pl.DataFrame:
    """The same trials; those of a block whose baseline drifted are invalid, with the reason. Host by host, and once:
    what is left of a host that was judged is not judged by what was left of it.

    Needs host, block, step, kind, intended_pps, bridge_pps, cpu_cores, valid, invalid_because and invalid_codes.
    """
    needed = ["host", "block", "step", "kind", "intended_pps", "bridge_pps", "cpu_cores", "compiler_cores", "valid"]
    known = trials.filter(pl.col("intended_pps").is_not_null()).select(needed)
    drifted = pl.col("invalid_codes").list.contains(Why.BASELINE_DRIFT.value)
    judged = set(trials.filter(drifted)["host"].to_list())
    for (host,), rows in known.group_by("host"):
        if host in judged:
            continue
        for block, reason in drifting_blocks(rows.to_dicts(), rules=rules).items():
            of_block = (pl.col("host") == host) & (pl.col("block") == block)
            more = {"invalid_because": reason, "invalid_codes": Why.BASELINE_DRIFT.value}
            trials = trials.with_columns(
                valid=pl.col("valid") & ~of_block,
                **{
                    name: pl.when(of_block)
                    .then(pl.concat_list(pl.col(name).fill_null([]), pl.lit(value)))
                    .otherwise(pl.col(name).fill_null([]))
                    for name, value in more.items()
                },
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
            cost[float(row["intended_pps"])][row["block"]] = (
                float(row["cpu_cores"]) - float(row.get("compiler_cores") or 0.0)
            ) / float(row["bridge_pps"])
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
