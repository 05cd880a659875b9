"""What a sweep tells of the time left: a promise that a user plans by."""

from __future__ import annotations

from typing import Any

import pytest

from jvbtune.cli.progress import Progress
from jvbtune.sweep import pace as module
from jvbtune.sweep.experiment import Experiment
from jvbtune.sweep.plan import Plan, estimate_seconds, estimate_trials, make_plan
from jvbtune.toml import parse_toml

TEXT = """\
name = "x"
blocks = 2
[load]
packet_rates_pps = [1000, 2000]
[durations]
trial_seconds = 20
[[settings]]
name = "net.core.rmem_max"
values = [212992]
"""


@pytest.fixture
def planned() -> tuple[Plan, dict[str, float]]:
    experiment = parse_toml(TEXT, Experiment, file="x.toml")
    plan = make_plan(experiment, (1000.0, 2000.0), 1)
    return plan, estimate_trials(plan, experiment)


def _row(trial: str, kind: str = "steady") -> dict[str, Any]:
    return {"trial": trial, "kind": kind, "valid": True, "invalid_because": [], "offered_pps": 1000.0}


def test_the_estimate_is_the_sum_of_its_trials(planned: tuple[Plan, dict[str, float]]) -> None:
    plan, seconds = planned
    experiment = parse_toml(TEXT, Experiment, file="x.toml")
    assert list(seconds) == [trial.id for _, trial in plan.trials()]
    assert 0 < estimate_seconds(plan, experiment) - sum(seconds.values()) < 10
    first = plan.steps[0].trials
    assert seconds[first[0].id] > seconds[first[1].id] + experiment.durations.warm_up_seconds - 1


def test_probes_are_none_of_the_trials_that_are_left(
    planned: tuple[Plan, dict[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    plan, seconds = planned
    progress = Progress()
    progress("trial_finished", _row("probe-0", "probe"))
    progress("planned", {"plan": plan, "seconds": seconds})
    said = capsys.readouterr().err
    assert "8 trials, about" in said
    assert "left" not in said


def test_the_time_left_follows_the_pace_and_ends_with_the_last_trial(
    planned: tuple[Plan, dict[str, float]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, seconds = planned
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    progress = Progress()
    progress("planned", {"plan": plan, "seconds": seconds})
    left = sum(seconds.values())
    for id, one in seconds.items():
        now += 2 * one  # a host half as fast as was thought
        left -= one
        progress("trial_finished", _row(id))
        said = capsys.readouterr().err.rpartition("left ")[2].split()
        told = float(said[0]) * (60 if said[1] == "min" else 1)
        done = sum(seconds.values()) - left
        assert told == pytest.approx(left * (2 if done >= module.PACE_SECONDS else 1), abs=4)
    assert told == 0
