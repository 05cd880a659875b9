"""Changing settings under the guard: begin, apply, restart, verify, renew, end; and revert by hand.

The order that everything keeps: journal to disk, guard ready, value to be written into the journal, write, read back.
"""

from __future__ import annotations

import os
import time
from typing import Any

from jvbtune.agent import overlay
from jvbtune.agent import sysctl as settings
from jvbtune.agent.calls import look, refuse_calls
from jvbtune.agent.control import Bridge
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.guard import Lease
from jvbtune.agent.guarded import PUT_BACK_SECONDS, GuardedTuning
from jvbtune.agent.journal import VERSION, Journal, Record
from jvbtune.agent.procfs import boot_id, start_ticks
from jvbtune.agent.putback import put_back, summary
from jvbtune.agent.refusals import BUSY_HINT, checks, config_file_of
from jvbtune.agent.rundir import DIRECTORY, LEASE_PATH, systemd, tidy
from jvbtune.agent.settings import canonical
from jvbtune.protocol import agent as protocol
from jvbtune.protocol import tuning as messages
from jvbtune.protocol.codec import build, to_json
from jvbtune.protocol.messages import Nothing
from jvbtune.protocol.peers import Served

#: The lease while a sweep begins: the controller's heartbeats come when it has begun.
BEGIN_SECONDS = 60.0


def begin(agent: Any, arguments: messages.Begin) -> messages.Begun:
    """``tuning.begin``: drains; the result has the baseline."""
    journal = Journal()
    bridge = Bridge(to_json(arguments.bridge)) if arguments.bridge is not None else None
    tuning = GuardedTuning(agent, journal, arguments.lease_seconds, boot_id())
    try:
        with journal.locked():
            try:
                return _begin(tuning, arguments, bridge)
            except BaseException:
                if tuning.record is not None:
                    put_back(journal, tuning.boot_id, "the agent: the sweep could not begin")
                    tidy(journal)
                raise
    except BaseException:
        agent.state.pop("tuning", None)
        tuning.finish()
        raise


def _begin(tuning: GuardedTuning, arguments: messages.Begin, bridge: Bridge | None) -> messages.Begun:
    """All that may refuse comes first; then the guard, the journal, and only then the drain."""
    names = arguments.settings
    for check in checks(bridge, names, refreshed=True):
        check.ask()
    arrival, config_file, drain_found = None, None, True
    if bridge is not None:
        arrival, drain_found = bridge.identity(), bridge.draining()
        config_file = config_file_of(bridge) if any(name in settings.HOCON for name in names) else None
    baseline = {name: settings.read(name) for name in names if name in settings.SYSCTLS}
    os.makedirs(DIRECTORY, mode=0o755, exist_ok=True)
    tuning.journal.clear_leftovers()
    tuning.take_lease(max(tuning.lease_seconds, BEGIN_SECONDS))
    tuning.start_guard()
    tuning.write(
        {
            "version": VERSION,
            "run_id": arguments.run_id,
            "owner": arguments.owner,
            "boot_id": tuning.boot_id,
            "created_unix": time.time(),
            "agent": {"pid": os.getpid(), "start_ticks": start_ticks(os.getpid())},
            "bridge": None if bridge is None else bridge.arguments,
            "arrival": arrival,
            "settings": names,
            "baseline": baseline,
            "written": {},
            "in_force": {},
            "overlay": None,
            "config_file": config_file,
            "drain_found": drain_found,
            "drained": not drain_found,
        }
    )
    tuning.agent.state["tuning"] = tuning
    tuning.agent.shutdown_hooks.append(lambda: _on_shutdown(tuning))
    tuning.start_timer()
    if bridge is not None:
        if not drain_found:
            bridge.drain(True)
        refuse_calls(bridge, BUSY_HINT)  # somebody may have come between the first look and the drain
        tuning.watch_bridge(bridge)
    tuning.watch_guard()
    tuning.lease.renew(tuning.lease_seconds)
    return messages.Begun(
        baseline=baseline,
        drain_found=drain_found,
        guard_pid=tuning.guard.pid if tuning.guard else None,
        timer=tuning.timer,
        control=None if bridge is None else build(protocol.Control, bridge.arguments["control"], "control"),
    )


def _on_shutdown(tuning: GuardedTuning) -> None:
    if tuning.agent.state.get("tuning") is tuning:  # not ended in the ordinary way
        tuning.put_back("the agent: its controller is gone")


def apply(agent: Any, arguments: messages.Apply) -> messages.InForce:
    """``tuning.apply``."""
    tuning = _tuning(agent)
    wanted = {str(name): _canonical(str(name), value) for name, value in arguments.values.items()}
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
        record["in_force"] = {**{n: v for n, v in targets.items() if v != record["baseline"][n]}, **hocon}
        tuning.write(record)
        for name, value in changes.items():
            settings.write(name, value)
        if record["config_file"]:
            overlay.mount(record["config_file"], record["run_id"], hocon)
    return verify(agent, Nothing())


def _canonical(name: str, value: Any) -> str:
    try:
        return canonical(name, value)
    except ValueError as error:
        raise AgentFault("usage", str(error)) from None


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


def restart_bridge(agent: Any, arguments: Nothing) -> messages.Restarted:
    """``tuning.restart_bridge``: restart, drained as soon as it answers, healthy, sockets read by sock_diag.

    Refused, with kind ``busy``, where a call is on the bridge or it is not known that none is.
    """
    tuning = _tuning(agent)
    begun = time.monotonic()
    with tuning.journal.locked():
        record = tuning.require()
        if record["bridge"] is None or tuning.watch is None:
            raise AgentFault("tuning", "these settings were taken without the bridge: it is not restarted")
        bridge = Bridge(record["bridge"])
        refuse_calls(bridge, "The host is put back. Take the bridge out of service, then go on with --resume.")
        clean = _is_baseline(record)
        with tuning.watch.restarting():
            identity = bridge.restart()
            tuning.watch.is_now(identity)
        record["last_bridge"] = identity
        if clean:
            record["clean_bridge"] = identity
        tuning.write(record)
        bridge.wait_until_healthy()
        refuse_calls(bridge, "The host is put back. Take the bridge out of service, then go on with --resume.")
    found = verify(agent, Nothing())
    return messages.Restarted(found.values, found.sockets, identity[0], time.monotonic() - begun)


def _is_baseline(record: Record) -> bool:
    """Whether the values in force are those of the arrival; read, because a step back to them may have failed."""
    back = all(settings.read(name) == record["baseline"][name] for name in record["written"])
    return back and not record["in_force"] and not (record["config_file"] and overlay.lies_over(record["config_file"]))


def bridge_calls(agent: Any, arguments: protocol.OfBridge) -> messages.WhoIsThere:
    """``tuning.calls``: who is on the bridge now."""
    return build(messages.WhoIsThere, look(Bridge(to_json(arguments.bridge))).to_json(), "calls")


def verify(agent: Any, arguments: Nothing) -> messages.InForce:
    """``tuning.verify``: the values in force, read back, and the media sockets by sock_diag."""
    tuning = _tuning(agent)
    record = tuning.journal.read() or {}
    touched = record.get("bridge", True) is not None
    bridge = Bridge(record.get("bridge") or {})
    values: dict[str, str] = {}
    for name in settings.SYSCTLS:
        try:
            values[name] = settings.read(name)
        except AgentFault:
            continue  # not every kernel or namespace has every one
    sockets = [build(protocol.UdpSocket, entry, "sockets") for entry in bridge.media_sockets()] if touched else []
    return messages.InForce(values, sockets)


def _leftover(record: Record) -> protocol.Leftover:
    told = summary(record)
    told["pending_restart"] = told.pop("pending")
    return build(protocol.Leftover, told, "journal")


def renew(agent: Any, arguments: Nothing) -> messages.Renewed:
    """``tuning.renew``: the controller's heartbeat."""
    tuning = _tuning(agent)
    if tuning.lease.remaining() <= 0:
        raise AgentFault("tuning", "the lease has ended: the host was put back, or is being put back")
    tuning.lease.renew(tuning.lease_seconds)
    return messages.Renewed(tuning.lease_seconds)


def end(agent: Any, arguments: Nothing) -> messages.PutBack:
    """``tuning.end``: put everything back; the report."""
    tuning = agent.state.pop("tuning", None)
    if tuning is None:
        raise AgentFault("tuning", "no sweep was begun by this agent")
    return build(messages.PutBack, tuning.put_back("the agent: the sweep ended"), "report")


def status(agent: Any, arguments: Nothing) -> messages.Status:
    """``tuning.status``: a journal that is there, and whether somebody holds its lease."""
    record = Journal().read()
    if record is None:
        return messages.Status(pending=False)
    lease = Lease(LEASE_PATH).remaining()
    owner = record["agent"]
    live = lease > 0 and start_ticks(owner["pid"]) == owner["start_ticks"]
    now: dict[str, str] = {}
    for name in record["written"]:
        try:
            now[name] = settings.read(name)
        except AgentFault as fault:
            now[name] = fault.message
    found = _leftover(record)
    return messages.Status(pending=True, live=live, lease_seconds=max(0.0, lease), now=now, journal=found)


def revert(agent: Any, arguments: messages.Revert) -> messages.PutBack:
    """``tuning.revert``: put a host back by hand. ``force``: also under a live sweep."""
    found = status(agent, Nothing())
    if found.journal is None:
        with Journal().locked():
            tidy(Journal())  # of one that was killed between its last two acts
        return messages.PutBack()
    if found.live and not arguments.force:
        owner, run_id = found.journal.owner, found.journal.run_id
        raise AgentFault("tuning", f"this host is taken by {owner} (run {run_id})", "Wait until that ends.")
    journal = Journal()
    record = journal.read()
    Lease(LEASE_PATH).end()
    control = None if arguments.bridge is None else to_json(arguments.bridge.control)
    with journal.locked(PUT_BACK_SECONDS):
        report = put_back(journal, boot_id(), "by hand", by_hand=True, control=control)
        tidy(journal)
    return build(messages.PutBack, report or (record and journal.last_report(record)) or {}, "report")


def hello(agent: Any) -> dict[str, Any]:
    """A journal that was left over."""
    try:
        record = Journal().read()
    except AgentFault as fault:
        return {"leftover_journal": protocol.Leftover("unknown", "unknown", damaged=fault.message)}
    found = None if record is None else _leftover(record)
    return {"leftover_journal": found, "systemd": systemd()}


def _tuning(agent: Any) -> GuardedTuning:
    tuning = agent.state.get("tuning")
    if tuning is None:
        raise AgentFault("tuning", "no sweep was begun by this agent")
    return tuning  # type: ignore[no-any-return]


OPERATIONS = (
    Served(messages.BEGIN, begin),
    Served(messages.APPLY, apply),
    Served(messages.RESTART_BRIDGE, restart_bridge),
    Served(messages.CALLS, bridge_calls),
    Served(messages.VERIFY, verify),
    Served(messages.RENEW, renew),
    Served(messages.END, end),
    Served(messages.STATUS, status),
    Served(messages.REVERT, revert),
)
