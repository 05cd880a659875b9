"""A generator that is lost is opened anew, and the load is offered once more; a load that must end ends."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from jvbtune.errors import GeneratorLostError, HostError, JvbtuneError, LoadError
from jvbtune.load import renewed
from jvbtune.load.base import Generator, IntendedLoad, Mix, Offered
from jvbtune.load.renewed import ATTEMPTS, RenewedGenerator

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


def test_what_was_asked_of_a_lost_generator_is_asked_of_the_next_one() -> None:
    first, second = Fake([lost()], dies=True), Fake(prefix="jvbtune-y")
    generator, said = made(first, second)
    assert generator.offer(LOAD, 3.0, settle_seconds=1.0) is OFFERED
    assert second.asked == [(LOAD, 3.0, {"settle_seconds": 1.0, "edge": None})] == first.asked
    assert (first.closed, second.closed) == (1, 0)
    assert (generator.prefix, said) == ("jvbtune-y", ["load-2: the worker is gone (0)"])
    generator.close()
    generator.close()
    assert (first.closed, second.closed) == (1, 1)


def test_a_host_that_is_not_back_at_once_is_waited_for() -> None:
    second = Fake()
    generator, _ = made(Fake([lost()]), HostError("load-2 does not answer"), LoadError("no Python"), second)
    assert generator.offer(LOAD, 3.0) is OFFERED
    assert len(second.asked) == 1
    gone = HostError("load-2 does not answer")
    generator, said = made(Fake([lost(1)]), gone, gone, gone)
    with pytest.raises(GeneratorLostError, match=r"gone \(1\)"):
        generator.offer(LOAD, 3.0)
    assert len(said) == 1


def test_a_generator_that_dies_of_a_load_is_not_opened_for_ever() -> None:
    generator, said = made(*(Fake([lost(number)]) for number in range(ATTEMPTS + 1)))
    with pytest.raises(GeneratorLostError, match=rf"gone \({ATTEMPTS - 1}\)"):
        generator.offer(LOAD, 3.0)
    assert len(said) == ATTEMPTS - 1


def test_an_error_of_another_kind_is_no_loss() -> None:
    first = Fake([LoadError("too much")])
    generator, said = made(first)
    with pytest.raises(LoadError, match="too much"):
        generator.offer(LOAD, 3.0)
    assert (first.closed, said) == (0, [])


def test_a_load_that_must_end_is_not_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host was lost to its agent while a new generator was waited for."""
    monkeypatch.setattr(renewed, "PAUSES_SECONDS", (60.0,))
    generator, _ = made(Fake([lost()]), Fake())
    threading.Timer(0.2, generator.abort, [HostError("the lease ended")]).start()
    with pytest.raises(HostError, match="the lease ended"):
        generator.offer(LOAD, 3.0)


def test_an_abort_and_a_lease_reach_the_generator_that_is_there() -> None:
    second = Fake()
    generator, _ = made(Fake([lost()]), second)
    generator.stop()
    generator.keep_alive(4.0)
    generator.abort(HostError("the lease ended"))
    assert second.asked == [4.0]
    assert isinstance(second.aborted, HostError)
