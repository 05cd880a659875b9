"""One fault, in namespaces of its own: a sweep is begun, the fault happens, and the host is looked at until the end."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jvbtune.hosts.agent_client as agent_client
from tests.faults import actions, sweep
from tests.faults.host import CONSTANTS, SETTINGS, Host, injected_archive, processes, read_setting
from tests.faults.invariants import Finding, judge
from tests.faults.plan import INTERRUPT, LEASE_SECONDS, Fault, spec_of

TICK_SECONDS = 0.015
#: A restart, the guard's patience with the lock, and the start of processes on a busy machine.
RESTART_SECONDS = 8.0
SWEEP_SECONDS = 60.0
REVERT_SECONDS = 60.0
#: From an interrupt until the command has put the host back, with a restart of the bridge, and ended.
INTERRUPT_SECONDS = 10.0
#: A bridge that comes up undrained under swept values, whoever started it, is seen within that time.
SEEN_SECONDS = 3.0


def slack() -> float:
    """By how much everything takes longer on a machine that others use too; times below are multiplied by it."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1) / 2)


class World:
    def __init__(self, directory: Path, fault: Fault) -> None:
        self.fault = fault
        self.host = Host(directory)
        self.findings: list[Finding] = []
        self.journalled: dict[str, set[str]] = {name: set() for name in SETTINGS}
        self.acted: float | None = None  #: when the fault happened
        self.joined: float | None = None
        self.foreign_since: float | None = None
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._children: dict[int, str] = {}
        self._statuses: dict[str, int] = {}
        self._controller = 0
        self._values: dict[str, str] = {}
        self._undrained_since: float | None = None
        self._guardless_since: float | None = None
        self._begun = False
        self._killed_for_guard = False

    # -- what actions use ---------------------------------------------------------------------------------------

    def now(self) -> float:
        return time.monotonic()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self._later.append((self.now() + seconds, action))

    def signal_controller(self, number: int) -> None:
        if self._controller in self._children:
            os.kill(self._controller, number)

    def spawn(self, actor: str, out: str, work: Callable[[], int]) -> int:
        pid = sweep.fork(self.host, actor, out, work)
        self._children[pid] = actor
        return pid

    def find(self, invariant: int, text: str) -> None:
        finding = Finding(invariant, text)
        if finding not in self.findings:
            self.findings.append(finding)
            self.host.log(who="watch", event="violation", invariant=invariant, text=text)

    # -- the run ------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        host = self.host
        (host.directory / "spec.json").write_text(
            json.dumps({**spec_of(self.fault), "settings": SETTINGS, "constants": CONSTANTS})
        )
        host.set_up(self.fault.drained_before)
        if self.fault.names:
            host.put("names", "")
        archive = injected_archive(host.directory)
        agent_client.agent_archive = lambda: archive
        begun = self.now()
        host.log(who="world", event="begins", fault=str(self.fault), baseline=host.baseline)
        self._controller = self.spawn("agent", "controller.out", lambda: sweep.sweep(host, self.fault.trial_seconds()))
        self._joins_after("start")
        self._schedule()
        self._follow(begun + SWEEP_SECONDS * slack())
        restored = self._settle()
        self._revert_twice(restored is not None)
        self._finish()
        self.findings += judge(self.host, self.fault)
        return {
            "seed": self.fault.seed,
            "kind": self.fault.kind,
            "fault": str(self.fault),
            "reached": self.acted is not None,
            "restored": "by itself" if restored is not None else self._by_revert,
            "seconds": None if restored is None else restored,
            "restarts_under_calls": sum(1 for finding in self.findings if finding.invariant == 2),
            "findings": [[finding.invariant, finding.text] for finding in self.findings],
        }

    def _joins_after(self, what: str) -> None:
        if self.fault.join_seconds is not None and self.fault.join_after == what:
            self.later(self.fault.join_seconds, self._join)

    def _join(self) -> None:
        if self.host.get("participants") == "0":
            self.joined = self.now()
            self.host.put("participants", "3")
            self.host.log(who="world", event="3 join")

    def _schedule(self) -> None:
        fault = self.fault
        self._await_trial = False
        if "at" in fault.details:
            self.later(float(fault.details["at"]), self._act)
        elif fault.point is None or fault.point.actor == "guard":
            self._await_trial = True

    def _act(self) -> None:
        self.acted = self.now()
        self.host.log(who="world", event="FAULT", fault=str(self.fault))
        try:
            actions.act(self)
        except RuntimeError as error:
            self.host.log(who="world", event="not possible", error=str(error))
        self._joins_after("fault")

    def _trial_reached(self) -> None:
        """A fault in a trial; one in the guard: there its agent is killed, so that it puts back."""
        fault = self.fault
        if fault.point is None:
            self._act()
        else:
            self.host.log(who="world", event="the agent is killed, so that the guard puts back")
            self.host.kill("agent")

    def _point_reached(self) -> None:
        self.host.log(who="world", event="at point", at=json.loads(self.host.get("at-point") or "{}"))
        self._act()
        self.host.put("go", "")

    def tick(self) -> None:
        now = self.now()
        for due in [entry for entry in self._later if entry[0] <= now]:
            self._later.remove(due)
            due[1]()
        if not self._begun and (self.host.directory / "begun").exists():
            self._begun = True
            self._joins_after("begun")
        if self._await_trial and (self.host.directory / f"trial-{self.fault.trial}").exists():
            self._await_trial = False
            self.later(self.fault.delay_seconds, self._trial_reached)
        if self.acted is None and self.fault.point is not None and (self.host.directory / "at-point").exists():
            self._point_reached()
        self._reap()
        self._observe(now)
        time.sleep(TICK_SECONDS)

    def _reap(self) -> None:
        for pid in list(self._children):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                actor = self._children.pop(pid)
                self._statuses[actor] = os.waitstatus_to_exitcode(status)
                self.host.log(who="world", event=f"{actor}'s command ended", status=self._statuses[actor])
                if pid == self._controller:
                    self._judge_said()

    def _observe(self, now: float) -> None:
        host = self.host
        values = {name: read_setting(name) for name in SETTINGS}
        changed = {name: value for name, value in values.items() if value != self._values.get(name)}
        if changed:
            if self._values:
                host.log(who="watch", values=changed)
            self._values = values
        self._read_journal()
        for name, value in values.items():
            if value not in {host.baseline[name], host.foreign.get(name)} | self.journalled[name]:
                self.find(3, f"{name} is {value}, which no journal had")
        swept = host.changed()
        self._watch_drain(swept, now)
        self._watch_guards(swept, now)
        if self.foreign_since is not None and now - self.foreign_since > 0.1:
            for name, value in host.foreign.items():
                if values[name] != value:
                    self.find(8, f"somebody set {name} = {value}, and it became {values[name]}")

    def _read_journal(self) -> None:
        for path in self.host.journal_files():
            try:
                record = json.loads(path.read_text())
            except (OSError, ValueError):
                continue
            for name, written in (record.get("written") or {}).items():
                if name in self.journalled:
                    self.journalled[name].update(str(value) for value in written)

    def _watch_drain(self, swept: bool, now: float) -> None:
        if not swept or self.host.draining():
            self._undrained_since = None
            return
        self._undrained_since = self._undrained_since or now
        dead = self.fault.kind.startswith(("kill", "stop", "SIG", "reboot", "bridge fails", "error"))
        allowed = (LEASE_SECONDS * 1.5 + RESTART_SECONDS if dead else SEEN_SECONDS) * slack()
        if now - self._undrained_since > allowed:
            self.find(4, "the bridge takes conferences under swept values for too long")

    def _watch_guards(self, swept: bool, now: float) -> None:
        alone = swept and not processes() and not self.host.journal()
        if not alone:
            self._guardless_since = None
            return
        self._guardless_since = self._guardless_since or now
        if now - self._guardless_since > 0.3:
            self.find(5, "settings are changed; there is no agent, no guard and no journal")

    def _follow(self, until: float) -> None:
        while self._controller in self._children:
            if self.now() > until:
                self.find(7, "the sweep does not end")
                self.signal_controller(signal.SIGKILL)
            self.tick()

    def _judge_said(self) -> None:
        if self.fault.kind == INTERRUPT:
            self._judge_interrupt()
        said = [line for line in self.host.timeline() if line.get("event") == "said" and line["who"] == "controller"]
        if not said:
            return
        wrong = self.host.deviations()
        if said[-1]["put_back"] and wrong:
            self.find(7, f"the sweep says that the host was put back; {'; '.join(wrong)}")
        failed = (said[-1].get("report") or {}).get("failed")
        if failed and not wrong and not self.host.journal():
            self.find(7, f"the sweep says that the host was not put back, and it was: {failed}")

    def _judge_interrupt(self) -> None:
        """The command ends with 130, the host put back, soon after it; unless it came when all was done."""
        timeline, status = self.host.timeline(), self._statuses["agent"]
        said = next((line for line in timeline if line.get("event") == "said"), {"t": self.now()})
        if self.acted is None or self.acted > float(said["t"]) - 0.1:
            return
        if status != sweep.INTERRUPTED and not said.get("interrupted"):
            self.find(11, f"the interrupt was lost: the command ended with {status}: {said.get('error')}")
        if self.now() - self.acted > INTERRUPT_SECONDS * slack():
            self.find(11, f"the command ended {self.now() - self.acted:.0f} s after the interrupt")

    def _settle(self) -> float | None:
        """Until the host is as it was found by itself: seconds since the fault; None: not in time."""
        begun = self.acted or self.now()
        limit = LEASE_SECONDS + RESTART_SECONDS * slack()
        if self.fault.kind.startswith("stop"):
            limit += LEASE_SECONDS
        deadline = begun + limit
        while True:
            self.tick()
            if not self._later and not self.host.journal() and not self.host.deviations():
                break
            if self.now() > deadline and not self._later:
                return None
        restored = self.now() - begun
        grace = self.now() + 3 * slack()
        while processes() and self.now() < grace:
            self.tick()
        return restored

    def _command(self, actor: str, out: str, work: Callable[[], int]) -> int:
        pid = self.spawn(actor, out, work)
        until = self.now() + REVERT_SECONDS * slack()
        while pid in self._children:
            if self.now() > until:
                self.find(7, f"{out}: the command does not end")
                os.kill(pid, signal.SIGKILL)
            self.tick()
        return self._statuses[actor]

    _by_revert = "no"

    def _revert_twice(self, restored: bool) -> None:
        host = self.host
        if not restored:
            wrong = host.deviations()
            if not host.journal():
                self.find(1, f"not as found, and no journal: {'; '.join(wrong)}")
            status = self._command("revert", "check.out", lambda: sweep.revert(host, "--check"))
            by_now = host.deviations()  # a guard may have tried again while the command looked
            if status != 3 and (status != 0 or by_now or host.journal()):
                wrong = by_now or wrong
                self.find(1, f"revert --check exits {status} while the host is not as found: {'; '.join(wrong)}")
            if self.joined is not None:
                self._command("revert", "revert-live.out", lambda: sweep.revert(host))
            actions.leave(self)
            actions.repair(self)
            status = self._command("revert", "revert.out", lambda: sweep.revert(host))
            self._end_processes()
            wrong = host.deviations()
            if wrong or host.journal():
                self.find(1, f"after a revert: {'; '.join(wrong) or 'the journal is there'}")
            else:
                self._by_revert = "by revert"
            if (status == 0) == bool(wrong):
                self.find(7, f"revert exits {status}; {'; '.join(wrong) or 'the host is as found'}")
        else:
            actions.leave(self)
            actions.repair(self)
        host.log(who="world", event="the last revert begins")
        status = self._command("revert", "revert-last.out", lambda: sweep.revert(host))
        if status != 0 and not host.deviations():
            self.find(9, f"a revert of a host that is as it was found exits {status}")

    def _end_processes(self) -> None:
        until = self.now() + 4 * slack()
        while processes() and self.now() < until:
            self.tick()

    def _finish(self) -> None:
        self._end_processes()
        for text in self.host.left_over():
            self.find(6, text)
        for pid in list(self._children):
            os.kill(pid, signal.SIGKILL)


def live(directory: Path) -> int:
    """The fault of ``fault.json``, in the namespaces of this process; ``result.json`` is what it came to."""
    fault = Fault.from_json(json.loads((directory / "fault.json").read_text()))
    result = World(directory, fault).run()
    (directory / "result.json").write_text(json.dumps(result))
    return 0
