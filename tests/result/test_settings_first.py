"""Figures are of the host as it will be: with what the run found better, which every text says to set first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jvbtune.cli.result_text import details, summary
from jvbtune.export import export
from jvbtune.fit import Limits
from jvbtune.fit.reasons import Code
from jvbtune.fit.simulator import Design, Disturbance, SimulatedHost
from jvbtune.fit.simulator.run import write_run
from jvbtune.fit.simulator.samples import SampleNoise
from jvbtune.fleet.kinds import kinds_of
from jvbtune.fleet.page import render
from jvbtune.report.summary import summary as summary_of_report
from jvbtune.result import RunResult, result_of
from jvbtune.result.model import Source

RMEM_MAX, BETTER = "net.core.rmem_max", 10_485_760
STEPS = {"baseline": {}, f"{RMEM_MAX}={BETTER}": {RMEM_MAX: BETTER}}
FIRST = f"The figures hold with {RMEM_MAX} = {BETTER}"


def result(directory: Path, rmem_max_bytes: int) -> RunResult:
    """Of a host that was found with this ``net.core.rmem_max``."""
    host = SimulatedHost(rmem_max_bytes=rmem_max_bytes)
    rates = tuple(np.linspace(15_000, 58_000, 5).tolist())
    design = Design(rates, 5, STEPS, duration_seconds=7.0, burst_packets=2400, burst_pps=24_000.0)
    return result_of(write_run(directory, host, design, Disturbance(), SampleNoise(), seed=3))


def test_a_small_buffer_that_was_found_is_not_what_the_figures_are_of(tmp_path: Path) -> None:
    found = result(tmp_path, 212_992)
    assert [(one.name, one.verdict, one.recommended) for one in found.settings] == [(RMEM_MAX, "better", BETTER)]
    assert found.recommendation is not None, found.reasons
    assert found.recommendation.steps == (f"{RMEM_MAX}={BETTER}",)
    truth = min(SimulatedHost().truth(Limits()).values())
    assert found.recommendation.max_packet_rate_pps == pytest.approx(truth, rel=0.12)
    (first,) = [remark for remark in found.remarks if remark.code is Code.SETTINGS_FIRST]
    assert str(first).startswith(FIRST)
    assert f"  Settings         set {RMEM_MAX} = {BETTER} first: the threshold needs it" in summary(found)
    assert any(FIRST in line for line in details(found))
    assert any("Settings first" in str(caveat) for caveat in summary_of_report(found).caveats)
    measured = replace(found, source=Source.SWEEP)
    for kind in ("jvb-conf", "docker", "ansible", "terraform", "cloud-init"):
        assert any(FIRST in text for text in export(measured, kind).values()), kind
    fleet = render(kinds_of([measured]), title="the fleet", created_unix=0.0)
    assert f'<td class="name">{RMEM_MAX} = {BETTER}</td>' in fleet


def test_of_a_host_with_a_large_buffer_nothing_is_said(tmp_path: Path) -> None:
    found = result(tmp_path, 10_485_760)
    assert found.recommendation is not None, found.reasons
    assert "baseline" in found.recommendation.steps
    assert not [remark for remark in found.remarks if remark.code is Code.SETTINGS_FIRST]
    assert not any("first" in line for line in summary(found))
