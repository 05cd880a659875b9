"""What jvbtune asks of a generator that is a command of the user's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from jvbtune.protocol.messages import Nothing, Operation

#: Raised when a field is added that a command cannot pass over.
VERSION = 1


@dataclass(frozen=True)
class Hello:
    """The first request: the bridge, and what is allowed. The command answers when it is ready."""

    version: int
    jvbtune: str  #: the version of jvbtune
    host: str  #: name of the bridge's host in the inventory
    media_address: str
    media_port: int
    allowed_media_addresses: List[str]  #: load may go to no other, the bridge channel included
    colibri_url: str  #: of COLIBRI v2, on this machine; it leads to the bridge's host as long as jvbtune runs
    meeting_id_prefix: (
        str  #: of the conferences' meeting ids, followed by numbers from 0 on: what is left is found by it
    )
    max_pps: float


@dataclass(frozen=True)
class Ready:
    name: str
    version: str = ""


@dataclass(frozen=True)
class Offer:
    """Bring the conferences up to this number, and send for ``settle_seconds``. The answer comes then. ``mix``: the
    fields of ``jvbtune.load.mix.Mix``. ``seconds``: how long the load will be held."""

    conferences: int
    packet_rate_pps: float  #: received + sent by the bridge
    mix: Dict[str, Any]
    settle_seconds: float
    seconds: float


@dataclass(frozen=True)
class Settled:
    endpoints: int


@dataclass(frozen=True)
class HoldFor:
    """Hold that load for so long, measure it, and go on sending. The answer comes at the end of that time."""

    seconds: float


@dataclass(frozen=True)
class Held:
    """What the command sent in that time, and what its endpoints received; fields as of ``jvbtune.load.base.Offered``.

    ``expected_packets``: that the endpoints should have received. ``limited_because``: if the command itself was the
    limit, why: such a trial is not used.
    """

    seconds: float
    sent_packets: int
    expected_packets: int
    received_packets: int
    offered_pps: float
    endpoints: int
    delay_ms: Dict[str, float] = field(default_factory=dict)
    delayed_50ms_ratio: Optional[float] = None
    reordered_packets: int = 0
    lateness_p99_ms: float = 0.0
    cpu_ratio: float = 0.0
    relayed_in_packets: int = 0
    limited_because: List[str] = field(default_factory=list)


HELLO = Operation("hello", Hello, Ready)
OFFER = Operation("offer", Offer, Settled)
HOLD = Operation("hold", HoldFor, Held)
STOP = Operation("stop", Nothing, Nothing)
BYE = Operation("bye", Nothing, Nothing)
