"""A simulated host: settings, one configuration file, a bridge, two file systems; and a process that can die.

The agent's own code runs against it: begin, apply, restart, end, put-back, revert, the journal's two copies. Each
effect on the host can be the last one of its process (``die_in``). What must never happen is written into ``wrong``.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from jvbtune.agent import calls, control, guarded, journal, overlay, putback, refusals, sysctl, tuning
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.settings import ICE4J_BUFFER

KEY = ICE4J_BUFFER
BASELINE = {
    "net.core.rmem_max": "212992",
    "net.core.netdev_budget": "300",
    "net.ipv4.udp_mem": "190000 250000 380000",
}
SWEPT = {
    "net.core.rmem_max": ("10485760", "20971520"),
    "net.core.netdev_budget": ("600", "900"),
    "net.ipv4.udp_mem": ("400000 500000 600000",),
    KEY: ("10485760", "20971520"),
}
FOREIGN = {
    "net.core.rmem_max": "425984",
    "net.core.netdev_budget": "450",
    "net.ipv4.udp_mem": "200001 260001 390001",
}
BOOT = "boot-1"


class Died(BaseException):
    """The process was killed: nothing of it runs any more, no handler either."""


@dataclass
class Process:
    """The bridge's; ``under``: what was in force when it took its sockets, without what somebody else had set."""

    pid: int
    started: int
    under: dict[str, str]


class SimulatedHost:
    def __init__(self, drained: bool) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="jvbtune-host-", dir=_memory()))
        self.values = dict(BASELINE)
        self.foreign: dict[str, str] = {}
        self.overlay: str | None = None
        self.boot = BOOT
        self.ticks = 1000
        self.seconds = 0.0
        self.drain = self.drain_found = drained
        self.drain_foreign: bool | None = None
        self.participants, self.stats, self.mode = 0, "names", "ok"
        self.full, self.read_only = False, False
        self.process: Process = self._new_process()
        self.wrong: list[str] = []
        self.effects = 0
        self.die_in: int | None = None
        self._dead = False

    # -- effects ------------------------------------------------------------------------------------------------

    def effect(self) -> None:
        """Something is about to happen, or just has: the process may die here."""
        self.ticks += 1
        self.effects += 1
        if self._dead:
            raise Died
        if self.die_in is not None:
            if self.die_in == 0:
                self._dead, self.die_in = True, None
                raise Died
            self.die_in -= 1

    def another_process(self) -> None:
        """From here on another process acts."""
        self._dead, self.die_in = False, None

    def read(self, name: str, root: str = "/proc/sys") -> str:
        if name not in self.values:
            raise AgentFault("tuning", f"{name} does not exist here")
        return self.values[name]

    def write(self, name: str, value: str, root: str = "/proc/sys") -> None:
        self.effect()
        if self.read_only:
            raise AgentFault("tuning", f"{name}: Read-only file system")
        known = {BASELINE[name], *SWEPT[name]}
        if self.values[name] not in known and self.values[name] == self.foreign.get(name):
            self.wrong.append(f"{name} = {self.values[name]} of somebody else was overwritten")
        self.foreign.pop(name, None)
        self.values[name] = value
        self.effect()

    def mount(self, config: str, run_id: str, assignments: dict[str, str]) -> None:
        self.effect()
        self.overlay = assignments.get(KEY)
        self.effect()

    def unmount(self, config: str, run_id: str) -> bool:
        self.effect()
        taken, self.overlay = self.overlay is not None, None
        self.effect()
        return taken

    def swept(self) -> bool:
        foreign = self.foreign
        changed = any(value not in (BASELINE[name], foreign.get(name)) for name, value in self.values.items())
        return changed or self.overlay is not None

    # -- the bridge ---------------------------------------------------------------------------------------------

    def _new_process(self) -> Process:
        self.ticks += 2
        ours = {name: value for name, value in self.values.items() if value != self.foreign.get(name)}
        return Process(self.ticks, self.ticks, {**ours, KEY: self.overlay or ""})

    def restart_command(self, *_: Any, **__: Any) -> str:
        """As jvbtune restarts it."""
        self.effect()
        if self.participants:
            self.wrong.append(f"a restart with {self.participants} participants on the bridge")
        if self.mode == "no restart":
            raise AgentFault("bridge", "the restart failed")
        self.comes_up()
        self.effect()
        return ""

    def comes_up(self) -> None:
        """A new process, which takes conferences."""
        self.ticks += 2
        self.process, self.drain = self._new_process(), False

    def ask(self, method: str, path: str) -> tuple[int, bytes]:
        if self.mode == "silent":
            raise AgentFault("bridge", "the bridge did not answer")
        if path == "/about/health":
            return (500 if self.mode == "unhealthy" else 200), b"{}"
        if path == "/colibri/drain":
            return 200, json.dumps({"drain": self.drain}).encode()
        if path == "/debug":
            return (200, self._names()) if self.stats == "names" else (404, b"")
        if path == "/colibri/stats":
            return 200, json.dumps(self._counts()).encode()
        self.effect()
        on = path.endswith("/enable")
        if not on and self.swept():
            self.wrong.append("the bridge was undrained under swept values")
        self.drain, self.drain_foreign = on, None
        self.effect()
        return 200, b"{}"

    def _names(self) -> bytes:
        endpoints = {str(number): "Ada" for number in range(self.participants)}
        conferences = {"a": {"meeting_id": "6a3c", "endpoints": endpoints}} if endpoints else {}
        return json.dumps({"conferences": conferences}).encode()

    def _counts(self) -> dict[str, Any]:
        if self.stats == "unknown":
            return {}
        return {"participants": self.participants, "conferences": int(self.participants > 0)}

    def start_ticks(self, pid: int) -> int | None:
        return self.process.started if pid == self.process.pid else None

    # -- others -------------------------------------------------------------------------------------------------

    def somebody_sets(self, name: str, value: str) -> None:
        self.values[name] = value
        self.foreign[name] = value

    def somebody_toggles(self) -> None:
        self.drain = not self.drain
        self.drain_foreign = self.drain

    def reboot(self) -> None:
        self.boot = f"boot-{self.ticks}"
        self.values, self.foreign, self.overlay = dict(BASELINE), {}, None
        self.comes_up()
        self.drain_found = False  # a drain does not outlive the boot

    def heal(self) -> None:
        self.participants, self.stats, self.mode = 0, "names", "ok"
        self.full = self.read_only = False

    def deviations(self) -> list[str]:
        """How it differs from what was found; empty: as found, what others did aside."""
        wrong = [
            f"{name} is {value}"
            for name, value in self.values.items()
            if value not in (BASELINE[name], self.foreign.get(name))
        ]
        if self.overlay is not None:
            wrong.append("the overlay is mounted")
        if self.drain not in (self.drain_found, self.drain_foreign):
            wrong.append(f"drain is {self.drain}")
        under = self.process.under
        wrong += [
            f"the bridge runs under {name} = {under[name]}" for name in BASELINE if under.get(name) in SWEPT[name]
        ]
        return wrong + (["the bridge runs under a swept receive buffer"] if under[KEY] else [])

    # -- the agent's code on this host --------------------------------------------------------------------------

    def journal(self) -> SimulatedJournal:
        return SimulatedJournal(self)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The agent's modules act on this host."""
        host = self

        class OnHost(control.Bridge):
            def ask(self, method: str, path: str) -> tuple[int, bytes]:
                return host.ask(method, path)

            def check_answering(self) -> None:
                pass

            def pid(self) -> int:
                return host.process.pid

            def media_sockets(self) -> list[dict[str, Any]]:
                return []

        clock = SimpleNamespace(monotonic=lambda: host.seconds, sleep=self._sleep, time=lambda: 1e9, strftime=str)
        clock.gmtime = lambda *_: ""

        def tidy(kept: journal.Journal) -> None:
            if not kept.exists():
                kept.clear_leftovers()

        def config_file_of(bridge: control.Bridge) -> str:
            return "/etc/jitsi/videobridge/jvb.conf"

        patches: list[tuple[Any, dict[str, Any]]] = [
            (sysctl, {"read": self.read, "write": self.write, "writable": lambda name, root="": None}),
            (
                overlay,
                {
                    "mount": self.mount,
                    "unmount": self.unmount,
                    "edits": lambda run_id: [],
                    "lies_over": lambda path: self.overlay is not None,
                },
            ),
            (control, {"run": self.restart_command, "start_ticks": self.start_ticks, "time": clock}),
            (calls, {"time": clock}),
            (putback, {"Bridge": OnHost, "now_ticks": lambda: host.ticks, "time": clock}),
            (journal, {"os": _Os(self)}),
            (
                tuning,
                {
                    "Bridge": OnHost,
                    "Journal": self.journal,
                    "Lease": _Lease,
                    "DIRECTORY": str(self.directory / "run"),
                    "boot_id": lambda: host.boot,
                    "tidy": tidy,
                    "config_file_of": config_file_of,
                },
            ),
            (
                refusals,
                {
                    "Journal": self.journal,
                    "Lease": _Lease,
                    "same_network": lambda pid: True,
                    "config_file_of": config_file_of,
                    "describe": lambda pid, arguments: {"control": None, "java": {}, "cores": 1.0},
                },
            ),
            (guarded, {"Lease": _Lease, "tidy": tidy}),
            (
                guarded.GuardedTuning,
                {
                    "start_guard": lambda self: host.effect(),
                    "start_timer": lambda self: None,
                    "watch_guard": lambda self: None,
                    "watch_bridge": lambda self, bridge: setattr(self, "watch", _Watch()),
                },
            ),
            (os, {"getuid": lambda: 0}),
        ]
        with contextlib.ExitStack() as stack:
            for target, values in patches:
                stack.enter_context(mock.patch.multiple(target, **values))
            yield

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds


class SimulatedJournal(journal.Journal):
    """The real one on a file system that can be full, with effects between its steps; it does not wait for a disk."""

    def __init__(self, host: SimulatedHost) -> None:
        self._host = host
        super().__init__(str(host.directory / "lib"), str(host.directory / "run"))

    def _replace(self, path: str, record: dict[str, Any]) -> None:
        self._host.effect()
        if self._host.full:
            raise OSError(28, "No space left on device")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = f"{path}.{os.getpid()}.tmp"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(record, file)
        self._host.effect()
        os.replace(temporary, path)
        self._host.effect()

    def _sync_directory(self, directory: str) -> None:
        self._host.effect()

    @contextlib.contextmanager
    def locked(self, timeout_seconds: float = 30.0) -> Iterator[None]:
        self._host.effect()
        os.makedirs(self.directory, exist_ok=True)
        yield


class _Os:
    """The module os, with the removal of a file as an effect."""

    def __init__(self, host: SimulatedHost) -> None:
        self._host = host

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def unlink(self, path: str) -> None:
        self._host.effect()
        os.unlink(path)
        self._host.effect()


class _Lease:
    def __init__(self, path: str, owner: tuple[int, int] | None = None) -> None:
        self._left = 0.0

    def renew(self, seconds: float) -> None:
        self._left = seconds

    def remaining(self) -> float:
        return self._left

    def end(self) -> None:
        self._left = 0.0


class _Watch:
    def __init__(self) -> None:
        self._lock = threading.Lock()

    def restarting(self) -> threading.Lock:
        return self._lock

    def is_now(self, identity: object) -> None:
        pass

    def stop(self) -> None:
        pass


class Agent:
    """What operations use of a running agent."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self.shutdown_hooks: list[Any] = []

    def emit(self, event: str, data: Any) -> None:
        pass

    def log(self, message: str) -> None:
        pass


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
