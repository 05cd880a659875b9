"""``jvbtune check``: everything that a sweep would refuse, in one line each, with nothing touched."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jvbtune.lab import Lab
from tests.agent.fake_bridge import FakeBridge

pytestmark = [pytest.mark.lab, pytest.mark.kernel]

QUICK = Path(__file__).parents[2] / "experiments" / "udp-buffers-quick.toml"


def _check(inventory: Path, host: str, *more: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "jvbtune", "check", "--host", host, str(QUICK), "--inventory", str(inventory), *more]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def _findings(inventory: Path, host: str) -> dict[str, dict[str, Any]]:
    done = _check(inventory, host, "--json")
    assert "Traceback" not in done.stderr
    return {finding["what"]: finding for finding in json.loads(done.stdout)["findings"]}


def _changed(lab: Lab, directory: Path, old: str, new: str) -> Path:
    """The lab's inventory with something wrong in it."""
    text = lab.inventory.read_text()
    assert old in text
    path = directory / "jvbtune.toml"
    path.write_text(text.replace(old, new))
    return path


def test_a_host_that_is_ready(lab: Lab) -> None:
    done = _check(lab.inventory, lab.name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(f"{lab.name} is ready.\n")
    assert "PROBLEM" not in done.stdout
    whats = [line[8:19].strip() for line in done.stdout.splitlines()[:-1]]
    assert whats == [
        *("ssh", "root", "journal", "bridge", "settings", "rest", "drain", "calls", "control", "media", "buffer"),
        *("address", "generator", "channel"),
    ]


@pytest.mark.parametrize("ready", [True, False])
def test_a_dry_run_exits_as_the_check_does(ready: bool, lab: Lab, tmp_path: Path) -> None:
    inventory = lab.inventory
    if not ready:
        inventory = _changed(lab, tmp_path, f"http_port = {lab.entry().bridge.http_port}", "http_port = 1")
    argv = [sys.executable, "-m", "jvbtune", "sweep", "--host", lab.name, str(QUICK), "--inventory", str(inventory)]
    done = subprocess.run([*argv, "--dry-run"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == _check(inventory, lab.name).returncode == (0 if ready else 1), done.stderr
    assert ("so a sweep would be refused" in done.stdout) != ready


def test_a_dry_run_leaves_out_what_the_host_has_already(lab: Lab, tmp_path: Path) -> None:
    has = Path("/proc/sys/net/core/rmem_max").read_text().strip()
    experiment = tmp_path / "two.toml"
    values = sorted({int(has), 300_000, 10_485_760})
    old = "values = [212992, 10485760]"
    text = QUICK.read_text().partition("[profile]")[0]
    assert old in text
    experiment.write_text(text.replace(old, f"values = {values}"))
    argv = [sys.executable, "-m", "jvbtune", "sweep", "--host", lab.name, str(experiment), "--dry-run"]
    argv += ["--inventory", str(lab.inventory)]
    done = subprocess.run([*argv, "--json"], capture_output=True, text=True, timeout=60, check=True)
    plan = json.loads(done.stdout)
    assert plan["as_found"] == [f"net.core.rmem_max={has}"]
    assert {step["name"] for step in plan["steps"]} == {
        "baseline",
        *(f"net.core.rmem_max={value}" for value in values if value != int(has)),
    }
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert f"net.core.rmem_max={has} is what the host has already" in done.stdout


def test_a_channel_where_no_load_may_go_is_found_before_the_drain(lab: Lab) -> None:
    """A bridge's channel is behind its proxy, mostly: a sweep with video would fail after the drain."""
    entry = lab.entry()
    assert _findings(lab.inventory, lab.name)["channel"]["state"] == "ok"
    assert entry.bridge.config_file is not None
    there = Path(entry.bridge.config_file)
    text = there.read_text()
    domains = f'domains = ["{entry.bridge.media_address}:{entry.bridge.media_port}"]'
    assert domains in text
    for said, state, expected in (
        ('domains = ["203.0.113.9:443"]', "problem", "203.0.113.9 (203.0.113.9)"),
        (f'domains = ["203.0.113.9"]\n    domain = "{entry.bridge.media_address}"', "ok", entry.bridge.media_address),
        (f"{domains}\n    enabled = false", "unknown", "jvb.conf does not name it"),
    ):
        there.write_text(text.replace(domains, said))
        try:
            found = _findings(lab.inventory, lab.name)["channel"]
        finally:
            there.write_text(text)
        assert (found["state"], expected in found["text"]) == (state, True), found


def test_every_problem_is_named_at_once(lab: Lab, tmp_path: Path) -> None:
    inventory = _changed(lab, tmp_path, f"http_port = {lab.entry().bridge.http_port}", "http_port = 1")
    text = inventory.read_text().replace("media_port = ", "media_port = 1 # ")
    inventory.write_text(text)
    findings = _findings(inventory, lab.name)
    assert findings["rest"]["state"] == "problem"
    assert "bridge.http_port" in findings["rest"]["hint"]
    assert (findings["drain"]["state"], findings["calls"]["state"]) == ("unknown", "unknown")
    assert findings["media"]["state"] == "problem"
    assert "bridge.media_port" in findings["media"]["hint"]
    assert findings["bridge"]["state"] == "ok"


def test_another_process_at_the_port_is_not_believed_about_calls(lab: Lab, tmp_path: Path) -> None:
    """Two bridges on a host, and the port of the idle one in the entry of the other."""
    with contextlib.closing(FakeBridge(tmp_path)) as idle:
        inventory = _changed(lab, tmp_path, f"http_port = {lab.entry().bridge.http_port}", f"http_port = {idle.port}")
        findings = _findings(inventory, lab.name)
        assert findings["rest"]["state"] == "problem"
        assert f"127.0.0.1:{idle.port} is not the bridge's" in findings["rest"]["text"]
        assert str(lab.entry().bridge.http_port) in findings["rest"]["text"], "where it does listen"
        assert findings["calls"]["state"] != "ok"
        argv = [sys.executable, "-m", "jvbtune", "sweep", "--host", lab.name, str(QUICK), "--inventory", str(inventory)]
        swept = subprocess.run(
            [*argv, "--runs-dir", str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert swept.returncode == 1
        assert "is not the bridge's" in swept.stderr
        assert idle.log == [], "neither drained nor restarted"


def test_a_wrong_control_is_found_before_the_drain(lab: Lab, tmp_path: Path) -> None:
    control = lab.entry().bridge.control
    assert control is not None
    assert control.restart is not None
    inventory = _changed(lab, tmp_path, json.dumps(control.restart[0]), '"/no/such/program"')
    done = _check(inventory, lab.name)
    assert done.returncode == 1
    assert "the command that restarts the bridge is not on this host: /no/such/program" in done.stdout
    argv = [sys.executable, "-m", "jvbtune", "sweep", "--host", lab.name, str(QUICK), "--inventory", str(inventory)]
    swept = subprocess.run(
        [*argv, "--runs-dir", str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert swept.returncode == 1
    assert "/no/such/program" in swept.stderr
    assert "Traceback" not in swept.stderr
    assert not Path("/var/lib/jvbtune/journal.json").exists()


def test_a_host_that_cannot_be_reached_is_one_line(lab: Lab, tmp_path: Path) -> None:
    inventory = tmp_path / "jvbtune.toml"
    inventory.write_text('[hosts.gone]\nssh = "127.0.0.1:1"\n[hosts.gone.bridge]\nmedia_address = "127.0.0.1"\n')
    done = _check(inventory, "gone")
    assert done.returncode == 1
    assert done.stdout.startswith("PROBLEM ssh ")
    assert "Traceback" not in done.stderr
