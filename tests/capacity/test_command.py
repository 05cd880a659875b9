"""The command's words: what it refuses before it goes near a host, and what of a search is kept with its run."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from jvbtune.capacity.goals import goals
from jvbtune.capacity.result import brackets_to_json, conclude
from jvbtune.capacity.run import Wanted
from jvbtune.capacity.search import Bracket, State
from jvbtune.capacity.stored import read_search
from jvbtune.cli.capacity import command
from jvbtune.fit import Limits
from jvbtune.store import RunWriter, create_run
from jvbtune.sweep.experiment import LimitsSection, MixSection

WANTED = goals(Limits())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--delay-p99", "soon"], "is not a duration"),
        (["--loss", "2"], "is not above 0 and at most 1"),
        (["--warm-up-seconds", "30", "--max-warm-up-seconds", "20"], "--max-warm-up-seconds 20 is below"),
        (["--senders", "9", "--participants", "4"], "is more than --participants"),
    ],
)
def test_words_that_are_no_goal_are_refused(options: list[str], says: str) -> None:
    answer = CliRunner().invoke(command, ["--host", "nowhere", *options])
    assert answer.exit_code == 2
    assert says in answer.output


def found(pps: float, name: str = "cpu", state: State = State.FOUND) -> Bracket:
    goal = next(goal for goal in WANTED if goal.name == name)
    return Bracket(goal, 0.99 * pps, 1.01 * pps, pps, state)


def test_a_search_is_read_back_from_its_run_as_it_was(tmp_path: Path) -> None:
    kept = Bracket(WANTED[5], 60_000.0, None, None, State.KEPT)
    restarts = [[found(40_000 + 500 * i), found(55_000, "loss"), kept] for i in range(3)]
    run = create_run(tmp_path, host="h", experiment={"name": "s", "limits": Limits().to_json()}, seed=0, plan={})
    with RunWriter(run) as writer:
        assert read_search(run) is None
        writer.journal.append("search_begun", width=0.03, minutes=10)
        for brackets in restarts:
            writer.journal.append("restart_searched", block=0, brackets=brackets_to_json(brackets))
        assert read_search(run) is None
        writer.journal.append("search_ended", minutes=5.0, given_up=None)
    assert read_search(run) == conclude(WANTED, restarts, minutes=5.0, width=0.03)


def test_a_pdr_is_named_with_its_ratio_and_a_goal_that_was_kept_has_no_interval() -> None:
    kept = Bracket(WANTED[5], 60_000.0, None, None, State.KEPT)
    search = conclude(WANTED, [[found(55_000, "loss"), kept]] * 3, minutes=5, width=0.03)
    by_name = {rate.goal: rate for rate in search.rates}
    assert by_name["loss"].label == "PDR (loss ratio 0.0001)"
    assert (by_name["delay"].state, by_name["delay"].pps, by_name["delay"].interval_pps) == (State.KEPT, 60_000, None)
    assert by_name["cpu"].state == State.NOT_MEASURED
    assert search.max_packet_rate is not None
    assert search.max_packet_rate.goal == "loss"


def test_a_goal_has_a_place_for_each_restart_also_for_those_that_were_not_searched_for_it() -> None:
    ndr = Bracket(WANTED[0], 50_000.0, 51_000.0, 50_500.0, State.FOUND)
    restarts = [[found(40_000), ndr], [found(41_000)], [found(42_000), found(41_500, "delay")]]
    by_name = {rate.goal: rate for rate in conclude(WANTED, restarts, minutes=5, width=0.03).rates}
    assert by_name["ndr"].brackets_pps == ((50_000.0, 51_000.0), (None, None), (None, None))
    assert by_name["delay"].brackets_pps == ((None, None), (None, None), (41_085.0, 41_915.0))
    assert (by_name["ndr"].state, by_name["ndr"].pps) == (State.FOUND, 50_500.0)


def wide(lower: float | None, upper: float | None) -> Bracket:
    estimate = None if lower is None or upper is None else (lower + upper) / 2
    return Bracket(WANTED[2], lower, upper, estimate, State.WIDE)


@pytest.mark.parametrize("cut", [wide(30_000, 45_000), wide(None, 44_000), wide(50_000, 60_000), None])
def test_restarts_that_ran_out_of_time_are_left_out_where_three_others_were_searched_to_the_end(
    cut: Bracket | None,
) -> None:
    nothing = [Bracket(goal, None, None, None, State.NOT_MEASURED) for goal in WANTED]
    others = [[found(40_000)], [found(41_000)], [found(42_000)]]
    search = conclude(WANTED, [nothing if cut is None else [cut], *others], minutes=5, width=0.03)
    alone = conclude(WANTED, others, minutes=5, width=0.03)
    assert search.max_packet_rate is not None, search.reasons
    assert alone.max_packet_rate is not None
    assert search.max_packet_rate.interval_pps == alone.max_packet_rate.interval_pps
    assert search.max_packet_rate.restart_low_pps == alone.max_packet_rate.restart_low_pps
    assert (search.unfinished, alone.unfinished) == (1, 0)
    assert len(search.max_packet_rate.brackets_pps) == 4


@pytest.mark.parametrize(
    ("restart", "others", "says"),
    [
        (wide(20_000, 30_000), 3, "the time ran out"),  # it broke the limit where the others keep it
        (wide(30_000, 45_000), 2, "the time ran out"),
        (Bracket(WANTED[2], 60_000.0, None, None, State.KEPT), 3, "no limit was reached"),
        (Bracket(WANTED[2], 39_000.0, None, None, State.GENERATOR), 3, "the generator"),
    ],
)
def test_a_restart_that_says_something_else_is_not_left_out(restart: Bracket, others: int, says: str) -> None:
    search = conclude(WANTED, [[restart], *([found(40_000 + 1000 * i)] for i in range(others))], minutes=5, width=0.03)
    assert search.max_packet_rate is None
    assert says in search.reasons[0]


def test_a_further_restart_is_expected_below_the_average_one() -> None:
    one = conclude(WANTED, [[found(40_000)]], minutes=1, width=0.03).max_packet_rate
    three = conclude(WANTED, [[found(38_000)], [found(40_000)], [found(42_000)]], minutes=1, width=0.03).max_packet_rate
    assert one is not None
    assert one.restart_low_pps is None
    assert three is not None
    assert three.restart_low_pps is not None
    assert three.interval_pps is not None
    assert three.restart_low_pps < three.interval_pps[0] < 40_000 < three.interval_pps[1]


def test_what_is_searched_is_bounded_as_an_experiment_is() -> None:
    experiment = Wanted(LimitsSection(), MixSection(), start_pps=6000, max_pps=9000).experiment()
    assert experiment.load.max_packet_rate_pps == 9000
    assert experiment.touched_settings() == ()
    assert experiment.limits.limits() == Limits()


def test_a_search_is_planned_for_five_restarts_of_three_minutes_and_waits_for_the_compilers() -> None:
    wanted = Wanted(LimitsSection(), MixSection())
    durations = wanted.experiment().durations
    assert (wanted.restarts, wanted.minutes) == (5, 15)
    assert durations.warm_up_seconds < 10 < 60 <= durations.longest_warm_up_seconds()
    assert (
        Wanted(LimitsSection(), MixSection(), warm_up_seconds=0).experiment().durations.longest_warm_up_seconds() == 0
    )
