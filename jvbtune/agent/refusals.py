"""What a sweep refuses, in one list: ``tuning.begin`` ends at the first refusal, ``check.look`` reports all of them.

Nothing is changed here, and nothing drained.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable

from jvbtune.agent import calls, overlay
from jvbtune.agent import sysctl as settings
from jvbtune.agent.bridge import describe
from jvbtune.agent.control import Bridge
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.generations import Generations, refuse_unfinished
from jvbtune.agent.guard import Lease
from jvbtune.agent.journal import Journal
from jvbtune.agent.namespaces import same_network
from jvbtune.agent.procfs import start_ticks
from jvbtune.agent.rundir import LEASE_PATH
from jvbtune.agent.settings import SETTINGS

BUSY_HINT = "Drain the bridge and wait until they have left: curl -X POST http://HOST:8080/colibri/drain/enable"


@dataclass(frozen=True)
class Check:
    """``ask`` says what holds, or raises AgentFault. ``needs``: the check without which it makes no sense."""

    what: str
    ask: Callable[[], str]
    needs: str | None = None


def checks(
    bridge: Bridge | None, names: list[str], *, restarts: bool = True, refreshed: bool = False
) -> Iterator[Check]:
    """In the order in which they are looked at. ``bridge`` None: it is not touched. ``refreshed``: where the bridge has
    only counts of calls, wait until they are of now."""
    yield Check("root", _root)
    yield Check("journal", _nobody_else)
    if bridge is None:
        yield Check("settings", lambda: _settings(None, names))
        return
    yield Check("bridge", lambda: _process(bridge))
    yield Check("settings", lambda: _settings(bridge, names), "bridge")
    yield Check("rest", lambda: _rest(bridge))
    yield Check("drain", lambda: _drain(bridge), "rest")
    yield Check("calls", lambda: _calls(bridge, refreshed), "rest")
    if restarts:
        yield Check("control", lambda: _control(bridge), "bridge")


def _root() -> str:
    if os.getuid() != 0:
        raise AgentFault("host", "the agent does not run as root", "Log in as root, or grant sudo.")
    return "the agent runs as root"


def _nobody_else() -> str:
    """Whether somebody is at work on this host, or was and it is not put back: by a sweep, or by an apply."""
    journal = Journal()
    refuse_taken(journal)
    refuse_unfinished(Generations.of(journal.directory))
    return "nothing is left over of an earlier sweep"


def refuse_taken(journal: Journal) -> None:
    """Raises AgentFault if a sweep is at work on this host, or was and it is not put back."""
    record = journal.read()
    if record is None:
        return
    since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(record["created_unix"]))
    who = f"{record['owner']} (run {record['run_id']}, since {since})"
    owner = record["agent"]
    if Lease(LEASE_PATH).remaining() > 0 and start_ticks(owner["pid"]) == owner["start_ticks"]:
        raise AgentFault("tuning", f"this host is taken by {who}", "Wait until that ends.")
    raise AgentFault(
        "tuning", f"an earlier sweep was not put back: {who}", "Put it back first: jvbtune revert --host HOST"
    )


def _process(bridge: Bridge) -> str:
    """Finds out as well how the bridge is restarted, if the inventory does not say it."""
    pid = bridge.pid()
    found = describe(pid, bridge.arguments)
    bridge.arguments["control"] = bridge.arguments.get("control") or found["control"]
    java = found["java"].get("version") or "unknown version"
    return f"process {pid}, Java {java}, {found['cores']:g} cores"


def _rest(bridge: Bridge) -> str:
    bridge.check_answering()
    bridge.ask_json("/colibri/stats")
    return f"COLIBRI REST answers at {bridge.address}:{bridge.port}"


def _drain(bridge: Bridge) -> str:
    return "the bridge is drained" if bridge.draining() else "the bridge takes conferences; jvbtune drains it"


def _calls(bridge: Bridge, refreshed: bool) -> str:
    if refreshed:
        calls.refuse_calls(bridge, BUSY_HINT)
    else:
        found = calls.look(bridge)
        if not found.free:
            raise AgentFault("busy", found.text(), "Take the bridge out of service first.")
    return "no call is on the bridge"


def _control(bridge: Bridge) -> str:
    bridge.check_control()
    control = bridge.controlled_by()
    for kind in ("systemd", "container"):
        if control.get(kind):
            return f"restarted as {'unit' if kind == 'systemd' else kind} {control[kind]}"
    return "restarted by the inventory's command"


def _settings(bridge: Bridge | None, names: list[str]) -> str:
    unknown = [name for name in names if name not in settings.SYSCTLS and name not in settings.HOCON]
    of_reason: dict[str, list[str]] = {}  # one sentence for all names of which it is true
    for name in names:
        why = settings.writable(name) if name in settings.SYSCTLS else None
        if why:
            of_reason.setdefault(why.replace(name, "{}"), []).append(name)
    refused = [
        why.replace("{}", first) + (f". The same is true of {', '.join(others)}" if others else "")
        for why, (first, *others) in of_reason.items()
    ]
    if refused or unknown:
        raise AgentFault("tuning", "; ".join([*refused, *(f"unknown setting {name}" for name in unknown)]))
    if bridge is None:
        if any(SETTINGS[name].at_socket_creation for name in names):
            raise AgentFault("tuning", "a setting that needs a restart of the bridge cannot be changed without it")
    else:
        refuse_other_namespace(bridge, names)
        if any(name in settings.HOCON for name in names):
            config_file_of(bridge)
    return f"{', '.join(names)} can be set" if names else "none is changed"


def refuse_other_namespace(bridge: Bridge, names: list[str]) -> None:
    """A container's own network namespace is made anew at each restart, with the kernel's values in it."""
    own = [name for name in names if name.startswith("net.") and name in SETTINGS and not SETTINGS[name].initial_only]
    if own and not same_network(bridge.pid()):
        raise AgentFault(
            "tuning",
            f"{own[0]} belongs to a network namespace, and the bridge has one of its own: here it would do nothing",
            "Sweep it on a bridge with host networking, or set it by `sysctls:` of its container.",
        )


def config_file_of(bridge: Bridge) -> str:
    """The file that an overlay goes over. Raises AgentFault where it is not found, or none can be made."""
    pid = bridge.pid()
    found = describe(pid, bridge.arguments)["config_file"]
    if found:
        found = overlay.target(pid, str(found))
    if not found or not os.path.isfile(found):
        raise AgentFault(
            "tuning",
            f"the bridge's configuration file was not found, so {settings.RECEIVE_BUFFER} cannot be set",
            "Name it by bridge.config_file in jvbtune.toml.",
        )
    overlay.check(str(found))
    return str(found)
