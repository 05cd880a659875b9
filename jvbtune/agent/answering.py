"""Whose HTTP it is that answers: the bridge that is restarted must be the one that was asked about calls.

With two bridges on a host and one port too many in an inventory, the idle one would say that nobody is there while the
other is restarted. So the process must be seen to take the connection.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from typing import NamedTuple

from jvbtune.agent.errors import AgentFault
from jvbtune.agent.namespaces import same_network
from jvbtune.agent.sockdiag import inodes_of

#: How long a bridge may take to accept a connection that the kernel has made, and to see that it ended.
ACCEPT_SECONDS, CLOSED_SECONDS = 2.0, 5.0
_ESTABLISHED, _LISTEN = "01", "0A"


class _Socket(NamedTuple):
    state: str
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int
    inode: int


def check_answering(pid: int, address: str, port: int) -> None:
    """Raises AgentFault unless a connection from here to ``address:port`` is known to reach the process ``pid``."""
    try:
        here = same_network(pid)
    except OSError as error:
        raise _not_seen(pid, error) from error
    if here:
        _check_listening(pid, address, port)
    elif not _takes_connection(pid, address, port):
        raise AgentFault(
            "bridge",
            f"{address}:{port} is not the bridge's: process {pid}, in its container, took no connection to it",
            "Correct bridge.http_address and bridge.http_port in jvbtune.toml.",
        )


def _check_listening(pid: int, address: str, port: int) -> None:
    """In one network namespace: of those that listen at the port, the one that the kernel prefers for the address."""
    listening = [one for one in _tcp(pid) if one.state == _LISTEN]
    own = _inodes(pid)
    for wanted in _resolved(address):
        there = [one for one in listening if one.port == port and _preference(one.address, wanted)]
        most = max((_preference(one.address, wanted) for one in there), default=0)
        if any(one.inode in own for one in there if _preference(one.address, wanted) == most):
            return
    ports = sorted({one.port for one in listening if one.inode in own})
    raise AgentFault(
        "bridge",
        f"{address}:{port} is not the bridge's: process {pid} listens at TCP port{'s' * (len(ports) != 1)} "
        f"{', '.join(map(str, ports)) or 'none'}",
        "Set bridge.http_port in jvbtune.toml to videobridge.http-servers.private.port of this bridge's jvb.conf.",
    )


def _takes_connection(pid: int, address: str, port: int) -> bool:
    """Whether the process, in another network namespace, has one connection more while one is open to the address: a
    container's port is published by NAT, or by a proxy in between."""
    before = _connections(pid)
    try:
        connection = socket.create_connection((address, port), ACCEPT_SECONDS)
    except OSError:
        return False
    deadline, taken = time.monotonic() + ACCEPT_SECONDS, set[int]()
    with connection:
        while not taken and time.monotonic() < deadline:
            time.sleep(0.02)
            taken = _connections(pid) - before
    deadline = time.monotonic() + CLOSED_SECONDS
    while taken:  # one of them was this one, if one ends with it
        if not taken <= _connections(pid):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return False


def _connections(pid: int) -> set[int]:
    own = _inodes(pid)
    return {one.inode for one in _tcp(pid) if one.state == _ESTABLISHED and one.inode in own}


def _inodes(pid: int) -> set[int]:
    """Of the sockets that the process has open. Raises AgentFault where it is gone."""
    try:
        return inodes_of(pid)
    except OSError as error:
        raise _not_seen(pid, error) from error


def _tcp(pid: int) -> list[_Socket]:
    """All TCP sockets of the process' network namespace."""
    found = []
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{name}", encoding="ascii") as file:
                lines = file.read().splitlines()[1:]
        except OSError:
            continue  # a kernel without IPv6
        for line in lines:
            fields = line.split()
            address, _, port = fields[1].partition(":")
            found.append(_Socket(fields[3], _address(address), int(port, 16), int(fields[9])))
    return found


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Of /proc/net/tcp: 32-bit words in the machine's order. IPv4 in IPv6 is told as IPv4."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    found = ipaddress.ip_address(struct.pack(f"={len(words)}I", *words))
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _resolved(address: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [ipaddress.ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in found]


def _preference(
    listening: ipaddress.IPv4Address | ipaddress.IPv6Address, wanted: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> int:
    """Of what listens there, for a connection to ``wanted``; 0: none. Java listens for IPv4 at ``::`` as well."""
    if listening == wanted:
        return 3
    if not listening.is_unspecified or listening.version < wanted.version:
        return 0
    return 2 if listening.version == wanted.version else 1


def _not_seen(pid: int, error: OSError) -> AgentFault:
    return AgentFault("bridge", f"the bridge's process {pid} cannot be looked at: {error.strerror}")
