"""A search and the fitted curves look for one packet rate: which is deployed, and that neither is if they differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jvbtune.capacity.goals import goals
from jvbtune.capacity.result import Search, conclude
from jvbtune.capacity.search import Bracket, State
from jvbtune.fit import HostFit, Limits, recommend
from jvbtune.fit.reasons import Code, Reason
from jvbtune.fit.simulator import Design, SimulatedHost, simulate
from jvbtune.result.estimates import choose, overlap
from jvbtune.result.model import Method

HOST = SimulatedHost()
TRUTH = min(HOST.truth(Limits()).values())
CPU = goals(Limits())[2]


@pytest.fixture(scope="module")
def fitted() -> HostFit:
    rates = tuple(np.linspace(0.3 * TRUTH, 1.1 * TRUTH, 6).tolist())
    return recommend(simulate(HOST, Design(rates, 4), seed=1))[0]


def search(pps: float, state: State = State.FOUND) -> Search:
    restarts = [[Bracket(CPU, 0.99 * r, 1.01 * r, r, state)] for r in (0.98 * pps, pps, 1.02 * pps)]
    return conclude([CPU], restarts, minutes=5, width=0.03)


def test_a_sweep_has_one_estimate(fitted: HostFit) -> None:
    choice = choose(fitted, None)
    assert [one.method for one in choice.estimates] == [Method.CURVE]
    assert choice.deployed is not None
    assert choice.deployed.max_packet_rate_pps == fitted.max_packet_rate_pps


def test_where_both_agree_the_curves_figure_is_deployed_and_why_is_said(fitted: HostFit) -> None:
    choice = choose(fitted, search(TRUTH))
    assert [(one.method, one.deployed) for one in choice.estimates] == [(Method.CURVE, True), (Method.SEARCH, False)]
    assert [remark.code for remark in choice.remarks] == [Code.DEPLOYED_ESTIMATE]
    assert choice.reasons == ()


@pytest.mark.parametrize("factor", [0.6, 1.6])
def test_where_they_disagree_nothing_is_deployed_and_both_figures_are_named(fitted: HostFit, factor: float) -> None:
    choice = choose(fitted, search(factor * TRUTH))
    assert choice.deployed is None
    assert not any(one.deployed for one in choice.estimates)
    (reason,) = choice.reasons
    assert reason.code == Code.ESTIMATES_DISAGREE
    for one in choice.estimates:
        assert f"{one.max_packet_rate_pps:.0f} pps" in reason.text
    assert "--restarts" in reason.advice


def test_a_search_that_found_nothing_is_no_recommendation_whatever_the_curves_say(fitted: HostFit) -> None:
    choice = choose(fitted, search(TRUTH, State.WIDE))
    assert choice.deployed is None
    assert [reason.code for reason in choice.reasons] == [Code.SEARCH_UNFINISHED]
    assert f"{fitted.max_packet_rate_pps:.0f} pps" in choice.reasons[0].advice


def test_without_a_curve_the_search_stands_for_itself(fitted: HostFit) -> None:
    none = replace(fitted, max_packet_rate_pps=None, interval_pps=None, reasons=(Reason(Code.TOO_FEW_RATES, "Few"),))
    choice = choose(none, search(TRUTH))
    assert choice.deployed is not None
    assert choice.deployed.method == Method.SEARCH
    assert choice.deployed.restart_low_pps is not None


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [((1, 2), (2, 3), True), ((1, 2), (2.1, 3), False), ((1, None), (50, 60), True), ((3, 4), (None, 2), False)],
)
def test_intervals_overlap_where_a_rate_lies_in_both(
    one: tuple[float | None, float | None], other: tuple[float | None, float | None], common: bool
) -> None:
    assert overlap(one, other) is common
    assert overlap(other, one) is common
