"""``jvbtune.toml`` as it is written: its keys, what each may be.

    [hosts.jvb-eu-1]
    ssh = "jvb-eu-1.example.org"          # an alias of the OpenSSH configuration; default: the entry's name
    [hosts.jvb-eu-1.bridge]
    media_address = "203.0.113.7"
    allowed_media_addresses = ["203.0.113.7"]
    http_port = 8080
    control = { systemd = "jitsi-videobridge2" }
    [hosts.jvb-eu-1.labels]
    region = "eu-central-1"

    [[source]]
    command = ["terraform", "output", "-json"]
    format = "terraform-output"

What is under ``[defaults]`` holds for every host that does not say otherwise, also for bare OpenSSH aliases.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from jvbtune.inventory.destination import destination_fault, name_fault
from jvbtune.inventory.entries import Control

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
    python: str | None = None
    hosts: tuple[str, ...] | None = None
    command: Argv | None = None
    grid: Annotated[str, Field(pattern=r"^https?://[^\s/]+")] | None = None

    @property
    def has_origin(self) -> bool:
        return any(one is not None for one in (self.hosts, self.command, self.grid))

    @model_validator(mode="after")
    def _one_origin(self) -> _Generator:
        given = [name for name in ("hosts", "command", "grid") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"give {' or '.join(given)}, not both")
        if self.hosts and len(set(self.hosts)) < len(self.hosts):
            raise ValueError("hosts has a host twice")
        return self


def _host_name(value: str) -> str:
    if (fault := name_fault(value)) is not None:
        raise ValueError(f"is not the name of a host: it {fault}")
    return value


class _Host(_Strict):
    ssh: str | None = None
    local: bool = False  #: the bridge runs on this machine: no ssh
    ssh_config: Path | None = None
    labels: dict[str, str] = {}
    groups: tuple[str, ...] = ()
    bridge: _Bridge = _Bridge()
    generator: _Generator = _Generator()

    @field_validator("ssh")
    @classmethod
    def _destination(cls, value: str | None) -> str | None:
        if value is not None and (fault := destination_fault(value)) is not None:
            raise ValueError(f"is not what OpenSSH takes for a host: it {fault}")
        return value

    @model_validator(mode="after")
    def _ssh_or_local(self) -> _Host:
        if self.local and self.ssh is not None:
            raise ValueError("local = true and ssh exclude each other")
        return self


Preferred = Literal["public", "private"]


class _Source(_Strict):
    file: Path | None = None
    command: Argv | None = None
    format: Literal["ansible", "terraform-output", "terraform-show", "gce", "aws", "kubernetes", "hosts"] | None = None
    directory: Path | None = None
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    outputs: tuple[str, ...] = ("jvbtune_hosts",)
    only: dict[str, str | tuple[str, ...]] = {}
    take: tuple[str, ...] = ()
    rename: dict[str, str] = {}
    ssh: str | None = None
    ssh_address: Preferred = "public"
    media_address: Preferred | Literal["none"] = "public"
    ssh_config: Path | None = None
    labels: dict[str, str] = {}
    groups: tuple[str, ...] = ()
    bridge: _Bridge = _Bridge()
    generator: _Generator = _Generator()

    @model_validator(mode="after")
    def _one_origin(self) -> _Source:
        if (self.file is None) == (self.command is None):
            raise ValueError("give exactly one of file and command")
        if self.command is not None and self.format is None:
            raise ValueError("command needs format: what the command prints")
        if self.bridge.media_address is not None or self.bridge.allowed_media_addresses is not None:
            raise ValueError("an address in bridge is one host's: give it in [hosts.NAME.bridge]")
        return self


class _File(_Strict):
    defaults: _Host = _Host()
    hosts: dict[Annotated[str, AfterValidator(_host_name)], _Host] = {}
    source: tuple[_Source, ...] = ()
    prices: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}
