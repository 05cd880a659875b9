"""Collapsed stacks: one line a stack, ``frame;frame;frame weight``, root first.

Written by async-profiler (with ``-a``: frames end in ``_[j] _[i] _[k] _[0] _[1]``; with ``-t``: the first frame is
``[thread name tid=N]``), py-spy (``--format raw``), Brendan Gregg's stackcollapse scripts, inferno, and jvbtune. Where
perf's samples of a JVM were collapsed, the first frame is the thread's name too, and is taken for that.

A pair of files of 139 MB is read in about a second. A stack's frames are told apart only when it is new: the second
file of a pair mostly repeats the first's, and is looked up line by line.
"""

from __future__ import annotations

import gc
import math
import re
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from jvbtune.errors import FormatError
from jvbtune.flame.formats.streams import Input
from jvbtune.flame.formats.table import THREAD_STARTS, Rows, StackTable, Threads
from jvbtune.flame.formats.text import shown
from jvbtune.flame.model import Kind, Profile
from jvbtune.flame.names import with_suffix

#: Bytes of stacks that are remembered as they stand, so that another file's are found without being taken apart.
REMEMBERED_BYTES = 192 << 20

_WEIGHT = re.compile(rb"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_TWO_WEIGHTS = re.compile(rb".* \d+(?:\.\d+)? \d+(?:\.\d+)?\s*", re.DOTALL)
_IN_WEIGHTS = b"0123456789.eE+-\r"


#: Threads of every JVM, as perf's stackcollapse scripts write the name of the kernel (``comm``, at most 15 bytes).
_JVM_COMM = re.compile(rb"(?:java|C[12]_CompilerThre|VM_Thread|VM_Periodic_Tas|GC_Thread#\d+|G1_\w+.*)")
_COMM = re.compile(rb"[^();\[\]]{1,15}")


def _first_frames_are_threads(lines: list[bytes]) -> bool:
    """Whether these are stacks of a JVM as perf's scripts collapse them: each begins with the name of a thread."""
    firsts = {line.partition(b";")[0] for line in lines if b";" in line}
    return all(map(_COMM.fullmatch, firsts)) and any(map(_JVM_COMM.fullmatch, firsts))


_TID = re.compile(r" tid=\d+$")


class _Known(dict[bytes, int]):
    """Stacks as they stand in a file, with their thread, to ``thread << 32 | stack`` (thread 0: none)."""

    def __init__(self, table: StackTable, threads: Threads, remember: bool) -> None:
        super().__init__()
        self.stack_of = table.stack
        self.number_of = table.names.__getitem__
        self.threads = threads
        self.comm_first = False
        self.room_bytes = REMEMBERED_BYTES if remember else 0

    def __missing__(self, raw: bytes) -> int:
        frames = raw.split(b";")
        thread = -1
        if self.comm_first:
            thread = self.threads.named(frames[0])
            del frames[0]
        elif raw.startswith(THREAD_STARTS):
            thread = self.threads[frames[0]]
            if thread >= 0:
                del frames[0]
        key = (thread + 1) << 32 | self.stack_of(b"".join(map(self.number_of, frames)))
        if self.room_bytes > 0:
            self.room_bytes -= len(raw)
            self[raw] = key
        return key


class CollapsedReader:
    """Reads collapsed files, one after another, into one table of stacks."""

    def __init__(self, table: StackTable, *, files: int) -> None:
        self.threads = Threads()
        self._known = _Known(table, self.threads, remember=files > 1)

    def read(self, stream: Input) -> Rows:
        collecting = gc.isenabled()
        gc.disable()  # no cycles are made here, and the collector would walk every remembered stack
        try:
            return self._read(stream)
        finally:
            if collecting:
                gc.enable()

    def _read(self, stream: Input) -> Rows:
        keys: list[int] = []
        counts: list[float] = []
        first_line = 1
        self._known.comm_first = False
        for lines in _lines(stream):
            if first_line == 1 and all(map(_TWO_WEIGHTS.fullmatch, lines)):
                raise FormatError(
                    f"two weights a line, so this is a difference already: {shown(lines[0])}",
                    file=stream.path,
                    line=1,
                    hint="Give the two files that it was made of.",
                )
            if first_line == 1 and _first_frames_are_threads(lines):
                self._known.clear()
                self._known.comm_first = True
            try:
                self._count(lines, keys, counts)
            except ValueError:
                self._count(_checked(lines, first_line, stream), keys, counts)
            first_line += len(lines)
        if self._known.comm_first:
            self._known.clear()
        both = np.array(keys, dtype=np.int64)
        return Rows(
            (both & 0xFFFFFFFF).astype(np.int32),
            np.array(counts, dtype=np.float64),
            ((both >> 32) - 1).astype(np.int32),
            tuple(self.threads.labels),
        )

    def _count(self, lines: list[bytes], keys: list[int], counts: list[float]) -> None:
        """Takes in lines, all or none: raises ValueError where one is malformed."""
        known = self._known
        parts = [line.rpartition(b" ") for line in lines]
        new_keys = [known[stack] for stack, _, _ in parts]
        weights = [weight for _, _, weight in parts]
        values = list(map(float, weights))
        if b"".join(weights).translate(None, _IN_WEIGHTS) or (
            values and not 0 <= min(values) <= max(values) < math.inf
        ):
            raise ValueError("a weight that is no plain number")
        keys += new_keys
        counts += values


def write(profile: Profile, out: BinaryIO) -> None:
    """One line for each stack and thread, annotated as async-profiler's ``-a`` does; heaviest rows are not first: the
    order is that of the profile. A name's own ``;`` and line ends cannot be told from the format's, and are replaced.
    """
    stacks = profile.stacks
    names = [
        with_suffix(name, Kind(kind)).replace(";", ":").replace("\n", " ").replace("\r", " ")
        for name, kind in zip(stacks.frames.names, stacks.frames.kinds, strict=True)
    ]
    threads = [f"[{label if _TID.search(label) else label + ' tid=0'}]".replace(";", ":") for label in profile.threads]
    for stack, thread, count in zip(profile.stack, profile.thread, profile.counts.tolist(), strict=True):
        frames = [names[i] for i in stacks.flat[stacks.offsets[stack] : stacks.offsets[stack + 1]]]
        if thread >= 0:
            frames.insert(0, threads[thread])
        weight = int(count) if count.is_integer() else count
        line = f"{';'.join(frames) or '[no stack]'} {weight}\n"
        out.write(line.encode(errors="backslashreplace"))


def _lines(stream: Input) -> Iterator[list[bytes]]:
    """All lines, some hundreds at a time."""
    rest = b""
    while chunk := stream.read():
        end = chunk.rfind(b"\n")
        if end < 0:
            rest += chunk
            continue
        lines = chunk[:end].split(b"\n")
        lines[0] = rest + lines[0]
        rest = chunk[end + 1 :]
        yield lines
    if rest:
        yield [rest]


def _checked(lines: list[bytes], first_line: int, stream: Input) -> list[bytes]:
    """The lines without empty ones. Raises FormatError for the first that is malformed."""
    for number, line in enumerate(lines, first_line):
        if not line.strip():
            continue
        stack, _, weight = line.rstrip(b"\r").rpartition(b" ")
        why = ""
        if not _WEIGHT.fullmatch(weight) or not math.isfinite(float(weight)):
            why = "no weight, a number of 0 or above, at the end of this line of collapsed stacks"
        elif not all(stack.split(b";")):
            why = "a frame without a name in this line of collapsed stacks"
        if why:
            raise FormatError(
                f"{why}: {shown(line)}", file=stream.path, line=number, hint="Each line is: frame;frame;frame weight"
            )
    return [line for line in lines if line.strip()]
