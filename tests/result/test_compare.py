"""What a comparison lists besides the rates: all that makes it one of more than the hosts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jvbtune.result import RunResult
from jvbtune.result.compare import compare
from jvbtune.result.model import Source
from tests.result.test_settings_first import BETTER, RMEM_MAX, result

SMALL = 212_992


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """Of a host that was found with a small buffer, for which the large one was found better."""
    found = result(tmp_path_factory.mktemp("small"), SMALL)
    return replace(found, source=Source.SWEEP, measured_with={RMEM_MAX: SMALL, "net.core.netdev_budget": 300})


def besides(a: RunResult, b: RunResult) -> tuple[str, ...]:
    (pair,) = compare([a, b]).comparisons
    return pair.differs_besides


def found_with(result: RunResult, rmem_max_bytes: int) -> RunResult:
    """The host measured once more with this value, where nothing was better."""
    return replace(result, settings=(), remarks=(), measured_with={**result.measured_with, RMEM_MAX: rmem_max_bytes})


def test_settings_in_force_that_differ_are_listed_though_nothing_was_found_better(small: RunResult) -> None:
    one, other = found_with(small, SMALL), found_with(small, BETTER)
    assert besides(one, other) == (f"{RMEM_MAX}: {SMALL} / {BETTER}",)
    assert besides(other, replace(other, measured_with={})) == (
        "net.core.netdev_budget: 300 / unknown",
        f"{RMEM_MAX}: {BETTER} / unknown",
    )


def test_what_was_found_better_and_then_set_is_no_difference(small: RunResult) -> None:
    assert [one.recommended for one in small.settings] == [BETTER]
    assert besides(small, found_with(small, BETTER)) == ()
    assert besides(small, found_with(small, SMALL)) == (f"{RMEM_MAX}: {BETTER} / {SMALL}",)
    not_deployed = replace(small, remarks=())  # the figures are of the values found on arrival
    assert besides(not_deployed, found_with(small, SMALL)) == ()


def test_a_simulated_run_is_told_apart(small: RunResult) -> None:
    assert besides(replace(small, source=Source.SIMULATED), small) == ("source: simulated / sweep",)
