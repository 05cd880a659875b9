"""The main job on the lab, from the command line: a short sweep, what it stores and tells; a kill and a resume."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hocon
import pytest

from jvbtune.lab import Lab
from jvbtune.store import list_runs, open_run
from tests.buffers import SMALL, STEPS, SWEPT, granted

#: A bridge with the JVM's default compilers is waited for after each restart.
BUDGET = Path("/proc/sys/net/core/netdev_budget")

pytestmark = [pytest.mark.lab, pytest.mark.kernel, pytest.mark.timeout(600), pytest.mark.measured]

EXPERIMENT = """
name = "short"
blocks = 2
seed = 7
[load]
packet_rates_pps = [6000, 18000, 36000]
[load.mix]
participants = 10
senders = 6
[load.burst]
packet_rate_pps = 24000
burst_packets = 32
[durations]
warm_up_seconds = 3
settle_seconds = 0.5
trial_seconds = 3
extend_seconds = 0
[limits]
cpu_ratio = 0.4
[[settings]]
name = "net.core.rmem_max"
values = [SWEPT]
""".replace("SWEPT", str(SWEPT))


def _jvbtune(*arguments: str, timeout: float = 540) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "jvbtune", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def swept(lab: Lab, runs: Path) -> subprocess.CompletedProcess[str]:
    experiment = runs / "short.toml"
    experiment.write_text(EXPERIMENT)
    before = Path("/proc/sys/net/core/rmem_max").read_text()
    done = _jvbtune("sweep", "--host", lab.name, str(experiment), "--runs-dir", str(runs), "--json")
    assert Path("/proc/sys/net/core/rmem_max").read_text() == before
    assert not Path("/var/lib/jvbtune/journal.json").exists()
    return done


@pytest.fixture(scope="module")
def shown(swept: subprocess.CompletedProcess[str], runs: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(_jvbtune("show", "latest", "--json", "--runs-dir", str(runs)).stdout)
    return answer


def test_it_ends_with_what_show_shows(swept: subprocess.CompletedProcess[str], shown: dict[str, Any]) -> None:
    assert swept.returncode in (0, 5), swept.stderr
    assert json.loads(swept.stdout)["trials"] == shown["trials"]
    assert shown["status"] == "done"
    assert shown["schema_version"] == 2
    assert (shown["recommendation"] is None) == (swept.returncode == 5)
    if shown["recommendation"] is not None:
        low, high = shown["recommendation"]["interval_pps"]
        assert low <= shown["recommendation"]["max_packet_rate_pps"] <= high + 250
        assert shown["recommendation"]["binding_limit"]
    else:
        assert shown["reasons"]


def test_each_step_had_the_buffer_that_it_says(shown: dict[str, Any]) -> None:
    assert {(trial["step"], trial["socket_rcvbuf_bytes"]) for trial in shown["trials"]} == set(STEPS.items())


def test_bursts_overflow_the_small_buffer_and_no_other(shown: dict[str, Any]) -> None:
    bursts = [trial for trial in shown["trials"] if trial["kind"] == "burst"]
    assert len(bursts) == 4
    for trial in bursts:
        small = STEPS[trial["step"]] == granted(SMALL)
        assert (trial["socket_drops"] > 0) == small
        if trial["valid"]:
            assert (trial["loss_ratio"] > 0) == small
        else:  # what else was lost, others on this machine may have caused
            assert trial["invalid_because"]


def test_generator_and_bridge_count_the_same_in_steady_trials(shown: dict[str, Any]) -> None:
    steady = [trial for trial in shown["trials"] if trial["kind"] == "steady"]
    assert len(steady) == 12
    for trial in steady:
        if trial["valid"]:
            assert trial["bridge_pps"] == pytest.approx(trial["offered_pps"], rel=0.02)
        else:
            assert trial["invalid_because"]


def test_the_run_directory_has_the_raw_data(shown: dict[str, Any], runs: Path) -> None:
    run = open_run("latest", runs)
    for trial in run.trials()["trial"]:
        samples = run.samples(trial)
        assert samples.height >= 3
        assert {"bridge.cpu_user_s", "agent_cpu_seconds", "udp.RcvbufErrors", "bridge.rx_thread_cpu_s"} <= set(
            samples.columns
        )
    before, after = run.provenance("before"), run.provenance("after")
    assert before["sysctl"]["net.core.rmem_max"] == after["sysctl"]["net.core.rmem_max"]
    assert before["jvb_version"].startswith("JVB ")
    assert (run.path / "report.html").stat().st_size > 50_000
    names = [event["event"] for event in run.events()]
    assert names[0] == "run_started"
    assert names[-1] == "run_finished"
    assert "reverted" in names


def test_the_report_is_whole_and_offline(shown: dict[str, Any], runs: Path) -> None:
    text = (open_run("latest", runs).path / "report.html").read_text()
    assert text.count("<svg") >= 4
    assert "net.core.rmem_max" in text
    assert 'http-equiv="refresh"' not in text
    assert "Content-Security-Policy" in text
    assert 'src="http' not in text
    assert "These sysctls differ after the run" not in text


def test_the_sysctl_export_is_accepted_by_the_kernel(shown: dict[str, Any], runs: Path, tmp_path: Path) -> None:
    done = _jvbtune("export", "latest", "--format", "sysctl", "--runs-dir", str(runs), "-o", str(tmp_path))
    if shown["recommendation"] is None:
        assert done.returncode == 5
        return
    assert done.returncode == 0, done.stderr
    path = tmp_path / "60-jvbtune.conf"
    assert "To undo:" in path.read_text()
    assert "net.core.rmem_max" in path.read_text()
    assert subprocess.run(["sysctl", "--dry-run", "-p", str(path)], capture_output=True, check=False).returncode == 0


def test_the_hocon_export_parses_and_says_which_measurement(shown: dict[str, Any], runs: Path) -> None:
    done = _jvbtune("export", "latest", "--format", "jvb-conf", "--runs-dir", str(runs))
    if shown["recommendation"] is None:
        assert done.returncode == 5
        return
    parsed = hocon.parse(done.stdout)
    section = parsed.get_config("videobridge.load-management.load-measurements")
    assert section["load-measurement"] == "packet-rate"
    assert section["packet-rate.recovery-threshold"] == int(section["packet-rate.load-threshold"] * 0.8)


def test_runs_are_listed(shown: dict[str, Any], runs: Path) -> None:
    listed = json.loads(_jvbtune("runs", "--json", "--runs-dir", str(runs)).stdout)["runs"]
    assert [(run["experiment"], run["status"]) for run in listed] == [("short", "done")]


def _finished_trials(runs: Path) -> list[str]:
    return [event["row"]["trial"] for run in list_runs(runs) for event in run.finished_trials()]


def test_a_killed_sweep_is_resumed(
    lab: Lab, tmp_path: Path, sysctl: Callable[[str], str], swept: subprocess.CompletedProcess[str]
) -> None:
    experiment = tmp_path / "two.toml"
    experiment.write_text(
        'name = "two"\nblocks = 1\n[load]\npacket_rates_pps = [3000, 6000, 9000]\n'
        "[durations]\nwarm_up_seconds = 0\nsettle_seconds = 0.5\ntrial_seconds = 2\nextend_seconds = 0\n"
        '[[settings]]\nname = "net.ipv4.udp_rmem_min"\nvalues = [8192]\n'
    )
    argv = [sys.executable, "-m", "jvbtune", "sweep", "--host", lab.name, str(experiment), "--runs-dir", str(tmp_path)]
    deadline = time.monotonic() + 60
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as killed:
        try:
            # The journal's line is what makes a trial finished: samples are on the disk a moment before it.
            while not _finished_trials(tmp_path):
                assert time.monotonic() < deadline
                assert killed.poll() is None
                time.sleep(0.1)
        finally:
            killed.kill()
    run = open_run("latest", tmp_path)
    assert run.status() == "interrupted"
    finished = _finished_trials(tmp_path)
    assert 1 <= len(finished) < 6
    while Path("/var/lib/jvbtune/journal.json").exists():
        assert time.monotonic() < deadline + 40
        time.sleep(0.1)
    resume = ("sweep", "--host", lab.name, "--resume", run.id[:15], "--runs-dir", str(tmp_path))
    before = BUDGET.read_text()
    BUDGET.write_text("301")  # somebody tuned the host in between
    try:
        refused = _jvbtune(*resume)
    finally:
        BUDGET.write_text(before)
    assert refused.returncode == 2
    assert f"is not as it was when run {run.id} began: net.core.netdev_budget {before.strip()}, now 301" in (
        refused.stderr
    )
    assert _finished_trials(tmp_path) == finished
    done = _jvbtune(*resume)
    assert done.returncode in (0, 5), done.stderr
    rows = [event["row"]["trial"] for event in open_run("latest", tmp_path).events("trial_finished")]
    assert rows[: len(finished)] == finished
    assert len(rows) == len(set(rows)) == 6
    assert open_run("latest", tmp_path).status() == "done"


def test_a_dry_run_touches_nothing(tmp_path: Path) -> None:
    experiment = tmp_path / "short.toml"
    experiment.write_text(EXPERIMENT)
    done = _jvbtune("sweep", "--host", "127.0.0.1", str(experiment), "--dry-run", "--json")
    assert done.returncode == 1, done.stderr  # no bridge is there
    plan = json.loads(done.stdout)
    assert len(plan["steps"]) == 4
    assert plan["estimated_seconds"] > 30
    again = json.loads(_jvbtune("sweep", "--host", "127.0.0.1", str(experiment), "--dry-run", "--json").stdout)
    assert again["steps"] == plan["steps"]  # the seed is in the file
