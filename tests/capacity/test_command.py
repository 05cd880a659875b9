"""The command's words: what it refuses before it goes near a host, and how it tells what was found."""

import polars as pl
import pytest
from click.testing import CliRunner

from jvbtune.capacity.goals import goals, limits_of
from jvbtune.capacity.result import Rate, conclude
from jvbtune.capacity.run import Search
from jvbtune.capacity.search import Bracket
from jvbtune.cli.capacity import command, text_of
from jvbtune.errors import UsageError
from jvbtune.fit import Limits
from jvbtune.fit.simulator import Design, Disturbance, SimulatedHost, simulate
from jvbtune.sweep.experiment import MixSection

WANTED = goals(delay=(50.0, 0.01))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--delay", "50ms"], "is not a delay and a share"),
        (["--delay", "soon:0.01"], "is not a duration"),
        (["--loss", "2"], "is not above 0 and at most 1"),
        (["--senders", "9", "--participants", "4"], "is more than --participants"),
    ],
)
def test_words_that_are_no_goal_are_refused(options: list[str], says: str) -> None:
    answer = CliRunner().invoke(command, ["--host", "nowhere", *options])
    assert answer.exit_code == 2
    assert says in answer.output


def test_a_share_that_is_not_measured_is_refused_before_a_host_is_touched() -> None:
    answer = CliRunner().invoke(command, ["--host", "nowhere", "--delay", "50ms:0.003"])
    assert isinstance(answer.exception, UsageError)
    assert "not measured" in str(answer.exception)


def found(pps: float, name: str = "cpu", state: str = "found") -> Bracket:
    goal = next(goal for goal in WANTED if goal.name == name)
    return Bracket(goal, 0.99 * pps, 1.01 * pps, pps, state)


def test_a_pdr_is_never_told_without_its_ratio_and_a_kept_goal_is_no_rate() -> None:
    kept = Bracket(WANTED[4], 60_000.0, None, None, "kept")
    restarts = [[found(40_000 + 500 * i), found(55_000, "pdr"), kept] for i in range(3)]
    text = text_of(conclude(WANTED, restarts, pl.DataFrame(), minutes=5, width=0.03))
    assert "PDR (loss ratio 0.001): 55000 pps" in text
    assert "not met, kept up to 60000 pps" in text
    assert "Bound by         CPU 80%" in text
    assert "95 % interval over restarts" in text


def test_the_fitted_curve_is_held_against_the_search() -> None:
    rates = tuple(6_000.0 * level for level in range(1, 11))
    trials = simulate(SimulatedHost(), Design(rates, 3), Disturbance(restart_sd=0.01, noise_sd=0.005), seed=1)
    truth = SimulatedHost().truth(Limits(**limits_of(WANTED)))["cpu"]

    def rate(pps: float) -> Rate:
        restarts = [[found(pps)] for _ in range(3)]
        return next(r for r in conclude(WANTED, restarts, trials, minutes=1, width=0.03).rates if r.goal.name == "cpu")

    assert rate(truth).agrees is True
    assert rate(1.5 * truth).agrees is False


def test_what_is_searched_is_bounded_as_an_experiment_is() -> None:
    search = Search(WANTED, limits_of(WANTED), MixSection(), start_pps=6000, max_pps=9000)
    experiment = search.experiment()
    assert experiment.load.max_packet_rate_pps == 9000
    assert experiment.touched_settings() == ()
    assert experiment.limits.cpu_ratio == 0.8
