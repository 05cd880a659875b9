"""Applying an export for good: keep the files, drain, write, restart, release; and the way back.

The order that everything keeps: the manifest with the files as they were, on disk; the guard; the drain; a look for
calls; the files and values; the restart; and, when the controller has seen everything in force, the undrain. Until the
undrain nobody is on the bridge, so whatever ends the agent in between rolls back at once: the agent itself where it can
(its controller is gone or silent, a signal), its guard where it was killed, was stopped or hangs. Should that be
killed too, the manifest is there for ``deploy.rollback``.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from jvbtune.agent import calls, guarded, jvbconfig, layout
from jvbtune.agent import sysctl as settings
from jvbtune.agent.control import Bridge, kill
from jvbtune.agent.deploylease import ALIVE, LOOKS, end_when_silent
from jvbtune.agent.deployplan import Places, Plan, make_plan
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.generations import (
    UNFINISHED,
    Manifest,
    Which,
    clear_temporaries,
    digest,
    identity,
    refuse_under_way,
    refuse_unfinished,
)
from jvbtune.agent.layout import Target
from jvbtune.agent.procfs import boot_id, parse_snmp_udp, read_text, start_ticks
from jvbtune.agent.refusals import refuse_taken
from jvbtune.agent.rollback import (
    BUSY_HINT,
    changed_since,
    empty,
    put,
    refuse_damaged,
    restart_due,
    roll_back,
    set_state,
    undrain,
)
from jvbtune.agent.rundir import DIRECTORY
from jvbtune.protocol import agent as protocol
from jvbtune.protocol import deploy as messages
from jvbtune.protocol.codec import build, to_json
from jvbtune.protocol.messages import Nothing
from jvbtune.protocol.peers import Served

#: A bridge that hangs is restarted within 240 s (``control``); a second lock holder waits for one restart at most.
LOCK_SECONDS = 300.0


def plan(agent: Any, arguments: messages.Wanted) -> messages.Planned:
    """``deploy.plan``: nothing is changed. Refused while another apply goes on, or was interrupted."""
    places = _places(agent)
    refuse_unfinished(places.generations)
    bridge = _bridge(arguments.bridge)
    found = make_plan(arguments, bridge, places)
    latest = places.generations.latest()
    return messages.Planned(
        kind=found.kind,
        files=[_shown(target) for target in found.targets],
        values=found.values,
        restart=found.restart,
        overridden=layout.overriding(list(arguments.sysctls), places.drop_in),
        draining=bridge.draining(),
        pid=bridge.pid(),
        sockets=_sockets(bridge),
        seen=found.seen(),
        latest=None if latest is None else _generation(latest),
    )


def _shown(target: Target) -> messages.FileChange:
    def text(content: bytes | None) -> str | None:
        return None if content is None else jvbconfig.redacted(content).decode("utf-8", "replace")

    return messages.FileChange(target.path, text(target.before), text(target.after))


def begin(agent: Any, arguments: messages.Begin) -> messages.Generation:
    """``deploy.begin``: keep the files, and drain the bridge if it is to be restarted. Nothing else is changed."""
    places = _places(agent)
    if os.getuid() != 0:
        raise AgentFault("tuning", "files and settings can be changed by root only", "Log in as root, or grant sudo.")
    bridge = _bridge(arguments.wanted.bridge)
    with _locked(places):
        refuse_taken(places.journal())
        refuse_unfinished(places.generations)
        found = make_plan(arguments.wanted, bridge, places)
        if found.seen() != arguments.seen:
            raise AgentFault("tuning", "the host has changed since it was looked at", "Run the command again.")
        restart = arguments.restart or found.restart is not None
        drain_found = bridge.draining()
        if restart and calls.look(bridge).foreign is None:
            calls.refuse_calls(bridge, BUSY_HINT)
        manifest = _manifest(arguments, found, bridge, restart, drain_found)
        manifest = places.generations.create(manifest, [target.before for target in found.changed])
        clear_temporaries(manifest)
        agent.state["deploy"] = manifest
        agent.state["deploy_contents"] = [target.after for target in found.changed]
        _begin_guard(agent, places, manifest)
        if restart and not drain_found:
            bridge.drain(True)
    return _generation(manifest)


def _manifest(
    arguments: messages.Begin, found: Plan, bridge: Bridge, restart: bool, drain_found: bool
) -> dict[str, Any]:
    return {
        "run_id": arguments.wanted.run_id,
        "owner": arguments.owner,
        "state": "drained",
        "created_unix": time.time(),
        "boot_id": boot_id(),
        "agent": {"pid": os.getpid(), "start_ticks": start_ticks(os.getpid())},
        "bridge": bridge.arguments,
        "arrival": bridge.identity(),
        "restart": restart,
        "drain_found": drain_found,
        "files": [
            {
                "path": target.path,
                "before": digest(target.before),
                "after": digest(target.after),
                "mode": target.mode,
                "owner": list(target.owner),
                "block": target.block,
                "quiet": target.same_settings,
            }
            for target in found.changed
        ],
        "values": {
            name: [change.found, change.wanted]
            for name, change in found.values.items()
            if change.found != change.wanted
        },
    }


def write(agent: Any, arguments: Nothing) -> messages.InForce:
    """``deploy.write``: files, values, restart; then what is in force. The bridge stays drained. After a failure the
    controller asks for the rollback."""
    places = _places(agent)
    with _locked(places):
        manifest = _begun(agent)
        bridge = Bridge(manifest["bridge"])
        if manifest["restart"]:
            empty(bridge)
        set_state(places, manifest, "writing")
        for entry, content in zip(manifest["files"], agent.state["deploy_contents"]):
            put(entry, content, tuple(entry["owner"]), entry["mode"])
        for name, (_, wanted) in manifest["values"].items():
            settings.write(name, wanted, places.sysctl_root)
        if manifest["restart"]:
            empty(bridge)
            bridge.restart()
            bridge.wait_until_healthy()
        set_state(places, manifest, "written")
        values = {name: settings.read(name, places.sysctl_root) for name in manifest["values"]}
        return messages.InForce(values, _sockets(bridge), bridge.pid(), bool(manifest["restart"]))


def release(agent: Any, arguments: Nothing) -> Nothing:
    """``deploy.release``: everything is in force, the bridge takes conferences again."""
    places = _places(agent)
    with _locked(places):
        manifest = _begun(agent)
        set_state(places, manifest, "releasing")
        leave(places, identity(manifest))
        manifest["state"] = "watching"
    _end_guard(agent)
    return Nothing()


def confirm(agent: Any, arguments: Nothing) -> Nothing:
    """``deploy.confirm``: nothing became worse."""
    places = _places(agent)
    with _locked(places):
        set_state(places, _begun(agent), "applied")
    agent.state.pop("deploy")
    return Nothing()


def abandon(agent: Any, arguments: Nothing) -> Nothing:
    """``deploy.abandon``: nothing was written; undo the drain."""
    places = _places(agent)
    with _locked(places):
        manifest = _begun(agent)
        if manifest["state"] != "drained":
            raise AgentFault("tuning", "files were written already: roll back")
        leave(places, identity(manifest))
    agent.state.pop("deploy")
    _end_guard(agent)
    return Nothing()


def leave(places: Places, which: Which) -> None:
    """What the end of an agent leaves to be done: by its manifest the old state, or the new one if that was released.
    The drain is as it was found. Safe to begin again at any point; the caller holds the lock."""
    manifest = places.generations.latest()
    if manifest is None or identity(manifest) != which:
        return
    clear_temporaries(manifest)
    if manifest["state"] in messages.IN_FORCE:  # at most drained for a rollback that has not begun to restore
        if "rollback_drain_found" in manifest:
            undrain(manifest)
            del manifest["rollback_drain_found"]
            set_state(places, manifest, manifest["state"])
    elif manifest["state"] == "releasing":
        if manifest["restart"]:
            undrain(manifest)
        set_state(places, manifest, "watching")
    elif manifest["state"] == "drained":
        undrain(manifest)
        places.generations.remove(manifest)
    else:
        roll_back(places, manifest, Bridge(manifest["bridge"]))


def _on_shutdown(agent: Any, which: Which) -> None:
    """The controller is gone."""
    places = _places(agent)
    with _locked(places):
        leave(places, which)
    _end_guard(agent)


def _begin_guard(agent: Any, places: Places, manifest: Manifest) -> None:
    """Before the drain: from now on it is undone, whatever ends this agent, and a silent controller does end it."""
    which = identity(manifest)
    agent.shutdown_hooks.append(lambda: _on_shutdown(agent, which))
    if "deploy_lease" not in agent.state:
        agent.state["deploy_lease"] = end_when_silent(agent, places.lease_seconds)
    if places.guarded and "deploy_guard" not in agent.state:
        _start_guard(agent, which, places.lease_seconds)


def _start_guard(agent: Any, which: Which, seconds: float) -> None:
    """It hears all the time that this agent is alive; if it does not, for so many ``seconds``, it kills the agent and
    does its work. One that dies before its time is replaced. Where that cannot be done, the agent takes back what was
    begun, as if its controller were gone: nothing goes on without a guard. Raises AgentFault and OSError for the first
    one."""
    number, created_unix = which
    os.makedirs(DIRECTORY, mode=0o755, exist_ok=True)  # jvbtune revert may have taken it away
    own = os.getpid(), start_ticks(os.getpid()) or 0
    arguments = (str(number), repr(created_unix), str(own[0]), str(own[1]), repr(seconds))
    guard = agent.state["deploy_guard"] = guarded.start("deployguard", *arguments)

    assert guard.stdin is not None
    says = guard.stdin

    def watch() -> None:
        while guard.poll() is None:
            with contextlib.suppress(OSError, ValueError):  # it has died, or is told to end
                says.write(ALIVE)
                says.flush()
            with contextlib.suppress(subprocess.TimeoutExpired):
                guard.wait(seconds / LOOKS)
        guarded.close_streams(guard)
        if agent.state.get("deploy_guard") is not guard:
            return
        try:
            _start_guard(agent, which, seconds)
            agent.emit(protocol.Note(f"the guard died ({guard.returncode}); a new one runs"))
        except (AgentFault, OSError) as error:
            agent.hang_up()
            with contextlib.suppress(OSError):
                sys.stderr.write(f"the guard died and cannot be started again: {error}\n")

    threading.Thread(target=watch, name="deploy-guard-watch", daemon=True).start()


def _end_guard(agent: Any) -> None:
    """It finds nothing left to be done, and tidies up; and the lease ends. The lock is not held."""
    lease = agent.state.pop("deploy_lease", None)
    if lease is not None:
        lease.set()
    guard = agent.state.pop("deploy_guard", None)
    if guard is not None:
        guarded.close_streams(guard)
        with contextlib.suppress(subprocess.TimeoutExpired):
            guard.wait(5)


def prepare_rollback(agent: Any, arguments: messages.OfRollback) -> messages.Generation:
    """``deploy.prepare_rollback``: drain the bridge if the rollback restarts it; the controller waits for calls. There
    can be none on one that does not run: ``restart`` False then says that there is nothing to wait for."""
    places = _places(agent)
    with _locked(places):
        refuse_taken(places.journal())
        manifest = _meant(places, arguments)
        refuse_damaged(places, manifest)
        bridge = _bridge_of(manifest, arguments.bridge)
        calls_may_be = restart_due(manifest, bridge) and not bridge.gone(manifest["arrival"])
        if calls_may_be:
            drained = bridge.draining()
            if manifest["state"] in messages.IN_FORCE and "rollback_drain_found" not in manifest:
                manifest["rollback_drain_found"] = drained
                set_state(places, manifest, manifest["state"])
            _begin_guard(agent, places, manifest)
            if not drained:
                bridge.drain(True)
    return replace(_generation(manifest), restart=calls_may_be)


def rollback(agent: Any, arguments: messages.OfRollback) -> messages.Restored:
    """``deploy.rollback``: the last apply's files and values as they were. Refused, with kind ``busy``, under calls."""
    places = _places(agent)
    with _locked(places):
        refuse_taken(places.journal())
        manifest = _meant(places, arguments)
        restored = roll_back(places, manifest, _bridge_of(manifest, arguments.bridge))
    agent.state.pop("deploy", None)
    _end_guard(agent)
    return restored


def latest_generation(agent: Any, arguments: Nothing) -> messages.Latest:
    """``deploy.latest``."""
    places = _places(agent)
    found = places.generations.latest()
    return messages.Latest(None if found is None else replace(_generation(found), foreign=changed_since(places, found)))


def figures(agent: Any, arguments: protocol.OfBridge) -> messages.Figures:
    """``deploy.figures``: drops of the media sockets and datagrams of their namespace."""
    bridge = _bridge(arguments.bridge)
    pid = bridge.pid()
    udp = parse_snmp_udp(read_text(f"/proc/{pid}/net/snmp") or "")
    drops = sum(int(entry["drops"]) for entry in bridge.media_sockets())
    return messages.Figures(pid, start_ticks(pid) or 0, drops, int(udp.get("InDatagrams") or 0))


def _meant(places: Places, arguments: messages.OfRollback) -> Manifest:
    """The last apply. Raises AgentFault if that is another one than was meant, or is somebody else's who is at it."""
    manifest = places.generations.latest()
    if manifest is None:
        raise AgentFault("tuning", "there is nothing to roll back: jvbtune has applied nothing on this host")
    if arguments.number is not None and manifest["number"] > arguments.number:
        what = f"an apply of run {manifest['run_id']} by {manifest['owner']} came in the meantime"
        hint = "Look again: jvbtune rollback --host HOST --check"
        raise AgentFault("tuning", f"{what}, so nothing is taken back", hint)
    created = arguments.created_unix
    if arguments.number not in (None, manifest["number"]) or created not in (None, float(manifest["created_unix"])):
        raise AgentFault("tuning", "somebody else took this apply back in the meantime, so nothing more is taken back")
    theirs, asked = Bridge(manifest["bridge"]), _bridge(arguments.bridge)
    if None not in (theirs.identity(), asked.identity()) and theirs.identity() != asked.identity():
        what = f"the last apply on this machine is of another bridge, that at {theirs.address}:{theirs.port}"
        hint = "Roll back that one first: the applies of a machine are taken back in their order, the newest first."
        raise AgentFault("tuning", f"{what}, so nothing is taken back", hint)
    owner = manifest["agent"]
    if owner["pid"] != os.getpid() and manifest["state"] in UNFINISHED and arguments.force:
        kill(owner["pid"], owner["start_ticks"])
    refuse_under_way(manifest)
    return manifest


def _generation(manifest: Manifest) -> messages.Generation:
    return messages.Generation(
        number=int(manifest["number"]),
        run_id=str(manifest["run_id"]),
        owner=str(manifest["owner"]),
        state=str(manifest["state"]),
        created_unix=float(manifest["created_unix"]),
        restart=bool(manifest["restart"]),
        drain_found=bool(manifest["drain_found"]),
        files=[str(entry["path"]) for entry in manifest["files"]],
        values={name: messages.ValueChange(before, after) for name, (before, after) in manifest["values"].items()},
    )


def _bridge(query: protocol.BridgeQuery) -> Bridge:
    return Bridge(to_json(query))


def _bridge_of(manifest: Manifest, query: protocol.BridgeQuery) -> Bridge:
    """The manifest's bridge, with the inventory's control if that names one."""
    given = to_json(query)
    return Bridge({**manifest["bridge"], "control": given.get("control") or manifest["bridge"].get("control")})


def _sockets(bridge: Bridge) -> list[protocol.UdpSocket]:
    return [build(protocol.UdpSocket, entry, "sockets") for entry in bridge.media_sockets()]


def _begun(agent: Any) -> Manifest:
    """The caller holds the lock."""
    manifest: Manifest | None = agent.state.get("deploy")
    if manifest is None:
        raise AgentFault("tuning", "no apply was begun by this agent")
    latest = _places(agent).generations.latest()
    if latest is None or identity(latest) != identity(manifest):
        raise AgentFault("tuning", "somebody else took this apply back in the meantime")
    return manifest


def _places(agent: Any) -> Places:
    return agent.state.get("deploy_places") or Places()


@contextlib.contextmanager
def _locked(places: Places) -> Iterator[None]:
    with places.journal().locked(LOCK_SECONDS):
        yield


OPERATIONS = (
    Served(messages.PLAN, plan),
    Served(messages.BEGIN, begin),
    Served(messages.WRITE, write),
    Served(messages.RELEASE, release),
    Served(messages.CONFIRM, confirm),
    Served(messages.ABANDON, abandon),
    Served(messages.LATEST, latest_generation),
    Served(messages.PREPARE_ROLLBACK, prepare_rollback),
    Served(messages.ROLLBACK, rollback),
    Served(messages.FIGURES, figures),
)
