"""Profiles of the bridge's JVM: what a host permits, and the taking of them in slices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from jvbtune.protocol.agent import BridgeQuery, OfBridge
from jvbtune.protocol.messages import Operation


@dataclass(frozen=True)
class ForeignProfiler:
    """Signs of somebody else's session."""

    libraries: list[str] = field(default_factory=list)
    perf_descriptors: int = 0


@dataclass(frozen=True)
class Probe:
    """What each engine could do here. ``perf_events``: why the kernel permits none; None: it does."""

    machine: str
    kernel: str
    perf_event_paranoid: Optional[int]
    kptr_restrict: Optional[int]
    perf_events: Optional[str]
    kernel_symbols: bool
    perf: Optional[str]
    perf_version: Optional[str]
    root: bool
    pid: int
    uid: int
    own_pid: int
    jvm_version: str
    jvm_flags: list[str]
    jvm_may_perf: bool
    place: Optional[str]
    refused_places: dict[str, str]
    foreign: ForeignProfiler


@dataclass(frozen=True)
class Library:
    """The profiler's library, held for the next capture; ``content`` in base64."""

    name: str
    sha256: str
    content: str


@dataclass(frozen=True)
class Held:
    bytes: int


@dataclass(frozen=True)
class Run:
    """``event``: the CPU event as the profiler calls it; ``transfer``: the agent opens perf descriptors for the JVM."""

    bridge: BridgeQuery
    engine: str
    events: list[str]
    event: str
    transfer: bool
    perf: Optional[str]
    perf_version: Optional[str]
    interval_ns: int
    slices: int
    slice_seconds: float
    measure_cost: bool


@dataclass(frozen=True)
class Taken:
    """``files``: name -> compressed bytes, fetched one by one. Slices and windows are stored as they are."""

    slices: list[dict[str, Any]]
    off: list[dict[str, Any]]
    arguments: str
    engine_version: str
    log: str
    files: dict[str, int]
    created_unix: float
    ended_unix: float


@dataclass(frozen=True)
class Fetch:
    name: str
    offset: int


@dataclass(frozen=True)
class Piece:
    """``bytes``: of the whole; ``content``: of the piece, in base64."""

    bytes: int
    content: str


PROBE = Operation("capture.probe", OfBridge, Probe)
LIBRARY = Operation("capture.library", Library, Held)
RUN = Operation("capture.run", Run, Taken)
FETCH = Operation("capture.fetch", Fetch, Piece)
