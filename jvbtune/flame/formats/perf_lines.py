"""The lines of ``perf script``: headers of samples, and frames.

A header is ``comm pid/tid [cpu] time: period event: …``; the user's ``-F`` decides which of these are there. A frame is
``address symbol+0xoffset (module)``, on a line of its own, or behind the event where no call chain was recorded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from jvbtune.flame.formats.table import text_of, thread_label
from jvbtune.flame.model import Kind
from jvbtune.flame.names import kind_of

KERNEL_ADDRESS = b"ffff8"  # and above, of sixteen digits

_WHAT = rb"(?:(?P<period>\d+)\s+)?(?P<event>[A-Za-z_]\S*):(?:\s+(?P<rest>\S.*?)?)?\s*"
_WHERE = rb"(?:\s+(?:%s|(?P<frame>\S.*?)?\s*))?" % _WHAT  # a frame: nothing says which event
_WITH_TIME = re.compile(rb"\s*(?:(?P<who>\S.*?)\s+)??(?:\[\d+\]\s+(?:[^\s\d]\S*\s+)?)?(?P<time>\d+\.\d+):%s" % _WHERE)
_WITH_CPU = re.compile(rb"\s*(?:(?P<who>\S.*?)\s+)??\[\d{3,}\]%s" % _WHERE)
_WITH_PIDS = re.compile(rb"\s*(?P<who>(?:\S.*?\s+)?-?\d+/-?\d+)%s" % _WHERE)
_WITH_TID = re.compile(rb"\s*(?P<who>\S.*?\s+-?\d+)\s+%s" % _WHAT)
_BARE = re.compile(rb"\s*(?P<who>\S.*?\s+-?\d+)(?:\s+(?P<frame>[0-9a-f]+ \S.*?))?\s*")
#: Parts that no name of a thread has: where one is left in it, the header is malformed.
_LEFT_OVER = re.compile(rb"\s\[\d{3,}\](?:\s|$)|(?:^|\s)\d+/\d+\s|\s\d+\.\w+:?(?:\s|$)")
#: Above what perf writes: it pads columns to the longest event's name, and a thread's name has 15 bytes. Matching
#: takes the length times the square of the longest run of blanks.
_MOST_HEADER_BYTES = 64 << 10
_LONG_RUN = re.compile(rb"\s{100}")
_WHO = re.compile(rb"(?:(?P<comm>\S.*?)\s+)?(?:-?\d+/\s*)?(?P<tid>-?\d+)")
#: Records that are no samples: of --show-task-events, --show-mmap-events and their like.
_RECORD = re.compile(rb".*?(?:^|\s)PERF_RECORD_[A-Z0-9_]+\b", re.DOTALL)

_HAS_MODULE = re.compile(rb" \((?:.*\)|inlined)$")
_OFFSET = re.compile(rb"(?<=.)\+0x[0-9a-f]+$", re.DOTALL)
_DELETED = b" (deleted)"
_KERNEL_FILE = re.compile(rb"\[(?:guest\.)?kernel[].].*|(?:.*/)?vmlinux[^/]*|.*\.ko(?:\.(?:xz|gz|zst))?", re.DOTALL)
_KERNEL_MODULE = re.compile(rb"\[[\w.-]+\]")  # by its bare name: [nf_conntrack]
#: Mappings of a process that no file is behind, as the kernel and perf name them; and perf's own [JIT] tid N.
_USER_MAPPING = re.compile(
    rb"\[(?:vdso|vdso32|vdsox32|vsyscall|vvar\w*|heap|stack|anon|anon_shmem|unknown|uprobes|JIT|sigpage)\b.*", re.DOTALL
)

#: A name, and the letters of perf-list(1) behind it that say where and how it is counted: ``cycles:ukHG``.
_MODIFIED = re.compile(r"(?P<name>.+/|.+(?=:)):?[ukhHGDpPSWebI]+")
#: Events of probes have two names, and the second may be of any letters.
_PROBE = re.compile(r"(?:probe|sdt)(?:_\w+)?:[^:]+")


@dataclass(frozen=True)
class Header:
    """What the header of a sample tells. ``frame``: the only frame, where it is on the same line; b"" for none."""

    thread: str  # label; "" where none is recorded
    event: bytes  # as written, with modifiers; b"" where none is recorded
    period: int | None
    frame: bytes
    plain: bool  # it has the common fields, and nothing behind the event


def header_of(line: bytes, *, surely: bool = False) -> Header | None:
    """The header that a line is; None if it is none.

    ``surely``: only by a time, a CPU or a pair of process and thread, which no frame has.
    """
    if len(line) > _MOST_HEADER_BYTES or _LONG_RUN.search(line):
        return None
    for form in (_WITH_TIME, _WITH_CPU, _WITH_PIDS) if surely else (_WITH_TIME, _WITH_CPU, _WITH_PIDS, _WITH_TID):
        found = form.fullmatch(line)
        if found is None or (form is _WITH_TID and _LEFT_OVER.search(found["who"])):
            continue
        period, event, rest = found["period"], found["event"], found["rest"] or b""
        who = found["who"] or b""
        if event is not None:
            if form is _WITH_TID and period:
                who, period = _numbered(line, who, period, found.end("who"), found.end("period"))
            if period and not _is_period(period):
                return None
            plain = form is _WITH_TIME and bool(period) and not rest
            return Header(_label(who), event, int(period) if period else None, rest if is_frame(rest) else b"", plain)
        frame = found["frame"] or b""
        if frame.isdigit():
            return Header(_label(who), b"", int(frame), b"", False) if _is_period(frame) else None
        if not frame or is_frame(frame):
            return Header(_label(who), b"", None, frame, False)
    found = None if surely else _BARE.fullmatch(line)
    if found is None or _LEFT_OVER.search(found["who"]) or (found["frame"] and not is_frame(found["frame"])):
        return None
    return Header(_label(found["who"]), b"", None, found["frame"] or b"", False)


def _is_period(digits: bytes) -> bool:
    """Of 63 bits. By their number first: Python refuses to read thousands of digits."""
    return len(digits) < 20 and int(digits) < 1 << 63


def _numbered(line: bytes, who: bytes, period: bytes, start: int, end: int) -> tuple[bytes, bytes]:
    """Who and period of ``comm number number event:``: perf aligns a thread in 5 or 7 places, and a period in 10.

    So the last number is a thread where the name before it ends in a number.
    """
    width = end - start
    if line[start : start + 2] == b"  " and width in (6, 8):
        return line[:end].strip(), b""
    return who, period


def _label(who: bytes) -> str:
    found = _WHO.fullmatch(who)
    if found is None:
        return text_of(who)
    return thread_label(found["comm"] or b"thread", found["tid"])


def is_record(line: bytes) -> bool:
    """Whether a line tells of something that is no sample, as a mapping or a new process."""
    return _RECORD.match(line) is not None


def is_frame(line: bytes) -> bool:
    try:
        parts_of(line)
    except ValueError:
        return False
    return True


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is output of perf script."""
    lines = [line for line in head.split(b"\n", 400)[:400] if line.strip() and line[:1] != b"#"]
    if len(head) >= 4096 and len(lines) > 1:
        del lines[-1]  # it may be cut
    first = next((line for line in lines if not is_record(line)), None)
    if first is None:
        return bool(lines)  # records of perf script, and no sample
    found = header_of(first, surely=True)
    if found and (found.event or found.frame or len(lines) == 1):
        return True
    # A weaker header, or one that is malformed: the frames below it tell.
    if any(line[:1] in b"\t " and is_frame(line) for line in lines):
        return True
    found = header_of(first)
    return bool(found and (found.frame or (found.event and first.rstrip().endswith(b":"))))


def parts_of(line: bytes, with_module: bool = True) -> tuple[bytes, bytes, bool]:
    """Symbol, module and whether the address is the kernel's, of ``address symbol+0xoffset (module)``.

    Raises ValueError where the line is something else.
    """
    address, space, rest = line.strip().partition(b" ")
    if with_module:
        symbol, module = _split(rest)
    else:
        symbol, module = rest, b""
    if not space or not symbol or (not with_module and _HAS_MODULE.search(rest)):
        raise ValueError(line)
    int(address, 16)
    return _OFFSET.sub(b"", symbol), module, len(address) == 16 and address >= KERNEL_ADDRESS


def _split(rest: bytes) -> tuple[bytes, bytes]:
    """``symbol (module)``: a path begins at the first " (/", since it may have brackets itself."""
    if rest[-1:] != b")":
        raise ValueError(rest)
    at = rest.find(b" (/")
    if at < 0:
        at = rest.rfind(b" (", 0, len(rest) - len(_DELETED) - 1 if rest.endswith(_DELETED + b")") else len(rest))
    if at < 0:
        raise ValueError(rest)
    return rest[:at], rest[at + 2 : -1]


def frame_of(symbol: bytes, module: bytes, in_kernel: bool) -> tuple[str, Kind]:
    """Name and kind of a symbol in a module."""
    name = text_of(symbol)
    module = module.removesuffix(_DELETED)
    if name == "[unknown]" and module not in (b"[unknown]", b""):
        name = f"[{text_of(module.rpartition(b'/')[2].strip(b'[]'))}]"
    if is_kernel(module, in_kernel):
        return name, Kind.KERNEL
    kind = kind_of(name)
    if module == b"inlined" and kind is Kind.JAVA:
        return name, Kind.INLINED
    return name, kind


def is_kernel(module: bytes, in_kernel: bool) -> bool:
    if _USER_MAPPING.fullmatch(module):
        return in_kernel and module == b"[unknown]"
    return in_kernel or bool(_KERNEL_FILE.fullmatch(module) or _KERNEL_MODULE.fullmatch(module))


def base_name(event: str) -> str:
    """An event's name without its modifiers: ``cycles`` of ``cycles:ukHG``, and all of ``kmem:kmalloc``."""
    found = _MODIFIED.fullmatch(event)
    if found is None or _PROBE.fullmatch(event):
        return event
    return found["name"]
