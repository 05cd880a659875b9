"""What an apply would change on this host, and where it keeps what was there. Nothing is changed here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from jvbtune.agent import layout
from jvbtune.agent import sysctl as settings
from jvbtune.agent.bridge import describe
from jvbtune.agent.containers import host_file, start_unix
from jvbtune.agent.control import Bridge
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.generations import Generations, digest
from jvbtune.agent.journal import DIRECTORY, Journal
from jvbtune.agent.layout import DROP_IN, Target
from jvbtune.agent.overlay import lies_over
from jvbtune.agent.refusals import refuse_other_namespace
from jvbtune.agent.settings import SETTINGS, canonical
from jvbtune.protocol import deploy as messages

#: The start of a process is known to a second (``btime`` of /proc/stat).
START_SLACK_SECONDS = 1.5


@dataclass(frozen=True)
class Places:
    """Where everything is; tests have their own. ``guarded``: a guard is started, from the archive of this process.
    ``lease_seconds``: how long a controller may be silent (``deploylease``)."""

    sysctl_root: str = "/proc/sys"
    drop_in: str = DROP_IN
    state: str = DIRECTORY
    guarded: bool = True
    lease_seconds: float = 60.0

    @property
    def generations(self) -> Generations:
        return Generations.of(self.state)

    def journal(self) -> Journal:
        return Journal(self.state)


@dataclass(frozen=True)
class Plan:
    """What an apply would do."""

    kind: str
    targets: list[Target]
    values: dict[str, messages.ValueChange]
    restart: str | None

    @property
    def changed(self) -> list[Target]:
        return [target for target in self.targets if target.before != target.after]

    def seen(self) -> str:
        files = [[target.path, digest(target.before), digest(target.after)] for target in self.targets]
        values = {name: [change.found, change.wanted] for name, change in self.values.items()}
        return str(digest(layout.dumped([self.kind, files, values])))


def make_plan(wanted: messages.Wanted, bridge: Bridge, places: Places) -> Plan:
    """Raises AgentFault for whatever an apply would refuse."""
    layout.check_texts(wanted.drop_in, wanted.sysctls, wanted.include, wanted.section)
    pid = bridge.pid()
    about = describe(pid, bridge.arguments)
    bridge.arguments["control"] = bridge.arguments.get("control") or about["control"]
    bridge.check_control()
    refuse_other_namespace(bridge, list(wanted.sysctls))
    kind = next(iter(bridge.controlled_by()))
    targets = _bridge_targets(pid, about, wanted)
    drop_in = layout.drop_in_target(wanted.drop_in, wanted.sysctls, places.drop_in)
    values = {}
    for name, value in wanted.sysctls.items():
        values[name] = messages.ValueChange(settings.read(name, places.sysctl_root), canonical(name, value))
        refused = settings.writable(name, places.sysctl_root)
        if refused:
            raise AgentFault("tuning", refused)
    every = [*targets, *([drop_in] if drop_in is not None else [])]
    return Plan(kind, every, values, _why_restart(pid, targets, values))


def _bridge_targets(pid: int, about: dict[str, Any], wanted: messages.Wanted) -> list[Target]:
    config_file = about["config_file"]
    if not config_file:
        raise AgentFault(
            "tuning", "the bridge's configuration file was not found", "Give bridge.config_file in jvbtune.toml."
        )
    prefix = f"/proc/{pid}/root"
    if str(config_file).startswith(prefix + "/"):
        container = (about["control"] or {}).get("container")
        if not container:
            raise AgentFault(
                "tuning",
                f"the bridge's configuration {str(config_file)[len(prefix) :]} is in a mount namespace of its own",
                "Name the file of the host that it is made of by bridge.config_file in jvbtune.toml.",
            )
        path = host_file(str(container), pid, str(config_file)[len(prefix) :])
        targets = [layout.section_target(path, wanted.section)]
    else:
        targets = layout.included_targets(str(config_file), wanted.include)
    over = [target.path for target in targets if lies_over(target.path)]
    if over:
        raise AgentFault("tuning", f"the overlay of a sweep lies over {over[0]}", "Put it back: jvbtune revert")
    return targets


def _why_restart(pid: int, targets: list[Target], values: dict[str, messages.ValueChange]) -> str | None:
    if any(not target.same_settings for target in targets):
        return "a bridge reads its configuration when it starts"
    sockets = [name for name, change in values.items() if change.found != change.wanted and _of_sockets(name)]
    if sockets:
        return f"a socket takes {sockets[0]} when it is created"
    started = start_unix(pid)
    for target in targets:  # the operator's other edits of his own file are not ours to put in force
        if target.holds and (started is None or os.stat(target.path).st_mtime > started + START_SLACK_SECONDS):
            return f"{target.path} was written after the bridge started"
    return None


def _of_sockets(name: str) -> bool:
    return name in SETTINGS and SETTINGS[name].at_socket_creation
