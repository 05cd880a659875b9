"""The main jobs on a bridge in a container of docker-jitsi-meet's layout, under podman, as a user with sudo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jvbtune.errors import JvbtuneError
from jvbtune.hosts import connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.inventory import bridge_arguments
from jvbtune.lab.hosts import SystemdLab
from jvbtune.lab.package import CONTAINER, CONTAINER_CONFIG
from jvbtune.protocol.agent import BRIDGE_FIND, BridgeQuery, Control, OfBridge
from jvbtune.settings.tuning import Tuning
from jvbtune.store import open_run
from tests.e2e.hosts import EXPERIMENT, NAME, VALUE, draining, entry_of, jvbtune, left_behind, loaded, ssh, value_of
from tests.faults.labs import one

#: The first use on a machine builds the host.
pytestmark = [pytest.mark.lab, pytest.mark.kernel, pytest.mark.timeout(900)]

BUFFER = "ice4j.harvest.udp.receive-buffer-size"
CUSTOM = f"{CONTAINER_CONFIG}/custom-jvb.conf"
#: What docker's command line answers where its daemon does not run.
NO_DAEMON = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"


def test_the_container_is_one_as_operators_have_it(container_lab: SystemdLab) -> None:
    def inside(command: str) -> str:
        return ssh(container_lab, f"podman exec {CONTAINER} sh -c '{command}'")

    assert inside("touch /file 2>&1").endswith("Read-only file system")
    assert "noexec" in inside('grep " /tmp " /proc/mounts')
    assert inside("stat -c %u /proc/[0-9]*/exe | sort | uniq -c | wc -l") == "2"  # the init's user, and the JVM's
    assert inside("stat -f -c %T /run/jvb/config/jvb.conf") == "tmpfs"
    assert ssh(container_lab, f"docker inspect {CONTAINER} --format '{{{{.State.Running}}}}'") == "true"


@pytest.fixture(scope="module")
def run_directory(container_lab: SystemdLab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of the receive buffer as the user with sudo."""
    runs = tmp_path_factory.mktemp("runs")
    (runs / "short.toml").write_text(EXPERIMENT.format(name=BUFFER, value=65536))
    before = ssh(container_lab, f"cat {CUSTOM}")
    done = jvbtune("sweep", "--host", f"{container_lab.name}-ops", str(runs / "short.toml"), "--runs-dir", str(runs))
    assert done.returncode in (0, 5), done.stderr
    assert ssh(container_lab, f"cat {CUSTOM}") == before
    assert ssh(container_lab, f"podman exec {CONTAINER} cat /run/jvb/config/custom-jvb.conf") == before
    return runs


def test_the_receive_buffer_is_swept_through_the_file_that_the_container_includes(
    container_lab: SystemdLab, run_directory: Path
) -> None:
    trials = open_run("latest", run_directory).trials()
    baseline = 2 * min(10485760, int(value_of("net.core.rmem_max")))
    found = set(zip(trials["step"], trials["socket_rcvbuf_bytes"], strict=True))
    assert found == {("baseline", baseline), (f"{BUFFER}=65536", 131072)}
    assert trials["loss_ratio"].min() < 0.5
    assert left_behind(container_lab) == []
    assert not draining(container_lab)


def test_its_export_is_one_or_a_refusal_with_reasons(run_directory: Path, tmp_path: Path) -> None:
    done = jvbtune("export", "latest", "--format", "jvb-conf", "--runs-dir", str(run_directory), "-o", str(tmp_path))
    assert done.returncode in (0, 5), done.stderr


@pytest.mark.captures
def test_the_bridge_in_the_container_is_profiled(container_lab: SystemdLab, tmp_path: Path) -> None:
    arguments = ("--seconds", "4", "--slices", "2", "--no-open", "--captures-dir", str(tmp_path), "--json")
    with loaded(container_lab, 12):
        done = jvbtune("profile", "--host", f"{container_lab.name}-ops", *arguments)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*.html"))
    assert left_behind(container_lab) == []


def test_nothing_is_left_by_an_agent_that_ends_before_it_has_tidied_up(container_lab: SystemdLab) -> None:
    """With its controller gone, its ssh session ends, and logind kills it while it stops the timer behind the guard:
    the host is put back, and the guard takes the rest away."""
    for seed in (7, 8, 9):  # SIGHUP of the agent, an interrupt, somebody else's value: each ends with the controller
        assert one(container_lab, seed).findings == ()


@pytest.fixture
def docker_without_daemon(container_lab: SystemdLab) -> Iterator[None]:
    """docker's own command line on a host where podman runs the containers."""
    ssh(
        container_lab,
        f"mv /usr/bin/docker /root/docker; printf '#!/bin/sh\\necho \"{NO_DAEMON}\" >&2; exit 1\\n' "
        "> /usr/bin/docker; chmod 755 /usr/bin/docker",
    )
    yield
    ssh(container_lab, "mv /root/docker /usr/bin/docker")


def test_a_docker_without_its_daemon_does_not_hide_podman(
    container_lab: SystemdLab, docker_without_daemon: None
) -> None:
    baseline = value_of(NAME)
    with connect(entry_of(container_lab, "ops")) as host, AgentClient(host) as agent:
        control = agent.call(BRIDGE_FIND, OfBridge(BridgeQuery())).control
        assert control is not None
        assert ssh(container_lab, "podman ps --quiet") == control.container
        bridge = bridge_arguments(container_lab.entry())
        with Tuning(agent, owner="t", run_id="t", lease_seconds=60, bridge=bridge, settings=[NAME]) as tuning:
            assert tuning.apply({NAME: VALUE}, restart=True).restarted
            assert value_of(NAME) == VALUE
    assert value_of(NAME) == baseline
    assert left_behind(container_lab) == []


def test_an_unknown_container_is_refused_with_what_each_engine_says(
    container_lab: SystemdLab, docker_without_daemon: None
) -> None:
    refused = pytest.raises(JvbtuneError, match="no container engine of this host knows the container other")
    with connect(container_lab.entry()) as host, AgentClient(host) as agent, refused as told:
        agent.call(BRIDGE_FIND, OfBridge(BridgeQuery(control=Control(container="other"))))
    assert "Docker daemon" in told.value.message
    assert "podman: " in told.value.message


def test_a_buffer_that_cannot_be_swept_is_refused_before_the_drain_with_the_line_to_run(
    container_lab: SystemdLab,
) -> None:
    ssh(container_lab, f"mv {CUSTOM} {CUSTOM}.away")
    try:
        with connect(container_lab.entry()) as host, AgentClient(host) as agent:
            pid = agent.call(BRIDGE_FIND, OfBridge(BridgeQuery())).pid
            bridge = bridge_arguments(container_lab.entry())
            with pytest.raises(JvbtuneError, match="again at each start") as told:
                Tuning(agent, owner="t", run_id="t", lease_seconds=60, bridge=bridge, settings=[BUFFER]).__enter__()
            assert agent.call(BRIDGE_FIND, OfBridge(BridgeQuery())).pid == pid
        assert f"touch {CUSTOM}" in str(told.value.hint)
        assert not draining(container_lab)
        assert left_behind(container_lab) == []
    finally:
        ssh(container_lab, f"mv {CUSTOM}.away {CUSTOM}")
