"""Files of real tools, each with what it must be read as: ``cases/NAME/input`` and ``expected.collapsed``.

``python -m tests.flame.test_cases`` writes the expected files anew: look at the difference before it is committed.
"""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from jvbtune.flame.formats import collapsed, read
from jvbtune.flame.names import NameRules

CASES = sorted(path.parent for path in (Path(__file__).parent / "cases").glob("*/input"))


def as_text(case: Path) -> str:
    """What a case is read as: what the file tells of itself, then every row, sorted."""
    (profile,) = read([case / "input"], NameRules.none())
    out = io.BytesIO()
    collapsed.write(profile, out)
    meta = profile.meta
    head = f"# engine {meta.engine}, event {meta.event}, unit {meta.unit}, interval {meta.interval_ns}"
    return "\n".join([f"{head}, total {profile.total:.10g}", *sorted(out.getvalue().decode().splitlines()), ""])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_file_is_read_as_expected(case: Path) -> None:
    assert as_text(case) == (case / "expected.collapsed").read_text()


if __name__ == "__main__":
    for one in CASES:
        (one / "expected.collapsed").write_text(as_text(one))
