"""Text of ``perf script``, folded into stacks.

The format (perf-script(1)) is a block a sample, ended by a blank line: a header
``comm pid/tid [cpu] time: period event:``, then one indented line a frame, leaf first,
``address symbol+0xoffset (module)``.

This is the hottest loop of the package: a capture of a minute is a hundred megabytes. Three things keep it fast.
Callers repeat from sample to sample, so that all of a block but its leaf is looked up as a whole; frames come from
a bounded number of call sites, so that each distinct line is parsed once; a stack is counted by its parts, which
are shared, and is put together at the end. Nothing here imports numpy, so that folding starts at once.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NoReturn

from jvbtune.errors import FormatError
from jvbtune.flame.formats.text import shown

CHUNK_BYTES = 4 << 20
#: Bytes of callers and number of lines that are remembered; far above a real program's, they bound memory on all else.
REMEMBERED_BYTES = 48 << 20
REMEMBERED_LINES = 400_000

HEADER = re.compile(
    rb"\s*(?P<comm>\S.*?)\s+(?P<pid>-?\d+)(?:/(?P<tid>-?\d+))?\s+(?:\[\d+\]\s+)?(?:\S+\s+)?(?P<time>\d+\.\d+):\s+"
    rb"(?:(?P<period>\d+)\s+)?(?P<event>\S+?)(?::[a-zA-Z]*)?:(?:\s|$)"
)
ADDRESS_OF_KERNEL = 0xFFFF800000000000
USER_PSEUDO_MODULES = (b"[vdso]", b"[vsyscall]", b"[heap]", b"[stack]", b"[anon]", b"[unknown]", b"[uprobes]")


Parts = tuple[bytes, bytes, bytes]  # thread name, callers (root first, "" or ending in ";"), leaf


@dataclass
class Folded:
    """Samples of one event. Weights are the sums of the samples' periods, or their number where none is recorded."""

    event: str
    weights: dict[Parts, int] = field(default_factory=dict)
    samples: int = 0
    periods: set[bytes] = field(default_factory=set)  # the first two that differ

    @property
    def unit(self) -> str:
        """What the weights are: the clock events count nanoseconds."""
        if self.periods == {b""}:
            return "samples"
        return "ns" if self.event.endswith(("cpu-clock", "task-clock")) else self.event

    def lines(self) -> Iterator[bytes]:
        """The collapsed file, a line at a time."""
        for (comm, callers, leaf), weight in self.weights.items():
            yield b"%b;%b%b %d\n" % (comm, callers, leaf, weight)


def annotation(address: int, module: bytes) -> bytes:
    """The suffix that tells a frame's kind, as async-profiler writes it."""
    if module == b"inlined":
        return b"_[i]"
    if module.startswith(b"/tmp/perf-") and module.endswith(b".map"):
        return b"_[j]"
    if address >= ADDRESS_OF_KERNEL:
        return b"_[k]"
    if module.startswith(b"[") and module not in USER_PSEUDO_MODULES:
        return b"_[k]"
    if module.endswith((b"vmlinux", b".ko")):
        return b"_[k]"
    return b""


def frame_name(line: bytes) -> bytes:
    """``address symbol+0xoffset (module)`` as an annotated name. Raises ValueError where the line is something else."""
    address, space, rest = line.strip().partition(b" ")
    end = rest.rfind(b" (")
    if not space or end < 1 or not rest.endswith(b")"):
        raise ValueError(line)
    symbol, module = rest[:end], rest[end + 2 : -1]
    offset = symbol.rfind(b"+0x")
    if offset > 0:
        symbol = symbol[:offset]
    if symbol == b"[unknown]" and module not in (b"[unknown]", b""):
        symbol = b"[" + module.rpartition(b"/")[2].strip(b"[]") + b"]"
    return symbol.replace(b";", b":") + annotation(int(address, 16), module)


class _Names(dict[bytes, bytes]):
    """Frame lines to annotated names; a line that is new is parsed."""

    def __missing__(self, line: bytes) -> bytes:
        name = frame_name(line)
        if len(self) >= REMEMBERED_LINES:
            self.clear()
        self[line] = name
        return name


class _Callers(dict[bytes, bytes]):
    """All lines of a block above its leaf to the folded callers, ending in ``;``."""

    def __init__(self) -> None:
        self.names = _Names()
        self.interned: dict[bytes, bytes] = {}
        self.held_bytes = 0

    def __missing__(self, lines: bytes) -> bytes:
        names = list(map(self.names.__getitem__, lines.split(b"\n")))
        names.reverse()
        names.append(b"")
        folded = b";".join(names)
        folded = self.interned.setdefault(folded, folded)
        self.held_bytes += len(lines)
        if self.held_bytes > REMEMBERED_BYTES:
            self.clear()
            self.held_bytes = len(lines)
        self[lines] = folded
        return folded


def _blocks(stream: BinaryIO) -> Iterator[list[bytes]]:
    """The file's samples in order, a chunk of them at a time."""
    rest = b""
    while chunk := stream.read(CHUNK_BYTES):
        chunk = rest + chunk
        end = chunk.rfind(b"\n\n")
        if end < 0:
            rest = chunk
            continue
        rest = chunk[end + 2 :]
        yield chunk[:end].split(b"\n\n")
    if rest.strip():
        yield rest.rstrip(b"\n").split(b"\n\n")


def fold(stream: BinaryIO, *, event: str | None = None, file: str | None = None) -> Folded:
    """All samples of one event, folded.

    Raises FormatError with the number and content of a line that is neither header nor frame, and where the file holds
    several events and ``event`` does not say which.
    """
    collecting = gc.isenabled()
    gc.disable()  # no cycles are made here, and the collector would walk every remembered line
    try:
        by_event = _fold(stream, file)
    finally:
        if collecting:
            gc.enable()
    return _chosen(by_event, event, file)


def _fold(stream: BinaryIO, file: str | None) -> dict[bytes, Folded]:
    by_event: dict[bytes, Folded] = {}
    callers = _Callers()
    lookup_callers = callers.__getitem__
    match_header = HEADER.match
    comms: dict[bytes, bytes] = {}
    line_number = 1
    for blocks in _blocks(stream):
        for number, block in enumerate(blocks):
            header, _, frames = block.partition(b"\n")
            while header[:1] in (b"#", b"") and frames:  # the comments of `perf script --header`
                header, _, frames = frames.partition(b"\n")
            found = match_header(header)
            if found is None:
                if header[:1] in (b"#", b""):
                    continue
                _refuse(blocks, number, line_number, file)
            comm, period, name = found.group(1, 5, 6)  # _refuse raises where nothing is found
            folded = by_event.get(name)
            if folded is None:
                folded = by_event[name] = Folded(name.decode(errors="replace"))
            if len(folded.periods) < 2:
                folded.periods.add(period or b"")
            leaf, _, above = frames.partition(b"\n")
            comm = comms.get(comm) or comms.setdefault(comm, comm.replace(b" ", b"_").replace(b";", b":"))
            try:
                parts = (comm, lookup_callers(above) if above else b"", frame_name(leaf) if leaf else b"[no stack]")
            except ValueError:
                _refuse(blocks, number, line_number, file)
            weights = folded.weights
            weights[parts] = weights.get(parts, 0) + (int(period) if period else 1)
            folded.samples += 1
        line_number += sum(block.count(b"\n") for block in blocks) + 2 * len(blocks)
    return by_event


def _chosen(by_event: dict[bytes, Folded], event: str | None, file: str | None) -> Folded:
    if not by_event:
        raise FormatError("no sample is in this output of perf script", file=file)
    events = ", ".join(sorted(name.decode(errors="replace") for name in by_event))
    if event is None and len(by_event) > 1:
        raise FormatError(f"samples of several events: {events}", file=file, hint="Choose one with --event.")
    name = next(iter(by_event)) if event is None else event.encode()
    if name not in by_event:
        raise FormatError(f"no sample of event {event}; there are: {events}", file=file)
    folded = by_event[name]
    if b"" in folded.periods and len(folded.periods) > 1:
        raise FormatError(f"some samples of event {folded.event} have a period and some have none", file=file)
    return folded


def _refuse(blocks: list[bytes], number: int, first_line: int, file: str | None) -> NoReturn:
    """Finds and names the line of block ``number`` that is malformed."""
    line_number = first_line + sum(block.count(b"\n") + 2 for block in blocks[:number])
    seen_header = False
    for line in blocks[number].split(b"\n"):
        if not seen_header and line[:1] not in (b"#", b""):
            seen_header = True
            if HEADER.match(line) is None:
                raise FormatError(f"no header of a sample of perf script: {shown(line)}", file=file, line=line_number)
        elif seen_header:
            try:
                frame_name(line)
            except ValueError:
                raise FormatError(
                    f"no frame of perf script, address symbol (module): {shown(line)}", file=file, line=line_number
                ) from None
        line_number += 1
    raise AssertionError("every line of the block is well-formed")
