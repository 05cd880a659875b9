"""A real Jitsi Videobridge in the layouts of the Debian package and of docker-jitsi-meet, reached by sudo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jvbtune.lab import Lab
from jvbtune.lab.hosts import SystemdLab
from jvbtune.store import open_run
from tests.e2e.hosts import EXPERIMENT, draining, jvbtune, left_behind, loaded, value_of
from tests.real_bridge.conftest import HOME, REAL

BUFFER = "ice4j.harvest.udp.receive-buffer-size"

pytestmark = [*REAL, pytest.mark.timeout(600)]
CAPACITY = (
    *("--restarts", "1", "--minutes", "1", "--width", "0.3", "--cpu", "0.5"),
    *("--trial-seconds", "3", "--settle-seconds", "0.5", "--warm-up-seconds", "3", "--max-warm-up-seconds", "20"),
    *("--participants", "10", "--senders", "6", "--start-pps", "3000", "--max-pps", "20000"),
)


@pytest.fixture(scope="module", params=["systemd", "container"])
def host(request: pytest.FixtureRequest, lab_root: Path) -> Iterator[SystemdLab]:
    with Lab.up(f"real-{request.param}", kind=request.param, bridge_home=HOME) as up:
        assert isinstance(up, SystemdLab)
        yield up


def test_a_sweep_of_the_receive_buffer(host: SystemdLab, tmp_path: Path) -> None:
    (tmp_path / "short.toml").write_text(EXPERIMENT.format(name=BUFFER, value=65536))
    runs = ("--runs-dir", str(tmp_path))
    done = jvbtune("sweep", "--host", f"{host.name}-ops", str(tmp_path / "short.toml"), *runs, timeout=500)
    assert done.returncode in (0, 5), done.stderr
    trials = open_run("latest", tmp_path).trials()
    baseline = 2 * min(10485760, int(value_of("net.core.rmem_max")))
    found = set(zip(trials["step"], trials["socket_rcvbuf_bytes"], strict=True))
    assert found == {("baseline", baseline), (f"{BUFFER}=65536", 131072)}
    assert trials["loss_ratio"].min() < 0.5
    assert jvbtune("export", "latest", "--format", "jvb-conf", *runs).returncode in (0, 5)
    assert (left_behind(host), draining(host)) == ([], False)


def test_a_capacity_search(host: SystemdLab, tmp_path: Path) -> None:
    done = jvbtune("capacity", "--host", f"{host.name}-ops", "--runs-dir", str(tmp_path), *CAPACITY, timeout=500)
    assert done.returncode in (0, 5), done.stderr
    assert open_run("latest", tmp_path).trials().height > 0
    assert (left_behind(host), draining(host)) == ([], False)


def test_a_profile_of_the_live_bridge(host: SystemdLab, tmp_path: Path) -> None:
    arguments = ("--seconds", "4", "--slices", "2", "--no-open", "--captures-dir", str(tmp_path))
    with loaded(host, 12):
        done = jvbtune("profile", "--host", f"{host.name}-ops", *arguments)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*.html"))
    assert left_behind(host) == []
