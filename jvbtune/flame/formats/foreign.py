"""Files that are no profile which jvbtune reads, each by its name and with the way to one that it does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from jvbtune.errors import FormatError
from jvbtune.flame.formats.encodings import LOOKED_AT

_PPROF = "Convert it: pprof -proto PROGRAM FILE > profile.pb.gz (the pprof of Go or of gperftools has the symbols)."
_STACKS = "Give the stacks that it was made from: collapsed stacks, JFR, perf script, speedscope or pprof."

#: How the file begins -> (what it is, what to do)
_STARTS: tuple[tuple[tuple[bytes, ...], str, str], ...] = (
    ((b"PERFILE", b"2ELIFREP"), "perf's own record, whose symbols perf finds on the host of the record",
     "On that host: perf script -i FILE > perf.txt"),
    ((b"PK\x03\x04", b"PK\x05\x06"), "a zip archive", "Unpack it: unzip -p FILE > profile"),
    ((b"7z\xbc\xaf\x27\x1c",), "a 7z archive", "Unpack it: 7z x FILE"),
    ((b"Rar!\x1a\x07",), "a rar archive", "Unpack it: unrar x FILE"),
    ((b"\x04\x22\x4d\x18", b"\x02\x21\x4c\x18"), "a file compressed by lz4", "Decompress it: lz4 -d FILE profile"),
    ((b"\x1f\x9d",), "a file compressed by compress (.Z)", "Decompress it: gzip -d FILE"),
    ((b"LZIP",), "a file compressed by lzip", "Decompress it: lzip -d FILE"),
    ((b"\xff\x06\0\0sNaPpY",), "a file compressed by snappy", "Decompress it: snzip -d FILE"),
    ((b"\x89LZO",), "a file compressed by lzop", "Decompress it: lzop -d FILE"),
    ((b"\x7fELF",), "a program or a core dump, not a profile", _STACKS),
    ((b"JAVA PROFILE",), "a heap dump of a JVM, which holds objects and no stacks of samples", _STACKS),
    ((b"SQLite format 3\0",), "a SQLite database, not a profile", _STACKS),
    ((b"%PDF", b"\x89PNG", b"\xff\xd8\xff", b"GIF8"), "a picture, not a profile", _STACKS),
    ((b"heap profile:", b"heapz ", b"MAPPED_LIBRARIES:"), "a heap profile in gperftools' text format", _PPROF),
    ((b"heap_v2/",), "a heap profile of jemalloc", "Convert it: jeprof --collapsed PROGRAM FILE > stacks.collapsed"),
    ((b"--- ",), "a profile in gperftools' symbolized or text format", _PPROF),
    ((b"goroutine profile:", b"threadcreate profile:"), "a profile of Go as text",
     "Fetch it without ?debug=1: then it is pprof's format, which jvbtune reads."),
    ((b"@[", b"Attaching "), "output of bpftrace", "Collapse it: stackcollapse-bpftrace.pl FILE > stacks.collapsed"),
    ((b"# To display the perf.data header info", b"# Overhead", b"# Samples:"), "a report of perf, which holds sums",
     "Give the samples: perf script -i perf.data > perf.txt"),
    ((b"Full thread dump",), "a thread dump, which holds no samples", _STACKS),
)  # fmt: skip

_PICTURES = (b"<svg", b"<!doctype", b"<html", b"<?xml")
_TIMESTAMP = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\s+Full thread dump")
#: gperftools' CPU profile begins with words: 0, 3 (words of the header that follow), 0, period in µs, 0.
_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
_WORDS = tuple(
    (size, order, b"".join(word.to_bytes(size, order) for word in (0, 3, 0))) for size in (8, 4) for order in _ORDERS
)


def refuse_foreign(head: bytes, file: Path) -> None:
    """Raises FormatError if a file that begins so is of one of these kinds."""
    for starts, what, hint in _STARTS:
        if head.startswith(starts):
            raise FormatError(f"this is {what}", file=file, hint=hint)
    if head[257:262] == b"ustar":
        raise FormatError("this is a tar archive", file=file, hint="Unpack it: tar xf FILE")
    for size, order, start in _WORDS:
        if head.startswith(start) and int.from_bytes(head[4 * size : 5 * size], order) == 0:
            what = "this is a CPU profile in gperftools' legacy binary format, which holds addresses without symbols"
            raise FormatError(what, file=file, hint=_PPROF)
    start = head[:LOOKED_AT].lstrip().lower()
    if start.startswith(_PICTURES):
        raise FormatError("this is a picture or a page, not a profile", file=file, hint=_STACKS)
    if _TIMESTAMP.match(head):
        raise FormatError("this is a thread dump, which holds no samples", file=file, hint=_STACKS)
