"""What jvbtune knows of a host before it connects."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jvbtune.protocol import agent as protocol
from jvbtune.protocol.agent import BridgeQuery
from jvbtune.protocol.codec import build


@dataclass(frozen=True)
class Control:
    """How the bridge is restarted: exactly one of a systemd unit, a container, or commands (argv lists)."""

    systemd: str | None = None
    container: str | None = None
    restart: tuple[str, ...] | None = None
    status: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """The form in which the agent takes it."""
        if self.systemd is not None:
            return {"systemd": self.systemd}
        if self.container is not None:
            return {"container": self.container}
        commands = {"restart": list(self.restart or ())}
        if self.status is not None:
            commands["status"] = list(self.status)
        return {"commands": commands}


@dataclass(frozen=True)
class BridgeEntry:
    """The bridge on a host; None: found out on the host."""

    media_address: str | None = None
    media_port: int | None = None
    allowed_media_addresses: tuple[str, ...] = ()  #: load goes to no other; empty: media_address alone
    http_address: str = "127.0.0.1"  #: as seen from the host itself
    http_port: int = 8080
    control: Control | None = None
    config_file: str | None = None
    pid_file: str | None = None
    match: str | None = None  #: part of the process's command line


@dataclass(frozen=True)
class GeneratorEntry:
    """Where the load comes from: this machine, other hosts, a command of the user's, or browsers.

    The first four are of the machine that makes the load: this one, or the host itself if ``hosts`` of another entry
    names it.
    """

    netns: str | None = None  #: name under /run/netns
    cpus: tuple[int, ...] | None = None
    bind_address: str | None = None
    python: str | None = None
    hosts: tuple[str, ...] = ()  #: names of the machines that make the load instead of this one
    command: tuple[str, ...] = ()  #: the program that makes the load instead of jvbtune's own generator
    grid: str | None = None  #: URL of the Selenium Grid whose browsers make the load

    @property
    def elsewhere(self) -> str | None:
        """What makes the load instead of this machine's workers, in words; None: nothing does."""
        if self.hosts:
            return ", ".join(self.hosts)
        return self.command[0] if self.command else self.grid


@dataclass(frozen=True)
class HostEntry:
    """One host. ``ssh`` is the alias given to OpenSSH; None: this machine itself."""

    name: str
    ssh: str | None
    ssh_config: Path | None = None
    labels: dict[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()  #: of Ansible, an autoscaled group, jvbtune.toml: sorted, without duplicates
    bridge: BridgeEntry = BridgeEntry()
    generator: GeneratorEntry = GeneratorEntry()
    load_hosts: tuple[HostEntry, ...] = ()  #: the entries of ``generator.hosts``
    source: str = "OpenSSH alias"  #: where the entry came from, for messages

    @property
    def is_bare(self) -> bool:
        """Whether OpenSSH is given the name itself."""
        return self.ssh == self.name


def bridge_arguments(entry: HostEntry) -> BridgeQuery:
    """What the agent has to know of the bridge."""
    bridge = entry.bridge
    return BridgeQuery(
        http_address=bridge.http_address,
        http_port=bridge.http_port,
        control=build(protocol.Control, bridge.control.to_json()) if bridge.control else None,
        config_file=bridge.config_file,
        pid_file=bridge.pid_file,
        match=bridge.match,
        media_port=bridge.media_port,
    )
