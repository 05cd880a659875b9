"""Hosts as operators have them, booted once for all tests, and nothing of them left."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvbtune.lab import Lab
from jvbtune.lab.hosts import SystemdLab
from tests.e2e.hosts import remains


@pytest.fixture(scope="package")
def systemd_lab(lab_root: Path) -> Iterator[SystemdLab]:
    """A Debian host with systemd and the package's layout."""
    yield from _booted("systemd")


@pytest.fixture(scope="package")
def container_lab(lab_root: Path) -> Iterator[SystemdLab]:
    """A Debian host with podman and docker-jitsi-meet's layout."""
    yield from _booted("container")


def _booted(kind: str) -> Iterator[SystemdLab]:
    if shutil.which("debootstrap") is None:
        pytest.skip("needs debootstrap, which builds the host: make system")
    lab = Lab.up(f"e2e-{kind}", kind=kind)
    assert isinstance(lab, SystemdLab)
    try:
        yield lab
        assert value_of_file_max() == FILE_MAX
    finally:
        lab.down()
    assert remains(lab) == []


def value_of_file_max() -> str:
    return Path("/proc/sys/fs/file-max").read_text()


#: systemd raises it at each boot; the machine's own is not a lab's to change.
FILE_MAX = value_of_file_max()
