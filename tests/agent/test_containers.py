"""A container's configuration outside of it, and its engine: here a script that answers as the real ones do."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jvbtune.agent import bridge, containers
from jvbtune.agent.errors import AgentFault

NAME = "docker-jitsi-meet-jvb-1"
LONG_AGO = time.time() - 86400 * 365
CONFIGURATION = 'videobridge { ice.udp.port = 10000 }\n// include "commented.conf"\ninclude "custom-jvb.conf"\n'

Engine = Callable[..., None]


@pytest.fixture
def process() -> Iterator[int]:
    """A process that was started a moment ago: the container's first one, and the bridge."""
    with subprocess.Popen(["sleep", "120"]) as started:
        yield started.pid
        started.kill()


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: int) -> Engine:
    """Makes docker or podman answer: with a container's mounts, or with an error."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()

    def make(program: str, mounts: dict[str, Path] | None = None, error: str | None = None) -> None:
        found = [
            {
                "Id": "0" * 64,
                "State": {"Running": True, "Pid": process},
                "Mounts": [
                    {"Type": "bind", "Source": str(source), "Destination": destination}
                    for destination, source in (mounts or {}).items()
                ],
            }
        ]
        answer = f"echo '{error}' >&2; exit 125" if error else f"cat <<'END'\n{json.dumps(found)}\nEND"
        path = tmp_path / "bin" / program
        path.write_text(f"#!/bin/sh\n{answer}\n")
        path.chmod(0o755)

    return make


def _write(path: Path, text: str, unix: float = LONG_AGO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (unix, unix))
    return path


def test_an_included_file_that_the_start_copies_from_a_mount(tmp_path: Path, engine: Engine, process: int) -> None:
    """docker-jitsi-meet since 2026: /config is copied to /run/jvb/config, the configuration written there."""
    inside = _write(tmp_path / "run/jvb/config/jvb.conf", CONFIGURATION, time.time())
    _write(tmp_path / "run/jvb/config/custom-jvb.conf", "# ours\n", time.time())
    outside = _write(tmp_path / "home/jvb/custom-jvb.conf", "# ours\n")
    engine("docker", {"/var/log": tmp_path / "log", "/config": tmp_path / "home/jvb"})
    assert containers.host_file(NAME, process, str(inside)) == str(outside)


def test_an_included_file_beside_a_configuration_on_the_mount_itself(
    tmp_path: Path, engine: Engine, process: int
) -> None:
    """docker-jitsi-meet before: the configuration is written onto the mounted /config at each start."""
    inside = _write(tmp_path / "config/jvb.conf", CONFIGURATION, time.time())
    outside = _write(tmp_path / "config/custom-jvb.conf", "")
    engine("docker", {str(tmp_path / "config"): tmp_path / "config"})
    assert containers.host_file(NAME, process, str(inside)) == str(outside)


def test_a_configuration_that_is_mounted_and_that_no_start_writes(tmp_path: Path, engine: Engine, process: int) -> None:
    inside = _write(tmp_path / "etc/jvb.conf", "videobridge {}\n")
    engine("docker", {str(inside): inside})
    assert containers.host_file(NAME, process, str(inside)) == str(inside)


def test_a_configuration_that_the_start_writes_onto_its_mount(tmp_path: Path, engine: Engine, process: int) -> None:
    started = containers.start_unix(process)
    assert started is not None
    inside = _write(tmp_path / "config/jvb.conf", "videobridge {}\n", started)
    engine("docker", {str(tmp_path / "config"): tmp_path / "config"})
    with pytest.raises(AgentFault, match="again at each start") as told:
        containers.host_file(NAME, process, str(inside))
    assert "leave the setting out" in str(told.value.hint)


def test_an_included_file_that_is_missing_is_named(tmp_path: Path, engine: Engine, process: int) -> None:
    inside = _write(tmp_path / "run/jvb.conf", CONFIGURATION, time.time())
    (tmp_path / "home").mkdir()
    engine("docker", {"/config": tmp_path / "home"})
    with pytest.raises(AgentFault) as told:
        containers.host_file(NAME, process, str(inside))
    assert f"touch {tmp_path / 'home/custom-jvb.conf'}" in str(told.value.hint)


def test_an_edit_that_waits_for_the_next_start_is_not_deployed_by_a_sweep(
    tmp_path: Path, engine: Engine, process: int
) -> None:
    inside = _write(tmp_path / "run/jvb.conf", CONFIGURATION, time.time())
    _write(tmp_path / "run/custom-jvb.conf", "# before\n")
    outside = _write(tmp_path / "home/custom-jvb.conf", "# after\n")
    engine("docker", {"/config": tmp_path / "home"})
    with pytest.raises(AgentFault) as told:
        containers.host_file(NAME, process, str(inside))
    assert f"{outside} was changed since the container started" in str(told.value.hint)


def test_a_docker_without_its_daemon_gives_way_to_podman(tmp_path: Path, engine: Engine, process: int) -> None:
    engine("docker", error="Cannot connect to the Docker daemon at unix:///var/run/docker.sock.")
    engine("podman", {})
    assert containers.engine_of(NAME) == str(tmp_path / "bin/podman")
    assert containers.init_pid(NAME) == process


def test_where_no_engine_knows_it_each_answer_is_reported(engine: Engine) -> None:
    engine("docker", error="Error: No such container: other")
    engine("podman", error="Error: no such container other")
    with pytest.raises(AgentFault) as told:
        containers.engine_of("other")
    assert "docker: Error: No such container" in told.value.message
    assert "podman: Error: no such container" in told.value.message


ID = "3f2a" * 16


@pytest.mark.parametrize(
    ("cgroup", "found"),
    [
        (f"0::/system.slice/docker-{ID}.scope\n", {"container": ID[:12]}),
        (f"12:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n", {"container": ID[:12]}),
        (f"0::/machine.slice/libpod-{ID}.scope/container\n", {"container": ID[:12]}),
        (f"9:pids:/libpod_parent/libpod-{ID}\n", {"container": ID[:12]}),
        (f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope\n", {"container": ID[:12]}),
        ("0::/system.slice/jitsi-videobridge2.service\n", {"systemd": "jitsi-videobridge2"}),
        ("0::/system.slice/system-jvb.slice/jvb@1.service\n", {"systemd": "jvb@1"}),
        ("3:cpu:/\n1:name=systemd:/system.slice/jvb.service\n0::/\n", {"systemd": "jvb"}),
        ("0::/system.slice/cron.service\n", None),
        ("0::/system.slice/ssh.service\n", None),
        ("0::/system.slice/containerd.service\n", None),
        (f"0::/system.slice/k3s.service/kubepods/pod1/{ID}\n", None),
        (f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope\n", None),
        (f"0::/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope\n", None),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/jvb.service\n", None),
        ("0::/user.slice/user-0.slice/session-1.scope\n", None),
        ("0::/init.scope\n", None),
    ],
)
def test_what_restarts_a_bridge_is_read_from_its_control_group(
    monkeypatch: pytest.MonkeyPatch, cgroup: str, found: dict[str, str] | None
) -> None:
    """Units that are not the bridge's have another main process: k3s, containerd, cron, ssh were taken for it."""
    own = {"jitsi-videobridge2": 4711, "jvb@1": 4711, "jvb": 17 if "user@" in cgroup else 4710}
    texts = {"/proc/4711/cgroup": cgroup, "/proc/4711/status": "Name:\tjava\nPPid:\t4710\n"}
    for module in (bridge, containers):
        monkeypatch.setattr(module, "read_text", texts.get)
    monkeypatch.setattr(bridge, "main_process", lambda unit: own.get(unit, 17))
    assert bridge.found_control(4711) == found
