"""What a host's counters do when its agent is lost and another one begins; without a host."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from jvbtune.errors import BridgeError
from jvbtune.inventory import HostEntry
from jvbtune.observe import watch as watching
from jvbtune.observe.rows import Row
from jvbtune.observe.watch import HostWatch
from jvbtune.protocol.samples import Sample
from tests.observe.samples import sample


class FakeAgent:
    """Gives its samples one by one, and is gone."""

    waiting: ClassVar[list[Sequence[Sample]]] = []

    def __init__(self, *args: Any, **options: Any) -> None:
        self._left = list(self.waiting.pop(0))
        self.events = SimpleNamespace(get=self._get, get_nowait=self._none)

    def __enter__(self) -> FakeAgent:
        return self

    def __exit__(self, *exc: Any) -> None:
        pass

    def call(self, *args: Any) -> None:
        pass

    @property
    def alive(self) -> bool:
        return bool(self._left)

    def _get(self, timeout: float) -> Sample:
        return self._left.pop(0) if self._left else self._none()

    def _none(self) -> Sample:
        raise queue.Empty


class SilentReader:
    counted_mono = 0.0

    def __init__(self, client: object) -> None:
        pass

    def read(self) -> dict[str, float]:
        raise BridgeError("it does not answer")


def spent(seconds: float, compilers: float, collectors: float, pid: int = 7) -> Sample:
    taken = sample(seconds, pid=pid)
    assert taken.bridge is not None
    threads = {"C2 CompilerThre": compilers, "GC Thread#": collectors, "jvb": 9.0}
    return replace(taken, bridge=replace(taken.bridge, threads=threads))


def emitted(monkeypatch: pytest.MonkeyPatch, *agents: Sequence[Sample]) -> list[tuple[float, float]]:
    """(compilers, collectors) of each row, with a new agent for each of ``agents``."""
    rows: list[Row] = []
    monkeypatch.setattr(FakeAgent, "waiting", list(agents))
    monkeypatch.setattr(watching, "AgentClient", FakeAgent)
    monkeypatch.setattr(watching, "BridgeReader", SilentReader)
    monkeypatch.setattr(watching, "connect", lambda entry: contextlib.nullcontext(SimpleNamespace(close=lambda: None)))
    monkeypatch.setattr(watching, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(HostWatch, "_read_config", lambda watch, agent: None)
    watch = HostWatch(HostEntry("h", "h"), {}, rows.append, lambda text: None, interval_seconds=0.01)

    def lost() -> None:
        if not FakeAgent.waiting:
            watch.stop()

    monkeypatch.setattr(watch, "_lost", lost)
    watch.run()
    return [(row.values["compiler_cpu_s"], row.values["collector_cpu_s"]) for row in rows]  # type: ignore[misc]


def test_sums_over_threads_do_not_fall_when_a_new_agent_knows_only_those_that_live(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = emitted(
        monkeypatch,
        [spent(0, 200.0, 5.0), spent(10, 240.0, 6.0)],
        [spent(60, 60.0, 7.0), spent(70, 65.0, 8.0)],
        [spent(90, 50.0, 9.0)],
    )
    assert found == [(200.0, 5.0), (240.0, 6.0), (240.0, 7.0), (245.0, 8.0), (245.0, 9.0)]


def test_sums_of_another_process_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert emitted(monkeypatch, [spent(0, 240.0, 6.0)], [spent(60, 3.0, 1.0, pid=8)]) == [(240.0, 6.0), (3.0, 1.0)]
