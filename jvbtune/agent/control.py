"""The bridge under control: health, participants, drain, restart. Everything has a time-out."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from typing import Any

from jvbtune.agent.bridge import container_engine, find_pid, run
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.procfs import start_ticks
from jvbtune.agent.sockdiag import mark_receivers, sockets_of

HTTP_TIMEOUT_SECONDS = 5.0
#: systemd gives a unit that does not stop 90 s before it kills it (TimeoutStopSec): a hung bridge takes that long.
RESTART_TIMEOUT_SECONDS = 150.0
HEALTHY_TIMEOUT_SECONDS = 90.0
#: ``application.conf`` of jitsi-videobridge asks for 10 MiB.
DEFAULT_RECEIVE_BUFFER = 10485760


class Bridge:
    """The bridge that ``arguments`` mean (those of ``bridge.find``, with ``http_address`` and ``http_port``)."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        self.address = str(arguments.get("http_address") or "127.0.0.1")
        self.port = int(arguments.get("http_port") or 8080)

    # -- its private HTTP interface -----------------------------------------------------------------------------

    def ask(self, method: str, path: str) -> tuple[int, bytes]:
        """(status, body). Raises AgentFault where it does not answer."""
        connection = http.client.HTTPConnection(self.address, self.port, timeout=HTTP_TIMEOUT_SECONDS)
        try:
            connection.request(method, path, headers={"Accept": "application/json", "Connection": "close"})
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise AgentFault(
                "bridge",
                f"the bridge at {self.address}:{self.port} did not answer {method} {path}: {error}",
                "Is the bridge running, and is bridge.http_port right in jvbtune.toml?",
            ) from error
        finally:
            connection.close()

    def ask_json(self, path: str) -> dict[str, Any]:
        status, body = self.ask("GET", path)
        if status != 200:
            hint = "Set videobridge.apis.rest.enabled = true in jvb.conf and restart the bridge."
            raise AgentFault("bridge", f"the bridge answered {status} to GET {path}", hint if status == 404 else None)
        try:
            answer = json.loads(body)
        except ValueError as error:
            raise AgentFault("bridge", f"the bridge's answer to {path} is not JSON") from error
        return answer if isinstance(answer, dict) else {}

    def draining(self) -> bool:
        return bool(self.ask_json("/colibri/drain").get("drain"))

    def drain(self, on: bool) -> None:
        path = "/colibri/drain/enable" if on else "/colibri/drain/disable"
        status, _ = self.ask("POST", path)
        if status != 200:
            raise AgentFault("bridge", f"the bridge answered {status} to POST {path}")

    def participants(self) -> int:
        return int(self.ask_json("/colibri/stats").get("participants") or 0)

    def healthy(self) -> bool:
        try:
            return 200 <= self.ask("GET", "/about/health")[0] < 300
        except AgentFault:
            return False

    # -- its process --------------------------------------------------------------------------------------------

    def pid(self) -> int:
        return find_pid(self.arguments)

    def controlled_by(self) -> dict[str, Any]:
        """How it is restarted. Raises AgentFault where that is not known."""
        control = self.arguments.get("control")
        if not control:
            raise AgentFault(
                "bridge",
                "it is not known how this bridge is restarted",
                'Give bridge.control in jvbtune.toml, for example control = { systemd = "jitsi-videobridge2" }.',
            )
        return dict(control)

    def restart(self, drained: bool) -> int:
        """Restart it, set its drain mode as soon as it answers, wait until it is healthy. Its new pid."""
        before = self._identity()
        control = self.controlled_by()
        if control.get("systemd"):
            argv = ["systemctl", "restart", str(control["systemd"])]
        elif control.get("container"):
            argv = [container_engine(), "restart", str(control["container"])]
        else:
            argv = [str(part) for part in control["commands"]["restart"]]
        run(argv, timeout_seconds=RESTART_TIMEOUT_SECONDS)
        deadline = time.monotonic() + HEALTHY_TIMEOUT_SECONDS
        self._wait_for_drain(drained, deadline)
        while not self.healthy():
            self._check(deadline, "healthy")
        after = self._identity()
        if after is None or after == before:
            raise AgentFault("bridge", f"{' '.join(argv)} left the old process of the bridge running")
        return after[0]

    def _wait_for_drain(self, drained: bool, deadline: float) -> None:
        """Before Jicofo can give it a conference: asked as soon as the interface answers."""
        while True:
            try:
                if self.draining() != drained:
                    self.drain(drained)
                return
            except AgentFault:
                self._check(deadline, "reachable")

    def _check(self, deadline: float, what: str) -> None:
        if time.monotonic() > deadline:
            raise AgentFault("bridge", f"the bridge was not {what} within {HEALTHY_TIMEOUT_SECONDS:g} s of its restart")
        time.sleep(0.05)

    def _identity(self) -> tuple[int, int] | None:
        try:
            pid = self.pid()
        except AgentFault:
            return None
        started = start_ticks(pid)
        return None if started is None else (pid, started)

    def media_sockets(self) -> list[dict[str, Any]]:
        """The sockets that receive on the media port: one for each address that the bridge takes media on."""
        marked = mark_receivers(sockets_of(self.pid()), self.arguments.get("media_port"))
        return [entry for entry in marked if entry["receives"]]


def kill(pid: int, started: int) -> None:
    """SIGKILL exactly that process."""
    if start_ticks(pid) == started:
        os.kill(pid, signal.SIGKILL)
