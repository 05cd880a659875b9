"""Changing settings under the guard: begin, apply, restart, verify, renew, end; and revert by hand.

The order that everything keeps: journal to disk, guard ready, value to be written into the journal, write, read back.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from typing import Any

from jvbtune.agent import overlay
from jvbtune.agent import sysctl as settings
from jvbtune.agent.bridge import describe
from jvbtune.agent.control import DEFAULT_RECEIVE_BUFFER, Bridge
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.guard import Lease
from jvbtune.agent.journal import VERSION, Journal, Record
from jvbtune.agent.namespaces import same_network
from jvbtune.agent.procfs import boot_id, start_ticks
from jvbtune.agent.putback import put_back, summary
from jvbtune.agent.rundir import DIRECTORY, LEASE_PATH, TIMER_UNIT, own_archive, stop_timer, systemd, tidy
from jvbtune.agent.settings import SETTINGS

GUARD_READY_SECONDS = 15.0
#: A bridge that hangs is restarted within RESTART_TIMEOUT_SECONDS + HEALTHY_TIMEOUT_SECONDS of ``control``.
PUT_BACK_SECONDS = 300.0
#: How long a bridge's stats may still show participants that have left: they are refreshed every 5 s.
STALE_STATS_SECONDS = 6.0


class Tuning:
    """What this agent has begun. Its operations come from several threads; the journal's lock orders them."""

    def __init__(self, agent: Any, journal: Journal, lease_seconds: float, boot_id: str) -> None:
        self.agent, self.journal, self.lease_seconds, self.boot_id = agent, journal, lease_seconds, boot_id
        self.lease = Lease(LEASE_PATH)
        self.guard: subprocess.Popen[bytes] | None = None
        self.timer = False
        self._ended = threading.Event()

    def start_guard(self) -> None:
        """Start the guard, and wait until it says that it is ready."""
        argv = [sys.executable, "-I", "-B", own_archive(), "guard", *self._guard_arguments()]
        if systemd():
            # Out of the ssh session's scope, which logind may kill with the session (KillUserProcesses=yes).
            argv = ["systemd-run", "--quiet", "--scope", "--slice=system.slice", "--", *argv]
        with open(os.path.join(DIRECTORY, "guard.log"), "ab") as log:
            self.guard = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        assert self.guard.stdout is not None
        watchdog = threading.Timer(GUARD_READY_SECONDS, self.guard.kill)
        watchdog.start()
        try:
            ready = self.guard.stdout.readline()
        finally:
            watchdog.cancel()
        if ready != b"ready\n":
            raise AgentFault("tuning", f"the guard did not start; see {DIRECTORY}/guard.log")

    def _guard_arguments(self) -> list[str]:
        started = start_ticks(os.getpid()) or 0
        return [self.journal.directory, self.lease.path, str(os.getpid()), str(started), self.boot_id]

    def start_timer(self) -> None:
        """Behind the guard, where systemd is there: a timer that looks at the lease, should both die at once."""
        if not systemd():
            return
        stop_timer()  # one that was left over has the unit's name
        every = f"{max(10, int(self.lease_seconds))}s"
        argv = [
            "systemd-run",
            "--quiet",
            "--collect",
            f"--unit={TIMER_UNIT}",
            f"--on-active={every}",
            f"--on-unit-active={every}",
        ]
        argv += ["--timer-property=AccuracySec=1s", "--", sys.executable, "-I", "-B", own_archive(), "guard", "--once"]
        done = subprocess.run([*argv, *self._guard_arguments()], capture_output=True, text=True, timeout=15)
        self.timer = done.returncode == 0
        if not self.timer:
            self.agent.log(f"no timer stands behind the guard: {done.stderr.strip()}")

    def watch_guard(self) -> None:
        """A guard that dies before its time is replaced, and it is said."""

        def watch() -> None:
            while not self._ended.wait(0.25):
                guard = self.guard
                if guard is None or guard.poll() is None or not os.path.exists(self.journal.path):
                    continue
                try:
                    self.start_guard()
                    self.agent.emit("guard", {"message": f"the guard died ({guard.returncode}); a new one runs"})
                except (AgentFault, OSError) as error:
                    self.agent.emit("guard", {"message": f"the guard died and cannot be started again: {error}"})
                    self.put_back("the agent: there is no guard")

        threading.Thread(target=watch, name="guard-watch", daemon=True).start()

    def require(self) -> Record:
        """The journal, while it is this agent's and the lease lives; the caller holds the lock."""
        record = self.journal.read()
        if record is None or self.lease.remaining() <= 0:
            raise AgentFault(
                "tuning",
                "the host was put back already: the lease ended, or somebody reverted it",
                "The controller's heartbeats did not arrive in time.",
            )
        return record

    def put_back(self, by: str) -> Record:
        """Put the host back; its report, also where the guard was first."""
        record = self.journal.read()
        run_id = record["run_id"] if record else ""
        with self.journal.locked(PUT_BACK_SECONDS):
            if os.path.exists(self.journal.path):
                self.lease.renew(PUT_BACK_SECONDS)  # no heartbeat comes any more, and the guard is not to step in
            report = put_back(self.journal, self.boot_id, by)
            self.finish()
        return report or self.journal.last_report(run_id) or {}

    def finish(self) -> None:
        """The guard ends, and nothing is left where all was put back; the caller holds the lock."""
        self._ended.set()
        self.lease.end()
        if self.guard is not None:
            if self.guard.stdout is not None:
                self.guard.stdout.close()
            try:
                self.guard.wait(5)  # it ends by itself when the journal is gone
            except subprocess.TimeoutExpired:
                pass
        tidy(self.journal)


def begin(agent: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """``tuning.begin``: ``owner, run_id, lease_seconds, bridge, settings``. Drains; the result has the baseline.

    ``bridge`` None: nothing of a bridge is looked at or touched, for settings that it takes no notice of.
    """
    if os.getuid() != 0:
        raise AgentFault("tuning", "settings can be changed by root only", "Log in as root, or grant sudo.")
    names = [str(name) for name in arguments["settings"]]
    journal = Journal()
    bridge = Bridge(arguments["bridge"]) if arguments["bridge"] is not None else None
    if bridge is None and any(name in SETTINGS and SETTINGS[name].at_socket_creation for name in names):
        raise AgentFault("tuning", "a setting that needs a restart of the bridge cannot be changed without it")
    if bridge is not None and not bridge.arguments.get("control"):
        bridge.arguments["control"] = describe(bridge.pid(), bridge.arguments)["control"]
    with journal.locked():
        _refuse_leftover(journal)
        if bridge is not None:
            _refuse_other_namespace(bridge, names)
            _refuse_participants(bridge)
        baseline = {name: settings.read(name) for name in names if name in settings.SYSCTLS}
        refused = [why for name in baseline for why in [settings.writable(name)] if why]
        unknown = [name for name in names if name not in settings.SYSCTLS and name not in settings.HOCON]
        if refused or unknown:
            raise AgentFault("tuning", "; ".join([*refused, *(f"unknown setting {name}" for name in unknown)]))
        config_file, drain_found = None, True
        if bridge is not None:
            config_file = _config_file(bridge) if any(name in settings.HOCON for name in names) else None
            bridge.controlled_by()
            drain_found = bridge.draining()
        tuning = Tuning(agent, journal, float(arguments["lease_seconds"]), boot_id())
        os.makedirs(DIRECTORY, mode=0o755, exist_ok=True)
        record: Record = {
            "version": VERSION,
            "run_id": str(arguments["run_id"]),
            "owner": str(arguments["owner"]),
            "boot_id": tuning.boot_id,
            "created_unix": time.time(),
            "agent": {"pid": os.getpid(), "start_ticks": start_ticks(os.getpid())},
            "bridge": None if bridge is None else bridge.arguments,
            "settings": names,
            "baseline": baseline,
            "written": {},
            "overlay": None,
            "config_file": config_file,
            "drain_found": drain_found,
            "drained": not drain_found,
            "bridge_restarted": False,
        }
        tuning.lease.renew(tuning.lease_seconds)
        journal.write(record)
        agent.state["tuning"] = tuning
        agent.shutdown_hooks.append(lambda: _on_shutdown(tuning))
        try:
            tuning.start_guard()
            tuning.start_timer()
            if bridge is not None:
                if not drain_found:
                    bridge.drain(True)
                _refuse_participants(bridge)  # somebody may have come between the first look and the drain
        except BaseException:
            put_back(journal, tuning.boot_id, "the agent: the sweep could not begin")
            tuning.finish()
            raise
    tuning.watch_guard()
    return {
        "baseline": {**baseline, **_hocon_baseline(config_file)},
        "drain_found": drain_found,
        "guard_pid": tuning.guard.pid if tuning.guard else None,
        "timer": tuning.timer,
        "control": None if bridge is None else bridge.arguments["control"],
    }


def _on_shutdown(tuning: Tuning) -> None:
    if os.path.exists(tuning.journal.path):
        tuning.put_back("the agent: its controller is gone")


def _refuse_leftover(journal: Journal) -> None:
    record = journal.read()
    if record is not None:
        since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(record["created_unix"]))
        raise AgentFault(
            "tuning",
            f"this host is taken by {record['owner']} (run {record['run_id']}, since {since})",
            "If that sweep is dead: jvbtune revert --host HOST",
        )


def _refuse_participants(bridge: Bridge) -> None:
    participants = bridge.participants()
    deadline = time.monotonic() + STALE_STATS_SECONDS
    while participants and time.monotonic() < deadline:
        time.sleep(0.5)
        participants = bridge.participants()
    if participants:
        raise AgentFault(
            "busy",
            f"{participants} participants are on the bridge: a sweep never touches live calls",
            "Drain the bridge and wait until they have left: curl -X POST http://HOST:8080/colibri/drain/enable",
        )


def _refuse_other_namespace(bridge: Bridge, names: list[str]) -> None:
    """A container's own network namespace is made anew at each restart, with the kernel's values in it."""
    own = [name for name in names if name.startswith("net.") and name in SETTINGS and not SETTINGS[name].initial_only]
    if own and not same_network(bridge.pid()):
        raise AgentFault(
            "tuning",
            f"{own[0]} belongs to a network namespace, and the bridge has one of its own: here it would do nothing",
            "Sweep it on a bridge with host networking, or set it by `sysctls:` of its container.",
        )


def _config_file(bridge: Bridge) -> str:
    found = describe(bridge.pid(), bridge.arguments)["config_file"]
    if not found or not os.path.isfile(found):
        raise AgentFault(
            "tuning",
            f"the bridge's configuration file was not found, so {settings.RECEIVE_BUFFER} cannot be set",
            "Name it by bridge.config_file in jvbtune.toml.",
        )
    return str(found)


def apply(agent: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """``tuning.apply``: ``values`` are the differences from the baseline; all else goes back to it."""
    tuning = _tuning(agent)
    wanted = {str(name): settings.normalised(value) for name, value in arguments["values"].items()}
    with tuning.journal.locked():
        record = tuning.require()
        stray = [name for name in wanted if name not in record["settings"]]
        if stray:
            raise AgentFault("tuning", f"{stray[0]} was not named when the sweep began")
        targets = {name: wanted.get(name, value) for name, value in record["baseline"].items()}
        changes = {name: value for name, value in targets.items() if settings.read(name) != value}
        _refuse_foreign(record, changes)
        for name, value in changes.items():
            values = record["written"].setdefault(name, [])
            if value not in values:
                values.append(value)
        hocon = {name: value for name, value in wanted.items() if name in settings.HOCON}
        if hocon:
            record["overlay"] = record["config_file"]
        tuning.journal.write(record)
        for name, value in changes.items():
            settings.write(name, value)
        if record["config_file"]:
            overlay.mount(record["config_file"], record["run_id"], hocon)
    return verify(agent, arguments)


def _refuse_foreign(record: Record, changes: dict[str, str]) -> None:
    """Somebody else changed a value meanwhile: the sweep does not write over it."""
    for name in changes:
        found = settings.read(name)
        if found != record["baseline"][name] and found not in record["written"].get(name, ()):
            raise AgentFault(
                "tuning",
                f"{name} is {found}: somebody changed it during the sweep (it was {record['baseline'][name]})",
                "The sweep ends; their value is left as it is.",
            )


def restart_bridge(agent: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """``tuning.restart_bridge``: restart, drained as soon as it answers, healthy, sockets read by sock_diag."""
    tuning = _tuning(agent)
    begun = time.monotonic()
    with tuning.journal.locked():
        record = tuning.require()
        if record["bridge"] is None:
            raise AgentFault("tuning", "these settings were taken without the bridge: it is not restarted")
        record["bridge_restarted"] = True
        tuning.journal.write(record)
        bridge = Bridge(record["bridge"])
        pid = bridge.restart(drained=True)
        _refuse_participants(bridge)
    return {**verify(agent, arguments), "pid": pid, "seconds": time.monotonic() - begun}


def verify(agent: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """``tuning.verify``: the values in force, read back, and the media sockets by sock_diag."""
    tuning = _tuning(agent)
    record = tuning.journal.read() or {}
    touched = record.get("bridge", True) is not None
    bridge = Bridge(record.get("bridge") or arguments.get("bridge") or {})
    values: dict[str, str] = {}
    for name in settings.SYSCTLS:
        try:
            values[name] = settings.read(name)
        except AgentFault:
            continue  # not every kernel or namespace has every one
    values.update(_hocon_baseline(record.get("config_file") or bridge.arguments.get("config_file")))
    return {"values": values, "sockets": bridge.media_sockets() if touched else []}


def _hocon_baseline(config_file: str | None) -> dict[str, str]:
    """The receive buffer that the bridge asks for at its next start: the last assignment in its configuration."""
    asked = str(DEFAULT_RECEIVE_BUFFER)
    if config_file:
        try:
            with open(config_file, encoding="utf-8", errors="replace") as file:
                text = re.sub(r"(?m)(//|#).*$", "", file.read())
        except OSError:
            text = ""
        found = re.findall(r"receive-buffer-size\s*[=:]\s*(\d+)", text)
        asked = found[-1] if found else asked
    return {settings.RECEIVE_BUFFER: asked}


def renew(agent: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """``tuning.renew``: the controller's heartbeat."""
    tuning = _tuning(agent)
    if tuning.lease.remaining() <= 0:
        raise AgentFault("tuning", "the lease has ended: the host was put back, or is being put back")
    tuning.lease.renew(tuning.lease_seconds)
    return {"lease_seconds": tuning.lease_seconds}


def end(agent: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """``tuning.end``: put everything back; the report."""
    tuning = agent.state.pop("tuning", None)
    if tuning is None:
        raise AgentFault("tuning", "no sweep was begun by this agent")
    return tuning.put_back("the agent: the sweep ended")  # type: ignore[no-any-return]


def status(agent: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """``tuning.status``: a journal that is there, and whether somebody holds its lease."""
    record = Journal().read()
    if record is None:
        return {"pending": False}
    lease = Lease(LEASE_PATH).remaining()
    owner = record["agent"]
    live = lease > 0 and start_ticks(owner["pid"]) == owner["start_ticks"]
    now: dict[str, str] = {}
    for name in record["written"]:
        try:
            now[name] = settings.read(name)
        except AgentFault as fault:
            now[name] = fault.message
    return {"pending": True, "live": live, "lease_seconds": max(0.0, lease), "now": now, **summary(record)}


def revert(agent: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """``tuning.revert``: put a host back by hand. ``force``: also under a live sweep."""
    found = status(agent, {})
    if not found["pending"]:
        return {}
    if found["live"] and not arguments.get("force"):
        raise AgentFault(
            "tuning", f"a sweep is under way: {found['owner']}, run {found['run_id']}", "End it, or use --force."
        )
    journal = Journal()
    Lease(LEASE_PATH).end()
    with journal.locked(PUT_BACK_SECONDS):
        report = put_back(journal, boot_id(), "by hand")
        tidy(journal)
    return report or journal.last_report(found["run_id"]) or {}


def hello(agent: Any) -> dict[str, Any]:
    """A journal that was left over."""
    try:
        record = Journal().read()
    except AgentFault as fault:
        return {"leftover_journal": {"owner": "unknown", "run_id": "unknown", "damaged": fault.message}}
    return {"leftover_journal": None if record is None else summary(record), "systemd": systemd()}


def _tuning(agent: Any) -> Tuning:
    tuning = agent.state.get("tuning")
    if tuning is None:
        raise AgentFault("tuning", "no sweep was begun by this agent")
    return tuning  # type: ignore[no-any-return]


OPERATIONS = {
    "tuning.begin": begin,
    "tuning.apply": apply,
    "tuning.restart_bridge": restart_bridge,
    "tuning.verify": verify,
    "tuning.renew": renew,
    "tuning.end": end,
    "tuning.status": status,
    "tuning.revert": revert,
}
