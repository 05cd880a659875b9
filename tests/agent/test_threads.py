"""CPU of a process by what its threads work for: on real threads that rename themselves, end and come again."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jvbtune.agent.jvmthreads import BRIDGE, COLLECTOR, COMPILER, JVM, kind_of, seconds_by_kind
from jvbtune.agent.procfs import thread_group
from jvbtune.agent.sampler import RECEIVE_THREAD_PREFIX, BridgeWatch
from jvbtune.protocol.samples import Sample

#: As the kernel has them, of 15 characters at most: of JDK 8 to 21 with each collector, of GraalVM and of OpenJ9.
NAMES = {
    COMPILER: [
        "C1 CompilerThre",
        "C2 CompilerThre",
        "JVMCI CompilerT",
        "JVMCI-native Co",
        "JIT Compilation",
        "JIT-SamplerThre",
    ],
    COLLECTOR: [
        "GC Thread#0",
        "GC Thread#12",
        "G1 Main Marker",
        "G1 Conc#0",
        "G1 Refine#0",
        "G1 Service",
        "G1 Young RemSet",
        "ZWorker#3",
        "ZDriverMinor",
        "ZDirector",
        "XWorkerYoung#0",
        "Shenandoah GC T",
        "Shenandoah Cont",
        "ParGC Thread",
        "Gang worker#0 (",
        "Concurrent Mark",
        "GC Slave",
    ],
    JVM: [
        "VM Thread",
        "VM Periodic Tas",
        "Sweeper thread",
        "Service Thread",
        "Monitor Deflati",
        "Signal Dispatch",
        "Reference Handl",
        "Finalizer",
        "Common-Cleaner",
        "Attach Listener",
        "DestroyJavaVM",
    ],
    BRIDGE: [
        "java",
        "org.ice4j.ice.h",
        "Global CPU pool",
        "Global IO poolp",
        "qtp1372483461-2",
        "IceConnector@18",
        "Compressor-1",
        "CMSignaling",
        "G1zmo",
        "VMwareAgent",
    ],
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NAMES.items() for name in names])
def test_a_thread_is_known_by_the_name_that_the_kernel_keeps(kind: str, name: str) -> None:
    assert len(name) <= 15
    assert kind_of(name) == kind_of(thread_group(name)) == kind


def test_every_group_is_in_one_kind() -> None:
    found = seconds_by_kind({"C1 CompilerThre": 1.0, "C2 CompilerThre": 2.0, "GC Thread#*": 4.0, "qtp*-*": 8.0})
    assert found == {COMPILER: 3.0, COLLECTOR: 4.0, JVM: 0.0, BRIDGE: 8.0}


#: Threads named by prctl, as a JVM's are, each after a moment under its parent's name; commands come on stdin.
PROCESS = """
import ctypes, sys, threading, time
libc = ctypes.CDLL(None)

def work(name, seconds, delay):
    time.sleep(delay)
    libc.prctl(15, name.encode(), 0, 0, 0)
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1000))
    time.sleep(0.4)  # a compiler thread ends when it was idle for a while

for line in sys.stdin:
    name, seconds, delay = line.strip().split("|")
    thread = threading.Thread(target=work, args=(name, float(seconds), float(delay)))
    thread.start()
    if delay == "0":
        thread.join()
    print("ok", flush=True)
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    script = tmp_path / "threads.py"
    script.write_text(PROCESS)
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        yield child
        assert child.stdin is not None
        child.stdin.close()


def _run(child: subprocess.Popen[str], name: str, seconds: float, delay: float = 0) -> None:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(f"{name}|{seconds}|{delay:g}\n")
    child.stdin.flush()
    assert child.stdout.readline() == "ok\n"


def _threads(watch: BridgeWatch) -> dict[str, float]:
    bridge = watch.sample(Sample(time.time(), time.monotonic())).bridge
    assert bridge is not None
    return bridge.threads


def _wait(watch: BridgeWatch, group: str, seconds: float) -> dict[str, float]:
    """Sample, ten times a second, until a group has used so much."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        threads = _threads(watch)
        if threads.get(group, 0.0) >= seconds - 0.02:
            return threads
        time.sleep(0.1)
    raise AssertionError(f"{group} did not use {seconds} s: {threads}")


def test_what_ended_threads_used_is_kept_and_never_goes_back(process: subprocess.Popen[str]) -> None:
    """-XX:+UseDynamicNumberOfCompilerThreads: a compiler thread ends when it has nothing to do, another comes."""
    watch = BridgeWatch(process.pid)
    try:
        seen = [_threads(watch).get("C2 CompilerThre", 0.0)]
        for _ in range(3):
            _run(process, "C2 CompilerThre", 0.4, delay=0.2)  # is seen first by its parent's name
            seen.append(_wait(watch, "C2 CompilerThre", seen[-1] + 0.4)["C2 CompilerThre"])
            time.sleep(0.3)
            seen.append(_threads(watch)["C2 CompilerThre"])
        assert seen == sorted(seen)
        assert seen[-1] == pytest.approx(1.2, abs=0.15)
        times = psutil.Process(process.pid).cpu_times()
        groups = _threads(watch)
        assert sum(groups.values()) == pytest.approx(times.user + times.system, abs=0.15)
    finally:
        watch.close()


def test_a_name_taken_late_moves_nothing_that_was_used_before(process: subprocess.Popen[str]) -> None:
    watch = BridgeWatch(process.pid)
    try:
        before = _threads(watch)
        _run(process, "C1 CompilerThre", 0.3, delay=0.5)
        _threads(watch)
        after = _wait(watch, "C1 CompilerThre", 0.3)
        for group, seconds in before.items():
            assert after[group] >= seconds
    finally:
        watch.close()


def test_a_receive_thread_that_uses_less_than_a_tick_is_seen(process: subprocess.Popen[str]) -> None:
    """At a few hundred packets a second it uses some ms a second, and a tick of /proc/PID/stat is 10 ms."""
    watch = BridgeWatch(process.pid)
    try:
        _run(process, RECEIVE_THREAD_PREFIX, 0.003, delay=0.2)
        deadline = time.monotonic() + 20
        used = 0.0
        while used < 0.003 and time.monotonic() < deadline:
            bridge = watch.sample(Sample(time.time(), time.monotonic())).bridge
            assert bridge is not None
            used = max(used, bridge.rx_thread_cpu_s or 0.0)
        assert used >= 0.003
        assert used % 0.01 != pytest.approx(0.0, abs=1e-9)
    finally:
        watch.close()


@pytest.mark.measured
@pytest.mark.jvm
def test_a_real_jvm_says_the_same_of_its_compilers() -> None:
    """CPU of the compiler threads against what the JVM itself counts of its compilations (hsperfdata, elapsed)."""
    if shutil.which("java") is None:
        pytest.skip("no JDK here: make test installs it")
    source = Path(__file__).with_name("Load.java")  # run from source: javac is compiled by the JIT as it compiles
    argv = ["java", "-XX:+UseG1GC", str(source), "3"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as java:
        try:
            assert java.stdout is not None
            assert java.stdout.readline() == "begun\n"
            watch = BridgeWatch(java.pid)
            for _ in range(5):
                sample = watch.sample(Sample(time.time(), time.monotonic()))
                time.sleep(0.2)
            watch.close()
        finally:
            java.kill()
    assert sample.bridge is not None
    assert sample.jit is not None
    found = seconds_by_kind(sample.bridge.threads)
    process = sample.bridge.cpu_user_s + sample.bridge.cpu_sys_s
    elapsed = sample.jit.compile_seconds
    assert elapsed is not None
    assert (sample.jit.compilations or 0) > 100
    assert sum(found.values()) == pytest.approx(process, rel=0.1)
    # elapsed time is at least the CPU that it took, and on a busy machine a multiple of it
    assert 0.2 < found[COMPILER] <= elapsed * 1.15 + 0.1
    assert found[COMPILER] > 0.15 * elapsed
    assert found[COMPILER] < process
