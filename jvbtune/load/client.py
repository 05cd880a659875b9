"""A meeting's client: an endpoint with a microphone, a camera, a bridge channel, and the RTCP that a browser sends."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any, Protocol

from pylibsrtp import Error as SrtpError

from jvbtune.errors import LoadError
from jvbtune.load import rtcp
from jvbtune.load.camera import Reported, Source
from jvbtune.load.channel import Channel, receiver_constraints
from jvbtune.load.endpoint import Endpoint
from jvbtune.load.feedback import Arrivals, Bandwidth, Reports
from jvbtune.load.media.frame import Frame
from jvbtune.load.media.rtp import MID_ID, extension
from jvbtune.load.media.speech import Floor
from jvbtune.load.sending import Port, Sends
from jvbtune.load.sockets import SAMPLE_EVERY
from jvbtune.protocol import worker as messages

CHANNEL_INTERVAL_SECONDS = 0.1
DOMINANT_SPEAKER = "DominantSpeakerEndpointChangeEvent"
#: Of a bridge that rewrites SSRCs (jitsi-videobridge, BridgeChannelMessage.kt).
SOURCE_MAPS = ("AudioSourcesMap", "VideoSourcesMap")


class Microphone(Reported, Protocol):
    """``media.speech.Speech``, or one that C sends. See there."""

    step_seconds: float


class Studio(Protocol):
    """What makes the streams of clients, and sends them: ``calendar.Calendar``."""

    sends: Sends

    def floor(self, seed: int, speakers: int) -> Floor:
        """By its seed, so that all of a conference share one."""

    def microphone(self, asked: messages.Microphone) -> Microphone: ...

    def camera(self, asked: messages.Camera) -> Source: ...


class Client(Endpoint):
    """States: those of an endpoint, with ``joining``, until its channel is open, before ``connected``."""

    abs_send_time = True  #: of video
    rtx = True  #: for what is asked for again

    def __init__(self, name: str, bind_address: str | None, remote_address: tuple[str, int]) -> None:
        super().__init__(name, bind_address, remote_address, headers=True)
        self.channel: Channel | None = None
        self.cameras: list[Source] = []
        self.microphones: list[Microphone] = []
        self.receives = 0  #: how many hear a microphone of it
        self.arrivals: Arrivals | None = None
        self.bandwidth: Bandwidth | None = None
        self.reports: Reports | None = None
        self.counts: dict[str, int] = dict.fromkeys(
            ("feedback_sent", "feedback_received", "key_requests", "nacks_sent", "nacks_received", "retransmitted",
             "channel_messages", "rtcp_sent", "rtcp_received", "rtx_sent", "relayed_in", "relayed_out",
             "mids_checked", "mids_wrong", "remb_sent", "remb_received"), 0,
        )  # fmt: skip
        self.sent: dict[int, int] = {}  #: by SSRC
        self.port: Port | None = None  #: since it takes part
        self.forwarded: list[str] = []
        self.mapped: dict[int, str] = {}  #: SSRCs under which the bridge sends, and the sources that they are of
        self.mids: dict[int, str] = {}  #: likewise, and the mids with which it marks them
        self._transport_cc = False
        self._view: messages.View | None = None
        self._watched: list[str] = []
        self._stage = ""
        self._next_channel = 0.0
        self._random = random.Random(name)
        self._nack_ratio = 0.0
        self._resend: list[Frame] = []

    # -- joining ------------------------------------------------------------------------------------------------

    def _secured(self) -> None:
        assert self._remote is not None
        at = self._remote.channel
        if at is None:
            self.state = "connected"
            return
        try:
            self.channel = Channel(at.url, (at.address, at.port))
        except LoadError as error:
            self._fail(error.message)
            return
        self.state = "joining"

    def tick(self, now: float) -> None:
        super().tick(now)
        if self.channel is None or now < self._next_channel or self.state == "failed":
            return
        self._next_channel = now + CHANNEL_INTERVAL_SECONDS
        for message in self.channel.tick(now):
            self._on_message(message)
        if self.channel.failed is not None:
            if self.state == "joining":
                self._fail(f"channel: {self.channel.failed}")
        elif self.state == "joining" and self.channel.open:
            self.channel.send({"colibriClass": "ClientHello"})
            self.state = "connected"

    def take_part(self, asked: messages.Participant, studio: Studio) -> None:
        """Its role."""
        self._transport_cc, self._view, self._watched = asked.transport_cc, asked.view, list(asked.cameras)
        self.receives, self._nack_ratio = asked.receives, asked.nack_ratio
        self._speak_and_film(
            [asked.microphone] if asked.microphone is not None else [],
            [asked.camera] if asked.camera is not None else [],
            studio,
        )
        for camera in self.cameras if self.channel is not None else ():
            if camera.desktop:
                self._say({"colibriClass": "SourceVideoTypeMessage", "sourceName": camera.name, "videoType": "desktop"})
        first = [*(mike.ssrc for mike in self.microphones), *(camera.layers[0].ssrc for camera in self.cameras), 1]
        own = first[0]
        self.arrivals = Arrivals(own) if asked.transport_cc else None
        self.bandwidth = Bandwidth(own) if asked.remb else None
        self.reports = Reports(own, self.name, self._reported) if asked.rtcp else None
        self._stage = self._watched[0] if self._watched else ""
        self._ask_for_video()

    def _speak_and_film(
        self,
        microphones: Sequence[messages.Microphone],
        cameras: Sequence[messages.Camera],
        studio: Studio,
    ) -> None:
        self.microphones += [studio.microphone(mike) for mike in microphones]
        self.cameras += [studio.camera(camera) for camera in cameras]
        if self.outbound is not None:
            self.port = studio.sends.port(
                self.socket, self.outbound, abs_send_time=self.abs_send_time, numbered=self._transport_cc
            )

    def _say(self, message: dict[str, Any]) -> None:
        """To the bridge, where there is a channel."""
        if self.channel is not None:
            self.channel.send(message)

    def camera_of(self, ssrc: int) -> Source | None:
        return next((camera for camera in self.cameras if camera.layer_of(ssrc) is not None), None)

    def _ask_for_video(self) -> None:
        if self._view is not None and self._watched:
            self._say(receiver_constraints(self._view, self._watched, self._stage))

    def _on_message(self, message: dict[str, Any]) -> None:
        """What the bridge says; anything that is not as it should be is left aside."""
        self.counts["channel_messages"] += 1
        kind = message["colibriClass"]
        if kind == "SenderSourceConstraints":
            height = message.get("maxHeight")
            for camera in self.cameras:
                if message.get("sourceName") == camera.name and isinstance(height, int):
                    camera.constrain(height)
        elif kind == "ForwardedSources" and isinstance(message.get("forwardedSources"), list):
            self.forwarded = [str(name) for name in message["forwardedSources"]]
        elif kind in SOURCE_MAPS and isinstance(message.get("mappedSources"), list):
            self._map(message["mappedSources"])
        elif kind == DOMINANT_SPEAKER and self._view is not None and self._view.stage_height > 0:
            speaker = f"{message.get('dominantSpeakerEndpoint')}-v0"
            if speaker in self._watched and speaker != self._stage:
                self._stage = speaker
                self._ask_for_video()

    @property
    def told(self) -> set[int]:
        """The SSRCs under which it was told to expect media."""
        return set(self.mapped) | set(self._remote.ssrcs if self._remote is not None else ())

    def _map(self, sources: Sequence[Any]) -> None:
        """An SSRC that is told again is another source's from then on."""
        for source in sources:
            if isinstance(source, dict) and isinstance(source.get("source"), str):
                ssrcs = (source.get("ssrc"), source.get("rtx"))
                self.mapped |= {ssrc: source["source"] for ssrc in ssrcs if isinstance(ssrc, int)}
                if isinstance(source.get("mid"), str):
                    self.mids |= {ssrc: source["mid"] for ssrc in ssrcs if isinstance(ssrc, int)}

    # -- sending ------------------------------------------------------------------------------------------------

    def took(self, ssrc: int, packets: int) -> None:
        """What the kernel took of a frame that was handed over."""
        if packets:
            self.sent[ssrc] = self.sent.get(ssrc, 0) + packets

    def send_rtcp(self, compound: bytes) -> None:
        assert self.outbound is not None
        self._send_all([self.outbound.protect_rtcp(compound)])
        self.counts["rtcp_sent"] += 1

    def _reported(self) -> list[tuple[int, int, int, int, float]]:
        """(SSRC, RTP timestamp, packets, octets, interval) of what it sends: video each second, audio each five."""
        streams = []
        for mike in self.microphones:
            streams.append((mike.ssrc, mike.timestamp, mike.packets, mike.octets, 5.0))
        for camera in self.cameras:
            for layer in camera.sending():
                if layer.packets:
                    streams.append((layer.ssrc, layer.timestamp, layer.packets, layer.octets, 1.0))
        return streams

    def _something_is_due(self, now: float) -> bool:
        """Asked for each client some 40 times a second, of which most find nothing."""
        if self._resend or self.bandwidth is not None or self.state != "connected":
            return True
        due = self.next_check if self.channel is None else min(self.next_check, self._next_channel)
        if self.arrivals is not None:
            due = min(due, self.arrivals.next_due)
        if self.reports is not None:
            due = min(due, self.reports.next_due)
        return now >= due

    def service(self, now: float, wall_ns: int) -> list[Frame]:
        """What is due of ICE, channel and RTCP; the retransmissions that were asked for."""
        if not self._something_is_due(now):
            return []
        self.tick(now)
        if self.outbound is None:
            return []
        if self.arrivals is not None:
            for compound in self.arrivals.due(now):
                self.send_rtcp(compound)
                self.counts["feedback_sent"] += 1
        if self.bandwidth is not None:
            for compound in self.bandwidth.due(now):
                self.send_rtcp(compound)
                self.counts["remb_sent"] += 1
        if self.reports is not None:
            for compound in self.reports.due(now, wall_ns):
                self.send_rtcp(compound)
        resend, self._resend = self._resend, []
        return resend

    # -- receiving ----------------------------------------------------------------------------------------------

    def got_media(self, packets: int) -> None:
        """So many packets have come: a relay counts them apart."""

    def on_rtcp(self, data: bytes, age_seconds: float = 0.0) -> None:
        """``age_seconds``: how long ago it arrived."""
        self.counts["rtcp_received"] += 1
        if self.inbound is None:
            return
        try:
            packets = rtcp.parse(self.inbound.unprotect_rtcp(data))
        except SrtpError:
            return
        for packet in packets:
            if isinstance(packet, rtcp.KeyFrameRequest):
                self._on_key_frame_request(packet.media_ssrcs)
            elif isinstance(packet, rtcp.TransportFeedback):
                self.counts["feedback_received"] += 1
            elif isinstance(packet, rtcp.Remb):
                self.counts["remb_received"] += 1
            elif isinstance(packet, rtcp.Nack):
                self._on_nack(packet)
            elif isinstance(packet, rtcp.SenderReport) and self.reports is not None:
                self.reports.heard(packet, time.monotonic() - age_seconds)

    def _on_key_frame_request(self, ssrcs: Sequence[int]) -> None:
        for ssrc in ssrcs:
            camera = self.camera_of(ssrc)
            if camera is not None:
                camera.request_key_frame()
                self.counts["key_requests"] += 1

    def _on_nack(self, asked: rtcp.Nack) -> None:
        self.counts["nacks_received"] += 1
        camera = self.camera_of(asked.media_ssrc)
        layer = camera.layer_of(asked.media_ssrc) if camera is not None else None
        for sequence in asked.sequences if layer is not None else ():
            assert layer is not None
            frame = layer.retransmission(sequence) if self.rtx else layer.repetition(sequence)
            if frame is not None:
                self._resend.append(frame)

    def check_mid(self, packet: bytes) -> None:
        """Of a sampled packet that came, whether it has the mid that the bridge told."""
        told = self.mids.get(int.from_bytes(packet[8:12], "big"))
        if told is not None:
            self.counts["mids_checked"] += 1
            self.counts["mids_wrong"] += extension(packet, MID_ID) != told.encode()

    def nack(self, ssrcs: Sequence[int], sequences: Sequence[int]) -> None:
        """Ask again for a share of what came, as if it had been lost. Not for what may be sampled: a bridge that
        rewrites SSRCs sends it again as it was, and its delay would be that of the question."""
        if self._nack_ratio <= 0:
            return
        share = self._nack_ratio * SAMPLE_EVERY / (SAMPLE_EVERY - 1)
        wanted: dict[int, list[int]] = {}
        for ssrc, sequence in zip(ssrcs, sequences, strict=True):
            if sequence % SAMPLE_EVERY and self._random.random() < share:
                wanted.setdefault(ssrc, []).append(sequence)
        for ssrc, missing in wanted.items():
            self.send_rtcp(rtcp.nack(1, ssrc, missing))
            self.counts["nacks_sent"] += 1

    def close(self) -> None:
        if self.channel is not None:
            self.channel.close()
        self.channel = self.reports = None  # the reports know this client: the worker collects no cycles while it sends
        super().close()
