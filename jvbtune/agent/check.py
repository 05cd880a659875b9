"""Everything of a host that a sweep would refuse, looked at before it begins: nothing is changed, nothing drained."""

from __future__ import annotations

import contextlib
from typing import Any, Callable

from jvbtune.agent import sysctl as settings
from jvbtune.agent.control import Bridge
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.refusals import checks
from jvbtune.protocol import check as messages
from jvbtune.protocol.agent import UdpSocket
from jvbtune.protocol.check import Finding
from jvbtune.protocol.codec import build, to_json
from jvbtune.protocol.peers import Served


def look(agent: Any, arguments: messages.Look) -> messages.Looked:
    """``check.look``. What depends on something that is not there is ``unknown``."""
    bridge = Bridge(to_json(arguments.bridge))
    found: dict[str, Finding] = {}
    for check in checks(bridge, arguments.settings, restarts=arguments.restarts):
        known = check.needs is None or found[check.needs].state == "ok"
        found[check.what] = _finding(check.what, check.ask, known)
    sockets: list[UdpSocket] = []
    found["media"] = _finding("media", lambda: _media(bridge, sockets), found["bridge"].state == "ok")
    return messages.Looked(list(found.values()), sockets, _values(arguments.settings))


def _values(names: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        with contextlib.suppress(OSError):
            if name in settings.SYSCTLS:
                found[name] = settings.read(name)
    return found


def _finding(what: str, ask: Callable[[], str], known: bool) -> Finding:
    if not known:
        return Finding(what, "unknown", "not looked at: see above")
    try:
        return Finding(what, "ok", ask())
    except AgentFault as fault:
        return Finding(what, "problem", fault.message, fault.hint, fault.kind)
    except OSError as error:
        return Finding(what, "problem", str(error), "The agent must run as root.")


def _media(bridge: Bridge, sockets: list[UdpSocket]) -> str:
    found = [build(UdpSocket, entry, "sockets") for entry in bridge.media_sockets()]
    if not found:
        raise AgentFault(
            "bridge",
            "the bridge has no socket that receives media",
            "Set bridge.media_port in jvbtune.toml (videobridge.ice.udp.port of jvb.conf, 10000 by default).",
        )
    sockets.extend(found)
    return f"UDP port {found[0].port}, receive buffer {min(each.rcvbuf_bytes for each in found) // 2} bytes"


OPERATIONS = (Served(messages.LOOK, look),)
