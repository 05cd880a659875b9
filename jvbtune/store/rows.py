"""Samples as one flat table: what the agent sends, a row a sample, a column a counter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl


def flatten(sample: Mapping[str, Any]) -> dict[str, float | int | str | bool | None]:
    """A nested sample as flat columns: ``bridge.cpu_user_s``, ``cores.0.user_s``, ``sockets.10000.drops``.

    Elements of a list are named by their own key (``cpu``, else ``port`` with the inode where ports repeat, else their
    place).
    """
    flat: dict[str, float | int | str | bool | None] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), inner)
        elif isinstance(value, list | tuple):
            names = _names(value)
            for name, inner in zip(names, value, strict=True):
                walk(f"{prefix}.{name}", inner)
        else:
            flat[prefix] = value

    walk("", sample)
    return flat


def _names(items: list[Any] | tuple[Any, ...]) -> list[str]:
    for key in ("cpu", "inode", "port", "name"):
        names = [str(item[key]) for item in items if isinstance(item, Mapping) and key in item]
        if len(names) == len(items) and len(set(names)) == len(names):
            return names
    return [str(index) for index in range(len(items))]


def samples_frame(samples: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Samples as one flat frame, a row each, in order of arrival; columns that a sample lacks are null."""
    rows = [flatten(sample) for sample in samples]
    columns: dict[str, None] = {}
    for row in rows:
        columns.update(dict.fromkeys(row))
    data = {name: [row.get(name) for row in rows] for name in columns}
    return pl.DataFrame(data, strict=False)
