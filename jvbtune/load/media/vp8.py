"""One simulcast layer of VP8 (RFC 7741): frames of a stated rate, packets that a bridge's parser takes for real ones.

Jitsi's clients send two temporal layers with VP8 (lib-jitsi-meet, StandardVideoQualitySettings).
"""

from __future__ import annotations

from functools import lru_cache

from jvbtune.load.media import video
from jvbtune.load.media.frame import Frame
from jvbtune.load.media.rtp import HEADER_BYTES, MAX_PAYLOAD_BYTES, PLAIN, RTX, STAMP, VP8
from jvbtune.load.media.video import CYCLE_FRAMES, RTX_BYTES, Sizes, VideoStream, fragments, key_frame_ratio

__all__ = ["CYCLE_FRAMES", "STAMP_IN_PAYLOAD", "Vp8Layer", "key_frame_ratio", "packets_per_second"]

DESCRIPTOR_BYTES = 6
FRAME_TAG_BYTES = 10  #: of a key frame, with its size (RFC 6386, 9.1)
#: Where the time of sending is in the RTP payload.
STAMP_IN_PAYLOAD = DESCRIPTOR_BYTES + FRAME_TAG_BYTES
MIN_FRAME_BYTES = FRAME_TAG_BYTES + STAMP.size
MAX_FRAGMENT_BYTES = MAX_PAYLOAD_BYTES - DESCRIPTOR_BYTES - RTX_BYTES


def packets_per_second(bits_per_second: float, frames_per_second: float) -> float:
    """Of one layer, key frames aside: exact over a cycle."""
    return video.packets_per_second(
        bits_per_second, frames_per_second, least_bytes=MIN_FRAME_BYTES, most_bytes=MAX_FRAGMENT_BYTES
    )


@lru_cache(maxsize=8192)  # a layer's frames have the sizes of its cycle
def _sizes(frame_bytes: int) -> tuple[int, ...]:
    """Of a frame's packets."""
    return tuple(HEADER_BYTES + DESCRIPTOR_BYTES + part for part in fragments(frame_bytes, MAX_FRAGMENT_BYTES))


class Vp8Layer(VideoStream):
    """One SSRC, of one height."""

    payload_type, rtx_type = VP8, RTX

    __slots__ = ("_height", "_index", "_picture", "_sizes", "_tl0", "_width")

    def __init__(
        self, ssrc: int, rtx_ssrc: int, *, height: int, bits_per_second: float, frames_per_second: float, seed: int
    ) -> None:
        super().__init__(ssrc, rtx_ssrc)
        self._height, self._width = height, round(height * 16 / 9)
        self._sizes = Sizes(
            bits_per_second,
            frames_per_second,
            least_bytes=MIN_FRAME_BYTES,
            key_ratio=key_frame_ratio(frames_per_second),
            seed=seed,
        )
        self._index = 0
        self._picture, self._tl0 = ssrc & 0x7FFF, ssrc & 0xFF

    @property
    def debt_bytes(self) -> int:
        return self._sizes.debt

    def picture(self, seconds: float) -> list[Frame]:
        key = self._begin_frame(seconds)
        base = key or self._index % 2 == 0
        self._index += 1
        self._picture = (self._picture + 1) & 0x7FFF
        if base:
            self._tl0 = (self._tl0 + 1) & 0xFF
        frame_bytes = self._sizes.following(key)
        sizes = _sizes(frame_bytes)
        fronts = [PLAIN + self._descriptor(base, True) + self._frame_tag(key)]
        if len(sizes) > 1:
            fronts += [PLAIN + self._descriptor(base, False)] * (len(sizes) - 1)
        return [self._frame(fronts, sizes, frame_bytes + DESCRIPTOR_BYTES * len(sizes), marker=True)]

    def _descriptor(self, base: bool, start: bool) -> bytes:
        """X, N (nothing refers to it), S; I, L, T; 15 bits of picture id, TL0PICIDX, TID and Y (RFC 7741, 4.2)."""
        first = 0x80 | (0 if base else 0x20) | (0x10 if start else 0)
        tid = 0x20 if base else 0x40  # Y: a switch up is possible at each base frame
        return bytes((first, 0xE0, 0x80 | self._picture >> 8, self._picture & 0xFF, self._tl0, tid))

    def _frame_tag(self, key: bool) -> bytes:
        """RFC 6386, 9.1: shown, version 0; of a key frame the start code, width and height."""
        if not key:
            return b"\x11\x00\x00"
        return b"\x10\x00\x00\x9d\x01\x2a" + self._width.to_bytes(2, "little") + self._height.to_bytes(2, "little")
