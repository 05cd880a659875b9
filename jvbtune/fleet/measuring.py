"""What measures a host, in a process of its own: a sweep, a search. Each derives and stores its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jvbtune.capacity.run import Wanted, find_capacity
from jvbtune.errors import NoRecommendation
from jvbtune.fleet.nursery import Message, Tell
from jvbtune.fleet.phases import Phases
from jvbtune.inventory import HostEntry
from jvbtune.report import write_report
from jvbtune.result.model import RunResult
from jvbtune.result.stored import result_of
from jvbtune.store import Run
from jvbtune.sweep.experiment import Experiment
from jvbtune.sweep.run import sweep
from jvbtune.sweep.session import Options


@dataclass(frozen=True)
class Sweep:
    """``jvbtune sweep``. ``options.resume`` goes on with a run of this host."""

    entry: HostEntry
    experiment: Experiment
    options: Options

    def __call__(self, tell: Tell) -> Message:
        observe = Phases(tell)
        return _measured(lambda: sweep(self.entry, self.experiment, self.options, observe), tell)


@dataclass(frozen=True)
class Capacity:
    """``jvbtune capacity``."""

    entry: HostEntry
    wanted: Wanted
    options: Options

    def __call__(self, tell: Tell) -> Message:
        observe = Phases(tell, budget_seconds=60 * self.wanted.minutes)
        return _measured(lambda: find_capacity(self.entry, self.wanted, self.options, observe), tell)


@dataclass(frozen=True)
class Derive:
    """The result of a run that was measured to its end. No host is touched."""

    run: Run

    def __call__(self, tell: Tell) -> Message:
        tell("run", run=self.run.id)
        return _measured(lambda: self.run, tell)


def _measured(measure: Callable[[], Run], tell: Tell) -> Message:
    """The result of a run, derived and stored, and its report."""
    run = measure()
    tell("phase", phase="fitting")
    result = result_of(run, refit=True)
    write_report(run, result)
    return {
        "exit_code": 0 if result.recommendation is not None else NoRecommendation.exit_code,
        "reason": found_text(result),
        "advice": None if result.recommendation is not None else f"See: jvbtune show {run.id}",
        "data": figures(result),
    }


def figures(result: RunResult) -> Mapping[str, Any]:
    """What a fleet's table has of a result."""
    found = result.recommendation
    if found is None:
        return {"max_packet_rate_pps": None, "interval_pps": None, "load_threshold_pps": None}
    return {
        "max_packet_rate_pps": found.max_packet_rate_pps,
        "interval_pps": list(found.interval_pps),
        "load_threshold_pps": found.load_threshold_pps,
    }


def found_text(result: RunResult) -> str:
    found = result.recommendation
    if found is None:
        return result.reasons[0].text if result.reasons else "no recommendation"
    low, high = found.interval_pps
    ends = "no upper end" if high is None else f"{low or 0:.0f} to {high:.0f}"
    return f"{found.max_packet_rate_pps:.0f} pps (95 % interval {ends})"
