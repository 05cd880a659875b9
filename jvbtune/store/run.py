"""One execution of an experiment on one host, as a directory.

    manifest.json               what was to be done, by which version, with which seed: written once
    journal.ndjson              what happened, in order: appended, flushed
    provenance/before.json      the host as it was, after.json as it is left
    trials/<id>/                samples.parquet, offered.json, bridge.ndjson
    captures/                   profiles
    trials.parquet, recommendation.json, report.html, export/     derived: may be made again at any time

The state of a run is read from the journal and from the lock that its writer holds, so that a killed run is told from
one that still runs.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl

from jvbtune import __version__
from jvbtune.errors import StoreError
from jvbtune.store.atomic import write_bytes, write_json
from jvbtune.store.journal import Event, Journal, read_journal
from jvbtune.store.rows import samples_frame, trials_frame

SCHEMA_VERSION = 1
#: How the names of runs begin that come with a checkout, for benchmarks and documentation.
REFERENCE = "reference-"


def runs_directory(explicit: Path | None = None) -> Path:
    """Where runs are kept.

    ``--runs-dir``, else ``$JVBTUNE_RUNS``, else ``experiments/runs`` of a checkout, else XDG's data directory.
    """
    if explicit is not None:
        return explicit
    if from_environment := os.environ.get("JVBTUNE_RUNS"):
        return Path(from_environment)
    if Path("experiments").is_dir():
        return Path("experiments/runs")
    data_home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")
    return Path(data_home) / "jvbtune" / "runs"


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
    def experiment_name(self) -> str:
        return str(self.manifest["experiment"]["name"])

    def events(self, *names: str) -> list[Event]:
        """The journal's events, all or those of the given names."""
        events = read_journal(self.path / "journal.ndjson")
        return [event for event in events if event["event"] in names] if names else events

    def status(self) -> str:
        """``running``, ``done``, ``failed`` or ``interrupted`` (also what a kill left behind)."""
        if _locked(self.path / "lock"):
            return "running"
        ends = self.events("run_finished", "run_resumed")
        if ends and ends[-1]["event"] == "run_finished":
            return str(ends[-1]["status"])
        return "interrupted"

    def finished_trials(self) -> list[Event]:
        """One ``trial_finished`` event a trial: the last one, where a resume did it again."""
        by_trial = {event["row"]["trial"]: event for event in self.events("trial_finished")}
        return list(by_trial.values())

    def trials(self) -> pl.DataFrame:
        """One row a trial (``store.rows.TRIAL_SCHEMA``), in order of execution."""
        return trials_frame(event["row"] for event in self.finished_trials())

    def samples(self, trial: str) -> pl.DataFrame:
        """The 1 Hz samples of a trial. Raises StoreError where there are none."""
        path = self.path / "trials" / trial / "samples.parquet"
        try:
            return pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StoreError(f"{path}: cannot be read: {error}") from error

    def offered(self, trial: str) -> dict[str, Any]:
        """What the generator did in a trial."""
        return _read_json(self.path / "trials" / trial / "offered.json")

    def provenance(self, when: str = "before") -> dict[str, Any]:
        """The host's provenance ``before`` or ``after``; empty where it was not reached."""
        path = self.path / "provenance" / f"{when}.json"
        return _read_json(path) if path.exists() else {}

    def recommendation(self) -> dict[str, Any] | None:
        """What was derived last; None before the first derivation."""
        path = self.path / "recommendation.json"
        return _read_json(path) if path.exists() else None

    def write_derived(self, name: str, content: bytes | Mapping[str, Any]) -> Path:
        """Write a derived file (whole or not at all) and return its path."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            write_bytes(path, content)
        else:
            write_json(path, content)
        return path


class RunWriter:
    """The one writer of a run: holds its lock, appends to its journal. A context manager."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._lock = os.open(run.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise StoreError(f"{run.path}: another jvbtune is writing this run") from error
        self.journal = Journal(run.path / "journal.ndjson")

    def write_provenance(self, when: str, provenance: Mapping[str, Any]) -> None:
        directory = self.run.path / "provenance"
        directory.mkdir(exist_ok=True)
        write_json(directory / f"{when}.json", provenance)

    def finish_trial(
        self,
        row: Mapping[str, Any],
        *,
        samples: Iterable[Mapping[str, Any]],
        offered: Mapping[str, Any],
        bridge: Iterable[Mapping[str, Any]],
    ) -> None:
        """Store a trial: its raw data first, then the event that makes it count."""
        directory = self.run.path / "trials" / str(row["trial"])
        directory.mkdir(parents=True, exist_ok=True)
        frame = samples_frame(samples)
        temporary = directory / ".samples.tmp"
        frame.write_parquet(temporary)
        write_bytes(directory / "samples.parquet", temporary.read_bytes())
        temporary.unlink()
        write_json(directory / "offered.json", offered)
        lines = "".join(json.dumps(entry, default=str) + "\n" for entry in bridge)
        write_bytes(directory / "bridge.ndjson", lines.encode())
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
) -> Run:
    """Make a new run directory with its manifest; ``experiment`` is the experiment as validated, with its ``name``."""
    name = str(experiment["name"])
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    base = f"{stamp}-{_slug(host)}-{_slug(name)}"
    for attempt in range(100):
        run_id = base if attempt == 0 else f"{base}-{secrets.token_hex(2)}"
        path = directory / run_id
        try:
            path.mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise StoreError(f"{path}: cannot be made: {error.strerror}") from error
    else:
        raise StoreError(f"{directory}: no free name for a run")
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "id": run_id,
        "host": host,
        "experiment": dict(experiment),
        "seed": seed,
        "jvbtune_version": __version__,
        "created_unix": round(time.time(), 3),
        "command": list(command),
        "plan": dict(plan),
    }
    write_json(path / "manifest.json", manifest)
    return Run(path, manifest)


def open_run(reference: str | Path, directory: Path | None = None) -> Run:
    """The run that ``reference`` names: a path, an id, the beginning of one, or ``latest``. Raises StoreError."""
    as_path = Path(reference)
    if (as_path / "manifest.json").is_file():
        return _read_run(as_path)
    where = runs_directory(directory)
    if (where / as_path.name / "manifest.json").is_file() and as_path.name == str(reference):
        return _read_run(where / as_path.name)
    runs = list_runs(directory)
    if str(reference) == "latest":
        if not runs:
            raise StoreError(f"{where}: there is no run yet", hint="Make one: jvbtune sweep --host HOST")
        return runs[0]
    matches = [run for run in runs if run.id.startswith(str(reference))]
    exact = [run for run in matches if run.id == str(reference)]
    if len(exact or matches) == 1:
        return (exact or matches)[0]
    if matches:
        raise StoreError(
            f"{reference!r} is the beginning of {len(matches)} runs",
            hint="One of: " + ", ".join(run.id for run in matches[:8]),
        )
    raise StoreError(f"{where}: there is no run {str(reference)!r}", hint="List them: jvbtune runs")


def list_runs(directory: Path | None = None) -> list[Run]:
    """All runs of the directory, newest first. What is no run is passed over; a damaged manifest is an error.

    Runs that come with a checkout, ``reference-*``, are opened by their names, and are nobody's latest.
    """
    where = runs_directory(directory)
    if not where.is_dir():
        return []
    found = (path.parent for path in where.glob("*/manifest.json"))
    runs = [_read_run(path) for path in found if not path.name.startswith(REFERENCE)]
    return sorted(runs, key=lambda run: (float(run.manifest["created_unix"]), run.id), reverse=True)


def _read_run(path: Path) -> Run:
    manifest = _read_json(path / "manifest.json")
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{path / 'manifest.json'}: schema_version {version!r}, but this jvbtune reads {SCHEMA_VERSION}",
            hint=f"It was written by jvbtune {manifest.get('jvbtune_version', 'of unknown version')}.",
        )
    missing = [key for key in ("id", "host", "experiment", "created_unix") if key not in manifest]
    if missing:
        raise StoreError(f"{path / 'manifest.json'}: lacks {', '.join(missing)}")
    return Run(path, manifest)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise StoreError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise StoreError(f"{path}: not a JSON object")
    return value


def _locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "x"
