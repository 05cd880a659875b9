"""Captures on disk: whole and true, or refused with what is wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from jvbtune.capture.stored import is_capture, list_captures, load_capture
from jvbtune.errors import FormatError, JvbtuneError, StoreError
from tests.flame.files import names_of


def document(**changes: Any) -> dict[str, Any]:
    slices = [
        {"file": "slice-00.collapsed.gz", "started_unix": 10.0, "seconds": 10.5, "samples": 3, "packets": 4200}
        | {"in_packets": 2000, "out_packets": 2200, "cpu_seconds": 0.5, "thread_cpu_seconds": {"IO pool-*": 0.4}},
        {"file": "slice-01.collapsed.gz", "started_unix": 21.0, "seconds": 9.5, "samples": 7, "packets": 3800},
    ]
    return {
        "schema_version": 1,
        "id": "20261125-010203-jvb-eu-1-async-profiler-cpu",
        "host": "jvb-eu-1",
        "created_unix": 1_764_032_523.0,
        "engine": "async-profiler",
        "event": "cpu",
        "unit": "samples",
        "interval_ns": 10_000_000,
        "kernel_frames": True,
        "lost": [],
        "slices": slices,
    } | changes


def save(directory: Path, content: dict[str, Any], stacks: tuple[str, ...] = ("a;b 3\n", "a;b 4\na;c 3\n")) -> Path:
    directory.mkdir(parents=True)
    for number, text in enumerate(stacks):
        (directory / f"slice-{number:02}.collapsed.gz").write_bytes(gzip.compress(text.encode()))
    (directory / "capture.json").write_text(json.dumps(content))
    return directory


def test_a_capture_is_read_slice_by_slice_with_what_is_known_of_each(tmp_path: Path) -> None:
    capture = load_capture(save(tmp_path / "c", document()))
    first, second = capture.profiles()
    assert (names_of(first), names_of(second)) == ({"a;b": 3}, {"a;b": 4, "a;c": 3})
    assert first.stacks is second.stacks
    meta = first.meta
    assert (meta.engine, meta.event, meta.unit, meta.interval_ns) == ("async-profiler", "cpu", "samples", 1e7)
    assert (meta.seconds, meta.packets, meta.cpu_seconds, meta.packet_rate_pps) == (10.5, 4200, 0.5, 400)
    assert second.meta.cpu_seconds is None
    assert capture.packet_rate_pps == pytest.approx(8000 / 20)


def test_packets_of_a_slice_that_are_not_known_are_not_made_up(tmp_path: Path) -> None:
    content = document()
    content["slices"][1]["packets"] = None
    capture = load_capture(save(tmp_path / "c", content))
    assert capture.packet_rate_pps is None
    assert capture.profiles()[1].meta.packets is None


def test_a_slice_in_which_nothing_was_seen_is_empty_and_no_error(tmp_path: Path) -> None:
    content = document()
    content["slices"][0]["samples"] = 0
    first, _ = load_capture(save(tmp_path / "c", content, ("", "a 7\n"))).profiles()
    assert first.total == 0


def test_a_slice_that_lost_its_content_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"slice-00.*3 samples"):
        load_capture(save(tmp_path / "c", document(), ("", "a 7\n"))).profiles()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": 2}, "schema_version 2"),
        ({"host": None}, "host must be a string"),
        ({"interval_ns": -1}, "interval_ns must be a number"),
        ({"created_unix": None}, "created_unix is missing"),
        ({"slices": []}, "at least one slice"),
        (
            {"slices": [{"file": "../x", "started_unix": 1, "seconds": 1}]},
            r"slices\[0\].file must be the name of a file",
        ),
        ({"slices": [{"file": "slice-09", "started_unix": 1, "seconds": 1}]}, "slice-09 is missing"),
        ({"slices": [{"file": "slice-00.collapsed.gz", "seconds": 1}]}, r"slices\[0\].started_unix is missing"),
        (
            {"slices": [{"file": "slice-00.collapsed.gz", "started_unix": 1, "seconds": 1, "packets": "many"}]},
            r"slices\[0\].packets must be a number of 0 or above, not 'many'",
        ),
    ],
)
def test_a_damaged_document_is_refused_with_its_key(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=said) as error:
        load_capture(save(tmp_path / "c", document(**changes)))
    assert "capture.json" in str(error.value)


def test_no_capture_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no capture in"):
        load_capture(tmp_path)
    (tmp_path / "capture.json").write_text('{"id": ')
    with pytest.raises(JvbtuneError, match="no JSON"):
        load_capture(tmp_path)


def test_captures_are_listed_newest_first_without_unfinished_ones(tmp_path: Path) -> None:
    save(tmp_path / "flamegraphs" / "old", document(id="old", created_unix=1.0))
    save(tmp_path / "run" / "captures" / "new", document(id="new", created_unix=2.0))
    unfinished = save(tmp_path / "flamegraphs" / "unfinished", document())
    (unfinished / "capture.json").unlink()
    directories = [tmp_path / "flamegraphs", tmp_path / "run" / "captures", tmp_path / "nowhere"]
    assert [capture.id for capture in list_captures(directories)] == ["new", "old"]
    assert is_capture(tmp_path / "flamegraphs" / "old")
    assert not is_capture(unfinished)


def test_a_damaged_capture_does_not_hide_the_others_from_a_list_that_asks_for_it(tmp_path: Path) -> None:
    save(tmp_path / "good", document(id="good"))
    save(tmp_path / "bad", document(slices=[]))
    with pytest.raises(FormatError):
        list_captures([tmp_path])
    damaged: list[FormatError] = []
    assert [capture.id for capture in list_captures([tmp_path], damaged)] == ["good"]
    assert len(damaged) == 1
