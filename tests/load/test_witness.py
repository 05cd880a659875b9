"""An independent witness: packets that tshark captures on the lab's veth are those that generator and bridge count.

Exactly, stream by stream, over the whole life of the conferences: the capture begins before the first packet and ends
after the last.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jvbtune.bridge.client import BridgeClient
from jvbtune.bridge.counts import bridge_counts
from jvbtune.hosts import connect
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, Mix
from jvbtune.load.generator import WorkerGenerator
from jvbtune.load.mixfile import load_mix
from jvbtune.protocol.worker import Streams

pytestmark = [
    pytest.mark.lab,
    pytest.mark.measured,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is missing: make system"),
]

#: So long a packet may be in the bridge before it is counted.
IN_BRIDGE_SECONDS = 0.1
LOOKS = 30


@dataclass(frozen=True)
class Packet:
    """Of the capture. ``port``: the generator's; ``ssrc``: of RTCP its sender's."""

    unix: float
    port: int
    to_bridge: bool
    rtcp: bool
    ssrc: int


@contextmanager
def captured(lab: Lab, path: Path) -> Iterator[Callable[[], list[Packet]]]:
    """Everything on the generator's end of the veth; the callable ends the capture and reads it."""
    network = lab.network
    argv = ["nsenter", f"--net=/run/netns/{network.generator_netns}", "--", "dumpcap", "-q", "-i"]
    argv += [f"jvbt{network.number}g", "-f", f"udp port {lab.media_port}", "-B", "256", "-s", "96", "-w", str(path)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as dumpcap:
        try:
            assert dumpcap.stderr is not None
            for line in dumpcap.stderr:
                if line.startswith("File:"):
                    break
            else:
                raise AssertionError(f"dumpcap ended with status {dumpcap.wait()}")

            def finish() -> list[Packet]:
                time.sleep(1.0)  # dumpcap writes once a second what it has
                dumpcap.terminate()
                _, said = dumpcap.communicate(timeout=30)
                counted = re.search(r"(\d+)/(\d+) \(pcap:", said)
                assert counted is not None, said
                assert counted[2] == "0", "the capture itself dropped packets"
                return list(read(path, lab.media_port))

            yield finish
        finally:
            dumpcap.kill()


def read(path: Path, bridge_port: int) -> Iterator[Packet]:
    """SRTP and SRTCP (RFC 7983, RFC 5761); headers are in the clear."""
    fields = ["frame.time_epoch", "udp.srcport", "udp.dstport", "udp.payload"]
    argv = ["tshark", "-n", "-r", str(path), "-T", "fields", *(part for field in fields for part in ("-e", field))]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
    for line in done.stdout.splitlines():
        unix, source, destination, payload = line.split("\t")
        data = bytes.fromhex(payload[:24])
        if data[0] < 128:
            continue  # STUN, DTLS
        to_bridge = int(destination) == bridge_port
        rtcp = 64 <= data[1] & 0x7F < 96
        ssrc = int.from_bytes(data[4:8] if rtcp else data[8:12], "big")
        yield Packet(float(unix), int(source if to_bridge else destination), to_bridge, rtcp, ssrc)


@dataclass(frozen=True)
class Held:
    """A load from its first packet to its last: what each of the three counted."""

    packets: list[Packet]
    streams: Streams
    looks: list[tuple[float, float, dict[str, Any]]]  #: at the bridge's endpoints, in the quiet after the load
    queues: tuple[dict[str, Any], dict[str, Any]]  #: before and after the conferences
    mix: Mix


def held(lab: Lab, path: Path, load: IntendedLoad) -> Held:
    entry = lab.entry()
    looks: list[tuple[float, float, dict[str, Any]]] = []
    streams: list[Streams] = []
    with connect(entry) as host, captured(lab, path) as finish:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        before = client.queue_stats()
        with WorkerGenerator(entry, host) as generator:

            def edge() -> None:
                streams[:] = generator.streams()
                looks.clear()
                for _ in range(LOOKS):
                    begun, state = time.time(), client.request("GET", "/debug?full=true")
                    looks.append((begun, time.time(), state))
                    time.sleep(0.05)

            offered = generator.offer(load, 4.0, settle_seconds=1.0, edge=edge)
            assert not offered.extra["overflows"]
        time.sleep(1.0)
        after = client.queue_stats()
        packets = finish()
    assert len(streams) == 1, "of one worker"
    return Held(packets, streams[0], looks, (before, after), load.mix)


@pytest.fixture(scope="module", params=["audio", "meeting-5"])
def one(request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Held:
    mix = load_mix(request.param).mix()
    conferences = {"audio": 6, "meeting-5": 2}[request.param]
    return held(lab, tmp_path_factory.mktemp("capture") / "veth.pcapng", IntendedLoad(conferences, mix))


def of_media(one: Held, *, to_bridge: bool) -> Counter[tuple[int, int]]:
    """(port, SSRC) -> packets until the generator's counts were read."""
    until = one.streams.until_ns / 1e9
    found = [p for p in one.packets if p.to_bridge == to_bridge and not p.rtcp and p.unix <= until]
    return Counter((packet.port, packet.ssrc) for packet in found)


def test_what_was_sent_is_on_the_wire_stream_by_stream(one: Held) -> None:
    ports = {name: counts.port for name, counts in one.streams.endpoints.items()}
    sent = {(ports[stream.endpoint], stream.ssrc): stream.packets for stream in one.streams.sent}
    assert len(sent) >= one.mix.senders
    assert of_media(one, to_bridge=True) == sent


def test_what_was_received_is_on_the_wire_stream_by_stream(one: Held) -> None:
    ports = {name: counts.port for name, counts in one.streams.endpoints.items()}
    wire = of_media(one, to_bridge=False)
    if one.mix.meeting:
        received = {(ports[stream.endpoint], stream.ssrc): stream.packets for stream in one.streams.received}
    else:  # its receivers only count: each stream has to be there as often as it was sent
        sent = {stream.ssrc: stream.packets for stream in one.streams.sent}
        received = {(port, ssrc): sent[ssrc] for port, ssrc in wire}
        assert len(received) == len(sent) * (one.mix.participants - 1)
    assert wire == received
    by_port = Counter[int]()
    for (port, _), packets in wire.items():
        by_port[port] += packets
    assert by_port == {counts.port: counts.media_received for counts in one.streams.endpoints.values()}


def test_rtcp_is_on_the_wire_too(one: Held) -> None:
    if not one.mix.meeting:
        pytest.skip("endpoints of audio send no RTCP, and do not count it")
    until = one.streams.until_ns / 1e9
    wire = Counter((p.port, p.to_bridge) for p in one.packets if p.rtcp and p.unix <= until)
    counted = Counter[tuple[int, bool]]()
    for counts in one.streams.endpoints.values():
        counted[counts.port, True] = counts.rtcp_sent
        counted[counts.port, False] = counts.rtcp_received
    assert wire == counted


def test_the_bridge_counts_the_same_at_each_endpoint(one: Held) -> None:
    """Where no RTCP passed while it was looked at: then the count is that of the capture until then."""
    compared = Counter[bool]()
    for name, counts in one.streams.endpoints.items():
        for to_bridge, key in ((True, "packets_received"), (False, "packets_sent")):
            times = sorted(p.unix for p in one.packets if p.port == counts.port and p.to_bridge == to_bridge)
            for begun, ended, state in one.looks:
                least = sum(time <= begun - IN_BRIDGE_SECONDS for time in times)
                if least == sum(time <= ended for time in times):
                    [found] = [c["endpoints"][name] for c in state["conferences"].values() if name in c["endpoints"]]
                    assert found[key] == least, (name, key)
                    compared[to_bridge] += 1
                    break
    assert compared == dict.fromkeys((True, False), len(one.streams.endpoints))


def test_the_bridges_queues_count_the_same_in_all(one: Held) -> None:
    """From before the first conference to after the last, RTCP included."""
    counted = bridge_counts(*one.queues, seconds=1)
    wire = Counter(packet.to_bridge for packet in one.packets)
    assert (counted.in_pps, counted.out_pps) == (wire[True], wire[False])
    assert counted.dropped_packets == 0
