"""The live table as a person sees it: on a real terminal, of a size of its own."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.fleet.conftest import experiment, hosts_options
from tests.fleet.light import LightFleet
from tests.fleet.terminal import on_terminal

ROOT = Path(__file__).parents[2]
MANY = """
import time
from jvbtune.cli.live import LiveTable

names = [f"jvb-{at:02}" for at in range(60)]
with LiveTable(names) as table:
    for name in names[:3]:
        table("host_finished", {"host": name, "state": "done", "reason": ""})
    table("host_finished", {"host": names[58], "state": "failed", "reason": "cannot connect \\x1b[31m" + "x" * 300})
    measured = {"phase": "measuring", "rate_pps": 46750.0, "cpu_ratio": 0.61, "left_seconds": 600.0}
    table("phase", {"host": names[59], **measured})
    time.sleep(60)
"""


@pytest.mark.root
def test_a_sweep_of_three_hosts(light: LightFleet, tmp_path: Path) -> None:
    names = ("light-01", "light-02", "light-03")
    argv = [sys.executable, "-m", "tests.fleet.cli_standin", "sweep", *hosts_options(*names), "--jobs", "2"]
    argv += ["--max-unavailable", "2", "--inventory", str(light.inventory), "--runs-dir", str(tmp_path)]
    with on_terminal([*argv, str(experiment(light))], ROOT) as terminal:
        measuring = re.compile(r"light-0\d  measuring +1 500 pps( +\d+ %)? +\d+ s$")
        screen = terminal.until(lambda lines: any(measuring.match(line) for line in lines))
        table = screen[next(at for at, line in enumerate(screen) if line.split()[:2] == ["host", "phase"]) :]
        assert table[0].split() == ["host", "phase", "rate", "CPU", "time", "left"]
        assert [line.split()[0] for line in table[1:]] == list(names), "one line for each host, and nothing below"
        last = terminal.ended(120)
    assert terminal.process.returncode == 5, last
    assert not any(line.split()[:2] == ["host", "phase"] for line in last), "the table goes when the work is done"
    assert not any("measuring" in line for line in last), last
    for name in names:
        assert sum(line.startswith(f"{name}  no recommendation") for line in last) == 1, last


def test_more_hosts_than_lines(tmp_path: Path) -> None:
    """Those at work and those that failed are shown; no line wraps, and nothing scrolls."""
    with on_terminal([sys.executable, "-c", MANY], ROOT, columns=60, rows=16) as terminal:
        screen = terminal.until(lambda lines: any("more hosts" in line for line in lines))
    assert screen[0].split() == ["host", "phase", "rate", "CPU", "time", "left"]
    assert len(screen) == 12
    assert screen[-1] == "and 50 more hosts"
    [at_work] = [line for line in screen if line.startswith("jvb-59")]
    assert at_work.split() == ["jvb-59", "measuring", "46", "750", "pps", "61", "%", "10", "min"]
    [failed] = [line for line in screen if line.startswith("jvb-58")]
    assert failed.startswith("jvb-58  failed: cannot con")
    assert not any(line.startswith("jvb-00") for line in screen), "those that are done make room"
