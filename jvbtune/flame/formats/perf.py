"""Text of ``perf script``, folded into stacks.

The format (perf-script(1)) is a block a sample, ended by a blank line: a header
``comm pid/tid [cpu] time: period event:``, then one indented line a frame, leaf first,
``address symbol+0xoffset (module)``. Without call chains a sample is one line (``perf_lines``).

This is the hottest loop of the package: a capture of a minute is a hundred megabytes. Where there is a compiled loop
(``native``), it cuts blocks into frames; the code here reads the same, and what that loop declines. In it three things
keep it fast. Callers repeat from sample to sample, so that all of a block but its leaf is looked up as a whole, or at
least the part of it next to the root; frames come from a bounded number of call sites, so that each distinct line is
parsed once; a frame is four bytes from there on, and a stack is their concatenation.
"""

from __future__ import annotations

import gc
from array import array
from dataclasses import dataclass

import numpy as np

from jvbtune.errors import FormatError
from jvbtune.flame.formats import native
from jvbtune.flame.formats.perf_lines import (
    Header,
    base_name,
    frame_of,
    header_of,
    is_frame,
    is_record,
    looks_like,
    parts_of,
)
from jvbtune.flame.formats.streams import Input
from jvbtune.flame.formats.table import FrameNumbers, Rows, StackTable, text_of
from jvbtune.flame.formats.text import shown
from jvbtune.flame.model import Kind, Meta

#: Bytes of callers and number of lines that are remembered; far above a real program's, they bound memory on all else.
REMEMBERED_BYTES = 64 << 20
REMEMBERED_LINES = 400_000
#: Callers that are new are looked up by this many bytes next to the root, before they are parsed line by line.
ROOT_BYTES = 1024

#: Events whose samples are CPU time.
CPU_EVENTS = ("cpu-clock", "task-clock", "cycles", "cpu-cycles", "cpu/cycles/", "cpu_core/cycles/", "cpu_atom/cycles/")
FIELDS = "Take the usual fields: perf script -F comm,pid,tid,cpu,time,period,event,ip,sym,dso"

__all__ = ["PerfReader", "looks_like"]


class _Event:
    """Samples of one event: of each its place (thread << 32 | stack) and its period, if it has one."""

    def __init__(self, written: bytes) -> None:
        self.written = text_of(written)
        self.name = base_name(self.written)
        self.keys = array("q")
        self.periods = array("q")

    def add(self, key: int, period: int | None) -> None:
        self.keys.append(key)
        if period is not None:
            self.periods.append(period)

    @property
    def is_cpu(self) -> bool:
        return self.name in CPU_EVENTS

    def rows(self, threads: tuple[str, ...]) -> Rows:
        """A row for each place. The clock events count nanoseconds; without periods, samples are counted."""
        keys, places = np.unique(np.frombuffer(self.keys, np.int64), return_inverse=True)
        samples = np.bincount(places, minlength=len(keys)).astype(np.float64)
        unit, interval_ns, counts = "samples", None, samples
        if self.periods:
            periods = np.frombuffer(self.periods, np.int64)
            counts = np.bincount(places, weights=periods, minlength=len(keys)).astype(np.float64)
            unit = "ns" if self.name in ("cpu-clock", "task-clock") else self.name
            if unit == "ns" and periods[0] and (periods == periods[0]).all():
                interval_ns = float(periods[0])
        event = "cpu" if self.is_cpu else self.name or None
        meta = Meta(engine="perf", event=event, unit=unit, interval_ns=interval_ns)
        thread = (keys >> 32).astype(np.int32) - 1
        return Rows((keys & 0xFFFFFFFF).astype(np.int32), counts, thread, threads, meta, samples)


@dataclass
class _Sample:
    """A sample whose lines are being read."""

    event: _Event
    thread: int  # index + 1, << 32
    period: int | None
    frames: list[bytes]  # leaf first
    inline: bool  # its only frame is on the header's line


class _Lines(dict[bytes, bytes]):
    """Lines of frames to the frames' numbers; a line that is new is parsed."""

    def __init__(self, table: StackTable) -> None:
        super().__init__()
        self.table = table
        self.known: dict[tuple[bytes, bytes, bool], bytes] = {}
        self.with_modules: bool | None = None

    def __missing__(self, line: bytes) -> bytes:
        if len(self) >= REMEMBERED_LINES:
            self.clear()
        number = self[line] = self.parse(line)
        return number

    def parse(self, line: bytes) -> bytes:
        parts = self._parts(line)
        number = self.known.get(parts)
        if number is None:
            number = self.known[parts] = self.table.frame(*frame_of(*parts))
        return number

    def _parts(self, line: bytes) -> tuple[bytes, bytes, bool]:
        """Frames of one file all have a module, or, by the user's choice of fields, none."""
        if self.with_modules is None:
            self.with_modules = is_frame(line)
        return parts_of(line, self.with_modules)


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
        self.events: dict[bytes, _Event] = {}  # as written: ``cpu-clock:pppH``
        self.events_as_written: dict[bytes, _Event] = {}  # ``cpu-clock:pppH:``
        self.threads: dict[str, int] = {}  # label -> (index + 1) << 32
        self.threads_as_written: dict[bytes, int] = {}  # ``comm  pid/tid  [cpu]``
        self.sample: _Sample | None = None  # whose lines are not all read yet

    def read(self, stream: Input) -> Rows:
        """Raises FormatError with the number and content of a line that is neither header nor frame."""
        collecting = gc.isenabled()
        gc.disable()  # no cycles are made here, and the collector would walk every remembered line
        try:
            self._fold(stream)
        finally:
            if collecting:
                gc.enable()
        return self._chosen(stream).rows(tuple(self.threads))

    def _fold(self, stream: Input) -> None:
        library = native.library_for(stream)
        frames = None
        if library is not None:
            self.table.compile(library)
            frames = FrameNumbers(native.Folder(library), self._frame_of_name)
        blocks = b"\n\n" in stream.peek()  # samples of one line each follow each other without an empty one
        line_number = 1
        with stream.pieces_ahead(b"\n\n" if blocks else b"\n") as pieces:
            for piece in pieces:
                lines = self._fold_fast(piece, frames) if frames and blocks else 0
                if not lines:
                    self._fold_piece(piece, line_number, stream)
                    lines = piece.count(b"\n")
                line_number += lines
        self._end()

    def _fold_fast(self, piece: bytes, frames: FrameNumbers) -> int:
        """Takes in whole blocks by the compiled loop, and gives the number of lines.

        0: nothing was taken in, since the loop declined them, or a block is of a rare form.
        """
        found = frames.folder.perf(piece)
        if found is None or self.lines.with_modules is False:
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
        events, threads, periods = zip(*headed, strict=True)
        keys = np.array(threads, np.int64) | stacks
        if len(set(events)) == 1:
            events[0].keys.frombytes(keys.tobytes())
            events[0].periods.extend(periods)
        else:
            for event, key, period in zip(events, keys.tolist(), periods, strict=True):
                event.add(key, period)
        return len(names) + 2 * len(lengths)  # with a header and an empty line each

    def _header(self, header: bytes) -> tuple[_Event, int, int]:
        """Event, thread and period of a header. Raises KeyError or ValueError where it is not of the common form, or
        its event or thread has not been seen yet."""
        where, _, what = header.partition(b": ")
        where, _, time = where.rpartition(b" ")
        period, _, name = what.strip().partition(b" ")
        if not period.isdigit() or len(period) > 18 or not time.replace(b".", b"", 1).isdigit():
            raise ValueError(header)
        return self.events_as_written[name], self.threads_as_written[where], int(period)

    def _frame_of_name(self, name: bytes) -> bytes:
        symbol, _, module = name[1:].partition(b"\0")
        return self.table.frame(*frame_of(symbol, module, name.startswith(b"k")))

    def _fold_piece(self, piece: bytes, line_number: int, stream: Input) -> None:
        stack_of, callers, number_of = self.table.stack, self.callers, self.lines.parse
        for block in piece.rstrip(b"\n").split(b"\n\n"):
            try:
                header, leaf, above = block.split(b"\n", 2)
                event, thread, period = self._header(header)
                event.add(thread | stack_of(callers[above] + number_of(leaf)), period)
            except (KeyError, ValueError):
                for number, line in enumerate(block.split(b"\n"), line_number):
                    try:
                        self._line(line)
                    except ValueError as error:
                        why = f"{error}: {shown(line)}"
                        raise FormatError(why, file=stream.path, line=number, hint=FIELDS) from None
                if piece.endswith(b"\n\n"):
                    self._end()
            line_number += block.count(b"\n") + 2

    def _line(self, line: bytes) -> None:
        """One line of whatever form. Raises ValueError with the reason where it is malformed."""
        if not line.strip():
            self._end()
            return
        sample = self.sample
        if sample is None or sample.inline:
            if (line[:1] == b"#" and sample is None) or is_record(line):  # the comments of `perf script --header`
                return
            self._begin(line, header_of(line))
            return
        if line[:1] != b"\t":  # headers are indented by spaces, if at all
            if is_record(line):
                self._end()
                return
            header = header_of(line, surely=True)
            if header is None and not sample.frames and not is_frame(line):
                header = header_of(line)
            if header is not None:
                self._begin(line, header)
                return
        try:
            sample.frames.append(self.lines[line])
        except ValueError:
            raise ValueError("no frame of perf script, address symbol (module)") from None

    def _begin(self, line: bytes, header: Header | None) -> None:
        self._end()
        if header is None:
            raise ValueError("no header of a sample of perf script")
        event = self.events.get(header.event)
        if event is None:
            event = self.events[header.event] = _Event(header.event)
        thread = 0
        if header.thread:
            thread = self.threads.setdefault(header.thread, (len(self.threads) + 1) << 32)
        frames = [self.lines[header.frame]] if header.frame else []
        self.sample = _Sample(event, thread, header.period, frames, bool(frames))
        if header.plain:
            where, _, what = line.partition(b": ")
            self.threads_as_written[where.rpartition(b" ")[0]] = thread
            self.events_as_written[what.strip().partition(b" ")[2]] = event

    def _end(self) -> None:
        """Takes in the sample whose lines are all read."""
        sample, self.sample = self.sample, None
        if sample is None:
            return
        frames = b"".join(reversed(sample.frames)) or self.table.frame("[no stack]", Kind.OTHER)
        sample.event.add(sample.thread | self.table.stack(frames), sample.period)

    def _chosen(self, stream: Input) -> _Event:
        file = stream.path
        if not self.events:
            raise FormatError("no sample is in this output of perf script", file=file)
        events = list(self.events.values())
        there = ", ".join(sorted(event.name if self._is_alone(event) else event.written for event in events))
        if self.event is not None:
            events = [event for event in events if self.event in (event.name, event.written)]
            events = events or [event for event in self.events.values() if event.is_cpu and self.event == "cpu"]
            if not events:
                raise FormatError(f"no sample of event {self.event}; there are: {there}", file=file)
        if len(events) > 1:
            raise FormatError(f"samples of several events: {there}", file=file, hint="Choose one with --event.")
        (chosen,) = events
        if 0 < len(chosen.periods) < len(chosen.keys):
            raise FormatError(f"some samples of event {chosen.name} have a period and some have none", file=file)
        return chosen

    def _is_alone(self, event: _Event) -> bool:
        return sum(event.name == other.name for other in self.events.values()) == 1
