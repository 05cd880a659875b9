"""What is done to the host at the fault's instant, and how the lasting ones are repaired."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults import sweep
from tests.faults.host import CONFIG, EDIT, FOREIGN_VALUE, STEPS, A, processes, run, write_setting
from tests.faults.plan import LEASE_SECONDS

if TYPE_CHECKING:
    from tests.faults.world import World

NUMBERS = {"agent": ("agent",), "guard": ("guard",), "agent and guard": ("agent", "guard"), "controller": ()}
ANOTHER_BOOT = str(uuid.UUID(int=7))


def act(world: World) -> None:
    """Do what the fault's kind says."""
    kind, details = world.fault.kind, world.fault.details
    if kind.startswith("kill "):
        _kill(world, kind.removeprefix("kill "))
    elif kind.startswith("stop "):
        _stop(world, kind.removeprefix("stop "), float(details["leases"]) * LEASE_SECONDS)
    else:
        ACTIONS[kind](world)


def _kill(world: World, whom: str) -> None:
    for name in whom.split(" and "):
        if name == "controller":
            world.signal_controller(signal.SIGKILL)
        else:
            world.host.kill(name)


def _stop(world: World, whom: str, seconds: float) -> None:
    if whom == "controller":
        world.signal_controller(signal.SIGSTOP)
        world.later(seconds, lambda: world.signal_controller(signal.SIGCONT))
        return
    for process in processes():
        if process.actor == whom:
            _signal(process.pid, signal.SIGSTOP)
            world.later(seconds, lambda pid=process.pid: _signal(pid, signal.SIGCONT))  # type: ignore[misc]


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _hang_up(world: World) -> None:
    for process in processes():
        if process.actor == "agent":
            _signal(process.pid, signal.SIGHUP)


def _end_of_input(world: World) -> None:
    """As a ssh session ends: the channel closes, and a moment later the process group is terminated, and again."""
    agents = [process.pid for process in processes() if process.actor == "agent"]
    world.signal_controller(signal.SIGKILL)
    for delay in (0.02, 0.1, 0.3):
        for pid in agents:
            world.later(delay, lambda pid=pid: _signal(pid, signal.SIGTERM))  # type: ignore[misc]


def _full(world: World) -> None:
    path = Path(str(world.fault.details["where"]), "filled")
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def _read_only(world: World) -> None:
    where = str(world.fault.details["where"])
    if where == "/proc/sys":
        run("mount", "--bind", where, where)
        run("mount", "-o", "remount,bind,ro", where)
    else:
        run("mount", "-o", "remount,ro", where)  # EBUSY where a file is open for writing: then it is not one


def _damage(paths: list[Path], how: str, share: float | None) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            if how == "deleted":
                path.unlink()
            elif how == "truncated":
                os.truncate(path, int(path.stat().st_size * (share or 0.0)))
            else:
                path.write_text('{"version": 1}' if path.suffix == ".json" else "soon")


def _lose_journal(world: World) -> None:
    details = world.fault.details
    tops = ("/var/lib/",) if details["copies"] == "first" else ("/var/lib/", "/run/")
    paths = [path for path in world.host.journal_files() if str(path).startswith(tops)]
    _damage(paths, str(details["how"]), details["share"])


def _lose_lease(world: World) -> None:
    _damage(list(Path("/run").glob("jvbtune*/lease")), str(world.fault.details["how"]), world.fault.details["share"])


def _set_foreign(world: World) -> None:
    to, host = world.fault.details["to"], world.host
    if to == "new":
        host.foreign[A] = FOREIGN_VALUE
        world.foreign_since = world.now()
    value = {"new": FOREIGN_VALUE, "ours": STEPS[0][A], "baseline": host.baseline[A]}[str(to)]
    if to == "ours":
        world.journalled[A].add(value)  # whose it is cannot be told
    write_setting(A, value)


def _toggle(world: World) -> None:
    world.host.toggle_drain(not world.host.draining())


def _restart(world: World) -> None:
    """By somebody else, or by itself after a crash: the new process takes conferences."""
    world.host.bridge_command("restarted by somebody")


def _fail_bridge(world: World) -> None:
    world.host.put("mode", str(world.fault.details["how"]))


def _edit(world: World) -> None:
    config = world.host.config
    edited = config.read_bytes() + EDIT.encode()
    world.host.edited = edited
    if world.fault.details["how"] == "in place":
        config.write_bytes(edited)
        return
    new = config.with_name("jvb.conf.new")
    new.write_bytes(edited)
    try:
        new.replace(config)
    except OSError as error:  # a mount point: the editor says so, and the operator knows
        world.host.edited = None
        new.unlink()
        world.host.log(who="world", event="the editor was refused", error=str(error))


def _step_clock(world: World) -> None:
    world.host.put("clock", str(world.fault.details["seconds"]))


def _reboot(world: World) -> None:
    """All processes gone, /run and the settings as a boot makes them, the bridge up, another boot id."""
    host = world.host
    world.signal_controller(signal.SIGKILL)
    host.kill("agent", "guard")
    while host.overlay():
        run("umount", "-l", str(host.config))
    for path in Path("/run").glob("jvbtune*"):
        shutil.rmtree(path)
    for name, value in host.baseline.items():
        write_setting(name, value)
    host.put("boot-id", ANOTHER_BOOT + "\n")
    run("mount", "--bind", str(host.directory / "boot-id"), "/proc/sys/kernel/random/boot_id")
    host.bridge_command("restarted by somebody")
    if host.drain_found:
        host.drain_foreign = False  # a drain does not outlive the boot


def _second_begins(world: World) -> None:
    world.spawn("second", "second.out", lambda: sweep.second(world.host))


def _second_reverts(world: World) -> None:
    options = ("--force",) if world.fault.details["force"] else ()
    world.spawn("second", "second.out", lambda: sweep.revert(world.host, *options))


def _unknown(world: World) -> None:
    world.joined = world.now()
    world.host.put("participants", str(world.fault.details["how"]))


def _nothing(world: World) -> None:
    """The hooks in the process do it."""


def _interrupt(world: World) -> None:
    world.signal_controller(getattr(signal, str(world.fault.details["signal"])))


ACTIONS: dict[str, Callable[[World], None]] = {
    "interrupt": _interrupt,
    "none": _nothing,
    "SIGHUP agent": _hang_up,
    "SIGTERM after end of input": _end_of_input,
    "error once": _nothing,
    "error for good": _nothing,
    "disk full": _full,
    "read-only": _read_only,
    "journal lost": _lose_journal,
    "lease lost": _lose_lease,
    "foreign setting": _set_foreign,
    "drain toggled": _toggle,
    "bridge restarted": _restart,
    "bridge fails": _fail_bridge,
    "configuration edited": _edit,
    "clock stepped": _step_clock,
    "reboot": _reboot,
    "second controller begins": _second_begins,
    "second controller reverts": _second_reverts,
    "participants unknown": _unknown,
}


def repair(world: World) -> None:
    """An operator has seen what was wrong with the machine: the rest of the fault ends."""
    host, fault = world.host, world.fault
    host.put("mode", "ok")
    (host.directory / "broken").unlink(missing_ok=True)
    if fault.kind == "disk full":
        Path(str(fault.details["where"]), "filled").unlink(missing_ok=True)
    if fault.kind == "read-only" and world.acted is not None:
        where = str(fault.details["where"])
        run(*(("umount", "-l", where) if where == "/proc/sys" else ("mount", "-o", "remount,rw", where)))


def leave(world: World) -> None:
    """Whoever was on the bridge leaves."""
    world.host.put("participants", "0")
    world.joined = None


__all__ = ["CONFIG", "act", "leave", "repair"]
