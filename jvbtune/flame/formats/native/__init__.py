"""The inner loops of reading in C (fold.c), compiled once into the user's cache where a C compiler is at hand.

What costs in a pair of files of 139 MB is to cut four million names out of text twice and to look each one up: 1.1 s
of CPU by Python, 0.65 s by polars (categorical columns of its CSV reader, before a stack is put together), 0.4 s by
inferno, which does not look into stacks, and 0.4 s by these loops, all told. Without a compiler everything is read by
the Python code, which gives the same result, and which reads whatever is not plainly well-formed in any case.
``JVBTUNE_NATIVE=0`` switches this off.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np

from jvbtune.flame.model import Float64, Int32, Int64

#: Files below this are read before a compiler has started.
WORTH_IT_BYTES = 4 << 20
COMPILE_SECONDS = 60
FLAGS = ("-O2", "-std=gnu11", "-shared", "-fPIC")

_POINTER = ctypes.c_void_p
Library = ctypes.CDLL


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """The compiled loops; None where they cannot be had here."""
    if os.environ.get("JVBTUNE_NATIVE") == "0":
        return None
    source = resources.files(__name__).joinpath("fold.c").read_bytes()
    digest = hashlib.sha256(source + platform.machine().encode()).hexdigest()[:24]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jvbtune" / "native"
    path = cache / f"fold-{digest}.so"
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _ours_alone(cache) or not (path.exists() or _compile(source, path)) or not _ours_alone(path):
            return None
        loaded = ctypes.CDLL(str(path))
    except OSError:
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


def _ours_alone(path: Path) -> bool:
    """Whether nobody else can have written it: what is loaded is run."""
    found = path.stat()
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _compile(source: bytes, path: Path) -> bool:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return False
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        text, out = Path(directory, "fold.c"), Path(directory, "fold.so")
        text.write_bytes(source)
        argv = [compiler, *FLAGS, "-o", str(out), str(text)]
        try:
            done = subprocess.run(argv, capture_output=True, timeout=COMPILE_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return False
        if done.returncode != 0:
            return False
        out.chmod(0o700)
        out.replace(path)
    return True


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
