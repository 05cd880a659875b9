"""An inventory from its files: hosts of ``jvbtune.toml`` and of its sources, defaults, and bare OpenSSH aliases.

What counts for a host, the strongest first: its own table, what its source says, the source's table, ``[defaults]``.
Labels are an exception: those of a source's table are stronger than the source's own.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jvbtune.errors import ConfigError, UsageError
from jvbtune.inventory.destination import destination, destination_fault, is_address
from jvbtune.inventory.document import decode, looks_like_json, read_bounded
from jvbtune.inventory.entries import BridgeEntry, GeneratorEntry, HostEntry
from jvbtune.inventory.file import FILE_NAME, _File, _Host, _Source
from jvbtune.inventory.found import Found, Listing, Options
from jvbtune.inventory.gather import Gathered, Origin, gather, read_origin
from jvbtune.text import clean, did_you_mean
from jvbtune.toml import locate, parse_toml

MAX_TOML_BYTES = 4 << 20
ALIAS = "OpenSSH alias"


@dataclass(frozen=True)
class Inventory:
    """The hosts that are known by name; any other name is taken for an OpenSSH alias.

    ``path``: the first of its files. ``left_out``: hosts of sources that cannot be measured, each with the reason.
    ``failed``: of each source that could not be read, where the caller goes on without it.
    """

    hosts: dict[str, HostEntry]
    defaults: HostEntry
    path: Path | None
    left_out: dict[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    prices: dict[str, float] = field(default_factory=dict)  #: of a host for an hour, by machine type
    failed: tuple[ConfigError, ...] = ()

    def host(self, name: str) -> HostEntry:
        """The entry of that name, or one for a bare OpenSSH alias. Raises UsageError for what is no host name."""
        if name in self.hosts:
            return self.hosts[name]
        if name in self.left_out:
            raise UsageError(f"{clean(name)} is left out: {self.left_out[name]}")
        if (fault := destination_fault(name)) is not None:
            raise UsageError(f"{clean(name)!r} is not the name of a host: it {fault}")
        return replace(self.defaults, name=name, ssh=name, source=ALIAS)


def find_inventories() -> list[Path]:
    """``$JVBTUNE_INVENTORY``, else ``jvbtune.toml`` here, else in ``~/.config/jvbtune``; empty: there is none."""
    if from_environment := os.environ.get("JVBTUNE_INVENTORY"):
        return [Path(path) for path in from_environment.split(os.pathsep) if path]
    config_home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    for candidate in (Path(FILE_NAME), config_home / "jvbtune" / FILE_NAME):
        if candidate.is_file():
            return [candidate]
    return []


def load_inventory(paths: Path | Sequence[Path] | None = None, *, without_failed: bool = False) -> Inventory:
    """Read the inventory: one file or several together, of which one at most is a jvbtune.toml. Default:
    ``find_inventories``. Commands of its sources run. ``without_failed``: a source that cannot be read is left out, and
    told in ``failed``. Raises ConfigError with file, and line or key."""
    given = [paths] if isinstance(paths, Path) else list(paths or find_inventories())
    file, text, toml = _File(), "", None
    origins: list[tuple[Origin, _Source, bytes | None]] = []
    for path in dict.fromkeys(given):
        if not path.exists():
            raise ConfigError("there is no such inventory", file=path)
        data = None if path.is_dir() else read_bounded(path)
        if data is None or not _is_toml(path, data):
            origins.append((Origin(str(path), path), _Source(file=path), data))
        elif toml is not None:
            raise ConfigError(f"is a second jvbtune.toml, beside {toml}", file=path, hint="Give one of them.")
        else:
            toml, text = path, decode(data, str(path))
            file = parse_toml(text, _File, file=path)
            origins += [(_origin(source, path), source, None) for source in file.source]
    listings: list[list[Listing]] = []
    failed: list[ConfigError] = []
    for origin, _, data in origins:
        try:
            listings.append(read_origin(origin, data))
        except ConfigError as error:
            if not without_failed:
                raise
            listings.append([])
            failed.append(error)
    loaded = _inventory(file, text, toml, given, origins, gather(listings))
    return replace(_with_load_hosts(loaded, text, toml, lenient=bool(failed)), failed=tuple(failed))


def _with_load_hosts(inventory: Inventory, text: str, toml: Path | None, *, lenient: bool) -> Inventory:
    """The hosts that make load, as entries. Raises ConfigError for a name that the inventory does not have.
    ``lenient``: it may be in a source that could not be read, and is left out; who makes load refuses that."""

    def found(entry: HostEntry, *keys: str) -> HostEntry:
        unknown = [name for name in entry.generator.hosts if name not in inventory.hosts]
        if unknown and not lenient:
            name = unknown[0]
            why = inventory.left_out.get(name)
            raise ConfigError(
                f"the inventory has no host {clean(name)!r} that can make load"
                + (f": it is left out: {why}" if why else did_you_mean(name, inventory.hosts)),
                file=toml,
                line=locate(text, (*keys, "generator", "hosts")),
                key=".".join((*map(clean, keys), "generator", "hosts")),
                hint=f"Give it a table of its own: [hosts.{clean(name)}]",
            )
        there = (inventory.hosts[name] for name in entry.generator.hosts if name in inventory.hosts)
        return replace(entry, load_hosts=tuple(there))

    defaults = found(inventory.defaults, "defaults")
    hosts = {name: found(entry, "hosts", name) for name, entry in inventory.hosts.items()}
    return replace(inventory, hosts=hosts, defaults=defaults)


def _is_toml(path: Path, data: bytes) -> bool:
    """By its name, or by its content: what is no JSON and parses as TOML. INI with hosts and YAML do not."""
    if path.suffix == ".toml":
        if len(data) > MAX_TOML_BYTES:
            raise ConfigError(f"is larger than {MAX_TOML_BYTES >> 20} MiB, the most that jvbtune reads", file=path)
        return True
    text = decode(data, str(path))
    if looks_like_json(text) or len(data) > MAX_TOML_BYTES:
        return False
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _origin(source: _Source, path: Path) -> Origin:
    base = path.parent
    directory = (base / os.path.expanduser(source.directory)) if source.directory is not None else base
    file = (base / os.path.expanduser(source.file)) if source.file is not None else None
    if file is not None and not file.exists():
        raise ConfigError(f"there is no such file: {file}", file=path, key="source.file")
    return Origin(
        name=str(file) if file is not None else f"{path}: source.command {clean((source.command or ('',))[0])}",
        file=file,
        command=source.command or (),
        form=source.format,
        directory=directory,
        timeout_seconds=source.timeout_seconds,
        options=Options(source.outputs, source.take),
        trusted=source.format == "ansible",
    )


def _inventory(
    file: _File,
    text: str,
    toml: Path | None,
    given: Sequence[Path],
    origins: Sequence[tuple[Origin, _Source, bytes | None]],
    gathered: Gathered,
) -> Inventory:
    base = toml.parent if toml is not None else Path()
    name_of_toml = str(toml) if toml is not None else "built in"
    by_name = {one.name: (index, one) for index, one in gathered.hosts}
    hosts: dict[str, HostEntry] = {}
    for name, host in file.hosts.items():
        if name in by_name:
            index, one = by_name[name]
            origin, source, _ = origins[index]
            hosts[name] = _found_entry(one, host, source, file.defaults, base, origin.name)
            continue
        if host.ssh is None and not host.local and (fault := destination_fault(name)) is not None:
            key = ("hosts", name)
            raise ConfigError(
                f"OpenSSH cannot take the name: it {fault}",
                file=toml,
                line=locate(text, key),
                key=f"hosts.{clean(name)}",
            )
        hosts[name] = _entry(name, host, [host, file.defaults], base, name_of_toml)
    for index, one in gathered.hosts:
        origin, source, _ = origins[index]
        entry = _found_entry(one, _Host(), source, file.defaults, base, origin.name)
        wanted = {key: (values,) if isinstance(values, str) else values for key, values in source.only.items()}
        if all(entry.labels.get(key) in values for key, values in wanted.items()):
            hosts.setdefault(one.name, entry)
    left_out = {name: why for name, why in gathered.left_out.items() if name not in hosts}
    defaults = _entry("defaults", _Host(), [file.defaults], base, name_of_toml)
    path = given[0] if given else None
    return Inventory(hosts, defaults, path, left_out, gathered.remarks, dict(file.prices))


def _found_entry(one: Found, host: _Host, source: _Source, defaults: _Host, base: Path, name: str) -> HostEntry:
    """The entry of a host of a source; ``host``: what jvbtune.toml says of it."""
    entry = _entry(one.name, host, [host, source, defaults], base, name)
    labels = {source.rename.get(key, key): value for key, value in one.labels.items()}
    entry = replace(
        entry,
        labels={**defaults.labels, **labels, **source.labels, **host.labels},
        groups=tuple(sorted({*entry.groups, *one.groups})),
    )
    if host.ssh is None and not host.local:
        entry = replace(entry, ssh=None if one.local else _ssh(one, entry, source))
    media = _media_address(one, source)
    if entry.bridge.media_address is None and media is not None:
        allowed = entry.bridge.allowed_media_addresses or (media,)
        entry = replace(entry, bridge=replace(entry.bridge, media_address=media, allowed_media_addresses=allowed))
    return entry


def _address(one: Found, preferred: str) -> str | None:
    both = (one.public_address, one.private_address)
    first, second = both if preferred == "public" else reversed(both)
    return first or second


def _media_address(one: Found, source: _Source) -> str | None:
    if source.media_address == "none":
        return None
    address = one.media_address or _address(one, source.media_address)
    return address or (one.ssh_host if one.ssh_host is not None and is_address(one.ssh_host) else None)


def _ssh(one: Found, entry: HostEntry, source: _Source) -> str:
    """What OpenSSH is given. Raises ConfigError for what it would take for something else."""
    address = one.ssh_host or _address(one, source.ssh_address)
    if source.ssh is None:
        found = destination(address or one.name, one.user, one.port)
    else:
        fields = {
            **entry.labels,
            "name": one.name,
            "address": address,
            "public_address": one.public_address,
            "private_address": one.private_address,
            "user": one.user,
        }

        def fill(match: re.Match[str]) -> str:
            if (value := fields.get(match[1])) is None:
                raise ConfigError(
                    f"the ssh of its source asks for {clean(match[1])}, which it does not have",
                    file=one.file,
                    key=one.where or None,
                )
            return value

        found = re.sub(r"\{([^{}]*)\}", fill, source.ssh)
    if (fault := destination_fault(found)) is not None:
        raise ConfigError(
            f"what OpenSSH would be given for {clean(one.name)} is no host: it {fault}",
            file=one.file,
            key=one.where or None,
        )
    return found


def _entry(name: str, host: _Host, layers: Sequence[_Host | _Source], base: Path, source: str) -> HostEntry:
    """``layers``: the strongest first; the host's own table is among them."""

    def pick(section: str, key: str, fallback: Any = None) -> Any:
        for one in layers:
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
    origin = next((one.generator for one in layers if one.generator.has_origin), None)
    generator = GeneratorEntry(
        netns=pick("generator", "netns"),
        cpus=pick("generator", "cpus"),
        bind_address=pick("generator", "bind_address"),
        python=pick("generator", "python"),
        hosts=(origin.hosts or ()) if origin is not None else (),
        command=(origin.command or ()) if origin is not None else (),
        grid=origin.grid if origin is not None else None,
    )
    ssh_config = next((one.ssh_config for one in layers if one.ssh_config is not None), None)
    if ssh_config is not None:
        ssh_config = (base / os.path.expanduser(ssh_config)).absolute()
    labels: dict[str, str] = {}
    for one in reversed(layers):
        labels.update(one.labels)
    return HostEntry(
        name=name,
        ssh=None if host.local else host.ssh or name,
        ssh_config=ssh_config,
        labels=labels,
        groups=tuple(sorted({group for one in layers for group in one.groups})),
        bridge=bridge,
        generator=generator,
        source=source,
    )
