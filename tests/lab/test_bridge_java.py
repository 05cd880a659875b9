"""The lab's bridge as a process: its interfaces' names and semantics, and audio through it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jvbtune.load.colibri import LocalTransport, Sources, endpoint_json, parse_answer
from jvbtune.load.dtls import identity
from jvbtune.load.endpoint import Endpoint
from jvbtune.load.media import OpusSource
from tests.lab.bridge_process import Bridge

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not shutil.which("java"), reason="needs a JDK"),
    pytest.mark.skipif(not shutil.which("mvn"), reason="needs Maven"),
]
CONFERENCES = "/colibri/v2/conferences/"


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    running = Bridge(tmp_path_factory.mktemp("bridge"))
    yield running
    running.stop()


class Call:
    """A conference with connected participants."""

    def __init__(self, bridge: Bridge, meeting: str, signalled: list[list[int]]) -> None:
        self.bridge, self.meeting = bridge, meeting
        self.endpoints: list[Endpoint] = []
        for index, ssrcs in enumerate(signalled):
            endpoint = Endpoint(f"{index:08x}", bridge.address, (bridge.address, bridge.media_port))
            self.endpoints.append(endpoint)
            transport = LocalTransport(
                endpoint.ufrag, endpoint.password, *endpoint.address, fingerprint=identity().fingerprint
            )
            body: dict[str, Any] = {
                "endpoints": [endpoint_json(endpoint.name, transport, Sources(audio=ssrcs[0] if ssrcs else None))]
            }
            if index == 0:
                body |= {"create": True, "meeting-id": meeting, "name": f"{meeting}@muc.invalid"}
            path = CONFERENCES + ("" if index == 0 else meeting)
            status, answer = bridge.call("POST" if index == 0 else "PATCH", path, body)
            assert status == 200, answer
            endpoint.connect(parse_answer(json.loads(answer)).remote, 20)
        self.pump(20, until=lambda: all(e.state == "connected" for e in self.endpoints))
        self.pump(0.5)  # the bridge sets its keys a moment after its last message of the handshake
        assert [e.state for e in self.endpoints] == ["connected"] * len(signalled), [e.why for e in self.endpoints]

    def pump(self, seconds: float, until: Any = lambda: False) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not until():
            for endpoint in self.endpoints:
                endpoint.read()
                endpoint.tick(time.monotonic())
            time.sleep(0.002)

    def send(self, sources: list[tuple[int, OpusSource]], packets: int) -> None:
        for _ in range(packets):
            for index, source in sources:
                outbound = self.endpoints[index].outbound
                assert outbound is not None
                self.endpoints[index].socket.send(outbound.protect(source.packet(time.time_ns())))
            self.pump(0.01)

    def close(self) -> None:
        for endpoint in self.endpoints:
            endpoint.close()
        assert self.bridge.status("PATCH", CONFERENCES + self.meeting, {"expire": True}) == 200


def opus(ssrc: int, level_dbov: int = 20) -> OpusSource:
    return OpusSource(ssrc, stream_pps=50, payload_bytes=80, level_dbov=level_dbov)


def test_forwards_each_packet_to_every_other_endpoint_and_counts_it(bridge: Bridge) -> None:
    before = bridge.json("/debug/stats/jvb/queue-stats")
    call = Call(bridge, "forwards", [[1001], [], []])
    call.send([(0, opus(1001))], 100)
    call.pump(5, until=lambda: all(endpoint.received_packets() >= 100 for endpoint in call.endpoints[1:]))
    call.pump(1.0)
    assert [endpoint.received_packets() for endpoint in call.endpoints[1:]] == [100, 100]
    assert call.endpoints[0].received_packets() == 0  # RTCP is not of these; nobody hears himself
    after = bridge.json("/debug/stats/jvb/queue-stats")

    def gained(queue: str) -> int:
        return int(after[queue].get("removed_packets", 0) - before[queue].get("removed_packets", 0))

    assert gained("rtp_receiver_queue") == 100
    assert 200 <= gained("srtp_send_queue") <= 210  # the receiver reports to the one sender, two a second
    assert after["srtp_send_queue"]["dropped_packets"] == 0
    buckets = bridge.json("/debug/stats/jvb/transit-stats")["e2e_packet_delay"]["rtp"]["buckets"]
    assert buckets["0_to_max_ms"] >= 200
    assert {"5_to_max_ms", "50_to_max_ms", "500_to_max_ms"} < set(buckets)
    assert bridge.json("/metrics")["packets_received_total"] == 0, "totals move when endpoints expire"
    call.close()
    assert bridge.json("/metrics")["packets_received_total"] == 100


def test_routes_only_what_was_signalled(bridge: Bridge) -> None:
    call = Call(bridge, "signalled", [[2001], []])
    call.send([(0, opus(2999))], 20)
    call.pump(0.3)
    assert call.endpoints[1].received_packets() == 0
    call.send([(0, opus(2001))], 20)
    call.pump(3, until=lambda: call.endpoints[1].received_packets() >= 20)
    assert call.endpoints[1].received_packets() == 20
    call.close()


def test_discards_silence_after_three_packets(bridge: Bridge) -> None:
    call = Call(bridge, "silence", [[3001], []])
    call.send([(0, opus(3001, level_dbov=127))], 20)
    call.pump(3, until=lambda: call.endpoints[1].received_packets() >= 4)
    call.pump(0.3)
    assert call.endpoints[1].received_packets() == 4  # JVB forwards while the count is not over its limit of 3
    call.close()


def test_refuses_what_the_real_bridge_refuses(bridge: Bridge) -> None:
    transport = LocalTransport("u", "p", bridge.address, 9, identity().fingerprint)
    first, second = (endpoint_json(name, transport, Sources()) for name in ("aaaaaaaa", "bbbbbbbb"))
    creating = {"create": True, "meeting-id": "refused", "name": "refused@muc.invalid"}
    assert bridge.status("POST", CONFERENCES, creating | {"endpoints": [first, second]}) == 400
    no_names = first | {"capabilities": []}
    assert bridge.status("POST", CONFERENCES, creating | {"meeting-id": "x", "endpoints": [no_names]}) == 400
    assert bridge.status("PATCH", CONFERENCES + "nowhere", {"endpoints": [first]}) == 404
    assert bridge.status("POST", CONFERENCES, creating | {"meeting-id": "once", "endpoints": [first]}) == 200
    assert bridge.status("POST", CONFERENCES, creating | {"meeting-id": "once", "endpoints": [first]}) == 400
    assert bridge.status("PATCH", CONFERENCES + "once", {"endpoints": [first]}) == 400, "the id is taken"
    assert bridge.status("PATCH", CONFERENCES + "once", {"expire": True}) == 200


def test_drains_and_takes_conferences_all_the_same(bridge: Bridge) -> None:
    assert bridge.json("/colibri/drain") == {"drain": False}
    assert bridge.status("POST", "/colibri/drain/enable") == 200
    assert bridge.json("/colibri/drain") == {"drain": True}
    assert bridge.json("/colibri/stats")["drain"] is True
    Call(bridge, "drained", [[]]).close()
    assert bridge.status("POST", "/colibri/drain/disable") == 200


def test_metrics_come_in_three_formats(bridge: Bridge) -> None:
    assert '"incoming_packet_rate":' in bridge.call("GET", "/metrics")[1]
    assert "jitsi_jvb_incoming_packet_rate " in bridge.call("GET", "/metrics", accept="text/plain")[1]
    assert bridge.call("GET", "/metrics", accept="application/openmetrics-text")[1].endswith("# EOF\n")


def test_loudest_only_routing_cuts_all_but_three(tmp_path: Path) -> None:
    bridge = Bridge(tmp_path, "videobridge.loudest.route-loudest-only = true")
    try:
        call = Call(bridge, "loudest", [[4001], [4002], [4003], [4004], [4005], []])
        call.send([(index, opus(4001 + index, level_dbov=10 + 10 * index)) for index in range(5)], 60)
        call.pump(0.5)
        received = call.endpoints[5].received_packets()
        assert 150 <= received <= 240, "three of five loud streams of 60 packets, and the first ones"
        call.close()
    finally:
        bridge.stop()


def test_rest_is_off_by_default_and_sigterm_ends_it(tmp_path: Path) -> None:
    settings = "ice4j.harvest.udp.receive-buffer-size = 65536\nvideobridge.initial-drain-mode = true"
    bridge = Bridge(tmp_path, settings, rest=False)
    assert bridge.status("GET", "/colibri/stats") == 404
    assert bridge.status("POST", CONFERENCES, {}) == 404
    assert bridge.json("/metrics")["drain_mode"] is True
    assert "(asked for 65536)" in bridge.log.read_text()
    started = time.monotonic()
    assert bridge.stop() == 143
    assert time.monotonic() - started < 5
