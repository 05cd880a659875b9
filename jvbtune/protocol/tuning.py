"""Changing settings under the guard: what is asked, and what was put back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional, Union

from jvbtune.protocol.agent import BridgeQuery, Control, Leftover, OfBridge, UdpSocket
from jvbtune.protocol.messages import Nothing, Operation


@dataclass(frozen=True)
class Begin:
    """``bridge`` None: nothing of a bridge is looked at or touched."""

    owner: str
    run_id: str
    lease_seconds: float
    bridge: Optional[BridgeQuery]
    settings: list[str]


@dataclass(frozen=True)
class Begun:
    baseline: dict[str, str]
    drain_found: bool
    guard_pid: Optional[int]
    timer: bool
    control: Optional[Control]


@dataclass(frozen=True)
class Apply:
    """``values`` are the differences from the baseline; everything else goes back to it."""

    values: dict[str, Union[int, str]]


@dataclass(frozen=True)
class InForce:
    """Values read back on the host; the sockets that receive on the media port, by sock_diag."""

    values: dict[str, str]
    sockets: list[UdpSocket]


@dataclass(frozen=True)
class Restarted:
    values: dict[str, str]
    sockets: list[UdpSocket]
    pid: int
    seconds: float


@dataclass(frozen=True)
class WhoIsThere:
    """``foreign``: other people's participants, None if that is not known; ``by_name``: exact, of this moment."""

    foreign: Optional[int]
    ours: int
    by_name: bool
    text: str


@dataclass(frozen=True)
class Renewed:
    lease_seconds: float


@dataclass(frozen=True)
class Foreign:
    """A value that somebody else set: it is left as it is."""

    found: str
    ours: list[str]
    baseline: str


@dataclass(frozen=True)
class PutBack:
    """What was put back. Everything empty: there was nothing to put back."""

    run_id: Optional[str] = None
    created_unix: Optional[float] = None
    owner: Optional[str] = None
    by: Optional[str] = None
    unix: Optional[float] = None
    restored: dict[str, str] = field(default_factory=dict)
    unchanged: list[str] = field(default_factory=list)
    foreign: dict[str, Foreign] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pending: Optional[str] = None  #: why the bridge is still to be restarted
    not_restarted: Optional[str] = None  #: why it will not be by jvbtune
    restarted: bool = False
    undrained: bool = False
    rebooted: bool = False
    complete: bool = True


@dataclass(frozen=True)
class Revert:
    """``force``: also under a live sweep. ``bridge``: how it is controlled, if the journal's control is wrong."""

    force: bool = False
    bridge: Optional[BridgeQuery] = None


@dataclass(frozen=True)
class Status:
    """A journal that is there, and whether somebody holds its lease; ``now``: the values in force."""

    pending: bool
    live: bool = False
    lease_seconds: float = 0.0
    now: dict[str, str] = field(default_factory=dict)
    journal: Optional[Leftover] = None


BEGIN = Operation("tuning.begin", Begin, Begun)
APPLY = Operation("tuning.apply", Apply, InForce)
RESTART_BRIDGE = Operation("tuning.restart_bridge", Nothing, Restarted)
CALLS = Operation("tuning.calls", OfBridge, WhoIsThere)
VERIFY = Operation("tuning.verify", Nothing, InForce)
RENEW = Operation("tuning.renew", Nothing, Renewed)
END = Operation("tuning.end", Nothing, PutBack)
STATUS = Operation("tuning.status", Nothing, Status)
REVERT = Operation("tuning.revert", Revert, PutBack)
