"""What names a side of a comparison."""

from __future__ import annotations

from pathlib import Path

import pytest

from jvbtune.capture.sources import Reader
from jvbtune.errors import UsageError
from tests.flame.compare.test_cli import capture


@pytest.mark.parametrize("count", [20, 400], ids=["longer than a name", "longer than a path"])
def test_a_list_of_files_may_be_long(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = [f"slice-{number:03}.collapsed" for number in range(count)]
    for file in files:
        (tmp_path / file).write_text("main;work 3\n")
    _, profiles = Reader().side([",".join(files)])
    assert [profile.total for profile in profiles] == [3] * count


def test_files_of_a_capture_are_its_slices_and_captures_are_told_apart(tmp_path: Path) -> None:
    one, other = (capture(tmp_path / name, {"main;work": 5}) for name in ("one", "other"))
    slices = ",".join(str(one / f"slice-{number:02}.collapsed") for number in range(2))
    _, profiles = Reader().side([slices, str(other)])
    assert sorted(str(profile.meta.extra["id"]) for profile in profiles) == ["one", "one", "other", "other"]


@pytest.mark.parametrize("reference", ["x" * 300, "x" * 5000, "x*" * 200, "a\0b"])
def test_what_no_file_can_be_called_is_refused(reference: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"neither a file|no file matches"):
        Reader(captures_dir=tmp_path).side([reference])


def test_what_is_named_twice_is_refused(tmp_path: Path) -> None:
    """It would count as two that agree."""
    taken, file = capture(tmp_path / "one", {"main;work": 5}), tmp_path / "a.collapsed"
    file.write_text("main;work 3\n")
    for references in (
        [str(taken), str(taken / "capture.json")],
        [f"{file},{tmp_path / 'one' / '..' / 'a.collapsed'}"],
    ):
        with pytest.raises(UsageError, match="is named twice on one side"):
            Reader().side(references)
