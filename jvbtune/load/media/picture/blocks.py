"""How VP9 and AV1 divide a picture into blocks: into as few as its edges allow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

SUPERBLOCK = 64
NONE, HORIZONTAL, VERTICAL, SPLIT = range(4)


@dataclass(frozen=True)
class Partition:
    """A square that is left whole, cut at an edge of the picture, or split. ``log2``: of its side, 3 to 6. ``context``:
    whether its neighbours above (1) and to the left (2) are smaller. ``width`` and ``height``: of the one block in it,
    0 where it is split."""

    kind: int
    log2: int
    context: int
    has_rows: bool
    has_columns: bool
    x: int
    y: int
    width: int
    height: int


def partitions(width: int, height: int, rows: range | None = None) -> Iterator[Partition]:
    """In the order of coding. ``rows``: of superblocks; all, unless these are given. Nothing above the first is seen:
    there, whatever is above is at least as large."""
    columns = -(-width // SUPERBLOCK)
    above = [SUPERBLOCK] * (columns * SUPERBLOCK // 8)
    width, height = (width + 7) // 8 * 8, (height + 7) // 8 * 8

    def divide(x: int, y: int, log2: int, left: list[int]) -> Iterator[Partition]:
        if x >= width or y >= height:
            return
        side, half = 1 << log2, 1 << (log2 - 1)
        has_rows, has_columns = log2 == 3 or y + half < height, log2 == 3 or x + half < width
        kind = ((SPLIT, VERTICAL), (HORIZONTAL, NONE))[has_columns][has_rows]
        context = (above[x // 8] < side) + 2 * (left[y // 8 % 8] < side)
        if kind == SPLIT:
            yield Partition(kind, log2, context, has_rows, has_columns, x, y, 0, 0)
            for down in (0, half):
                for right in (0, half):
                    yield from divide(x + right, y + down, log2 - 1, left)
            return
        wide, high = half if kind == VERTICAL else side, half if kind == HORIZONTAL else side
        yield Partition(kind, log2, context, has_rows, has_columns, x, y, wide, high)
        above[x // 8 : (x + side) // 8] = [wide] * (side // 8)
        left[y // 8 % 8 : y // 8 % 8 + side // 8] = [high] * (side // 8)

    for row in rows if rows is not None else range(-(-height // SUPERBLOCK)):
        left = [SUPERBLOCK] * 8
        for column in range(columns):
            yield from divide(column * SUPERBLOCK, row * SUPERBLOCK, 6, left)
