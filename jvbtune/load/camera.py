"""A camera of a meeting's client: its layers, which of them it sends, and when each packet leaves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from jvbtune.load.media.av1 import Av1Stream
from jvbtune.load.media.frame import Frame
from jvbtune.load.media.svc import SvcStream
from jvbtune.load.media.video import VideoStream
from jvbtune.load.media.vp8 import Vp8Layer
from jvbtune.load.media.vp9 import Vp9Stream
from jvbtune.protocol import worker as messages

#: libwebrtc's pacer sends at 2.5 times the target rate (goog_cc_network_control.cc, kDefaultPaceMultiplier), and lets
#: what it would send in 40 ms leave at once (pacing_controller.h, kDefaultBurstInterval): a frame, but for key frames.
#: Not modelled: with feedback, newer ones pace at 1.1 times the bandwidth estimate instead.
PACING_FACTOR = 2.5
BURST_SECONDS = 0.04
#: libwebrtc, EncoderRtcpFeedback.
MIN_KEY_FRAME_SECONDS = 0.3
SVC = {"vp9": Vp9Stream, "av1": Av1Stream}


class Reported(Protocol):
    """What a sender report says of a stream."""

    ssrc: int

    @property
    def timestamp(self) -> int: ...
    @property
    def packets(self) -> int: ...
    @property
    def octets(self) -> int: ...


class Layer(Reported, Protocol):
    """A camera's stream under one SSRC: ``media.video.VideoStream``, or one that C sends. See there."""

    @property
    def key_frames(self) -> int: ...
    def repetition(self, sequence: int) -> Frame | None: ...
    def retransmission(self, sequence: int) -> Frame | None: ...


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


def streams(asked: messages.Camera) -> list[VideoStream]:
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


class Source(ABC):
    """A source of layers, each under its SSRC or all under one; those that no bridge wants stop, as in a browser.

    WebRTC's encoder makes a key frame of all layers at once, whichever was asked for, at most every 300 ms; a JVB waits
    for such a group of key frames before it switches layers.
    """

    def __init__(self, asked: messages.Camera, layers: Sequence[Layer]) -> None:
        self.name, self.frames_per_second, self.desktop = asked.name, asked.frames_per_second, asked.desktop
        self.layers = layers
        self.active = [True] * len(asked.layers)
        self._heights = [layer.height for layer in asked.layers]
        self._rates = [layer.bits_per_second for layer in asked.layers]
        self.request_key_frame()
        self.constrain(asked.max_height)

    @abstractmethod
    def request_key_frame(self) -> None:
        """With the next frame that may be one."""

    def constrain(self, max_height: int) -> None:
        """``SenderSourceConstraints``: -1 is no limit, 0 no video; the lowest layer is within any other."""
        for number in range(len(self.active)):
            wanted = max_height < 0 or self._heights[number] <= max_height or (number == 0 and max_height > 0)
            if wanted and not self.active[number]:
                self.request_key_frame()
            self.active[number] = wanted

    def layer_of(self, ssrc: int) -> Layer | None:
        return next((layer for layer in self.layers if layer.ssrc == ssrc), None)

    def sending(self) -> Sequence[Layer]:
        """The streams of the layers that are wanted: of a scalable codec there is one, which is of the lowest too."""
        return [layer for layer, on in zip(self.layers, self.active, strict=False) if on]

    def _paced_bytes_per_second(self) -> float:
        wanted = [rate for rate, on in zip(self._rates, self.active, strict=True) if on]
        of_all = sum(wanted) if len(self.layers) == len(self.active) else max(wanted, default=0.0)
        return PACING_FACTOR * of_all / 8


class Camera(Source):
    """Of any codec, in Python."""

    def __init__(self, asked: messages.Camera) -> None:
        self._streams = streams(asked)
        self._last_key_seconds = -MIN_KEY_FRAME_SECONDS
        self._pacer = Pacer()
        self.pacing = 0  #: packets that wait for their time in the pacer
        super().__init__(asked, self._streams)

    def request_key_frame(self) -> None:
        self._key_wanted = True

    def constrain(self, max_height: int) -> None:
        super().constrain(max_height)
        stream = self._streams[0]
        if isinstance(stream, SvcStream) and self.active[0] and stream.send_layers(sum(self.active)):
            self._key_wanted = True
        self._sending = [stream for stream, on in zip(self._streams, self.active, strict=False) if on]
        self._pace = self._paced_bytes_per_second()

    def frame(self, seconds: float) -> list[tuple[float, Frame]]:
        """All active layers' frames, in parts, each with its delay in the pacer, in seconds."""
        if self._key_wanted and seconds >= self._last_key_seconds + MIN_KEY_FRAME_SECONDS:
            self._key_wanted, self._last_key_seconds = False, seconds
            for stream in self._streams:
                stream.request_key_frame()
        parts = []
        for stream in self._sending:
            for frame in stream.picture(seconds):
                parts += self._pacer.parts(seconds, frame, self._pace)
        return parts
