"""What the tests share: a lab that is really up, a browser, and the check that nothing of a test is left behind."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from playwright.sync_api import Browser, sync_playwright
from xdist.scheduler import LoadScopeScheduling

from jvbtune.lab import Lab

JOURNAL = Path("/var/lib/jvbtune/journal.json")
JOURNAL_COPY = Path("/run/jvbtune/journal.json")
#: A test is right or wrong on a slow machine, too.
hypothesis.settings.register_profile("jvbtune", deadline=None)
hypothesis.settings.load_profile("jvbtune")

#: A shell's ``&`` and ``nohup`` let these be ignored, and jvbtune leaves an ignored signal so: tests send them.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

CHROMIUM = shutil.which("chromium")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NEEDED = ("nsenter", "taskset", "java", "mvn", "ssh-keygen", "/usr/sbin/sshd")


#: All tests there take captures; others have the marker ``captures``.
CAPTURES = "tests/capture/"


@cache
def of_the_host(module: str) -> bool:
    """Whether tests of that file use the one kernel, the one lab and the one lock of this machine."""
    path = Path(__file__).parents[1] / module
    return re.search(r"\bmark\.(lab|kernel)\b", path.read_text(encoding="utf-8")) is not None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Captures refuse each other, and some change what the others see: one test with captures at a time, of all
    processes that run tests. With its fixtures, since these may take the capture."""
    if not item.nodeid.startswith(CAPTURES) and item.get_closest_marker("captures") is None:
        return (yield)
    with open(Path(tempfile.gettempdir(), "jvbtune-tests-captures.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return (yield)


class HostTogether(LoadScopeScheduling):
    """Of the processes that run tests (``make test``), one has all tests of the host; others go by module.

    Not ``--dist loadgroup``: xdist 3.8 marks its groups in node ids that pytest 9.2 no longer has, and says nothing.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return "host" if of_the_host(module) else module


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> HostTogether:
    return HostTogether(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of the lab and of kernel settings need root: without it they are skipped, and it is said. Where several run
    at a time, those of the host come first, since they take longest."""
    missing = [program for program in NEEDED if shutil.which(program) is None]
    why = "needs root" if os.getuid() != 0 else f"needs {', '.join(missing)}" if missing else ""
    for item in items:
        if why and any(item.get_closest_marker(name) for name in ("lab", "kernel")):
            item.add_marker(pytest.mark.skip(reason=why))
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not of_the_host(item.nodeid.partition("::")[0]))


@pytest.fixture(scope="session", autouse=True)
def own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither find nor fill the runs that the user who calls them keeps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def lab_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The labs of this session, apart from one that somebody has up in the clone."""
    directory = tmp_path_factory.mktemp("labs")
    before = os.environ.get("JVBTUNE_LAB_DIR")
    os.environ["JVBTUNE_LAB_DIR"] = str(directory)
    yield directory
    if before is None:
        del os.environ["JVBTUNE_LAB_DIR"]
    else:
        os.environ["JVBTUNE_LAB_DIR"] = before


@pytest.fixture(scope="session")
def lab(lab_root: Path) -> Iterator[Lab]:
    """One lab for all tests that do not break it."""
    with Lab.up("session") as up:
        yield up


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium. For a module only: while Playwright runs, no other event loop can, and a lab needs one."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: make test installs it")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield started
        started.close()


@pytest.fixture
def sysctl() -> Iterator[Callable[[str], str]]:
    """Reads a sysctl; fails the test that leaves one of jvbtune's changed."""
    from jvbtune.agent.settings import SETTINGS

    def read(name: str) -> str:
        return " ".join(Path("/proc/sys", *name.split(".")).read_text().split())

    names = [name for name in SETTINGS if name.startswith("net.")]
    before = {name: read(name) for name in names}
    yield read
    deadline = time.monotonic() + 15  # a guard may still be at it
    while (JOURNAL.exists() or JOURNAL_COPY.exists()) and time.monotonic() < deadline:
        time.sleep(0.1)
    after = {name: read(name) for name in names}
    left = JOURNAL.exists() or JOURNAL_COPY.exists()
    if left:  # not for the tests after this one
        JOURNAL.unlink(missing_ok=True)
        shutil.rmtree(JOURNAL_COPY.parent, ignore_errors=True)
    for name, value in before.items():
        if after[name] != value:
            subprocess.run(["sysctl", "-q", "-w", f"{name}={value}"], check=True)
    assert after == before
    assert not left, "a journal was left on the host"
