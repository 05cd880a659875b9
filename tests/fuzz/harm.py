"""Targets that do what none may, to see that the engine sees it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.targets import Target

_KEPT: list[bytes] = []


@dataclass(frozen=True)
class Harm(Target):
    def corpus(self) -> list[bytes]:
        return [b"seed"]


def _error(data: bytes, directory: Path) -> None:
    raise KeyError(data)


def _hang(data: bytes, directory: Path) -> None:
    while True:
        try:
            sum(range(1000))
        except Exception:
            continue


def _memory(data: bytes, directory: Path) -> None:
    _KEPT.append(b"x" * (300 << 20))


def _blow_up(data: bytes, directory: Path) -> None:
    bytearray(1 << 36)


def _end(data: bytes, directory: Path) -> None:
    os.abort()


HARM = {
    name: Harm(name, run, (ValueError,), most_cpu_seconds=0.5 if name == "hang" else 4.0)
    for name, run in (("error", _error), ("hang", _hang), ("memory", _memory), ("blow-up", _blow_up), ("end", _end))
}
#: What stands in the finding's place.
EXPECTED = {"error": "KeyError", "hang": "hang", "memory": "memory", "blow-up": "MemoryError", "end": "status -6"}
