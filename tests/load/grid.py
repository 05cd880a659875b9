"""A real Selenium Grid, whose Chromium runs in the network namespace of a lab's generator."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jvbtune.lab import Lab
from tests.conftest import CHROMIUM

JARS = Path(__file__).parents[2] / ".cache/selenium-grid"
SESSIONS = 4
START_SECONDS = 60.0


@contextmanager
def selenium_grid(lab: Lab, directory: Path) -> Iterator[str]:
    """Its URL. Its driver leads Chromium by a pipe: a port would be one of the namespace."""
    chromium = directory / "chromium"
    netns = f"/run/netns/{lab.network.generator_netns}"
    chromium.write_text(
        f'#!/bin/sh\nexec nsenter --net={netns} -- {CHROMIUM} --no-sandbox --remote-debugging-pipe "$@"\n'
    )
    chromium.chmod(0o755)
    stereotype = {
        "browserName": "chrome",
        "goog:chromeOptions": {"binary": str(chromium), "args": ["--no-sandbox", "--remote-debugging-pipe"]},
    }
    config = directory / "grid.toml"
    config.write_text(
        f"""\
[node]
detect-drivers = false
max-sessions = {SESSIONS}
override-max-sessions = true
[[node.driver-configuration]]
display-name = "Chromium"
stereotype = '{json.dumps(stereotype)}'
max-sessions = {SESSIONS}
webdriver-executable = "/usr/bin/chromedriver"
"""
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = ["java", "-Xmx256m", "-cp", f"{JARS}/*", "org.openqa.selenium.grid.Main", "standalone"]
    argv += ["--host", "127.0.0.1", "--port", str(port), "--selenium-manager", "false", "--config", str(config)]
    with (
        (directory / "grid.log").open("wb") as log,
        subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True) as grid,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            ends = time.monotonic() + START_SECONDS
            while not _ready(url):
                assert grid.poll() is None, (directory / "grid.log").read_text()
                assert time.monotonic() < ends, (directory / "grid.log").read_text()
                time.sleep(0.2)
            yield url
        finally:
            grid.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                grid.wait(20)
            with contextlib.suppress(ProcessLookupError):  # drivers and browsers of sessions that nobody ended
                os.killpg(grid.pid, signal.SIGKILL)


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/status", timeout=5) as answer:
            return bool(json.load(answer)["value"]["ready"])
    except OSError:
        return False
