"""A trial is held again while the compilers work, extended once if it is not steady, and not for anything else."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jvbtune.load.base import IntendedLoad, Mix, Offered
from jvbtune.sweep.experiment import BASELINE
from jvbtune.sweep.plan import Step, Trial
from jvbtune.sweep.session import COMPILING_ATTEMPTS, Session
from jvbtune.sweep.trial import Measured

TRIAL = Trial("b0-baseline-0", "steady", IntendedLoad(4, Mix()), 10.0, 0)
STEP = Step(0, BASELINE, {}, True, (TRIAL,))


@dataclass
class Host:
    """A session whose trials are invalid for the given reasons, one after the other, and then valid."""

    codes: list[list[str]]
    extend_seconds: float = 30.0
    held: list[tuple[float, float]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    @property
    def experiment(self) -> Any:
        return SimpleNamespace(durations=SimpleNamespace(settle_seconds=2.0, extend_seconds=self.extend_seconds))

    def hold_once(
        self, step: Step, trial: Trial, order: int, expected: int | None, settle: float, s: float
    ) -> Measured:
        self.held.append((settle, s))
        codes = self.codes[len(self.held) - 1] if len(self.held) <= len(self.codes) else []
        row = {"invalid_codes": codes, "invalid_because": codes, "valid": not codes}
        return Measured(row, (), cast(Offered, None), ())

    def record(self, event: str, **data: Any) -> None:
        self.events.append(event)


@pytest.mark.parametrize(
    ("codes", "held"),
    [
        ([], [(2, 10)]),
        ([["compiling"]], [(2, 10), (0, 10)]),
        ([["compiling"], ["compiling", "unsteady"]], [(2, 10), (0, 10), (0, 10)]),
        ([["compiling"], ["unsteady"]], [(2, 10), (0, 10), (0, 30)]),
        ([["unsteady"], ["unsteady"]], [(2, 10), (0, 30)]),
        ([["compiling", "other_tenants"]], [(2, 10)]),
        ([["steal"]], [(2, 10)]),
    ],
)
def test_what_is_held_again(codes: list[list[str]], held: list[tuple[float, float]]) -> None:
    host = Host(codes)
    Session.hold(cast(Session, host), STEP, TRIAL, 0, None)
    assert host.held == held
    assert host.events == ["trial_extended"] * (len(held) - 1)


def test_a_bridge_that_goes_on_compiling_has_an_invalid_trial_in_the_end() -> None:
    host = Host([["compiling"]] * 10)
    found = Session.hold(cast(Session, host), STEP, TRIAL, 0, None)
    assert found.row["invalid_codes"] == ["compiling"]
    assert len(host.held) == 1 + COMPILING_ATTEMPTS


def test_an_experiment_without_extension_still_waits_for_the_compilers() -> None:
    host = Host([["compiling"], ["unsteady"]], extend_seconds=0)
    Session.hold(cast(Session, host), STEP, TRIAL, 0, None)
    assert host.held == [(2, 10), (0, 10)]
