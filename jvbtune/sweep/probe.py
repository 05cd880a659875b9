"""Find the packet rates at which a host is worth measuring, when nobody knows them yet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from jvbtune.errors import LoadError
from jvbtune.load.base import IntendedLoad
from jvbtune.load.calibration import reachable_pps
from jvbtune.sweep.experiment import BASELINE, LimitsSection
from jvbtune.sweep.plan import Step, Trial
from jvbtune.sweep.session import Session
from jvbtune.trials.frame import cpu_ratio_of
from jvbtune.trials.judge import Why

#: Raised by half, not doubled, above this share of a limit, so that the last clean rate lies near to the limit.
NEAR_LIMIT_RATIO = 0.5
ATTEMPTS = 3
#: The last clean rate and the first one that met a limit are at most so far apart in the end: the highest level, their
#: geometric mean, is then near enough to the limit for a curve to be followed to it (``fit.bounds.MAX_EXTRAPOLATION``).
WIDEST_GAP = 1.3
#: Where even the first rate meets a limit: how much of it is tried next, and at least so many conferences.
LOWER_RATIO = 0.7
LEAST_CONFERENCES = 2
PROBE_SETTLE_SECONDS = 1.0
#: Above the highest level, so many rates in a restart at most, each as much higher as its limit is away and a little
#: more, within bounds: nobody knows how a curve goes on.
MOST_ABOVE = 2
ABOVE_LIMIT_RATIO, LEAST_ABOVE_RATIO, MOST_ABOVE_RATIO = 1.05, 1.1, 1.3
#: A bridge that has to wait for its CPU quota in more of its periods is full, whatever the mean of its CPU.
FULL_QUOTA_RATIO = 0.1


def spread(highest_pps: float, lowest_ratio: float, levels: int) -> tuple[float, ...]:
    """``levels`` packet rates from ``lowest_ratio × highest`` to ``highest``, evenly spaced."""
    low = highest_pps * lowest_ratio
    return tuple(low + (highest_pps - low) * index / (levels - 1) for index in range(levels))


def _probe(opened: Session, trial: Trial, seconds: float) -> Mapping[str, Any]:
    """The row of a probe; one that is not valid may have been disturbed, the generator's machine as well as the host,
    and is repeated. The generator is the limit where it is that every time.

    A packet rate that is new to the bridge has code compiled that the rates before did not need: where the compilers
    are still at work, the load is held until they are quiet. Raises LoadError where none of them is valid: what a
    disturbed host meets is not the bridge's limit.
    """
    disturbed = limited = 0
    for attempt in range(2 * ATTEMPTS):  # compilers may be at work once for each cause of code that is new
        again = trial if attempt == 0 else replace(trial, id=f"{trial.id}-again-{attempt}")
        step = Step(-1, BASELINE, {}, False, (again,))
        measured = opened.hold_once(step, again, -1, None, PROBE_SETTLE_SECONDS, seconds)
        opened.finish(measured)
        limited += bool(measured.row["generator_limited"])
        if measured.row["valid"] or limited == ATTEMPTS:
            return measured.row
        if measured.because_of(Why.COMPILING):
            opened.warm_up(trial.load)
        disturbed += not measured.only_because_of(Why.COMPILING) and not measured.row["generator_limited"]
        if disturbed == ATTEMPTS:
            break
    raise LoadError(
        f"none of {attempt + 1} trials at {trial.load.packet_rate_pps:.0f} pps can be used: "
        + "; ".join(measured.row["invalid_because"]),
        hint="Stop what disturbs the host, or the generator beside it, then start the sweep again.",
    )


def _nearness(row: Mapping[str, Any], limits: LimitsSection) -> tuple[float, bool]:
    """How near the bridge is to its CPU limits (1: there), and whether any limit is met."""
    busiest = max(
        (cpu_ratio_of(row) or 0.0) / limits.cpu_ratio,
        (row.get("rx_thread_ratio") or 0.0) / limits.rx_thread_ratio,
    )
    # in a few seconds a single pause of the JVM makes 1 % late, at any load; the queues of a full bridge make many so
    late = row.get("delay_p95_ms") or row.get("delay_p99_ms") or 0.0
    lost = row.get("loss_ratio") or 0.0
    full = (row.get("throttled_ratio") or 0.0) > FULL_QUOTA_RATIO
    return busiest, busiest >= 1.0 or full or lost > limits.loss_ratio or late > limits.delay_p99_ms


def find_levels(opened: Session) -> tuple[float, ...]:
    """Raise the packet rate on the baseline until a limit is met, and spread the levels up to where it may lie.

    That is the geometric mean of the first rate that met a limit and the last that did not, which are brought near to
    each other first: loads that saturate a host say nothing of what a packet costs, so few of them are wanted.

    No rate is tried that this machine's generator was measured to be too slow for.

    Where even the first rate meets a limit, lower ones are tried. The probes are trials of kind ``probe``: kept, shown,
    and not used in fits. Raises LoadError where even two conferences meet a limit, or where the generator is the limit.
    """
    section = opened.experiment.load
    auto, limits, mix = section.auto, opened.experiment.limits, section.mix.mix()
    assert auto is not None
    least = LEAST_CONFERENCES * mix.packet_rate_pps()
    most = reachable_pps(opened.entry, mix, section.max_packet_rate_pps)
    rate, number = min(auto.start_pps, most), 0
    highest, lowest_met = 0.0, math.inf
    opened.generator.stop()
    opened.warm_up(IntendedLoad.for_packet_rate(rate, mix, most))  # a bridge that nobody used meets its limits early
    while True:
        load = IntendedLoad.for_packet_rate(min(rate, most), mix, most)
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
            opened.record("generator_limited", packet_rate_pps=load.packet_rate_pps, highest_pps=highest)
            break
        number += 1
        if met:
            lowest_met = load.packet_rate_pps
            if highest == 0.0 and lowest_met > least:
                rate = max(least, LOWER_RATIO * lowest_met)
                continue
        else:
            highest = load.packet_rate_pps
        if highest == 0.0:
            raise LoadError(
                f"the bridge meets a limit with {load.conferences} conferences of {mix.participants} already, at "
                f"{load.packet_rate_pps:.0f} pps",
                hint="Set smaller conferences in [load.mix] of the experiment, or give the bridge more CPU.",
            )
        if lowest_met < math.inf:
            middle = IntendedLoad.for_packet_rate(math.sqrt(highest * lowest_met), mix, most).packet_rate_pps
            if lowest_met <= WIDEST_GAP * highest or not highest < middle < lowest_met:
                break
            rate = middle
            continue
        if highest >= most - mix.packet_rate_pps():
            break
        # at least one conference more: of large ones, a quarter more may be as many again
        rate = max(highest * (2.0 if busiest < NEAR_LIMIT_RATIO else 1.25), highest + mix.packet_rate_pps())
    if lowest_met < math.inf:
        highest = math.sqrt(highest * lowest_met)
    return spread(highest, auto.lowest_ratio, auto.levels)


def above(opened: Session, step: Step) -> Iterator[Trial]:
    """Further trials of a step that stays below the limits of CPU, receive thread, loss and delay at its highest level,
    until it meets one. To be asked when the step's own trials are done, and for the next one when that is done. A run
    that is resumed behind a step's own trials has none for it.

    Restarts of a bridge differ by 10 % and more in what a packet costs. Where the levels were found with a dear one,
    the curves of the others would have to be followed far beyond what was run. Levels that the experiment states are
    left as they are.
    """
    section = opened.experiment.load
    if section.auto is None or opened.writer.run.events("generator_limited"):
        return
    mix, seconds = section.mix.mix(), opened.experiment.durations.trial_seconds
    most = reachable_pps(opened.entry, mix, section.max_packet_rate_pps)
    prefix = f"{step.id}-above-"
    levels = {trial.id for trial in step.trials if trial.kind == "steady" and trial.load.mix == mix}
    while True:
        done = {str(event["row"]["trial"]): event["row"] for event in opened.writer.run.finished_trials()}
        number = sum(trial.startswith(prefix) for trial in done)
        rows = [row for trial, row in done.items() if row["valid"] and (trial in levels or trial.startswith(prefix))]
        highest = max(rows, key=lambda row: float(row["intended_pps"]), default=None)
        if highest is None or number >= MOST_ABOVE:
            return
        busiest, met = _nearness(highest, opened.experiment.limits)
        if met or any(row.get("generator_limited") for trial, row in done.items() if trial.startswith(prefix)):
            return
        rate = float(highest["intended_pps"])
        ratio = ABOVE_LIMIT_RATIO / busiest if busiest else MOST_ABOVE_RATIO
        load = IntendedLoad.for_packet_rate(rate * min(max(ratio, LEAST_ABOVE_RATIO), MOST_ABOVE_RATIO), mix, most)
        if load.packet_rate_pps <= rate:
            return
        yield Trial(f"{prefix}{number}", "steady", load, seconds, section.auto.levels + number)
