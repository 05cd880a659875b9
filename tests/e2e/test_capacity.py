"""A capacity search on the lab: an ordinary run behind it, the host left as it was found, no load beside live calls."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jvbtune.lab import Lab
from jvbtune.store import open_run

pytestmark = [pytest.mark.lab, pytest.mark.kernel, pytest.mark.measured]

QUICK = (
    *("--restarts", "1", "--minutes", "2", "--width", "0.15", "--cpu", "0.3"),
    *("--trial-seconds", "3", "--settle-seconds", "0.5", "--warm-up-seconds", "3"),
    *("--max-warm-up-seconds", "25"),
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
    assert told["id"] == run.id
    assert told["source"] == "capacity"
    assert len(told["trials"]) == trials.height > 0
    assert trials["intended_pps"].max() <= 40_000
    assert run.events("reverted")[-1]["report"].get("complete", True)
    assert not Path("/var/lib/jvbtune/journal.json").exists()
    given_up = [event["because"] for event in run.events("search_given_up")]
    if given_up:
        # somebody else's work on this machine made three trials in a row invalid: no figure then, and the reason why
        assert told["search"]["restarts"] == 0
        assert told["search"]["max_packet_rate"] is None
        assert any(given_up[0] in reason for reason in told["search"]["reasons"])
        assert not trials["valid"].tail(3).any()
    else:
        assert told["search"]["restarts"] == 1
    shown = _jvbtune("show", run.id, "--runs-dir", str(tmp_path), "--json")
    assert json.loads(shown.stdout) == told
    best = told["search"]["max_packet_rate"]
    if best is not None:
        ((kept, broken),) = best["brackets_pps"]
        # whole conferences of 3000 pps are the finest step of this load
        assert broken - kept <= max(0.15 * broken, 3100)
        assert kept <= best["pps"] <= broken
    # a single restart tells nothing of the next one, so there is no threshold to deploy
    assert done.returncode == 5
    assert told["recommendation"] is None
    assert told["reasons"]
    resumed = _jvbtune("sweep", "--host", lab.name, "--resume", run.id, "--runs-dir", str(tmp_path))
    assert resumed.returncode == 2
    assert "capacity search" in resumed.stderr
