"""VP9 (bitstream specification, version 0.6): blocks without residue in two rows of tiles.

The first tile has its size before it, so that a decoder skips whatever is behind its end: that is where filler goes.
Behind the last one only zeros are skipped. Each frame resets all probabilities, so that it needs none of another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from jvbtune.load.media.picture.blocks import HORIZONTAL, NONE, SPLIT, SUPERBLOCK, VERTICAL, Partition, partitions
from jvbtune.load.media.picture.coding import Bits, BoolCoder

TILE_SIZE_BYTES = 4
LEAST_TILE_COLUMNS = 4  #: of superblocks; more than 64 have to be divided, and no picture here is that wide
#: kf_partition_probs and default_partition_probs (10.5), by the side of a square from 8 to 64 and its context.
_KEY_PARTITIONS = (
    ((158, 97, 94), (93, 24, 99), (85, 119, 44), (62, 59, 67)),
    ((149, 53, 53), (94, 20, 48), (83, 53, 24), (52, 18, 18)),
    ((150, 40, 39), (78, 12, 26), (67, 33, 11), (24, 7, 5)),
    ((174, 35, 49), (68, 11, 27), (57, 15, 9), (12, 3, 3)),
)
_PARTITIONS = (
    ((199, 122, 141), (147, 63, 159), (148, 133, 118), (121, 104, 114)),
    ((174, 73, 87), (92, 41, 83), (82, 99, 50), (53, 39, 39)),
    ((177, 58, 59), (68, 26, 63), (52, 79, 25), (17, 14, 12)),
    ((222, 34, 30), (72, 16, 44), (58, 32, 12), (10, 7, 6)),
)
#: Of DC_PRED, where the blocks around are too; of the chroma of such a block (10.5).
_KEY_LUMA, _KEY_CHROMA = 137, 144
_NO_UPDATE = 252  #: of a probability
#: Probabilities of a frame (6.3.8 to 6.3.16): of skipping; of modes, references, partitions and motion besides.
_KEY_PROBABILITIES, _PROBABILITIES = 3, 3 + 21 + 4 + 10 + 36 + 48 + 65
_REFERENCES = 3
_SEGMENTS, _FEATURES = 8, ("quantiser", "filter", "reference", "skip")
_QUANTISER = 60  #: of nothing, but not 0, which is lossless


@dataclass(frozen=True)
class Frame:
    """``lead`` is before the size of the first tile, ``first`` and ``last`` are the tiles."""

    lead: bytes
    first: bytes
    last: bytes

    def least_bytes(self, last_bytes: int) -> int:
        return len(self.lead) + TILE_SIZE_BYTES + len(self.first) + max(last_bytes, len(self.last))

    def split(self, size: int, last_bytes: int) -> tuple[bytes, bytes]:
        """Begin and end of the frame in that size; ``last_bytes`` are for the last tile, at least."""
        end = self.last.ljust(last_bytes, b"\0")
        tile = size - len(self.lead) - TILE_SIZE_BYTES - len(end)
        return self.lead + tile.to_bytes(TILE_SIZE_BYTES, "big") + self.first, end


@cache
def key_frame(width: int, height: int) -> Frame:
    """Grey: nothing is there to predict from, which is taken for 128."""
    bits = _begin(key=True)
    bits.put(24, 0x498342)
    bits.put(3 + 1, 2 << 1)  # BT.709, studio range
    _size(bits, width, height)
    bits.put(2, 0)
    return _finish(bits, width, height, key=True)


@cache
def repeated(width: int, height: int, slot: int, *, kept: bool, into: int, scaled: bool) -> Frame:
    """What is in ``slot`` again, kept in the slot ``into`` if others refer to it; ``scaled``, to this size."""
    bits = _begin(key=False)
    bits.put(8, 1 << into if kept else 0)
    for _ in range(_REFERENCES):
        bits.put(3 + 1, slot << 1)
    if scaled:
        bits.put(_REFERENCES, 0)
        _size(bits, width, height)
    else:
        bits.put(1 + 1, 0b10)  # the size of the first reference, which is the one to be shown
    bits.put(1, 0)
    bits.put(3, 0b001)  # a filter for all
    bits.put(2, 0)
    return _finish(bits, width, height, key=False)


def _begin(key: bool) -> Bits:
    """Shown, and independent of what was before but for its references (6.2)."""
    bits = Bits()
    bits.put(2 + 2 + 1, 0b10000)
    bits.put(3, 0b011 if key else 0b111)
    return bits


def _size(bits: Bits, width: int, height: int) -> None:
    bits.put(16, width - 1)
    bits.put(16, height - 1)
    bits.put(1, 0)


def _finish(bits: Bits, width: int, height: int, *, key: bool) -> Frame:
    """From the loop filter on, with all that follows."""
    bits.put(6 + 3 + 1, 0)
    bits.put(8, _QUANTISER)
    bits.put(3, 0)
    bits.put(4, 0b1010)  # one segment for all, which says it only once
    for segment in range(_SEGMENTS):
        for feature in _FEATURES:
            on = segment == 0 and (feature == "skip" or (feature == "reference" and not key))
            bits.put(1, on)
            if on and feature == "reference":
                bits.put(2, 1)  # the first one
    columns, rows = -(-width // SUPERBLOCK), -(-height // SUPERBLOCK)
    if columns >= 2 * LEAST_TILE_COLUMNS:
        bits.put(1, 0)  # might be divided into columns of tiles, too
    bits.put(2, 0b10)
    probabilities = _probabilities(key)
    bits.put(16, len(probabilities))
    middle = rows // 2
    tiles = [_tile(width, height, part, key) for part in (range(middle), range(middle, rows))]
    return Frame(bits.whole() + probabilities, *tiles)


def _coder() -> BoolCoder:
    code = BoolCoder()
    code.put(0, 128)
    return code


def _probabilities(key: bool) -> bytes:
    """None changes; transforms are of 4 × 4, of which there are none (6.3)."""
    code = _coder()
    code.literal(2 + 1, 0)
    for _ in range(_KEY_PROBABILITIES if key else _PROBABILITIES):
        code.put(0, _NO_UPDATE)
    return code.whole()


def _tile(width: int, height: int, rows: range, key: bool) -> bytes:
    code = _coder()
    for partition in partitions(width, height, rows):
        _partition(code, partition, (_KEY_PARTITIONS if key else _PARTITIONS)[partition.log2 - 3][partition.context])
        if key and partition.kind != SPLIT:
            code.put(0, _KEY_LUMA)
            code.put(0, _KEY_CHROMA)
    return code.whole()


def _partition(code: BoolCoder, partition: Partition, probabilities: tuple[int, int, int]) -> None:
    """6.4.3: less is said at the edges."""
    if partition.kind == NONE:
        code.put(0, probabilities[0])
    elif partition.kind == HORIZONTAL:
        code.put(0, probabilities[1])
    elif partition.kind == VERTICAL:
        code.put(0, probabilities[2])
