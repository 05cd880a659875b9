"""GC and JIT activity of a JVM from its hsperfdata file: what ``jstat`` reads, without an attach and at no cost to it.

Layout: perfMemory.hpp and perfData.hpp of OpenJDK: a prologue of 32 bytes, then entries with a name and, for the
counters used here, one 64-bit value.
"""

from __future__ import annotations

import os
import stat
import struct

from jvbtune.protocol.samples import Collections, Compilation

_MAGIC = 0xCAFEC0C0
_ENTRY_BYTES = struct.calcsize("=iiibbbbi")


#: More than -XX:PerfDataMemorySize is set to (32 KiB unless it is).
MAX_BYTES = 1 << 20


class HsPerf:
    """The file of one JVM, open; a reading is one read. It is not mapped: the JVM's user may cut it at any time, and a
    mapping beyond a file's end is the end of its reader, by SIGBUS."""

    def __init__(self, pid: int, path: str | None = None) -> None:
        """Raises OSError if there is none, ValueError if it is no such file, or cut off."""
        self._file = _open(pid) if path is None else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._data = os.pread(self._file, MAX_BYTES, 0)
            self._bytes = len(self._data)
            self._offsets, self._order = _index(self._data)
        except (ValueError, OSError):
            os.close(self._file)
            raise

    def collections(self) -> Collections | None:
        """Collections and the seconds spent in them, cumulative: young (collector 0) and old (the rest).

        None, not known: somebody cut the file after it was opened.
        """
        self._read()
        if len(self._data) < self._bytes:
            return None
        frequency = self._long("sun.os.hrt.frequency") or 10**9
        young_count = young_ticks = old_count = old_ticks = 0
        for index in range(8):
            count = self._long(f"sun.gc.collector.{index}.invocations")
            ticks = self._long(f"sun.gc.collector.{index}.time")
            if count is None or ticks is None:
                continue
            if index == 0:
                young_count, young_ticks = count, ticks
            else:
                old_count, old_ticks = old_count + count, old_ticks + ticks
        safepoint = self._long("sun.rt.safepointTime")
        return Collections(
            young_count=young_count,
            young_seconds=young_ticks / frequency,
            old_count=old_count,
            old_seconds=old_ticks / frequency,
            safepoint_seconds=None if safepoint is None else safepoint / frequency,
        )

    def compilation(self) -> Compilation:
        """What compilations took and their number, cumulative; None for a JVM that does not count them. The CPU of the
        compiler threads is the measure of a trial; this is what it can be checked with, as the JVM sees it."""
        self._read()
        ticks, count = self._long("java.ci.totalTime"), self._long("sun.ci.totalCompiles")
        frequency = self._long("sun.os.hrt.frequency") or 10**9
        return Compilation(None if ticks is None else ticks / frequency, count)

    def _read(self) -> None:
        try:
            self._data = os.pread(self._file, MAX_BYTES, 0)
        except OSError:
            self._data = b""

    def _long(self, name: str) -> int | None:
        offset = self._offsets.get(name)
        if offset is None or offset + 8 > len(self._data):
            return None
        return int(struct.unpack_from(self._order + "q", self._data, offset)[0])

    def close(self) -> None:
        os.close(self._file)


def _open(pid: int) -> int:
    """/tmp/hsperfdata_USER/PID as the JVM sees it: its own pid in its own mount namespace.

    Anybody may make a directory of that name: only a plain file that is the JVM user's (or root's) counts, in a
    directory that is theirs too, and no link is followed. Raises FileNotFoundError.
    """
    try:
        with open(f"/proc/{pid}/status") as file:
            status = dict(line.rstrip("\n").partition(":")[::2] for line in file)
        own_pid, owners = status.get("NSpid", str(pid)).split()[-1], {0, int(status["Uid"].split()[1])}
        base = os.open(f"/proc/{pid}/root/tmp", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, KeyError, ValueError) as error:
        raise FileNotFoundError(f"no hsperfdata of process {pid}: it is gone") from error
    try:
        for name in sorted(os.listdir(base)):
            if not name.startswith("hsperfdata_"):
                continue
            found = _owned(base, name, os.O_DIRECTORY, owners)
            if found is None:
                continue
            try:
                file_descriptor = _owned(found, own_pid, os.O_NONBLOCK, owners)
            finally:
                os.close(found)
            if file_descriptor is not None:
                return file_descriptor
    finally:
        os.close(base)
    raise FileNotFoundError(f"no hsperfdata of process {pid} (-XX:-UsePerfData?)")


def _owned(directory: int, name: str, flags: int, owners: set[int]) -> int | None:
    """A descriptor of a plain file or a directory of these owners; None for anything else."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=directory)
    except OSError:
        return None
    found = os.fstat(descriptor)
    plain = stat.S_ISDIR(found.st_mode) if flags & os.O_DIRECTORY else stat.S_ISREG(found.st_mode)
    if plain and found.st_uid in owners and not found.st_mode & stat.S_IWOTH:
        return descriptor
    os.close(descriptor)
    return None


def _index(data: bytes) -> tuple[dict[str, int], str]:
    """Where the counters of 64 bits are, by name. Raises ValueError for what is no such file."""
    if len(data) <= 32 or struct.unpack_from(">I", data, 0)[0] != _MAGIC:
        raise ValueError("not an hsperfdata file")
    order = "<" if data[4] == 1 else ">"
    entry, count = struct.unpack_from(order + "ii", data, 24)
    if entry < 32 or count < 0:
        raise ValueError("not an hsperfdata file")
    offsets = {}
    for _ in range(count):
        if not 0 <= entry <= len(data) - _ENTRY_BYTES:
            raise ValueError("an hsperfdata file that is cut off")
        length, name_at, vector, kind, _, _, _, value_at = struct.unpack_from(order + "iiibbbbi", data, entry)
        if length <= 0:
            break
        begin, value = entry + name_at, entry + value_at
        end = data.find(b"\0", begin) if begin >= 0 else -1
        if end < 0 or entry + length > len(data) or not 0 <= value <= len(data) - 8:
            raise ValueError("an hsperfdata file that is cut off")
        if vector == 0 and kind == ord("J"):
            offsets[data[begin:end].decode("utf-8", "replace")] = value
        entry += length
    return offsets, order
