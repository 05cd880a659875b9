"""What the agent asks of its helper in the JVM's mount namespace. ``content`` is base64 throughout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from jvbtune.protocol.messages import Nothing, Operation


@dataclass(frozen=True)
class Look:
    directories: list[str]
    needed_bytes: int
    name: str


@dataclass(frozen=True)
class Places:
    """The first directory that will do, and why those before it did not."""

    directory: Optional[str]
    refused: dict[str, str]


@dataclass(frozen=True)
class Place:
    directory: str
    name: str
    library: str
    sha256: str
    content: str


@dataclass(frozen=True)
class Placed:
    """As the JVM sees them."""

    library: str
    out: str


@dataclass(frozen=True)
class Write:
    path: str
    content: str


@dataclass(frozen=True)
class Ask:
    """A command of the JVM's attach mechanism."""

    arguments: list[str]
    timeout_seconds: float = 30.0


@dataclass(frozen=True)
class Said:
    code: int
    text: str


@dataclass(frozen=True)
class Load:
    library: str
    options: str
    timeout_seconds: float = 30.0


@dataclass(frozen=True)
class Loaded:
    code: int


@dataclass(frozen=True)
class Arm:
    """What is to be asked of the JVM, and which files are to go, when the agent is gone."""

    stop: list[list[str]]
    files: list[str]


@dataclass(frozen=True)
class OfPath:
    path: str


@dataclass(frozen=True)
class Read:
    path: str
    offset: int = 0


@dataclass(frozen=True)
class Piece:
    size: int
    content: str


@dataclass(frozen=True)
class Removed:
    removed: bool


@dataclass(frozen=True)
class Clear:
    directories: list[str]


@dataclass(frozen=True)
class Cleared:
    cleared: list[str]


#: Answered when the helper is in the namespace; the first thing that is asked.
JOIN = Operation("join", Nothing, Nothing)
LOOK = Operation("look", Look, Places)
PLACE = Operation("place", Place, Placed)
WRITE = Operation("write", Write, Nothing)
ASK = Operation("ask", Ask, Said)
LOAD = Operation("load", Load, Loaded)
ARM = Operation("arm", Arm, Nothing)
SERVE = Operation("serve", OfPath, Nothing)
READ = Operation("read", Read, Piece)
REMOVE = Operation("remove", OfPath, Removed)
CLEAR = Operation("clear", Clear, Cleared)
