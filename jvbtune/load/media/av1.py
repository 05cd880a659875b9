"""AV1 with spatial layers: OBUs in RTP, each packet with the dependency descriptor by which a bridge chooses layers.

Both are of the RTP Payload Format for AV1 (v1.0). The templates are those of libwebrtc for ``L3T3_KEY`` and the same
with fewer layers (scalability_structure_key_svc.cc): a frame of each layer, at each place in a group of four pictures.
"""

from __future__ import annotations

from functools import cache

from jvbtune.load.media import video
from jvbtune.load.media.frame import FIXED_BYTES, Frame
from jvbtune.load.media.picture import av1 as picture
from jvbtune.load.media.picture.coding import Bits
from jvbtune.load.media.rtp import AV1, AV1_RTX, HEADER_BYTES, MAX_PAYLOAD_BYTES, extensions, header
from jvbtune.load.media.svc import TEMPORAL, SvcStream
from jvbtune.load.media.video import RTX_BYTES, fragments, shares, width_of

AGGREGATION_BYTES = 1
#: For the last byte of the padding.
BEHIND_STAMP = len(picture.TRAILING)
#: libwebrtc has libaom make a key frame of at most 300 % (libaom_av1_encoder.cc, AOME_SET_MAX_INTRA_BITRATE_PCT).
KEY_FRAME_RATIO = 3.0
MAX_TEMPLATES = 64
_DESCRIPTOR_BYTES = 3  #: without a structure
MAX_FRAGMENT_BYTES = MAX_PAYLOAD_BYTES - (_DESCRIPTOR_BYTES + 1) - AGGREGATION_BYTES - RTX_BYTES
#: Bits of the aggregation header: goes on, will go on, one OBU (of up to three), a coded video sequence begins.
_Z, _Y, _W1, _N = 0x80, 0x40, 0x10, 0x08
_OBU_SEQUENCE_HEADER, _OBU_FRAME, _OBU_PADDING, _OBU_EXTENSION = 1 << 3, 6 << 3, 15 << 3, 0x04
_NOT_PRESENT, _DISCARDABLE, _SWITCH = 0, 1, 2
#: Templates of a spatial layer: the key picture's, then of the places in the group in the order of temporal layers.
_PLACES = (None, 0, 2, 1, 3)
#: By temporal layer: what a frame is to the decode targets of its spatial layer, by their temporal layers.
_INDICATIONS = ((_SWITCH, _SWITCH, _SWITCH), (_NOT_PRESENT, _DISCARDABLE, _SWITCH), (0, 0, _DISCARDABLE))
#: The picture that a frame refers to, so many pictures ago, by the place in the group.
_REFERENCES = (4, 1, 2, 1)


@cache
def least_bytes(height: int) -> int:
    """Of a layer's frame. All of a key frame but its padding is in its first packet, so that it counts in full."""
    size = width_of(height), height
    key_frame = _obus(
        0, 0, picture.key_frame(*size, largest=False), picture.sequence_header(*size, 1, len(_INDICATIONS))
    )
    repeated = _obus(0, 0, _repeated(*size, 0, kept=True, largest=False))
    return max(len(repeated), len(key_frame)) + len(picture.TRAILING)


def packets_per_second(bits_per_second: float, frames_per_second: float, height: int) -> float:
    """Of one spatial layer, key frames aside: exact over a cycle."""
    return video.packets_per_second(
        bits_per_second, frames_per_second, least_bytes=least_bytes(height), most_bytes=MAX_FRAGMENT_BYTES
    )


def _repeated(width: int, height: int, spatial: int, *, kept: bool, largest: bool) -> bytes:
    return picture.repeated(width, height, spatial, kept=kept, into=spatial, scaled=False, largest=largest)


def _leb128(value: int) -> bytes:
    return bytes((value,)) if value < 0x80 else bytes((value & 0x7F | 0x80,)) + _leb128(value >> 7)


def _obus(spatial: int, temporal: int, frame: bytes, sequence: bytes = b"") -> bytes:
    """Those of a layer's frame, each with its length before it but the last, which is padding."""
    layer = bytes((temporal << 5 | spatial << 3,))
    found = b""
    for kind, content in ((_OBU_SEQUENCE_HEADER, sequence), (_OBU_FRAME, frame)):
        if content:
            obu = bytes((kind | _OBU_EXTENSION,)) + layer + content
            found += _leb128(len(obu)) + obu
    return found + bytes((_OBU_PADDING | _OBU_EXTENSION,)) + layer


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
    bits = Bits()
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

    payload_type, rtx_type, behind_stamp = AV1, AV1_RTX, BEHIND_STAMP

    __slots__ = ("_described", "_frame_number", "_offset")

    @staticmethod
    def _key_ratio(frames_per_second: float) -> float:
        return KEY_FRAME_RATIO

    @staticmethod
    def _least_bytes(height: int, frames_per_second: float) -> int:
        return least_bytes(height)

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
        begins, top = key and spatial == 0, spatial == self._layers - 1
        structure = _structure(tuple(self._heights[: self._layers]), self._offset) if begins else b""
        template = self._offset + len(_PLACES) * spatial + _PLACES.index(None if key else self._at)
        template %= MAX_TEMPLATES
        number_bytes = self._frame_number.to_bytes(2, "big")
        most = MAX_FRAGMENT_BYTES
        if structure:
            whole = header(AV1, False, 0, 0, 0, bytes(_DESCRIPTOR_BYTES) + structure)
            most -= len(whole) - HEADER_BYTES - _DESCRIPTOR_BYTES - 1
        parts = fragments(size, most)
        last = len(parts) - 1
        largest = self._widths[self._layers - 1], self._heights[self._layers - 1]
        sequence = picture.sequence_header(*largest, self._layers, len(_INDICATIONS))
        obus = _obus(spatial, temporal, self._picture_of(spatial, temporal, key, top), sequence if begins else b"")
        many = 3 if begins else 2
        shared = shares(parts, obus, picture.TRAILING)
        fronts, sizes = [], []
        for number, (part, (lead, _)) in enumerate(zip(parts, shared, strict=True)):
            first = number == 0
            place = (0x80 if first else 0) | (0x40 if number == last else 0)
            described = extensions(bytes((place | template,)) + number_bytes + (structure if first else b""))
            aggregation = (
                _W1 * (many if first else 1)
                | (0 if first else _Z)
                | (0 if number == last else _Y)
                | (_N if begins and first else 0)
            )
            fronts.append(described + bytes((aggregation,)) + lead)
            sizes.append(FIXED_BYTES + len(described) + AGGREGATION_BYTES + part)
        ends = self._ends(fronts, sizes, [end for _, end in shared])
        return self._frame(fronts, ends, sizes, sum(parts) + AGGREGATION_BYTES * len(parts), marker=top)

    def _picture_of(self, spatial: int, temporal: int, key: bool, largest: bool) -> bytes:
        """Each layer keeps its pictures of the lowest temporal layer in a slot, and all its others refer to that."""
        size = self._widths[spatial], self._heights[spatial]
        if not key:
            return _repeated(*size, spatial, kept=temporal == 0, largest=largest)
        if spatial == 0:
            return picture.key_frame(*size, largest=largest)
        return picture.repeated(*size, spatial - 1, kept=True, into=spatial, scaled=True, largest=largest)
