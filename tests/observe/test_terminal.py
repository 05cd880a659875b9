"""``observe`` on a real terminal, which ends with it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.fleet.light import light_hosts
from tests.fleet.terminal import on_terminal

pytestmark = pytest.mark.root


def _hosts(lines: list[str], state: str) -> list[str]:
    return [line.split()[0] for line in lines if line.split()[1:2] == [state]]


def test_the_table_of_two_hosts_is_redrawn_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root")
    with light_hosts(tmp_path, [{}] * 2) as fleet:
        argv = [sys.executable, "-m", "jvbtune", "observe", "--host", "light-01", "--host", "light-02"]
        with on_terminal([*argv, "--inventory", str(fleet.inventory)], tmp_path, columns=80) as terminal:
            names = ["light-01", "light-02"]
            screen = terminal.until(lambda lines: _hosts(lines, "ok") == names)
            assert any(line.startswith("host") and "stress" in line for line in screen)
            assert any(line.startswith("On a wider terminal also: ") for line in screen)
            fleet.host("light-02").put("mode", "503")
            terminal.until(lambda lines: _hosts(lines, "ok") == names[:1] and _hosts(lines, "no") == names[1:])
            terminal.press(b"\x03")
            last = terminal.ended()
    assert terminal.process.returncode in (0, 130), last
    assert not any("Traceback" in line for line in last)
