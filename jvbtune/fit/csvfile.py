"""Measurements of one's own as CSV: one row a trial, the columns of a trial's row, as many as there are.

Faults are told by file, line and column; a file with a fault is not used in part.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from jvbtune.errors import ConfigError, FormatError

#: Values that stand for "not measured".
EMPTY = frozenset({"", "-", "na", "n/a", "nan", "null", "none"})
RATIOS = frozenset({"loss_ratio", "steal_ratio", "throttled_ratio", "rx_thread_ratio", "gc_ratio", "busy_ratio"})
NUMBERS = (
    *("intended_pps", "offered_pps", "in_pps", "out_pps", "relay_pps", "bridge_pps", "endpoints", "duration_s"),
    *("cpu_cores", "host_cpu_cores", "cores", "socket_drops", "queue_drops", "delay_p99_ms", "socket_rcvbuf_bytes"),
    *sorted(RATIOS),
)
TEXTS = ("host", "block", "step", "kind", "settings", "trial", "run_id")
TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
BOOLEANS = ("valid", "generator_limited")
KNOWN = frozenset((*NUMBERS, *TEXTS, *BOOLEANS))


@dataclass(frozen=True)
class CsvTrials:
    """``trials``: a frame for ``fit``; ``ignored``: columns that mean nothing to it."""

    trials: pl.DataFrame
    ignored: tuple[str, ...]


def read_csv(path: Path) -> CsvTrials:
    """Read a file. Raises ConfigError where it cannot be read, FormatError with file, line and column of a fault."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=path) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FormatError("not text in UTF-8", file=path, line=line, hint="Save it as CSV in UTF-8.") from error
    return parse_csv(text, path)


def parse_csv(text: str, path: Path) -> CsvTrials:
    """As ``read_csv``; ``path`` is for messages."""
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = _header(next(reader, []), path)
        columns: dict[str, list[Any]] = {name: [] for name in header if name in KNOWN}
        cells = [(position, columns[name], _reader(name)) for position, name in enumerate(header) if name in KNOWN]
        for row in reader:
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            if len(row) != len(header):
                raise FormatError(
                    f"{len(row)} fields, but the header has {len(header)}: {delimiter.join(row)[:60]!r}",
                    file=path,
                    line=reader.line_num,
                )
            for position, values, read in cells:
                try:
                    values.append(read(row[position]))
                except ValueError as error:
                    message = f"column {header[position]}: {error}"
                    raise FormatError(message, file=path, line=reader.line_num) from None
    except csv.Error as error:
        raise FormatError(f"not CSV: {error}", file=path, line=reader.line_num) from error
    schema = {
        name: pl.Float64 if name in NUMBERS else pl.Boolean if name in BOOLEANS else pl.String for name in columns
    }
    ignored = tuple(name for name in header if name not in KNOWN)
    return CsvTrials(pl.DataFrame(columns, schema=schema), ignored)


def _header(fields: Iterable[str], path: Path) -> list[str]:
    names = [field.strip() for field in fields]
    if not any(names):
        raise FormatError("the file is empty: the first line must name the columns", file=path, line=1, hint=_hint())
    if not KNOWN.intersection(names):
        message = f"the first line names no column that is known: {', '.join(names)[:80]}"
        raise FormatError(message, file=path, line=1, hint=_hint())
    for name in names:
        if name not in KNOWN and name.lower() in KNOWN:
            raise FormatError(f"column {name!r} has to be written {name.lower()}", file=path, line=1)
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise FormatError(f"column {twice[0]} is there twice", file=path, line=1)
    return names


def _hint() -> str:
    return (
        "Columns: host, block, step, in_pps, out_pps, relay_pps, cpu_cores, cores, loss_ratio, delay_p99_ms, "
        "duration_s; all are optional but the packet rates."
    )


def _reader(name: str) -> Callable[[str], Any]:
    if name in NUMBERS:
        return _ratio if name in RATIOS else _number
    return _boolean if name in BOOLEANS else _text


def _text(cell: str) -> str | None:
    return cell.strip() or None


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        if cell.strip().lower() in EMPTY:
            return None
        hint = ": decimals are written with a point" if "," in cell else ""
        hint = ": a ratio is written as 0.05, not 5%" if "%" in cell else hint
        raise ValueError(f"{cell!r} is not a number{hint}") from None
    if math.isnan(value):
        return None
    if math.isinf(value) or value < 0:
        raise ValueError(f"{cell.strip()} is not a number that can be measured: it must be 0 or more")
    return value


def _ratio(cell: str) -> float | None:
    value = _number(cell)
    if value is not None and value > 1:
        raise ValueError(f"{cell.strip()} is not a ratio: it must be 0 to 1 (1 % is 0.01)")
    return value


def _boolean(cell: str) -> bool | None:
    word = cell.strip().lower()
    if word in EMPTY:
        return None
    if word not in TRUTH:
        raise ValueError(f"{cell!r} is neither true nor false")
    return TRUTH[word]
