"""Real load on the lab's bridge, and what the worker does when its controller is gone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from jvbtune.bridge.client import BridgeClient
from jvbtune.bridge.counts import bridge_counts
from jvbtune.hosts import connect
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, Mix, open_generator

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("burst_packets", [1, 8])
def test_every_packet_is_accounted_for_and_the_bridge_counts_the_same(lab: Lab, burst_packets: int) -> None:
    entry = lab.entry()
    mix = Mix(participants=4, senders=2, burst_packets=burst_packets)
    with connect(entry) as host, open_generator(entry, host) as generator:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        offered = generator.offer(IntendedLoad(8, mix), 3.0, settle_seconds=1.0, edge=client.queue_stats)
        assert generator.endpoints == 32
    assert not offered.generator_limited, offered.generator_limited_because
    assert offered.received_packets == offered.expected_packets
    assert offered.loss_ratio == 0.0
    assert offered.reordered_packets == 0
    assert offered.expected_packets == 3 * offered.sent_packets
    assert offered.delay_ms["p50"] < 200
    before, after = offered.extra["edges"]
    counts = bridge_counts(before, after, offered.duration_seconds)
    assert counts.packet_rate_pps == pytest.approx(offered.offered_pps, rel=0.02)
    assert client_is_empty(lab)


def test_workers_share_a_load_and_count_it_as_one(lab: Lab) -> None:
    """What one worker would be too slow for: here already at 400 packets sent a second, on whatever cores there are."""
    entry = replace(lab.entry(), generator=replace(lab.entry().generator, cpus=(0, 0, 0)))
    mix = Mix(participants=4, senders=2)
    with connect(entry) as host, open_generator(entry, host, sent_pps_per_worker=400) as generator:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        generator.offer(IntendedLoad(10, mix), 1.0, settle_seconds=1.0)
        offered = generator.offer(IntendedLoad(24, mix), 3.0, settle_seconds=1.0, edge=client.queue_stats)
        fewer = generator.offer(IntendedLoad(3, mix), 2.0, settle_seconds=0.5)
        assert generator.endpoints == 12
    assert offered.extra["workers"] == 3
    assert offered.extra["workers_apart_ms"] < 50
    assert offered.offered_pps == pytest.approx(24 * mix.packet_rate_pps(), rel=0.01)
    assert offered.received_packets == offered.expected_packets == 3 * offered.sent_packets
    before, after = offered.extra["edges"]
    counts = bridge_counts(before, after, offered.duration_seconds)
    assert counts.packet_rate_pps == pytest.approx(offered.offered_pps, rel=0.02)
    assert fewer.received_packets == fewer.expected_packets == 3 * fewer.sent_packets
    assert client_is_empty(lab)


def client_is_empty(lab: Lab) -> bool:
    """The generator has taken its conferences away."""
    entry = lab.entry()
    with connect(entry) as host:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        deadline = time.monotonic() + 5
        while client.stats().participants:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
    return True


def test_the_worker_ends_with_its_controller() -> None:
    worker = subprocess.Popen(
        [sys.executable, "-m", "jvbtune.load.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert worker.stdin is not None
    arguments = {"address": "127.0.0.1", "port": 9, "bind_address": None, "max_pps": 10, "max_seconds": 60}
    worker.stdin.write(json.dumps(arguments).encode() + b"\n" + b'{"id": 1, "op": "pause"}\n')
    worker.stdin.flush()
    assert worker.stdout is not None
    assert json.loads(worker.stdout.readline()) == {"id": 1, "ok": True, "result": {}}
    worker.stdin.close()
    assert worker.wait(5) == 0
    worker.stdout.close()


def test_the_worker_ends_when_its_time_is_up() -> None:
    arguments = {"address": "127.0.0.1", "port": 9, "bind_address": None, "max_pps": 10, "max_seconds": 0.5}
    worker = subprocess.Popen(
        [sys.executable, "-m", "jvbtune.load.worker"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(arguments).encode() + b"\n")
    worker.stdin.flush()
    assert worker.wait(10) == 1
    assert worker.stderr is not None
    assert b"time is up" in worker.stderr.read()
    worker.stderr.close()
    worker.stdin.close()


def test_load_from_the_command_line(lab: Lab) -> None:
    argv = [sys.executable, "-m", "jvbtune", "load", "--host", lab.name, "--inventory", str(lab.inventory)]
    done = subprocess.run(
        [*argv, "--packet-rate", "3000", "--duration", "2", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["intended_pps"], answer["loss_ratio"]) == (3000, 0)
    assert answer["bridge_pps"] == pytest.approx(answer["offered_pps"], rel=0.02)
