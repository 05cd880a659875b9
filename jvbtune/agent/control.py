"""The bridge under control: health, participants, drain, restart. Everything has a time-out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import time
from typing import Any

from jvbtune.agent.answering import check_answering
from jvbtune.agent.bridge import find_pid, main_process, parent, run, running
from jvbtune.agent.containers import engine_of
from jvbtune.agent.errors import AgentFault, NotRunning
from jvbtune.agent.procfs import start_ticks
from jvbtune.agent.redact import program
from jvbtune.agent.sockdiag import mark_receivers, sockets_of
from jvbtune.protocol import http

HTTP_TIMEOUT_SECONDS = 5.0
#: systemd gives a unit that does not stop 90 s before it kills it (TimeoutStopSec): a hung bridge takes that long.
RESTART_TIMEOUT_SECONDS = 150.0
HEALTHY_TIMEOUT_SECONDS = 90.0
#: A killed process is gone by then, unless the kernel holds it.
KILL_SECONDS = 5.0


class Bridge:
    """The bridge that ``arguments`` mean (those of ``bridge.find``, with ``http_address`` and ``http_port``)."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        self.address = str(arguments.get("http_address") or "127.0.0.1")
        self.port = int(arguments.get("http_port") or 8080)

    # -- its private HTTP interface -----------------------------------------------------------------------------

    def ask(self, method: str, path: str) -> tuple[int, bytes]:
        """(status, body). Raises AgentFault where it does not answer."""
        try:
            return http.ask(
                lambda: socket.create_connection((self.address, self.port), HTTP_TIMEOUT_SECONDS),
                self.address,
                self.port,
                method,
                path,
                timeout_seconds=HTTP_TIMEOUT_SECONDS,
                headers={"Accept": "application/json"},
            )
        except http.NoAnswer as error:
            raise AgentFault(
                "bridge",
                f"the bridge at {self.address}:{self.port} did not answer {method} {path}: {error}",
                "Is the bridge running, and is bridge.http_port right in jvbtune.toml?",
            ) from error

    def ask_json(self, path: str) -> dict[str, Any]:
        """The JSON object at ``path``. Raises AgentFault for anything else."""
        status, body = self.ask("GET", path)
        if status != 200:
            hint = "Set videobridge.apis.rest.enabled = true in jvb.conf and restart the bridge."
            raise AgentFault("bridge", f"the bridge answered {status} to GET {path}", hint if status == 404 else None)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise AgentFault("bridge", f"the bridge's answer to GET {path} is not a JSON object: {_shown(body)}")
        return answer

    def check_answering(self) -> None:
        """Raises AgentFault unless it is this bridge's process that answers ``ask``."""
        check_answering(self.pid(), self.address, self.port)

    def draining(self) -> bool:
        """Whether it is in drain mode. Raises AgentFault where it does not say so."""
        status, body = self.ask("GET", "/colibri/drain")
        if status == 404:
            raise AgentFault("bridge", *self._why_no_drain())
        try:
            answer = json.loads(body) if status == 200 else None
        except (ValueError, RecursionError):
            answer = None
        drain = answer.get("drain") if isinstance(answer, dict) else None
        if not isinstance(drain, bool):
            raise AgentFault("bridge", f"the bridge does not report its drain mode: {status} {_shown(body)}")
        return drain

    def _why_no_drain(self) -> tuple[str, str]:
        if self.ask("GET", "/colibri/stats")[0] == 200:
            return (
                "the bridge has no drain mode, so it cannot be kept free of calls",
                "Drain mode came in 2022: upgrade the bridge; or videobridge.rest.drain.enabled is false in jvb.conf.",
            )
        return (
            "the bridge's COLIBRI REST interface is off",
            "Set videobridge.apis.rest.enabled = true in jvb.conf and restart the bridge.",
        )

    def drain(self, on: bool) -> None:
        path = "/colibri/drain/enable" if on else "/colibri/drain/disable"
        status, _ = self.ask("POST", path)
        if status != 200:
            raise AgentFault("bridge", f"the bridge answered {status} to POST {path}")

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

    def check_control(self) -> None:
        """Before anything begins: what restarts it is there, and is this bridge's. Raises AgentFault."""
        control, pid = self.controlled_by(), self.pid()
        if control.get("systemd"):
            unit, main = str(control["systemd"]), main_process(str(control["systemd"]))
            if main not in (pid, parent(pid)):
                running = f"its main process is {main}" if main else "it does not run"
                raise AgentFault(
                    "bridge",
                    f"the unit {unit} is not this bridge's: {running}, and the bridge is process {pid}",
                    "Name the bridge's own unit by bridge.control in jvbtune.toml.",
                )
        elif control.get("container"):
            engine_of(str(control["container"]))
        else:
            program = str(control["commands"]["restart"][0])
            if shutil.which(program) is None:
                raise AgentFault(
                    "bridge",
                    f"the command that restarts the bridge is not on this host: {program}",
                    "Correct bridge.control.commands in jvbtune.toml.",
                )

    def restart(self) -> tuple[int, int]:
        """Restart it, and drain it as soon as it answers, before Jicofo can give it a conference. Its new identity.

        Whoever calls has looked for calls just before (``calls``). Raises AgentFault.
        """
        before = self.identity()
        control = self.controlled_by()
        if control.get("systemd"):
            argv = ["systemctl", "restart", str(control["systemd"])]
        elif control.get("container"):
            argv = [engine_of(str(control["container"])), "restart", str(control["container"])]
        else:
            argv = [str(part) for part in control["commands"]["restart"]]
        run(argv, timeout_seconds=RESTART_TIMEOUT_SECONDS)
        deadline = time.monotonic() + HEALTHY_TIMEOUT_SECONDS
        while (after := self.identity()) is None or after == before or not self.keep_drained():
            if after is not None and after == before and time.monotonic() > deadline:
                raise AgentFault("bridge", f"{program(argv)} left the old process of the bridge running")
            self._check(deadline, "reachable")
        return after

    def wait_until_healthy(self) -> None:
        """Raises AgentFault."""
        deadline = time.monotonic() + HEALTHY_TIMEOUT_SECONDS
        while not self.healthy():
            self._check(deadline, "healthy")

    def keep_drained(self) -> bool:
        """Drain it unless it is; False: it does not answer."""
        try:
            if not self.draining():
                self.drain(True)
            return True
        except AgentFault:
            return False

    def _check(self, deadline: float, what: str) -> None:
        if time.monotonic() > deadline:
            raise AgentFault("bridge", f"the bridge was not {what} within {HEALTHY_TIMEOUT_SECONDS:g} s of its restart")
        time.sleep(0.05)

    def identity(self) -> tuple[int, int] | None:
        """Its process: (pid, start in clock ticks since the boot); None: it does not run, or is not found."""
        try:
            pid = self.pid()
        except AgentFault:
            return None
        started = start_ticks(pid)
        return None if started is None else (pid, started)

    def gone(self, *known: Any) -> bool:
        """Whether it is sure that it does not run, so that no call can be on it: one that is only not found, by an
        engine or a systemd that does not answer, may. ``known``: processes as ``identity`` gave them, or None."""
        if any(one and start_ticks(int(one[0])) == int(one[1]) for one in known):
            return False
        try:
            if start_ticks(self.pid()) is not None:
                return False
        except NotRunning:
            pass
        except AgentFault:
            if running(self.arguments.get("match")):
                return False
        try:
            self.ask("GET", "/about/health")
        except AgentFault:
            return True
        return False

    def media_sockets(self) -> list[dict[str, Any]]:
        """The sockets that receive on the media port: one for each address that the bridge takes media on."""
        marked = mark_receivers(sockets_of(self.pid()), self.arguments.get("media_port"))
        return [entry for entry in marked if entry["receives"]]


def _shown(body: bytes) -> str:
    return repr(body[:80].decode("utf-8", "replace"))


def kill(pid: int, started: int) -> None:
    """SIGKILL exactly that process, and wait until it is gone, unless the kernel holds it."""
    if start_ticks(pid) == started:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + KILL_SECONDS
    while start_ticks(pid) == started and time.monotonic() < deadline:
        time.sleep(0.05)
