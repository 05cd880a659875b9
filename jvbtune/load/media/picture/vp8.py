"""VP8 (RFC 6386): macroblocks without residue, all predicted alike."""

from __future__ import annotations

from functools import cache

from jvbtune.load.media.picture.coding import BoolCoder

MACROBLOCK = 16
#: Probabilities that say that a probability of tokens stays as it is (13.4), in their order; 255 where none is given.
_TOKENS = 4 * 8 * 3 * 11
# fmt: off
_TOKEN_UPDATES = {
    33: 176, 34: 246, 44: 223, 45: 241, 46: 252, 55: 249, 56: 253, 57: 253, 67: 244, 68: 252, 77: 234, 78: 254, 79:
    254, 88: 253, 100: 246, 101: 254, 110: 239, 111: 253, 112: 254, 121: 254, 123: 254, 133: 248, 134: 254, 143:
    251, 145: 254, 166: 253, 167: 254, 176: 251, 177: 254, 178: 254, 187: 254, 189: 254, 199: 254, 200: 253, 202:
    254, 209: 250, 211: 254, 213: 254, 220: 254, 264: 217, 275: 225, 276: 252, 277: 241, 278: 253, 281: 254, 286:
    234, 287: 250, 288: 241, 289: 250, 290: 253, 292: 253, 293: 254, 298: 254, 308: 223, 309: 254, 310: 254, 319:
    238, 320: 253, 321: 254, 322: 254, 331: 248, 332: 254, 341: 249, 342: 254, 364: 253, 374: 247, 375: 254, 397:
    253, 398: 254, 407: 252, 430: 254, 431: 254, 440: 253, 463: 254, 464: 253, 473: 250, 484: 254, 528: 186, 529:
    251, 530: 250, 539: 234, 540: 251, 541: 244, 542: 254, 550: 251, 551: 251, 552: 243, 553: 253, 554: 254, 556:
    254, 562: 253, 563: 254, 572: 236, 573: 253, 574: 254, 583: 251, 584: 253, 585: 253, 586: 254, 587: 254, 595:
    254, 596: 254, 605: 254, 606: 254, 607: 254, 628: 254, 638: 254, 639: 254, 649: 254, 671: 254, 792: 248, 803:
    250, 804: 254, 805: 252, 806: 254, 814: 248, 815: 254, 816: 249, 817: 253, 826: 253, 827: 253, 836: 246, 837:
    253, 838: 253, 847: 252, 848: 254, 849: 251, 850: 254, 851: 254, 859: 254, 860: 252, 869: 248, 870: 254, 871:
    253, 880: 253, 882: 254, 883: 254, 892: 251, 893: 254, 902: 245, 903: 251, 904: 254, 913: 253, 914: 253, 915:
    254, 925: 251, 926: 253, 935: 252, 936: 253, 937: 254, 947: 254, 958: 252, 968: 249, 970: 254, 981: 254, 992:
    253, 1001: 250, 1034: 254
}
# fmt: on
#: The same of motion vectors (17.2).
_MOTION_UPDATES = (
    *(237, 246, 253, 253, 254, 254, 254, 254, 254, 254, 254, 254, 254, 254, 250, 250, 252, 254, 254),
    *(231, 243, 245, 253, 254, 254, 254, 254, 254, 254, 254, 254, 254, 254, 251, 251, 254, 254, 254),
)
#: That a motion vector is not zero, by what is known of the blocks above and to the left (16.3, first column).
_ZERO_MOTION = (7, 14, 135, 60, 159, 234)
_KEY_LUMA, _KEY_CHROMA = (145, 156, 163), 142  #: on the way to DC_PRED (11.2)
_NEVER, _ALWAYS = 1, 255  #: a probability of 0, as far as there is one


def _macroblocks(width: int, height: int) -> tuple[int, int]:
    return -(-width // MACROBLOCK), -(-height // MACROBLOCK)


def _common(code: BoolCoder) -> None:
    """No segments, no loop filter, one partition of tokens, the finest quantiser (9.3 to 9.6)."""
    code.literal(1, 0)
    code.literal(1 + 6 + 3, 0)
    code.literal(1, 0)
    code.literal(2, 0)
    code.literal(7 + 5, 0)


def _tokens(code: BoolCoder) -> None:
    """No new probabilities; macroblocks say that they have no residue (9.9 to 9.11)."""
    for at in range(_TOKENS):
        code.put(0, _TOKEN_UPDATES.get(at, 255))
    code.literal(1, 1)
    code.literal(8, _NEVER)


@cache
def key_frame(width: int, height: int) -> bytes:
    """Grey: nothing is there to predict from, which is taken for 128."""
    code = BoolCoder()
    code.literal(2, 0)
    _common(code)
    code.literal(1, 1)
    _tokens(code)
    columns, rows = _macroblocks(width, height)
    for _ in range(columns * rows):
        code.put(1, _NEVER)
        for bit, probability in zip((1, 0, 0), _KEY_LUMA, strict=True):
            code.put(bit, probability)
        code.put(0, _KEY_CHROMA)
    first = code.whole()
    tag = (len(first) << 5 | 0x10).to_bytes(3, "little")
    return tag + b"\x9d\x01\x2a" + width.to_bytes(2, "little") + height.to_bytes(2, "little") + first


@cache
def repeated(width: int, height: int, kept: bool) -> bytes:
    """The last picture again; ``kept``: others may refer to it."""
    code = BoolCoder()
    _common(code)
    code.literal(2 + 2 + 2 + 2, 0)  # golden and alternate frame stay as they are
    code.literal(1, 0)  # these probabilities are for this frame only
    code.literal(1, kept)
    _tokens(code)
    code.literal(8, _NEVER)  # intra
    code.literal(8, _ALWAYS)  # the last frame
    code.literal(8, 128)
    code.literal(2, 0)
    for probability in _MOTION_UPDATES:
        code.put(0, probability)
    columns, rows = _macroblocks(width, height)
    for row in range(rows):
        for column in range(columns):
            code.put(1, _NEVER)
            code.put(1, _NEVER)
            code.put(0, _ALWAYS)
            code.put(0, _ZERO_MOTION[2 * (row > 0) + 2 * (column > 0) + (row > 0 and column > 0)])
    first = code.whole()
    return (len(first) << 5 | 0x11).to_bytes(3, "little") + first
