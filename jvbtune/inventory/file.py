"""``jvbtune.toml``.

    [hosts.jvb-eu-1]
    ssh = "jvb-eu-1.example.org"          # an alias of the OpenSSH configuration; default: the entry's name
    [hosts.jvb-eu-1.bridge]
    media_address = "203.0.113.7"
    allowed_media_addresses = ["203.0.113.7"]
    http_port = 8080
    control = { systemd = "jitsi-videobridge2" }
    [hosts.jvb-eu-1.labels]
    region = "eu-central-1"

What stands under ``[defaults]`` holds for every host that does not say otherwise, also for bare OpenSSH aliases.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from jvbtune.errors import ConfigError, UsageError
from jvbtune.inventory.entries import BridgeEntry, Control, GeneratorEntry, HostEntry
from jvbtune.toml import load_toml

FILE_NAME = "jvbtune.toml"
Port = Annotated[int, Field(ge=1, le=65535)]
Argv = Annotated[tuple[str, ...], Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Commands(_Strict):
    restart: Argv
    status: Argv | None = None


class _Control(_Strict):
    systemd: str | None = None
    container: str | None = None
    commands: _Commands | None = None

    @model_validator(mode="after")
    def _one_way(self) -> _Control:
        given = [name for name in ("systemd", "container", "commands") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of systemd, container, commands")
        return self

    def entry(self) -> Control:
        if self.commands is not None:
            return Control(restart=self.commands.restart, status=self.commands.status)
        return Control(systemd=self.systemd, container=self.container)


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address") from None


class _Bridge(_Strict):
    media_address: str | None = None
    media_port: Port | None = None
    allowed_media_addresses: tuple[str, ...] | None = None
    http_address: str | None = None
    http_port: Port | None = None
    control: _Control | None = None
    config_file: str | None = None
    pid_file: str | None = None
    match: str | None = None

    @field_validator("media_address")
    @classmethod
    def _media_address(cls, value: str | None) -> str | None:
        return None if value is None else _address(value)

    @field_validator("allowed_media_addresses")
    @classmethod
    def _allowed(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if value is None else tuple(_address(address) for address in value)

    @field_validator("config_file", "pid_file")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/"):
            raise ValueError("must be an absolute path on the host")
        return value


class _Generator(_Strict):
    netns: str | None = None
    cpus: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    bind_address: str | None = None


class _Host(_Strict):
    ssh: str | None = None
    local: bool = False  #: the bridge runs on this machine: no ssh
    ssh_config: Path | None = None
    labels: dict[str, str] = {}
    bridge: _Bridge = _Bridge()
    generator: _Generator = _Generator()

    @model_validator(mode="after")
    def _ssh_or_local(self) -> _Host:
        if self.local and self.ssh is not None:
            raise ValueError("local = true and ssh exclude each other")
        return self


class _File(_Strict):
    defaults: _Host = _Host()
    hosts: dict[str, _Host] = {}


@dataclass(frozen=True)
class Inventory:
    """The hosts that are known by name; any other name is taken for an OpenSSH alias."""

    hosts: dict[str, HostEntry]
    defaults: HostEntry
    path: Path | None

    def host(self, name: str) -> HostEntry:
        """The entry of that name, or one for a bare OpenSSH alias. Raises UsageError for what is no host name."""
        if name in self.hosts:
            return self.hosts[name]
        if not name or name.startswith("-") or any(c.isspace() for c in name):
            raise UsageError(f"{name!r} is not the name of a host")
        base = self.defaults
        return HostEntry(name, name, base.ssh_config, dict(base.labels), base.bridge, base.generator)


def find_inventory() -> Path | None:
    """``$JVBTUNE_INVENTORY``, else ``jvbtune.toml`` here, else in ``~/.config/jvbtune``; None: there is none."""
    if from_environment := os.environ.get("JVBTUNE_INVENTORY"):
        return Path(from_environment)
    config_home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    for candidate in (Path(FILE_NAME), config_home / "jvbtune" / FILE_NAME):
        if candidate.is_file():
            return candidate
    return None


def load_inventory(path: Path | None = None) -> Inventory:
    """Read the inventory. Raises ConfigError with file, line and key."""
    path = path or find_inventory()
    if path is None:
        return Inventory({}, _entry("defaults", _Host(), _Host(), Path(), "built in"), None)
    if not path.is_file():
        raise ConfigError("there is no such inventory", file=path)
    parsed = load_toml(path, _File)
    base = path.parent
    hosts = {name: _entry(name, host, parsed.defaults, base, str(path)) for name, host in parsed.hosts.items()}
    return Inventory(hosts, _entry("defaults", _Host(), parsed.defaults, base, str(path)), path)


def _entry(name: str, host: _Host, defaults: _Host, base: Path, source: str) -> HostEntry:
    def pick(section: str, key: str, fallback: Any = None) -> Any:
        for one in (host, defaults):
            value = getattr(getattr(one, section), key)
            if value is not None:
                return value
        return fallback

    control = pick("bridge", "control")
    media_address = pick("bridge", "media_address")
    allowed = pick("bridge", "allowed_media_addresses", ())
    bridge = BridgeEntry(
        media_address=media_address,
        media_port=pick("bridge", "media_port"),
        allowed_media_addresses=tuple(allowed) or ((media_address,) if media_address else ()),
        http_address=pick("bridge", "http_address", "127.0.0.1"),
        http_port=pick("bridge", "http_port", 8080),
        control=control.entry() if control is not None else None,
        config_file=pick("bridge", "config_file"),
        pid_file=pick("bridge", "pid_file"),
        match=pick("bridge", "match"),
    )
    generator = GeneratorEntry(
        netns=pick("generator", "netns"),
        cpus=pick("generator", "cpus"),
        bind_address=pick("generator", "bind_address"),
    )
    ssh_config = host.ssh_config or defaults.ssh_config
    if ssh_config is not None:
        ssh_config = (base / ssh_config.expanduser()).absolute()
    return HostEntry(
        name=name,
        ssh=None if host.local else host.ssh or name,
        ssh_config=ssh_config,
        labels={**defaults.labels, **host.labels},
        bridge=bridge,
        generator=generator,
        source=source,
    )
