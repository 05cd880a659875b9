"""Whatever happens in whatever order, a host is left as found: a state machine over begin, apply, restart and put-back.

``JVBTUNE_SEQUENCES`` says how many sequences are tried (300 by default; 10000 for a release).
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jvbtune.agent import tuning
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.putback import put_back
from jvbtune.protocol import tuning as messages
from jvbtune.protocol.agent import BridgeQuery, Commands, Control
from jvbtune.protocol.messages import Nothing
from tests.agent.simulated_host import BASELINE, FOREIGN, KEY, SWEPT, Agent, Died, SimulatedHost

#: How many effects a process has left; None: it lives.
DIES = st.one_of(st.none(), st.none(), st.integers(0, 40))
STEP = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in SWEPT.items()})


BRIDGE = BridgeQuery(control=Control(commands=Commands(["true"])))


class PutBack(RuleBasedStateMachine):
    @initialize(drained=st.booleans(), values=STEP, restarted=st.booleans())
    def sweep_is_under_way(self, drained: bool, values: dict[str, str], restarted: bool) -> None:
        self.host = SimulatedHost(drained)
        self.stack = ExitStack()
        self.stack.enter_context(self.host.in_place())
        self.agent: Agent | None = None
        self.alive = False  #: whether the agent holds the host
        self.begin(None)
        assert self.alive, "a host without a fault was refused"
        assert self.run(tuning.apply, messages.Apply(dict(values)), None) is not None
        if restarted:
            assert self.run(tuning.restart_bridge, Nothing(), None) is not None

    def teardown(self) -> None:
        if not hasattr(self, "host"):
            return
        try:
            self.check_that_one_revert_is_enough()
        finally:
            self.stack.close()
            shutil.rmtree(self.host.directory)

    def run(self, operation: Any, arguments: Any, dies: int | None) -> Any:
        """An operation of the agent; it may be refused, and the process may die in it."""
        assert self.agent is not None
        self.host.die_in = dies
        try:
            return operation(self.agent, arguments)
        except AgentFault:
            return None
        except Died:
            self.alive = False
        finally:
            self.host.another_process()
        return None

    # -- jvbtune ------------------------------------------------------------------------------------------------

    @precondition(lambda self: not self.alive)
    @rule(dies=DIES)
    def begin(self, dies: int | None) -> None:
        self.agent = Agent()
        self.alive = True
        pending = self.host.journal().exists()
        if not pending:  # what is found now is the baseline of this sweep
            if any(self.host.values[name] != value for name, value in BASELINE.items()):
                self.alive = False
                return
            self.host.drain_found, self.host.drain_foreign = self.host.drain, None
        names = [*BASELINE, KEY]
        arguments = messages.Begin("o", f"r{self.host.ticks}", 30.0, BRIDGE, names)
        begun = self.run(tuning.begin, arguments, dies)
        if begun is None:
            self.alive = False
        else:
            assert not pending, "a second sweep began on a host that was not put back"

    @precondition(lambda self: self.alive)
    @rule(values=STEP, dies=DIES)
    def apply(self, values: dict[str, str], dies: int | None) -> None:
        for name, value in list(self.host.foreign.items()):
            if value == BASELINE[name]:
                del self.host.foreign[name]  # as it was: nobody can tell
        self.run(tuning.apply, messages.Apply(dict(values)), dies)

    @precondition(lambda self: self.alive)
    @rule(dies=DIES)
    def restart(self, dies: int | None) -> None:
        self.run(tuning.restart_bridge, Nothing(), dies)

    @precondition(lambda self: self.alive)
    @rule(dies=DIES)
    def end(self, dies: int | None) -> None:
        report = self.run(tuning.end, Nothing(), dies)
        if self.alive and report is not None and report.complete:
            assert not self.host.journal().exists(), report
            assert not self.host.deviations(), report
        self.alive = False

    @precondition(lambda self: self.alive)
    @rule()
    def agent_is_killed(self) -> None:
        self.alive = False

    @rule(dies=DIES)
    def guard_puts_back(self, dies: int | None) -> None:
        """Also under a living agent, which then finds its lease ended."""
        if self.alive and self.agent is not None:
            self.agent.state["tuning"].lease.end()
        self.host.die_in = dies
        try:
            put_back(self.host.journal(), self.host.boot, "the guard")
        except (Died, OSError):
            pass
        finally:
            self.host.another_process()

    @precondition(lambda self: not self.alive)
    @rule(dies=DIES)
    def revert(self, dies: int | None) -> None:
        self._revert(dies)

    def _revert(self, dies: int | None) -> messages.PutBack | None:
        self.agent = Agent()
        found: messages.PutBack | None = self.run(tuning.revert, messages.Revert(force=True), dies)
        if found is not None and found.not_restarted:
            self.host.process.under = {KEY: ""}  # a person was told, and restarts it by hand
        return found

    # -- others -------------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(list(BASELINE)), which=st.sampled_from(("new", "ours", "baseline")))
    def somebody_sets(self, name: str, which: str) -> None:
        self.host.somebody_sets(name, {"new": FOREIGN[name], "ours": SWEPT[name][0], "baseline": BASELINE[name]}[which])

    @rule(what=st.sampled_from(("drain toggled", "crash", "reboot")))
    def happens(self, what: str) -> None:
        if what == "drain toggled":
            self.host.somebody_toggles()
            return
        self.host.participants = 0
        if what == "crash":
            self.host.comes_up()
            self.host.drain_foreign = False  # a drain does not outlive the process
            return
        self.alive = False
        self.host.reboot()
        shutil.rmtree(self.host.directory / "run", ignore_errors=True)

    @rule(
        participants=st.sampled_from((0, 0, 3)),
        stats=st.sampled_from(("names", "counts", "names", "unknown")),
        mode=st.sampled_from(("ok", "ok", "ok", "unhealthy", "silent", "no restart")),
        full=st.sampled_from((False, False, True)),
        read_only=st.sampled_from((False, False, True)),
    )
    def weather(self, participants: int, stats: str, mode: str, full: bool, read_only: bool) -> None:
        """Who is on the bridge, what it says, and what the file systems take."""
        host = self.host
        host.participants, host.stats, host.mode = participants, stats, mode
        host.full, host.read_only = full, read_only

    # -- always -------------------------------------------------------------------------------------------------

    @invariant()
    def nothing_forbidden_was_done(self) -> None:
        assert not getattr(self, "host", None) or not self.host.wrong, self.host.wrong

    @invariant()
    def what_is_changed_is_in_the_journal(self) -> None:
        if not hasattr(self, "host"):
            return
        host = self.host
        record = host.journal().read() or {}
        for name, value in host.values.items():
            known = {BASELINE[name], host.foreign.get(name), *record.get("written", {}).get(name, ())}
            assert value in known, (name, value, record)
        assert host.overlay is None or record.get("overlay"), "an overlay that no journal has"

    def check_that_one_revert_is_enough(self) -> None:
        host = self.host
        host.heal()
        pending = host.journal().exists()
        if pending:
            report = self._revert(None)
            assert report is not None
            assert report.complete, report
            assert not host.deviations(), (host.deviations(), report)
        assert not host.wrong, host.wrong
        assert not host.journal().exists()
        before = (dict(host.values), host.drain, host.process, host.overlay)
        assert self._revert(None) == messages.PutBack()
        assert before == (dict(host.values), host.drain, host.process, host.overlay)


PutBack.TestCase.settings = settings(
    max_examples=int(os.environ.get("JVBTUNE_SEQUENCES", "300")),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestPutBack = PutBack.TestCase
