"""Applying an export to a host for good, and taking it back: what is asked, and what was found and done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from jvbtune.protocol.agent import BridgeQuery, OfBridge, UdpSocket
from jvbtune.protocol.messages import Nothing, Operation


@dataclass(frozen=True)
class Wanted:
    """The files of an export, as texts. The agent refuses lines that it does not know.

    ``sysctls``: the drop-in's values, in canonical form. ``include``: a file of its own beside jvb.conf;
    ``section``: the same for a bridge in a container, between two marks in the file that it includes.
    """

    run_id: str
    bridge: BridgeQuery
    drop_in: str
    sysctls: dict[str, str]
    include: str
    section: str


@dataclass(frozen=True)
class FileChange:
    """Contents without their secrets; None: there is no such file."""

    path: str
    before: Optional[str]
    after: Optional[str]


@dataclass(frozen=True)
class ValueChange:
    found: str
    wanted: str


#: States in which a rollback takes a finished apply back; in the others it ends one that was interrupted.
IN_FORCE = ("watching", "applied")


@dataclass(frozen=True)
class Generation:
    """What an apply has changed on the host, and how far it came. ``foreign``: file or setting that somebody changed
    since then -> what a rollback does about it."""

    number: int
    run_id: str
    owner: str
    state: str  #: drained | writing | written | releasing | watching | applied | restoring
    created_unix: float
    restart: bool = False
    drain_found: bool = False
    files: list[str] = field(default_factory=list)
    values: dict[str, ValueChange] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Planned:
    """``restart``: why the bridge must be restarted. ``overridden``: sysctl -> the file that sets it after ours.

    ``seen``: fingerprint of what was looked at. An apply is refused if the host has changed since.
    """

    kind: str  #: container | systemd | commands
    files: list[FileChange]
    values: dict[str, ValueChange]
    restart: Optional[str]
    overridden: dict[str, str]
    draining: bool
    pid: int
    sockets: list[UdpSocket]
    seen: str
    latest: Optional[Generation] = None


@dataclass(frozen=True)
class Begin:
    """``restart``: restart the bridge even if no file changes."""

    wanted: Wanted
    owner: str
    seen: str
    restart: bool = False


@dataclass(frozen=True)
class InForce:
    """Read back after the write."""

    values: dict[str, str]
    sockets: list[UdpSocket]
    pid: int
    restarted: bool


@dataclass(frozen=True)
class OfRollback:
    """``owner``: who asks. ``number`` and ``created_unix``: the generation that is meant, if no other may be taken back
    in its place; a number is given again when its generation is gone. ``force``: end the agent of an apply that is
    under way first."""

    bridge: BridgeQuery
    owner: str
    number: Optional[int] = None
    force: bool = False
    created_unix: Optional[float] = None


@dataclass(frozen=True)
class Restored:
    """``foreign``: files and values that somebody changed after the apply, with what became of each."""

    run_id: str
    files: list[str]
    values: dict[str, str]
    foreign: list[str]
    restarted: bool
    undrained: bool


@dataclass(frozen=True)
class Latest:
    """None: there is nothing to roll back."""

    generation: Optional[Generation] = None


@dataclass(frozen=True)
class Figures:
    """Counters since the process's or the host's start."""

    pid: int
    start_ticks: int
    drops: int
    datagrams: int


PLAN = Operation("deploy.plan", Wanted, Planned)
BEGIN = Operation("deploy.begin", Begin, Generation)
WRITE = Operation("deploy.write", Nothing, InForce)
RELEASE = Operation("deploy.release", Nothing, Nothing)
CONFIRM = Operation("deploy.confirm", Nothing, Nothing)
ABANDON = Operation("deploy.abandon", Nothing, Nothing)
LATEST = Operation("deploy.latest", Nothing, Latest)
PREPARE_ROLLBACK = Operation("deploy.prepare_rollback", OfRollback, Generation)
ROLLBACK = Operation("deploy.rollback", OfRollback, Restored)
FIGURES = Operation("deploy.figures", OfBridge, Figures)
