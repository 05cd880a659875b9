"""What sweeps of tests compare: the kernel's small receive buffer and a larger one, of which the host may have either.

A sweep leaves out what the host has already, and 212992 bytes is what a fresh Debian has.
"""

from __future__ import annotations

from pathlib import Path

RMEM_MAX = "net.core.rmem_max"
SMALL, LARGE, ASKED = 212_992, 4_194_304, 10_485_760
FOUND = int(Path("/proc/sys/net/core/rmem_max").read_text())
SWEPT = LARGE if FOUND <= SMALL else SMALL


def granted(rmem_max: int, asked: int = ASKED) -> int:
    """What the kernel says of a socket for which a bridge asked so much: it doubles what it grants (socket(7))."""
    return 2 * min(asked, rmem_max)


#: The socket's buffer in each step.
STEPS = {"baseline": granted(FOUND), f"{RMEM_MAX}={SWEPT}": granted(SWEPT)}
