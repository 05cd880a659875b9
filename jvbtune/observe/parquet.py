"""Rows as Parquet: a directory of files, a new one each minute, so that a kill loses at most a minute.

A Parquet file can be read only when its end is written; so one file that grows would be lost whole with a kill. Polars,
pandas, DuckDB and Spark read such a directory as one table. The files of a whole hour are joined into one.
"""

from __future__ import annotations

import fcntl
import io
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import polars as pl

from jvbtune.errors import ConfigError
from jvbtune.observe.columns import LABELS, QUANTITIES
from jvbtune.observe.rows import Row
from jvbtune.store.atomic import write_bytes

FLUSH_SECONDS = 60.0
MINUTE, HOUR = "%Y%m%dT%H%M%SZ", "%Y%m%dT%H"
SCHEMA: dict[str, pl.DataType] = {
    "time": pl.Datetime("ms", "UTC"),
    **{name: pl.String() for name in LABELS},
    "labels": pl.String(),
    "interfaces": pl.String(),
    **{quantity.name: pl.String() if quantity.kind == "text" else pl.Float64() for quantity in QUANTITIES},
}
#: More is not kept while the disk takes nothing: a day of a host at the default interval.
MAX_ROWS = 10_000


class ParquetDirectory:
    """Writes rows into ``directory``. Thread-safe. Raises ConfigError if it cannot be a directory."""

    def __init__(self, directory: Path, say: Callable[[str], None], *, clock: Callable[[], float] = time.time) -> None:
        self._directory, self._say, self._clock = directory, say, clock
        self._rows: list[dict[str, object]] = []
        self._lock = threading.Lock()
        self._failed = False
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot be made a directory: {error.strerror}", file=directory, hint="Name a new path with -o."
            ) from error
        self._lock_file = _held(directory)
        self._flushed = clock()
        self._join()

    def put(self, row: Row) -> None:
        with self._lock:
            self._rows.append(_record(row))
            del self._rows[:-MAX_ROWS]
            if not 0 <= self._clock() - self._flushed < FLUSH_SECONDS:
                self._flush()

    def close(self) -> None:
        with self._lock:
            self._flush()
            self._lock_file.close()

    def _flush(self) -> None:
        """What is there becomes a file. A disk that takes nothing keeps the rows for the next minute."""
        now = self._clock()
        self._flushed = now
        if not self._rows:
            return
        try:
            _write(self._free(now), self._rows)
            self._rows.clear()
            self._failed = False
            self._join()
        except OSError as error:
            if not self._failed:
                self._say(f"{self._directory}: rows cannot be written: {error.strerror}. Trying again each minute")
            self._failed = True

    def _free(self, now: float) -> Path:
        """The name of a file that is not there yet: that of now, or of the next second without one."""
        while (path := self._directory / f"{time.strftime(MINUTE, time.gmtime(now))}.parquet").exists():
            now += 1
        return path

    def _join(self) -> None:
        """Each past hour becomes one file. What was interrupted before is done again: a row is there once."""
        this_hour = time.strftime(HOUR, time.gmtime(self._clock()))
        minutes: dict[str, list[Path]] = {}
        for path in sorted(self._directory.glob("????????T??????Z.parquet")):
            minutes.setdefault(path.name[: len("20260101T00")], []).append(path)
        for hour, paths in minutes.items():
            if hour == this_hour:
                continue
            joined = self._directory / f"{hour}.parquet"
            sources = [joined, *paths] if joined.exists() else paths
            frame = pl.concat([pl.read_parquet(path) for path in sources], how="diagonal_relaxed")
            _write_frame(joined, frame.unique(["host", "time"], maintain_order=True))
            for path in paths:
                path.unlink()


def _record(row: Row) -> dict[str, object]:
    return {
        "time": int(row.unix * 1000),
        **{name: row.labels.get(name) for name in LABELS},
        "labels": json.dumps(dict(row.labels)),
        "interfaces": json.dumps({name: dict(counters) for name, counters in row.interfaces.items()}),
        **row.values,
    }


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    columns = {name: [row.get(name) for row in rows] for name in SCHEMA}
    times = pl.Series("time", columns.pop("time"), pl.Int64()).cast(SCHEMA["time"])
    frame = pl.DataFrame(columns, schema={name: kind for name, kind in SCHEMA.items() if name != "time"}, strict=False)
    _write_frame(path, frame.insert_column(0, times))


def _write_frame(path: Path, frame: pl.DataFrame) -> None:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    write_bytes(path, buffer.getvalue())


def _held(directory: Path) -> IO[bytes]:
    """A lock: two that write into one directory would take each other's files away."""
    file = (directory / ".lock").open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise ConfigError(
            "another jvbtune observe writes into this directory", file=directory, hint="Name another one with -o."
        ) from error
    return file
