"""VP9 (RFC 9628) with spatial layers: pictures of a stated rate, packets that a bridge's parser takes for real ones.

Cameras use the non-flexible mode, as libwebrtc's encoder does for them (video_encoder.cc, GetDefaultVp9Settings): the
scalability structure of a key picture describes the group of pictures, and each packet has a picture id of 15 bits,
the indices of its layers and TL0PICIDX.
"""

from __future__ import annotations

from jvbtune.load.media import video
from jvbtune.load.media.frame import Frame
from jvbtune.load.media.rtp import HEADER_BYTES, MAX_PAYLOAD_BYTES, PLAIN, STAMP, VP9, VP9_RTX
from jvbtune.load.media.svc import TEMPORAL, SvcStream
from jvbtune.load.media.video import RTX_BYTES, fragments, key_frame_ratio

DESCRIPTOR_BYTES = 5
MAX_SPATIAL_LAYERS = 3
#: With three resolutions, and four pictures of one reference each.
MAX_STRUCTURE_BYTES = 1 + 4 * MAX_SPATIAL_LAYERS + 1 + 2 * len(TEMPORAL)
#: Where the time of sending is in the RTP payload.
STAMP_IN_PAYLOAD = DESCRIPTOR_BYTES + MAX_STRUCTURE_BYTES
MIN_FRAME_BYTES = MAX_STRUCTURE_BYTES + STAMP.size
MAX_FRAGMENT_BYTES = MAX_PAYLOAD_BYTES - DESCRIPTOR_BYTES - RTX_BYTES
#: Flags of the descriptor (RFC 9628, 4.2).
_I, _P, _L, _B, _E, _V, _Z = 0x80, 0x40, 0x20, 0x08, 0x04, 0x02, 0x01
#: Each picture refers to one before it, so many ago (vp9_globals.h, kTemporalStructureMode3).
_REFERENCES = (4, 1, 2, 1)


def packets_per_second(bits_per_second: float, frames_per_second: float) -> float:
    """Of one spatial layer, key frames aside: exact over a cycle."""
    return video.packets_per_second(
        bits_per_second, frames_per_second, least_bytes=MIN_FRAME_BYTES, most_bytes=MAX_FRAGMENT_BYTES
    )


class Vp9Stream(SvcStream):
    """One SSRC, with up to three spatial layers."""

    payload_type, rtx_type, least_bytes = VP9, VP9_RTX, MIN_FRAME_BYTES

    __slots__ = ("_picture", "_tl0")

    @staticmethod
    def _key_ratio(frames_per_second: float) -> float:
        return key_frame_ratio(frames_per_second)

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
        fronts = []
        for number in range(len(parts)):
            place = (_B if number == 0 else 0) | (_E if number == last else 0)
            begin = bytes((flags | place,)) + fields
            if structure and number == 0:
                begin = bytes((flags | place | _V,)) + fields + structure
            fronts.append(PLAIN + begin)
        sizes = [HEADER_BYTES + DESCRIPTOR_BYTES + part for part in parts]
        sizes[0] += len(structure)
        return self._frame(fronts, sizes, sum(sizes) - HEADER_BYTES * len(sizes), marker=top)

    def _structure(self) -> bytes:
        """N_S, with resolutions (Y) and a group of pictures (G): TID, U and R of each, and what it refers to."""
        structure = bytearray(((self._layers - 1) << 5 | 0x18,))
        for width, height in zip(self._widths[: self._layers], self._heights, strict=False):
            structure += width.to_bytes(2, "big") + height.to_bytes(2, "big")
        structure.append(len(TEMPORAL))
        for temporal, ago in zip(TEMPORAL, _REFERENCES, strict=True):
            structure += bytes((temporal << 5 | 0x14, ago))
        return bytes(structure)
