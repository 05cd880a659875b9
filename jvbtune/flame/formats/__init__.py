"""Profiles from files and to files. A file's format and compression are told by its content.

| format | read | write |
| --- | --- | --- |
| collapsed stacks (async-profiler, py-spy raw, stackcollapse, inferno) | yes | yes |
| text of ``perf script`` | yes | |
| JFR recordings | yes | |
| speedscope JSON | yes | yes |
| pprof | yes | yes |
| SVG | | yes |
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from jvbtune.errors import FormatError, UsageError
from jvbtune.flame.formats import collapsed, jfr, perf, pprof, speedscope
from jvbtune.flame.formats.encodings import is_text
from jvbtune.flame.formats.foreign import refuse_foreign
from jvbtune.flame.formats.streams import Input, writing
from jvbtune.flame.formats.table import Rows, StackTable
from jvbtune.flame.model import Meta, Profile, added_up
from jvbtune.flame.names import ALL_RULES, NameRules

__all__ = ["WRITTEN", "format_of_name", "read", "together", "write"]


def read(
    paths: Sequence[Path | str],
    rules: NameRules = ALL_RULES,
    metas: Sequence[Meta | None] | None = None,
    *,
    event: str | None = None,
    may_be_empty: bool = False,
) -> list[Profile]:
    """Reads files, one Profile each; all of them share one table of stacks.

    ``metas`` says what is known of each file apart from its content; where it has nothing for a file, what the file
    itself tells of its event and unit holds. ``event`` chooses where a file holds several (perf script, JFR, pprof).
    Raises FormatError with file, line and content where a file is malformed; nothing is half read. A file without
    content is malformed too, unless it may be empty: a slice in which nothing was seen. A profile's total is the sum of
    the file's weights, always.
    """
    table = StackTable(rules)
    of_collapsed = collapsed.CollapsedReader(table, files=len(paths))
    rows = []
    for path in map(Path, paths):
        with Input(path) as stream:
            if not stream.peek() and not may_be_empty:
                raise FormatError("the file is empty", file=path)
            rows.append(_rows(stream, table, of_collapsed, event))
    stacks = table.build()
    given = metas or [None] * len(paths)
    return [
        one.profile(stacks, meta or replace(one.meta, title=path_title(path)))
        for one, meta, path in zip(rows, given, paths, strict=True)
    ]


def _rows(stream: Input, table: StackTable, of_collapsed: collapsed.CollapsedReader, event: str | None) -> Rows:
    head = stream.peek()
    if head.startswith(jfr.MAGIC):
        return jfr.read(stream, table, event)
    refuse_foreign(head, stream.path)
    if head[:4096].lstrip().startswith(b"{"):
        return speedscope.SpeedscopeReader(table).read(stream)
    if not is_text(head):
        return pprof.PprofReader(table, event).read(stream)
    if perf.looks_like(head):
        return perf.PerfReader(table, event).read(stream)
    return of_collapsed.read(stream)


def together(profiles: Sequence[Profile]) -> Profile:
    """Several profiles of one table as one: their rows one after another. Raises UsageError for unlike units."""
    first = profiles[0]
    if len(profiles) == 1:
        return first
    units = sorted({profile.meta.unit for profile in profiles})
    if len(units) > 1:
        raise UsageError(f"files of unlike units do not add up: {', '.join(units)}")
    labels = {label: i for i, label in enumerate(dict.fromkeys(t for profile in profiles for t in profile.threads))}
    threads = [np.array([*(labels[t] for t in p.threads), -1], dtype=np.int32)[p.thread] for p in profiles]
    intervals = {profile.meta.interval_ns for profile in profiles}
    whole = added_up([profile.meta for profile in profiles])
    meta = replace(whole, interval_ns=intervals.pop() if len(intervals) == 1 else None)
    samples = [profile.samples for profile in profiles if profile.samples is not None]
    return Profile(
        first.stacks,
        np.concatenate([profile.stack for profile in profiles]),
        np.concatenate([profile.counts for profile in profiles]),
        np.concatenate(threads),
        tuple(labels),
        meta,
        np.concatenate(samples) if len(samples) == len(profiles) else None,
    )


def _write_svg(profile: Profile, out: BinaryIO) -> None:
    from jvbtune.flame.compare import merge
    from jvbtune.flame.formats import svg
    from jvbtune.flame.threads import arrange_threads

    svg.write(merge([arrange_threads([profile], "pool")]), out)


def _write_pprof(profile: Profile, out: BinaryIO) -> None:
    with gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0) as packed:
        pprof.write(profile, cast(BinaryIO, packed))


#: format -> (writer, endings of file names)
WRITTEN: Mapping[str, tuple[Callable[[Profile, BinaryIO], None], tuple[str, ...]]] = {
    "collapsed": (collapsed.write, (".collapsed", ".folded", ".txt")),
    "speedscope": (speedscope.write, (".json",)),
    "pprof": (_write_pprof, (".pb", ".pprof", ".pb.gz", ".pprof.gz")),
    "svg": (_write_svg, (".svg",)),
}


def format_of_name(path: Path | str) -> str:
    """The format that a file's name asks for. Raises UsageError where it asks for none."""
    name = Path(path).name
    for plain in (name, name.removesuffix(".gz").removesuffix(".zst")):
        for format_, (_, endings) in WRITTEN.items():
            if plain.endswith(endings):
                return format_
    known = ", ".join(endings[0] for _, endings in WRITTEN.values())
    raise UsageError(f"the name {name} does not tell a format", hint=f"End it in {known}, or say --to FORMAT.")


def write(profile: Profile, path: Path | str, to: str | None = None) -> None:
    """Writes a profile in the format ``to``, or in the one that the name tells; ``.gz`` and ``.zst`` are compressed.

    The file appears under its name when it is whole. Raises FormatError where the format cannot hold the profile.
    """
    path = Path(path)
    writer = WRITTEN[to or format_of_name(path)][0]
    packed = writer is _write_pprof and path.suffix == ".gz"  # pprof's files are gzipped whatever their name
    with writing(path, compress=not packed) as out:
        writer(profile, out)


def path_title(path: Path | str) -> str:
    """A file's name without what tells its format."""
    name = Path(path).name
    for suffix in (".gz", ".zst", ".collapsed", ".folded", ".txt", ".jfr", ".json", ".pb"):
        name = name.removesuffix(suffix)
    return name
