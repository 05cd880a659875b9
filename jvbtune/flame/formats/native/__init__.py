"""The inner loops of reading in C (fold.c): a library that is built with the package, where a compiler was at hand.

What costs in a pair of files of 139 MB is to cut four million names out of text twice and to look each one up: 1.1 s
of CPU by Python, 0.65 s by polars (categorical columns of its CSV reader, before a stack is put together), 0.4 s by
inferno, which does not look into stacks, and 0.4 s by these loops, all told. Without them everything is read by the
Python code, which gives the same result, and which reads whatever is not plainly well-formed in any case. Nothing is
compiled here: hatch_build.py does that when the package is built. ``JVBTUNE_NATIVE=0`` switches the loops off.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jvbtune.flame.model import Float64, Int32, Int64
from jvbtune.native import load

if TYPE_CHECKING:
    from jvbtune.flame.formats.streams import Input

#: Files below this are read as fast without them.
WORTH_IT_BYTES = 4 << 20
#: From here on it takes seconds longer without them, so that it is worth a word.
SLOW_BYTES = 32 << 20

_POINTER = ctypes.c_void_p
Library = ctypes.CDLL


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """The compiled loops; None where the package was built without them, or the user wants none."""
    loaded = load(Path(__file__).with_name("fold.c"))
    if loaded is None:
        return None
    loaded.names_new.restype = _POINTER
    loaded.names_free.argtypes = [_POINTER]
    loaded.names_count.argtypes = [_POINTER]
    loaded.names_get.argtypes = [_POINTER, ctypes.c_int32, ctypes.POINTER(ctypes.c_uint32)]
    loaded.names_get.restype = _POINTER
    for name in ("names_all", "names_lengths"):
        getattr(loaded, name).argtypes = [_POINTER]
        getattr(loaded, name).restype = _POINTER
    loaded.intern_stacks.argtypes = [_POINTER, _POINTER, _POINTER, _POINTER, ctypes.c_long, _POINTER]
    text, length = ctypes.c_char_p, ctypes.c_long
    loaded.fold_collapsed.argtypes = [_POINTER, _POINTER, text, length, _POINTER, _POINTER, _POINTER, _POINTER]
    loaded.fold_perf.argtypes = [_POINTER, text, length, _POINTER, _POINTER, _POINTER]
    loaded.fold_collapsed.restype = loaded.fold_perf.restype = ctypes.c_long
    return loaded


def library_for(stream: Input) -> Library | None:
    """The loops, for a file that is large enough to be worth it."""
    return library() if stream.is_large else None


def remark(paths: Sequence[Path]) -> str | None:
    """A sentence for the user where files are read slowly for want of the loops; None where they are not."""
    if library() is not None or os.environ.get("JVBTUNE_NATIVE") == "0":
        return None
    if sum(path.stat().st_size for path in paths if path.is_file()) < SLOW_BYTES:
        return None
    return (
        "This installation has no compiled reader, so large profiles take about three times as long. "
        "To get it, install a C compiler (cc), then install jvbtune again."
    )


class Stacks:
    """Stacks of frames' numbers, each once, in C."""

    def __init__(self, loaded: Library) -> None:
        self._library = loaded
        self._table = loaded.names_new()
        if not self._table:
            raise MemoryError

    def __del__(self) -> None:
        if self._table:
            self._library.names_free(self._table)

    def numbers(self, frames: Int32, starts: Int64, ends: Int64) -> Int32:
        """The number of each stack ``frames[starts[i]:ends[i]]``."""
        frames, starts, ends = np.ascontiguousarray(frames), np.ascontiguousarray(starts), np.ascontiguousarray(ends)
        found = np.empty(len(starts), np.int32)
        places = (frames.ctypes.data, starts.ctypes.data, ends.ctypes.data)
        if self._library.intern_stacks(self._table, *places, len(starts), found.ctypes.data) < 0:
            raise MemoryError
        return found

    def all(self) -> tuple[Int32, Int64]:
        """(frames of all stacks one after another, number of frames of each)."""
        count = int(self._library.names_count(self._table))
        if not count:
            return np.empty(0, np.int32), np.empty(0, np.int64)
        raw = ctypes.string_at(self._library.names_lengths(self._table), 4 * count)
        bytes_ = np.frombuffer(raw, np.uint32).astype(np.int64)
        flat = ctypes.string_at(self._library.names_all(self._table), int(bytes_.sum()))
        return np.frombuffer(flat, np.int32), bytes_ >> 2


class Folder:
    """Names and stacks with their numbers in C, and the room that its results are written to.

    Arrays that a call gives are overwritten by the next one.
    """

    def __init__(self, loaded: Library) -> None:
        self._library = loaded
        self._names = loaded.names_new()
        self._stacks = loaded.names_new()
        if not self._names or not self._stacks:
            raise MemoryError
        self._room = 0
        self._length = ctypes.c_uint32()
        self._stacks_told = 0

    def __del__(self) -> None:
        for table in (self._names, self._stacks):
            if table:
                self._library.names_free(table)

    @property
    def names(self) -> int:
        """How many names there are."""
        return int(self._library.names_count(self._names))

    def name(self, number: int) -> bytes:
        start = self._library.names_get(self._names, number, ctypes.byref(self._length))
        return ctypes.string_at(start, self._length.value)

    def collapsed(self, piece: bytes) -> tuple[Int32, Int32, tuple[Int32, Float64] | None]:
        """Numbers of names and frames a stack, of the stacks that are new; then the stack and the weight of each line.

        The last is None where a line is not plainly well-formed: nothing was counted, but new stacks are to be noted.
        """
        self._make_room(len(piece))
        rooms = (self._numbers, self._lengths, self._stack_of, self._weights)
        addresses = [room.ctypes.data for room in rooms]
        lines = self._library.fold_collapsed(self._names, self._stacks, piece, len(piece), *addresses)
        known, self._stacks_told = self._stacks_told, int(self._library.names_count(self._stacks))
        lengths = self._lengths[: self._stacks_told - known]
        numbers = self._numbers[: int(lengths.sum(dtype=np.int64))]
        return numbers, lengths, (self._stack_of[:lines], self._weights[:lines]) if lines >= 0 else None

    def perf(self, piece: bytes) -> tuple[Int32, Int32, Int32] | None:
        """Numbers of names, frames a block, start and end of each header; None where a block is not well-formed."""
        self._make_room(len(piece))
        addresses = (self._numbers.ctypes.data, self._lengths.ctypes.data, self._headers.ctypes.data)
        blocks = self._library.fold_perf(self._names, piece, len(piece), *addresses)
        if blocks < 0:
            return None
        lengths = self._lengths[:blocks]
        return self._numbers[: int(lengths.sum(dtype=np.int64))], lengths, self._headers[: 2 * blocks]

    def _make_room(self, size: int) -> None:
        if size >= 2**31:
            raise MemoryError("a single line of 2 GiB")
        if size <= self._room:
            return
        self._room = size
        self._numbers = np.empty(size // 2 + 1, np.int32)
        self._lengths = np.empty(size // 2 + 1, np.int32)
        self._headers = np.empty(2 * (size // 2 + 1), np.int32)
        self._stack_of = np.empty(size // 4 + 1, np.int32)
        self._weights = np.empty(size // 4 + 1, np.float64)
