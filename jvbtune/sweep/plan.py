"""From an experiment to the order of everything that will be done: pure, seeded, estimated.

Randomised complete blocks: each block has every step once, the baseline among them, in an order of its own; the loads
are shuffled inside a step (Abedi & Brecht, ICPE 2017). Each step begins with a restart of the bridge, also where its
settings take effect live: what restarts differ by is only seen between restarts, and all are equally warm.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from jvbtune.load.base import IntendedLoad, Mix
from jvbtune.sweep.experiment import BASELINE, Experiment, SettingValue

#: Restart of a bridge until it is healthy, drained and verified: 2.5–4 s seen on a real one; twice that on small hosts.
RESTART_SECONDS = 4.0
#: ICE, DTLS and signalling of one endpoint, as part of a batch.
SETUP_SECONDS_PER_ENDPOINT = 0.012
#: Probes that find the packet rates of most hosts, and what one takes beside its own time.
USUAL_PROBES = 5
PROBE_MORE_SECONDS = 2.0
#: The sample that ends a window comes up to a second after it.
LAST_SAMPLE_SECONDS = 0.5


@dataclass(frozen=True)
class Trial:
    """One load to be held once."""

    id: str
    kind: str  #: steady | burst | profiled
    load: IntendedLoad
    duration_seconds: float
    level: int  #: index of the packet rate, ascending; burst: the level below it


@dataclass(frozen=True)
class Step:
    """One combination of settings in one block; ``values`` are the differences from the baseline."""

    block: int
    name: str
    values: Mapping[str, SettingValue]
    restart: bool
    trials: tuple[Trial, ...]

    @property
    def id(self) -> str:
        return f"b{self.block}-{self.name}"

    def main_mix(self) -> Mix:
        """The shape of most of its loads."""
        mixes = [trial.load.mix for trial in self.trials if trial.kind == "steady"] or [self.trials[0].load.mix]
        return max(mixes, key=mixes.count)

    def warm_up_load(self) -> IntendedLoad:
        """The highest but one of the step's loads: what is called oftener is compiled sooner; it does not overload."""
        main = self.main_mix()
        shapes = [trial.load for trial in self.trials if replace(trial.load.mix, burst_packets=1) == main]
        loads = sorted(shapes or [trial.load for trial in self.trials], key=lambda load: load.packet_rate_pps)
        return loads[max(0, len(loads) - 2)]


@dataclass(frozen=True)
class Plan:
    """Everything that a sweep does, in order."""

    seed: int
    packet_rates_pps: tuple[float, ...]
    steps: tuple[Step, ...]

    def trials(self) -> Iterator[tuple[Step, Trial]]:
        for step in self.steps:
            for trial in step.trials:
                yield step, trial

    @property
    def blocks(self) -> int:
        return 1 + max(step.block for step in self.steps)

    @property
    def restarts(self) -> int:
        return sum(step.restart for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "packet_rates_pps": list(self.packet_rates_pps),
            "steps": [asdict(step) | {"id": step.id} for step in self.steps],
        }


def make_plan(
    experiment: Experiment, packet_rates_pps: Sequence[float], seed: int, as_found: Collection[str] = ()
) -> Plan:
    """The plan for an experiment at the given packet rates. The same arguments give the same plan.

    The steps ``as_found`` are left out: the baseline stands for them, in profiles too (``Experiment.as_found``). The
    time that they leave goes into further blocks, unless ``[stop]`` decides on these: a figure is as certain as its
    restarts are many.
    """
    order = random.Random(seed)
    rates = tuple(sorted(packet_rates_pps))
    steps: list[Step] = []
    combinations = experiment.combinations()
    wanted = [(name, values) for name, values in combinations if name not in as_found]
    blocks = experiment.blocks
    if experiment.stop is None and len(wanted) > 1:
        blocks = blocks * len(combinations) // len(wanted)
    for block in range(blocks):
        in_block = list(wanted)
        order.shuffle(in_block)
        for name, values in in_block:
            trials = _trials(experiment, rates, f"b{block}-{name}")
            order.shuffle(trials)
            stands_for = {name, *(as_found if name == BASELINE else ())}
            trials += _profiled(experiment, rates, stands_for, name, block, blocks)
            steps.append(Step(block, name, values, True, tuple(trials)))
    return Plan(seed, rates, tuple(steps))


def _trials(experiment: Experiment, rates: Sequence[float], step_id: str) -> list[Trial]:
    section = experiment.load
    seconds = experiment.durations.trial_seconds
    trials = [
        Trial(f"{step_id}-{level}", "steady", IntendedLoad.for_packet_rate(rate, section.mix.mix()), seconds, level)
        for level, rate in enumerate(rates)
    ]
    for number, other in enumerate(section.other_mixes, 1):
        for level in _levels_of_other_mixes(len(rates)):
            load = IntendedLoad.for_packet_rate(rates[level], other.mix())
            trials.append(Trial(f"{step_id}-{level}-mix{number}", "steady", load, seconds, level))
    if section.burst is not None:
        burst = section.burst
        mix = section.mix.mix(burst.burst_packets)
        load = IntendedLoad.for_packet_rate(burst.packet_rate_pps, mix, section.max_packet_rate_pps)
        level = sum(rate < burst.packet_rate_pps for rate in rates)
        trials.append(Trial(f"{step_id}-burst", "burst", load, burst.trial_seconds or seconds, level))
    return trials


def _levels_of_other_mixes(count: int) -> list[int]:
    """Not the highest, at which a dearer shape would saturate the bridge."""
    return sorted({(count - 1) // 2, max(0, count - 2)})


def _profiled(
    experiment: Experiment, rates: Sequence[float], stands_for: set[str], step_name: str, block: int, blocks: int
) -> list[Trial]:
    """Behind the measured trials of a step, so that no profiler was in the JVM of one; in the last of the blocks."""
    section = experiment.profile
    if section is None or block < blocks - section.blocks:
        return []
    if section.steps and not stands_for & set(section.steps):
        return []
    named = {"lowest": rates[:1], "highest": rates[-1:], "all": rates}
    chosen = sorted({rate for at in section.at for rate in (named[at] if isinstance(at, str) else (at,))})
    seconds = section.slices * section.slice_seconds * (2 if section.cost else 1)
    trials = []
    for number, rate in enumerate(chosen):
        load = IntendedLoad.for_packet_rate(rate, experiment.load.mix.mix())
        level = sum(other < rate for other in rates)
        trials.append(Trial(f"b{block}-{step_name}-profile{number}", "profiled", load, seconds, level))
    return trials


def estimate_trials(plan: Plan, experiment: Experiment) -> dict[str, float]:
    """Seconds of each trial by its id, in order; a step's first trial carries its restart and warm-up."""
    durations = experiment.durations
    seconds: dict[str, float] = {}
    for step in plan.steps:
        up, mix, before = 0, None, 0.0
        if step.restart:
            up, mix = step.warm_up_load().conferences, step.warm_up_load().mix
            before = RESTART_SECONDS + durations.expected_warm_up_seconds(video=mix.video is not None)
            before += up * step.warm_up_load().mix.participants * SETUP_SECONDS_PER_ENDPOINT
        for trial in step.trials:
            same = mix is None or replace(trial.load.mix, burst_packets=mix.burst_packets) == mix
            new = abs(trial.load.conferences - up) if same else trial.load.conferences
            up, mix = trial.load.conferences, trial.load.mix
            set_up = new * trial.load.mix.participants * SETUP_SECONDS_PER_ENDPOINT
            held = durations.settle_seconds + trial.duration_seconds + LAST_SAMPLE_SECONDS
            seconds[trial.id] = before + set_up + held
            before = 0.0
    return seconds


def estimate_seconds(plan: Plan, experiment: Experiment) -> float:
    """How long a plan takes when no trial has to be extended."""
    return sum(estimate_trials(plan, experiment).values()) + RESTART_SECONDS


def estimate_probes(experiment: Experiment) -> float:
    """How long it takes to find the packet rates on the host; 0 where the experiment has them."""
    auto = experiment.load.auto
    if auto is None:
        return 0.0
    warm_up = experiment.durations.expected_warm_up_seconds(video=experiment.load.mix.video is not None)
    return warm_up + USUAL_PROBES * (auto.probe_seconds + PROBE_MORE_SECONDS)


@dataclass(frozen=True)
class PlannedTime:
    """How long a sweep takes, before anything is done. Seconds, the search for packet rates included."""

    seconds: float  #: to the end: of all blocks, or of those that the budget has room for
    blocks: int  #: of the experiment's that are done in that time
    restarts: int
    earliest_seconds: float | None  #: when it may end because every question is answered; None: not before the end


def planned_time(experiment: Experiment, plan: Plan) -> PlannedTime:
    """The time of a plan under the experiment's ``[stop]``. Raises nothing: a budget always has room for one block."""
    estimated = estimate_trials(plan, experiment)
    each, restarts = [0.0] * plan.blocks, [0] * plan.blocks
    for step in plan.steps:
        each[step.block] += sum(estimated[trial.id] for trial in step.trials)
        restarts[step.block] += step.restart
    stop, blocks = experiment.stop, plan.blocks
    if stop is not None and stop.budget_minutes is not None:
        while blocks > 1 and sum(each[:blocks]) > stop.budget_minutes * 60:
            blocks -= 1
    before = estimate_probes(experiment) + RESTART_SECONDS  # the put-back restarts as well
    earliest = before + sum(each[: stop.min_blocks]) if stop is not None and stop.min_blocks < blocks else None
    return PlannedTime(before + sum(each[:blocks]), blocks, sum(restarts[:blocks]) + 1, earliest)
