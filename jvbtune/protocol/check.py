"""Looking before anything is touched: one finding for each thing that a sweep needs of a host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Literal, Optional

from jvbtune.protocol.agent import BridgeQuery, UdpSocket
from jvbtune.protocol.messages import Operation

State = Literal["ok", "problem", "unknown"]


@dataclass(frozen=True)
class Finding:
    """``unknown``: it could not be looked at, because of a problem that another finding names, or is no obstacle."""

    what: str
    state: State
    text: str
    hint: Optional[str] = None
    kind: str = "host"  #: of a problem, as in a refusal


@dataclass(frozen=True)
class Look:
    """``settings``: those that are to be changed. ``restarts``: the bridge is to be restarted."""

    bridge: BridgeQuery
    settings: list[str]
    restarts: bool


@dataclass(frozen=True)
class Looked:
    """``values``: of the settings, as the host has them; those that cannot be read are missing."""

    findings: List[Finding]
    sockets: List[UdpSocket]
    values: Dict[str, str]


LOOK = Operation("check.look", Look, Looked)
