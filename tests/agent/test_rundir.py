"""systemd that hangs or is missing stops nobody who puts a host back."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from jvbtune.agent import rundir


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl and a systemd-run that write down how they were called, and hang."""
    for name in ("systemctl", "systemd-run"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "${{0##*/}} $*" >>{tmp_path}/called\nexec sleep 60\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(rundir, "systemd", lambda: True)
    return tmp_path


def test_a_systemd_that_hangs_does_not_fail_a_put_back(hanging: Path) -> None:
    begun = time.monotonic()
    rundir.stop_timer(0.3)
    assert time.monotonic() - begun < 10
    called = (hanging / "called").read_text().splitlines()
    assert [line.split()[1] for line in called] == ["stop", "reset-failed"]


def test_a_missing_systemctl_does_not_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rundir, "systemd", lambda: True)
    monkeypatch.setenv("PATH", str(tmp_path))
    rundir.stop_timer()


def test_why_systemd_did_not_do_it_is_told(hanging: Path) -> None:
    assert "timed out" in str(rundir.ask_systemd(["systemd-run", "true"], 0.3))
    assert "No such file" in str(rundir.ask_systemd(["no-such-program"]))
    assert rundir.ask_systemd(["sh", "-c", "echo no >&2; exit 1"]) == "no"
    assert rundir.ask_systemd(["true"]) is None
