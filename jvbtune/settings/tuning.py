"""The controller's end of a tuning: a context manager over the agent's, with a heartbeat for its lease."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from jvbtune.errors import JvbtuneError, TuningError
from jvbtune.hosts.agent_client import AgentClient

RESTART_TIMEOUT_SECONDS = 300.0
END_TIMEOUT_SECONDS = 360.0


@dataclass(frozen=True)
class Applied:
    """What is in force after an ``apply``, read back on the host; ``sockets`` are sock_diag's, on the media port."""

    values: dict[str, Any]
    sockets: tuple[dict[str, Any], ...]
    restarted: bool
    seconds: float = 0.0
    pid: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "values": self.values,
            "sockets": list(self.sockets),
            "restarted": self.restarted,
            "restart_seconds": self.seconds,
            "pid": self.pid,
        }


class Tuning:
    """Takes the host, journals its baseline, drains the bridge; puts everything back on the way out.

    ``bridge`` None: a live bridge is neither looked at nor touched, and only settings that need no restart can change.

    ``report`` has what was put back. Where the link is lost the guard on the host puts it back by itself, within
    ``lease_seconds``.
    """

    def __init__(
        self,
        agent: AgentClient,
        *,
        owner: str,
        run_id: str,
        lease_seconds: float,
        bridge: dict[str, Any] | None,
        settings: list[str],
    ) -> None:
        self._agent = agent
        self._arguments = {
            "owner": owner,
            "run_id": run_id,
            "lease_seconds": lease_seconds,
            "bridge": bridge,
            "settings": settings,
        }
        self.lease_seconds = lease_seconds
        self.baseline: dict[str, Any] = {}
        self.begun: dict[str, Any] = {}
        self.report: dict[str, Any] = {}
        self.lost: str | None = None  #: why heartbeats no longer arrive
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Tuning:
        self.begun = self._agent.call("tuning.begin", timeout_seconds=60, **self._arguments)
        self.baseline = dict(self.begun["baseline"])
        self._heart.start()
        return self

    def _beat(self) -> None:
        while not self._stop.wait(self.lease_seconds / 4):
            try:
                self._agent.call("tuning.renew", timeout_seconds=self.lease_seconds)
            except JvbtuneError as error:
                self.lost = error.message
                return

    def apply(self, values: dict[str, Any], *, restart: bool) -> Applied:
        """Put ``values`` into force, everything else back to the baseline; restart the bridge where asked."""
        self._check()
        applied = self._agent.call("tuning.apply", timeout_seconds=60, values=values)
        if restart:
            applied = self._agent.call("tuning.restart_bridge", timeout_seconds=RESTART_TIMEOUT_SECONDS)
        return Applied(
            dict(applied["values"]),
            tuple(applied["sockets"]),
            restart,
            float(applied.get("seconds") or 0.0),
            applied.get("pid"),
        )

    def verify(self) -> Applied:
        """What is in force now."""
        found = self._agent.call("tuning.verify")
        return Applied(dict(found["values"]), tuple(found["sockets"]), False)

    def _check(self) -> None:
        if self.lost is not None:
            raise TuningError(
                f"the lease on {self._agent.host.name} is lost: {self.lost}",
                hint=f"The guard on the host puts it back by itself, within {self.lease_seconds:g} s.",
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._heart.join(5)
        if not self._agent.alive:
            raise TuningError(
                f"{self._agent.host.name}: the link to the agent is gone",
                hint=f"The guard on the host puts it back by itself, within {self.lease_seconds:g} s. "
                f"Look with: jvbtune revert --host {self._agent.host.name} --check",
            ) from error
        self.report = self._agent.call("tuning.end", timeout_seconds=END_TIMEOUT_SECONDS)
        if not self.report.get("complete", True):
            raise TuningError(
                f"{self._agent.host.name}: not everything was put back: {'; '.join(self.report['failed'])}",
                hint=f"jvbtune revert --host {self._agent.host.name}",
            ) from error
