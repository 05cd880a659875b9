"""The tables that readers fill: frames and stacks, each once, whichever file they come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from jvbtune.flame.formats import native
from jvbtune.flame.formats.native import Folder, Library
from jvbtune.flame.model import Float64, Frames, Int32, Int64, Kind, Meta, Profile, Stacks
from jvbtune.flame.names import NameRules, split_suffix

_THREAD = re.compile(rb"\[(?:(?P<name>.*) )?tid=(?P<tid>\d+)\]|thread \((?P<tid2>\w+)\)(?:: (?P<name2>.+))?", re.DOTALL)
#: How the first frame of a stack begins where it is a thread: async-profiler's, and py-spy's with --threads.
THREAD_STARTS = (b"[", b"thread (")


def text_of(name: bytes) -> str:
    """A name as text; bytes that are no UTF-8 are shown as \\xNN."""
    return name.decode(errors="backslashreplace")


class Names(dict[bytes, bytes]):
    """Names as a collapsed file has them, to the number of their frame as four bytes; a new name is looked into.

    Numbers are bytes since a stack then is one ``b"".join`` away from its names: the fastest way there is in Python.
    """

    def __init__(self, table: StackTable) -> None:
        super().__init__()
        self.table = table

    def __missing__(self, raw: bytes) -> bytes:
        if not raw:
            raise ValueError("a frame without a name")
        number = self[raw] = self.table.frame(*split_suffix(text_of(raw)))
        return number


class StackTable:
    """Frames and stacks under construction. A stack is the ``b"".join`` of its frames' numbers, root first."""

    def __init__(self, rules: NameRules) -> None:
        self.rules = rules
        self.names = Names(self)
        self._frames: dict[tuple[str, Kind], bytes] = {}
        self._stacks: dict[bytes, int] = {}
        self._compiled: native.Stacks | None = None

    def frame(self, name: str, kind: Kind) -> bytes:
        """The number of a frame, by the name and kind that the rules give it."""
        frame = self.rules.frame(name, kind)
        number = self._frames.get(frame)
        if number is None:
            number = self._frames[frame] = np.int32(len(self._frames)).tobytes()
        return number

    def stack(self, frames: bytes) -> int:
        """The index of a stack."""
        if self._compiled is not None:
            array = np.frombuffer(frames, np.int32)
            return int(self._compiled.numbers(array, np.zeros(1, np.int64), np.full(1, len(array)))[0])
        return self._stacks.setdefault(frames, len(self._stacks))

    def compile(self, library: Library) -> None:
        """From here on stacks are kept by the compiled loops: many at once are fast, a single one is slow."""
        if self._compiled is None:
            kept, ends = self._kept()
            self._compiled = native.Stacks(library)
            self._compiled.numbers(kept, *(ends[:-1], ends[1:]))
            self._stacks.clear()

    def stacks(self, frames: Int32, starts: Int64, ends: Int64) -> Int32:
        """The indices of many stacks: ``frames[starts[i]:ends[i]]``. After ``compile``."""
        assert self._compiled is not None
        return self._compiled.numbers(frames, starts, ends)

    def _kept(self) -> tuple[Int32, Int64]:
        """(frames of all stacks, where each begins and the last ends)."""
        if self._compiled is not None:
            flat, lengths = self._compiled.all()
        else:
            flat = np.frombuffer(b"".join(self._stacks), np.int32)
            lengths = np.fromiter(map(len, self._stacks), np.int64, len(self._stacks)) >> 2
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return flat, offsets

    def build(self) -> Stacks:
        """The finished table."""
        flat, offsets = self._kept()
        kinds = np.array([kind for _, kind in self._frames], dtype=np.uint8)
        return Stacks(Frames(tuple(name for name, _ in self._frames), kinds), flat, offsets)


def thread_label(name: bytes, tid: bytes) -> str:
    """A thread as async-profiler calls it, without the brackets: ``Global IO pool-12 tid=4242``. An id of 0 is none."""
    return text_of(name) if tid == b"0" else f"{text_of(name)} tid={text_of(tid)}"


class Threads(dict[bytes, int]):
    """The first frames of stacks: to the index of the thread they name, or to -1 where it is an ordinary frame."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: list[str] = []

    def __missing__(self, first: bytes) -> int:
        index = -1
        found = _THREAD.fullmatch(first)
        if found:
            name, tid = found["name"] or found["name2"] or b"thread", found["tid"] or found["tid2"]
            index = self.add(thread_label(name, tid))
        self[first] = index
        return index

    def named(self, name: bytes) -> int:
        """The index of a thread that stands in a file by its bare name."""
        index = self.get(name, -1)
        if index < 0:
            index = self[name] = self.add(text_of(name))
        return index

    def add(self, label: str) -> int:
        self.labels.append(label)
        return len(self.labels) - 1


class FrameNumbers:
    """Numbers of names, as a ``native.Folder`` gives them, to numbers of frames.

    A name is looked into when it is first used as a frame: others name threads.
    """

    def __init__(self, folder: Folder, frame_of: Callable[[bytes], bytes]) -> None:
        self.folder = folder
        self._frame_of = frame_of  # of a name
        self._frames = np.empty(0, np.int32)

    def of(self, names: Int32, unused: Int64 | None = None) -> Int32:
        """The frames of names; at the places ``unused`` they may be anything."""
        if self.folder.names > len(self._frames):
            more = np.full(self.folder.names * 2 - len(self._frames), -1, np.int32)
            self._frames = np.concatenate([self._frames, more])
        frames = self._frames.take(names)
        if not len(frames) or frames.min() >= 0:
            return frames
        new = frames < 0
        if unused is not None:
            new[unused] = False
        for name in np.unique(names[new]).tolist():
            self._frames[name] = np.frombuffer(self._frame_of(self.folder.name(name)), np.int32)[0]
        return self._frames.take(names)


@dataclass
class Rows:
    """What one file says, while the table of stacks is still open."""

    stack: Sequence[int] | Int32
    counts: Sequence[float] | Float64
    thread: Sequence[int] | Int32 | None = None  # None: no thread is recorded
    threads: Iterable[str] = ()
    meta: Meta = field(default_factory=Meta)  # what the file itself tells
    samples: Sequence[float] | Float64 | None = None  # of each row; None: the file does not hold them

    def profile(self, stacks: Stacks, meta: Meta) -> Profile:
        stack = np.asarray(self.stack, dtype=np.int32)
        thread = np.full(len(stack), -1, np.int32) if self.thread is None else np.asarray(self.thread, dtype=np.int32)
        counts = np.asarray(self.counts, dtype=np.float64)
        samples = None if self.samples is None else np.asarray(self.samples, dtype=np.float64)
        return Profile(stacks, stack, counts, thread, tuple(self.threads), meta, samples)
