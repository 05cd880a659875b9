"""What a controller asks of the agent about the host and the bridge, and what the agent reports by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional, Union

from jvbtune.protocol.messages import Nothing, Operation
from jvbtune.protocol.samples import QueueSeen, Sample


@dataclass(frozen=True)
class Commands:
    """argv lists."""

    restart: list[str]
    status: Optional[list[str]] = None


@dataclass(frozen=True)
class Control:
    """How a bridge is restarted: one of these."""

    systemd: Optional[str] = None
    container: Optional[str] = None
    commands: Optional[Commands] = None


@dataclass(frozen=True)
class BridgeQuery:
    """Which bridge is meant, and how it is reached; what is None is found out on the host."""

    http_address: Optional[str] = None
    http_port: Optional[int] = None
    control: Optional[Control] = None
    config_file: Optional[str] = None
    pid_file: Optional[str] = None
    match: Optional[str] = None  #: part of the process's command line
    media_port: Optional[int] = None


@dataclass(frozen=True)
class OfBridge:
    """Arguments of operations that only have to know which bridge."""

    bridge: BridgeQuery


@dataclass(frozen=True)
class Leftover:
    """What a journal tells people who meet it."""

    owner: Optional[str] = None
    run_id: Optional[str] = None
    created_unix: Optional[float] = None
    boot_id: Optional[str] = None
    baseline: Optional[dict[str, str]] = None
    written: Optional[dict[str, list[str]]] = None
    overlay: Optional[str] = None
    drained: Optional[bool] = None
    failed: Optional[list[str]] = None
    damaged: Optional[str] = None  #: why it cannot be read
    pending_restart: Optional[str] = None  #: why the bridge was not restarted yet
    tries: Optional[int] = None  #: how often putting back was begun


@dataclass(frozen=True)
class Hello:
    """Who and where the agent is."""

    protocol: int
    python: str
    uid: int
    pid: int
    boot_id: str
    hostname: str
    kernel: str
    machine: str
    systemd: bool = False
    leftover_journal: Optional[Leftover] = None


@dataclass(frozen=True)
class Clock:
    unix: float
    mono: float


@dataclass(frozen=True)
class UdpSocket:
    """A UDP socket of the bridge by sock_diag; ``receives`` only where that was asked for."""

    port: int
    address: str
    inode: int
    uid: int
    rmem_bytes: int = 0
    rcvbuf_bytes: int = 0
    wmem_bytes: int = 0
    sndbuf_bytes: int = 0
    drops: int = 0
    receives: Optional[bool] = None


@dataclass(frozen=True)
class BridgeFound:
    """All that is known of a running bridge."""

    pid: int
    start_ticks: int
    uid: int
    argv: list[str]
    jvm_options: list[str]
    java: dict[str, str]
    config_file: Optional[str]
    control: Optional[Control]
    namespaces: dict[str, str]
    own_network_namespace: bool
    affinity: list[int]
    cores: float  #: that it may use
    sockets: list[UdpSocket]


@dataclass(frozen=True)
class ReadConfig:
    """``files``: paths as the bridge sees them; ``names``: of system properties and environment variables."""

    bridge: BridgeQuery
    files: list[str]
    names: list[str]


@dataclass(frozen=True)
class Unreadable:
    error: str


@dataclass(frozen=True)
class ConfigRead:
    """``files``: content in base64, None where there is none. What names a secret is removed."""

    pid: int
    directory: Optional[str]
    files: dict[str, Union[str, Unreadable, None]]
    properties: dict[str, str]
    environment: dict[str, str]
    argument_files: bool


@dataclass(frozen=True)
class Provenance:
    """What a result depends on and a later reader must know of the host."""

    kernel: str
    kernel_version: str
    machine: str
    hostname: str
    command_line: Optional[str]
    os: dict[str, str]
    boot_id: Optional[str]
    cpu: dict[str, Any]
    memory_kib: Optional[int]
    clocksource: Optional[str]
    transparent_hugepage: Optional[str]
    vulnerabilities: dict[str, Optional[str]]
    platform: dict[str, Optional[str]]
    interfaces: dict[str, dict[str, Any]]
    udp_truesize_bytes: dict[str, float]
    sysctl: dict[str, str]
    sysctl_kernel: dict[str, Optional[str]]
    python: str


@dataclass(frozen=True)
class StartSampling:
    bridge: BridgeQuery
    interval_seconds: float = 1.0


@dataclass(frozen=True)
class WatchQueue:
    """At most 600 s."""

    bridge: BridgeQuery
    seconds: float


HELLO = Operation("hello", Nothing, Hello)
CLOCK = Operation("clock", Nothing, Clock)
BRIDGE_FIND = Operation("bridge.find", OfBridge, BridgeFound)
BRIDGE_CONFIG = Operation("bridge.config", ReadConfig, ConfigRead)
PROVENANCE = Operation("provenance", Nothing, Provenance)
SAMPLE_START = Operation("sample.start", StartSampling, Nothing)
SAMPLE_STOP = Operation("sample.stop", Nothing, Nothing)
QUEUE_START = Operation("queue.start", WatchQueue, Nothing)
QUEUE_STOP = Operation("queue.stop", Nothing, QueueSeen)


@dataclass(frozen=True)
class Log:
    message: str
    unix: float


@dataclass(frozen=True)
class BridgeSeen:
    """The sampler found the bridge's process, for the first time or after a restart."""

    pid: int
    start_ticks: int


@dataclass(frozen=True)
class Note:
    """What the user should know, though the work goes on."""

    message: str


@dataclass(frozen=True)
class Alarm:
    """The work must end: the bridge was restarted or undrained by somebody else, or there is no guard."""

    message: str


@dataclass(frozen=True)
class SliceTaken:
    """One slice of a profile is done."""

    slice: int
    slices: int
    seconds: float


#: What an agent reports by itself, by its name in a line.
EVENTS: dict[str, type[Any]] = {
    "sample": Sample,
    "bridge": BridgeSeen,
    "log": Log,
    "note": Note,
    "alarm": Alarm,
    "capture": SliceTaken,
}
NAMES = {kind: name for name, kind in EVENTS.items()}
