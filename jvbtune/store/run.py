"""One execution of an experiment on one host, as a directory that only its owner can read.

    manifest.json               what was to be done, by which version, with which seed: written once
    journal.ndjson              what happened, in order: appended, flushed
    provenance/before.json      the host as it was, after.json as it is left
    trials/<id>/                samples.parquet, offered.json, bridge.ndjson
    captures/                   profiles
    result.json, trials.parquet, report.html, export/             derived: may be made again at any time

The state of a run is read from the journal and from the lock that its writer holds, so that a killed run is told from
one that still runs.
"""

from __future__ import annotations

import io
import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl

from jvbtune import __version__
from jvbtune.errors import StoreError
from jvbtune.protocol.codec import to_json
from jvbtune.protocol.samples import Sample
from jvbtune.store.atomic import PRIVATE_DIRECTORY, PRIVATE_FILE, write_bytes, write_json
from jvbtune.store.directories import (
    DAMAGED_HINT,
    Damaged,
    chosen,
    is_locked,
    is_moment,
    new_directory,
    read_json,
    read_manifest,
    take_lock,
)
from jvbtune.store.journal import Event, RunJournal, read_journal
from jvbtune.store.places import kept_in, remembered
from jvbtune.store.rows import samples_frame
from jvbtune.trials.frame import trials_frame

SCHEMA_VERSION = 1
JOURNAL = "journal.ndjson"
#: How the names of runs begin that come with a checkout, for benchmarks and documentation.
REFERENCE = "reference-"


def runs_directory(explicit: Path | None = None) -> Path:
    """Where runs are kept: ``--runs-dir``, ``$JVBTUNE_RUNS``, a checkout's ``experiments/runs``, or XDG's directory."""
    return kept_in(explicit, "JVBTUNE_RUNS", "experiments/runs", "runs")


@dataclass(frozen=True)
class Run:
    """A run, read. Nothing here writes but ``write_derived``."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.manifest["id"])

    @property
    def host(self) -> str:
        return str(self.manifest["host"])

    @property
    def labels(self) -> dict[str, str]:
        """Those that the inventory gave the host when the run began."""
        return {str(key): str(value) for key, value in (self.manifest.get("labels") or {}).items()}

    @property
    def groups(self) -> tuple[str, ...]:
        """Those that the inventory had the host in when the run began."""
        return tuple(str(group) for group in self.manifest.get("groups") or ())

    @property
    def experiment_name(self) -> str:
        return str(self.manifest["experiment"]["name"])

    def events(self, *names: str) -> list[Event]:
        """The journal's events, all or those of the given names."""
        events = read_journal(self.path / JOURNAL)
        return [event for event in events if event["event"] in names] if names else events

    def status(self) -> str:
        """``running``, ``done``, ``failed`` or ``interrupted`` (also what a kill left behind)."""
        if is_locked(self.path):
            return "running"
        ends = self.events("run_finished", "run_resumed")
        if ends and ends[-1]["event"] == "run_finished":
            if not isinstance(ends[-1].get("status"), str):
                raise StoreError(f"{self.path / JOURNAL}: a run_finished event has no status", hint=DAMAGED_HINT)
            return str(ends[-1]["status"])
        return "interrupted"

    def finished_trials(self) -> list[Event]:
        """One ``trial_finished`` event a trial: the last one, where a resume did it again."""
        by_trial: dict[str, Event] = {}
        for event in self.events("trial_finished"):
            row = event.get("row")
            if not isinstance(row, dict) or not isinstance(row.get("trial"), str):
                text = f"{self.path / JOURNAL}: a trial_finished event has no row of a trial"
                raise StoreError(text, hint=DAMAGED_HINT)
            by_trial[row["trial"]] = event
        return list(by_trial.values())

    def trials(self) -> pl.DataFrame:
        """One row a trial (``trials.columns``), in order of execution."""
        rows = [event["row"] for event in self.finished_trials()]
        try:
            return trials_frame(rows)
        except (pl.exceptions.PolarsError, TypeError, OverflowError) as error:
            text = f"{self.path / JOURNAL}: a trial has a value that its column cannot hold"
            raise StoreError(text, hint=DAMAGED_HINT) from error

    def samples(self, trial: str) -> pl.DataFrame:
        """The 1 Hz samples of a trial. Raises StoreError where there are none."""
        path = self.path / "trials" / trial / "samples.parquet"
        try:
            return pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StoreError(f"{path}: cannot be read: {error}") from error

    def offered(self, trial: str) -> dict[str, Any]:
        """What the generator did in a trial."""
        return read_json(self.path / "trials" / trial / "offered.json")

    def provenance(self, when: str = "before") -> dict[str, Any]:
        """The host's provenance ``before`` or ``after``; empty where it was not reached."""
        path = self.path / "provenance" / f"{when}.json"
        return read_json(path) if path.exists() else {}

    def is_simulated(self) -> bool:
        """Whether ``jvbtune simulate`` wrote it: its figures belong to no machine."""
        return bool(self.provenance("before").get("simulated"))

    def write_derived(self, name: str, content: bytes | Mapping[str, Any]) -> Path:
        """Write a derived file (whole or not at all) and return its path."""
        path = self.path / name
        path.parent.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        if isinstance(content, bytes):
            write_bytes(path, content, mode=PRIVATE_FILE)
        else:
            write_json(path, content, mode=PRIVATE_FILE)
        return path


class RunWriter:
    """The one writer of a run: holds its lock, appends to its journal. A context manager."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._lock = take_lock(run.path, "another jvbtune is writing this run")
        self.journal = RunJournal(run.path / JOURNAL)

    def write_provenance(self, when: str, provenance: Mapping[str, Any]) -> None:
        directory = self.run.path / "provenance"
        directory.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
        write_json(directory / f"{when}.json", provenance, mode=PRIVATE_FILE)

    def finish_trial(
        self,
        row: Mapping[str, Any],
        *,
        samples: Iterable[Sample],
        offered: Mapping[str, Any],
        bridge: Iterable[Mapping[str, Any]],
    ) -> None:
        """Store a trial: its raw data first, then the event that makes it count."""
        directory = self.run.path / "trials" / str(row["trial"])
        (self.run.path / "trials").mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
        directory.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
        parquet = io.BytesIO()
        samples_frame(to_json(sample) for sample in samples).write_parquet(parquet)
        write_bytes(directory / "samples.parquet", parquet.getvalue(), mode=PRIVATE_FILE)
        write_json(directory / "offered.json", offered, mode=PRIVATE_FILE)
        lines = "".join(json.dumps(entry, default=str) + "\n" for entry in bridge)
        write_bytes(directory / "bridge.ndjson", lines.encode(), mode=PRIVATE_FILE)
        self.journal.append("trial_finished", row=dict(row))

    def close(self) -> None:
        self.journal.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def create_run(
    directory: Path,
    *,
    host: str,
    experiment: Mapping[str, Any],
    seed: int,
    plan: Mapping[str, Any],
    command: Iterable[str] = (),
    source: str = "sweep",
    labels: Mapping[str, str] | None = None,
    groups: Iterable[str] = (),
) -> Run:
    """Make a new run directory with its manifest; ``experiment`` is the experiment as validated, with its ``name``.

    ``source``: sweep, capacity, csv or simulated. ``labels`` and ``groups``: the inventory's.
    """
    name = str(experiment["name"])
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    path = new_directory(directory, f"{stamp}-{_slug(host)}-{_slug(name)}", "a run")
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "id": path.name,
        "host": host,
        "labels": dict(labels or {}),
        "groups": list(groups),
        "experiment": dict(experiment),
        "seed": seed,
        "jvbtune_version": __version__,
        "created_unix": round(time.time(), 3),
        "command": list(command),
        "source": source,
        "plan": dict(plan),
    }
    write_json(path / "manifest.json", manifest, mode=PRIVATE_FILE)
    return Run(path, manifest)


def open_run(reference: str | Path, directory: Path | None = None) -> Run:
    """The run that ``reference`` names: a path, an id, the beginning of one, or ``latest``. Raises StoreError."""
    as_path = Path(reference)
    if (as_path / "manifest.json").is_file():
        return _read_run(as_path)
    where = runs_directory(directory)
    looked: list[Path] = []
    for place in [where, *(_elsewhere(where) if directory is None else [])]:
        looked.append(place)
        found = _find(str(reference), place)
        if found is not None:
            return found
    places = ", ".join(str(place) for place in looked)
    if str(reference) == "latest":
        examples = [name for place in looked for name in reference_runs(place)]
        there = f" Reference runs are there, by their names: {', '.join(examples)}." if examples else ""
        raise StoreError(
            f"there is no run {'of your own ' if examples else ''}yet in {places}",
            hint=f"Make one: jvbtune sweep --host HOST. Runs of another directory: --runs-dir or JVBTUNE_RUNS.{there}",
        )
    raise StoreError(
        f"there is no run {str(reference)!r} in {places}",
        hint="List them: jvbtune runs. Runs of another directory: --runs-dir or JVBTUNE_RUNS.",
    )


def _elsewhere(where: Path) -> list[Path]:
    """Further directories to look in. None with ``$JVBTUNE_RUNS``, which says where."""
    if os.environ.get("JVBTUNE_RUNS"):
        return []
    return [place for place in remembered() if place != where.absolute()]


def _find(reference: str, place: Path) -> Run | None:
    """In one directory. Raises StoreError if the reference is the beginning of several, or of one that is damaged."""
    if "/" not in reference and (place / reference / "manifest.json").is_file():
        return _read_run(place / reference)
    damaged: list[Damaged] = []
    return chosen(reference, list_runs(place, damaged), damaged, f"runs in {place}")


def list_runs(directory: Path | None = None, damaged: list[Damaged] | None = None) -> list[Run]:
    """All runs of the directory, newest first. What is no run is passed over; a damaged manifest raises Damaged, which
    is added to ``damaged`` if that is given.

    Runs that come with a checkout, ``reference-*``, are opened by their names, and are nobody's latest.
    """
    where = runs_directory(directory)
    if not where.is_dir():
        return []
    found = (path.parent for path in where.glob("*/manifest.json"))
    runs = []
    for path in found:
        if path.name.startswith(REFERENCE):
            continue
        try:
            runs.append(_read_run(path))
        except StoreError as error:
            _raise_or_add(Damaged(path.name, error), damaged)
    return sorted(runs, key=lambda run: (float(run.manifest["created_unix"]), run.id), reverse=True)


def _raise_or_add(error: Damaged, damaged: list[Damaged] | None) -> None:
    if damaged is None:
        raise error
    damaged.append(error)


def reference_runs(directory: Path) -> list[str]:
    """Names of the runs there that come with a checkout."""
    return sorted(path.parent.name for path in directory.glob(f"{REFERENCE}*/manifest.json"))


def newest_of_hosts(runs: Iterable[Run], damaged: list[Damaged] | None = None) -> list[Run]:
    """The newest finished run of each host, by the hosts' names. ``runs``: newest first. A damaged journal raises
    Damaged, which is added to ``damaged`` if that is given."""
    found: dict[str, Run] = {}
    for run in runs:
        if run.host in found:
            continue
        try:
            if run.status() == "done":
                found[run.host] = run
        except StoreError as error:
            _raise_or_add(Damaged(run.path.name, error), damaged)
    return [found[host] for host in sorted(found)]


def _read_run(path: Path) -> Run:
    manifest = read_manifest(path / "manifest.json", SCHEMA_VERSION)
    missing = [key for key in ("id", "host", "experiment", "created_unix") if key not in manifest]
    if missing:
        raise StoreError(f"{path / 'manifest.json'}: damaged: it lacks {', '.join(missing)}", hint=DAMAGED_HINT)
    experiment, created = manifest["experiment"], manifest["created_unix"]
    right = {
        "id": isinstance(manifest["id"], str),
        "host": isinstance(manifest["host"], str),
        "experiment": isinstance(experiment, dict) and isinstance(experiment.get("name"), str),
        "experiment.settings": _are_objects(inside(experiment, "settings")),
        "experiment.load": isinstance(inside(experiment, "load") or {}, dict),
        "created_unix": is_moment(created),
        "labels": isinstance(manifest.get("labels") or {}, dict),
        "groups": isinstance(manifest.get("groups") or [], list),
    }
    wrong = [key for key, holds in right.items() if not holds]
    if wrong:
        text = f"{path / 'manifest.json'}: damaged: {wrong[0]} is not of the right type"
        raise StoreError(text, hint=DAMAGED_HINT)
    return Run(path, manifest)


def inside(document: Any, *keys: str) -> Any:
    """A value deep in what a host told, or a file holds; None if it is not there."""
    for key in keys:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def _are_objects(value: Any) -> bool:
    return isinstance(value or [], list) and all(isinstance(one, dict) and "name" in one for one in value or [])


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "x"
