"""A simulated run is read by everything that reads a measured one, and its rows have the truth they claim."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from jvbtune.cli.explain import command as explain
from jvbtune.cli.simulate import command
from jvbtune.fit import Limits, recommend
from jvbtune.fit.simulator import Design, Disturbance, SimulatedHost, simulate
from jvbtune.fit.simulator.host import many_slow_streams
from jvbtune.fit.simulator.samples import SampleNoise, simulate_samples
from jvbtune.store import open_run
from jvbtune.sweep.window import per_second, summarise
from jvbtune.trials.steady import assess

LADDERS = json.loads((Path(__file__).parent / "ladders.json").read_text())


def test_the_truth_meets_its_limits_exactly() -> None:
    host, limits = SimulatedHost(), Limits()
    truth = host.truth(limits)
    assert host.cpu_cores(np.array([truth["cpu"]]))[0] == pytest.approx(0.8)
    assert host.delay_p99_ms(np.array([truth["delay"]]))[0] == pytest.approx(50, rel=1e-3)
    assert host.loss_ratio(np.array([truth["loss"]]))[0] == pytest.approx(1e-4, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "host", "within"),
    [
        ("one core, 4 senders with ever more packets", SimulatedHost(), 0.10),
        ("one core, ever more conferences of 50 pps a stream", many_slow_streams(), 0.20),
    ],
)
def test_shapes_are_those_of_a_real_bridge(name: str, host: SimulatedHost, within: float) -> None:
    rows = np.array([row[:2] for row in LADDERS[name] if row[1] < 0.95])
    assert host.cpu_cores(rows[:, 0]) == pytest.approx(rows[:, 1], rel=within)


def test_samples_add_up_to_their_row_and_tell_a_warm_up() -> None:
    row = simulate(SimulatedHost(), Design((30_000.0,), 1), seed=1).row(0, named=True)
    quiet = simulate_samples(row, SampleNoise(second_sd=0.0), started_unix=0.0, seed=1)
    found = summarise(quiet)
    assert found["cpu_cores"] == pytest.approx(row["cpu_cores"], rel=1e-3)
    assert found["rx_thread_ratio"] == pytest.approx(row["rx_thread_ratio"], rel=1e-3)
    assert all(b.t_unix - a.t_unix == 1 for a, b in pairwise(quiet))
    cold = simulate_samples(row, SampleNoise(warm_up_ratio=0.8), started_unix=0.0, seed=1)
    assert assess(per_second(quiet)).steady
    assert not assess(per_second(cold)).steady


def test_a_generator_that_saturates_and_neighbours_make_trials_invalid() -> None:
    noise = Disturbance(generator_capacity_pps=30_000, neighbour_ratio=0.3)
    trials = simulate(SimulatedHost(), Design((10_000.0, 20_000.0, 40_000.0), 6), noise, seed=2)
    reasons = [reason for because in trials["invalid_because"] for reason in because]
    assert any("generator was the limit" in reason for reason in reasons)
    assert any("steal" in reason for reason in reasons)
    assert trials.filter(trials["generator_limited"])["valid"].any() is False


def test_a_run_that_is_still_warming_up_has_no_steady_trial_and_says_so(tmp_path: Path) -> None:
    for warm_up in ("0", "1.5"):
        CliRunner().invoke(command, ["--out", str(tmp_path), "--seed", "4", "--seconds", "60", "--warm-up", warm_up])
        trials = open_run("latest", tmp_path).trials()
        unsteady = [any("unsteady" in because for because in row) for row in trials["invalid_because"].to_list()]
        assert (sum(unsteady) > 0.9 * len(unsteady)) == (warm_up != "0")


def test_a_run_is_explained_from_its_trials_to_its_configuration(tmp_path: Path) -> None:
    CliRunner().invoke(command, ["--out", str(tmp_path), "--seed", "4", "--buffers", "--seconds", "5"])
    answer = CliRunner().invoke(explain, ["latest", "--runs-dir", str(tmp_path)])
    for words in (
        "cpu at 0.8",
        "load-threshold",
        "Do not lower",
        "net.core.rmem_max: worse",
        "between restarts",
    ):
        assert words in answer.stdout


def test_a_run_is_written_read_and_fitted_and_a_seed_says_it_all(tmp_path: Path) -> None:
    options = ["--out", str(tmp_path), "--blocks", "4", "--seconds", "5", "--seed", "3", "--buffers", "--json"]
    first = json.loads(CliRunner().invoke(command, options).stdout)
    second = json.loads(CliRunner().invoke(command, options).stdout)
    runs = [open_run(answer["path"]) for answer in (first, second)]
    assert runs[0].status() == "done"
    drop = ["run_id", "started_unix"]
    assert runs[0].trials().drop(drop).equals(runs[1].trials().drop(drop))
    trials = runs[0].trials()
    assert runs[0].samples(trials["trial"][0]).height == 6
    (found,) = recommend(trials)
    assert found.interval_pps is not None
    assert found.interval_pps[0] * 0.9 < first["truth_pps"]["cpu"] < found.interval_pps[1] * 1.1


def test_a_backlog_that_is_too_short_drops_bursts_before_any_socket() -> None:
    steps = {"baseline": {}, "short": {"net.core.netdev_max_backlog": 100}}
    trials = simulate(SimulatedHost(), Design((10_000.0,), 2, steps, burst_packets=1600), seed=3)
    burst = trials.filter(trials["kind"] == "burst")
    drops = {step: int(burst.filter(burst["step"] == step)["backlog_drops"].sum()) for step in steps}
    assert drops["baseline"] == 0
    assert drops["short"] > 100


def test_the_command_s_mix_and_clock_are_in_the_run(tmp_path: Path) -> None:
    options = ["--in-share", "0.5", "--relay-share", "0.1", "--clock-offset", "3", "--seconds", "5"]
    CliRunner().invoke(command, ["--out", str(tmp_path), *options])
    run = open_run("latest", tmp_path)
    row = run.trials().row(0, named=True)
    assert row["in_pps"] / row["bridge_pps"] == pytest.approx(0.5)
    assert row["relay_pps"] / row["bridge_pps"] == pytest.approx(0.1)
    assert run.samples(row["trial"])["t_unix"][0] - row["started_unix"] == pytest.approx(3, abs=0.01)
