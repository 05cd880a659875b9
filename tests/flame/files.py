"""Small files of stacks for the tests."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from jvbtune.flame.model import Kind, Profile

Rows = dict[tuple[str | None, tuple[tuple[str, Kind], ...]], float]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows_of(profile: Profile) -> Rows:
    """A profile as plain data: (thread, frames with kinds) to the sum of its counts."""
    table = profile.stacks
    found: Counter[tuple[str | None, tuple[tuple[str, Kind], ...]]] = Counter()
    for stack, thread, count in zip(profile.stack, profile.thread, profile.counts, strict=True):
        frames = table.flat[table.offsets[stack] : table.offsets[stack + 1]]
        named = tuple((table.frames.names[i], Kind(table.frames.kinds[i])) for i in frames)
        found[(profile.threads[thread] if thread >= 0 else None, named)] += float(count)
    return dict(found)


def names_of(profile: Profile) -> dict[str, float]:
    """A profile as plain data: ``frame;frame`` to the sum of its counts, whatever the thread."""
    found: Counter[str] = Counter()
    for (_, frames), count in rows_of(profile).items():
        found[";".join(name for name, _ in frames)] += count
    return dict(found)
