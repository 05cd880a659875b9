"""Load from several hosts over ssh, each with an address of its own, on one bridge."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from jvbtune.bridge.client import BridgeClient
from jvbtune.bridge.counts import bridge_counts
from jvbtune.errors import LoadError, UsageError
from jvbtune.hosts import connect
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, Mix, expire_leftover, open_generator, remote
from jvbtune.load.mixfile import load_mix
from tests.load.loadhosts import LoadHost, entry_with, inventory, load_hosts

pytestmark = [pytest.mark.lab, pytest.mark.measured]

AUDIO = Mix(participants=4, senders=2)


@pytest.fixture(scope="module")
def hosts(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[LoadHost]]:
    with load_hosts(lab, tmp_path_factory.mktemp("load-hosts")) as up:
        yield up


def test_two_hosts_share_a_load_equally_and_every_packet_is_counted(
    lab: Lab, hosts: list[LoadHost], tmp_path: Path
) -> None:
    entry = entry_with(lab, tmp_path, hosts)
    with connect(entry) as host, open_generator(entry, host) as generator:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        offered = generator.offer(IntendedLoad(16, AUDIO), 4.0, settle_seconds=1.0, edge=client.queue_stats)
        fewer = generator.offer(IntendedLoad(6, AUDIO), 1.0, settle_seconds=0.5)
        assert generator.worker_pid is None
        assert [len(one.processes()) for one in hosts] == [1, 1]
    assert not offered.generator_limited, offered.generator_limited_because
    assert offered.offered_pps == pytest.approx(offered.intended_pps, rel=0.005)
    assert offered.received_packets == offered.expected_packets == 3 * offered.sent_packets
    first, second = offered.extra["hosts"]
    assert (first["host"], second["host"]) == ("load-1", "load-2")
    assert first["sent_packets"] == pytest.approx(second["sent_packets"], rel=0.005)
    assert first["sent_packets"] + second["sent_packets"] == offered.sent_packets
    assert sum(offered.extra["lateness_us"].values()) == offered.sent_packets
    assert fewer.extra["hosts"][0]["sent_packets"] == pytest.approx(fewer.sent_packets / 2, abs=10)
    counts = bridge_counts(*offered.extra["edges"], offered.duration_seconds)
    assert counts.packet_rate_pps == pytest.approx(offered.offered_pps, rel=0.02)
    assert not [pid for one in hosts for pid in one.processes()]


def test_a_meeting_with_video_runs_on_other_hosts_too(lab: Lab, hosts: list[LoadHost], tmp_path: Path) -> None:
    entry = entry_with(lab, tmp_path, hosts)
    mix = load_mix("one-to-one").mix()
    with connect(entry) as host, open_generator(entry, host) as generator:
        offered = generator.offer(IntendedLoad(2, mix), 3.0, settle_seconds=2.0)
    assert offered.received_packets > 1000
    assert [share["sent_packets"] > 500 for share in offered.extra["hosts"]] == [True, True]


def test_load_stops_within_a_second_when_the_controller_is_killed(
    lab: Lab, hosts: list[LoadHost], tmp_path: Path
) -> None:
    with loading(lab, hosts, tmp_path) as controller:
        controller.kill()
        controller.wait(10)
        assert_silent_within(1.0, hosts)
    assert not [pid for one in hosts for pid in one.processes()]


def test_load_stops_within_a_second_when_the_controller_stands_still(
    lab: Lab, hosts: list[LoadHost], tmp_path: Path
) -> None:
    """Its connections stay open, as those of a link that is cut: nothing but the silence tells."""
    with loading(lab, hosts, tmp_path) as controller:
        controller.send_signal(signal.SIGSTOP)
        assert_silent_within(1.0, hosts)
        assert not [pid for one in hosts for pid in one.processes()]


def test_a_link_that_is_cut_ends_the_load_on_both_sides(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No connection ends, so nobody is told."""
    monkeypatch.setattr(remote, "LOST_SECONDS", 3.0)
    with load_hosts(lab, tmp_path, (3,)) as hosts:
        entry = entry_with(lab, tmp_path, hosts)
        with connect(entry) as host, open_generator(entry, host) as generator, ThreadPoolExecutor(1) as pool:
            offering = pool.submit(generator.offer, IntendedLoad(4, AUDIO), 60.0, settle_seconds=0.5)
            wait_for_load(hosts)
            assert hosts[0].processes()
            hosts[0].cut()
            time.sleep(1.0)
            assert not hosts[0].processes()
            with pytest.raises(LoadError, match=r"^load-3: .*: nothing was heard from it for 3 s"):
                offering.result(20)


def test_a_worker_that_is_killed_ends_the_load_of_all_and_names_its_host(
    lab: Lab, hosts: list[LoadHost], tmp_path: Path
) -> None:
    entry = entry_with(lab, tmp_path, hosts)
    with connect(entry) as host, open_generator(entry, host) as generator, ThreadPoolExecutor(1) as pool:
        offering = pool.submit(generator.offer, IntendedLoad(8, AUDIO), 60.0, settle_seconds=1.0)
        wait_for_load(hosts)
        begun = time.monotonic()
        os.kill(hosts[1].processes()[0], signal.SIGKILL)
        with pytest.raises(LoadError, match=r"^load-2: the generator's worker is gone, so this load does not count: "):
            offering.result(20)
        assert time.monotonic() - begun < 10
        assert_silent_within(1.0, hosts)
        with pytest.raises(LoadError, match=r"^load-2: "):
            generator.offer(IntendedLoad(8, AUDIO), 1.0)


def test_what_a_host_lacks_is_said_with_how_to_install_it(lab: Lab, hosts: list[LoadHost], tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    entry = entry_with(lab, tmp_path, hosts, python=f"{bare}/bin/python3")
    with connect(entry) as host, pytest.raises(LoadError, match=r"load-1: .* numpy cannot be imported") as error:
        open_generator(entry, host)
    assert "pip install 'numpy>=1.26'" in (error.value.hint or "")
    entry = entry_with(lab, tmp_path, hosts, python="/nowhere/python3")
    with connect(entry) as host, pytest.raises(LoadError, match="load-1: /nowhere/python3 does not run there: "):
        open_generator(entry, host)


def test_the_bridges_own_machine_makes_no_load(lab: Lab, hosts: list[LoadHost], tmp_path: Path) -> None:
    with_hosts = entry_with(lab, tmp_path, hosts)
    own = replace(lab.entry(), name="another-name")
    for one in (replace(own, name=lab.name), own):
        generator = replace(with_hosts.generator, hosts=(one.name,))
        entry = replace(with_hosts, generator=generator, load_hosts=(one,))
        with connect(entry) as host, pytest.raises(UsageError, match="it is the bridge's own machine"):
            open_generator(entry, host)


def test_the_clocks_of_the_hosts_are_compared(lab: Lab, hosts: list[LoadHost], tmp_path: Path) -> None:
    """Here one kernel has them all: the offset is 0 within its uncertainty, and the window begins at one moment."""
    entry = entry_with(lab, tmp_path, hosts)
    begun = time.time()
    with connect(entry) as host, open_generator(entry, host) as generator:
        offered = generator.offer(IntendedLoad(4, AUDIO), 1.0, settle_seconds=0.5)
    for share in offered.extra["hosts"]:
        assert abs(share["clock_offset_ms"]) <= share["clock_uncertainty_ms"] + 0.5
        assert 0 < share["clock_uncertainty_ms"] < 100
    assert begun < offered.started_unix < time.time()
    assert offered.extra["workers_apart_ms"] < 50


def test_clocks_that_differ_make_no_difference(lab: Lab, hosts: list[LoadHost], tmp_path: Path) -> None:
    """The second host's wall clock is an hour ahead, and its monotonic clock a thousand seconds."""
    (tmp_path / "sitecustomize.py").write_text("import time\nreal = time.time\ntime.time = lambda: real() + 3600\n")
    python = tmp_path / "python3"
    python.write_text(
        f'#!/bin/sh\nexec unshare --time --monotonic 1000 env PYTHONPATH={tmp_path} {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    entry = entry_with(lab, tmp_path, hosts)
    second = replace(entry.load_hosts[1], generator=replace(entry.load_hosts[1].generator, python=str(python)))
    entry = replace(entry, load_hosts=(entry.load_hosts[0], second))
    with connect(entry) as host, open_generator(entry, host) as generator:
        offered = generator.offer(IntendedLoad(8, AUDIO), 2.0, settle_seconds=0.5)
    assert offered.extra["hosts"][1]["clock_offset_ms"] == pytest.approx(3_600_000, abs=100)
    assert offered.extra["workers_apart_ms"] < 50
    assert offered.duration_seconds == pytest.approx(2.0, abs=0.1)
    assert offered.started_unix == pytest.approx(time.time(), abs=30)
    assert offered.received_packets == offered.expected_packets == 3 * offered.sent_packets


def test_several_hosts_from_the_command_line(lab: Lab, hosts: list[LoadHost], tmp_path: Path) -> None:
    path = inventory(lab, tmp_path / "jvbtune.toml", hosts)
    argv = [sys.executable, "-m", "jvbtune", "load", "--host", lab.name, "--inventory", str(path)]
    done = subprocess.run(
        [*argv, "--packet-rate", "3000", "--duration", "2", "--participants", "5"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("load-")]
    assert len(lines) == 2
    assert all("pps" in line and "clock" in line for line in lines)


@contextmanager
def loading(lab: Lab, hosts: list[LoadHost], directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A controller of its own whose load is on the bridge."""
    path = inventory(lab, directory / "jvbtune.toml", hosts)
    controller = subprocess.Popen([sys.executable, "-c", CONTROLLER, str(path), lab.name])
    try:
        wait_for_load(hosts)
        yield controller
    finally:
        controller.kill()
        controller.wait(10)
        expire_all(lab)


def wait_for_load(hosts: list[LoadHost]) -> None:
    """Until each of the hosts sends."""
    deadline = time.monotonic() + 30
    while min(sent_in(0.5, hosts)) < 50:
        assert time.monotonic() < deadline, "no load came"


def sent_in(seconds: float, hosts: list[LoadHost]) -> list[int]:
    before = [one.sent_packets() for one in hosts]
    time.sleep(seconds)
    return [one.sent_packets() - counted for one, counted in zip(hosts, before, strict=True)]


def assert_silent_within(seconds: float, hosts: list[LoadHost]) -> None:
    time.sleep(seconds)
    assert sent_in(1.0, hosts) == [0 for _ in hosts]


def expire_all(lab: Lab) -> None:
    """What a killed controller left: this bridge is used again."""
    entry = lab.entry()
    with connect(entry) as host:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        expire_leftover(client, "jvbtune-killed")
        deadline = time.monotonic() + 10
        while client.stats().participants:
            assert time.monotonic() < deadline
            time.sleep(0.1)


CONTROLLER = """
import sys
from pathlib import Path
from jvbtune.hosts import connect
from jvbtune.inventory import load_inventory
from jvbtune.load import IntendedLoad, Mix, open_generator
entry = load_inventory(Path(sys.argv[1])).host(sys.argv[2])
with connect(entry) as host, open_generator(entry, host) as generator:
    generator._conferences.prefix = "jvbtune-killed"
    generator.offer(IntendedLoad(8, Mix(participants=4, senders=2)), 120, settle_seconds=0.5)
"""
