"""Profiled trials: where they stand in a plan, that no fit uses them, and a sweep with them against the lab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from jvbtune.capture.store import capture_documents
from jvbtune.errors import ConfigError
from jvbtune.fit import Limits, recommend
from jvbtune.fit.simulator import Design, SimulatedHost, simulate
from jvbtune.lab import Lab
from jvbtune.sweep.experiment import Experiment, read_experiment
from jvbtune.sweep.plan import estimate_seconds, make_plan
from jvbtune.sweep.run import sweep
from jvbtune.sweep.session import Options

FOUND = {"net.core.rmem_max": "212992"}


def _experiment(profile: dict[str, Any] | None, **changes: Any) -> Experiment:
    return read_experiment(
        {
            "name": "p",
            "blocks": 3,
            "load": {"packet_rates_pps": [4000, 8000, 16000], "max_packet_rate_pps": 20000},
            "settings": [{"name": "net.core.rmem_max", "values": [212992]}],
            "profile": profile,
            **changes,
        }
    )


def test_profiled_trials_come_last_in_each_step_of_the_last_block() -> None:
    experiment = _experiment({"at": ["lowest", "highest"]})
    plan = make_plan(experiment, (4000, 8000, 16000), 1)
    for step in plan.steps:
        kinds = [trial.kind for trial in step.trials]
        assert kinds == ["steady"] * 3 + ["profiled"] * (2 if step.block == 2 else 0)
    profiled = [trial for _, trial in plan.trials() if trial.kind == "profiled"]
    assert {trial.level for trial in profiled} == {0, 2}
    assert all(trial.duration_seconds == 120 for trial in profiled)  # 6 slices of 10 s, and as many without
    without = make_plan(_experiment(None), (4000, 8000, 16000), 1)
    assert estimate_seconds(plan, experiment) - estimate_seconds(without, experiment) > 4 * 120


def test_the_baseline_is_profiled_for_a_step_that_the_host_has_already() -> None:
    experiment = _experiment({"at": ["lowest"], "steps": ["net.core.rmem_max=212992"]})
    for as_found, profiled in (((), "net.core.rmem_max=212992"), (experiment.as_found(FOUND), "baseline")):
        plan = make_plan(experiment, (4000, 8000, 16000), 1, as_found)
        assert {step.name for step, trial in plan.trials() if trial.kind == "profiled"} == {profiled}


def test_profiles_leave_the_order_of_the_measured_trials_as_it_was() -> None:
    rates = (4000, 8000, 16000)
    with_profiles = make_plan(_experiment({"at": ["all", 12000]}), rates, 5)
    measured = [trial.id for _, trial in with_profiles.trials() if trial.kind != "profiled"]
    assert measured == [trial.id for _, trial in make_plan(_experiment(None), rates, 5).trials()]
    assert len([1 for _, trial in with_profiles.trials() if trial.kind == "profiled"]) == 2 * 4


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ({"at": ["middle"]}, "at"),
        ({"at": [30000]}, "above max_packet_rate_pps"),
        ({"blocks": 9}, "more than blocks"),
        ({"engine": "dtrace"}, "engine"),
        ({"slices": 1}, "slices"),
    ],
)
def test_a_section_that_makes_no_sense_is_refused(profile: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        _experiment(profile)


def test_the_perf_sysctls_cannot_be_swept() -> None:
    with pytest.raises(ConfigError, match="unknown setting 'kernel"):
        _experiment(None, settings=[{"name": "kernel.kptr_restrict", "values": [0]}])


def test_no_fit_uses_a_profiled_trial() -> None:
    rates = tuple(float(rate) for rate in range(10_000, 90_000, 10_000))
    rows = simulate(SimulatedHost(), Design(rates, blocks=3), seed=3)
    slow = rows.filter(rows["block"] == 2).with_columns(
        pl.lit("profiled").alias("kind"), (pl.col("cpu_cores") * 2).alias("cpu_cores"), pl.col("trial") + "-profile0"
    )
    (alone,), (together,) = (recommend(frame, Limits()) for frame in (rows, pl.concat([rows, slow])))
    assert together.max_packet_rate_pps == alone.max_packet_rate_pps
    assert together.interval_pps == alone.interval_pps


@pytest.mark.measured
@pytest.mark.lab
@pytest.mark.jvm
def test_a_sweep_profiles_its_loads_and_keeps_them_apart(lab: Lab, tmp_path: Path) -> None:
    experiment = _experiment(
        {"at": ["lowest", "highest"], "slices": 3, "slice_seconds": 1},
        blocks=1,
        load={"packet_rates_pps": [3000, 9000], "mix": {"participants": 10, "senders": 6}},
        settings=[],
        durations={"warm_up_seconds": 2, "settle_seconds": 1, "trial_seconds": 2, "extend_seconds": 0},
    )
    told: list[str] = []
    run = sweep(lab.entry(), experiment, Options(tmp_path, "tests"), lambda event, data: told.append(event))
    rows = run.trials()
    profiled = rows.filter(rows["kind"] == "profiled")
    assert profiled["valid"].to_list() == [True, True]
    assert told.count("captured") == 2
    captures = capture_documents(run.path)
    assert sorted(one["intended_pps"] for one in captures) == sorted(profiled["intended_pps"].to_list())
    for one, row in zip(captures, profiled.iter_rows(named=True), strict=True):
        assert (one["run_id"], one["step"], one["trial"]) == (run.id, "baseline", row["trial"])
        packets = [piece["packets"] for piece in one["slices"]]
        rate = sum(packets) / sum(piece["seconds"] for piece in one["slices"])
        assert rate == pytest.approx(row["bridge_pps"])
        assert rate == pytest.approx(row["intended_pps"], rel=0.15)
        assert one["cost"]["per"] == "packet"
        assert len(one["off"]) == 3
        assert sum(piece["samples"] for piece in one["slices"]) > 0
    low, high = (sum(piece["samples"] for piece in one["slices"]) for one in captures)
    assert high > low
