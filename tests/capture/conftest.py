"""JVMs to be profiled: a small program with known work, under the users and namespaces that real bridges run in."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jvbtune.capture import Request, capture
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.hosts.local import LocalHost
from jvbtune.protocol.agent import BridgeQuery

NOBODY = 65534
JAVA = ("-XX:+PreserveFramePointer", "-XX:+UseSerialGC", "-Xmx64m")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [program for program in ("java", "javac", "setpriv", "unshare") if shutil.which(program) is None]
    why = "needs root" if os.getuid() != 0 else f"needs {', '.join(missing)}" if missing else ""
    perf = (
        shutil.which("perf") is not None and subprocess.run(["perf", "--version"], capture_output=True).returncode == 0
    )
    for item in items:
        if why and item.get_closest_marker("jvm"):
            item.add_marker(pytest.mark.skip(reason=why))
        if not perf and item.get_closest_marker("perf"):
            item.add_marker(pytest.mark.skip(reason="needs a perf that fits the running kernel"))


@dataclass
class Jvm:
    """A running one; ``pid`` as this namespace sees it."""

    pid: int
    process: subprocess.Popen[bytes]
    output: Path
    pid_file: Path
    found: frozenset[str] = frozenset()  # somebody else's files, there before it started

    @property
    def bridge(self) -> BridgeQuery:
        """How the agent finds it."""
        return BridgeQuery(pid_file=str(self.pid_file))

    def alive(self) -> bool:
        return self.process.poll() is None and Path(f"/proc/{self.pid}").exists()

    def perf_descriptors(self) -> int:
        count = 0
        for path in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                count += os.readlink(path) == "anon_inode:[perf_event]"
        return count

    def leftovers(self) -> list[str]:
        """What a capture left where the JVM can see it."""
        root = Path(f"/proc/{self.pid}/root")
        return [str(path) for path in _ours(root) if str(path.relative_to(root)) not in self.found]

    def untouched(self) -> bool:
        """Nothing of a capture is at work in it, or left where it can see it."""
        return self.perf_descriptors() == 0 and self.leftovers() == []


def until(condition: Callable[[], bool], seconds: float) -> None:
    """What another process does once a capture is broken off: its helper stops the profiler first, then deletes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


@pytest.fixture(scope="package")
def classes() -> Iterator[Path]:
    """The program, where every user can read it and no test's /tmp hides it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="jvbtune-test-") as directory:
        os.chmod(directory, 0o755)
        source = Path(__file__).with_name("Spin.java")
        subprocess.run(["javac", "-d", directory, str(source)], check=True, timeout=60)
        yield Path(directory)


def launch(
    classes: Path,
    directory: Path,
    *options: str,
    uid: int = 0,
    mounts: Sequence[str] | None = None,
    rootless: bool = False,
) -> Jvm:
    """Start one with ``options`` for Java, as ``uid``; ``mounts``: lines of shell, in pid and mount namespaces."""
    argv = ["java", *JAVA, *options, "-cp", str(classes), "Spin"]
    if uid:
        argv = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *argv]
    if rootless:
        argv = [sys.executable, str(Path(__file__).with_name("rootless.py")), *argv]
    if mounts is not None:
        script = "; ".join(["set -e", *mounts, 'exec "$@"'])
        unshare = ["unshare", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child"]
        argv = [*unshare, "sh", "-c", script, "sh", *argv]
    output, pid_file = directory / "output", directory / "pid"
    found = frozenset(str(path.relative_to("/")) for path in _ours(Path("/")))
    with output.open("wb") as file:
        process = subprocess.Popen(argv, stdout=file, stderr=file, stdin=subprocess.DEVNULL, cwd="/")
    deadline = time.monotonic() + 20
    while (pid := _java(process.pid)) is None or not _busy(pid):
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < deadline, "the JVM did not start"
        time.sleep(0.05)
    pid_file.write_text(str(pid))
    return Jvm(pid, process, output, pid_file, found)


def _ours(root: Path) -> list[Path]:
    """Files by a name that captures give."""
    found = [path for place in ("tmp", "run", "dev/shm", "var/tmp") for path in (root / place).glob(".jvbtune-*")]
    return [*found, *(root / "tmp").glob("perf-*.map")]


def stop_jvm(jvm: Jvm) -> None:
    if jvm.process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(jvm.pid, signal.SIGKILL)  # unshare's and setpriv's own death does not reach it
        jvm.process.kill()
    jvm.process.wait(10)
    for name in (f".java_pid{jvm.pid}", f".attach_pid{jvm.pid}"):
        Path("/tmp", name).unlink(missing_ok=True)  # the JVM's own, which its end by SIGKILL leaves


StartJvm = Callable[..., Jvm]


@pytest.fixture(scope="package")
def jvm(classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jvm]:
    """One JVM of root's for all tests that leave it as it was."""
    started = launch(classes, tmp_path_factory.mktemp("jvm"))
    yield started
    stop_jvm(started)


@pytest.fixture
def start_jvm(classes: Path, tmp_path: Path) -> Iterator[StartJvm]:
    """Starts JVMs that a test has for itself, with the arguments of ``launch``."""
    started: list[Jvm] = []

    def start(*options: str, **how: Any) -> Jvm:
        directory = tmp_path / f"jvm-{len(started)}"
        directory.mkdir()
        started.append(launch(classes, directory, *options, **how))
        return started[-1]

    yield start
    for jvm in started:
        stop_jvm(jvm)


def _java(pid: int) -> int | None:
    """The java below a process, or itself."""
    with contextlib.suppress(OSError):
        if Path(f"/proc/{pid}/comm").read_text().strip() == "java":
            return pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if (found := _java(int(child))) is not None:
                return found
    return None


def _busy(pid: int) -> bool:
    """It works, so its signal handlers are in place, and its code is being compiled."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12]) >= 40
    return False


@pytest.fixture
def agent() -> Iterator[AgentClient]:
    """An agent on this machine, as root."""
    with LocalHost() as host, AgentClient(host) as client:
        yield client


Take = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def take(agent: AgentClient, tmp_path: Path) -> Take:
    """Takes a capture of a JVM; the documents, each with its ``path`` and the ``stacks`` of all slices."""
    return lambda jvm, **options: take_with(agent, jvm, tmp_path / "captures", **options)


def take_with(agent: AgentClient, jvm: Jvm, directory: Path, **options: Any) -> list[dict[str, Any]]:
    import gzip
    import json

    request = Request(**{"slices": 2, "slice_seconds": 1.0, "interval_ns": 2_000_000, **options})
    documents = []
    for path in capture(agent, request, directory, host="test", bridge=jvm.bridge, owner="tests"):
        document = json.loads((path / "capture.json").read_text())
        stacks = [gzip.decompress((path / one["file"]).read_bytes()).decode() for one in document["slices"]]
        documents.append({**document, "path": path, "stacks": "".join(stacks)})
    return documents
