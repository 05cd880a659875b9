"""Files of real tools and odd ones, each with what it must be read as: ``cases/NAME/input*`` and ``expected*``.

A case with a file ``events`` is read without ``--event``, then with each of them. ``python -m tests.flame.test_cases``
writes the expected files again: look at the difference before it is committed.
"""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from jvbtune.errors import FormatError
from jvbtune.flame.formats import collapsed, read
from jvbtune.flame.names import NameRules

INPUTS = sorted((Path(__file__).parent / "cases").glob("*/input*"))


def expected(path: Path) -> Path:
    return path.with_name(path.name.replace("input", "expected") + ".collapsed")


def as_text(path: Path, event: str | None = None) -> str:
    """What a file is read as: what it tells of itself, then every row, sorted; or why it is refused."""
    try:
        (profile,) = read([path], NameRules.none(), event=event)
    except FormatError as error:
        return f"refused: {error}\n".replace(str(path.parent), "…")
    out = io.BytesIO()
    collapsed.write(profile, out)
    meta = profile.meta
    head = f"# engine {meta.engine}, event {meta.event}, unit {meta.unit}, interval {meta.interval_ns}"
    samples = "unknown" if profile.samples is None else f"{profile.samples.sum():.10g}"
    head += f", total {profile.total:.10g}, samples {samples}"
    return "\n".join([head, *sorted(out.getvalue().decode().splitlines()), ""])


def whole_text(path: Path) -> str:
    events = path.with_name("events")
    more = events.read_text().split() if events.exists() else []
    return "".join([as_text(path), *(f"--event {event}\n{as_text(path, event)}" for event in more)])


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_file_is_read_as_expected(path: Path) -> None:
    assert whole_text(path) == expected(path).read_text()


if __name__ == "__main__":
    for one in INPUTS:
        expected(one).write_text(whole_text(one))
