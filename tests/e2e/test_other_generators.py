"""Sweeps and searches whose load comes from several hosts, or from a command of the user's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jvbtune.lab import Lab
from jvbtune.store import open_run
from tests.e2e.hosts import jvbtune
from tests.load.loadhosts import LoadHost, inventory, load_hosts, within

pytestmark = [pytest.mark.lab, pytest.mark.kernel, pytest.mark.measured]

EXPERIMENT = """
name = "others"
blocks = 1
seed = 7
settings = []
[load]
packet_rates_pps = [3000, 6000]
[load.mix]
participants = 10
senders = 6
[durations]
warm_up_seconds = 0
settle_seconds = 0.5
trial_seconds = 3
extend_seconds = 0
"""
SEARCH = (
    *("--restarts", "1", "--minutes", "1", "--width", "0.3", "--cpu", "0.3", "--trial-seconds", "3"),
    *("--settle-seconds", "0.5", "--warm-up-seconds", "1", "--max-warm-up-seconds", "10"),
    *("--participants", "10", "--senders", "6", "--start-pps", "3000", "--max-pps", "6000"),
)


def test_a_sweep_whose_load_comes_from_other_hosts(lab: Lab, tmp_path: Path) -> None:
    experiment = tmp_path / "others.toml"
    experiment.write_text(EXPERIMENT)
    with load_hosts(lab, tmp_path / "load-hosts") as hosts:
        path = inventory(lab, tmp_path / "jvbtune.toml", hosts)
        where = ("--host", lab.name, "--inventory", str(path), "--runs-dir", str(tmp_path / "runs"))
        done = jvbtune("sweep", *where, str(experiment), "--json")
    assert done.returncode in (0, 5), done.stderr
    rows = open_run("latest", tmp_path / "runs").trials()
    assert rows.height >= 2
    assert rows["offered_pps"].to_list() == pytest.approx(rows["intended_pps"].to_list(), rel=0.005)
    assert rows["bridge_pps"].to_list() == pytest.approx(rows["offered_pps"].to_list(), rel=0.05)
    assert rows["loss_ratio"].max() == 0
    assert not rows["generator_limited"].any()


def test_a_search_whose_load_a_command_makes(lab: Lab, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.load.command_tool", lab.network.generator_netns]
    path = tmp_path / "jvbtune.toml"
    path.write_text(lab.inventory.read_text() + f"command = {json.dumps(command)}\n")
    where = ("--host", lab.name, "--inventory", str(path), "--runs-dir", str(tmp_path / "runs"))
    done = jvbtune("capacity", *where, *SEARCH, "--json")
    assert done.returncode in (0, 5), done.stderr
    rows = open_run("latest", tmp_path / "runs").trials()
    assert rows.height > 0
    assert rows["bridge_pps"].to_list() == pytest.approx(rows["offered_pps"].to_list(), rel=0.05)
    assert not rows["generator_limited"].any()


@contextmanager
def sweep_that_loads(lab: Lab, directory: Path) -> Iterator[tuple[subprocess.Popen[str], list[LoadHost], list[str]]]:
    """A sweep whose trials are long, as soon as its hosts send; the hosts, and where it is."""
    experiment = directory / "others.toml"
    experiment.write_text(EXPERIMENT.replace("trial_seconds = 3", "trial_seconds = 8"))
    with load_hosts(lab, directory / "load-hosts") as hosts:
        path = inventory(lab, directory / "jvbtune.toml", hosts)
        where = ["--host", lab.name, "--inventory", str(path), "--runs-dir", str(directory / "runs")]
        argv = [sys.executable, "-m", "jvbtune", "sweep", *where, str(experiment)]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as sweep:
            assert within(60, lambda: all(host.processes() for host in hosts))
            assert within(30, lambda: hosts[1].sends())
            yield sweep, hosts, where


def test_a_sweep_goes_on_if_a_worker_is_lost(lab: Lab, tmp_path: Path) -> None:
    with sweep_that_loads(lab, tmp_path) as (sweep, hosts, _):
        os.kill(hosts[1].processes()[0], signal.SIGKILL)
        _, said = sweep.communicate(timeout=120)
    assert sweep.returncode in (0, 5), said
    assert "load-2: the generator's worker is gone, so this load does not count: " in said
    run = open_run("latest", tmp_path / "runs")
    assert len(run.events("generator_lost")) == 1
    assert len(run.events("generator")) == 2
    rows = run.trials()
    assert rows.height >= 2
    assert rows["valid"].all()
    assert rows["offered_pps"].to_list() == pytest.approx(rows["intended_pps"].to_list(), rel=0.005)
    assert rows["loss_ratio"].max() == 0


def test_a_worker_that_cannot_be_had_again_ends_the_sweep_and_it_can_be_resumed(lab: Lab, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with sweep_that_loads(lab, tmp_path) as (sweep, hosts, where):
        with hosts[1].unreachable():
            os.kill(hosts[1].processes()[0], signal.SIGKILL)
            _, said = sweep.communicate(timeout=150)
        assert sweep.returncode == 1
        assert "load-2: the generator's worker is gone" in said
        run = open_run("latest", runs)
        (failed,) = run.events("trial_failed")
        assert failed["because"].startswith("load-2: the generator's worker is gone, so this load does not count: ")
        assert failed["trial"] not in [event["row"]["trial"] for event in run.finished_trials()]
        assert run.events("reverted")
        done = jvbtune("sweep", *where, "--resume", run.id)
        assert done.returncode in (0, 5), done.stderr
        assert open_run("latest", runs).trials().height >= 2
