"""Runs as a sweep leaves them, without a sweep: the trials are those of a simulated host."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner

from jvbtune.cli.simulate import command as simulate
from jvbtune.fit.compare import SettingVerdict, Verdict
from jvbtune.result import RunResult, result_of
from jvbtune.store import Run, open_run


def simulated(directory: Path, *options: str) -> Run:
    """A run of a simulated host that is stored as a sweep's."""
    base = ["--out", str(directory), "--blocks", "4", "--seconds", "5", "--seed", "4", "--buffers"]
    done = CliRunner().invoke(simulate, [*base, *options])
    assert done.exit_code == 0, done.output
    path = open_run("latest", directory).path / "manifest.json"
    for file, changed in (
        (path, {"source": "sweep", "host": "measured"}),
        (path.parent / "provenance" / "before.json", {"simulated": False}),
    ):
        file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    (path.parent / "result.json").unlink(missing_ok=True)
    return open_run("latest", directory)


def with_result(run: Run, change: Callable[[RunResult], RunResult]) -> RunResult:
    """The run's result, changed, and stored with the run: what a later command reads."""
    from jvbtune.result.stored import store_result

    return store_result(run, change(result_of(run)))


def buffer_of(size_bytes: int) -> Callable[[RunResult], RunResult]:
    """A result that recommends this receive buffer."""

    def change(result: RunResult) -> RunResult:
        assert result.receive_buffer is not None
        return replace(result, receive_buffer=replace(result.receive_buffer, rmem_max_bytes=size_bytes), settings=())

    return change


def found_better(name: str, value: int) -> Callable[[RunResult], RunResult]:
    """A result of a sweep that found this value better."""

    def change(result: RunResult) -> RunResult:
        verdict = SettingVerdict(result.host, name, (value,), Verdict.BETTER, value, reason="it was planted")
        return replace(result, receive_buffer=None, settings=(verdict,))

    return change


def scaled(result: RunResult, factor: float) -> RunResult:
    """The result of a machine that carries ``factor`` times as many packets."""
    found, figures = result.thresholds, result.recommendation
    assert found is not None
    assert figures is not None
    low, high = figures.interval_pps
    assert low is not None
    assert high is not None
    return replace(
        result,
        thresholds=replace(
            found,
            load_threshold_pps=round(found.load_threshold_pps * factor),
            recovery_threshold_pps=round(found.recovery_threshold_pps * factor),
        ),
        recommendation=replace(
            figures,
            max_packet_rate_pps=figures.max_packet_rate_pps * factor,
            interval_pps=(low * factor, high * factor),
        ),
    )


def of_host(result: RunResult, name: str, factor: float = 1.0, **labels: str) -> RunResult:
    """The result as another host's."""
    return replace(scaled(result, factor), id=f"run-{name}", host=name, labels=labels)
