"""A bridge that is not found is not a bridge that does not run: calls may be on it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jvbtune.agent.control import Bridge

#: Of this test's process: a JVM with a bridge, as far as its command line tells.
JAR = "of-test-gone/jitsi-videobridge.jar"
SILENT_DOCKER = "echo 'Cannot connect to the Docker daemon' >&2; exit 1"
NO_BUS = "echo 'Failed to connect to bus: Connection timed out' >&2; exit 1"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """systemctl and docker of this test, before those of the host."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("jvbtune.agent.containers.ENGINES", ("docker",))
    return tmp_path


def _tool(directory: Path, name: str, script: str) -> None:
    (directory / name).write_text(f"#!/bin/sh\n{script}\n")
    (directory / name).chmod(0o755)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    argv = ["java", "-c", "print('up', flush=True); import time; time.sleep(600)", JAR]
    with subprocess.Popen(argv, executable=sys.executable, stdout=subprocess.PIPE) as found:
        assert found.stdout is not None
        found.stdout.readline()
        yield found
        found.kill()


@pytest.fixture
def port() -> Iterator[int]:
    """Nothing listens there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


SYSTEMD = {"control": {"systemd": "jitsi-videobridge2"}, "match": JAR}
CONTAINER = {"control": {"container": "jvb"}, "match": JAR}
BY_COMMAND = {"control": {"commands": {"restart": ["true"]}}, "match": JAR}


def _gone(port: int, arguments: dict[str, Any]) -> bool:
    return Bridge({"http_address": "127.0.0.1", "http_port": port, **arguments}).gone()


@pytest.mark.parametrize(
    ("arguments", "name", "script"),
    [
        (SYSTEMD, "systemctl", NO_BUS),
        (SYSTEMD, "systemctl", "exit 0"),
        (CONTAINER, "docker", SILENT_DOCKER),
        ({**BY_COMMAND, "pid_file": "/nonexistent/jvb.pid"}, "systemctl", NO_BUS),
    ],
)
def test_what_does_not_answer_tells_nothing_about_a_bridge_that_runs(
    tools: Path, process: subprocess.Popen[bytes], port: int, arguments: dict[str, Any], name: str, script: str
) -> None:
    _tool(tools, name, script)
    assert not _gone(port, arguments)
    process.kill()
    process.wait()
    assert _gone(port, arguments), "nothing on this host is a bridge"


@pytest.mark.parametrize(
    ("arguments", "name", "script"),
    [
        (SYSTEMD, "systemctl", "echo 0"),
        (CONTAINER, "docker", 'echo \'[{"State": {"Pid": 0}}]\''),
    ],
)
def test_a_bridge_that_is_said_not_to_run_is_gone_though_others_run(
    tools: Path, process: subprocess.Popen[bytes], port: int, arguments: dict[str, Any], name: str, script: str
) -> None:
    _tool(tools, name, script)
    assert _gone(port, arguments)


def test_one_that_answers_is_not_gone(tools: Path) -> None:
    _tool(tools, "systemctl", "echo 0")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        answer = f"import socket; s, _ = socket.socket(fileno={server.fileno()}).accept(); s.recv(9999); "
        answer += "s.sendall(b'HTTP/1.1 503 x\\r\\nContent-Length: 0\\r\\n\\r\\n'); s.close()"
        with subprocess.Popen([sys.executable, "-c", answer], pass_fds=[server.fileno()]):
            assert not _gone(port, SYSTEMD)
