"""``jvbtune flame``: sides are found wherever they are, pages are whole, exit codes mean something."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SAME = {"main;read": 600, "main;parse": 300}
DEARER = {"main;read": 600, "main;parse": 600}


def run(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a directory that keeps its own runs and captures."""
    argv = [sys.executable, "-m", "jvbtune", "flame", *arguments]
    places = {"JVBTUNE_RUNS": str(cwd / "experiments/runs"), "JVBTUNE_CAPTURES": str(cwd / "flamegraphs")}
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=60, check=False, cwd=cwd, env={**os.environ, **places}
    )


def collapsed(path: Path, counts: dict[str, int], scale: int = 1) -> Path:
    path.write_text("".join(f"{stack} {count * scale}\n" for stack, count in counts.items()))
    return path


def capture(directory: Path, counts: dict[str, int], pps: float = 1000, **more: object) -> Path:
    """A capture of two slices of 10 s on disk, as docs/architecture.md has it."""
    directory.mkdir(parents=True)
    slices = []
    for number in range(2):
        collapsed(directory / f"slice-{number:02}.collapsed", counts)
        slices.append(
            {
                "file": f"slice-{number:02}.collapsed",
                "started_unix": 1.0 + number,
                "seconds": 10.0,
                "packets": pps * 10,
                "samples": sum(counts.values()),
            }
        )
    document = {
        "schema_version": 1,
        "id": directory.name,
        "host": "h",
        "created_unix": 1.0,
        "engine": "async-profiler",
        "event": "cpu",
        "unit": "samples",
        "interval_ns": 1e7,
        "kernel_frames": True,
        "lost": [],
        "slices": slices,
        **more,
    }
    (directory / "capture.json").write_text(json.dumps(document))
    return directory


@pytest.fixture
def work(tmp_path: Path) -> Path:
    collapsed(tmp_path / "a.collapsed", SAME)
    collapsed(tmp_path / "b.collapsed", DEARER)
    return tmp_path


def totals(done: subprocess.CompletedProcess[str]) -> tuple[float, float]:
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found["totals"]["a"], found["totals"]["b"]


def test_a_diff_is_one_html_file_and_its_path_is_printed(work: Path) -> None:
    done = run(work, "diff", "a.collapsed", "b.collapsed", "-o", "out.html")
    assert (done.returncode, done.stdout) == (0, "out.html\n")
    page = (work / "out.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    assert not re.search(r"(?:src|href)=[\"']?https?:", page)
    assert run(work, "diff", "a.collapsed", "b.collapsed").stdout == "flame-diff.html\n"
    assert run(work, "view", "a.collapsed").stdout == "flame.html\n"


def test_json_goes_to_stdout_and_remarks_do_not(work: Path) -> None:
    done = run(work, "diff", "a.collapsed", "b.collapsed", "--format", "json")
    assert totals(done) == (900, 1200)
    assert "--normalise share" in done.stderr


def test_markdown_can_go_to_a_file(work: Path) -> None:
    done = run(work, "diff", "a.collapsed", "b.collapsed", "--format", "markdown", "-o", "diff.md")
    assert done.stdout == "diff.md\n"
    assert "| `parse` |" in (work / "diff.md").read_text()


def test_a_side_is_several_files_by_commas_by_pattern_or_repeated(work: Path) -> None:
    collapsed(work / "a2.collapsed", SAME)
    ways = [
        ("a.collapsed,a2.collapsed", "b.collapsed"),
        ("a*.collapsed", "b.collapsed"),
        ("-a", "a.collapsed", "-a", "a2.collapsed", "-b", "b.collapsed"),
    ]
    for way in ways:
        assert totals(run(work, "diff", *way, "--format", "json")) == (1800, 1200)


def test_captures_compare_per_packet_whatever_their_load(work: Path) -> None:
    capture(work / "flamegraphs/low", SAME, pps=1000)
    capture(work / "flamegraphs/high", {stack: 3 * n for stack, n in SAME.items()}, pps=3000)
    done = run(work, "diff", "flamegraphs/low", "high", "--format", "json")
    assert totals(done) == pytest.approx((900, 900))  # 900 samples of 10 ms for 10,000 packets
    assert json.loads(done.stdout)["unit"] == "µs of CPU per packet"


def test_a_slice_named_alone_keeps_what_its_capture_knows(work: Path) -> None:
    capture(work / "flamegraphs/low", SAME)
    done = run(work, "diff", "flamegraphs/low/slice-00.collapsed", "flamegraphs/low", "--format", "json")
    assert totals(done) == pytest.approx((900, 900))


@pytest.mark.slow
def test_captures_of_a_run_by_id_or_by_load(work: Path) -> None:
    runs = work / "experiments/runs"
    run_path = runs / "20260101-000000-h-x"
    capture(run_path / "captures/c-low", SAME, pps=1000)
    capture(run_path / "captures/c-high", DEARER, pps=3000)
    manifest = {"schema_version": 1, "id": run_path.name, "host": "h", "experiment": {"name": "x"}, "created_unix": 1}
    (run_path / "manifest.json").write_text(json.dumps(manifest))
    by_load = run(work, "diff", "latest:lowest", "latest:highest", "--format", "json")
    assert totals(by_load) == pytest.approx((900, 400))
    assert run(work, "diff", "2026:c-low", f"{run_path}:c-high", "--format", "json").stdout == by_load.stdout
    done = run(work, "diff", "latest:nothing", "latest:c-low")
    assert (done.returncode, "One of: lowest, highest, c-low, c-high" in done.stderr) == (1, True)
    done = run(work, "diff", str(run_path), "a.collapsed")
    assert (done.returncode, ":CAPTURE" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("b", "percent", "status"),
    [("b.collapsed", "20", 1), ("b.collapsed", "40", 0), ("a.collapsed", "0", 0)],
)
def test_fail_above_is_for_growth_that_is_significant(work: Path, b: str, percent: str, status: int) -> None:
    done = run(work, "diff", "a.collapsed", b, "--format", "json", "--fail-above", percent)
    assert done.returncode == status
    assert json.loads(done.stdout)["schema_version"] == 2
    assert ("parse grew: " in done.stderr) == bool(status)


def test_unlike_engines_are_refused_and_can_be_forced(work: Path) -> None:
    capture(work / "flamegraphs/one", SAME)
    capture(work / "flamegraphs/two", SAME, engine="perf")
    done = run(work, "diff", "one", "two", "--format", "json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "async-profiler" in done.stderr
    assert "--force" in done.stderr
    forced = run(work, "diff", "one", "two", "--format", "json", "--force")
    assert totals(forced) == pytest.approx((900, 900))
    assert "forced together" in forced.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("diff", "a.collapsed"), 2, "Two sides are needed"),
        (("diff", "a.collapsed", "none"), 2, "neither a file, nor a capture"),
        (("diff", "a.collapsed", "c*"), 2, "no file matches"),
        (("diff", "a.collapsed", "."), 2, "a directory, but no capture"),
        (("diff", "a.collapsed", "b.collapsed", "--normalise", "packets"), 2, "no packet count is recorded"),
        (("diff", "a.collapsed", "b.collapsed", "--normalise", "bogus"), 2, "no normalisation"),
        (("diff", "a.collapsed", "b.collapsed", "--level", "2"), 2, "--level"),
        (("diff", "a.collapsed", "b.collapsed", "--no-rule", "x"), 2, "no rule of names"),
        (("diff", "a.collapsed", "b.collapsed", "-o", "no/such/dir.html"), 2, "cannot be written"),
        (("view",), 2, "FILE"),
    ],
)
def test_bad_input_is_an_error_with_a_reason(work: Path, arguments: tuple[str, ...], status: int, said: str) -> None:
    done = run(work, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_malformed_line_is_named(work: Path) -> None:
    (work / "bad.collapsed").write_text("main;a 1\nmain;b x\n")
    done = run(work, "diff", "a.collapsed", "bad.collapsed", "--format", "json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "bad.collapsed:2" in done.stderr


def test_an_event_is_chosen_where_a_file_holds_several(work: Path) -> None:
    frame = "\t7f0000000000 main+0x1 (/bin/x)\n\n"
    text = f"java 1/2 [0] 1.0: 1000 cpu-clock:ppp:\n{frame}java 1/2 [0] 1.1: 7 page-faults:\n{frame}"
    (work / "perf.txt").write_text(text)
    done = run(work, "diff", "perf.txt", "perf.txt", "--format", "json")
    assert (done.returncode, "--event" in done.stderr) == (1, True)
    assert totals(run(work, "diff", "perf.txt", "perf.txt", "--format", "json", "--event", "page-faults")) == (7, 7)
