"""What a bridge pays for compilation after a start is told apart from what its packets cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from jsonschema import Draft202012Validator

from jvbtune.cli import cli
from jvbtune.result.compilation import compilation_of
from jvbtune.store import Run, RunWriter, create_run
from jvbtune.sweep.warmup import Ended, WarmUp


def _run(directory: Path, *events: dict[str, Any]) -> Run:
    experiment = {"name": "x", "load": {"packet_rates_pps": [1000]}}
    run = create_run(directory, host="h", experiment=experiment, seed=1, plan={}, command=())
    with RunWriter(run) as writer:
        for event in events:
            writer.journal.append("warmed_up", **event)
        writer.journal.append("run_finished", status="done", message="")
    return run


def warmed(step: str | None, seconds: float, compiler: float, ended: Ended = Ended.COMPILED) -> dict[str, Any]:
    about = {} if step is None else {"step": step}
    return about | WarmUp(ended, seconds, 0.01, compiler, 3 * compiler).to_json()


def test_each_restart_counts_once_and_the_bridge_as_found_does_not(tmp_path: Path) -> None:
    run = _run(
        tmp_path,
        warmed(None, 90, 400.0),
        warmed("b0-baseline", 15, 3.0),
        warmed("b1-baseline", 19, 4.0),
        warmed("b2-baseline", 60, 9.0, Ended.LONGEST),
        {"step": "b3-baseline", "ended": "unknown", "seconds": 20.0, "compiler_core_seconds": None},
        {"step": "b4-baseline", "offered_pps": 1000.0, "loss_ratio": 0.0},  # of a run before compilers were sampled
    )
    found = compilation_of(run)
    assert found is not None
    assert (found.restarts, found.still_compiling) == (3, 1)
    assert (found.warm_after_seconds, found.longest_seconds) == (19, 60)
    assert (found.compiler_core_seconds, found.bridge_core_seconds) == (4.0, 12.0)
    shown = json.loads(CliRunner().invoke(cli, ["show", str(run.path), "--json"]).stdout)
    assert shown["compilation"]["compiler_core_seconds"] == 4.0
    Draft202012Validator(json.loads(CliRunner().invoke(cli, ["show", "--schema"]).stdout)).validate(shown)
    text = CliRunner().invoke(cli, ["show", str(run.path), "-v"]).output
    assert "needs 19 s of load until its code is compiled (at most 60 s in 3 restarts)" in text
    assert "its compilers use 4.0 s of CPU" in text
    assert "1 restart was still compiling" in text


def test_a_run_that_does_not_know_says_nothing(tmp_path: Path) -> None:
    run = _run(tmp_path, {"step": "b0-baseline", "offered_pps": 1000.0})
    assert compilation_of(run) is None
    assert "After a restart" not in CliRunner().invoke(cli, ["show", str(run.path), "-v"]).output
