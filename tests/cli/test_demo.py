"""The demo's words: on a busy machine at the start, and at its end in place of make's "Error 5"."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jvbtune.cli import demo
from jvbtune.cli.others import busiest
from jvbtune.lab import Lab


@pytest.mark.parametrize(
    ("first", "second", "worse"), [(0, 0, 0), (0, 5, 5), (5, 1, 1), (1, 5, 1), (5, 5, 5), (2, 1, 2), (0, 130, 130)]
)
def test_a_failure_is_not_hidden_by_a_missing_recommendation(first: int, second: int, worse: int) -> None:
    assert demo._worse(first, second) == worse


def test_others_are_named_without_their_arguments() -> None:
    script = "while True: sum(range(10000))"
    with subprocess.Popen([sys.executable, "-c", script, "--token=secret"]) as busy:
        try:
            used, processes = busiest(1.0)
        finally:
            busy.kill()
    assert used > 0.1
    assert 1 <= len(processes) <= 3
    assert "secret" not in str(processes)
    assert all(share > 0 for share in processes.values())  # of one core: a process with threads has more than 1


@pytest.mark.parametrize(
    ("used", "said"),
    [(0.04, None), (0.5, "This machine is busy: other processes use 50% of its CPU (busiest: java 40%, x [31m 5%)")],
)
def test_a_busy_machine_is_told_at_the_start(
    used: float, said: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("jvbtune.cli.others.busiest", lambda seconds: (used, {"java": 0.4, "x\x1b[31m": 0.05}))
    demo._warn_of_others()
    error = capsys.readouterr().err
    assert (said in error and "at most 10%" in error) if said else error == ""


@pytest.mark.parametrize(("sweep", "expected"), [(5, 0), (0, 0), (1, 1), (130, 130)])
def test_it_ends_in_words(
    sweep: int, expected: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parts that need a lab are played; the run is a real one without a recommendation."""
    monkeypatch.setenv("JVBTUNE_RUNS", str(tmp_path))
    simulate = [sys.executable, "-m", "jvbtune", "simulate", "--out", str(tmp_path), "--blocks", "1", "--seed", "1"]
    subprocess.run(simulate, check=True, capture_output=True, timeout=120)

    def run(argv: Any, **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, sweep if "sweep" in argv else 0)

    class NoLab:
        def down(self) -> None: ...

    monkeypatch.setattr(demo.subprocess, "run", run)
    monkeypatch.setattr(demo.os, "getuid", lambda: 0)
    monkeypatch.setattr(Lab, "up", classmethod(lambda cls, name: NoLab()))
    monkeypatch.setattr(demo, "_compare_profiles", lambda _: 0)
    monkeypatch.setattr(demo, "_warn_of_others", lambda: None)
    assert demo.main() == expected
    error = capsys.readouterr().err
    assert ("do not support a recommendation" in error) == (sweep == 5), error
    assert ("the sweep failed" in error) == (expected != 0)
    if sweep == 5:
        assert "\n  - " in error
        assert "make demo" in error
