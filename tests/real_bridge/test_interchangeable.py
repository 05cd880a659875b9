"""A real Jitsi Videobridge in the lab's place: every other part of jvbtune must not see the difference.

What is held here against the real bridge is held against the lab's own by the tests of the same names elsewhere.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from jvbtune.bridge.client import BridgeClient
from jvbtune.bridge.counts import IN_QUEUE, OUT_QUEUE, bridge_counts
from jvbtune.hosts import connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.inventory import bridge_arguments
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, Mix, open_generator
from jvbtune.protocol.agent import BRIDGE_FIND, SAMPLE_START, SAMPLE_STOP, OfBridge, StartSampling
from jvbtune.protocol.messages import Nothing
from jvbtune.protocol.samples import Sample
from jvbtune.store import open_run
from tests.buffers import FOUND, SMALL, STEPS, SWEPT, granted
from tests.real_bridge.conftest import REAL

pytestmark = REAL

EXPERIMENT = """
name = "real"
blocks = 1
seed = 7
[load]
packet_rates_pps = [3000, 9000, 15000]
[load.mix]
participants = 10
senders = 6
[load.burst]
packet_rate_pps = 24000
burst_packets = 48
[durations]
warm_up_seconds = 8
settle_seconds = 1
trial_seconds = 3
extend_seconds = 0
[[settings]]
name = "net.core.rmem_max"
values = [SWEPT]
[[settings]]
name = "ice4j.harvest.udp.receive-buffer-size"
values = [1048576]
""".replace("SWEPT", str(SWEPT))


def test_every_packet_is_accounted_for_and_the_bridge_counts_the_same(real: Lab) -> None:
    entry = real.entry()
    with connect(entry) as host, open_generator(entry, host) as generator:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        load = IntendedLoad(6, Mix(participants=4, senders=2))
        generator.offer(load, 3.0, settle_seconds=3.0)  # the first packets of a JVM are not like the others
        offered = generator.offer(load, 4.0, settle_seconds=1.0, edge=client.queue_stats)
        participants = client.stats().participants
    assert not offered.generator_limited, offered.generator_limited_because
    assert offered.received_packets == offered.expected_packets > 0
    assert offered.reordered_packets == 0
    before, after = offered.extra["edges"]
    counts = bridge_counts(before, after, offered.duration_seconds)
    assert counts.packet_rate_pps == pytest.approx(offered.offered_pps, rel=0.02)
    assert participants == 24


def test_the_agent_finds_and_samples_it(real: Lab) -> None:
    entry = real.entry()
    with connect(entry) as host:
        agent = AgentClient(host)
        try:
            arguments = bridge_arguments(entry)
            found = agent.call(BRIDGE_FIND, OfBridge(arguments))
            assert found.pid == real.bridge_pid()
            assert found.config_file == str(real.directory / "jvb.conf")
            assert found.java["version"]
            media = [socket for socket in found.sockets if socket.port == real.media_port]
            assert len(media) >= 1
            agent.call(SAMPLE_START, StartSampling(arguments))
            samples = []
            deadline = time.monotonic() + 10
            while len(samples) < 2 and time.monotonic() < deadline:
                event = agent.events.get(timeout=10)
                if isinstance(event, Sample):
                    samples.append(event)
            agent.call(SAMPLE_STOP, Nothing())
        finally:
            agent.close()
    sample = samples[-1]
    assert sample.bridge is not None
    assert sample.bridge.rx_thread_cpu_s is not None, "the receive thread was not found by its name"
    assert sample.bridge.nr_threads > 10
    assert real.media_port in {socket.port for socket in sample.sockets}
    assert sample.gc is not None


def _answers(lab: Lab) -> dict[str, Any]:
    with connect(lab.entry()) as host:
        client = BridgeClient(host, lab.entry().bridge.http_address, lab.entry().bridge.http_port)
        paths = (
            "/colibri/drain",
            "/colibri/stats",
            "/metrics",
            "/debug/stats/jvb/queue-stats",
            "/debug/stats/jvb/transit-stats",
        )
        return {path: client.request("GET", path) for path in paths}


def test_the_labs_own_bridge_says_nothing_that_the_real_one_does_not(lab: Lab, real: Lab) -> None:
    own, theirs = _answers(lab), _answers(real)
    for path in ("/colibri/stats", "/metrics", "/colibri/drain"):
        assert set(own[path]) - set(theirs[path]) == set(), path
        for key in set(own[path]) & set(theirs[path]):
            numbers = (int, float)
            assert isinstance(own[path][key], numbers) == isinstance(theirs[path][key], numbers), (path, key)
    queues = "/debug/stats/jvb/queue-stats"
    for queue in (IN_QUEUE, OUT_QUEUE):
        assert set(own[queues][queue]) <= set(theirs[queues][queue])


@pytest.fixture(scope="module")
def shown(real: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("real")
    experiment = directory / "real.toml"
    experiment.write_text(EXPERIMENT)
    argv = [sys.executable, "-m", "jvbtune", "sweep", "--host", real.name, str(experiment)]
    done = subprocess.run(
        [*argv, "--runs-dir", str(directory), "--json"], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode in (0, 5), done.stderr
    run = open_run("latest", directory)
    assert run.status() == "done"
    assert run.events("reverted")[-1]["report"]["complete"]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_sweep_runs_end_to_end(shown: dict[str, Any], real: Lab) -> None:
    expected = STEPS | {"ice4j.harvest.udp.receive-buffer-size=1048576": granted(FOUND, 1048576)}
    assert {trial["step"] for trial in shown["trials"]} == set(expected)
    for trial in shown["trials"]:
        assert trial["socket_rcvbuf_bytes"] == expected[trial["step"]]
        if trial["kind"] == "steady" and trial["loss_ratio"] == 0:
            assert trial["bridge_pps"] == pytest.approx(trial["offered_pps"], rel=0.02)
        if trial["kind"] == "burst":
            assert (trial["socket_drops"] > 0) == (expected[trial["step"]] == granted(SMALL)), trial
    assert not _answers(real)["/colibri/drain"]["drain"]
