"""Light hosts of three machine types in two regions, for all tests of a module; and commands on them."""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from jvbtune.fleet import measuring
from tests.fleet import standin
from tests.fleet.light import SETTING, LightFleet, light_hosts

TYPES = ("n2-standard-4", "c5.xlarge", "e2-standard-4")
EXPERIMENT = f"""
name = "light"
blocks = 1
lease_seconds = 8
[load]
packet_rates_pps = [1500]
[durations]
warm_up_seconds = 0
max_warm_up_seconds = 0
settle_seconds = 0
trial_seconds = 2
extend_seconds = 0
[[settings]]
name = "{SETTING}"
values = [8192]
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "light" in getattr(item, "fixturenames", ()) and os.getuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightFleet]:
    """light-01 … light-10: the odd ones in the region eu, the even ones in us."""
    directory = tmp_path_factory.mktemp("light")
    labels = [{"region": "us" if n % 2 else "eu", "machine_type": TYPES[n % 3]} for n in range(10)]
    with light_hosts(directory, labels) as fleet:
        (directory / "light.toml").write_text(EXPERIMENT)
        yield fleet


@pytest.fixture
def jvbtune(light: LightFleet, monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A command of this process, on the light hosts."""
    from jvbtune.cli import _run

    monkeypatch.setattr(measuring, "Sweep", standin.Sweep)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = _run([*arguments, "--inventory", str(light.inventory)])
        return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())

    return run


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def hosts_options(*names: str) -> list[str]:
    return [word for name in names for word in ("--host", name)]


def experiment(light: LightFleet) -> Path:
    return light.directory / "light.toml"
