"""A rollback takes back the apply that the operator was shown, and no other, whatever happens in the meantime."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jvbtune import apply as applying
from jvbtune.agent import deploy, deployguard
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.generations import identity
from jvbtune.apply.run import Plan
from jvbtune.apply.wanted import Expected
from jvbtune.cli import _run
from jvbtune.errors import AgentError
from jvbtune.fleet.nursery import Message, perform
from jvbtune.fleet.outcome import Outcome, state_of
from jvbtune.hosts import agent_client
from jvbtune.hosts.local import LocalHost, LocalStream
from jvbtune.inventory import HostEntry
from jvbtune.protocol import deploy as messages
from jvbtune.protocol.messages import Nothing
from tests.agent.deploy_host import JVB_CONF, SETTINGS, DeployHost

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root: settings are changed by root only")


class HostOfAgent(LocalHost):
    """A host whose agent is a process of its own, with a test's places."""

    def __init__(self, host: DeployHost) -> None:
        super().__init__("jvb")
        self._argv = host.agent_argv()

    def stream(self, argv: object, *, sudo: bool = False) -> LocalStream:
        return LocalStream(self.name, tuple(self._argv))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeployHost]:
    """Two applies are there: the first was confirmed, the second has written its files and not let calls in yet."""
    host = DeployHost(tmp_path)
    host.apply()
    host.begin(_another(host))
    deploy.write(host.agent, Nothing())
    monkeypatch.setattr(agent_client, "ROOT_DIRECTORIES", (str(tmp_path / "cache"),))
    for module in ("jvbtune.hosts", "jvbtune.fleet.applying"):
        monkeypatch.setattr(f"{module}.connect", lambda entry: nullcontext(HostOfAgent(host)))
    commands = host.bridge.arguments["control"]["commands"]["restart"]
    (tmp_path / "jvbtune.toml").write_text(
        "".join(
            f"[hosts.{name}]\nssh = '{name}.invalid'\n[hosts.{name}.bridge]\nhttp_port = {host.bridge.port}\n"
            f"pid_file = {json.dumps(str(host.bridge.pid_file))}\n"
            f"control = {{ commands = {{ restart = {json.dumps(commands)} }} }}\n"
            for name in ("jvb", "other")
        )
    )
    yield host
    host.bridge.close()


def _another(host: DeployHost, threshold: str = "20000") -> messages.Wanted:
    return replace(host.wanted, run_id=f"run-{threshold}", include=SETTINGS.replace("39500", threshold))


def _guard(host: DeployHost) -> None:
    """What the second apply's guard does when its agent is gone."""
    latest = host.places.generations.latest()
    assert latest is not None
    assert latest["number"] == 2
    assert deployguard.finish(host.places, identity(latest)) == 0


def _end_agent(host: DeployHost) -> None:
    """Of the second apply: it was killed."""
    manifest = host.places.generations.latest()
    assert manifest is not None
    manifest["agent"] = {"pid": 1, "start_ticks": -1}
    host.places.generations.write(manifest)


def _rollback(host: DeployHost, *more: str) -> int:
    return _run(["rollback", "--host", "jvb", "--inventory", str(host.directory / "jvbtune.toml"), *more])


def _first_is_in_force(host: DeployHost) -> bool:
    """And the bridge takes conferences."""
    latest = host.places.generations.latest()
    text = host.conf.with_name("jvbtune.conf").read_text()
    return latest is not None and latest["number"] == 1 and text == SETTINGS and not host.bridge.drain


def test_what_its_guard_took_back_while_the_operator_was_asked_is_no_failure(
    host: DeployHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _end_agent(host)
    asked = []

    def ask(yes: bool, question: str) -> None:
        asked.append(question)
        _guard(host)
        host.bridge.log.clear()

    monkeypatch.setattr("jvbtune.cli.apply._ask", ask)
    assert _rollback(host) == 0
    assert asked == ["Take this back on jvb?"]
    assert "the apply of run run-20000 is taken back already" in capsys.readouterr().out
    assert _first_is_in_force(host)
    assert host.bridge.log == [], "the bridge is left alone"


def test_in_json_too(host: DeployHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _end_agent(host)
    monkeypatch.setattr("jvbtune.cli.apply._ask", lambda yes, question: _guard(host))
    assert _rollback(host, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["latest"]["number"], document["restored"]) == (2, None)
    assert _first_is_in_force(host)


def test_an_apply_that_has_its_number_now_is_another_one(
    host: DeployHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _end_agent(host)

    def ask(yes: bool, question: str) -> None:
        _guard(host)
        host.agent = host.new_agent()
        host.apply(_another(host, "30000"))

    monkeypatch.setattr("jvbtune.cli.apply._ask", ask)
    assert _rollback(host) == 0
    latest = host.places.generations.latest()
    assert latest is not None
    assert (latest["number"], latest["run_id"], latest["state"]) == (2, "run-30000", "applied")
    assert "30000" in host.conf.with_name("jvbtune.conf").read_text()
    assert "is taken back already" in capsys.readouterr().out


def test_what_came_after_it_keeps_it(
    host: DeployHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy.release(host.agent, Nothing())
    deploy.confirm(host.agent, Nothing())

    def ask(yes: bool, question: str) -> None:
        host.agent = host.new_agent()
        host.apply(_another(host, "30000"))
        host.bridge.log.clear()

    monkeypatch.setattr("jvbtune.cli.apply._ask", ask)
    assert _rollback(host) == 1
    assert "run-30000 by a test came in the meantime, so nothing is taken back" in capsys.readouterr().err
    assert "30000" in host.conf.with_name("jvbtune.conf").read_text()
    assert host.bridge.log == []


class InProcess:
    """An agent's operations in this process. ``before``: what happens just before one of them."""

    def __init__(self, host: DeployHost, before: dict[str, Callable[[], None]]) -> None:
        self.agent, self.before = host.new_agent(), before

    def call(self, operation: Any, arguments: Any, timeout_seconds: float = 0.0) -> Any:
        from jvbtune.agent import tuning

        self.before.pop(operation.name, lambda: None)()
        served = next(one for one in (*deploy.OPERATIONS, *tuning.OPERATIONS) if one.operation.name == operation.name)
        try:
            return served.perform(self.agent, arguments)
        except AgentFault as fault:
            raise agent_client.KINDS[fault.kind](fault.message, hint=fault.hint) from None


@pytest.mark.parametrize("when", [messages.ROLLBACK.name, "tuning.calls"])
def test_a_guard_that_is_faster_than_a_rollback_by_force_leaves_nothing_to_do(host: DeployHost, when: str) -> None:
    """--force ends the agent; its guard then takes the apply back, and calls come to the bridge again."""
    _end_agent(host)

    def guard() -> None:
        _guard(host)
        host.bridge.foreign = 3 if when == "tuning.calls" else 0
        host.bridge.log.clear()

    agent = InProcess(host, {when: guard})
    meant = deploy.latest_generation(agent.agent, Nothing()).generation
    assert meant is not None
    told: list[str] = []
    options = applying.Options("a test", drain_timeout_seconds=20)
    entry = _entry(host)
    assert applying.roll_back(entry, agent, options, told.append, meant, force=True) is None  # type: ignore[arg-type]
    assert _first_is_in_force(host)
    assert (host.bridge.log, told) == ([], [])


class Silent:
    """An agent behind a link that is cut without a word after the drain."""

    alive = True

    def __init__(self, host: DeployHost) -> None:
        self.host, self.given_up = HostOfAgent(host), False
        self.asked: list[tuple[str, float]] = []

    def call(self, operation: Any, arguments: Any, timeout_seconds: float = 30.0) -> Any:
        if operation is messages.FIGURES:
            return messages.Figures(1, 1, 0, 0)
        if operation is messages.BEGIN:
            return messages.Generation(2, "run-1", "a test", "drained", 1.0, restart=True)
        self.asked.append((operation.name, timeout_seconds))
        raise AgentError(f"jvb: the agent: {operation.name} was not answered")

    def give_up(self) -> None:
        self.given_up = True


def test_an_agent_that_no_longer_answers_is_not_waited_for(host: DeployHost) -> None:
    agent = Silent(host)
    planned = messages.Planned("commands", [], {}, "a test", {}, False, 1, [], "seen")
    plan = Plan(host.wanted, Expected({}, {}), planned)
    told: list[str] = []
    with pytest.raises(AgentError, match=r"tuning\.calls was not answered"):
        applying.apply(_entry(host), agent, plan, applying.Options("a test", 0.0), told.append)  # type: ignore[arg-type]
    assert [name for name, _ in agent.asked] == ["tuning.calls", "clock"]
    assert agent.given_up
    assert "a minute later if the link was cut without a word" in told[-1]


def _entry(host: DeployHost) -> HostEntry:
    from jvbtune.inventory import load_inventory

    return load_inventory(host.directory / "jvbtune.toml").host("jvb")


def test_of_many_hosts_each_takes_back_what_was_shown(
    host: DeployHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The look, the question and the change of `jvbtune rollback` on several hosts; the jobs run in this process."""
    _end_agent(host)

    def work_through(fleet: Any, nursery: Any, *, json_lines: bool) -> tuple[int, list[Outcome]]:
        outcomes = []
        for member in fleet.members:
            done: Message = {"exit_code": 0, "reason": "there is nothing to roll back", "data": {"changes": False}}
            if member.entry.name != "other":  # on which nothing was applied
                done = perform(member.job, lambda event, **data: None)
            code = int(done["exit_code"])
            data = json.loads(json.dumps(done.get("data") or {}))
            outcomes.append(Outcome(member.entry.name, state_of(code), code, str(done["reason"]), data=data))
        return 0, outcomes

    monkeypatch.setattr("jvbtune.cli.many.work_through", work_through)
    monkeypatch.setattr("jvbtune.cli.apply._ask", lambda yes, question: _guard(host))
    assert _rollback(host, "--host", "other", "--json") == 0
    assert _first_is_in_force(host)
    assert "the apply of run run-20000 is taken back already" in capsys.readouterr().out


def test_a_bridge_that_does_not_run_is_taken_back_at_once(host: DeployHost) -> None:
    """Nobody can be on it, and nobody says so: its calls were waited for, for an hour."""
    _end_agent(host)
    host.bridge.silent_when_dead = True
    host.bridge.kill()
    begun = time.monotonic()
    assert _rollback(host, "--yes", "--force", "--drain-timeout", "40") == 0
    assert time.monotonic() - begun < 30
    assert _first_is_in_force(host)
    assert host.bridge.under[0] == host.conf.read_text()


def test_another_bridges_apply_is_not_taken_back(host: DeployHost, capsys: pytest.CaptureFixture[str]) -> None:
    _end_agent(host)
    with subprocess.Popen(["sleep", "600"]) as another:
        (host.directory / "other.pid").write_text(str(another.pid))
        text = (host.directory / "jvbtune.toml").read_text()
        mine = json.dumps(str(host.bridge.pid_file))
        at = text.index("[hosts.other]")
        theirs = text[at:].replace(mine, json.dumps(str(host.directory / "other.pid")))
        (host.directory / "jvbtune.toml").write_text(text[:at] + theirs)
        before = host.files()
        argv = ["rollback", "--host", "other", "--inventory", str(host.directory / "jvbtune.toml"), "--yes"]
        status = _run(argv)
        another.kill()
    assert status == 1
    assert "the last apply on this machine is of another bridge" in capsys.readouterr().err
    assert host.files() == before


def test_it_takes_back_what_was_shown(host: DeployHost, capsys: pytest.CaptureFixture[str]) -> None:
    _end_agent(host)
    assert _rollback(host, "--yes") == 0
    assert _first_is_in_force(host)
    assert "the apply of run run-20000 is rolled back" in capsys.readouterr().out
    assert _rollback(host, "--yes") == 0
    assert host.conf.read_text() == JVB_CONF
