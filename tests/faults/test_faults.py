"""25 of the seeds of ``make faults``, nearly one of each kind; six interrupts; and that the harness sees faults."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.invariants import restarts
from tests.faults.plan import KINDS, Effects, Fault, draw, draw_interrupt
from tests.faults.run import Outcome, readable, run_seeds, table

SEEDS = tuple(range(2, 27))
#: From here on a seed means an interrupt of the controller.
INTERRUPTS_FROM = 1000
INTERRUPTED = tuple(range(INTERRUPTS_FROM, INTERRUPTS_FROM + 6))

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
    pytest.mark.timeout(900),  # they take one minute on two idle cores
]


@pytest.fixture(scope="module")
def outcomes() -> dict[int, Outcome]:
    def drawn(seed: int, effects: Effects) -> Fault:
        return draw_interrupt(seed, effects) if seed >= INTERRUPTS_FROM else draw(seed, effects)

    found = run_seeds([*SEEDS, *INTERRUPTED], drawn=drawn)
    print(table(found))
    return {outcome.fault.seed: outcome for outcome in found}


@pytest.mark.parametrize("seed", [*SEEDS, *INTERRUPTED])
def test_the_host_is_left_as_found(seed: int, outcomes: dict[int, Outcome]) -> None:
    outcome = outcomes[seed]
    assert not outcome.findings, f"{outcome.fault}\n{outcome.findings}\n{readable(outcome)}"
    assert outcome.restored in ("by itself", "by revert")


def test_most_faults_happen(outcomes: dict[int, Outcome]) -> None:
    """Somebody who joins early ends a sweep before its fault; that must stay the exception."""
    reached = [outcome for outcome in outcomes.values() if outcome.reached]
    assert len(reached) >= 0.8 * len(outcomes)


EFFECTS = {"agent": [("open /run/x", 1), ("connect", 1)], "guard": [("open /run/x", 1), ("connect", 2)]}


def test_a_seed_determines_the_fault() -> None:
    assert [draw(seed, EFFECTS) for seed in range(200)] == [draw(seed, EFFECTS) for seed in range(200)]
    assert {draw(seed, EFFECTS).kind for seed in range(len(KINDS))} == set(KINDS)
    joined = [draw(seed, EFFECTS).join_seconds is not None for seed in range(600)]
    assert 0.28 < sum(joined) / len(joined) < 0.38


LOOKED = {"t": 1.0, "who": "agent", "pid": 7, "effect": "http GET /debug", "n": 1}
RESTART = {"who": "bridge", "event": "restart", "by": "agent", "parent": 7}


@pytest.mark.parametrize(
    ("joined", "participants", "restarted", "forbidden"),
    [
        (0.5, "3", 1.1, True),  # the look saw them
        (1.05, "3", 1.1, False),  # they came after it
        (1.05, "3", 8.0, True),  # the look was no longer one right before
        (0.5, "0", 1.1, False),  # they left
    ],
)
def test_a_restart_under_calls_is_seen(joined: float, participants: str, restarted: float, forbidden: bool) -> None:
    join = {"t": joined, "who": "world", "event": "3 join"}
    timeline = sorted([join, LOOKED, {**RESTART, "t": restarted, "participants": participants}], key=lambda x: x["t"])
    assert bool(list(restarts(timeline))) == forbidden


def test_a_restart_without_a_look_or_after_the_undrain_is_seen() -> None:
    undrained = {"t": 2.0, "who": "bridge", "event": "undrained", "by": "jvbtune"}
    assert list(restarts([{**RESTART, "t": 1.1, "participants": "3"}]))
    assert list(restarts([LOOKED, undrained, {**RESTART, "t": 2.1, "participants": "0"}]))
    assert not list(restarts([LOOKED, {**RESTART, "t": 1.1, "participants": "0"}, undrained]))


def test_the_hooks_are_those_of_the_archive() -> None:
    """The line in which the archive's copy gets its directory is still there."""
    text = (Path(__file__).parent / "hooks.py").read_text()
    assert text.count('DIRECTORY = globals().get("DIRECTORY", "")') == 1
    assert text.count("import builtins\n") == 1
