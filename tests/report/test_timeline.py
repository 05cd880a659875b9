"""The seconds of a trial are drawn where its window was, though the samples have the host's clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from jvbtune.fit.simulator.samples import SampleNoise, simulate_samples
from jvbtune.report.html import _timelines
from jvbtune.result import result_of
from jvbtune.store import RunWriter, create_run

BEGIN, SECONDS = 1_795_584_572.0, 10.0


def drawn(directory: Path, ahead_seconds: float, **told: float) -> str:
    """The timeline of the one trial of a run, on a host whose clock is so far ahead."""
    run = create_run(directory, host="h", experiment={"name": "x"}, seed=1, plan={})
    row = {
        "run_id": run.id, "host": "h", "block": 0, "step": "baseline", "settings": {}, "trial": "t", "kind": "steady",
        "order": 0, "cores": 1.0, "bridge_pps": 9000.0, "offered_pps": 9000.0, "intended_pps": 9000.0, "cpu_cores": 0.4,
        "loss_ratio": 0.0, "duration_s": SECONDS, "started_unix": BEGIN, "valid": True, "invalid_because": [], **told,
    }  # fmt: skip
    noise = SampleNoise(clock_offset_seconds=ahead_seconds)
    with RunWriter(run) as writer:
        samples = simulate_samples(row, noise, started_unix=BEGIN, seed=1)
        writer.finish_trial(row, samples=samples, offered={}, bridge=())
        writer.journal.append("run_finished", status="done")
    (found,) = _timelines(run, result_of(run))
    return str(found.drawings[0])


@pytest.mark.parametrize("ahead_seconds", [30.0, -30.0])
def test_it_lies_within_its_window_whatever_the_hosts_clock_shows(tmp_path: Path, ahead_seconds: float) -> None:
    alike = drawn(tmp_path / "alike", 0.0)
    assert drawn(tmp_path / "apart", ahead_seconds, clock_offset_seconds=ahead_seconds) == alike
    assert drawn(tmp_path / "not told", ahead_seconds) != alike
