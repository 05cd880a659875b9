"""The parts that touch nothing: choice of engine, requests, folding, quality, cost, packages."""

from __future__ import annotations

import math
import os
import random
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from jvbtune.agent.capture.attach import Attach, AttachError
from jvbtune.agent.capture.engines import jfr_settings
from jvbtune.agent.capture.perf import CodeMap, fold
from jvbtune.agent.capture.probe import CAP_PERFMON, CAP_SYSLOG, Target, jvm_may
from jvbtune.capture import Request, choose, cost, quality_of, write_capture
from jvbtune.capture.choose import needs_sysctls
from jvbtune.capture.quality import name_libraries
from jvbtune.capture.stored import load_capture
from jvbtune.capture.take import with_packets
from jvbtune.errors import CaptureError, JvbtuneError, UsageError
from jvbtune.packages import ASYNC_PROFILER, Package, cache_directory, fetch
from jvbtune.protocol.capture import Probe
from jvbtune.protocol.codec import build

PROBE: dict[str, Any] = {
    "machine": "x86_64",
    "perf_event_paranoid": 2,
    "kptr_restrict": 0,
    "perf_events": None,
    "kernel_symbols": True,
    "perf": "/usr/bin/perf",
    "perf_version": "6.1",
    "root": True,
    "jvm_version": "17.0.15+6",
    "jvm_flags": ["-XX:+PreserveFramePointer"],
    "jvm_may_perf": False,
    "place": "/tmp",
    "refused_places": {},
    "kernel": "6.1.0",
    "pid": 1,
    "uid": 0,
    "own_pid": 1,
    "foreign": {},
}
NO_LOADING = ["-XX:-EnableDynamicAgentLoading", "-XX:+PreserveFramePointer"]
NO_PLACE = {"place": None, "refused_places": {"/tmp": "is mounted noexec"}}


@pytest.mark.parametrize(
    ("probe", "events", "engine", "event", "transfer", "kernel"),
    [
        ({}, ("cpu",), "async-profiler", "cpu-clock", True, True),
        ({"jvm_may_perf": True}, ("cpu",), "async-profiler", "cpu-clock", False, True),
        ({"perf_events": "Operation not permitted", "perf": None}, ("cpu",), "async-profiler", "ctimer", False, False),
        ({"kernel_symbols": False, "perf": None}, ("cpu",), "async-profiler", "ctimer", False, False),
        ({"root": False}, ("cpu",), "async-profiler", "ctimer", False, False),
        (NO_PLACE, ("cpu",), "perf", "cpu-clock", False, True),
        ({**NO_PLACE, "jvm_flags": []}, ("cpu",), "jfr", "jdk.ExecutionSample", False, False),
        ({**NO_PLACE, "jvm_version": "11.0.2"}, ("cpu",), "jfr", "jdk.ExecutionSample", False, False),
        ({"machine": "riscv64"}, ("cpu",), "perf", "cpu-clock", False, True),
        ({"jvm_flags": NO_LOADING}, ("cpu",), "perf", "cpu-clock", False, True),
        ({}, ("wall",), "async-profiler", "ctimer", False, False),
        (NO_PLACE, ("alloc",), "jfr", "jdk.ExecutionSample", False, False),
    ],
)  # fmt: skip
def test_auto_takes_what_sees_most(
    probe: dict[str, Any], events: tuple[str, ...], engine: str, event: str, transfer: bool, kernel: bool
) -> None:
    choice = choose(Request(events=events), build(Probe, {**PROBE, **probe}))
    assert (choice.engine, choice.native_event, choice.transfer, choice.kernel_frames) == (
        engine,
        event,
        transfer,
        kernel,
    )
    if events == ("cpu",) and not kernel:
        assert any("ernel" in text for text in choice.lost)
    assert choice.because


@pytest.mark.parametrize(
    ("engine", "probe", "said"),
    [
        ("perf", {"jvm_flags": []}, "PreserveFramePointer"),
        ("perf", {"perf": None}, "linux-perf"),
        ("perf", {"perf_events": "Permission denied"}, "permits no perf events"),
        ("perf", {"jvm_version": "1.8.0_402"}, "JDK 8 writes no perf map"),
        ("async-profiler", NO_PLACE, "/tmp is mounted noexec"),
        ("async-profiler", {"jvm_flags": ["-XX:-EnableDynamicAgentLoading"]}, "-XX:-EnableDynamicAgentLoading"),
        ("async-profiler", {"machine": "s390x"}, "no library for s390x"),
    ],
)
def test_an_engine_that_was_asked_for_is_refused_with_the_reason(engine: str, probe: dict[str, Any], said: str) -> None:
    with pytest.raises(CaptureError) as error:
        choose(Request(engine=engine), build(Probe, {**PROBE, **probe}))
    assert said in error.value.message


def test_where_nothing_can_be_used_each_engine_says_why() -> None:
    with pytest.raises(CaptureError) as error:
        choose(Request(events=("wall",)), build(Probe, {**PROBE, **NO_PLACE}))
    assert error.value.hint is not None
    assert [line.split(":")[0] for line in error.value.hint.splitlines()] == ["async-profiler", "perf", "jfr"]


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({}, False),
        ({"kernel_symbols": False}, True),
        ({"root": False}, True),
        ({"jvm_may_perf": True, "root": False}, False),
    ],
)
def test_sysctls_are_changed_only_where_that_gives_kernel_frames(changes: dict[str, Any], needed: bool) -> None:
    assert needs_sysctls(build(Probe, {**PROBE, **changes})) is needed


@pytest.mark.parametrize(
    ("paranoid", "restricted", "capabilities", "seccomp", "may"),
    [
        (1, 0, 0, False, True),
        (1, 0, 0, True, False),  # Docker's filter refuses perf_event_open
        (2, 0, 0, False, False),
        (2, 0, 1 << CAP_PERFMON, False, False),  # the symbols need CAP_SYSLOG at paranoid 2
        (2, 1, 1 << CAP_PERFMON | 1 << CAP_SYSLOG, False, True),
        (1, 1, 0, False, False),
        (1, 2, 1 << CAP_SYSLOG, False, False),
    ],
)
def test_what_the_jvm_may_do_itself(
    paranoid: int, restricted: int, capabilities: int, seccomp: bool, may: bool
) -> None:
    jvm = Target(1, 1, 1, 1000, 1000, capabilities, seccomp, ())
    assert jvm_may(jvm, {"perf_event_paranoid": paranoid, "kptr_restrict": restricted}) is may


@pytest.mark.parametrize(
    "wrong",
    [
        {"engine": "dtrace"}, {"events": ("cpu", "cycles")}, {"events": ()}, {"events": ("cpu", "ctimer")},
        {"slices": 0}, {"slice_seconds": 0.1}, {"slices": 100, "slice_seconds": 60.0}, {"interval_ns": 1000},
        {"events": ("cpu", "alloc"), "measure_cost": True},
    ],
)  # fmt: skip
def test_a_request_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Request(**wrong)


MAP = """\
0x00007f0000001000 0x0000000000000100 void org.jitsi.Foo.bar(java.lang.String, int)
0x00007f0000002000 0x0000000000000080 Interpreter
0x00007f0000003000 0x0000000000000100 StubRoutines (1)
0x00007f0000004000 0x0000000000000100 java.lang.Object org.jitsi.Foo$$Lambda$14/0x8003.apply(java.lang.Object)
"""


def test_perf_script_is_folded_with_the_jvms_own_map() -> None:
    script = """\
java 12381
\t    7f00000010ff Wrong.Name (/tmp/perf-12379.map)
\t    7f0000002010 [unknown] (/tmp/perf-12379.map)
\t          8282d2 JavaCalls::call_helper (/usr/lib/jvm/lib/server/libjvm.so)

Queue worker 7 12390
\tffffffff81e67403 udp_sendmsg ([kernel.kallsyms])
\t          10aa3a __libc_sendto (/usr/lib/libc.so.6)
\t    7f0000004001 [unknown] ([unknown])

java 12381
\t    7f0000001100 [unknown] (//anon)
\t            1234 [unknown] (/opt/lib/libthing.so)
\t            5678 [unknown] (/root/.cache/JNA/temp/jna1258.tmp (deleted))
"""
    assert fold(script.splitlines(), CodeMap(MAP)) == {
        "[java tid=12381];JavaCalls::call_helper;Interpreter_[0];org/jitsi/Foo.bar_[j]": 1,
        "[Queue worker 7 tid=12390];org/jitsi/Foo$$Lambda$14/0x8003.apply_[j];__libc_sendto;udp_sendmsg_[k]": 1,
        "[java tid=12381];[jna1258.tmp];[libthing.so];[unknown]": 1,
    }


def test_a_code_map_ends_where_its_methods_end() -> None:
    code = CodeMap(MAP)
    assert code.name(0x7F0000000FFF) is None
    assert code.name(0x7F0000001000) == "org/jitsi/Foo.bar_[j]"
    assert code.name(0x7F0000001100) is None
    assert code.name(0x7F0000003001) == "StubRoutines (1)"


def test_jfr_is_asked_for_nothing_but_the_events() -> None:
    text = jfr_settings(["cpu", "alloc"], 20_000_000)
    assert text.count("<event ") == 2
    assert (
        '<event name="jdk.ExecutionSample"><setting name="enabled">true</setting><setting name="period">20 ms<' in text
    )
    assert "NativeMethodSample" not in text


def test_quality_counts_leaves_that_name_no_code() -> None:
    text = b"[a tid=1];A.b_[j];c_[k] 6\n[a tid=1];A.b_[j];[unknown] 1\n[a tid=1];[libx.so] 1\n[a tid=1];D.e_[i] 2\n"
    found = quality_of(text)
    assert (found.samples, found.unresolved_ratio, found.kernel_ratio, found.java_ratio) == (10, 0.2, 0.6, 0.9)
    assert quality_of(b"").samples == 0


def test_a_librarys_path_as_a_frame_is_its_name_and_is_unresolved() -> None:
    text = b"[a/b tid=1];A.b_[j];/usr/lib/libcrypto.so.3;EVP_x;/a b/libz.so.1 7\n/x/liby.so;[vdso] 1\nA/b.c_[j] 2\n"
    named = name_libraries(text)
    assert named == b"[a/b tid=1];A.b_[j];[libcrypto.so.3];EVP_x;[libz.so.1] 7\n[liby.so];[vdso] 1\nA/b.c_[j] 2\n"
    assert quality_of(named).unresolved_ratio == 0.8


def test_the_interval_of_the_cost_holds_the_truth_as_often_as_it_says() -> None:
    """Simulated pairs whose load drifts: 6 % cost, 5 % noise a window."""
    rng = random.Random(7)
    held = 0
    for _ in range(400):
        on, off = [], []
        for pair in range(6):
            packets = 10_000 * (1 + 0.3 * pair)
            off.append(
                {"cpu_seconds": packets * 1e-5 * math.exp(rng.gauss(0, 0.05)), "seconds": 10, "packets": packets}
            )
            on.append(
                {"cpu_seconds": packets * 1.06e-5 * math.exp(rng.gauss(0, 0.05)), "seconds": 10, "packets": packets}
            )
        found = cost(on, off)
        assert found is not None
        assert found.per == "packet"
        held += found.low <= 1.06 <= found.high
    assert 0.92 < held / 400 < 0.98


def test_a_cost_needs_three_pairs_and_says_when_it_is_not_significant() -> None:
    window = {"cpu_seconds": 1.0, "seconds": 10.0, "packets": None}
    assert cost([window] * 2, [window] * 2) is None
    noisy = [{**window, "cpu_seconds": value} for value in (1.0, 1.2, 0.9)]
    found = cost(noisy, [window] * 3)
    assert found is not None
    assert found.per == "second"
    assert str(found).endswith("not significant")


def test_packets_are_exact_and_a_restart_meanwhile_is_told() -> None:
    def queues(received: int, sent: int) -> dict[str, Any]:
        return {"rtp_receiver_queue": {"added_packets": received}, "srtp_send_queue": {"removed_packets": sent}}

    window = with_packets({"queues": [queues(10, 100), queues(1010, 4100)]})
    assert (window["packets"], window["in_packets"], window["out_packets"]) == (5000, 1000, 4000)
    assert with_packets({"queues": None})["packets"] is None
    with pytest.raises(CaptureError, match="restarted"):
        with_packets({"queues": [queues(10, 100), queues(5, 100)]})


def test_a_capture_on_disk_is_whole_or_none(tmp_path: Path) -> None:
    document = {
        "host": "jvb/eu 1", "created_unix": 1795568806.8, "engine": "perf", "event": "cpu", "unit": "samples",
        "interval_ns": 10_000_000, "kernel_frames": True, "lost": [],
        "slices": [{"started_unix": 1795568806.8, "seconds": 1.0, "samples": 3, "packets": 70}],
    }  # fmt: skip
    paths = [write_capture(tmp_path, document, [b"A_[j];b_[k] 3\n"]) for _ in range(2)]
    assert paths[0].name == "20261125-010646-jvb-eu-1-perf-cpu"
    assert paths[0] != paths[1]
    loaded = load_capture(paths[0])
    assert loaded.profiles()[0].total == 3
    assert loaded.packet_rate_pps == 70


def test_a_package_that_is_another_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache_directory().mkdir(parents=True)
    (cache_directory() / ASYNC_PROFILER.file_name).write_bytes(b"something else")
    with pytest.raises(CaptureError, match="has sha256"):
        fetch(ASYNC_PROFILER)


def test_without_maven_it_is_said_where_the_package_can_be_put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CaptureError, match="Maven") as error:
        fetch(Package("tools.profiler", "async-profiler", "0.0", "0" * 64))
    assert str(cache_directory()) in (error.value.hint or "")


def _answering(directory: Path, answer: bytes) -> Attach:
    """An Attach of a JVM that answers any one request with ``answer``."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / ".java_pid7"))
    listener.listen(1)

    def serve() -> None:
        with listener, listener.accept()[0] as peer:
            peer.recv(65536)
            peer.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return Attach(os.getpid(), 7, os.geteuid(), os.getegid(), str(directory))


@pytest.mark.parametrize(
    ("answer", "code"),
    [(b"0\nreturn code: 0\n", 0), (b"0\nreturn code: 200\n", 200), (b"0\n0\n", 0), (b"0\n100\n", 100)],
)
def test_what_a_library_returned_is_read_from_every_jdks_answer(tmp_path: Path, answer: bytes, code: int) -> None:
    assert _answering(tmp_path, answer).load("/tmp/lib.so", "start") == code


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        # JDK 21: status 0, and the refusal in words.
        (
            b"0\nDynamic agent loading is not enabled. Use -XX:+EnableDynamicAgentLoading to launch target VM.\n",
            "not enabled",
        ),
        (b"0\n/tmp/lib.so was not loaded.\n/tmp/lib.so: failed to map segment from shared object\n", "was not loaded"),
        (b"", "ended while it answered"),
    ],
)
def test_a_library_that_was_not_loaded_is_told_in_the_jvms_words(tmp_path: Path, answer: bytes, said: str) -> None:
    with pytest.raises(AttachError, match=said):
        _answering(tmp_path, answer).load("/tmp/lib.so", "start")


def test_every_capture_error_is_one_of_ours() -> None:
    assert issubclass(CaptureError, JvbtuneError)
