"""What only looks at a host, in a process of its own: whether it is ready for a sweep, whether it is in service."""

from __future__ import annotations

from dataclasses import dataclass

from jvbtune.bridge.client import BridgeClient
from jvbtune.errors import BridgeError, JvbtuneError
from jvbtune.fleet.nursery import Message, Tell
from jvbtune.hosts import connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.inventory import HostEntry
from jvbtune.protocol.codec import to_json
from jvbtune.sweep.check import check
from jvbtune.sweep.experiment import Needs


@dataclass(frozen=True)
class Check:
    """``jvbtune check``: nothing is touched."""

    entry: HostEntry
    settings: tuple[str, ...]
    needs: Needs

    def __call__(self, tell: Tell) -> Message:
        tell("phase", phase="looking")
        checked = check(self.entry, list(self.settings), needs=self.needs)
        problems = [finding for finding in checked.findings if finding.state == "problem"]
        return {
            "exit_code": 0 if checked.ready else 1,
            "reason": "; ".join(finding.text for finding in problems) or "ready",
            "advice": next((finding.hint for finding in problems if finding.hint), None),
            "data": {"ready": checked.ready, "findings": to_json(checked.findings)},
        }


@dataclass(frozen=True)
class Look:
    """Whether the bridge is in service. ``ours``: jvbtune worked on the host, so its journal is looked for as well.

    Nothing is touched. The answer's ``data`` has ``out``: why the host is out of service; empty: it is in service.
    """

    entry: HostEntry
    ours: bool = False

    def __call__(self, tell: Tell) -> Message:
        return {"data": {"out": self._out()}}

    def _out(self) -> str:
        try:
            with connect(self.entry) as host:
                if self.ours:
                    with AgentClient(host) as agent:
                        if agent.capabilities.leftover_journal is not None:
                            return "not put back yet"
                bridge = BridgeClient(host, self.entry.bridge.http_address, self.entry.bridge.http_port)
                try:
                    if bridge.draining():
                        return "drained"
                    return "" if bridge.healthy()[0] else "not healthy"
                except BridgeError:
                    return "without a bridge that answers"
        except JvbtuneError:
            return "not reachable"
