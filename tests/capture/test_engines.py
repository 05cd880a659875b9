"""Each engine against a real JVM whose work is known."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from jvbtune.capture.stored import load_capture
from tests.capture.conftest import Jvm, Take

pytestmark = [pytest.mark.jvm]


def _leaves(document: dict[str, Any]) -> Counter[str]:
    leaves: Counter[str] = Counter()
    for line in document["stacks"].splitlines():
        stack, _, count = line.rpartition(" ")
        leaves[stack.split(";")[-1]] += int(count)
    return leaves


def _counted_cpu(document: dict[str, Any]) -> float:
    """CPU seconds by the profiler's samples over those by the kernel's account."""
    samples = sum(one["samples"] for one in document["slices"])
    return samples * document["interval_ns"] * 1e-9 / sum(one["cpu_seconds"] for one in document["slices"])


@pytest.mark.parametrize("engine", ["async-profiler", pytest.param("perf", marks=pytest.mark.perf)])
def test_java_and_kernel_frames_are_resolved_and_samples_are_cpu_time(engine: str, jvm: Jvm, take: Take) -> None:
    (document,) = take(jvm, engine=engine)
    leaves = _leaves(document)
    total = sum(leaves.values())
    assert document["kernel_frames"]
    assert "udp_sendmsg_[k]" in document["stacks"]
    assert "Spin.main_[j]" in document["stacks"]
    assert sum(count for leaf, count in leaves.items() if leaf.endswith("_[k]")) > 0.1 * total
    assert sum(count for leaf, count in leaves.items() if leaf.startswith("[")) < 0.05 * total
    assert 0.8 < _counted_cpu(document) < 1.2
    assert document["sampled_ratio"] == pytest.approx(_counted_cpu(document), abs=0.001)
    for one in document["slices"]:
        assert one["packets"] is None  # this JVM is no bridge
        assert one["profiler"]["samples_total"] > 0
        assert one["thread_cpu_seconds"]["java"] == pytest.approx(one["cpu_seconds"], rel=0.3)
    loaded = load_capture(document["path"])
    assert [profile.total for profile in loaded.profiles()] == [one["samples"] for one in document["slices"]]
    assert jvm.leftovers() == []
    assert jvm.perf_descriptors() == 0


def test_async_profiler_sees_threads_by_name_and_inlined_methods(jvm: Jvm, take: Take) -> None:
    (document,) = take(jvm)
    assert document["engine"] == "async-profiler"
    assert document["event"] == "cpu"
    assert "[main tid=" in document["stacks"]
    assert "Spin.text_[" in document["stacks"]
    assert "_[i]" in document["stacks"]


def test_jfr_sees_java_only_and_says_so(jvm: Jvm, take: Take) -> None:
    (document,) = take(jvm, engine="jfr", interval_ns=10_000_000, slices=1, slice_seconds=8.0)
    assert not document["kernel_frames"]
    assert any(text.startswith("Kernel, native") for text in document["lost"])
    assert "Spin.main" in document["stacks"]
    assert "_[k]" not in document["stacks"]
    assert document["interval_ns"] is None
    assert (document["path"] / "recording.jfr").stat().st_size > 0
    assert jvm.leftovers() == []


def test_a_timer_is_taken_where_it_is_asked_for_and_is_told_from_perf_events(jvm: Jvm, take: Take) -> None:
    (document,) = take(jvm, events=("ctimer",), interval_ns=10_000_000)
    assert document["event"] == "ctimer"
    assert not document["kernel_frames"]
    assert "_[k]" not in document["stacks"]
    assert any(text.startswith("Kernel frames") for text in document["lost"])


def test_several_events_at_once_are_one_capture_each(jvm: Jvm, take: Take) -> None:
    documents = take(jvm, events=("cpu", "alloc", "wall"))
    assert [(one["event"], one["unit"]) for one in documents] == [
        ("cpu", "samples"),
        ("alloc", "bytes"),
        ("wall", "samples"),
    ]
    cpu, alloc, wall = documents
    assert "_[k]" in cpu["stacks"]
    assert "Spin.allocate_[" in alloc["stacks"]
    assert "byte[]" in alloc["stacks"]
    assert sum(one["samples"] for one in wall["slices"]) > sum(one["samples"] for one in cpu["slices"])
    assert 0.7 < _counted_cpu(cpu) < 1.2


def test_allocations_alone_are_weighed_in_bytes(jvm: Jvm, take: Take) -> None:
    (document,) = take(jvm, events=("alloc",))
    assert document["unit"] == "bytes"
    assert _leaves(document).total() > 1_000_000


def test_the_cost_is_measured_in_turn_with_windows_without_a_profiler(jvm: Jvm, take: Take) -> None:
    (document,) = take(jvm, slices=3, slice_seconds=0.5, measure_cost=True)
    assert len(document["off"]) == 3
    for off, on in zip(document["off"], document["slices"], strict=True):
        assert off["started_unix"] + off["seconds"] <= on["started_unix"]
    cost = document["cost"]
    assert cost["low"] < cost["ratio"] < cost["high"]
    assert cost["per"] == "second"


def test_jfrs_cost_is_measured_too_with_a_recording_for_each_slice(jvm: Jvm, take: Take) -> None:
    (document,) = take(jvm, engine="jfr", slices=3, slice_seconds=4.0, interval_ns=10_000_000, measure_cost=True)
    assert len(document["off"]) == 3
    assert document["cost"]["pairs"] == 3
    assert len(list(document["path"].glob("recording-*.jfr"))) == 3
    assert sum(one["samples"] for one in document["slices"]) > 0  # the sampler begins some moments after a start
