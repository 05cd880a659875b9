"""Runs are found from any directory, and an error says where they were looked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jvbtune.errors import StoreError
from jvbtune.store import create_run, open_run, remember, runs_directory
from jvbtune.store.places import checkout, remembered


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JVBTUNE_RUNS", "JVBTUNE_CAPTURES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "else" / "where").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "else" / "where")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    (tmp_path / "clone" / "experiments").mkdir(parents=True)
    (tmp_path / "clone" / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "clone" / "experiments" / "some.toml").write_text("")
    return tmp_path / "clone"


def _run(directory: Path) -> str:
    return create_run(directory, host="h", experiment={"name": "e"}, seed=1, plan={}).id


def test_the_checkout_around_is_found_from_every_directory_in_it(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runs_directory() == tmp_path / "data" / "jvbtune" / "runs"
    for inside in (clone, clone / "docs" / "deep", clone / "experiments"):
        monkeypatch.chdir(inside)
        assert runs_directory() == clone / "experiments" / "runs"
    (tmp_path / "else" / "experiments").mkdir()  # somebody's own, without experiment files of ours
    monkeypatch.chdir(tmp_path / "else" / "where")
    assert checkout() is None
    monkeypatch.setenv("JVBTUNE_RUNS", str(tmp_path / "given"))
    assert runs_directory() == tmp_path / "given"
    assert runs_directory(tmp_path / "option") == tmp_path / "option"


def test_a_run_of_a_checkout_is_found_from_elsewhere(clone: Path, tmp_path: Path) -> None:
    runs = clone / "experiments" / "runs"
    made = _run(runs)
    with pytest.raises(StoreError, match="there is no run yet in ") as error:
        open_run("latest")
    assert str(tmp_path / "data" / "jvbtune" / "runs") in str(error.value)
    remember(runs)
    assert open_run("latest").id == made
    assert open_run(made[:12]).id == made
    with pytest.raises(StoreError) as error:
        open_run("2020")
    assert str(runs) in error.value.message
    assert str(tmp_path / "data") in error.value.message
    assert "--runs-dir" in (error.value.hint or "")


def test_what_was_asked_for_by_name_is_the_only_place(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _run(clone / "experiments" / "runs")
    remember(clone / "experiments" / "runs")
    with pytest.raises(StoreError, match=f"no run '{made}' in {tmp_path}/other\n"):
        open_run(made, tmp_path / "other")
    monkeypatch.setenv("JVBTUNE_RUNS", str(tmp_path / "other"))
    with pytest.raises(StoreError, match="there is no run"):
        open_run("latest")


def test_the_runs_here_come_before_those_elsewhere(clone: Path, tmp_path: Path) -> None:
    _run(clone / "experiments" / "runs")
    remember(clone / "experiments" / "runs")
    here = _run(runs_directory())
    assert open_run("latest").id == here


def test_a_note_that_is_damaged_gone_or_full_harms_nothing(clone: Path, tmp_path: Path) -> None:
    note = tmp_path / "state" / "jvbtune" / "runs-directories"
    note.parent.mkdir(parents=True)
    note.write_bytes(b"\xff\x00\nrelative\n/does/not/exist\n")
    assert remembered() == []
    for number in range(30):
        (tmp_path / f"runs{number}").mkdir()
        remember(tmp_path / f"runs{number}")
    assert remembered()[0] == tmp_path / "runs29"
    assert len(remembered()) == 20
    note.unlink()
    note.parent.rmdir()
    note.parent.write_text("a file where the directory should be")
    remember(clone)
    assert remembered() == []


def test_the_commands_say_where_they_looked(clone: Path, tmp_path: Path) -> None:
    def ask(*arguments: str, where: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "jvbtune", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=where, env=dict(os.environ))

    assert f"There is no run in {tmp_path}/data/jvbtune/runs" in ask("runs").stderr
    done = ask("show", "latest")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{tmp_path}/data/jvbtune/runs" in done.stderr
    made = _run(clone / "experiments" / "runs")
    remember(clone / "experiments" / "runs")
    assert f"--runs-dir {clone}/experiments/runs" in ask("runs").stderr
    assert made in ask("runs", where=clone / "docs").stdout
