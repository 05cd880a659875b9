"""A search looked for where the run's own limits are met: it says nothing of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jvbtune.capacity.goals import goals
from jvbtune.capacity.result import brackets_to_json
from jvbtune.capacity.search import Bracket, State
from jvbtune.fit import Limits
from jvbtune.fit.reasons import Code
from jvbtune.result.derive import derive
from jvbtune.result.model import Method
from jvbtune.store import Run, RunWriter
from tests.report import runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return runs.searched(tmp_path_factory.mktemp("searched"), [53_000, 54_500, 56_000], "--seed", "3")


def test_with_other_limits_only_the_curve_has_an_estimate(run: Run) -> None:
    own = derive(run)
    assert [one.method for one in own.estimates] == [Method.CURVE, Method.SEARCH]
    other = derive(run, replace(own.limits, cpu_ratio=0.7))
    assert [one.method for one in other.estimates] == [Method.CURVE]
    assert other.search is None
    assert other.limits == Limits(cpu_ratio=0.7)
    assert derive(run, Limits()).search == own.search


def test_a_figure_without_the_restarts_that_were_cut_short_says_so(tmp_path: Path) -> None:
    run = runs.searched(tmp_path, [53_000, 54_500, 56_000], "--seed", "3")
    cut = Bracket(goals(Limits())[2], 40_000.0, 60_000.0, 50_000.0, State.WIDE)
    with RunWriter(run) as writer:
        writer.journal.append("restart_searched", block=3, brackets=brackets_to_json([cut]))
    found = derive(run)
    assert found.search is not None
    assert (found.search.restarts, found.search.unfinished) == (4, 1)
    (remark,) = [one for one in found.remarks if one.code is Code.SEARCH_UNFINISHED]
    assert remark.text == "The time ran out in 1 of 4 restarts. The search's figure is of the other 3"
