"""Measurements of one's own as CSV: one row a trial, the columns of a trial's row, as many as there are.

Every fault has its file, line and column; a file with a fault is not used in part.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from jvbtune.errors import ConfigError, FormatError
from jvbtune.text import clean
from jvbtune.trials.columns import CSV, NUMBER, TEXT, TRUTH, Column
from jvbtune.trials.names import RELAY_HALVES, WAY_OUT, Header, read_header
from jvbtune.trials.numbers import EMPTY, Decimals, decimals_in, read_number

TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
#: What a bridge is measured to use may be a little above what it may use: windows of two clocks.
MOST_OF_CORES = 1.1
#: No machine has more; a figure beyond it is a percentage, or milliseconds.
MOST_CORES = 2048
#: A quota as it is measured scatters; machines differ by more.
SAME_CORES = 0.5
_HALF = Column("relay_in_pps", NUMBER, "packets/s", "", csv=True)
_ENCODINGS = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_OTHERS = (
    (b"PK\x03\x04", "a spreadsheet or a ZIP file", "Save it as CSV in UTF-8, or unpack it."),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet of an old kind", "Save it as CSV in UTF-8."),
    (b"\x1f\x8b", "compressed with gzip", "Unpack it: gunzip FILE."),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "Unpack it: zstd -d FILE."),
    (b"PAR1", "a Parquet file", "Save it as CSV in UTF-8."),
)


@dataclass(frozen=True)
class CsvTrials:
    """``trials``: a frame for ``fit``; ``ignored``: columns of no meaning; ``renamed``: (name in the file, ours)."""

    trials: pl.DataFrame
    ignored: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...] = ()

    def renamed_in_words(self) -> str:
        """Empty if the file has jvbtune's own names."""
        return ", ".join(f"{given} is {name}" for given, name in self.renamed)


def read_csv(path: Path, columns: Mapping[str, str] | None = None) -> CsvTrials:
    """Read a file. ``columns``: jvbtune's name -> the file's, before all other names.

    Raises ConfigError if it cannot be read, FormatError with file, line and column of a fault.
    """
    return parse_csv(decode(_content(path), path), path, columns)


def columns_of(path: Path, columns: Mapping[str, str]) -> dict[str, str]:
    """Those of ``columns`` that the file has. Raises as ``read_csv``."""
    _, fields = next(_rows(decode(_content(path), path).lstrip("\ufeff"), path), (1, []))
    there = {clean(field) for field in fields}
    return {name: column for name, column in columns.items() if column in there}


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=path) from error


def decode(content: bytes, path: Path) -> str:
    """UTF-8, or UTF-16 and UTF-32 as spreadsheets save them. Raises FormatError with the place of what is neither."""
    for start, what, hint in _OTHERS:
        if content.startswith(start):
            raise FormatError(f"not CSV but {what}", file=path, hint=hint)
    encoding = next((name for start, name in _ENCODINGS if content.startswith(start)), None)
    if encoding is None and b"\0" in content[:2]:
        encoding = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    try:
        return content.decode(encoding or "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        hint = "Save it as CSV in UTF-8."
        raise FormatError(f"byte {column} of the line is not text in UTF-8", file=path, line=line, hint=hint) from error


def parse_csv(text: str, path: Path, columns: Mapping[str, str] | None = None) -> CsvTrials:
    """As ``read_csv``; ``path`` is for messages."""
    text = text.lstrip("\ufeff")
    if text.lstrip()[:1] in ("{", "["):
        raise FormatError(
            "not CSV but JSON", file=path, line=1, hint="Give a CSV file. Its first line names the columns."
        )
    rows = _rows(text, path)
    line, fields = next(rows, (1, []))
    header = read_header(fields, path, line, columns)
    taken = [(line, row) for line, row in rows if any(cell.strip() for cell in row)]
    kinds = {name: _type(CSV.get(name, _HALF)) for name in header.positions}
    for line, row in taken:
        _check_length(row, header, path, line)
    numeric = [place for name, place in header.positions.items() if kinds[name] == NUMBER]
    decimals = decimals_in(row[place] for _, row in taken for place in numeric)
    if decimals is Decimals.UNKNOWN and _delimiter(text) == ";":
        decimals = Decimals.UNKNOWN_BOTH
    values: dict[str, list[Any]] = {}
    for name, place in header.positions.items():
        read = _reader(name, kinds[name], decimals)
        values[name] = [_cell(read, row[place], header.names[place], path, line) for line, row in taken]
    _check_cores(values, [line for line, _ in taken], header, path)
    frame = _with_bits(_with_relay(pl.DataFrame(values, schema=kinds)))
    return CsvTrials(frame, header.ignored, header.renamed)


def _rows(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) from the header on: lines of comments and Excel's ``sep=;`` before it are passed over."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    begun = False
    try:
        for row in reader:
            first = row[0].strip() if row else ""
            if not begun and (
                not any(cell.strip() for cell in row) or first.startswith("#") or _SEPARATOR.match(first)
            ):
                continue
            begun = True
            yield reader.line_num, row
    except csv.Error as error:
        raise FormatError(f"not CSV: {error}", file=path, line=reader.line_num) from error


_SEPARATOR = re.compile(r"sep=(.?)$", re.IGNORECASE)


def _delimiter(text: str) -> str:
    """Excel's own ``sep=``, else what the header has most of, outside of quotes."""
    for line in text.splitlines():
        if match := _SEPARATOR.match(line.strip()):
            return match[1] or ","
        if line.strip() and not line.startswith("#"):
            bare = re.sub(r'"[^"]*"', "", line)
            return max(",;\t|", key=bare.count)
    return ","


def _check_length(row: list[str], header: Header, path: Path, line: int) -> None:
    wanted = len(header.names)
    if len(row) == wanted or (len(row) > wanted and not any(cell.strip() for cell in row[wanted:])):
        return
    hint = None
    if len(row) > wanted and sum(cell.strip().isdigit() for cell in row) > wanted:
        hint = "If the decimals are written with commas, separate the columns by semicolons, or write decimal points."
    shown = " ".join(row)[:60]
    raise FormatError(f"{len(row)} fields, but the header has {wanted}: {shown!r}", file=path, line=line, hint=hint)


def _cell(read: Callable[[str], Any], cell: str, column: str, path: Path, line: int) -> Any:
    try:
        return read(cell)
    except ValueError as error:
        raise FormatError(f"column {column}: {error}", file=path, line=line) from None


def _type(column: Column) -> pl.DataType:
    """Of a CSV's column: numbers are floats, and a block may have any name."""
    if column.type == TRUTH or not column.numeric:
        return column.type
    return TEXT if column.name == "block" else NUMBER


def _reader(name: str, kind: pl.DataType, decimals: Decimals) -> Callable[[str], Any]:
    unit = CSV.get(name, _HALF).unit
    if kind == NUMBER:
        return lambda cell: read_number(cell, decimals, rate=unit == "packets/s", ratio=unit == "ratio")
    return _boolean if kind == TRUTH else _text


def _text(cell: str) -> str | None:
    """On one line, without what a terminal or a browser would obey; never cut, so that two names stay two."""
    return clean(cell, max(1, len(cell))) or None


def _boolean(cell: str) -> bool | None:
    word = cell.strip().lower()
    if word in EMPTY:
        return None
    if word not in TRUTHS:
        raise ValueError(f"{cell!r} is neither true nor false")
    return TRUTHS[word]


def _check_cores(values: Mapping[str, Sequence[Any]], lines: Sequence[int], header: Header, path: Path) -> None:
    """CPU and cores that cannot both be true, and cores of two machines under one name: each with its line."""
    nothing: list[Any] = [None] * len(lines)
    named = {name: header.names[place] for name, place in header.positions.items()}
    for line, cores, used in zip(lines, values.get("cores", nothing), values.get("cpu_cores", nothing), strict=True):
        if cores == 0:
            raise FormatError(
                f"column {named['cores']}: 0 cores",
                file=path,
                line=line,
                hint="Give the number of cores that the bridge may use (nproc, or the container's quota). If it is not "
                "known, leave the cell empty: no CPU limit is applied then.",
            )
        if used is not None and used > (MOST_CORES if cores is None else cores * MOST_OF_CORES):
            than = "any machine has" if cores is None else f"the {cores:g} that the bridge may use"
            raise FormatError(
                f"column {named['cpu_cores']}: {used:g} cores are more than {than}",
                file=path,
                line=line,
                hint=f"If it is a percentage of one core, as top shows it, write {used / 100:g}"
                + ("." if cores is None else f"; if of all {cores:g} cores, {used / 100 * cores:g}."),
            )
    hosts = [host or CSV["host"].default for host in values.get("host", nothing)]
    first: dict[str, tuple[float, int]] = {}
    for line, host, cores in zip(lines, hosts, values.get("cores", nothing), strict=True):
        if cores is None:
            continue
        before, at = first.setdefault(host, (cores, line))
        if abs(cores - before) > SAME_CORES:
            raise FormatError(
                f"column {named['cores']}: {cores:g} cores, but line {at} has {before:g} for the same host, {host!r}",
                file=path,
                line=line,
                hint="A max packet rate holds for one machine. Give each machine a name of its own in the column host.",
            )


def _with_relay(frame: pl.DataFrame) -> pl.DataFrame:
    """``relay_pps`` from its halves, where it is not there itself."""
    halves = [name for name in RELAY_HALVES if name in frame.columns]
    if halves and "relay_pps" not in frame.columns:
        frame = frame.with_columns(relay_pps=pl.sum_horizontal(pl.col(name).fill_null(0.0) for name in halves))
    return frame


def _with_bits(frame: pl.DataFrame) -> pl.DataFrame:
    """``in_bps`` and ``out_bps`` from the kbit/s of ``/colibri/stats``, where they are not there themselves."""
    for kilo in [name for name in ("in_kbps", "out_kbps") if name in frame.columns]:
        bits = kilo.replace("kbps", "bps")
        own = [pl.col(bits)] if bits in frame.columns else []
        frame = frame.with_columns(pl.coalesce(*own, pl.col(kilo) * 1000).alias(bits)).drop(kilo)
    return frame


def require_packet_rates(found: CsvTrials, path: Path, *names: str) -> None:
    """Raises FormatError, with what the file does have, if one of the columns is missing."""
    missing = [name for name in names if name not in found.trials.columns]
    if not missing:
        return
    have = ", ".join(found.ignored)[:300]
    hint = f"{WAY_OUT} The file also has {have}." if have else WAY_OUT
    raise FormatError(f"there is no column {' and no column '.join(missing)}", file=path, line=1, hint=hint)
