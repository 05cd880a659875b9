"""One simulcast layer of VP8 (RFC 7741): frames of a stated rate, which a decoder takes too.

Jitsi's clients send two temporal layers with VP8 (lib-jitsi-meet, StandardVideoQualitySettings).
"""

from __future__ import annotations

from functools import cache, lru_cache

from jvbtune.load.media import video
from jvbtune.load.media.frame import Frame
from jvbtune.load.media.picture import vp8 as picture
from jvbtune.load.media.rtp import HEADER_BYTES, MAX_PAYLOAD_BYTES, PLAIN, RTX, VP8
from jvbtune.load.media.video import (
    CYCLE_FRAMES,
    RTX_BYTES,
    STAMP_PLACE,
    Sizes,
    VideoStream,
    fragments,
    key_frame_ratio,
    least_frame_bytes,
    shares,
    width_of,
)

__all__ = ["BEHIND_STAMP", "CYCLE_FRAMES", "Vp8Layer", "key_frame_ratio", "packets_per_second"]

DESCRIPTOR_BYTES = 6
#: What is behind the first partition is of no use to a decoder here.
BEHIND_STAMP = 0
MAX_FRAGMENT_BYTES = MAX_PAYLOAD_BYTES - DESCRIPTOR_BYTES - RTX_BYTES


@cache
def least_bytes(height: int, frames_per_second: float) -> int:
    """Of a frame."""
    size, ratio = (width_of(height), height), key_frame_ratio(frames_per_second)
    return least_frame_bytes(len(picture.repeated(*size, kept=True)), len(picture.key_frame(*size)), ratio)


def packets_per_second(bits_per_second: float, frames_per_second: float, height: int) -> float:
    """Of one layer, key frames aside: exact over a cycle."""
    least = least_bytes(height, frames_per_second)
    return video.packets_per_second(
        bits_per_second, frames_per_second, least_bytes=least, most_bytes=MAX_FRAGMENT_BYTES
    )


@lru_cache(maxsize=8192)  # a layer's frames have the sizes of its cycle, and few contents
def _plan(content: bytes, frame_bytes: int) -> tuple[list[bytes], list[int], list[bytes]]:
    """Of a frame's packets: what of the content each has, the size, and how it ends."""
    parts = fragments(frame_bytes, MAX_FRAGMENT_BYTES)
    leads = [lead for lead, _ in shares(parts, content, b"")]
    ends = [
        STAMP_PLACE if part - len(lead) >= len(STAMP_PLACE) else b"" for part, lead in zip(parts, leads, strict=True)
    ]
    return leads, [HEADER_BYTES + DESCRIPTOR_BYTES + part for part in parts], ends


@cache
def contents(height: int) -> tuple[bytes, bytes, bytes]:
    """What a decoder takes, of a frame to which nothing refers, of one that is kept, and of a key frame."""
    size = width_of(height), height
    return picture.repeated(*size, kept=False), picture.repeated(*size, kept=True), picture.key_frame(*size)


def packets(
    content: bytes, frame_bytes: int, base: bool, number: int, tl0: int
) -> tuple[list[bytes], list[bytes], list[int]]:
    """Fronts, ends and sizes of a frame's packets. ``number``: the picture's; ``base``: whether others refer to it."""
    leads, sizes, ends = _plan(content, frame_bytes)
    later = PLAIN + _descriptor(base, False, number, tl0)
    fronts = [later + lead for lead in leads]
    fronts[0] = PLAIN + _descriptor(base, True, number, tl0) + leads[0]
    return fronts, ends, sizes


def _descriptor(base: bool, start: bool, number: int, tl0: int) -> bytes:
    """X, N (nothing refers to it), S; I, L, T; 15 bits of picture id, TL0PICIDX, TID and Y (RFC 7741, 4.2)."""
    first = 0x80 | (0 if base else 0x20) | (0x10 if start else 0)
    # Y: no frame refers to any but a base frame. Without it libwebrtc's receiver waits for an upper layer's frame
    # before the first one, and shows none of that layer (rtp_vp8_ref_finder.cc).
    tid = 0x20 if base else 0x60
    return bytes((first, 0xE0, 0x80 | number >> 8, number & 0xFF, tl0, tid))


class Vp8Layer(VideoStream):
    """One SSRC, of one height."""

    payload_type, rtx_type, behind_stamp = VP8, RTX, BEHIND_STAMP

    __slots__ = ("_contents", "_index", "number", "sizes", "tl0")

    def __init__(
        self, ssrc: int, rtx_ssrc: int, *, height: int, bits_per_second: float, frames_per_second: float, seed: int
    ) -> None:
        super().__init__(ssrc, rtx_ssrc)
        self._contents = contents(height)
        self.sizes = Sizes(
            bits_per_second,
            frames_per_second,
            least_bytes=least_bytes(height, frames_per_second),
            key_ratio=key_frame_ratio(frames_per_second),
            seed=seed,
        )
        self._index = 0
        self.number, self.tl0 = ssrc & 0x7FFF, ssrc & 0xFF  #: of the last picture

    @property
    def debt_bytes(self) -> int:
        return self.sizes.debt

    def picture(self, seconds: float) -> list[Frame]:
        key = self._begin_frame(seconds)
        base = key or self._index % 2 == 0
        self._index += 1
        self.number = (self.number + 1) & 0x7FFF
        if base:
            self.tl0 = (self.tl0 + 1) & 0xFF
        frame_bytes = self.sizes.following(key)
        content = self._contents[2 if key else base]
        fronts, ends, sizes = packets(content, frame_bytes, base, self.number, self.tl0)
        return [self._frame(fronts, ends, sizes, frame_bytes + DESCRIPTOR_BYTES * len(sizes), marker=True)]
