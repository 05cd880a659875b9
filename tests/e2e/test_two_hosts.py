"""Two ssh hosts of one machine swept at the same time: neither disturbs the other's record."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jvbtune.lab import Lab
from jvbtune.store import list_runs

pytestmark = [pytest.mark.lab, pytest.mark.kernel]

NAME = "net.ipv4.udp_rmem_min"
EXPERIMENT = f"""
name = "NAME"
blocks = 1
[load]
packet_rates_pps = [1500, 3000, 4500]
[durations]
warm_up_seconds = 0
settle_seconds = 0.5
trial_seconds = 3
extend_seconds = 0
[[settings]]
name = "{NAME}"
values = [VALUE]
"""


def _start(lab: Lab, value: int, directory: Path) -> subprocess.Popen[str]:
    experiment = directory / f"{lab.name}.toml"
    experiment.write_text(EXPERIMENT.replace("NAME", lab.name, 1).replace("VALUE", str(value)))
    argv = [sys.executable, "-m", "jvbtune", "sweep", "--host", lab.name, "--inventory", str(lab.inventory)]
    return subprocess.Popen(
        [*argv, "--runs-dir", str(directory / lab.name), str(experiment)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_hosts_are_swept_at_once(lab: Lab, sysctl: Callable[[str], str], tmp_path: Path) -> None:
    baseline = sysctl(NAME)
    with Lab.up("beside", own_namespace=True) as beside:
        with _start(lab, 8192, tmp_path) as first_sweep, _start(beside, 12288, tmp_path) as other_sweep:
            errors = {sweep: sweep.communicate(timeout=200)[1] for sweep in (first_sweep, other_sweep)}
        for sweep, error in errors.items():
            assert sweep.returncode in (0, 5), error
        values = {lab.name: "8192", beside.name: "12288"}
        sockets = {lab.name: lab.media_port, beside.name: beside.media_port}
        spans = []
        for name, value in values.items():
            [run] = list_runs(tmp_path / name)
            assert run.status() == "done"
            steps = {event["step"].removeprefix("b0-"): event["values"][NAME] for event in run.events("step_verified")}
            assert steps == {"baseline": baseline, f"{NAME}={value}": value}
            assert run.events("reverted")[-1]["report"]["foreign"] == {}
            trials = run.trials()
            assert trials.height == 6
            for row in trials.iter_rows(named=True):
                assert row["loss_ratio"] < 0.2, "whatever else this machine does, each bridge got its own load"
                assert row["bridge_pps"] == pytest.approx(row["offered_pps"], rel=0.02)
                ports = {v for c, v in _last(run.samples(row["trial"])).items() if c.endswith(".port")}
                assert ports == {sockets[name]}
            spans.append((trials["started_unix"].min(), trials["started_unix"].max()))
        (first, last), (other_first, other_last) = spans
        assert max(first, other_first) < min(last, other_last), "they did not run at the same time"
    assert sysctl(NAME) == baseline


def _last(samples: object) -> dict[str, object]:
    return samples.row(-1, named=True)  # type: ignore[attr-defined,no-any-return]
