"""A sweep of several hosts under real load: a lab's JVM and a host that is gone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jvbtune.fleet.store import open_fleet
from jvbtune.lab import Lab
from jvbtune.result import result_of
from jvbtune.store import list_runs

pytestmark = [pytest.mark.lab, pytest.mark.kernel, pytest.mark.measured]

EXPERIMENT = """
name = "real"
blocks = 1
[load]
packet_rates_pps = [1500, 3000]
[durations]
warm_up_seconds = 0
max_warm_up_seconds = 0
settle_seconds = 0.5
trial_seconds = 3
extend_seconds = 0
[[settings]]
name = "net.ipv4.udp_rmem_min"
values = [8192]
"""


def test_a_lab_is_swept_though_another_host_is_gone(lab: Lab, sysctl: Callable[[str], str], tmp_path: Path) -> None:
    baseline = sysctl("net.ipv4.udp_rmem_min")
    inventory = _with_a_host_that_is_gone(lab, tmp_path)
    (tmp_path / "real.toml").write_text(EXPERIMENT)
    argv = [sys.executable, "-m", "jvbtune", "sweep", "--host", "gone", "--host", lab.name, "--json"]
    argv += ["--inventory", str(inventory), "--runs-dir", str(tmp_path), str(tmp_path / "real.toml")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 4, done.stdout + done.stderr
    found = {one["host"]: one for one in json.loads(done.stdout)["hosts"]}
    assert found["gone"]["state"] == "failed"
    assert "cannot connect" in found["gone"]["reason"]
    assert found[lab.name]["state"] == "no recommendation"  # two loads are too few for one
    [run] = list_runs(tmp_path)
    assert (run.id, run.status()) == (found[lab.name]["run"], "done")
    trials = run.trials()
    assert trials.height == 4
    for row in trials.iter_rows(named=True):
        assert row["offered_pps"] == pytest.approx(row["intended_pps"], rel=0.05)
        # whatever else this machine does, a bridge that is asked for so little forwards it
        assert row["bridge_pps"] == pytest.approx(row["offered_pps"], rel=0.05) or not row["valid"]
    assert run.events("reverted")[-1]["report"]["failed"] == []
    assert open_fleet("latest", tmp_path).outcomes()["gone"].exit_code == 1
    assert sysctl("net.ipv4.udp_rmem_min") == baseline


def test_a_capacity_search_of_two_hosts_and_its_resume(lab: Lab, sysctl: Callable[[str], str], tmp_path: Path) -> None:
    """``--resume`` repeats only the host that failed, by the options that the fleet run keeps."""
    options = ("--restarts", "1", "--minutes", "1", "--width", "0.5", "--trial-seconds", "2", "--cpu", "0.5")
    options += ("--settle-seconds", "0.5", "--warm-up-seconds", "3", "--max-warm-up-seconds", "20")
    options += ("--participants", "10", "--senders", "6", "--start-pps", "3000", "--max-pps", "20000")
    inventory = ("--inventory", str(_with_a_host_that_is_gone(lab, tmp_path)), "--runs-dir", str(tmp_path), "--json")
    argv = [sys.executable, "-m", "jvbtune", "capacity"]

    def search(*more: str) -> dict[str, dict[str, Any]]:
        done = subprocess.run([*argv, *more, *inventory], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 4, done.stdout + done.stderr
        return {one["host"]: one for one in json.loads(done.stdout)["hosts"]}

    first = search("--host", "gone", "--host", lab.name, *options)
    assert first["gone"]["state"] == "failed"
    assert first[lab.name]["state"] in ("done", "no recommendation")
    [run] = list_runs(tmp_path)
    assert (run.host, run.status()) == (lab.name, "done")
    assert result_of(run).search is not None
    again = search("--resume", "latest")
    assert again["gone"]["state"] == "failed"
    assert again[lab.name] == first[lab.name]
    assert [one.id for one in list_runs(tmp_path)] == [run.id], "the host that was done was searched again"


def _with_a_host_that_is_gone(lab: Lab, directory: Path) -> Path:
    inventory = directory / "jvbtune.toml"
    text = lab.inventory.read_text().replace('"ssh_config"', f'"{lab.ssh_config}"')
    inventory.write_text(
        f'{text}\n[hosts.gone]\nssh = "127.255.255.254"\n[hosts.gone.bridge]\nmedia_address = "127.0.0.1"\n'
    )
    return inventory
