"""Find the packet rates at which a host is worth measuring, when nobody knows them yet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jvbtune.errors import LoadError
from jvbtune.fit.columns import cpu_ratio_of
from jvbtune.load.base import IntendedLoad
from jvbtune.sweep.experiment import BASELINE, LimitsSection
from jvbtune.sweep.plan import Step, Trial

if TYPE_CHECKING:
    from jvbtune.sweep.run import Sweep

#: Raised by half, not doubled, above this share of a limit, so that the last clean rate lies near to the limit.
NEAR_LIMIT_RATIO = 0.5
ATTEMPTS = 3
PROBE_SETTLE_SECONDS = 1.0


def spread(highest_pps: float, lowest_ratio: float, levels: int) -> tuple[float, ...]:
    """``levels`` packet rates from ``lowest_ratio × highest`` to ``highest``, evenly spaced."""
    low = highest_pps * lowest_ratio
    return tuple(low + (highest_pps - low) * index / (levels - 1) for index in range(levels))


def _probe(opened: Sweep, trial: Trial, seconds: float) -> Mapping[str, Any]:
    """The row of a probe; one that is not valid may have been disturbed, and is repeated."""
    for attempt in range(ATTEMPTS):
        again = trial if attempt == 0 else replace(trial, id=f"{trial.id}-again-{attempt}")
        step = Step(-1, BASELINE, {}, False, (again,))
        measured = opened._hold_once(step, again, -1, None, PROBE_SETTLE_SECONDS, seconds)
        opened.finish(measured)
        if measured.row["valid"]:
            break
    return measured.row


def _nearness(row: Mapping[str, Any], limits: LimitsSection) -> tuple[float, bool]:
    """How near the bridge is to its CPU limits (1: there), and whether any limit is met."""
    busiest = max(
        (cpu_ratio_of(row) or 0.0) / limits.cpu_ratio,
        (row.get("rx_thread_ratio") or 0.0) / limits.rx_thread_ratio,
    )
    late, lost = row.get("delay_p99_ms") or 0.0, row.get("loss_ratio") or 0.0
    return busiest, busiest >= 1.0 or lost > limits.loss_ratio or late > limits.delay_p99_ms


def find_levels(opened: Sweep) -> tuple[float, ...]:
    """Raise the packet rate on the baseline until a limit is met, and spread the levels up to where it may lie.

    That is the geometric mean of the first rate that met a limit and the last that did not: loads that saturate a host
    say nothing of what a packet costs, so few of them are wanted.

    The probes are trials of kind ``probe``: kept, shown, and not used in fits. Raises LoadError where even the first
    rate meets a limit, or where the generator is the limit.
    """
    section = opened.experiment.load
    auto, limits, mix = section.auto, opened.experiment.limits, section.mix.mix()
    assert auto is not None
    rate, highest, number = min(auto.start_pps, section.max_packet_rate_pps), 0.0, 0
    opened.generator.stop()
    warm_up = opened.experiment.durations.warm_up_seconds
    if warm_up > 0:  # a bridge that nobody used since its start meets its limits early
        opened.generator.offer(IntendedLoad.for_packet_rate(rate, mix), warm_up, settle_seconds=0.0)
    while True:
        load = IntendedLoad.for_packet_rate(min(rate, section.max_packet_rate_pps), mix)
        trial = Trial(f"probe-{number}", "probe", load, auto.probe_seconds, 0)
        row = _probe(opened, trial, auto.probe_seconds)
        busiest, met = _nearness(row, limits)
        if met and not row.get("generator_limited"):  # once may be a pause: a limit is met where it is met twice
            row = _probe(opened, replace(trial, id=f"{trial.id}-confirm"), auto.probe_seconds)
            busiest, met = _nearness(row, limits)
        if row.get("generator_limited"):
            if highest == 0.0:
                raise LoadError(
                    f"the generator is the limit at {load.packet_rate_pps:.0f} pps already: "
                    + "; ".join(row["invalid_because"]),
                    hint="Give it more cores (generator.cpus), or run jvbtune nearer to the bridge.",
                )
            break
        if met and highest == 0.0 and number == 0:
            raise LoadError(
                f"the bridge meets a limit at the first packet rate, {load.packet_rate_pps:.0f} pps, already",
                hint="Set a lower load.auto.start_pps in the experiment.",
            )
        highest = math.sqrt(highest * load.packet_rate_pps) if met else load.packet_rate_pps
        if met or load.packet_rate_pps >= section.max_packet_rate_pps - mix.packet_rate_pps():
            break
        rate = load.packet_rate_pps * (2.0 if busiest < NEAR_LIMIT_RATIO else 1.25)
        number += 1
    return spread(highest, auto.lowest_ratio, auto.levels)
