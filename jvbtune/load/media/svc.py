"""Scalable video (SVC): all spatial layers of a camera under one SSRC, as Jitsi's clients send VP9 and AV1.

lib-jitsi-meet asks for ``L3T3_KEY`` (TPCUtils, calculateEncodingsScalabilityMode): spatial layers that refer to each
other in key pictures only, with three temporal layers; ``L2T3_KEY`` and ``L1T3`` where no more is wanted, and then less
bits (StandardVideoQualitySettings): each height has a bit rate of all layers up to it together. libwebrtc divides it
among the layers (svc_rate_allocator.cc). The other layers of a key picture are taken to be as large as the lowest,
relative to their mean: how much they gain from it is not modelled.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from jvbtune.load.media.frame import Frame
from jvbtune.load.media.video import Sizes, VideoStream, width_of

#: Temporal layers of the pictures in turn; from 0 on after a key picture (vp9_globals.h, kTemporalStructureMode3).
TEMPORAL = (0, 2, 1, 2)
#: svc_rate_allocator.cc, kSpatialLayeringRateScalingFactor.
RATE_SCALE = 0.55


def layer_rates(heights: Sequence[int], bits_per_second: float) -> list[float]:
    """Of each spatial layer (svc_rate_allocator.cc, SplitBitrate and AdjustAndVerify). A layer has at most what
    libwebrtc thinks useful (svc_config.cc), and the next one the rest. The least rates, below which libwebrtc sends no
    such layer, are not modelled: a mix says what is sent."""
    shares = [RATE_SCALE ** (len(heights) - 1 - number) for number in range(len(heights))]
    rates, left = [], 0.0
    for number, (height, share) in enumerate(zip(heights, shares, strict=True)):
        rate = bits_per_second * share / sum(shares) + left
        most = (1.6 * height * round(height * 16 / 9) + 50_000) if number < len(heights) - 1 else rate
        rates.append(min(rate, most))
        left = rate - rates[-1]
    return rates


class SvcStream(VideoStream):
    """One SSRC, with the spatial layers of these heights, lowest first. ``bits_per_second``: of all layers up to each
    height together, where it is the highest that is sent."""

    __slots__ = ("_at", "_heights", "_layers", "_sizes", "_widths")

    def __init__(
        self,
        ssrc: int,
        rtx_ssrc: int,
        *,
        heights: Sequence[int],
        bits_per_second: Sequence[float],
        frames_per_second: float,
        seed: int,
    ) -> None:
        super().__init__(ssrc, rtx_ssrc)
        key_ratio = self._key_ratio(frames_per_second)
        self._heights = list(heights)
        self._widths = [width_of(height) for height in heights]
        self._layers = len(self._heights)
        self._sizes = [
            [
                Sizes(
                    rate,
                    frames_per_second,
                    least_bytes=self._least_bytes(heights[number], frames_per_second),
                    key_ratio=key_ratio,
                    seed=seed + number,
                )
                for number, rate in enumerate(layer_rates(heights[:many], bits_per_second[many - 1]))
            ]
            for many in range(1, self._layers + 1)
        ]
        self._at = 0  #: of the temporal layers' turns
        self._set_up()

    @property
    def spatial_layers(self) -> int:
        """So many are sent."""
        return self._layers

    def send_layers(self, many: int) -> bool:
        """From the next picture on; whether that is a change. It then is a key picture: a client that changes its
        scalability mode restarts the encoder."""
        changed = many != self._layers
        self._layers = many
        if changed:
            self.request_key_frame()
        return changed

    @property
    def debt_bytes(self) -> int:
        return sum(sizes.debt for sizes in self._sizes[self._layers - 1])

    def picture(self, seconds: float) -> list[Frame]:
        key = self._begin_frame(seconds)
        self._at = 0 if key else (self._at + 1) % len(TEMPORAL)
        self._begin_picture(TEMPORAL[self._at])
        return [
            self._layer_frame(number, TEMPORAL[self._at], key, sizes.following(key))
            for number, sizes in enumerate(self._sizes[self._layers - 1])
        ]

    @staticmethod
    @abstractmethod
    def _key_ratio(frames_per_second: float) -> float:
        """Of a key frame to a mean frame."""

    @staticmethod
    @abstractmethod
    def _least_bytes(height: int, frames_per_second: float) -> int:
        """Of a layer's frame."""

    @abstractmethod
    def _set_up(self) -> None:
        """What the codec counts by itself, from the SSRC on."""

    @abstractmethod
    def _begin_picture(self, temporal: int) -> None: ...

    @abstractmethod
    def _layer_frame(self, spatial: int, temporal: int, key: bool, size: int) -> Frame: ...
