"""A meeting's client: an endpoint with a microphone, a camera, a bridge channel, and the RTCP that a browser sends."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

from pylibsrtp import Error as SrtpError

from jvbtune.errors import LoadError
from jvbtune.load import rtcp
from jvbtune.load.channel import Channel, receiver_constraints
from jvbtune.load.endpoint import Endpoint
from jvbtune.load.feedback import Arrivals, Bandwidth, Reports
from jvbtune.load.media.av1 import Av1Stream
from jvbtune.load.media.frame import Frame
from jvbtune.load.media.rtp import MID_ID, extension
from jvbtune.load.media.speech import Floor, Speech
from jvbtune.load.media.svc import SvcStream
from jvbtune.load.media.video import VideoStream
from jvbtune.load.media.vp8 import Vp8Layer
from jvbtune.load.media.vp9 import Vp9Stream
from jvbtune.load.sending import UNNUMBERED, Port, Sends
from jvbtune.load.sockets import SAMPLE_EVERY
from jvbtune.protocol import worker as messages

#: libwebrtc's pacer sends at 2.5 times the target rate (goog_cc_network_control.cc, kDefaultPaceMultiplier), and lets
#: what it would send in 40 ms leave at once (pacing_controller.h, kDefaultBurstInterval): a frame, but for key frames.
#: Not modelled: with feedback, newer ones pace at 1.1 times the bandwidth estimate instead.
PACING_FACTOR = 2.5
BURST_SECONDS = 0.04
#: libwebrtc, EncoderRtcpFeedback.
MIN_KEY_FRAME_SECONDS = 0.3
CHANNEL_INTERVAL_SECONDS = 0.1
SVC = {"vp9": Vp9Stream, "av1": Av1Stream}
DOMINANT_SPEAKER = "DominantSpeakerEndpointChangeEvent"
#: Of a bridge that rewrites SSRCs (jitsi-videobridge, BridgeChannelMessage.kt).
SOURCE_MAPS = ("AudioSourcesMap", "VideoSourcesMap")


class Pacer:
    """When each packet leaves: in order, at once while what is owed is less than a burst."""

    def __init__(self) -> None:
        self._paid = 0.0  #: when nothing is owed any more, in seconds of the stream's clock

    def parts(self, seconds: float, frame: Frame, bytes_per_second: float) -> list[tuple[float, Frame]]:
        """Of the next frame, which was made at ``seconds``; these never go back. What leaves at once is together."""
        owed = max(seconds, self._paid)
        before_last = owed + sum(frame.sizes[:-1]) / bytes_per_second
        if before_last - BURST_SECONDS <= seconds:
            self._paid = before_last + frame.sizes[-1] / bytes_per_second
            return [(0.0, frame)]
        leaves, at_once = [], 0
        for at, size in enumerate(frame.sizes):
            delay = owed - BURST_SECONDS - seconds
            if delay <= 0:
                at_once = at + 1
            else:
                leaves.append((delay, at))
            owed += size / bytes_per_second
        self._paid = owed
        first = [(0.0, frame.part(0, at_once))] if at_once else []
        return first + [(delay, frame.part(at, at + 1)) for delay, at in leaves]


def _streams(asked: messages.Camera) -> list[VideoStream]:
    """By SSRC, lowest layer first."""
    layers, fps = asked.layers, asked.frames_per_second
    if asked.codec in SVC:
        return [
            SVC[asked.codec](
                layers[0].ssrc,
                layers[0].rtx_ssrc,
                heights=[layer.height for layer in layers],
                bits_per_second=[layer.bits_per_second for layer in layers],
                frames_per_second=fps,
                seed=asked.seed,
            )
        ]
    return [
        Vp8Layer(
            layer.ssrc,
            layer.rtx_ssrc,
            height=layer.height,
            bits_per_second=layer.bits_per_second,
            frames_per_second=fps,
            seed=asked.seed + number,
        )
        for number, layer in enumerate(layers)
    ]


class Camera:
    """A source of layers, each under its SSRC or all under one; those that no bridge wants stop, as in a browser.

    WebRTC's encoder makes a key frame of all layers at once, whichever was asked for, at most every 300 ms; a JVB waits
    for such a group of key frames before it switches layers.
    """

    def __init__(self, asked: messages.Camera) -> None:
        self.name, self.frames_per_second, self.desktop = asked.name, asked.frames_per_second, asked.desktop
        self._heights = [layer.height for layer in asked.layers]
        self._rates = [layer.bits_per_second for layer in asked.layers]
        self.layers = _streams(asked)
        self.active = [True] * len(asked.layers)
        self._key_wanted, self._last_key_seconds = True, -MIN_KEY_FRAME_SECONDS
        self._pacer = Pacer()
        self.pacing = 0  #: packets that wait for their time in the pacer
        self.constrain(asked.max_height)

    def request_key_frame(self) -> None:
        """With the next frame that may be one."""
        self._key_wanted = True

    def constrain(self, max_height: int) -> None:
        """``SenderSourceConstraints``: -1 is no limit, 0 no video; the lowest layer is within any other."""
        for number in range(len(self.active)):
            wanted = max_height < 0 or self._heights[number] <= max_height or (number == 0 and max_height > 0)
            self._key_wanted |= wanted and not self.active[number]
            self.active[number] = wanted
        stream = self.layers[0]
        if isinstance(stream, SvcStream) and self.active[0] and stream.send_layers(sum(self.active)):
            self._key_wanted = True
        self._sending = [layer for layer, on in zip(self.layers, self.active, strict=False) if on]
        self._pace = PACING_FACTOR * self._bits_per_second() / 8

    def layer_of(self, ssrc: int) -> VideoStream | None:
        return next((layer for layer in self.layers if layer.ssrc == ssrc), None)

    def sending(self) -> list[VideoStream]:
        """The streams of the layers that are wanted: of a scalable codec there is one, which is of the lowest too."""
        return self._sending

    def _bits_per_second(self) -> float:
        wanted = [rate for rate, on in zip(self._rates, self.active, strict=True) if on]
        return sum(wanted) if len(self.layers) == len(self.active) else max(wanted, default=0.0)

    def frame(self, seconds: float) -> list[tuple[float, Frame]]:
        """All active layers' frames, in parts, each with its delay in the pacer, in seconds."""
        if self._key_wanted and seconds >= self._last_key_seconds + MIN_KEY_FRAME_SECONDS:
            self._key_wanted, self._last_key_seconds = False, seconds
            for layer in self.layers:
                layer.request_key_frame()
        parts = []
        for layer in self._sending:
            for frame in layer.picture(seconds):
                parts += self._pacer.parts(seconds, frame, self._pace)
        return parts


class Client(Endpoint):
    """States: those of an endpoint, with ``joining``, until its channel is open, before ``connected``."""

    abs_send_time = True  #: of video
    rtx = True  #: for what is asked for again

    def __init__(self, name: str, bind_address: str | None, remote_address: tuple[str, int]) -> None:
        super().__init__(name, bind_address, remote_address, headers=True)
        self.channel: Channel | None = None
        self.cameras: list[Camera] = []
        self.microphones: list[Speech] = []
        self.receives = 0  #: how many hear a microphone of it
        self.transport_sequence = 0
        self.arrivals: Arrivals | None = None
        self.bandwidth: Bandwidth | None = None
        self.reports: Reports | None = None
        self.counts: dict[str, int] = dict.fromkeys(
            ("feedback_sent", "feedback_received", "key_requests", "nacks_sent", "nacks_received", "retransmitted",
             "channel_messages", "rtcp_sent", "rtcp_received", "rtx_sent", "relayed_in", "relayed_out",
             "mids_checked", "mids_wrong", "remb_sent", "remb_received"), 0,
        )  # fmt: skip
        self.sent: dict[int, int] = {}  #: by SSRC
        self._port: Port | None = None
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

    def take_part(self, asked: messages.Participant, floors: dict[int, Floor]) -> None:
        """Its role; ``floors`` by their seeds, so that all of a conference share one."""
        self._transport_cc, self._view, self._watched = asked.transport_cc, asked.view, list(asked.cameras)
        self.receives, self._nack_ratio = asked.receives, asked.nack_ratio
        self._speak_and_film(
            [asked.microphone] if asked.microphone is not None else [],
            [asked.camera] if asked.camera is not None else [],
            floors,
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
        floors: dict[int, Floor],
    ) -> None:
        for mike in microphones:
            floor = floors.setdefault(mike.floor_seed, Floor(mike.floor_seed, mike.speakers))
            self.microphones.append(
                Speech(
                    mike.ssrc,
                    number=mike.number,
                    floor=floor,
                    stream_pps=mike.stream_pps,
                    payload_bytes=mike.payload_bytes,
                    dtx=mike.dtx,
                    redundant=mike.red,
                )
            )
        self.cameras += [Camera(camera) for camera in cameras]

    def _say(self, message: dict[str, Any]) -> None:
        """To the bridge, where there is a channel."""
        if self.channel is not None:
            self.channel.send(message)

    def camera_of(self, ssrc: int) -> Camera | None:
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

    def hand_over(self, outbox: Sends, frame: Frame) -> None:
        """To be sent; its packets are numbered."""
        if self._port is None:
            assert self.outbound is not None
            self._port = outbox.port(self.socket, self.outbound, abs_send_time=self.abs_send_time)
        number = UNNUMBERED
        if self._transport_cc:
            number = self.transport_sequence
            self.transport_sequence += len(frame.sizes)
        outbox.add(self._port, frame, number)

    def took(self, ssrc: int, packets: int) -> None:
        """What the kernel took of a frame that was handed over."""
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

    def service(self, now: float, wall_ns: int) -> list[Frame]:
        """What is due of ICE, channel and RTCP; the retransmissions that were asked for."""
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
        super().close()
