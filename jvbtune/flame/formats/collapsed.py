"""Collapsed stacks: one line a stack, ``frame;frame;frame weight``, root first.

Written by async-profiler (with ``-a``: frames end in ``_[j] _[i] _[k] _[0] _[1]``; with ``-t``: the first frame is
``[thread name tid=N]``), py-spy (``--format raw``), Brendan Gregg's stackcollapse scripts, inferno, and jvbtune. Where
perf's samples of a JVM were collapsed, the first frame is the thread's name too, and is taken for that; frames from an
entry of the kernel on are the kernel's. Lines that begin with ``#`` are comments (Austin's, for one).

Large files are cut into names by a compiled loop where there is one (``native``); the code here reads the same, and
whatever that loop declines. In it, a stack's frames are told apart only when it is new: the second file of a pair
mostly repeats the first's, and is looked up line by line.
"""

from __future__ import annotations

import gc
import math
import re
from typing import BinaryIO

import numpy as np

from jvbtune.errors import FormatError
from jvbtune.flame.formats import native
from jvbtune.flame.formats.streams import Input
from jvbtune.flame.formats.table import THREAD_STARTS, FrameNumbers, Rows, StackTable, Threads
from jvbtune.flame.formats.text import shown
from jvbtune.flame.model import Float64, Int32, Int64, Kind, Profile
from jvbtune.flame.names import with_suffix

#: Bytes of stacks that are remembered as they stand, so that another file's are found without being taken apart.
REMEMBERED_BYTES = 192 << 20

_WEIGHT = re.compile(rb"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_TWO_WEIGHTS = re.compile(rb".* \d+(?:\.\d+)? \d+(?:\.\d+)?\s*", re.DOTALL)
_IN_WEIGHTS = b"0123456789.eE+-\r"


#: Threads of every JVM, as perf's stackcollapse scripts write the name of the kernel (``comm``, at most 15 bytes).
_JVM_COMM = re.compile(rb"(?:java|C[12]_CompilerThre|VM_Thread|VM_Periodic_Tas|GC_Thread#\d+|G1_\w+.*)")
_COMM = re.compile(rb"[^();\[\]]{1,15}")


#: Functions through which the kernel is entered, on x86-64 and arm64, and those on which its own threads begin.
_KERNEL_ENTRIES = (
    *(b"entry_SYSCALL", b"do_syscall_64", b"asm_sysvec_", b"asm_exc_", b"asm_common_interrupt"),
    *(b"ret_from_fork", b"secondary_startup_64", b"el0t_64_sync", b"el0_sync", b"el1h_64_irq"),
)


def _with_kernel(frames: list[bytes]) -> list[bytes]:
    """Frames as perf's scripts write them without ``--kernel``, the kernel's marked: those from its entry on."""
    for i, frame in enumerate(frames):
        if frame.startswith(_KERNEL_ENTRIES):
            return frames[:i] + [name if name.endswith(b"_[k]") else name + b"_[k]" for name in frames[i:]]
    return frames


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
            frames = _with_kernel(frames[1:])
        elif raw.startswith(THREAD_STARTS):
            thread = self.threads[frames[0]]
            if thread >= 0:
                del frames[0]
        key = (thread + 1) << 32 | self.stack_of(b"".join(map(self.number_of, frames)))
        if self.room_bytes > 0:
            self.room_bytes -= len(raw)
            self[raw] = key
        return key


class _Fast:
    """Stacks by the compiled loop, to the same keys as ``_Known`` gives."""

    def __init__(self, library: native.Library, table: StackTable, threads: Threads) -> None:
        table.compile(library)
        self.folder = native.Folder(library)
        self.frames = FrameNumbers(self.folder, table.names.__getitem__)
        self.table = table
        self.threads = threads
        self.thread_of: dict[int, int] = {}  # of the name that is the first of a stack
        self.keys = np.empty(0, np.int64)

    def count(self, piece: bytes) -> tuple[Int64, Float64] | None:
        """Key and weight of each line; None where the loop declines the piece."""
        numbers, lengths, found = self.folder.collapsed(piece)
        if len(lengths):
            self.keys = np.concatenate([self.keys, self._keys_of_new(numbers, lengths)])
        return (self.keys.take(found[0]), found[1].copy()) if found else None

    def _keys_of_new(self, numbers: Int32, lengths: Int32) -> Int64:
        ends = np.cumsum(lengths, dtype=np.int64)
        starts = ends - lengths
        firsts = numbers[starts].tolist()
        for first in set(firsts).difference(self.thread_of):
            self.thread_of[first] = self.threads[self.folder.name(first)]
        thread = np.array([self.thread_of[first] for first in firsts], dtype=np.int64)
        frames = self.frames.of(numbers, starts[thread >= 0])
        stacks = self.table.stacks(frames, starts + (thread >= 0), ends)
        return (thread + 1) << 32 | stacks


class CollapsedReader:
    """Reads collapsed files, one after another, into one table of stacks."""

    def __init__(self, table: StackTable, *, files: int) -> None:
        self.table = table
        self.threads = Threads()
        self._known = _Known(table, self.threads, remember=files > 1)
        self._fast: _Fast | None = None
        self._keys: list[Int64] = []
        self._counts: list[Float64] = []

    def read(self, stream: Input) -> Rows:
        collecting = gc.isenabled()
        gc.disable()  # no cycles are made here, and the collector would walk every remembered stack
        try:
            return self._read(stream)
        finally:
            if collecting:
                gc.enable()

    def _read(self, stream: Input) -> Rows:
        self._keys, self._counts = [np.empty(0, np.int64)], [np.empty(0)]
        self._known.comm_first = False
        fast: _Fast | None = None
        line_number = 1
        with stream.pieces_ahead(b"\n") as pieces:
            for piece in pieces:
                if line_number == 1:
                    self._look_at_first([line for line in piece.splitlines() if line[:1] != b"#"], stream)
                    fast = self._fast_for(stream)
                found = fast.count(piece) if fast else None
                if found is None:
                    line_number += self._count_piece(piece, line_number, stream)
                else:
                    self._keys.append(found[0])
                    self._counts.append(found[1])
                    line_number += len(found[0])
        if self._known.comm_first:
            self._known.clear()
        keys = np.concatenate(self._keys)
        return Rows(
            (keys & 0xFFFFFFFF).astype(np.int32),
            np.concatenate(self._counts),
            ((keys >> 32) - 1).astype(np.int32),
            tuple(self.threads.labels),
        )

    def _fast_for(self, stream: Input) -> _Fast | None:
        if self._known.comm_first:  # which needs a look at every frame
            return None
        if self._fast is None and (library := native.library_for(stream)):
            self._fast = _Fast(library, self.table, self.threads)
        return self._fast

    def _look_at_first(self, lines: list[bytes], stream: Input) -> None:
        if lines and all(map(_TWO_WEIGHTS.fullmatch, lines)):
            raise FormatError(
                f"two weights a line, so this is a difference already: {shown(lines[0])}",
                file=stream.path,
                line=1,
                hint="Give the two files that it was made of.",
            )
        if _first_frames_are_threads(lines):
            self._known.clear()
            self._known.comm_first = True

    def _count_piece(self, piece: bytes, line_number: int, stream: Input) -> int:
        """Takes in whole lines by the code here; gives their number."""
        lines = piece.removesuffix(b"\n").split(b"\n")
        try:
            if piece.startswith(b"#") or b"\n#" in piece:
                raise ValueError("comments")
            self._count(lines)
        except ValueError:
            self._count(_checked(lines, line_number, stream))
        return len(lines)

    def _count(self, lines: list[bytes]) -> None:
        """Takes in lines, all or none: raises ValueError where one is malformed."""
        known = self._known
        parts = [line.rpartition(b" ") for line in lines]
        keys = [known[stack] for stack, _, _ in parts]
        weights = [weight for _, _, weight in parts]
        values = list(map(float, weights))
        strange = b"".join(weights).translate(None, _IN_WEIGHTS)
        if strange or (values and not 0 <= min(values) <= max(values) < math.inf):
            raise ValueError("a weight that is no plain number")
        self._keys.append(np.array(keys, dtype=np.int64))
        self._counts.append(np.array(values, dtype=np.float64))


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


def _checked(lines: list[bytes], first_line: int, stream: Input) -> list[bytes]:
    """The lines without empty ones and comments. Raises FormatError for the first that is malformed."""
    stacks = []
    for number, line in enumerate(lines, first_line):
        if not line.strip() or line.startswith(b"#"):
            continue
        stacks.append(line)
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
    return stacks
