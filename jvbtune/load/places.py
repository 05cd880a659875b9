"""Where workers run: on this machine, or on the hosts of the inventory that ``generator.hosts`` names."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

from jvbtune.errors import HostError, JvbtuneError, LoadError, UsageError
from jvbtune.hosts import connect
from jvbtune.hosts.base import Host
from jvbtune.hosts.lines import after_mark
from jvbtune.inventory import HostEntry
from jvbtune.inventory.select import refuse_same_machine
from jvbtune.load.archive import LEAST_PYTHON, PACKAGES
from jvbtune.load.process import WorkerProcess
from jvbtune.load.remote import RemoteWorker
from jvbtune.load.workers import Worker
from jvbtune.text import clean

MAX_WORKERS = 16
#: Each is a session of one ssh connection, and sshd's MaxSessions is 10 by default.
MAX_REMOTE_WORKERS = 8
_MARK = "jvbtune-answer:"
#: Any Python parses it. The second line: nothing that happens to lie in the login's directory is imported.
_PROBE = f"""
import sys
sys.path[:] = [one for one in sys.path if one]
import json, os
broken, versions = {{}}, {{}}
if sys.version_info >= {LEAST_PYTHON}:
    from importlib import metadata
    for module, package in json.loads(sys.argv[1]).items():
        try:
            __import__(module)
            versions[package] = metadata.version(package)
        except Exception as error:
            broken[package] = str(error) or type(error).__name__
cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
answer = {{"python": list(sys.version_info[:2]), "broken": broken, "versions": versions, "cores": cores}}
print("\\n{_MARK}" + json.dumps(answer))
"""
PROBE_TIMEOUT_SECONDS = 60.0


class Place(Protocol):
    """A machine that makes load. ``name`` None: this one."""

    name: str | None
    max_workers: int

    def start(
        self, remote: tuple[str, int], max_pps: float, lease_seconds: float, on_lost: Callable[[JvbtuneError], None]
    ) -> Worker:
        """A worker more. Raises LoadError."""

    def close(self) -> None: ...


class Here:
    """This machine."""

    name: str | None = None

    def __init__(self, entry: HostEntry) -> None:
        self._entry = entry
        cpus = entry.generator.cpus
        self.max_workers = min(MAX_WORKERS, len(cpus) if cpus else max(1, (os.cpu_count() or 2) - 1))

    def start(
        self, remote: tuple[str, int], max_pps: float, lease_seconds: float, on_lost: Callable[[JvbtuneError], None]
    ) -> Worker:
        return WorkerProcess(self._entry, remote, max_pps, lease_seconds, on_lost)

    def close(self) -> None:
        """Nothing is held."""


class There:
    """A host that is connected and has what a worker needs. Raises LoadError, HostError."""

    def __init__(self, entry: HostEntry, host: Host) -> None:
        self.name: str | None = entry.name
        self._entry, self._host = entry, host
        self._python = entry.generator.python or (sys.executable if entry.ssh is None else "python3")
        self.cores = _probe(entry, host, self._python)
        self.max_workers = min(MAX_REMOTE_WORKERS, len(entry.generator.cpus or ()) or max(1, len(self.cores) - 1))

    def start(
        self, remote: tuple[str, int], max_pps: float, lease_seconds: float, on_lost: Callable[[JvbtuneError], None]
    ) -> Worker:
        generator = self._entry.generator
        return RemoteWorker(self._host, generator, self._python, remote, max_pps, lease_seconds, on_lost)

    def close(self) -> None:
        self._host.close()


def open_places(entry: HostEntry) -> list[Place]:
    """Of the load on a bridge. Other hosts are connected, and looked at. Raises UsageError, LoadError, HostError."""
    if not entry.generator.hosts:
        return [Here(entry)]
    refuse_load_hosts(entry)
    with ExitStack() as stack:
        places: list[Place] = []
        for one in entry.load_hosts:
            try:
                host = connect(one)
                stack.callback(host.close)
                _refuse_bridge_address(entry, one, host)
                places.append(There(one, host))
            except HostError as error:
                raise type(error)(f"the generator's host {error.message}", hint=error.hint) from error
        stack.pop_all()
    return places


def refuse_load_hosts(entry: HostEntry) -> None:
    """Raises UsageError for hosts that must not make this load: the bridge's own, or one machine under two names."""
    known = {one.name for one in entry.load_hosts}
    for name in entry.generator.hosts:
        if name not in known:
            raise UsageError(
                f"{entry.name}: the inventory has no host {clean(name)!r}, which should make load: a source could "
                "not be read"
            )
    for one in entry.load_hosts:
        if one.name == entry.name:
            raise _is_the_bridge(entry, one)
        try:
            refuse_same_machine((entry, one))
        except UsageError as error:
            raise _is_the_bridge(entry, one) from error
    refuse_same_machine(entry.load_hosts)


def _is_the_bridge(entry: HostEntry, one: HostEntry) -> UsageError:
    return UsageError(
        f"{clean(one.name)} cannot make load on {clean(entry.name)}: it is the bridge's own machine, and load would "
        "take its CPU",
        hint="Name other hosts in generator.hosts. With generator.hosts = [], this machine makes the load.",
    )


def _refuse_bridge_address(entry: HostEntry, one: HostEntry, host: Host) -> None:
    """By where ssh really goes, whatever the aliases say."""
    resolved = getattr(host, "resolved", None)
    if resolved is not None and resolved.hostname in entry.bridge.allowed_media_addresses:
        raise _is_the_bridge(entry, one)


def _probe(entry: HostEntry, host: Host, python: str) -> list[int]:
    """The cores of a host whose Python can run a worker. Raises LoadError with what to install."""
    argv = [python, "-B", "-c", _PROBE, json.dumps({module: package for module, (package, _) in PACKAGES.items()})]
    done = host.run(argv, timeout_seconds=PROBE_TIMEOUT_SECONDS)
    text = after_mark(done.stdout, _MARK)
    if not text:
        said = clean(done.stderr.decode("utf-8", "replace").strip()[-300:]) or f"status {done.status}"
        raise LoadError(f"{entry.name}: {python} does not run there: {said}", hint=_how_to_install(entry))
    try:
        found: dict[str, Any] = json.loads(text)
        version, broken, versions = tuple(found["python"]), dict(found["broken"]), dict(found["versions"])
        cores = [int(core) for core in found["cores"]]
    except (ValueError, KeyError, TypeError) as error:
        raise LoadError(f"{entry.name}: {python} answers {clean(text)!r}, which is not what was asked") from error
    if version < LEAST_PYTHON:
        raise LoadError(
            f"{entry.name}: {python} is Python {_dotted(version)}, and the generator needs {_dotted(LEAST_PYTHON)} or "
            "newer",
            hint=_how_to_install(entry),
        )
    faults = [f"{package} cannot be imported ({clean(str(why))})" for package, why in broken.items()]
    for package, least in PACKAGES.values():
        if package in versions and _parts(str(versions[package])) < _parts(least):
            faults.append(f"{package} is {clean(str(versions[package]))}, and {least} or newer is needed")
    if faults:
        raise LoadError(
            f"{entry.name}: {python} cannot run the generator: {'; '.join(faults)}", hint=_how_to_install(entry)
        )
    missing = sorted(set(entry.generator.cpus or ()) - set(cores))
    if missing:
        listed = ", ".join(map(str, entry.generator.cpus or ()))
        raise LoadError(
            f"{entry.name}: the generator cannot run on the cores {listed}: the host has no core {missing[0]}",
            hint=f"Set cpus under [hosts.{clean(entry.name)}.generator] to cores that it has.",
        )
    return cores


def _how_to_install(entry: HostEntry) -> str:
    wanted = shlex.join(f"{package}>={least}" for package, least in PACKAGES.values())
    return (
        f"On {clean(entry.name)}, with Python {_dotted(LEAST_PYTHON)} or newer:\n"
        f"  python3 -m venv /opt/jvbtune-load && /opt/jvbtune-load/bin/pip install {wanted}\n"
        f"Then in jvbtune.toml:\n"
        f'  [hosts."{clean(entry.name)}".generator]\n  python = "/opt/jvbtune-load/bin/python3"'
    )


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def _parts(version: str) -> tuple[int, ...]:
    """The leading numbers of a version."""
    found: list[int] = []
    for part in version.split("."):
        if not part.isdigit():
            break
        found.append(int(part))
    return tuple(found)
