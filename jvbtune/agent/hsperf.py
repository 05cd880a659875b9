"""GC activity of a JVM from its hsperfdata file: what ``jstat`` reads, without an attach and without cost to the JVM.

Layout: perfMemory.hpp and perfData.hpp of OpenJDK: a prologue of 32 bytes, then entries with a name and, for the
counters used here, one 64-bit value.
"""

from __future__ import annotations

import glob
import mmap
import os
import struct
from typing import Any

_MAGIC = 0xCAFEC0C0


class HsPerf:
    """The file of one JVM, mapped; ``read`` costs a few memory reads."""

    def __init__(self, pid: int) -> None:
        path = _find(pid)
        if path is None:
            raise FileNotFoundError(f"no hsperfdata of process {pid} (-XX:-UsePerfData?)")
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self._offsets, self._order = _index(self._map)

    def read(self) -> dict[str, Any]:
        """Collections and the seconds spent in them, cumulative: young (collector 0) and old (the rest)."""
        frequency = self._long("sun.os.hrt.frequency") or 10**9
        result: dict[str, Any] = {"source": "hsperfdata"}
        old_count, old_ticks = 0, 0
        for index in range(8):
            count = self._long(f"sun.gc.collector.{index}.invocations")
            ticks = self._long(f"sun.gc.collector.{index}.time")
            if count is None or ticks is None:
                continue
            if index == 0:
                result["young_count"], result["young_seconds"] = count, ticks / frequency
            else:
                old_count, old_ticks = old_count + count, old_ticks + ticks
        result["old_count"], result["old_seconds"] = old_count, old_ticks / frequency
        safepoint = self._long("sun.rt.safepointTime")
        if safepoint is not None:
            result["safepoint_seconds"] = safepoint / frequency
        return result

    def _long(self, name: str) -> int | None:
        offset = self._offsets.get(name)
        return None if offset is None else int(struct.unpack_from(self._order + "q", self._map, offset)[0])

    def close(self) -> None:
        self._map.close()


def _find(pid: int) -> str | None:
    """/tmp/hsperfdata_USER/PID as the JVM sees it: its own pid in its own mount namespace."""
    own_pid = pid
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith("NSpid:"):
                    own_pid = int(line.split()[-1])
    except OSError:
        return None
    for path in glob.glob(f"/proc/{pid}/root/tmp/hsperfdata_*/{own_pid}"):
        if os.path.getsize(path) > 32:
            return path
    return None


def _index(data: mmap.mmap) -> tuple[dict[str, int], str]:
    if struct.unpack_from(">I", data, 0)[0] != _MAGIC:
        raise ValueError("not an hsperfdata file")
    order = "<" if data[4] == 1 else ">"
    entry, count = struct.unpack_from(order + "ii", data, 24)
    offsets = {}
    for _ in range(count):
        length, name_at, vector, kind, _, _, _, value_at = struct.unpack_from(order + "iiibbbbi", data, entry)
        if length <= 0:
            break
        end = data.find(b"\0", entry + name_at)
        if vector == 0 and kind == ord("J"):
            offsets[data[entry + name_at : end].decode("utf-8", "replace")] = entry + value_at
        entry += length
    return offsets, order
