"""What the controller begins, and what it does not: with a nursery that has no processes, so that each message arrives
at the moment that matters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import click
import pytest

from jvbtune.cli.many import measure_many, rules_of
from jvbtune.cli.sweep import command as sweep
from jvbtune.fleet import run as controller
from jvbtune.fleet.budget import Budget
from jvbtune.fleet.looking import Check, Look
from jvbtune.fleet.measuring import Derive
from jvbtune.fleet.nursery import Child, Job, Message, Nursery, Tell
from jvbtune.fleet.outcome import State
from jvbtune.fleet.run import Fleet, Member, Rules
from jvbtune.fleet.store import FleetRun, FleetWriter, create_fleet
from jvbtune.inventory import HostEntry, Selection, load_inventory
from jvbtune.store import Run, RunWriter, create_run
from jvbtune.sweep.experiment import Needs


@dataclass(frozen=True)
class Work:
    """What takes a host out of service."""

    entry: HostEntry

    def __call__(self, tell: Tell) -> Message:
        raise AssertionError("there is no process that does it")


@dataclass
class Stub(Nursery):
    """Every job ends at once with code 0, unless ``codes`` has another one; work on a host of ``slow`` ends by ``end``.

    ``out``: what a look sees. ``during``: what happens while a host is looked at, or worked on, the first time.
    """

    out: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, int] = field(default_factory=dict)
    slow: Sequence[str] = ()
    during: dict[str, Callable[[], None]] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    _heard: dict[str, Callable[[Message], None]] = field(default_factory=dict)

    def start(self, job: Job, on_message: Callable[[Message], None]) -> Child:
        self.jobs.append(job)
        if isinstance(job, Look):
            self.during.pop(job.entry.name, lambda: None)()
            on_message({"event": "ended", "exit_code": 0, "data": {"out": self.out.get(job.entry.name, "")}})
        elif isinstance(job, Derive):
            on_message({"event": "run", "run": job.run.id})
            on_message({"event": "ended", "exit_code": 0, "reason": "derived"})
        else:
            assert isinstance(job, Check | Work)
            key = f"check {job.entry.name}" if isinstance(job, Check) else job.entry.name
            self._heard[key] = on_message
            self.during.pop(f"work on {key}", lambda: None)()
            if key not in self.slow:
                self.end(key, self.codes.get(key, 0))
        return cast(Child, None)

    def end(self, name: str, code: int = 0) -> None:
        self._heard[name]({"event": "ended", "exit_code": code, "reason": f"ended with {code}"})

    def worked_on(self) -> list[str]:
        return [job.entry.name for job in self.jobs if isinstance(job, Work)]

    def close(self) -> None: ...


def _hosts(**regions: str) -> list[HostEntry]:
    return [HostEntry(name, None, labels={"region": region}) for name, region in regions.items()]


def _fleet(entries: Sequence[HostEntry], rules: Rules) -> Fleet:
    return Fleet("test", [Member(entry, Work(entry)) for entry in entries], rules)


def test_a_host_that_ends_while_another_one_is_looked_at_makes_room_for_the_next() -> None:
    a1, a2, b1, b2 = _hosts(a1="eu", a2="eu", b1="us", b2="us")
    stub = Stub(out={"b2": "drained"}, slow=["a1"])
    stub.during["b2"] = lambda: stub.end("a1")
    fleet = _fleet([a1, a2, b1], Rules(3, Budget(1, "region"), neighbours=[b2]))
    fleet.run(stub)
    assert stub.worked_on() == ["a1", "a2"]
    assert [one.state for one in fleet.ordered()] == [State.DONE, State.DONE, State.HELD_BACK]
    assert fleet.outcomes["b1"].reason == "b2 is drained"


def test_no_host_begins_after_a_failure_that_arrives_while_it_is_looked_at() -> None:
    stub = Stub(slow=["c1"])
    stub.during["a2"] = lambda: stub.end("c1", 1)
    fleet = _fleet(_hosts(c1="eu", a2="us"), Rules(2, Budget(1, "region"), stop_on_error=True))
    assert fleet.run(stub) == 1
    assert stub.worked_on() == ["c1"]
    assert fleet.outcomes["a2"].state is State.NOT_STARTED
    assert fleet.outcomes["a2"].reason == "c1 failed first"


Resume = Callable[..., Stub]


@pytest.fixture
def resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resume:
    """``jvbtune sweep --resume``, of these hosts."""
    monkeypatch.setattr(controller, "PUT_BACK_SECONDS", 0.0)

    def resume(record: FleetRun, stub: Stub, *entries: HostEntry, neighbours: Sequence[HostEntry] = ()) -> Stub:
        def job(entry: HostEntry, run: Run | None) -> Work:
            return Work(entry)

        monkeypatch.setattr("jvbtune.fleet.nursery.Nursery", lambda modules: stub)
        rules = Rules(1, Budget(1), neighbours=neighbours)
        forms: dict[str, Any] = {"as_json": False, "json_lines": False}
        measure_many("sweep", entries, job, {}, (), Needs(), record, rules, tmp_path, **forms)
        return stub

    return resume


@pytest.fixture
def left_drained(tmp_path: Path) -> FleetRun:
    """A fleet run that left h1 drained, and did not begin with h2."""
    record = create_fleet(tmp_path, "sweep", _hosts(h1="eu", h2="eu"), {})
    with FleetWriter(record) as writer:
        writer.append("host_started", host="h1")
        writer.append("host_finished", host="h1", state="failed", exit_code=1, reason="why", not_put_back="drained")
        writer.append("host_finished", host="h2", state="held back", exit_code=1, reason="h1 is drained")
    return record


@pytest.mark.parametrize("failing", ["check h1", "h1", "none"])
def test_a_host_that_an_earlier_attempt_left_out_counts_until_it_is_back(
    left_drained: FleetRun, resume: Resume, failing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hosts = _hosts(h1="eu", h2="eu")
    stub = resume(left_drained, Stub(out={"h1": "drained"}, codes={failing: 1}), *hosts)
    assert stub.worked_on() == ([] if failing == "check h1" else ["h1"])
    found = left_drained.outcomes()
    assert (found["h2"].state, found["h2"].reason) == (State.HELD_BACK, "h1 is drained")
    assert found["h1"].not_put_back == "drained"
    assert "NOT PUT BACK: the host is drained." in capsys.readouterr().out
    stub = resume(left_drained, Stub(codes={failing: 1}), *hosts)
    assert stub.worked_on()[-1] == "h2"
    assert left_drained.outcomes()["h2"].state is State.DONE
    assert left_drained.not_put_back() == {}
    assert "NOT PUT BACK" not in capsys.readouterr().out


def test_a_host_that_was_left_out_and_is_measured_is_looked_at_again(left_drained: FleetRun, resume: Resume) -> None:
    [h1] = _hosts(h1="eu")
    out = {"h1": "drained"}
    assert resume(left_drained, Stub(out, during={"work on h1": out.clear}), h1).worked_on() == ["h1"]
    assert left_drained.outcomes()["h1"].state is State.DONE
    assert left_drained.not_put_back() == {}


def test_a_controller_that_is_killed_does_not_forget_what_was_left_out(left_drained: FleetRun) -> None:
    with FleetWriter(left_drained) as writer:
        writer.append("host_started", host="h1")
        writer.append("host_run", host="h1", run="run-1")
    assert left_drained.not_put_back() == {"h1": "drained"}


def _neighbours(entry: HostEntry, file: Path, record: FleetRun | None) -> list[HostEntry]:
    """Of ``jvbtune sweep --resume`` with one host that is selected, and without --per."""
    with click.Context(sweep) as context:
        context.params.update({"per": None, "jobs": 1, "max_unavailable": 1})
        for name in context.params:
            context.set_parameter_source(name, click.core.ParameterSource.DEFAULT)
        selection = Selection(hosts=(entry.name,), inventories=(file,))
        return list(rules_of(context, [entry], selection, record).neighbours)


def test_a_host_that_was_left_out_counts_though_it_is_not_selected(
    left_drained: FleetRun, resume: Resume, tmp_path: Path
) -> None:
    file = tmp_path / "jvbtune.toml"
    h1, h2 = '[hosts.h1]\nssh = "203.0.113.1"\n', '[hosts.h2]\nssh = "203.0.113.2"\n'
    file.write_text(h2)
    entry = load_inventory(file).host("h2")
    assert _neighbours(entry, file, left_drained) == [], "the inventory does not have it any more"
    file.write_text(h1 + h2)
    assert _neighbours(entry, file, None) == []
    neighbours = _neighbours(entry, file, left_drained)
    assert [one.name for one in neighbours] == ["h1"]
    assert resume(left_drained, Stub(out={"h1": "drained"}), entry, neighbours=neighbours).worked_on() == []
    assert left_drained.outcomes()["h2"].reason == "h1 is drained"
    assert resume(left_drained, Stub(), entry, neighbours=neighbours).worked_on() == ["h2"]


@pytest.mark.parametrize("experiment", ["udp-buffers", "capacity-search"])
def test_a_host_with_a_finished_run_only_gets_its_result(tmp_path: Path, resume: Resume, experiment: str) -> None:
    [a] = _hosts(a="eu")
    record = create_fleet(tmp_path, "sweep", [a], {})
    made = create_run(tmp_path, host="a", experiment={"name": experiment}, seed=1, plan={})
    with FleetWriter(record) as fleet, RunWriter(made) as run:
        fleet.append("host_started", host="a")
        fleet.append("host_run", host="a", run=made.id)
        run.journal.append("run_started")
        run.journal.append("run_finished", status="done", message="")
    assert resume(record, Stub(), a).jobs == [Derive(made)]
    found = record.outcomes()["a"]
    assert (found.state, found.reason, found.run) == (State.DONE, "derived", made.id)
    assert resume(record, Stub(), a).jobs == []
