"""Profiles from files and to files. A file's format and compression are told by its content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jvbtune.errors import FormatError
from jvbtune.flame.formats.collapsed import CollapsedReader
from jvbtune.flame.formats.streams import Input
from jvbtune.flame.formats.table import StackTable
from jvbtune.flame.model import Meta, Profile
from jvbtune.flame.names import ALL_RULES, NameRules

__all__ = ["read"]


def read(
    paths: Sequence[Path | str],
    rules: NameRules = ALL_RULES,
    metas: Sequence[Meta | None] | None = None,
    *,
    may_be_empty: bool = False,
) -> list[Profile]:
    """Reads files, one Profile each; all of them share one table of stacks.

    ``metas`` says what is known of each file apart from its content; where it has nothing for a file, what the file
    itself tells of its event and unit holds. Raises FormatError with file, line and content where a file is malformed;
    nothing is half read. A file without content is malformed too, unless it may be empty: a slice in which nothing was
    seen. A profile's total is the sum of the file's weights, always.
    """
    table = StackTable(rules)
    collapsed = CollapsedReader(table, files=len(paths))
    rows = []
    for path in map(Path, paths):
        with Input(path) as stream:
            if not stream.peek() and not may_be_empty:
                raise FormatError("the file is empty", file=path)
            rows.append(collapsed.read(stream))
    stacks = table.build()
    given = metas or [None] * len(paths)
    return [
        one.profile(stacks, meta or replace(one.meta, title=path_title(path)))
        for one, meta, path in zip(rows, given, paths, strict=True)
    ]


def path_title(path: Path | str) -> str:
    """A file's name without what tells its format."""
    name = Path(path).name
    for suffix in (".gz", ".zst", ".collapsed", ".folded", ".txt", ".jfr", ".json", ".pb"):
        name = name.removesuffix(suffix)
    return name
