"""A capacity search on the lab: an ordinary run behind it, the host left as it was found, no load beside live calls."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jvbtune.lab import Lab
from jvbtune.store import open_run

pytestmark = [pytest.mark.lab, pytest.mark.kernel]

QUICK = (
    *("--restarts", "1", "--minutes", "0.8", "--width", "0.15", "--cpu", "0.3"),
    *("--trial-seconds", "3", "--settle-seconds", "0.5", "--warm-up-seconds", "3"),
    *("--participants", "10", "--senders", "6", "--start-pps", "6000", "--max-pps", "40000"),
)


def _jvbtune(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "jvbtune", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=150, check=False)


def test_a_search_is_a_run_that_bounds_its_load_and_puts_the_host_back(lab: Lab, tmp_path: Path) -> None:
    done = _jvbtune("capacity", "--host", lab.name, "--runs-dir", str(tmp_path), "--json", *QUICK)
    assert done.returncode in (0, 5), done.stderr
    told = json.loads(done.stdout)
    run = open_run("latest", tmp_path)
    trials = run.trials()
    assert told["run"] == run.id
    assert told["trials"] == trials.height > 0
    assert trials["intended_pps"].max() <= 40_000
    assert run.events("reverted")[-1]["report"].get("complete", True)
    assert not Path("/var/lib/jvbtune/journal.json").exists()
    assert json.loads((run.path / "capacity.json").read_text())["goals"] == told["goals"]
    if done.returncode == 0:
        (cpu,) = [goal for goal in told["goals"] if goal["goal"] == told["binding_limit"]]
        ((kept, broken),) = cpu["brackets_pps"]
        # whole conferences of 3000 pps are the finest step of this load
        assert broken - kept <= max(0.15 * broken, 3100)
        assert kept <= told["max_packet_rate_pps"] <= broken
    else:
        assert told["max_packet_rate_pps"] is None
        assert told["reasons"]
    resumed = _jvbtune("sweep", "--host", lab.name, "--resume", run.id, "--runs-dir", str(tmp_path))
    assert resumed.returncode == 2
    assert "capacity search" in resumed.stderr
