"""What a profile could not see: shares of its samples, from the collapsed stacks. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: A leaf that names no code: async-profiler's and perf's words for it, a library without symbols, an address.
UNRESOLVED = re.compile(rb"\[.*\]|0x[0-9a-f]+|unknown|\[.*\]_\[k\]")


#: A library's path as a frame: async-profiler's word for code of a library without symbols.
_LIBRARY_PATH = re.compile(rb"(^|;)/(?:[^;\n]*/)?([^;/\n]+?)(?=;| \d+$)", re.M)


def name_libraries(collapsed: bytes) -> bytes:
    """Frames that are a library's path as ``[libcrypto.so.3]``, the form that perf's frames have too: a path tells of
    the host, not of the code."""
    return _LIBRARY_PATH.sub(rb"\1[\2]", collapsed)


@dataclass(frozen=True)
class Quality:
    """Ratios of the samples: whose leaf is unresolved, whose leaf is the kernel's, that have a Java frame."""

    samples: float
    unresolved_ratio: float
    kernel_ratio: float
    java_ratio: float


def quality_of(collapsed: bytes) -> Quality:
    """Of one file of collapsed stacks with kinds; all 0 where it is empty."""
    total = unresolved = kernel = java = 0.0
    for line in collapsed.splitlines():
        stack, _, count = line.rpartition(b" ")
        if not stack:
            continue
        weight = float(count)
        frames = stack.split(b";")
        leaf = frames[-1]
        total += weight
        kernel += weight * leaf.endswith(b"_[k]")
        unresolved += weight * (UNRESOLVED.fullmatch(leaf) is not None)
        java += weight * any(frame.endswith((b"_[j]", b"_[i]", b"_[0]", b"_[1]")) for frame in frames)
    if total == 0:
        return Quality(0.0, 0.0, 0.0, 0.0)
    return Quality(total, unresolved / total, kernel / total, java / total)
