"""Browsers as participants that send: beside jvbtune's clients, and as a generator on a real Selenium Grid."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from jvbtune.bridge.client import BridgeClient
from jvbtune.bridge.counts import bridge_counts
from jvbtune.errors import LoadError
from jvbtune.hosts import connect
from jvbtune.inventory import HostEntry
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, open_generator
from jvbtune.load.browser import compare as comparing
from jvbtune.load.browser import generator as generating
from jvbtune.load.generator import WorkerGenerator
from jvbtune.load.mixfile import load_mix
from jvbtune.sweep.check import look_at_generator
from tests.load.grid import JARS, selenium_grid
from tests.load.loadhosts import bridge_is_empty, within

pytestmark = [pytest.mark.lab, pytest.mark.browser, pytest.mark.measured]

MIX = load_mix("one-to-one").mix()
#: Chromium's estimate of its bandwidth is above what the cameras send after so many seconds.
SETTLE_SECONDS = 10.0
#: After which a page that nobody leads has ended, and a moment.
SILENT_SECONDS = 5.0 + 3.0


@pytest.fixture(scope="module")
def lab(lab_root: Path) -> Iterator[Lab]:
    """One of its own: a bridge keeps the conference of a controller that was killed for a minute."""
    with Lab.up("browsers") as up:
        yield up


@pytest.fixture(scope="module")
def grid(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    assert JARS.is_dir(), "make grid"
    with selenium_grid(lab, tmp_path_factory.mktemp("grid")) as url:
        yield url


def with_grid(lab: Lab, grid: str) -> HostEntry:
    return replace(lab.entry(), generator=replace(lab.entry().generator, grid=grid))


def test_browsers_and_clients_send_and_receive_the_same_packets(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "SETTLE_SECONDS", SETTLE_SECONDS)
    entry, checked = lab.entry(), []
    with connect(entry) as host, WorkerGenerator(entry, host) as generator:
        found = comparing.compare(entry, host, generator, MIX, 6.0, None, lambda: checked.append(1))
    assert not found.lacks_cpu, found
    assert found.alike, found
    assert len(checked) >= 10
    pps = {one.stream: one.browser_pps for one in found.streams}
    assert list(pps)[:4] == ["sent audio", "sent video 180", "sent video 360", "sent video 720"]
    assert pps["sent audio"] == pytest.approx(100, rel=0.05)
    assert pps["received video"] == pytest.approx(pps["sent video 720"], rel=0.1)
    assert pps["sent RTCP"] > 10
    assert bridge_is_empty(lab)


def test_a_grids_browsers_make_the_load_and_the_bridge_counts_the_same(
    lab: Lab, grid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generating, "SETTLE_SECONDS", SETTLE_SECONDS)
    entry = with_grid(lab, grid)
    finding = look_at_generator(entry)
    assert (finding.state, "4 browsers at most" in finding.text) == ("ok", True), finding
    with connect(entry) as host, open_generator(entry, host) as generator:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        offered = generator.offer(IntendedLoad(1, MIX), 6.0, edge=client.queue_stats)
        assert generator.endpoints == 2
        generator.stop()
        assert generator.endpoints == 0
    assert not offered.generator_limited, offered.generator_limited_because
    assert offered.loss_ratio == pytest.approx(0, abs=0.001)
    counts = bridge_counts(*offered.extra["edges"], offered.duration_seconds)
    assert counts.packet_rate_pps == pytest.approx(offered.offered_pps, rel=0.03)
    assert offered.offered_pps == pytest.approx(MIX.packet_rate_pps(), rel=0.1)
    assert bridge_is_empty(lab)


def test_load_from_a_grid_ends_when_jvbtune_is_killed(lab: Lab, grid: str, tmp_path: Path) -> None:
    inventory = tmp_path / "jvbtune.toml"
    inventory.write_text(lab.inventory.read_text() + f'grid = "{grid}"\n')
    argv = [sys.executable, "-m", "jvbtune", "load", "--host", lab.name, "--inventory", str(inventory)]
    argv += ["--packet-rate", "900", "--duration", "60", "--mix", "one-to-one"]
    entry = lab.entry()
    with connect(entry) as host, subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as load:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        try:
            assert within(60, lambda: received(client, 0.5) > 100), load.poll()
            load.send_signal(signal.SIGKILL)
            load.wait(10)
            assert received(client, 0.5) > 0, "it had ended before"
            assert within(SILENT_SECONDS, lambda: received(client, 0.5) == 0)
        finally:
            load.kill()


def test_a_browser_of_this_machine_ends_with_jvbtune() -> None:
    script = (
        "import time\n"
        "from jvbtune.load.browser.driver import open_browser\n"
        "with open_browser() as driver:\n"
        "    driver.get('data:text/html,hello')\n"
        "    print('open', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as controller:
        assert controller.stdout is not None
        assert controller.stdout.readline() == b"open\n"
        started = psutil.Process(controller.pid).children(recursive=True)
        assert any("chrom" in process.name() for process in started)
        controller.kill()
    assert within(5, lambda: not [one for one in started if running(one)])


def test_what_is_no_grid_is_a_finding_and_an_error(lab: Lab) -> None:
    nobody = with_grid(lab, "http://127.0.0.1:9")
    finding = look_at_generator(nobody)
    assert (finding.state, "does not answer as a Selenium Grid" in finding.text) == ("problem", True)
    with connect(nobody) as host, open_generator(nobody, host) as generator:
        with pytest.raises(LoadError, match=r"127\.0\.0\.1:9"):
            generator.offer(IntendedLoad(1, MIX), 1.0)
        assert generator.endpoints == 0
    bridge = with_grid(lab, f"http://127.0.0.1:{lab.http_port}")
    assert "does not answer as a Selenium Grid" in look_at_generator(bridge).text


def received(client: BridgeClient, seconds: float) -> float:
    """Packets that the bridge took and sent in so long."""
    before = client.queue_stats()
    time.sleep(seconds)
    return bridge_counts(before, client.queue_stats(), seconds).packet_rate_pps * seconds


def running(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
