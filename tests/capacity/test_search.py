"""The controller of a capacity search, on hosts whose truth is known: what it finds, and what never counts."""

from dataclasses import replace

import numpy as np
import pytest

from jvbtune.capacity.goals import Goal, goals
from jvbtune.capacity.result import conclude
from jvbtune.capacity.search import Bracket, GivenUp, Outcome, Searcher, SearchPlan, State, prior_of, set_aside
from jvbtune.fit import Limits
from jvbtune.fit.simulator import Disturbance, SimulatedHost
from jvbtune.fit.simulator.measure import SimulatedBridge
from jvbtune.trials.delays import delay_counts, delay_histogram

HOST = SimulatedHost()
LIMITS = Limits(loss_ratio=0.001)
WANTED = goals(LIMITS)
UNIT = 250.0
PLAN = SearchPlan(UNIT, start_units=24, max_units=2000)
QUIET = Disturbance(restart_sd=0.0, noise_sd=1e-4, rate_sd=1e-5)


class Lab:
    """Measures, and remembers what was asked."""

    def __init__(self, host: SimulatedHost = HOST, noise: Disturbance = QUIET, seed: int = 1, cap: float = np.inf):
        self.bridge = SimulatedBridge(host, replace(noise, generator_capacity_pps=cap), seed)
        self.bridge.restart()
        self.asked: list[int] = []

    def __call__(self, units: int) -> Outcome:
        self.asked.append(units)
        row = self.bridge.hold(units * UNIT, 10.0)
        ratios = {goal.name: goal.ratio(row) for goal in WANTED}
        limited = bool(row["generator_limited"])
        return Outcome(units, float(row["offered_pps"]), 10.0, ratios, valid=not limited, generator_limited=limited)


def found(brackets: list[Bracket], name: str) -> Bracket:
    return next(bracket for bracket in brackets if bracket.goal.name == name)


@pytest.mark.parametrize(
    ("host", "binding"),
    [(HOST, "cpu"), (replace(HOST, loss_onset=0.7), "loss"), (replace(HOST.scaled(8), rx_us=20.0), "rx_thread")],
    ids=["CPU", "loss", "receive thread"],
)
def test_every_limit_is_found_to_the_width_that_was_asked_for(host: SimulatedHost, binding: str) -> None:
    lab = Lab(host)
    brackets = Searcher(WANTED, PLAN).run(lab)
    least = min((b for b in brackets if b.goal.binding and b.estimate_pps), key=lambda b: b.estimate_pps or 0)
    truth = host.truth(LIMITS)
    assert least.goal.name == binding
    assert least.state == "found"
    assert least.relative_width is not None
    assert least.relative_width <= PLAN.width + 1e-3
    assert least.lower_pps is not None
    assert least.upper_pps is not None
    assert least.lower_pps * 0.999 <= min(truth.values()) <= least.upper_pps * 1.001
    pdr = found(brackets, "loss")
    assert pdr.estimate_pps == pytest.approx(truth["loss"], rel=0.05)
    ndr = found(brackets, "ndr").estimate_pps
    assert ndr is not None
    assert ndr < truth["loss"]
    assert len(lab.asked) <= 25


def test_repeated_searches_agree_and_are_not_biased() -> None:
    noise = Disturbance(restart_sd=0.0)
    estimates = []
    for seed in range(25):
        brackets = Searcher(WANTED, PLAN).run(Lab(noise=noise, seed=seed))
        estimates.append(found(brackets, "cpu").estimate_pps or 0.0)
    assert np.std(estimates) / np.mean(estimates) < 0.05
    assert np.mean(estimates) == pytest.approx(HOST.truth(LIMITS)["cpu"], rel=0.02)


def test_a_later_restart_begins_where_the_last_one_ended() -> None:
    first, second = Lab(), Lab()
    brackets = Searcher(WANTED, PLAN).run(first)
    prior = prior_of(brackets, UNIT)
    again = Searcher(WANTED, PLAN, prior).run(second)
    assert found(again, "cpu").state == "found"
    assert len(second.asked) < 0.75 * len(first.asked)
    assert min(second.asked) > 0.8 * prior["cpu"]


def test_what_binds_nothing_is_set_aside_after_the_first_restart_and_costs_no_load() -> None:
    first, second, plain = Lab(), Lab(), Lab()
    brackets = Searcher(WANTED, PLAN).run(first)
    prior = prior_of(brackets, UNIT)
    aside = set_aside(brackets)
    assert "cpu" not in aside
    assert "rx_thread" in aside
    again = Searcher(WANTED, PLAN, prior, aside).run(second)
    Searcher(WANTED, PLAN, prior).run(plain)
    assert {b.goal.name for b in again}.isdisjoint(aside)
    assert found(again, "cpu").state == "found"
    assert len(second.asked) < len(plain.asked)


def test_what_was_set_aside_and_binds_after_another_restart_is_found_all_the_same() -> None:
    brackets = Searcher(WANTED, PLAN).run(Lab())
    aside = set_aside(brackets)
    assert "loss" in aside
    leaking = replace(HOST, loss_onset=0.7)
    truth = leaking.truth(LIMITS)
    prior = prior_of(brackets, UNIT)
    again = Searcher(WANTED, PLAN, prior, aside).run(Lab(leaking))
    pdr = found(again, "loss")
    assert pdr.lower_pps is not None
    assert pdr.upper_pps is not None
    assert pdr.lower_pps * 0.99 <= truth["loss"] <= pdr.upper_pps * 1.01


def test_a_rough_prior_is_left_in_few_steps() -> None:
    plain = Lab()
    Searcher(WANTED[:3], PLAN).run(plain)
    for factor in (0.7, 1.4):
        lab = Lab()
        brackets = Searcher(WANTED[:3], PLAN, {"cpu": factor * HOST.truth(LIMITS)["cpu"] / UNIT}).run(lab)
        assert found(brackets, "cpu").state == "found"
        assert len(lab.asked) <= len(plain.asked) + 1


def test_what_the_generator_was_measured_to_be_too_slow_for_is_never_asked_of_it() -> None:
    lab = Lab()
    plan = replace(PLAN, max_units=30, most_is_generators=True)
    brackets = Searcher(WANTED, plan).run(lab)
    assert max(lab.asked) == 30
    assert found(brackets, "cpu").state == "generator"
    assert "generator" in conclude(WANTED, [brackets], minutes=1, width=0.03).reasons[0]
    kept = Searcher(WANTED, replace(plan, most_is_generators=False)).run(Lab())
    assert found(kept, "cpu").state == "kept"


def test_what_the_generator_could_not_offer_is_no_capacity() -> None:
    lab = Lab(cap=30_000.0)
    brackets = Searcher(WANTED, PLAN).run(lab)
    cpu = found(brackets, "cpu")
    assert cpu.state == "generator"
    assert cpu.upper_pps is None
    assert cpu.lower_pps is not None
    assert cpu.lower_pps <= 30_100
    capacity = conclude(WANTED, [brackets], minutes=1, width=0.03)
    assert capacity.max_packet_rate is None
    assert "generator" in capacity.reasons[0]


def test_trials_that_are_not_valid_end_the_search_with_their_reason() -> None:
    def stolen(units: int) -> Outcome:
        return Outcome(units, units * UNIT, 10.0, {}, valid=False, because="steal: 9 %")

    with pytest.raises(GivenUp, match="steal"):
        Searcher(WANTED, PLAN).run(stolen)
    capacity = conclude(WANTED, [], minutes=1, width=0.03, given_up="steal")
    assert capacity.max_packet_rate is None
    assert capacity.reasons == ("steal",)


def test_a_load_above_a_broken_one_is_no_bound_even_where_it_held() -> None:
    searcher = Searcher(WANTED[:2], PLAN)
    for units, lost in ((100, 0.0), (120, 0.01), (140, 0.0), (160, 0.5)):
        searcher.outcomes.append(Outcome(units, units * UNIT, 10, {"ndr": lost / 1e-4, "loss": lost / 1e-3}))
    assert searcher.bounds(WANTED[1]) == (100, 120)


def test_of_pauses_that_come_or_do_not_the_mean_of_more_trials_decides() -> None:
    delay = WANTED[5]
    searcher = Searcher([delay], PLAN)

    def seen(units: int, late: float, counted: bool = True) -> Outcome:
        return Outcome(units, units * UNIT, 10, {"delay": late}, late_counted=counted)

    for pause in (1.6, 3.5):
        searcher.outcomes = [seen(117, 0.2), seen(117, 0.0), seen(120, pause)]
        assert searcher.bounds(delay) == (117, 120)
        while searcher.next_units() == 120:
            searcher.outcomes.append(seen(120, 0.0))
        assert len([one for one in searcher.outcomes if one.units == 120]) > 1, "one pause was taken for the limit"
        assert searcher.bounds(delay)[0] == 120
    searcher.outcomes = [seen(117, 0.0)]
    searcher.outcomes += [seen(120, late, counted=False) for late in (0.4, 0.4, 0.4, 3.5)]
    assert searcher.bounds(delay)[0] == 120, "of percentiles, most trials decide"


def test_delay_is_the_share_of_packets_later_than_the_limit_where_it_is_known() -> None:
    delay = WANTED[5]
    counts = delay_counts(delay_histogram(np.concatenate([np.full(995, 2_000.0), np.full(5, 90_000.0)])))
    assert delay.ratio({"delay_p99_ms": 3.0, "delay_counts": counts}) == pytest.approx(0.5)
    assert delay.ratio({"delay_p99_ms": 25.0}) == pytest.approx(0.5)
    assert delay.ratio({"delay_counts": None}) is None


def test_a_search_that_ran_out_of_time_says_at_what_width() -> None:
    lab = Lab()
    brackets = Searcher(WANTED, PLAN).run(lab, lambda: len(lab.asked) >= 7)
    capacity = conclude(WANTED, [brackets], minutes=1, width=0.03)
    assert capacity.max_packet_rate is None
    assert "relative width" in capacity.reasons[0]


def test_the_whole_of_one_conference_is_the_finest_step_and_the_ceiling_is_kept() -> None:
    lab = Lab()
    plan = replace(PLAN, max_units=100)
    brackets = Searcher(WANTED, plan).run(lab)
    assert max(lab.asked) <= 100
    assert found(brackets, "cpu").state == "kept"
    assert "raise --max-pps" in conclude(WANTED, [brackets], minutes=1, width=0.03).reasons[0]


def test_the_least_of_the_limits_is_taken_restart_by_restart() -> None:
    cpu, delay = WANTED[2], WANTED[5]

    def bracket(goal: Goal, pps: float | None) -> Bracket:
        if pps is None:
            return Bracket(goal, 50_000, None, None, State.KEPT)
        return Bracket(goal, 0.99 * pps, 1.01 * pps, pps, State.FOUND)

    restarts = [
        [bracket(cpu, 40_000), bracket(delay, None)],
        [bracket(cpu, 44_000), bracket(delay, 42_000)],
        [bracket(cpu, 40_000), bracket(delay, 47_000)],
    ]
    best = conclude(WANTED, restarts, minutes=1, width=0.03).max_packet_rate
    assert best is not None
    assert best.pps == pytest.approx((40 * 42 * 40) ** (1 / 3) * 1000, abs=0.1)
    assert best.goal == "cpu"
    assert best.interval_pps is not None
    assert best.interval_pps[0] < 40_000 < 42_000 < best.interval_pps[1]


def test_the_cpu_goal_is_held_against_all_that_keeps_the_bridges_cores_busy() -> None:
    cpu = next(goal for goal in goals(Limits(cpu_ratio=0.8)) if goal.name == "cpu")
    assert cpu.ratio({"cores": 2.0, "cpu_cores": 1.2}) == pytest.approx(0.6 / 0.8)
    assert cpu.ratio({"cores": 2.0, "cpu_cores": 1.2, "busy_ratio": 0.7}) == pytest.approx(0.7 / 0.8)
    assert cpu.ratio({}) is None
