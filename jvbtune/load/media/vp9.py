"""VP9 (RFC 9628) with spatial layers: pictures of a stated rate, which a decoder takes too.

Cameras use the non-flexible mode, as libwebrtc's encoder does for them (video_encoder.cc, GetDefaultVp9Settings): the
scalability structure of a key picture describes the group of pictures, and each packet has a picture id of 15 bits,
the indices of its layers and TL0PICIDX.
"""

from __future__ import annotations

from functools import cache

from jvbtune.load.media import video
from jvbtune.load.media.frame import Frame
from jvbtune.load.media.picture import vp9 as picture
from jvbtune.load.media.rtp import HEADER_BYTES, MAX_PAYLOAD_BYTES, PLAIN, VP9, VP9_RTX
from jvbtune.load.media.svc import TEMPORAL, SvcStream
from jvbtune.load.media.video import RTX_BYTES, fragments, key_frame_ratio, least_frame_bytes, shares, width_of

DESCRIPTOR_BYTES = 5
#: For the last tile; that of a large key frame is longer, and then its last packet has no stamp.
BEHIND_STAMP = 16
MAX_FRAGMENT_BYTES = MAX_PAYLOAD_BYTES - DESCRIPTOR_BYTES - RTX_BYTES
#: Flags of the descriptor (RFC 9628, 4.2).
_I, _P, _L, _B, _E, _V, _Z = 0x80, 0x40, 0x20, 0x08, 0x04, 0x02, 0x01
#: Each picture refers to one before it, so many ago (vp9_globals.h, kTemporalStructureMode3).
_REFERENCES = (4, 1, 2, 1)


@cache
def least_bytes(height: int, frames_per_second: float) -> int:
    """Of a layer's frame."""
    size, ratio = (width_of(height), height), key_frame_ratio(frames_per_second)
    repeated, key_frame = _repeated(*size, 0, kept=True), picture.key_frame(*size)
    return least_frame_bytes(repeated.least_bytes(BEHIND_STAMP), key_frame.least_bytes(BEHIND_STAMP), ratio)


def _repeated(width: int, height: int, spatial: int, *, kept: bool) -> picture.Frame:
    return picture.repeated(width, height, spatial, kept=kept, into=spatial, scaled=False)


def packets_per_second(bits_per_second: float, frames_per_second: float, height: int) -> float:
    """Of one spatial layer, key frames aside: exact over a cycle."""
    least = least_bytes(height, frames_per_second)
    return video.packets_per_second(
        bits_per_second, frames_per_second, least_bytes=least, most_bytes=MAX_FRAGMENT_BYTES
    )


class Vp9Stream(SvcStream):
    """One SSRC, with up to three spatial layers."""

    payload_type, rtx_type, behind_stamp = VP9, VP9_RTX, BEHIND_STAMP

    __slots__ = ("_picture", "_tl0")

    @staticmethod
    def _key_ratio(frames_per_second: float) -> float:
        return key_frame_ratio(frames_per_second)

    @staticmethod
    def _least_bytes(height: int, frames_per_second: float) -> int:
        return least_bytes(height, frames_per_second)

    def _set_up(self) -> None:
        self._picture, self._tl0 = self.ssrc & 0x7FFF, self.ssrc & 0xFF

    def _begin_picture(self, temporal: int) -> None:
        self._picture = (self._picture + 1) & 0x7FFF
        if temporal == 0:
            self._tl0 = (self._tl0 + 1) & 0xFF

    def _layer_frame(self, spatial: int, temporal: int, key: bool, size: int) -> Frame:
        structure = self._structure() if key and spatial == 0 else b""
        parts = fragments(size, MAX_FRAGMENT_BYTES - len(structure))
        last, top = len(parts) - 1, spatial == self._layers - 1
        flags = _I | _L | (0 if key else _P) | (0 if key and not top else _Z)
        # Key pictures only refer to the layer below (D); a switch to a higher temporal layer is always possible (U).
        layer = temporal << 5 | 0x10 | spatial << 1 | (key and spatial > 0)
        fields = bytes((0x80 | self._picture >> 8, self._picture & 0xFF, layer, self._tl0))
        content = self._picture_of(spatial, temporal, key).split(size, BEHIND_STAMP)
        shared = shares(parts, *content)
        fronts = []
        for number, (lead, _) in enumerate(shared):
            place = (_B if number == 0 else 0) | (_E if number == last else 0)
            begin = bytes((flags | place,)) + fields + lead
            if structure and number == 0:
                begin = bytes((flags | place | _V,)) + fields + structure + lead
            fronts.append(PLAIN + begin)
        sizes = [HEADER_BYTES + DESCRIPTOR_BYTES + part for part in parts]
        sizes[0] += len(structure)
        ends = self._ends(fronts, sizes, [end for _, end in shared])
        return self._frame(fronts, ends, sizes, sum(sizes) - HEADER_BYTES * len(sizes), marker=top)

    def _picture_of(self, spatial: int, temporal: int, key: bool) -> picture.Frame:
        """Each layer keeps its pictures of the lowest temporal layer in a slot, and all its others refer to that."""
        size = self._widths[spatial], self._heights[spatial]
        if not key:
            return _repeated(*size, spatial, kept=temporal == 0)
        if spatial == 0:
            return picture.key_frame(*size)
        return picture.repeated(*size, spatial - 1, kept=True, into=spatial, scaled=True)

    def _structure(self) -> bytes:
        """N_S, with resolutions (Y) and a group of pictures (G): TID, U and R of each, and what it refers to."""
        structure = bytearray(((self._layers - 1) << 5 | 0x18,))
        for width, height in zip(self._widths[: self._layers], self._heights, strict=False):
            structure += width.to_bytes(2, "big") + height.to_bytes(2, "big")
        structure.append(len(TEMPORAL))
        for temporal, ago in zip(TEMPORAL, _REFERENCES, strict=True):
            structure += bytes((temporal << 5 | 0x14, ago))
        return bytes(structure)
