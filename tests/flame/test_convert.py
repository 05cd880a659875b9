"""``jvbtune flame convert``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jvbtune.capture.stored import load_capture
from jvbtune.flame.formats import read
from tests.flame.files import names_of, write


def convert(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "jvbtune", "flame", "convert", *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def test_files_are_added_up_names_and_kinds_kept(tmp_path: Path) -> None:
    one, other = write(tmp_path / "1", "a/B.c_[0];d 1\n"), write(tmp_path / "2", "a/B.c_[j];d 2\n")
    done = convert(one, other, "-o", tmp_path / "out.collapsed.gz")
    assert (done.returncode, done.stdout) == (0, "")
    assert "total 3 samples" in done.stderr
    (profile,) = read([tmp_path / "out.collapsed.gz"])
    assert names_of(profile) == {"a/B.c;d": 3}
    assert len(profile) == 2, "interpreted and compiled are still told apart in the file"
    done = convert(one, other, "-o", tmp_path / "out.txt", "--normalise-names")
    assert (tmp_path / "out.txt").read_text() == "a/B.c_[j];d 1\na/B.c_[j];d 2\n"


def test_a_captures_slices_are_added_up(tmp_path: Path) -> None:
    capture = Path(__file__).parents[2] / "flamegraphs/reference-low-async-profiler"
    done = convert(capture, "-o", tmp_path / "whole.speedscope.json.gz")
    assert done.returncode == 0, done.stderr
    (whole,) = read([tmp_path / "whole.speedscope.json.gz"])
    slices = load_capture(capture).profiles()
    assert whole.total == sum(profile.total for profile in slices) > 100
    assert set(whole.threads) == {label for profile in slices for label in profile.threads}


def test_the_length_of_slices_is_added_up(tmp_path: Path) -> None:
    capture = Path(__file__).parents[2] / "flamegraphs/reference-low-async-profiler"
    done = convert(capture, "-o", tmp_path / "whole.pb.gz")
    assert done.returncode == 0, done.stderr
    (whole,) = read([tmp_path / "whole.pb.gz"])
    known = load_capture(capture)
    assert len(known.slices) > 1
    assert whole.meta.seconds == pytest.approx(sum(one.seconds for one in known.slices))
    assert (whole.meta.event, whole.meta.interval_ns) == (known.event, known.interval_ns)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("bad", "-o", "o.collapsed"), 1, "bad:2:"),
        (("good", "-o", "o.unknown"), 2, "--to"),
        (("good", "-o", "missing/o.collapsed"), 1, "cannot be written"),
        (("nowhere", "-o", "o.collapsed"), 1, "No such file"),
        (("good", "-o", "o.pb.gz", "--to", "cobol"), 2, "cobol"),
    ],
)
def test_errors_have_a_reason_and_leave_no_file(
    arguments: tuple[str, ...], status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "good", "a;b 1\n")
    write(tmp_path / "bad", "a;b 1\na;b\n")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    done = convert(*arguments)
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "good"]
