"""Fifty hosts at once, one failing and one slow: neither costs the others anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fleet.conftest import EXPERIMENT, events
from tests.fleet.light import light_hosts
from tests.fleet.link import bad_link

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(400)]
FAILING, SLOW = "light-07", "light-23"


def test_a_check_of_fifty_hosts(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root")
    (tmp_path / "light.toml").write_text(EXPERIMENT)
    with light_hosts(tmp_path, [{"region": "eu"}] * 50) as fleet:
        fleet.host(FAILING).put("mode", "503")
        slow = fleet.host(SLOW)
        with bad_link(slow.port, delay_seconds=0.4, bytes_per_second=40_000) as link:
            slow.ssh_port = link.port
            fleet.write_inventory()
            argv = [sys.executable, "-m", "jvbtune", "check", "--group", "light", "--json-lines", "--jobs", "8"]
            done = subprocess.run(
                [*argv, "--inventory", str(fleet.inventory), str(tmp_path / "light.toml")],
                capture_output=True,
                text=True,
                check=False,
            )
    assert done.returncode == 4, done.stderr
    found = events(done.stdout)
    ended = {event["host"]: event for event in found if event["event"] == "host_finished"}
    assert len(ended) == 50
    failed = {name: event["reason"] for name, event in ended.items() if event["state"] != "done"}
    assert list(failed) == [FAILING], failed
    assert "503" in ended[FAILING]["reason"]
    assert ended[SLOW]["state"] == "done"
    # the slow one held up nobody: others ended while it was looked at, more than one at a time would have
    order = list(ended)
    began = next(at for at, event in enumerate(found) if event["event"] == "host_started" and event["host"] == SLOW)
    after = [event["host"] for event in found[began:] if event["event"] == "host_finished"]
    assert after.index(SLOW) >= 5, f"the slow host ended as one of the first: {after[:8]}"
    assert len(order) - 1 - order.index(SLOW) < 27, "the others waited for the slow host"
