"""Each promise and each threat names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("docs/safety.md", "docs/threats.md")
_NAME = re.compile(r"`((?:tests/)?[\w/]+(?:\.py)?(?:::\w+)?)`")


def _rows(page: str) -> list[tuple[int, str]]:
    """(line, last cell) of the rows of each table whose last column is ``test``."""
    found, inside = [], False
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            inside = False
        elif cells[-1] == "test":
            inside = True
        elif inside and not set(cells[-1]) <= set("- "):
            found.append((number, cells[-1]))
    return found


def _exists(name: str) -> bool:
    path, _, function = name.partition("::")
    files = [ROOT / path] if path.startswith("tests/") else list((ROOT / "tests").rglob(path))
    if not function:
        return any(file.exists() for file in files)
    return any(re.search(rf"^def {function}\b", file.read_text(), re.M) for file in files if file.is_file())


@pytest.mark.parametrize("page", PAGES)
def test_each_row_names_a_test_that_exists(page: str) -> None:
    rows = _rows(page)
    assert len(rows) >= 9
    for line, cell in rows:
        names = [name for name in _NAME.findall(cell) if name.startswith("tests/") or ".py" in name]
        made = re.findall(r"`make ([\w-]+)`", cell)
        assert names or made, f"{page}:{line}: no test is named: {cell}"
        missing = [name for name in names if not _exists(name)]
        assert not missing, f"{page}:{line}: {missing}"
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(made) <= set(targets), f"{page}:{line}: {made}"


@pytest.mark.parametrize("name", ["tests/nothing.py", "test_kill.py::test_nothing", "tests/e2e/test_kill.py::test_x"])
def test_a_name_of_nothing_is_seen(name: str) -> None:
    assert not _exists(name)
