"""What the tests share: a lab that is really up, and the check that nothing of a test is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jvbtune.lab import Lab

JOURNAL = Path("/var/lib/jvbtune/journal.json")
NEEDED = ("ip", "nsenter", "java", "mvn", "ssh-keygen", "/usr/sbin/sshd")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the lab and of kernel settings need root: without it they are skipped, and it is said."""
    missing = [program for program in NEEDED if shutil.which(program) is None]
    why = "needs root" if os.getuid() != 0 else f"needs {', '.join(missing)}" if missing else ""
    for item in items:
        if why and any(item.get_closest_marker(name) for name in ("lab", "kernel")):
            item.add_marker(pytest.mark.skip(reason=why))


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
    while JOURNAL.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    after = {name: read(name) for name in names}
    left = JOURNAL.exists()
    JOURNAL.unlink(missing_ok=True)
    for name, value in before.items():
        if after[name] != value:
            subprocess.run(["sysctl", "-q", "-w", f"{name}={value}"], check=True)
    assert after == before
    assert not left, "a journal was left on the host"
