"""The record of a fleet's work: which hosts, with which runs, and how far each of them came.

    fleet-YYYYmmdd-HHMMSS-<command>/
        fleet.json       what is to be done, on which hosts: written once
        journal.ndjson   what happened, in order: host_started, host_run, host_finished; appended, flushed
        lock             held by the controller that works on it

It is kept in the directory of runs, beside the runs of its hosts. A controller that is killed leaves it readable: a
host without a ``host_finished`` was interrupted, unless its own run says that it is done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jvbtune import __version__
from jvbtune.errors import StoreError
from jvbtune.fleet.outcome import Outcome, State
from jvbtune.inventory import HostEntry
from jvbtune.store import runs_directory
from jvbtune.store.atomic import PRIVATE_FILE, write_json
from jvbtune.store.directories import DAMAGED_HINT, Damaged, chosen, is_moment, new_directory, read_manifest, take_lock
from jvbtune.store.journal import RunJournal, read_journal
from jvbtune.text import clean

SCHEMA_VERSION = 1
PREFIX = "fleet-"
MANIFEST, JOURNAL = "fleet.json", "journal.ndjson"


@dataclass(frozen=True)
class FleetRun:
    """A fleet's work, read."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.manifest["id"])

    @property
    def command(self) -> str:
        return str(self.manifest["command"])

    @property
    def work(self) -> Mapping[str, Any]:
        """What was to be done on each host; its form is the command's own."""
        return dict(self.manifest.get("work") or {})

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(str(one["name"]) for one in self.manifest["hosts"])

    def outcomes(self) -> dict[str, Outcome]:
        """The last that is known of each host. Raises StoreError for a damaged journal."""
        found = {name: Outcome(name, State.NOT_STARTED) for name in self.hosts}
        for event in read_journal(self.path / JOURNAL):
            name = str(event.get("host"))
            if name not in found:
                continue
            try:
                found[name] = _after(found[name], event)
            except (KeyError, TypeError, ValueError) as error:
                text = f"{self.path / JOURNAL}: damaged: {event['event']} of {clean(name)} lacks what it should have"
                raise StoreError(text, hint=DAMAGED_HINT) from error
        return found

    def not_put_back(self) -> dict[str, str]:
        """The hosts that it left out of service, and why; those that no look has found in service since."""
        return {name: one.not_put_back for name, one in self.outcomes().items() if one.not_put_back}


def _after(before: Outcome, event: Mapping[str, Any]) -> Outcome:
    """What is known of a host after one more event. Its run is kept until there is another one."""
    interrupted = Outcome(before.host, State.INTERRUPTED, 130, run=before.run, not_put_back=before.not_put_back)
    if event["event"] == "host_started":
        return replace(interrupted, reason="jvbtune was ended while it worked on this host")
    if event["event"] == "host_run":
        return replace(interrupted, reason=before.reason, run=str(event["run"]))
    if event["event"] == "host_finished":
        return Outcome(
            before.host,
            State(event["state"]),
            int(event["exit_code"]),
            str(event["reason"]),
            event.get("advice"),
            before.run if event.get("run") is None else str(event["run"]),
            float(event.get("seconds") or 0.0),
            str(event.get("not_put_back") or ""),
            event.get("data") or {},
        )
    return before


class FleetWriter:
    """The one writer of a fleet's record. Raises StoreError if another one is at it."""

    def __init__(self, fleet: FleetRun) -> None:
        self.fleet = fleet
        self._lock = take_lock(fleet.path, "another jvbtune works on this fleet")
        self._journal = RunJournal(fleet.path / JOURNAL)

    def append(self, event: str, **data: Any) -> None:
        self._journal.append(event, **data)

    def close(self) -> None:
        self._journal.close()
        os.close(self._lock)

    def __enter__(self) -> FleetWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def create_fleet(
    directory: Path, command: str, entries: Sequence[HostEntry], work: Mapping[str, Any], arguments: Sequence[str] = ()
) -> FleetRun:
    """A new record. Raises StoreError."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    path = new_directory(directory, f"{PREFIX}{stamp}-{command}", "a fleet's record")
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "id": path.name,
        "command": command,
        "jvbtune_version": __version__,
        "created_unix": round(time.time(), 3),
        "arguments": list(arguments),
        "hosts": [{"name": one.name, "labels": dict(one.labels), "groups": list(one.groups)} for one in entries],
        "work": dict(work),
    }
    write_json(path / MANIFEST, manifest, mode=PRIVATE_FILE)
    return FleetRun(path, manifest)


def open_fleet(reference: str, directory: Path | None = None, command: str | None = None) -> FleetRun:
    """The record that ``reference`` names: a path, an id, the beginning of one, or ``latest``. ``command``: only of
    this command. Raises StoreError."""
    if (Path(reference) / MANIFEST).is_file():
        return _read(Path(reference))
    damaged: list[Damaged] = []
    fleets = [one for one in list_fleets(directory, damaged) if command is None or one.command == command]
    of_command = [one for one in damaged if command is None or f"-{command}" in one.name]
    found = chosen(reference, fleets, of_command, "fleet runs")
    if found is None:
        of = f" of jvbtune {command}" if command else ""
        what = f"fleet run{of}" if reference == "latest" else f"fleet run {reference!r}{of}"
        hint = "Runs of another directory: --runs-dir or JVBTUNE_RUNS."
        raise StoreError(f"there is no {what} in {runs_directory(directory)}", hint=hint)
    return found


def list_fleets(directory: Path | None, damaged: list[Damaged]) -> list[FleetRun]:
    """All records, newest first. One whose manifest cannot be read is added to ``damaged``."""
    where = runs_directory(directory)
    found = []
    for file in where.glob(f"{PREFIX}*/{MANIFEST}") if where.is_dir() else ():
        try:
            found.append(_read(file.parent))
        except StoreError as error:
            damaged.append(Damaged(file.parent.name, error))
    return sorted(found, key=lambda one: (float(one.manifest["created_unix"]), one.id), reverse=True)


def _read(path: Path) -> FleetRun:
    file = path / MANIFEST
    manifest = read_manifest(file, SCHEMA_VERSION)
    hosts = manifest.get("hosts")
    right = {
        "id": isinstance(manifest.get("id"), str),
        "command": isinstance(manifest.get("command"), str),
        "created_unix": is_moment(manifest.get("created_unix")),
        "hosts": isinstance(hosts, list)
        and all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in hosts),
        "work": isinstance(manifest.get("work", {}), dict),
    }
    wrong = [key for key, holds in right.items() if not holds]
    if wrong:
        text = f"{file}: damaged: {wrong[0]} is missing or not of the right type"
        raise StoreError(text, hint=DAMAGED_HINT)
    return FleetRun(path, manifest)
