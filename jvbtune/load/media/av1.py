"""AV1 with spatial layers: OBUs in RTP, each packet with the dependency descriptor by which a bridge chooses layers.

Both are of the RTP Payload Format for AV1 (v1.0). The templates are those of libwebrtc for ``L3T3_KEY`` and the same
with fewer layers (scalability_structure_key_svc.cc): a frame of each layer, at each place in a group of four pictures.
"""

from __future__ import annotations

from functools import cache

from jvbtune.load.media import video
from jvbtune.load.media.frame import FIXED_BYTES, Frame
from jvbtune.load.media.rtp import AV1, AV1_RTX, HEADER_BYTES, MAX_PAYLOAD_BYTES, STAMP, extensions, header
from jvbtune.load.media.svc import TEMPORAL, SvcStream
from jvbtune.load.media.video import RTX_BYTES, fragments

AGGREGATION_BYTES, OBU_HEADER_BYTES = 1, 2
#: Where the time of sending is in the RTP payload.
STAMP_IN_PAYLOAD = AGGREGATION_BYTES + OBU_HEADER_BYTES
MIN_FRAME_BYTES = OBU_HEADER_BYTES + STAMP.size
#: libwebrtc has libaom make a key frame of at most 300 % (libaom_av1_encoder.cc, AOME_SET_MAX_INTRA_BITRATE_PCT).
KEY_FRAME_RATIO = 3.0
MAX_TEMPLATES = 64
_DESCRIPTOR_BYTES = 3  #: without a structure
MAX_FRAGMENT_BYTES = MAX_PAYLOAD_BYTES - (_DESCRIPTOR_BYTES + 1) - AGGREGATION_BYTES - RTX_BYTES
#: Bits of the aggregation header: goes on, will go on, one OBU, a coded video sequence begins.
_Z, _Y, _W1, _N = 0x80, 0x40, 0x10, 0x08
_OBU_FRAME, _OBU_EXTENSION = 6 << 3, 0x04
_NOT_PRESENT, _DISCARDABLE, _SWITCH = 0, 1, 2
#: Templates of a spatial layer: the key picture's, then of the places in the group in the order of temporal layers.
_PLACES = (None, 0, 2, 1, 3)
#: By temporal layer: what a frame is to the decode targets of its spatial layer, by their temporal layers.
_INDICATIONS = ((_SWITCH, _SWITCH, _SWITCH), (_NOT_PRESENT, _DISCARDABLE, _SWITCH), (0, 0, _DISCARDABLE))
#: The picture that a frame refers to, so many pictures ago, by the place in the group.
_REFERENCES = (4, 1, 2, 1)


def packets_per_second(bits_per_second: float, frames_per_second: float) -> float:
    """Of one spatial layer, key frames aside: exact over a cycle."""
    return video.packets_per_second(
        bits_per_second, frames_per_second, least_bytes=MIN_FRAME_BYTES, most_bytes=MAX_FRAGMENT_BYTES
    )


class _Bits:
    """A number that is written from its highest bit on."""

    def __init__(self) -> None:
        self._value = self._many = 0

    def put(self, many: int, value: int) -> None:
        self._value, self._many = self._value << many | value, self._many + many

    def put_ns(self, values: int, value: int) -> None:
        """One of so many values (AV1's ns(n)): the first ones have a bit less."""
        width = values.bit_length()
        shorter = (1 << width) - values
        if value < shorter:
            self.put(width - 1, value)
        else:
            self.put(width, value + shorter)

    def whole(self) -> bytes:
        padding = -self._many % 8
        return (self._value << padding).to_bytes((self._many + padding) // 8, "big")


def _chain_difference(layers: int, spatial: int, place: int | None, chain: int) -> int:
    """How many frames ago the last one of a chain was: a spatial layer's frames of the lowest temporal layer."""
    if place is None:
        return spatial - chain if chain < spatial else min(spatial, 1)
    if place == 0 and chain >= spatial:
        return len(TEMPORAL) * layers + spatial - chain
    return place * layers + spatial - chain


@cache
def _structure(heights: tuple[int, ...], offset: int) -> bytes:
    """The extended fields of a key picture's first packet, with the template dependency structure."""
    layers, temporal = len(heights), len(_INDICATIONS)
    templates = [(spatial, place) for spatial in range(layers) for place in _PLACES]
    targets = layers * temporal
    bits = _Bits()
    bits.put(5, 0b10000)  # a structure; all decode targets are active; nothing that the templates do not say
    bits.put(6, offset)
    bits.put(5, targets - 1)
    tids = [0 if place is None else TEMPORAL[place] for _, place in templates]
    for number, (spatial, _) in enumerate(templates[1:], start=1):
        bits.put(2, 2 if spatial > templates[number - 1][0] else tids[number] - tids[number - 1])
    bits.put(2, 3)
    for (spatial, place), tid in zip(templates, tids, strict=True):
        for target in range(targets):
            of, at = divmod(target, temporal)
            here = of == spatial or (place is None and of > spatial)
            bits.put(2, _INDICATIONS[tid][at] if here else _NOT_PRESENT)
    for spatial, place in templates:
        if place is not None:
            bits.put(5, 0x10 | _REFERENCES[place] * layers - 1)
        elif spatial > 0:
            bits.put(5, 0x10 | 0)
        bits.put(1, 0)
    bits.put_ns(targets + 1, layers)
    for target in range(targets):
        bits.put_ns(layers, target // temporal)
    for spatial, place in templates:
        for chain in range(layers):
            bits.put(4, _chain_difference(layers, spatial, place, chain))
    bits.put(1, 1)
    for height in heights:
        bits.put(16, round(height * 16 / 9) - 1)
        bits.put(16, height - 1)
    return bits.whole()


class Av1Stream(SvcStream):
    """One SSRC, with up to three spatial layers."""

    payload_type, rtx_type, least_bytes = AV1, AV1_RTX, MIN_FRAME_BYTES

    __slots__ = ("_described", "_frame_number", "_offset")

    @staticmethod
    def _key_ratio(frames_per_second: float) -> float:
        return KEY_FRAME_RATIO

    def _set_up(self) -> None:
        self._frame_number = self.ssrc & 0xFFFF
        self._described, self._offset = self._layers, 0  #: the structure in force, by its layers, and its first id

    def _begin_picture(self, temporal: int) -> None:
        """A structure that differs from the one before has other ids (rtp_sender_video.cc)."""
        if self._layers != self._described:
            self._offset = (self._offset + len(_PLACES) * self._described) % MAX_TEMPLATES
            self._described = self._layers

    def _layer_frame(self, spatial: int, temporal: int, key: bool, size: int) -> Frame:
        self._frame_number = (self._frame_number + 1) & 0xFFFF
        new, top = key and spatial == 0, spatial == self._layers - 1
        structure = _structure(tuple(self._heights[: self._layers]), self._offset) if new else b""
        template = self._offset + len(_PLACES) * spatial + _PLACES.index(None if key else self._at)
        template %= MAX_TEMPLATES
        number_bytes = self._frame_number.to_bytes(2, "big")
        most = MAX_FRAGMENT_BYTES
        if structure:
            whole = header(AV1, False, 0, 0, 0, bytes(_DESCRIPTOR_BYTES) + structure)
            most -= len(whole) - HEADER_BYTES - _DESCRIPTOR_BYTES - 1
        parts = fragments(size, most)
        last = len(parts) - 1
        obu = bytes((_OBU_FRAME | _OBU_EXTENSION, temporal << 5 | spatial << 3))
        fronts, sizes = [], []
        for number, part in enumerate(parts):
            first = number == 0
            place = (0x80 if first else 0) | (0x40 if number == last else 0)
            described = extensions(bytes((place | template,)) + number_bytes + (structure if first else b""))
            aggregation = _W1 | (0 if first else _Z) | (0 if number == last else _Y) | (_N if new and first else 0)
            fronts.append(described + bytes((aggregation,)) + (obu if first else b""))
            sizes.append(FIXED_BYTES + len(described) + AGGREGATION_BYTES + part)
        return self._frame(fronts, sizes, sum(parts) + AGGREGATION_BYTES * len(parts), marker=top)
