"""The generator's sockets: receivers that count in the kernel, senders that batch.

A classic BPF filter rejects RTP before it is queued, but for one sequence number of 32, so that a receiver costs the
generator next to nothing; what the filter rejects is counted in the socket's drops (sock_diag's, by SO_MEMINFO).
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence

from jvbtune.load.media.rtp import PROFILE_AT, TWO_BYTES

SO_ATTACH_FILTER = 26
SO_MEMINFO = 55
SO_TIMESTAMPNS = 35
#: One of this many sequence numbers reaches the process: a power of two.
SAMPLE_EVERY = 32
#: An RTP header with the extensions that a bridge lets through: 12, 4 and up to 32 bytes; or, where these are two-byte
#: extensions, as much as AV1's dependency descriptor of a key frame may need.
HEADERS_BYTES, LONG_HEADERS_BYTES = 48, 192
RECEIVE_BUFFER_BYTES = 1 << 20
SEND_BUFFER_BYTES = 1 << 20

_UDP_HEADER = 8  # a filter on a UDP socket sees the datagram from its UDP header on
_LDB, _LDH, _LENGTH, _AND, _JGE, _JEQ, _RET = 0x30, 0x28, 0x80, 0x54, 0x35, 0x15, 0x06
_FILTER = (
    (_LDB, 0, 0, _UDP_HEADER),  # first byte of the payload
    (_JGE, 0, 7, 128),  # below 128: STUN or DTLS (RFC 7983): accept
    (_LDB, 0, 0, _UDP_HEADER + 1),
    (_AND, 0, 0, 0x7F),
    (_JGE, 0, 1, 64),  # RTCP is 64..95 (RFC 5761, 4)
    (_JGE, 0, 3, 96),  # 64..95: accept
    (_LDH, 0, 0, _UDP_HEADER + 2),  # sequence number
    (_AND, 0, 0, SAMPLE_EVERY - 1),
    (_JEQ, 0, 1, 0),
    (_RET, 0, 0, 0x40000),
    (_RET, 0, 0, 0),
)


#: Of a client that answers for each packet: of what is not sampled, the headers come.
_HEADERS_FILTER = (
    *_FILTER[:-1],
    (_LENGTH, 0, 0, 0),  # a load beyond the end would reject
    (_JGE, 0, 3, _UDP_HEADER + PROFILE_AT + 2),
    (_LDH, 0, 0, _UDP_HEADER + PROFILE_AT),
    (_JEQ, 0, 1, TWO_BYTES),
    (_RET, 0, 0, _UDP_HEADER + LONG_HEADERS_BYTES),
    (_RET, 0, 0, _UDP_HEADER + HEADERS_BYTES),
)


def _program(whole: bool) -> tuple[bytes, ctypes.Array[ctypes.c_char]]:
    instructions = _HEADERS_FILTER if whole else _FILTER
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    return struct.pack("@HxxxxxxP", len(instructions), ctypes.addressof(buffer)), buffer


def open_socket(bind_address: str | None, remote: tuple[str, int], *, headers: bool = False) -> socket.socket:
    """A UDP socket connected to the bridge, filtered, with kernel timestamps, non-blocking.

    ``headers``: each packet of media comes, cut off after ``HEADERS_BYTES`` but for the sampled ones.
    """
    family = socket.AF_INET6 if ":" in remote[0] else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        opened.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        program, keep = _program(headers)
        opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
        del keep  # the kernel has copied it
        if bind_address:
            opened.bind((bind_address, 0))
        opened.connect(remote)
    except OSError:
        opened.close()
        raise
    return opened


def rejected_packets(opened: socket.socket) -> int:
    """What the filter rejected, and overflows, modulo 2^32: the ninth number of SO_MEMINFO."""
    return int(struct.unpack("=9I", opened.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))[8])


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Msghdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vector", ctypes.POINTER(_Iovec)),
        ("vector_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Mmsghdr(ctypes.Structure):
    _fields_ = (("header", _Msghdr), ("length", ctypes.c_uint32))


class Batch:
    """Datagrams of one socket, sent by one sendmmsg(2). Built ahead of time, so that a burst leaves at once."""

    _library = ctypes.CDLL(None, use_errno=True)

    def __init__(self, opened: socket.socket, datagrams: Sequence[bytes]) -> None:
        self._fd = opened.fileno()
        self._count = len(datagrams)
        self._keep = list(datagrams)  # ctypes holds addresses alone
        self._vectors = (_Iovec * self._count)()
        self._messages = (_Mmsghdr * self._count)()
        for index, datagram in enumerate(datagrams):
            self._vectors[index].base = ctypes.cast(ctypes.c_char_p(datagram), ctypes.c_void_p)
            self._vectors[index].length = len(datagram)
            self._messages[index].header.vector = ctypes.pointer(self._vectors[index])
            self._messages[index].header.vector_length = 1

    def send(self) -> int:
        """How many the kernel took."""
        sent = self._library.sendmmsg(self._fd, self._messages, self._count, 0)
        return max(0, int(sent))
