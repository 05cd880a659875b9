"""What applies a result to a host, or takes it back, in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jvbtune import apply as applying
from jvbtune.apply.differ import applied_json, plan_json, plan_text
from jvbtune.errors import TuningError
from jvbtune.fleet.nursery import Message, Tell
from jvbtune.hosts import connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.inventory import HostEntry
from jvbtune.protocol import deploy as messages
from jvbtune.protocol.codec import to_json
from jvbtune.protocol.messages import Nothing
from jvbtune.result.stored import result_of
from jvbtune.store import open_run


@dataclass(frozen=True)
class PlanApply:
    """``jvbtune apply --check``: what would change. Nothing is touched."""

    entry: HostEntry
    run: Path
    pin: bool = False

    def __call__(self, tell: Tell) -> Message:
        tell("phase", phase="looking")
        with connect(self.entry) as host, AgentClient(host) as agent:
            plan = applying.plan(self.entry, agent, self.order())
        return {"reason": plan_text(plan), "data": plan_json(self.entry.name, plan)}

    def order(self) -> applying.Order:
        return applying.order(self.entry, result_of(open_run(self.run)), pin=self.pin)


@dataclass(frozen=True)
class Apply:
    """``jvbtune apply``: as ``PlanApply``, and then it is done. ``shown``: the data of the ``PlanApply`` that the
    operator saw, perhaps hours ago; a host on which something else would be changed by now is left as it is."""

    plan: PlanApply
    options: applying.Options
    shown: Mapping[str, Any]

    def __call__(self, tell: Tell) -> Message:
        entry = self.plan.entry
        tell("phase", phase="looking")
        order = self.plan.order()
        with connect(entry) as host, AgentClient(host) as agent:
            plan = applying.plan(entry, agent, order)
            data = plan_json(entry.name, plan)
            if not plan.changes:
                return {"reason": plan_text(plan), "data": {**data, "applied": False}}
            if data != self.shown:
                changed = ", ".join(name for name in data if data[name] != self.shown.get(name))
                raise TuningError(
                    f"{entry.name} is not as it was when its changes were shown ({changed}), so nothing was changed",
                    hint="Look again: jvbtune apply --check --diff",
                )
            tell("phase", phase="applying")
            done = applying.apply(entry, agent, plan, self.options, lambda text: tell("said", text=text))
        data |= {"applied": done.worse is None, **applied_json(done)}
        if done.worse is None:
            return {"reason": "applied and in force", "data": data}
        advice = "Find out what is different on this host before you apply the run to others."
        return {"exit_code": 1, "reason": f"rolled back, because {done.worse}", "advice": advice, "data": data}


@dataclass(frozen=True)
class Latest:
    """``jvbtune rollback --check``: what would be taken back. Nothing is touched."""

    entry: HostEntry

    def __call__(self, tell: Tell) -> Message:
        tell("phase", phase="looking")
        with connect(self.entry) as host, AgentClient(host) as agent:
            latest = agent.call(messages.LATEST, Nothing()).generation
        if latest is None:
            return {"reason": "there is nothing to roll back", "data": {"changes": False, "latest": None}}
        return {
            "reason": f"to take back: the apply of run {latest.run_id} by {latest.owner}",
            "data": {"changes": True, "latest": to_json(latest)},
        }


@dataclass(frozen=True)
class RollBack:
    """``jvbtune rollback``: of that apply, and of no other."""

    entry: HostEntry
    options: applying.Options
    meant: messages.Generation  #: that the operator was shown
    force: bool = False

    def __call__(self, tell: Tell) -> Message:
        tell("phase", phase="looking")
        with connect(self.entry) as host, AgentClient(host) as agent:
            tell("phase", phase="rolling back")
            restored = applying.roll_back(
                self.entry, agent, self.options, lambda text: tell("said", text=text), self.meant, force=self.force
            )
        if restored is None:
            return {"reason": f"the apply of run {self.meant.run_id} is taken back already", "data": {"restored": None}}
        for text in restored.foreign:
            tell("said", text=text)
        return {"reason": f"the apply of run {restored.run_id} is rolled back", "data": {"restored": to_json(restored)}}
