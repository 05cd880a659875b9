"""What ``show`` says to do next is something that can be done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jvbtune.cli.result_text import summary
from jvbtune.errors import NoRecommendation
from jvbtune.export import export
from jvbtune.report.summary import Tone
from jvbtune.report.summary import summary as summary_of_report
from jvbtune.result import RunResult, result_of
from jvbtune.result.model import Source, Status
from tests.apply.results import simulated


@pytest.fixture
def measured(tmp_path: Path) -> RunResult:
    return replace(result_of(simulated(tmp_path)), source=Source.SWEEP, status=Status.DONE)


def test_a_finished_run_is_exported(measured: RunResult) -> None:
    lines = summary(measured)
    assert lines[0].startswith(f"{measured.host}: set the load threshold to ")
    assert lines[-1].startswith(f"  Next             jvbtune export {measured.id} ")
    assert summary_of_report(measured).tone is Tone.GOOD
    assert export(measured, "sysctl")


@pytest.mark.parametrize("status", [Status.INTERRUPTED, Status.FAILED, Status.RUNNING])
def test_a_run_that_did_not_end_is_not(measured: RunResult, status: Status) -> None:
    found = replace(measured, status=status)
    lines = summary(found)
    assert "not to be set yet" in lines[0]
    assert "jvbtune export" not in lines[-1]
    if status is not Status.RUNNING:
        assert f"jvbtune sweep --host {found.host} --resume {found.id}" in lines[-1]
    told = summary_of_report(found)
    assert (told.tone, told.export) == (Tone.OPEN, None)
    with pytest.raises(NoRecommendation):
        export(found, "sysctl")


def test_other_limits_are_not_what_is_exported(measured: RunResult) -> None:
    lines = summary(measured, stored=False)
    assert "not to be set yet" in lines[0]
    assert "jvbtune export" not in lines[-1]
    assert "exports do not have them" in lines[-1]


def test_a_search_that_did_not_end_is_begun_again(measured: RunResult) -> None:
    lines = summary(replace(measured, source=Source.CAPACITY, status=Status.FAILED))
    assert lines[-1].endswith(f"jvbtune capacity --host {measured.host}")
