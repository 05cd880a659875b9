"""Loops in C that are built with the package, where a compiler was at hand (hatch_build.py): how they are loaded.

Each is optional: Python code that gives the same result takes its place. Nothing is compiled here. ``JVBTUNE_NATIVE=0``
switches all of them off.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from pathlib import Path


def load(source: Path) -> ctypes.CDLL | None:
    """The library that was built from this very source; None: there is none, or the user wants none."""
    if os.environ.get("JVBTUNE_NATIVE") == "0":
        return None
    try:
        digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
        return ctypes.CDLL(str(source.with_name(f"{source.stem}-{digest}.so")))
    except OSError:  # not built, built from another source, or for another machine
        return None
