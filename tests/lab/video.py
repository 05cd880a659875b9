"""Participants of a call with video, made by hand: VP8 of three simulcast layers, feedback, and the bridge channel."""

from __future__ import annotations

import json
import socket
import struct
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from pylibsrtp import Error as SrtpError
from pylibsrtp import Session
from websockets.sync.client import ClientConnection, connect

from jvbtune.load import stun
from jvbtune.load.colibri import LocalTransport, Sources, endpoint_json, parse_answer
from jvbtune.load.dtls import identity
from jvbtune.load.endpoint import Endpoint
from tests.lab.bridge_process import Bridge

SO_DETACH_FILTER = 27
CONFERENCES = "/colibri/v2/conferences/"
VP8, RTX = 100, 96
TRANSPORT_CC = 5
HEIGHTS = (180, 360, 720)
MIN_PAYLOAD_BYTES = 18
TRANSPORT_CC_URI = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
ABS_SEND_TIME_URI = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
VIDEO = {
    "type": "video",
    "payload-types": [
        {
            "name": "VP8",
            "id": str(VP8),
            "clockrate": "90000",
            "parameters": {},
            "rtcp-fbs": [
                {"type": "ccm", "subtype": "fir"},
                {"type": "nack"},
                {"type": "nack", "subtype": "pli"},
                {"type": "transport-cc"},
            ],
        },
        {"name": "rtx", "id": str(RTX), "clockrate": "90000", "parameters": {"apt": str(VP8)}, "rtcp-fbs": []},
    ],
    "rtp-hdrexts": [{"uri": ABS_SEND_TIME_URI, "id": 3}, {"uri": TRANSPORT_CC_URI, "id": TRANSPORT_CC}],
    "extmap-allow-mixed": True,
}


@dataclass(frozen=True)
class Received:
    """A VP8 packet as a receiver gets it."""

    ssrc: int
    sequence: int
    timestamp: int
    marker: bool
    payload_type: int
    transport_sequence: int | None
    picture: int
    tl0: int
    temporal: int
    start: bool
    key: bool
    layer: int  #: written by the sender behind the payload descriptor
    payload: bytes


def parse(packet: bytes) -> Received:
    first, second, sequence, timestamp, ssrc = struct.unpack_from("!BBHII", packet)
    at, transport = 12, None
    if first & 0x10:
        profile, words = struct.unpack_from("!HH", packet, at)
        assert profile == 0xBEDE
        element, at = at + 4, at + 4 + 4 * words
        while element < at:
            if packet[element] == 0:
                element += 1
                continue
            if packet[element] >> 4 == TRANSPORT_CC:
                (transport,) = struct.unpack_from("!H", packet, element + 1)
            element += (packet[element] & 0x0F) + 2
    payload = packet[at:]
    if first & 0x20:
        payload = payload[: len(payload) - payload[-1]] if payload else payload
    vp8 = payload[2:] if second & 0x7F == RTX else payload
    if len(vp8) < MIN_PAYLOAD_BYTES:
        vp8 = bytes(MIN_PAYLOAD_BYTES)  # padding, with which the real bridge probes for bandwidth
    picture, tl0, temporal = struct.unpack_from("!HBB", vp8, 2)
    return Received(
        ssrc, sequence, timestamp, bool(second & 0x80), second & 0x7F, transport,
        picture & 0x7FFF, tl0, temporal >> 6, bool(vp8[0] & 0x10), not vp8[6] & 1, vp8[16], payload,
    )  # fmt: skip


@dataclass
class Layer:
    """One simulcast layer of a camera: two packets a frame, temporal layers 0, 2, 1, 2."""

    index: int
    ssrc: int
    sequence: int
    picture: int
    tl0: int = 0
    frames: int = 0
    sent: dict[int, int] = field(default_factory=dict)  #: transport-wide sequence number -> sequence number

    def frame(self, key: bool, transport: int, payload_bytes: int = 200) -> list[bytes]:
        temporal = 0 if key else (0, 2, 1, 2)[self.frames % 4]
        self.frames = 1 if key else self.frames + 1
        self.picture = (self.picture + 1) & 0x7FFF
        self.tl0 = (self.tl0 + (temporal == 0)) & 0xFF
        packets = []
        for number in range(2):
            self.sequence = (self.sequence + 1) & 0xFFFF
            timestamp = (self.picture * 3000) & 0xFFFFFFFF
            header = struct.pack("!BBHII", 0x90, VP8 | (0x80 if number else 0), self.sequence, timestamp, self.ssrc)
            extension = struct.pack("!HHBHx", 0xBEDE, 1, TRANSPORT_CC << 4 | 1, transport + number)
            descriptor = struct.pack(
                "!BBHBB", 0x80 | (0 if number else 0x10), 0xE0, 0x8000 | self.picture, self.tl0, temporal << 6
            )
            height = HEIGHTS[self.index]
            tag = bytes([0 if key else 1, 0, 0, 0x9D, 1, 0x2A]) + struct.pack("<HH", height * 16 // 9, height)
            body = descriptor + tag + bytes([self.index, number])
            packets.append(header + extension + body + bytes(payload_bytes - len(body)))
            self.sent[(transport + number) & 0xFFFF] = self.sequence
        return packets


class Participant(Endpoint):
    """An endpoint that keeps all RTP and RTCP that it gets, in the clear."""

    def __init__(self, name: str, bridge: Bridge) -> None:
        super().__init__(name, bridge.address, (bridge.address, bridge.media_port))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        self.rtp: list[Received] = []
        self.rtcp: list[bytes] = []
        self.layers: list[Layer] = []
        self.channel: ClientConnection | None = None
        self.messages: list[dict[str, Any]] = []
        self.url = ""
        self.transport = 0
        self._clear: Session | None = None
        self._channels = ExitStack()

    @property
    def source(self) -> str:
        return f"{self.name}-v0"

    def read(self) -> None:
        while True:
            try:
                data = self.socket.recv(2048)
            except BlockingIOError:
                break
            if data[0] < 128:
                (self._on_stun if stun.is_stun(data) else self._on_dtls)(data)
                continue
            if self._clear is None:
                assert self.inbound is not None
                self._clear = self.inbound
            try:
                if 64 <= data[1] & 0x7F < 96:
                    self.rtcp.append(self._clear.unprotect_rtcp(data))
                else:
                    self.rtp.append(parse(self._clear.unprotect(data)))
            except SrtpError as error:
                raise AssertionError(f"a packet that cannot be decrypted: {error}") from error
        while self.channel is not None:
            try:
                self.messages.append(json.loads(self.channel.recv(timeout=0)))
            except TimeoutError:
                break

    def signal(self, ssrcs: list[int]) -> dict[str, Any]:
        """What COLIBRI is told of this endpoint; ``ssrcs``: of the layers, empty for one who only looks on."""
        transport = LocalTransport(self.ufrag, self.password, *self.address, fingerprint=identity().fingerprint)
        body = endpoint_json(self.name, transport, Sources())
        body["medias"] = [*body["medias"], VIDEO]
        body["sources"] = []
        if ssrcs:
            rtx = [ssrc + 100 for ssrc in ssrcs]
            groups = [{"semantics": "SIM", "sources": ssrcs}]
            groups += [{"semantics": "FID", "sources": list(pair)} for pair in zip(ssrcs, rtx, strict=True)]
            named = [{"ssrc": ssrc, "name": self.source} for ssrc in ssrcs + rtx]
            body["sources"] = [{"type": "video", "id": self.source, "sources": named, "ssrc-groups": groups}]
            self.layers = [Layer(i, ssrc, 60000 + 1000 * i, 32000 + 100 * i) for i, ssrc in enumerate(ssrcs)]
        return body

    def open_channel(self) -> None:
        self.channel = self._channels.enter_context(connect(self.url, open_timeout=5))

    def ask(self, **constraints: Any) -> None:
        assert self.channel is not None
        self.channel.send(json.dumps({"colibriClass": "ReceiverVideoConstraints", **constraints}))

    def got(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["colibriClass"] == kind]

    def send_rtcp(self, packet: bytes) -> None:
        assert self.outbound is not None
        self.socket.send(self.outbound.protect_rtcp(packet))

    def feedback(self, kind: int, form: int) -> list[bytes]:
        """The RTCP packets of a type and a format, each without the others of its compound."""
        found = []
        for compound in self.rtcp:
            at = 0
            while at + 4 <= len(compound):
                end = at + 4 * (int.from_bytes(compound[at + 2 : at + 4], "big") + 1)
                if compound[at + 1] == kind and compound[at] & 0x1F == form:
                    found.append(compound[at:end])
                at = end
        return found

    def close(self) -> None:
        self._channels.close()
        super().close()


class Meeting:
    """A conference with connected participants; the first one sends video."""

    def __init__(self, bridge: Bridge, meeting: str, participants: int, base_ssrc: int) -> None:
        self.bridge, self.meeting = bridge, meeting
        self.all = [Participant(f"{base_ssrc + index:08x}", bridge) for index in range(participants)]
        self.sender, self.receivers = self.all[0], self.all[1:]
        try:
            self._connect(base_ssrc)
        except BaseException:
            self._close_participants()
            raise

    def _connect(self, base_ssrc: int) -> None:
        for index, participant in enumerate(self.all):
            signalled = participant.signal([base_ssrc + 1, base_ssrc + 2, base_ssrc + 3] if index == 0 else [])
            body: dict[str, Any] = {"endpoints": [signalled]}
            if index == 0:
                body |= {"create": True, "meeting-id": self.meeting, "name": f"{self.meeting}@muc.invalid"}
            path = CONFERENCES + ("" if index == 0 else self.meeting)
            status, answer = self.bridge.call("POST" if index == 0 else "PATCH", path, body)
            assert status == 200, answer
            parsed = json.loads(answer)
            (participant.url,) = parsed["endpoints"][0]["transport"]["transport"]["web-sockets"]
            participant.connect(parse_answer(parsed).remote, 20)
        self.pump(20, lambda: all(p.state == "connected" for p in self.all))
        assert [p.state for p in self.all] == ["connected"] * len(self.all), [p.why for p in self.all]

    def pump(self, seconds: float, until: Any = lambda: False) -> bool:
        """Read for so long, or until the condition holds; whether it does."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for participant in self.all:
                participant.read()
                participant.tick(time.monotonic())
            if until():
                return True
            time.sleep(0.002)
        return bool(until())

    def send(self, frames: int, until: Any = lambda: False) -> int:
        """Frames of all layers, 50 a second; key frames of all layers whenever a PLI comes. How many were sent."""
        asked = len(self.sender.feedback(206, 1))
        assert self.sender.outbound is not None
        for number in range(frames):
            wanted = len(self.sender.feedback(206, 1))
            key, asked = wanted > asked, wanted
            for layer in self.sender.layers:
                for packet in layer.frame(key, self.sender.transport):
                    self.sender.socket.send(self.sender.outbound.protect(packet))
                self.sender.transport = (self.sender.transport + 2) & 0xFFFF
            self.pump(0.02)
            if until():
                return number + 1
        return frames

    def _close_participants(self) -> None:
        for participant in self.all:
            participant.close()

    def close(self) -> None:
        self._close_participants()
        assert self.bridge.status("PATCH", CONFERENCES + self.meeting, {"expire": True}) == 200
