"""A generator that is lost is opened anew, and the load is offered once more; a load that must end ends."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jvbtune.errors import GeneratorLostError, HostError, JvbtuneError, LoadError
from jvbtune.load import renewed
from jvbtune.load.base import Generator, IntendedLoad, Mix, Offered
from jvbtune.load.renewed import RenewedGenerator
from jvbtune.sweep.session import GENERATORS, Session

LOAD = IntendedLoad(2, Mix())
OFFERED = cast(Offered, object())


@dataclass
class Fake:
    """Raises what it is given, one after the other, and then offers."""

    raises: list[JvbtuneError] = field(default_factory=list)
    prefix: str = "jvbtune-x"
    endpoints: int = 3
    worker_pid: int | None = 7
    asked: list[Any] = field(default_factory=list)
    closed: int = 0
    aborted: JvbtuneError | None = None
    dies: bool = False

    def offer(self, load: IntendedLoad, seconds: float, **how: Any) -> Offered:
        self.asked.append((load, seconds, how))
        if self.raises:
            raise self.raises.pop(0)
        return OFFERED

    def stop(self) -> None:
        if self.raises:
            raise self.raises.pop(0)

    def abort(self, error: JvbtuneError) -> None:
        self.aborted = error

    def keep_alive(self, seconds: float) -> None:
        self.asked.append(seconds)

    def close(self) -> None:
        self.closed += 1
        if self.dies:
            raise LoadError("the bridge did not answer")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewed, "PAUSES_SECONDS", (0.0, 0.0, 0.0))


def lost(number: int = 0) -> GeneratorLostError:
    return GeneratorLostError(f"load-2: the worker is gone ({number})")


def made(*opened: Fake | JvbtuneError) -> tuple[RenewedGenerator, list[str]]:
    """With what is opened, one after the other."""
    left, said = list(opened), list[str]()

    def opens() -> Generator:
        one = left.pop(0)
        if isinstance(one, JvbtuneError):
            raise one
        return cast(Generator, one)

    return RenewedGenerator(opens, said.append), said


def held(generator: RenewedGenerator) -> Any:
    """What a session does with it: the load is offered, and again where it is lost."""
    host = SimpleNamespace(generator=generator)
    return Session.again_if_lost(cast(Session, host), lambda again: (generator.offer(LOAD, 3.0), again))


def test_what_was_asked_of_a_lost_generator_is_asked_of_the_next_one() -> None:
    first, second = Fake([lost()], dies=True), Fake(prefix="jvbtune-y")
    generator, said = made(first, second)
    assert held(generator) == (OFFERED, True)
    assert second.asked == [(LOAD, 3.0, {"settle_seconds": 2.0, "edge": None})] == first.asked
    assert (first.closed, second.closed) == (1, 0)
    assert (generator.prefix, said) == ("jvbtune-y", ["load-2: the worker is gone (0)"])
    assert held(generator) == (OFFERED, False)
    generator.close()
    generator.close()
    assert (first.closed, second.closed) == (1, 1)


def test_a_host_that_is_not_back_at_once_is_waited_for() -> None:
    second = Fake()
    generator, _ = made(Fake([lost()]), HostError("load-2 does not answer"), LoadError("no Python"), second)
    assert held(generator) == (OFFERED, True)
    assert len(second.asked) == 1
    gone = HostError("load-2 does not answer")
    generator, said = made(Fake([lost(1)]), gone, gone, gone)
    with pytest.raises(GeneratorLostError, match=r"gone \(1\)"):
        held(generator)
    assert len(said) == 1


def test_a_generator_that_dies_of_a_load_is_not_opened_for_ever() -> None:
    generator, said = made(*(Fake([lost(number)]) for number in range(GENERATORS + 1)))
    with pytest.raises(GeneratorLostError, match=rf"gone \({GENERATORS - 1}\)"):
        held(generator)
    assert len(said) == GENERATORS - 1


def test_an_error_of_another_kind_is_no_loss() -> None:
    first = Fake([LoadError("too much")])
    generator, said = made(first)
    with pytest.raises(LoadError, match="too much"):
        held(generator)
    assert (first.closed, said) == (0, [])


def test_a_load_that_must_end_is_not_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host was lost to its agent while a new generator was waited for."""
    monkeypatch.setattr(renewed, "PAUSES_SECONDS", (60.0,))
    generator, _ = made(Fake([lost()]), Fake())
    threading.Timer(0.2, generator.abort, [HostError("the lease ended")]).start()
    with pytest.raises(HostError, match="the lease ended"):
        held(generator)


def test_an_abort_and_what_is_left_of_a_lease_reach_the_generator_that_is_there() -> None:
    second = Fake()
    generator, _ = made(Fake([lost()]), second)
    generator.keep_alive(400.0)
    generator.stop()
    generator.keep_alive(4.0)
    generator.abort(HostError("the lease ended"))
    left, renewed_by = second.asked
    assert left == pytest.approx(400, abs=5), "it is not told again before a quarter of the lease is over"
    assert renewed_by == 4.0
    assert isinstance(second.aborted, HostError)
