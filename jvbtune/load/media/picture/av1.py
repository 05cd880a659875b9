"""AV1 (bitstream specification): a sequence header, and frames of one tile whose blocks have no residue."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from jvbtune.load.media.picture.blocks import HORIZONTAL, NONE, SPLIT, SUPERBLOCK, VERTICAL, Partition, partitions
from jvbtune.load.media.picture.coding import Bits, SymbolCoder

#: Cumulative distributions (9.3, "additional tables"): of partitions, by the side of a square from 8 to 64 and its
#: context; in the order none, horizontal, vertical, split, and others.
_PARTITIONS = (
    (
        (19132, 25510, 30392, 32768),
        (13928, 19855, 28540, 32768),
        (12522, 23679, 28629, 32768),
        (9896, 18783, 25853, 32768),
    ),
    (
        (15597, 20929, 24571, 26706, 27664, 28821, 29601, 30571, 31902, 32768),
        (7925, 11043, 16785, 22470, 23971, 25043, 26651, 28701, 29834, 32768),
        (5414, 13269, 15111, 20488, 22360, 24500, 25537, 26336, 32117, 32768),
        (2662, 6362, 8614, 20860, 23053, 24778, 26436, 27829, 31171, 32768),
    ),
    (
        (18462, 20920, 23124, 27647, 28227, 29049, 29519, 30178, 31544, 32768),
        (7689, 9060, 12056, 24992, 25660, 26182, 26951, 28041, 29052, 32768),
        (6015, 9009, 10062, 24544, 25409, 26545, 27071, 27526, 32047, 32768),
        (1394, 2208, 2796, 28614, 29061, 29466, 29840, 30185, 31899, 32768),
    ),
    (
        (20137, 21547, 23078, 29566, 29837, 30261, 30524, 30892, 31724, 32768),
        (6732, 7490, 9497, 27944, 28250, 28515, 28969, 29630, 30104, 32768),
        (5945, 7663, 8348, 28683, 29117, 29749, 30064, 30298, 32238, 32768),
        (870, 1212, 1487, 31198, 31394, 31574, 31743, 31881, 32332, 32768),
    ),
)
#: Kinds of partitions that count as a split where only a cut in one direction is possible otherwise.
_SPLIT_OR_HORIZONTAL, _SPLIT_OR_VERTICAL = (2, 3, 4, 6, 7, 9), (1, 3, 4, 5, 6, 8)
#: Of skipping, by how many neighbours do.
_SKIP = ((31671, 32768), (16515, 32768), (4576, 32768))
#: Of modes, where the blocks around are DC_PRED; of chroma, where luma is. Large blocks have one mode less.
_LUMA = (15588, 17027, 19338, 20218, 20682, 21110, 21825, 23244, 24189, 28165, 29093, 30466, 32768)
_CHROMA = (22631, 24152, 25378, 25661, 25986, 26520, 27055, 27923, 28244, 30059, 30941, 31961, 32768)
_SMALL_CHROMA = (10407, 11208, 12900, 13181, 13823, 14175, 14899, 15656, 15986, 20086, 20995, 22455, 24212, 32768)
_LARGEST_SMALL = 32
_LEVEL = 13  #: 5.1
_REFERENCES, _SEGMENTS = 7, 8
_FEATURES = ("quantiser", "filter", "filter", "filter", "filter", "reference", "skip", "global motion")
_QUANTISER = 60  #: of nothing, but not 0, which is lossless
_KEY, _INTER = 0, 1
#: Aligned with the last byte of an OBU, where its content is any.
TRAILING = b"\x80"


@cache
def sequence_header(width: int, height: int, spatial: int, temporal: int) -> bytes:
    """The content of its OBU: the largest size, so many layers, and no tools (5.5). By the layers a decoder knows that
    the highest one there is is the picture."""
    bits = Bits()
    bits.put(3 + 1 + 1 + 1 + 1 + 5, 0)
    bits.put(4, (1 << spatial) - 1)
    bits.put(8, (1 << temporal) - 1)
    bits.put(5, _LEVEL)
    bits.put(1, 0)
    bits.put(4, 15)
    bits.put(4, 15)
    bits.put(16, width - 1)
    bits.put(16, height - 1)
    bits.put(1 + 1 + 2, 0)
    bits.put(4 + 1, 0)
    bits.put(2, 0)  # no tools for screen content
    bits.put(3, 0)
    bits.put(1 + 1 + 1 + 1 + 2 + 1, 0)  # 8 bits, 4:2:0
    bits.put(1, 0)
    bits.put(1, 1)
    return bits.whole()


@cache
def key_frame(width: int, height: int, largest: bool) -> bytes:
    """Grey: nothing is there to predict from, which is taken for 128. ``largest``: of the sequence's size."""
    bits = Bits()
    bits.put(1, 0)
    bits.put(2, _KEY)
    bits.put(1 + 1, 0b11)
    bits.put(1, not largest)
    if not largest:
        _size(bits, width, height)
    bits.put(1, 0)
    _tiles_and_quantiser(bits, width, height)
    bits.put(1, 0)  # segments
    _tools(bits)
    bits.put(1, 0)
    return bits.whole() + _tile(width, height, key=True)


@cache
def repeated(width: int, height: int, slot: int, *, kept: bool, into: int, scaled: bool, largest: bool) -> bytes:
    """What is in ``slot`` again, kept in the slot ``into`` if others refer to it; ``scaled``, to this size."""
    bits = Bits()
    bits.put(1, 0)
    bits.put(2, _INTER)
    bits.put(1 + 1 + 1, 0b101)
    bits.put(1, not largest)
    bits.put(3, 0)
    bits.put(8, 1 << into if kept else 0)
    for _ in range(_REFERENCES):
        bits.put(3, slot)
    if not largest and not scaled:
        bits.put(1, 1)  # the size of the first reference
    else:
        if not largest:
            bits.put(_REFERENCES, 0)
            _size(bits, width, height)
        bits.put(1, 0)
    bits.put(1 + 3 + 1, 0)
    _tiles_and_quantiser(bits, width, height)
    bits.put(3, 0b101)  # one segment for all, which says it only once
    for segment in range(_SEGMENTS):
        for feature in _FEATURES:
            on = segment == 0 and feature in ("reference", "skip", "global motion")
            bits.put(1, on)
            if on and feature == "reference":
                bits.put(3, 1)  # the first one
    _tools(bits)
    bits.put(1 + 1, 0)
    bits.put(_REFERENCES, 0)  # of which none moves
    return bits.whole() + _tile(width, height, key=False)


def _size(bits: Bits, width: int, height: int) -> None:
    bits.put(16, width - 1)
    bits.put(16, height - 1)


def _tiles_and_quantiser(bits: Bits, width: int, height: int) -> None:
    """One tile, which is enough up to 4096 × 2304; the same quantiser for all."""
    bits.put(1, 1)
    for side in (width, height):
        if side > SUPERBLOCK:
            bits.put(1, 0)
    bits.put(8, _QUANTISER)
    bits.put(1 + 1 + 1 + 1, 0)


def _tools(bits: Bits) -> None:
    """From the quantiser's differences on to the size of transforms: nothing is on."""
    bits.put(1, 0)
    bits.put(6 + 6 + 3 + 1, 0)
    bits.put(1, 0)


def _tile(width: int, height: int, *, key: bool) -> bytes:
    code = SymbolCoder()
    for partition in partitions(width, height):
        _partition(code, partition)
        if key and partition.kind != SPLIT:
            code.put(1, _SKIP[(partition.x > 0) + (partition.y > 0)])
            code.put(0, _LUMA)
            small = max(partition.width, partition.height) <= _LARGEST_SMALL
            code.put(0, _SMALL_CHROMA if small else _CHROMA)
    return code.whole()


def _partition(code: SymbolCoder, partition: Partition) -> None:
    """5.11.4: less is said at the edges."""
    of = _PARTITIONS[partition.log2 - 3][partition.context]
    if partition.kind == NONE:
        code.put(0, of)
    elif partition.kind in (HORIZONTAL, VERTICAL):
        kinds = _SPLIT_OR_HORIZONTAL if partition.kind == HORIZONTAL else _SPLIT_OR_VERTICAL
        code.put(0, (32768 - _together(of, kinds), 32768))


def _together(distribution: Sequence[int], symbols: Sequence[int]) -> int:
    return sum(distribution[at] - (distribution[at - 1] if at else 0) for at in symbols)
