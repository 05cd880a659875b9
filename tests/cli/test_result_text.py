"""What ``show`` says to do next is something that can be done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jvbtune.agent.settings import RMEM_MAX
from jvbtune.cli.result_text import summary
from jvbtune.errors import NoRecommendation
from jvbtune.export import export
from jvbtune.fit.compare import Comparison, Metric, SettingVerdict, Verdict
from jvbtune.fit.reasons import Code, Reason
from jvbtune.report.summary import Tone
from jvbtune.report.summary import summary as summary_of_report
from jvbtune.result import RunResult, result_of
from jvbtune.result.model import Source, Status
from tests.apply.results import buffer_of, simulated


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


def test_what_has_to_be_set_first_is_the_better_setting_and_no_other(measured: RunResult) -> None:
    settings = (
        SettingVerdict(measured.host, "net.core.netdev_budget", (600,), Verdict.BETTER, 600),
        SettingVerdict(measured.host, "net.core.wmem_max", (10485760,), Verdict.NO_DIFFERENCE, None),
    )
    first = Reason(Code.SETTINGS_FIRST, "The figures hold with net.core.netdev_budget = 600")
    (line,) = [one for one in summary(replace(measured, settings=settings, remarks=(first,))) if "Settings  " in one]
    said = "set net.core.netdev_budget = 600 first: the threshold needs it; net.core.wmem_max: no difference"
    assert line == f"  Settings         {said}"


def _compared(value: int, effect: float, p_value: float) -> Comparison:
    return Comparison(
        value, f"{RMEM_MAX}={value}", Metric.BURST_DROPS, effect, (None, None), p_value, p_value, False, 3, None
    )


def test_the_value_that_did_worse_is_named_and_a_buffer_that_is_set_is_not_to_be_left(measured: RunResult) -> None:
    """212992 loses packets, the bridge's own 10 MiB makes no difference to the 4 MiB found, and is advised all the
    same: it holds more than the bursts of the trials."""
    comparisons = (_compared(212992, 9.0, 0.001), _compared(10485760, 0.2, 0.9))
    setting = SettingVerdict(measured.host, RMEM_MAX, (212992, 10485760), Verdict.WORSE, None, comparisons=comparisons)
    found = replace(buffer_of(10485760)(measured), settings=(setting,))
    line = next(one for one in summary(found) if one.startswith("  Settings"))
    assert line == f"  Settings         {RMEM_MAX} = 212992 is worse than what was found"
    caveats = {caveat.name: caveat.text for caveat in summary_of_report(found).caveats}
    assert caveats["Worse"] == f"{RMEM_MAX} = 212992 did worse than what was found on arrival: do not set it."
    same = replace(found, settings=(replace(setting, verdict=Verdict.NO_DIFFERENCE, comparisons=comparisons[1:]),))
    assert f"{RMEM_MAX} = 10485760" in [action.code for action in summary_of_report(same).actions]
    assert "No difference" not in {caveat.name for caveat in summary_of_report(same).caveats}
