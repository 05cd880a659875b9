"""Looking before anything is touched: one line for each thing that a sweep needs, before the first change."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from typing import Any

from jvbtune.bridge.client import BridgeClient
from jvbtune.bridge.config import Unreadable, asked_buffer, channel_domains
from jvbtune.errors import BridgeBusyError, BridgeError, HostError, JvbtuneError, LoadError, TuningError
from jvbtune.hosts import connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.hosts.base import Host
from jvbtune.inventory import HostEntry, bridge_arguments
from jvbtune.load import channel_target, media_target, refuse_without_relays
from jvbtune.load.places import open_places
from jvbtune.protocol import check as messages
from jvbtune.protocol.agent import BRIDGE_CONFIG, ReadConfig, UdpSocket
from jvbtune.protocol.check import Finding
from jvbtune.protocol.codec import to_json
from jvbtune.sweep.experiment import Needs
from jvbtune.text import clean
from jvbtune.units import size_text

#: A refused or unroutable datagram is reported by the kernel at once, or within a round trip.
ANSWER_SECONDS = 0.5
GRID_SECONDS, GRID_BYTES = 10.0, 1 << 20
NOTHING = Needs()
NO_CHANNEL = (
    "the mix has video, which needs the bridge channel, and jvb.conf does not name it "
    "(videobridge.websockets). If the bridge has none, measure without video: --mix audio"
)


@dataclass(frozen=True)
class Checked:
    findings: list[Finding]
    values: dict[str, str]  #: of the settings, as the host has them; those that cannot be read are missing

    @property
    def ready(self) -> bool:
        """Whether a sweep would begin."""
        return is_ready(self.findings)


def check(entry: HostEntry, settings: Sequence[str] = (), *, restarts: bool = True, needs: Needs = NOTHING) -> Checked:
    """Connect, and look. Nothing is changed. A host that cannot be reached is a finding as well."""
    try:
        with connect(entry) as host, AgentClient(host) as agent:
            looked = look(entry, agent, settings, restarts=restarts)
            return Checked([*_reached(agent), *looked.findings, *look_for(needs, entry, host, agent)], looked.values)
    except JvbtuneError as error:
        return Checked([Finding("ssh", "problem", error.message, error.hint)], {})


def look(entry: HostEntry, agent: AgentClient, settings: Sequence[str] = (), *, restarts: bool = True) -> Checked:
    """What the agent sees, and what this machine must have to make load."""
    looked = agent.call(messages.LOOK, messages.Look(bridge_arguments(entry), list(settings), restarts))
    here = [_buffer(entry, agent, looked.sockets), _media_address(entry), look_at_generator(entry)]
    return Checked([*looked.findings, *here], looked.values)


def look_for(needs: Needs, entry: HostEntry, host: Host, agent: AgentClient) -> list[Finding]:
    """What traffic mixes need."""
    found = [_channel(entry, agent)] if needs.channel else []
    return [*found, takes_relays(entry, host)] if needs.relays else found


def _channel(entry: HostEntry, agent: AgentClient) -> Finding:
    """Whether clients with video find the bridge channel where load may go. What is not in jvb.conf is no obstacle: the
    bridge may have it from elsewhere, and the first conference shows it."""
    try:
        domains = channel_domains(partial(_read_config, entry, agent), entry.bridge.config_file)
        if not domains:
            return Finding("channel", "unknown", NO_CHANNEL)
        at = channel_target(entry, [f"wss://{name}/colibri-ws" for name in domains])
    except LoadError as error:
        return Finding("channel", "problem", error.message.removeprefix(f"{entry.name}: "), error.hint, "load")
    except (Unreadable, JvbtuneError) as error:
        return Finding("channel", "unknown", f"it is not known whether the bridge offers a channel: {error}")
    return Finding("channel", "ok", f"the bridge offers its channel at {at.address}, where load may go")


def takes_relays(entry: HostEntry, host: Host) -> Finding:
    """Whether the bridge takes relays, by its own statistics."""
    client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
    try:
        stats = client.request("GET", "/colibri/stats")
        refuse_without_relays(entry.name, stats)
    except (BridgeError, LoadError) as error:
        return Finding("relays", "problem", error.message.removeprefix(f"{entry.name}: "), error.hint, "bridge")
    return Finding("relays", "ok", f"the bridge takes relays, as {stats['relay_id']}")


def is_ready(findings: Sequence[Finding]) -> bool:
    """Whether a sweep would begin."""
    return all(finding.state != "problem" for finding in findings)


def refuse_problems(entry: HostEntry, findings: Sequence[Finding]) -> None:
    """Raises the error of the first problem, which names them all. Nothing was touched."""
    if is_ready(findings):
        return
    problems = [finding for finding in findings if finding.state == "problem"]
    first = problems[0]
    kinds: dict[str, type[JvbtuneError]] = {"busy": BridgeBusyError, "bridge": BridgeError, "tuning": TuningError}
    kind = kinds.get(first.kind, LoadError if first.what in ("address", "channel", "generator") else HostError)
    hint = (first.hint or "").replace("--host HOST", f"--host {entry.name}")
    also = "".join(f"\nAlso: {one.text}. {one.hint or ''}".rstrip() for one in problems[1:])
    raise kind(f"{entry.name}: {first.text}", hint=f"{hint}{also}".strip() or None)


def _reached(agent: AgentClient) -> list[Finding]:
    said = agent.capabilities
    return [Finding("ssh", "ok", f"{said.hostname}, Linux {said.kernel}, Python {said.python}")]


def _read_config(entry: HostEntry, agent: AgentClient, files: list[str], names: list[str]) -> dict[str, Any]:
    answer: dict[str, Any] = to_json(agent.call(BRIDGE_CONFIG, ReadConfig(bridge_arguments(entry), files, names)))
    return answer


def _buffer(entry: HostEntry, agent: AgentClient, sockets: Sequence[UdpSocket]) -> Finding:
    """What the bridge asks for against what its socket got: a finding, never an obstacle."""
    asked = asked_buffer(partial(_read_config, entry, agent), entry.bridge.config_file)
    got = min((each.rcvbuf_bytes for each in sockets), default=None)
    if not asked.known or asked.asked_bytes is None or got is None:
        return Finding("buffer", "unknown", f"it is not known what receive buffer the bridge asks for: {asked.source}")
    if got < 2 * asked.asked_bytes:
        return Finding(
            "buffer",
            "unknown",
            f"the bridge asks for {size_text(asked.asked_bytes)} and got {size_text(got // 2)}: "
            "net.core.rmem_max limits it",
        )
    return Finding("buffer", "ok", f"the bridge asks for {size_text(asked.asked_bytes)} and got it")


def _media_address(entry: HostEntry) -> Finding:
    """Whether datagrams leave for the media port, and are not refused there. Whether a bridge answers shows ICE."""
    try:
        address, port = media_target(entry)
    except LoadError as error:
        return Finding("address", "problem", error.message, error.hint, "load")
    if (maker := entry.generator.elsewhere) is not None:
        return Finding("address", "ok", f"load goes to {address}:{port}, from {maker}")
    if entry.generator.netns is not None:
        return Finding("address", "ok", f"load goes to {address}:{port}, from the namespace {entry.generator.netns}")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
        try:
            if entry.generator.bind_address:
                probe.bind((entry.generator.bind_address, 0))
            probe.settimeout(ANSWER_SECONDS)
            probe.connect((address, port))
            probe.send(b"\0")
            with contextlib.suppress(TimeoutError):
                probe.recv(1)
        except OSError as error:
            why = error.strerror or str(error)
            hint = "Correct bridge.media_address and bridge.media_port in jvbtune.toml."
            return Finding("address", "problem", f"{address}:{port} cannot be reached from here: {why}", hint, "load")
    return Finding("address", "ok", f"load goes to {address}:{port}")


def look_at_generator(entry: HostEntry) -> Finding:
    """Whether what makes the load is there. Other hosts are connected, and nothing is changed on them."""
    given = entry.generator
    if given.hosts:
        try:
            places = open_places(entry)
        except JvbtuneError as error:
            return Finding("generator", "problem", error.message, error.hint, "load")
        for place in places:
            place.close()
        workers = sum(place.max_workers for place in places)
        text = f"{', '.join(given.hosts)} make the load, with {workers} workers at most; their limit is not known"
        return Finding("generator", "ok", text)
    if given.command:
        if shutil.which(given.command[0]) is None:
            hint = "Correct generator.command in jvbtune.toml."
            return Finding("generator", "problem", f"there is no command {given.command[0]}", hint, "load")
        return Finding("generator", "ok", f"{given.command[0]} makes the load; its limit is not known")
    if given.grid is not None:
        return _look_at_grid(given.grid)
    cores = len(given.cpus or os.sched_getaffinity(0))
    if entry.ssh is None:
        return Finding(
            "generator", "unknown", f"the generator shares {cores} cores with the bridge: figures are the lab's only"
        )
    return Finding("generator", "ok", f"the generator has {cores} cores of this machine")


def _look_at_grid(grid: str) -> Finding:
    """By its own status, https://www.selenium.dev/documentation/grid/advanced_features/endpoints/."""
    hint = "Correct generator.grid in jvbtune.toml, or start the Grid."
    try:
        with urllib.request.urlopen(f"{grid.rstrip('/')}/status", timeout=GRID_SECONDS) as answer:
            value = json.loads(answer.read(GRID_BYTES))["value"]
        slots = [slot for node in value.get("nodes", ()) for slot in node["slots"]]
        fit = sum(slot["stereotype"].get("browserName") == "chrome" for slot in slots)
        ready = bool(value["ready"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, HTTPException) as error:
        return Finding(
            "generator",
            "problem",
            f"{clean(grid)} does not answer as a Selenium Grid: {clean(str(error))}",
            hint,
            "load",
        )
    if not ready or not fit:
        return Finding("generator", "problem", f"the Selenium Grid {clean(grid)} has no free Chromium", hint, "load")
    return Finding("generator", "ok", f"the Selenium Grid {clean(grid)} makes the load, with {fit} browsers at most")
