"""UDP sockets and their memory by NETLINK_SOCK_DIAG (sock_diag(7)), which is what ``ss -uamn`` asks."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable
from typing import Any

from jvbtune.agent.namespaces import call_in_network_of

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST, NLM_F_REQUEST_DUMP = 0x001, 0x001 | 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
INET_DIAG_SKMEMINFO = 7
ALL_STATES = 0xFFFFFFFF
NO_COOKIE = b"\xff" * 8
FAMILIES = (socket.AF_INET, socket.AF_INET6)

#: struct inet_diag_msg: family, state, timer, retrans, id (ports in network order), expires, queues, uid, inode
_DIAG_MESSAGE = struct.Struct("=BBBB2s2s16s16sI8sIIIII")
#: struct sk_meminfo of linux/sock_diag.h, nine u32
_MEMORY = ("rmem", "rcvbuf", "wmem", "sndbuf", "fwd_alloc", "wmem_queued", "optmem", "backlog", "drops")


class SockDiag:
    """A netlink socket of one network namespace: that of ``pid``, or the caller's own.

    A socket stays in the namespace in which it was opened, so a thread enters it only to open the socket.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._socket: socket.socket = _open() if pid is None else call_in_network_of(pid, _open)

    def udp_sockets(self, port: int = 0, families: Iterable[int] = FAMILIES) -> list[dict[str, Any]]:
        """All UDP sockets, both families: port, address, inode, uid, and memory in bytes (``drops``: packets).

        ``port``: only those bound to it, which costs the kernel less.
        """
        return [entry for family in families for entry in self._dump(family, port)]

    def _dump(self, family: int, port: int) -> list[dict[str, Any]]:
        request = struct.pack("=BBBBI", family, socket.IPPROTO_UDP, 1 << (INET_DIAG_SKMEMINFO - 1), 0, ALL_STATES)
        request += struct.pack("!H", port) + b"\0" * 46  # struct inet_diag_sockid, its source port first
        header = struct.pack("=IHHII", 16 + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0)
        self._socket.send(header + request)
        found: list[dict[str, Any]] = []
        while True:
            data = self._socket.recv(1 << 18)
            offset = 0
            while offset + 16 <= len(data):
                length, kind = struct.unpack_from("=IH", data, offset)
                body = data[offset + 16 : offset + length]
                if kind == NLMSG_DONE:
                    return found
                if kind == NLMSG_ERROR:
                    raise OSError(-struct.unpack_from("=i", body)[0], "sock_diag")
                found.append(_parse(body, family))
                offset += (length + 3) & ~3

    def receiver(self, family: int, address: str, port: int) -> dict[str, Any] | None:
        """The socket to which the kernel gives a packet for that address and port; None: nobody listens.

        One lookup by hash (udp_diag.c, udp_dump_one), not a walk through the table of all sockets: a tenth of the cost
        of ``udp_sockets``. Of a pool that shares a port it is the one which receives.
        """
        self._socket.send(_lookup(family, address, port))
        data = self._socket.recv(8192)
        kind = struct.unpack_from("=IH", data)[1]
        if kind == NLMSG_ERROR:
            number = -struct.unpack_from("=i", data, 16)[0]
            if number == errno.ENOENT:
                return None
            raise OSError(number, "sock_diag")
        return _parse(data[16:], family)

    def close(self) -> None:
        self._socket.close()


def _lookup(family: int, address: str, port: int) -> bytes:
    """Source and destination are swapped, "for historical reasons" (udp_diag.c): the local end is the destination."""
    local = socket.inet_pton(family, address).ljust(16, b"\0")
    identity = b"\0\0" + struct.pack("!H", port) + b"\0" * 16 + local + b"\0" * 4 + NO_COOKIE
    request = struct.pack("=BBBBI", family, socket.IPPROTO_UDP, 1 << (INET_DIAG_SKMEMINFO - 1), 0, ALL_STATES)
    length = 16 + len(request) + len(identity)
    return struct.pack("=IHHII", length, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0) + request + identity


def _parse(body: bytes, family: int) -> dict[str, Any]:
    fields = _DIAG_MESSAGE.unpack_from(body)
    address = fields[6][:4] if family == socket.AF_INET else fields[6]
    result: dict[str, Any] = {
        "port": int.from_bytes(fields[4], "big"),
        "address": socket.inet_ntop(family, address),
        "uid": fields[13],
        "inode": fields[14],
    }
    offset = _DIAG_MESSAGE.size
    while offset + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, offset)
        if length < 4:
            break
        if kind == INET_DIAG_SKMEMINFO:
            count = min((length - 4) // 4, len(_MEMORY))
            values = struct.unpack_from(f"={count}I", body, offset + 4)
            memory = dict(zip(_MEMORY, values))
            result.update(
                rmem_bytes=memory.get("rmem", 0),
                rcvbuf_bytes=memory.get("rcvbuf", 0),
                wmem_bytes=memory.get("wmem", 0),
                sndbuf_bytes=memory.get("sndbuf", 0),
                drops=memory.get("drops", 0),
            )
        offset += (length + 3) & ~3
    return result


def _open() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG)
    opened.settimeout(5)
    return opened


def inodes_of(pid: int) -> set[int]:
    """The inodes of a process's sockets. Raises OSError where its descriptors cannot be read."""
    found = set()
    directory = f"/proc/{pid}/fd"
    for name in os.listdir(directory):
        try:
            target = os.readlink(directory + "/" + name)
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(int(target[8:-1]))
    return found


def mark_receivers(entries: list[dict[str, Any]], media_port: int | None = None) -> list[dict[str, Any]]:
    """The same sockets, each with ``receives``: whether the kernel gives the media port's packets to it.

    ice4j binds a pool of sockets to each address of the media port with SO_REUSEADDR (AbstractUdpListener,
    SocketPool); it asks for a receive buffer on the last one alone, and that is the one which receives: bind(2) puts
    a socket at the head of its hash chain, a lookup takes the first of equals (net/ipv4/udp.c), and sock_diag dumps
    the chain in that order. A queue or drops show it, too. ``media_port``: None for 10000, else the commonest.
    """
    ports = [entry["port"] for entry in entries if entry["port"]]
    if media_port is None and ports:
        media_port = 10000 if 10000 in ports else max(set(ports), key=ports.count)
    receiver: dict[str, dict[str, Any]] = {}
    for entry in entries:
        if entry["port"] != media_port:
            continue
        known = receiver.setdefault(entry["address"], entry)
        if _has_received(entry) and not _has_received(known):
            receiver[entry["address"]] = entry
    return [{**entry, "receives": receiver.get(entry["address"]) is entry} for entry in entries]


def _has_received(entry: dict[str, Any]) -> bool:
    return bool(entry.get("drops") or entry.get("rmem_bytes"))


def sockets_of(pid: int, diag: SockDiag | None = None) -> list[dict[str, Any]]:
    """The UDP sockets of a process, in its own network namespace."""
    own = diag or SockDiag(pid)
    try:
        mine = inodes_of(pid)
        return [entry for entry in own.udp_sockets() if entry["inode"] in mine]
    finally:
        if diag is None:
            own.close()
