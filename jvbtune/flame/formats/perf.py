"""Text of ``perf script``, folded into stacks.

The format (perf-script(1)) is a block a sample, ended by a blank line: a header
``comm pid/tid [cpu] time: period event:``, then one indented line a frame, leaf first,
``address symbol+0xoffset (module)``.

This is the hottest loop of the package: a capture of a minute is a hundred megabytes. Where there is a compiled loop
(``native``), it cuts blocks into frames; the code here reads the same, and what that loop declines. In it three things
keep it fast. Callers repeat from sample to sample, so that all of a block but its leaf is looked up as a whole, or at
least the part of it next to the root; frames come from a bounded number of call sites, so that each distinct line is
parsed once; a frame is four bytes from there on, and a stack is their concatenation.
"""

from __future__ import annotations

import gc
import re
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from jvbtune.errors import FormatError
from jvbtune.flame.formats import native
from jvbtune.flame.formats.streams import Input
from jvbtune.flame.formats.table import FrameNumbers, Rows, StackTable, text_of, thread_label
from jvbtune.flame.formats.text import shown
from jvbtune.flame.model import Kind, Meta
from jvbtune.flame.names import kind_of

#: Bytes of callers and number of lines that are remembered; far above a real program's, they bound memory on all else.
REMEMBERED_BYTES = 64 << 20
REMEMBERED_LINES = 400_000
#: Callers that are new are looked up by this many bytes next to the root, before they are parsed line by line.
ROOT_BYTES = 1024

HEADER = re.compile(
    rb"\s*(?P<comm>\S.*?)\s+(?:(?P<pid>-?\d+)/)?(?P<tid>-?\d+)\s+(?:\[\d+\]\s+)?(?:\S+\s+)?(?P<time>\d+\.\d+):\s+"
    rb"(?:(?P<period>\d+)\s+)?(?P<event>\S+?)(?::[a-zA-Z]*)?:(?:\s|$)"
)
KERNEL_ADDRESS = b"ffff8"  # and above, of sixteen digits
USER_PSEUDO_MODULES = (b"[vdso]", b"[vsyscall]", b"[heap]", b"[stack]", b"[anon]", b"[unknown]", b"[uprobes]")
CPU_EVENTS = ("cpu-clock", "task-clock", "cycles", "cpu-cycles", "cpu_core/cycles/", "cpu_atom/cycles/")


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is output of perf script."""
    for line in head.split(b"\n", 200):
        if line.strip() and not line.startswith(b"#"):
            return HEADER.match(line) is not None
    return False


@dataclass
class _Event:
    """Samples of one event. Weights are the sums of the samples' periods, or their number where none is recorded."""

    name: str
    weights: dict[int, int] = field(default_factory=dict)  # by thread << 32 | stack
    periods: set[int] = field(default_factory=set)  # the first two that differ
    without_period: int = 0  # number of samples

    def add(self, key: int, period: int) -> None:
        self.weights[key] = self.weights.get(key, 0) + period
        if len(self.periods) < 2:
            self.periods.add(period)

    @property
    def meta(self) -> Meta:
        """What the weights are: the clock events count nanoseconds."""
        clock = self.name.endswith(("cpu-clock", "task-clock"))
        period = next(iter(self.periods)) if len(self.periods) == 1 else None
        return Meta(
            engine="perf",
            event="cpu" if self.name.endswith(CPU_EVENTS) else self.name,
            unit="samples" if self.without_period else "ns" if clock else self.name,
            interval_ns=float(period) if clock and period else None,
        )


def parts_of(line: bytes) -> tuple[bytes, bytes, bool]:
    """Symbol, module and whether the address is the kernel's, of ``address symbol+0xoffset (module)``.

    Raises ValueError where the line is something else.
    """
    address, space, rest = line.strip().partition(b" ")
    symbol, found, module = rest.rpartition(b" (")
    if not space or not found or not symbol or module[-1:] != b")":
        raise ValueError(line)
    int(address, 16)
    before, _, _ = symbol.rpartition(b"+0x")
    return before or symbol, module[:-1], len(address) == 16 and address >= KERNEL_ADDRESS


def frame_of(symbol: bytes, module: bytes, in_kernel: bool) -> tuple[str, Kind]:
    """Name and kind of a symbol in a module."""
    name = text_of(symbol)
    if name == "[unknown]" and module not in (b"[unknown]", b""):
        name = f"[{text_of(module.rpartition(b'/')[2].strip(b'[]'))}]"
    if in_kernel or module.endswith((b"vmlinux", b".ko")):
        return name, Kind.KERNEL
    if module.startswith(b"[") and module not in USER_PSEUDO_MODULES:
        return name, Kind.KERNEL
    kind = kind_of(name)
    if module == b"inlined" and kind is Kind.JAVA:
        return name, Kind.INLINED
    return name, kind


class _Lines(dict[bytes, bytes]):
    """Lines of frames to the frames' numbers; a line that is new is parsed."""

    def __init__(self, table: StackTable) -> None:
        super().__init__()
        self.table = table
        self.known: dict[tuple[bytes, bytes, bool], bytes] = {}

    def __missing__(self, line: bytes) -> bytes:
        if len(self) >= REMEMBERED_LINES:
            self.clear()
        number = self[line] = self.parse(line)
        return number

    def parse(self, line: bytes) -> bytes:
        parts = parts_of(line)
        number = self.known.get(parts)
        if number is None:
            number = self.known[parts] = self.table.frame(*frame_of(*parts))
        return number


class _Callers(dict[bytes, bytes]):
    """All lines of a block above its leaf, to the stack of their frames, root first."""

    def __init__(self, lines: _Lines) -> None:
        super().__init__()
        self.number_of = lines.__getitem__
        self.roots: dict[bytes, bytes] = {}
        self.room_bytes = REMEMBERED_BYTES

    def __missing__(self, above: bytes) -> bytes:
        cut = above.find(b"\n", len(above) - ROOT_BYTES) if len(above) > ROOT_BYTES else -1
        if cut < 0:
            stack = self.parse(above)
        else:
            root = above[cut + 1 :]
            rooted = self.roots.get(root)
            if rooted is None:
                rooted = self.roots[root] = self.parse(root)
                self.room_bytes -= len(root)
            stack = rooted + self.parse(above[:cut])
        self.room_bytes -= len(above)
        if self.room_bytes < 0:
            self.clear()
            self.roots.clear()
            self.room_bytes = REMEMBERED_BYTES - len(above)
        self[above] = stack
        return stack

    def parse(self, lines: bytes) -> bytes:
        numbers = list(map(self.number_of, lines.split(b"\n")))
        numbers.reverse()
        return b"".join(numbers)


class PerfReader:
    """Reads one file of perf script. ``event`` says which, where a file holds several."""

    def __init__(self, table: StackTable, event: str | None = None) -> None:
        self.table = table
        self.event = event
        self.lines = _Lines(table)
        self.callers = _Callers(self.lines)
        self.events: dict[bytes, _Event] = {}  # by name
        self.events_as_written: dict[bytes, _Event] = {}  # ``cpu-clock:pppH:``
        self.threads: dict[str, int] = {}  # label -> index << 32
        self.threads_as_written: dict[bytes, int] = {}  # ``comm  pid/tid  [cpu]``

    def read(self, stream: Input) -> Rows:
        """Raises FormatError with the number and content of a line that is neither header nor frame."""
        collecting = gc.isenabled()
        gc.disable()  # no cycles are made here, and the collector would walk every remembered line
        try:
            self._fold(stream)
        finally:
            if collecting:
                gc.enable()
        chosen = self._chosen(stream)
        keys = np.fromiter(chosen.weights, np.int64, len(chosen.weights))
        counts = np.fromiter(chosen.weights.values(), np.float64, len(keys))
        return Rows(
            (keys & 0xFFFFFFFF).astype(np.int32),
            counts,
            (keys >> 32).astype(np.int32),
            tuple(self.threads),
            chosen.meta,
        )

    def _fold(self, stream: Input) -> None:
        library = native.library() if stream.is_large else None
        frames = None
        if library is not None:
            self.table.compile(library)
            frames = FrameNumbers(native.Folder(library), self._frame_of_name)
        line_number = 1
        with stream.pieces_ahead(b"\n\n") as pieces:
            for piece in pieces:
                lines = self._fold_fast(piece, frames) if frames else 0
                if not lines:
                    self._fold_piece(piece, line_number, stream)
                    lines = piece.count(b"\n")
                line_number += lines

    def _fold_fast(self, piece: bytes, frames: FrameNumbers) -> int:
        """Takes in whole blocks by the compiled loop, and gives the number of lines.

        0: nothing was taken in, since the loop declined them, or a block is of a rare form.
        """
        found = frames.folder.perf(piece)
        if found is None:
            return 0
        names, lengths, headers = found
        places = headers.tolist()
        headed = []
        try:
            for start, end in zip(places[::2], places[1::2], strict=True):
                headed.append(self._header(piece[start:end]))
        except (KeyError, ValueError):
            return 0
        if not lengths.all():
            return 0
        ends = np.cumsum(lengths, dtype=np.int64)
        stacks = self.table.stacks(frames.of(names), ends - lengths, ends)
        for (event, thread, period), stack in zip(headed, stacks.tolist(), strict=True):
            event.add(thread | stack, period)
        return len(names) + 2 * len(lengths)  # with a header and an empty line each

    def _header(self, header: bytes) -> tuple[_Event, int, int]:
        """Event, thread and period of a header. Raises KeyError or ValueError where it is not of the common form, or
        its event or thread has not been seen yet."""
        where, _, what = header.partition(b": ")
        where, _, time = where.rpartition(b" ")
        period, _, name = what.strip().partition(b" ")
        if not period.isdigit() or not time.replace(b".", b"", 1).isdigit():
            raise ValueError(header)
        return self.events_as_written[name], self.threads_as_written[where], int(period)

    def _frame_of_name(self, name: bytes) -> bytes:
        symbol, _, module = name[1:].partition(b"\0")
        return self.table.frame(*frame_of(symbol, module, name.startswith(b"k")))

    def _fold_piece(self, piece: bytes, line_number: int, stream: Input) -> None:
        stack_of, callers, number_of = self.table.stack, self.callers, self.lines.parse
        blocks = piece.rstrip(b"\n").split(b"\n\n")
        for index, block in enumerate(blocks):
            try:
                header, leaf, above = block.split(b"\n", 2)
                event, thread, period = self._header(header)
                event.add(thread | stack_of(callers[above] + number_of(leaf)), period)
            except (KeyError, ValueError):
                try:
                    self._unusual(block)
                except ValueError:
                    _refuse(blocks, index, line_number, stream)

    def _unusual(self, block: bytes) -> None:
        """A block of any form: the first of a thread or an event, one of few frames, or with comments before it."""
        lines = block.split(b"\n")
        while lines and lines[0][:1] in (b"#", b""):  # the comments of `perf script --header`
            del lines[0]
        if not lines:
            return
        found = HEADER.match(lines[0])
        if found is None:
            raise ValueError(lines[0])
        name, period = found["event"], found["period"]
        event = self.events.setdefault(name, _Event(text_of(name)))
        label = thread_label(found["comm"], found["tid"])
        thread = self.threads.setdefault(label, len(self.threads) << 32)
        frames = b"".join(map(self.lines.parse, reversed(lines[1:])))
        if not frames:
            frames = self.table.frame("[no stack]", Kind.OTHER)
        key = thread | self.table.stack(frames)
        if period:
            event.add(key, int(period))
        else:
            event.weights[key] = event.weights.get(key, 0) + 1
            event.without_period += 1
        where, _, what = lines[0].partition(b": ")
        if found.end("time") == len(where) and found.start("event") > found.start("period") > 0:
            self.threads_as_written[where.rpartition(b" ")[0]] = thread
            self.events_as_written[what.strip().partition(b" ")[2]] = event

    def _chosen(self, stream: Input) -> _Event:
        file = stream.path
        if not self.events:
            raise FormatError("no sample is in this output of perf script", file=file)
        there = ", ".join(sorted(map(text_of, self.events)))
        if self.event is None and len(self.events) > 1:
            raise FormatError(f"samples of several events: {there}", file=file, hint="Choose one with --event.")
        chosen = next(iter(self.events.values())) if self.event is None else self.events.get(self.event.encode())
        if chosen is None:
            raise FormatError(f"no sample of event {self.event}; there are: {there}", file=file)
        if chosen.periods and chosen.without_period:
            raise FormatError(f"some samples of event {chosen.name} have a period and some have none", file=file)
        return chosen


def _refuse(blocks: list[bytes], number: int, first_line: int, stream: Input) -> NoReturn:
    """Finds and names the line of block ``number`` that is malformed."""
    line_number = first_line + sum(block.count(b"\n") + 2 for block in blocks[:number])
    seen_header = False
    for line in blocks[number].split(b"\n"):
        if not seen_header and line[:1] not in (b"#", b""):
            seen_header = True
            if HEADER.match(line) is None:
                raise FormatError(
                    f"no header of a sample of perf script: {shown(line)}", file=stream.path, line=line_number
                )
        elif seen_header:
            try:
                parts_of(line)
            except ValueError:
                why = f"no frame of perf script, address symbol (module): {shown(line)}"
                raise FormatError(why, file=stream.path, line=line_number) from None
        line_number += 1
    raise AssertionError("every line of the block is well-formed")
