"""The shape of a conference: who sends what, and what receivers ask the bridge for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jvbtune.load.media.codecs import CODECS
from jvbtune.load.media.red import OVERHEAD_BYTES as RED_BYTES
from jvbtune.load.media.svc import layer_rates

#: Packets of RTCP a second, by which a mix's packet rate is predicted. A JVB answers transport-cc after a frame's last
#: packet, 20 ms after the one before at the earliest (TccGeneratorNode.kt): once a frame of the camera, mostly.
FEEDBACK_PPS = 20.0  #: a client's, of what it receives (``feedback.FEEDBACK_SECONDS``)
#: Of a media packet, beside its payload: the RTP header, its extensions, the tag of SRTP with AES-GCM.
OVERHEAD_BYTES = 12 + 20 + 16
REMB_PPS = 5.0  #: likewise (``feedback.REMB_SECONDS``)
REPORTS_PPS = 1.0  #: sender and receiver reports of a client, and as many of the bridge


@dataclass(frozen=True)
class Layer:
    """One simulcast layer; of a scalable codec one spatial layer, with the bit rate of all up to it together."""

    height: int
    bitrate_kbps: float


@dataclass(frozen=True)
class Video:
    """Cameras of a conference, and what the others ask for. Heights of 0 ask for none.

    ``stage_views`` of the participants have the speaker large and the others as a strip of thumbnails, the rest a grid.
    """

    senders: int
    layers: tuple[Layer, ...]  #: lowest first
    frames_per_second: float = 30.0
    desktop: bool = False  #: a shared screen
    stage_views: int = 0
    stage_height: int = 720
    thumbnail_height: int = 180
    grid_height: int = 360
    visible: int = 25  #: tiles on a receiver's screen: jitsi-meet's TILE_VIEW_DEFAULT_NUMBER_OF_VISIBLE_TILES
    codec: str = "vp8"

    @property
    def codec_name(self) -> str:
        return CODECS[self.codec].name

    @property
    def streams(self) -> int:
        """SSRCs of a camera, RTX aside."""
        return 1 if CODECS[self.codec].svc else len(self.layers)

    def pps(self, layer: Layer) -> float:
        """Packets a second of that layer, key frames aside."""
        return CODECS[self.codec].packets_per_second(layer.bitrate_kbps * 1000, self.frames_per_second, layer.height)

    def small_height(self, participants: int, stage_views: int) -> int:
        """The highest that so many participants ask for of a camera that is not on stage."""
        grid = self.grid_height if stage_views < participants else 0
        return max(grid, self.thumbnail_height if stage_views else 0)

    def sent(self, participants: int, remote: Remote | None = None) -> list[Layer]:
        """What all cameras send together: the layers that a bridge needs of each; on stage are the one who speaks and
        the one before. Those of ``remote`` are among them."""
        return [layer for height in self.needed_heights(participants, remote) for layer in self._needed(height)]

    def needed_heights(self, participants: int, remote: Remote | None = None) -> list[int]:
        """The most that a bridge needs of each camera, those of ``remote`` last; 0: nothing."""
        cameras, stage_views = self.senders, self.stage_views
        small = self.small_height(participants, stage_views)
        if remote is not None:
            cameras, stage_views = cameras + remote.cameras, stage_views + remote.stage_views
            small = max(small, self.small_height(remote.participants, remote.stage_views))
        on_stage = 2 if stage_views and self.stage_height > 0 else 0
        return [max(small, self.stage_height) if number < on_stage else small for number in range(cameras)]

    def forwarded(self, participants: int, remote_cameras: int = 0) -> list[Layer]:
        """What the bridge sends to all its receivers together, if their bandwidth allows what they ask for."""
        return [layer for _, _, layer in self.views(participants, remote_cameras)]

    def views(self, participants: int, remote_cameras: int = 0) -> list[tuple[int, int, Layer]]:
        """(receiver, camera, layer) of all that is forwarded: the first camera of the others is on stage."""
        asked = []
        for receiver in range(participants):
            cameras = range(self.senders + remote_cameras)
            others = [camera for camera in cameras if camera != receiver or receiver >= self.senders][: self.visible]
            for place, camera in enumerate(others):
                height = self.thumbnail_height if receiver < self.stage_views else self.grid_height
                if place == 0 and receiver < self.stage_views and self.stage_height > 0:
                    height = self.stage_height
                if height > 0:
                    asked.append((receiver, camera, height))
        most: dict[int, int] = {}
        for _, camera, height in asked:
            most[camera] = max(height, most.get(camera, 0))
        return [(receiver, camera, self._seen(height, most[camera])) for receiver, camera, height in asked]

    def _needed(self, height: int) -> list[Layer]:
        """The layers that a camera sends where that height is the most that the bridge asks of it."""
        if height <= 0:
            return []
        needed = [layer for number, layer in enumerate(self.layers) if layer.height <= height or number == 0]
        if not CODECS[self.codec].svc:
            return needed
        rates = layer_rates([layer.height for layer in needed], needed[-1].bitrate_kbps * 1000)
        return [Layer(layer.height, rate / 1000) for layer, rate in zip(needed, rates, strict=True)]

    def _seen(self, height: int, most: int) -> Layer:
        """The highest layer that is no higher, of those that are sent because somebody asks for ``most``; the lowest is
        within any height. Of a scalable codec the lower ones are forwarded with it in key pictures only."""
        needed = self._needed(most)
        return [layer for number, layer in enumerate(needed) if layer.height <= height or number == 0][-1]


@dataclass(frozen=True)
class Remote:
    """Participants on a second bridge, of which the one under test knows by a relay between the two: how many, and of
    them how many have microphones, how many cameras, and how many see the speaker large."""

    participants: int
    senders: int = 1
    cameras: int = 0
    stage_views: int = 0


@dataclass(frozen=True)
class Mix:
    """The shape of a conference. Load grows by adding conferences of this shape, never by sending faster.

    Without video, in packets per second of one conference: in = senders × stream_pps; out = senders × (participants −
    1) × stream_pps: exact. With video, what the bridge forwards depends on constraints and its bandwidth estimates:
    ``packet_rate_pps`` is then a prediction. ``participants`` are those on the bridge under test.
    """

    participants: int = 5
    senders: int = 3  #: of audio
    stream_pps: float = 50.0  #: 20 ms frames, libwebrtc's default (audio_encoder_opus_config.h, kDefaultFrameSizeMs)
    payload_bytes: int = 80  #: 32 kbit/s, libwebrtc's default of mono (audio_encoder_opus.cc, kOpusBitrateFbBps)
    burst_packets: int = 1  #: > 1: all senders send that many packets back to back, aligned, at the same mean rate
    name: str = ""
    dtx: bool = False
    red: bool = False  #: of a meeting: each packet of audio has the one before it too
    video: Video | None = None
    transport_cc: bool = True  #: of a meeting: transport-wide feedback both ways
    remb: bool = False  #: of a meeting without transport-cc: both ways, what bandwidth is estimated
    rtcp: bool = True  #: of a meeting: sender and receiver reports
    ssrc_rewriting: bool = True  #: of a meeting: the bridge sends under SSRCs of its own, as Jitsi Meet asks since 2024
    mid_demux: bool = False  #: of a meeting: the bridge marks what it sends with the mid of its source's slot
    nack_ratio: float = 0.0  #: of a meeting: of the video packets, these are asked for again as if they were lost
    joins_per_second: float = 0.0  #: how fast endpoints join when load is added, whole conferences; 0: as they can
    remote: Remote | None = None  #: the conference goes on behind a relay

    def __str__(self) -> str:
        """``10 with 6 senders of 50 pps, 80 B``; ``5 with 5 microphones and 5 cameras (meeting-5)``."""
        if self.video is None:
            text = f"{self.participants} with {self.senders} senders of {self.stream_pps:g} pps, {self.payload_bytes} B"
        else:
            what = "shared screens" if self.video.desktop else "cameras"
            text = f"{self.participants} with {self.senders} microphones and {self.video.senders} {what}"
            text += "" if self.video.codec == "vp8" else f" of {self.video.codec_name}"
            text += "" if self.transport_cc else ", REMB" if self.remb else ", without transport-cc"
        if (self.video is not None or self.remote is not None) and not self.ssrc_rewriting:
            text += ", without SSRC rewriting"
        text += ", with mids" if self.mid_demux else ""
        text += ", RED" if self.red else ""
        if self.remote is not None:
            text += f", and {self.remote.participants} behind a relay with {self.remote.senders} microphones"
            text += f" and {self.remote.cameras} cameras" if self.video is not None else ""
        return f"{text} ({self.name})" if self.name else text

    @property
    def meeting(self) -> bool:
        """Whether its endpoints are full clients. Bursts are of its audio alone, and of those on the bridge."""
        return (self.video is not None or self.remote is not None) and self.burst_packets == 1

    @property
    def relayed(self) -> Remote | None:
        """Who is behind a relay, where there is one: bursts have none."""
        return self.remote if self.meeting else None

    def in_pps(self) -> float:
        """Of the endpoints; what comes from a relay is apart."""
        sent = self.senders * self.stream_pps
        if not self.meeting:
            return sent
        each = FEEDBACK_PPS if self.transport_cc else REMB_PPS if self.remb else 0.0
        feedback = self.participants * each if self.video is not None else 0.0
        sent += self._video_pps() * self.local_share()
        return sent + feedback + (self.participants * REPORTS_PPS if self.rtcp else 0.0)

    def out_pps(self) -> float:
        """To the endpoints; what goes to a relay is apart."""
        remote = self.relayed
        heard = self.senders * (self.participants - 1) + (remote.senders * self.participants if remote else 0)
        sent = heard * self.stream_pps
        if not self.meeting:
            return sent
        answers = self.senders * FEEDBACK_PPS
        if self.video is not None:
            seen = self.video.forwarded(self.participants, remote.cameras if remote else 0)
            sent += sum(map(self.video.pps, seen))
            answers = self.video.senders * self.video.frames_per_second
        feedback = answers if self.transport_cc else 0.0
        return sent + feedback + (self.participants * REPORTS_PPS if self.rtcp else 0.0)

    def relay_in_pps(self) -> float:
        """What the other bridge relays: its participants' media, as they send it."""
        remote = self.relayed
        if remote is None:
            return 0.0
        return remote.senders * self.stream_pps + self._video_pps() * (1 - self.local_share())

    def relay_out_pps(self) -> float:
        """What the bridge relays: all that its own endpoints send, once."""
        if self.relayed is None:
            return 0.0
        return self.senders * self.stream_pps + self._video_pps() * self.local_share()

    def _video_pps(self) -> float:
        """What all cameras send, those behind a relay included."""
        if self.video is None:
            return 0.0
        return sum(map(self.video.pps, self.video.sent(self.participants, self.relayed)))

    def local_share(self) -> float:
        """Of all cameras, so many are on the bridge under test: each is as often on stage as another."""
        own = self.video.senders if self.video is not None else 0
        cameras = own + (self.relayed.cameras if self.relayed else 0)
        return own / cameras if cameras else 1.0

    def in_bps(self) -> float:
        """Bits per second of media that one conference's endpoints send to the bridge, as a bridge counts them: whole
        RTP packets with SRTP's tag, without UDP and IP."""
        sent = self.video.sent(self.participants, self.relayed) if self.video else []
        return self._media_bps(self.senders, sent, self.local_share())

    def out_bps(self) -> float:
        """Likewise of what the bridge sends to its endpoints."""
        remote = self.relayed
        streams = self.senders * (self.participants - 1) + (remote.senders * self.participants if remote else 0)
        seen = self.video.forwarded(self.participants, remote.cameras if remote else 0) if self.video else []
        return self._media_bps(streams, seen)

    def _media_bps(self, streams: int, layers: Sequence[Layer], share: float = 1.0) -> float:
        """``share``: of the layers, so much counts."""
        payload_bytes = self.payload_bytes * 2 + RED_BYTES if self.meeting and self.red else self.payload_bytes
        audio = streams * self.stream_pps * 8 * (payload_bytes + OVERHEAD_BYTES)
        if self.video is None:
            return audio
        video = sum(layer.bitrate_kbps * 1000 + self.video.pps(layer) * 8 * OVERHEAD_BYTES for layer in layers)
        return audio + video * share

    def sent_pps(self) -> float:
        """What the generator sends for one conference."""
        return self.in_pps() + self.relay_in_pps()

    def packet_rate_pps(self) -> float:
        """All that the bridge receives and sends for one conference; of a meeting a prediction, RTCP included."""
        return self.sent_pps() + self.out_pps() + self.relay_out_pps()


#: lib-jitsi-meet, StandardVideoQualitySettings.ts: STANDARD_CODEC_SETTINGS.vp8 (low, standard, high) and SIM_LAYERS:
#: 720 lines scaled down by 4, 2 and 1.
VP8_LAYERS = (Layer(180, 200.0), Layer(360, 500.0), Layer(720, 1500.0))
#: Likewise vp9 and av1: of all layers together where this is the highest.
VP9_LAYERS = (Layer(180, 100.0), Layer(360, 300.0), Layer(720, 1200.0))
AV1_LAYERS = (Layer(180, 100.0), Layer(360, 300.0), Layer(720, 1000.0))
LAYERS = {"vp8": VP8_LAYERS, "vp9": VP9_LAYERS, "av1": AV1_LAYERS}
