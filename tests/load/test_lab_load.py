"""Real load on the lab's bridge, and what the worker does when its controller is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest

from jvbtune.bridge.client import BridgeClient
from jvbtune.bridge.counts import bridge_counts
from jvbtune.errors import LoadError
from jvbtune.hosts import connect
from jvbtune.inventory import GeneratorEntry, HostEntry
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, Mix, open_generator
from jvbtune.load.colibri import Conference
from jvbtune.load.process import WorkerProcess

pytestmark = [pytest.mark.lab, pytest.mark.measured]


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


def test_a_bridge_that_signals_slowly_still_reaches_every_endpoint(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bridge's side of ICE fails 5 s after it has signalled an endpoint that sends no check, and it never sends
    media to that endpoint: a cold bridge needs longer for all of a batch."""
    add = Conference.add

    def slowly(self: Conference, *arguments: Any) -> Any:
        time.sleep(0.8)
        return add(self, *arguments)

    monkeypatch.setattr(Conference, "add", slowly)
    entry = lab.entry()
    with connect(entry) as host, open_generator(entry, host) as generator:
        offered = generator.offer(IntendedLoad(1, Mix(participants=10, senders=3)), 1.0, settle_seconds=0.5)
    assert not offered.generator_limited, offered.generator_limited_because
    assert offered.received_packets == offered.expected_packets > 0


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


def _worker(**set_up: Any) -> subprocess.Popen[bytes]:
    """A worker whose first request is written."""
    argv = [sys.executable, "-m", "jvbtune.load.worker"]
    worker = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    arguments = {"address": "127.0.0.1", "port": 9, "bind_address": None, "max_pps": 10, "lease_seconds": 60} | set_up
    assert worker.stdin is not None
    worker.stdin.write(json.dumps({"id": 0, "op": "set_up", "args": arguments}).encode() + b"\n")
    worker.stdin.flush()
    return worker


def test_the_worker_refuses_what_is_no_request_and_ends_with_its_controller() -> None:
    worker = _worker()
    lines = [
        b'{"id": 1, "op": "pause", "args": {}}',
        b"7",
        b'{"id": 2, "op": "start", "args": {"stream_pps": "fast", "burst_packets": 1}}',
        b'{"id": 3, "op": "close", "args": {"endpoints": ["unknown"]}}',
        b'{"id": 4, "op": "begin", "args": {"endpoints": {"x": {}}, "within_seconds": 1}}',
        b'{"id": 5, "op": "senders", "args": {"senders": [{"endpoint": "x", "ssrc": 1, "stream_pps": 50, '
        b'"payload_bytes": 80, "receivers": 1}]}}',
        b'{"id": 6, "op": "join", "args": {"participants": [], "pps": 11}}',
        b'{"id": 7, "op": "open", "args": {"endpoints": ["c"], "clients": true}}',
        b'{"id": 8, "op": "join", "args": {"participants": [{"endpoint": "c", "receives": 1, "microphone": null, '
        b'"camera": null, "view": null, "cameras": [], "transport_cc": true, "rtcp": true}], "pps": 9}}',
    ]
    out, error = worker.communicate(b"\n".join(lines) + b"\n", timeout=20)
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["id"] for answer in answers if "result" in answer] == [0, 1, 3, 7]
    assert {answer["id"]: answer["error"]["message"] for answer in answers if "error" in answer} == {
        None: "an object is expected, not 7: '7'",
        2: 'start.stream_pps: a number is expected, not "fast"',
        4: "begin.endpoints.x.ufrag: is missing",
        5: "no endpoint is named 'x'",
        6: "11 pps would be more than the 10 that this worker may make",
        8: "c is not connected as a meeting's client",
    }
    assert (error, worker.returncode) == (b"", 0)


def test_a_worker_that_is_set_up_wrongly_says_so() -> None:
    out, _ = _worker(port="9").communicate(timeout=20)
    assert json.loads(out)["error"]["message"] == 'set_up.port: a whole number is expected, not "9"'


def test_the_worker_ends_when_its_controller_is_silent_for_the_lease() -> None:
    with _worker(lease_seconds=0.5) as worker:  # its input stays open
        assert worker.wait(10) == 1
        assert worker.stderr is not None
        assert b"its controller was silent" in worker.stderr.read()


def test_cores_that_this_machine_does_not_have_are_named() -> None:
    entry = HostEntry("h", None, generator=GeneratorEntry(cpus=(0, 4000)))
    with pytest.raises(LoadError, match="cannot run on the cores 0, 4000") as error:
        WorkerProcess(entry, ("127.0.0.1", 9), 10, 60.0)
    assert "generator.cpus" in (error.value.hint or "")


def test_a_worker_runs_on_its_cores_with_all_of_its_threads() -> None:
    core = max(os.sched_getaffinity(0))
    worker = WorkerProcess(HostEntry("h", None, generator=GeneratorEntry(cpus=(core,))), ("127.0.0.1", 9), 10, 60.0)
    try:
        threads = [int(name) for name in os.listdir(f"/proc/{worker.pid}/task")]
        assert {frozenset(os.sched_getaffinity(thread)) for thread in threads} == {frozenset({core})}
    finally:
        worker.close()


def _loaded(lab: Lab, *options: str) -> dict[str, Any]:
    argv = [sys.executable, "-m", "jvbtune", "load", "--host", lab.name, "--inventory", str(lab.inventory)]
    done = subprocess.run([*argv, *options, "--json"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["loss_ratio"] == 0
    assert answer["bridge_pps"] == pytest.approx(answer["offered_pps"], rel=0.02)
    return answer


def test_load_from_the_command_line_is_audio_of_the_shape_that_is_asked_for(lab: Lab) -> None:
    answer = _loaded(lab, "--packet-rate", "3000", "--duration", "2", "--participants", "5", "--senders", "3")
    assert answer["intended_pps"] == 3000
    assert (answer["endpoints"] % 5, answer["extra"]["kinds"]) == (0, {}), "clients of a meeting count by kind"


def test_load_from_the_command_line_is_a_meeting_with_video_by_default(lab: Lab) -> None:
    answer = _loaded(lab, "--packet-rate", "4000", "--duration", "2")
    assert answer["endpoints"] == 5
    assert answer["extra"]["kinds"]["video"]["received"] > 1000
