"""What a JVB's "cpu-usage" measurement reads is what a real JVM answers, in each of its scopes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jvbtune.agent.procfs import jvm_load_scope, parse_cpus
from jvbtune.agent.sampler import BridgeWatch, OpenFile, procfs
from jvbtune.protocol.samples import Sample
from jvbtune.sweep.window import summarise

CGROUPS = Path("/sys/fs/cgroup")
SECONDS = 4


@contextlib.contextmanager
def _cgroup(controller: str, **files: str) -> Iterator[Path]:
    """A cgroup (v1) of this test's own; skipped where there is no such hierarchy to write to."""
    parent = CGROUPS / controller
    if os.getuid() != 0 or not (parent / "cgroup.procs").exists() or (CGROUPS / "cgroup.controllers").exists():
        pytest.skip(f"no cgroup (v1) hierarchy of {controller} that this user may write to")
    directory = parent / f"jvbtune-test-{os.getpid()}"
    directory.mkdir()
    try:
        for name, text in files.items():
            (directory / name.replace("__", ".")).write_text(text)
        yield directory
    finally:
        deadline = time.monotonic() + 5
        while True:
            try:
                directory.rmdir()
                break
            except OSError:
                assert time.monotonic() < deadline, (directory / "cgroup.procs").read_text()
                time.sleep(0.1)


@contextlib.contextmanager
def _jvm(*cgroups: Path) -> Iterator[subprocess.Popen[str]]:
    if shutil.which("java") is None:
        pytest.skip("no JDK here: make test installs it")
    enter = "".join(f"echo $$ > {directory}/cgroup.procs; " for directory in cgroups)
    source = Path(__file__).with_name("Load.java")
    process = subprocess.Popen(
        ["sh", "-c", f"{enter}exec java -XX:+UseSerialGC {source} {SECONDS}"], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def _sample(watch: BridgeWatch) -> Sample:
    cores = OpenFile("/proc/stat")
    try:
        return watch.sample(Sample(time.time(), time.monotonic(), cores=procfs.parse_cpu(cores.text())))
    finally:
        cores.close()


def _both(process: subprocess.Popen[str]) -> tuple[float, dict[str, Any]]:
    """What the JVM read, and what is made of the samples of the same seconds."""
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    watch = BridgeWatch(process.pid)
    try:
        first = _sample(watch)
        read = float(process.stdout.readline())
        return read, summarise([first, _sample(watch)])
    finally:
        watch.close()


@pytest.mark.jvm
def test_of_the_host_where_nothing_limits_it() -> None:
    with _jvm() as process:
        read, fields = _both(process)
    assert fields["jvb_scope"] == "host"
    assert fields["jvb_scope_cores"] == os.cpu_count()
    assert fields["jvb_cpu_ratio"] == pytest.approx(read, abs=0.05)


@pytest.mark.jvm
def test_of_its_cgroups_quota() -> None:
    with (
        _cgroup("cpu", cpu__cfs_period_us="100000", cpu__cfs_quota_us="80000") as directory,
        _cgroup("cpuacct") as accounting,
        _jvm(directory, accounting) as process,
    ):
        read, fields = _both(process)
    assert fields["jvb_scope"] == "quota"
    assert fields["jvb_scope_cores"] == pytest.approx(0.8)
    assert fields["jvb_cpu_ratio"] == pytest.approx(read, abs=0.05)
    assert 0.2 < fields["jvb_cpu_ratio"] < 1.0  # 0.6 of 0.8 cores and what the JVM takes; less on a busy machine


@pytest.mark.jvm
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core: a cpuset is all of it")
def test_of_its_cgroups_cpuset() -> None:
    with (
        _cgroup("cpuset", cpuset__cpus="1", cpuset__mems="0") as directory,
        _jvm(directory) as process,
    ):
        read, fields = _both(process)
    assert fields["jvb_scope"] == "cpuset"
    assert fields["jvb_scope_cores"] == 1
    assert fields["jvb_cpu_ratio"] == pytest.approx(read, abs=0.05)


def test_a_pinned_process_does_not_narrow_it() -> None:
    """The JDK looks at cgroups, not at the affinity: a bridge under taskset measures the whole host."""
    with _jvm() as process:
        os.sched_setaffinity(process.pid, {0})
        assert jvm_load_scope(process.pid).scope == "host"


def test_lists_of_cpus() -> None:
    assert parse_cpus("0-2,5\n") == [0, 1, 2, 5]
    assert parse_cpus("\n") == []
