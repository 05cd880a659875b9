"""Sending in C (send.c): a library that is built with the package, where a compiler was at hand.

Without it, or with ``JVBTUNE_NATIVE=0``, Python does the same (``sending.Outbox``, ``calendar.Calendar``). It calls the
libsrtp that pylibsrtp brings with it, by address: no library has to be there when the package is built.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from array import array
from functools import cache
from pathlib import Path
from typing import Any

import pylibsrtp
from pylibsrtp import Session

from jvbtune.load.media.codecs import BEHIND_STAMP, KIND_OF
from jvbtune.load.media.frame import Frame
from jvbtune.load.media.opus import STAMP_AT
from jvbtune.load.media.rtp import ABS_SEND_TIME_ID, OPUS, RED, STAMP_MARK, TRANSPORT_CC_ID
from jvbtune.load.sending import UNNUMBERED, Outbox, Port, Sends
from jvbtune.native import load

_TYPES = 128
_NOWHERE, _RED = -1, -2
IMPOSSIBLE = -1  #: a packet's size; below it are the statuses of libsrtp, above 0 there is no memory
_FRAME = struct.Struct("=QqIIHBBi")


class _Rules(ctypes.Structure):
    _fields_ = (
        ("stamp", ctypes.c_int16 * _TYPES),
        ("behind", ctypes.c_int16 * _TYPES),
        ("mark", ctypes.c_uint8 * len(STAMP_MARK)),
        ("timed", ctypes.c_uint8 * _TYPES),
        ("transport_id", ctypes.c_uint8),
        ("time_id", ctypes.c_uint8),
        ("opus", ctypes.c_uint8),
    )


class _Port(ctypes.Structure):
    _fields_ = (
        ("descriptor", ctypes.c_int64),
        ("number", ctypes.c_int64),
        ("protect", ctypes.c_void_p),
        ("session", ctypes.c_void_p),
        ("rules", ctypes.c_void_p),
    )


@cache
def _rules(abs_send_time: bool) -> _Rules:
    stamp = [_NOWHERE] * _TYPES
    stamp[OPUS], stamp[RED] = STAMP_AT, _RED
    behind = [BEHIND_STAMP.get(kind, _NOWHERE) for kind in range(_TYPES)]
    timed = [abs_send_time and KIND_OF.get(kind, "audio") != "audio" for kind in range(_TYPES)]
    return _Rules(
        (ctypes.c_int16 * _TYPES)(*stamp),
        (ctypes.c_int16 * _TYPES)(*behind),
        (ctypes.c_uint8 * len(STAMP_MARK))(*STAMP_MARK),
        (ctypes.c_uint8 * _TYPES)(*timed),
        TRANSPORT_CC_ID,
        ABS_SEND_TIME_ID,
        OPUS,
    )


@cache
def library() -> ctypes.CDLL | None:
    """The compiled loop; None where the package was built without it, or the user wants none."""
    loaded = load(Path(__file__).with_name("send.c"))
    if loaded is not None:
        loaded.send_frames.argtypes = [
            ctypes.c_char_p, ctypes.c_long, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p,
            ctypes.c_void_p, ctypes.c_uint64,
            ctypes.c_void_p,
        ]  # fmt: skip
        loaded.send_frames.restype = ctypes.c_long
        for name, arguments, result in (
            ("layout", (ctypes.c_void_p,), None),
            ("make", (ctypes.c_void_p,), ctypes.c_void_p),
            ("free", (ctypes.c_void_p,), None),
            ("film", (ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_void_p), ctypes.c_long),
            ("speak", (ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_void_p), ctypes.c_long),
            ("forget", (ctypes.c_void_p, ctypes.c_void_p), None),
            ("run", (ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_uint64), ctypes.c_long),
        ):
            function = getattr(loaded, f"calendar_{name}")
            function.argtypes, function.restype = arguments, result
    return loaded


@cache
def _protect() -> int | None:
    """Where srtp_protect is; None where this pylibsrtp is put together in another way."""
    try:
        binding: Any = pylibsrtp._binding
        binding.ffi.cast("uintptr_t", Session()._srtp[0])
        return int(binding.ffi.cast("uintptr_t", binding.ffi.addressof(binding.lib, "srtp_protect")))
    except Exception:  # of cffi, whose errors have no common ancestor
        return None


class CompiledPort(Port):
    """``address``: of what the loop needs to know of it. Numbers are there, for packets that are made there too."""

    def __init__(
        self, protect: int, opened: socket.socket, session: Session, *, abs_send_time: bool, numbered: bool
    ) -> None:
        keys = int(pylibsrtp._binding.ffi.cast("uintptr_t", session._srtp[0]))
        rules = ctypes.addressof(_rules(abs_send_time))
        self._kept = _Port(opened.fileno(), UNNUMBERED, protect, keys, rules)
        self.address = ctypes.addressof(self._kept)
        super().__init__(opened, session, abs_send_time=abs_send_time, numbered=numbered)

    @property
    def following(self) -> int:
        return int(self._kept.number)

    @following.setter
    def following(self, number: int) -> None:
        self._kept.number = number


class CompiledOutbox:
    """As ``sending.Outbox``."""

    def __init__(self, loaded: ctypes.CDLL, protect: int) -> None:
        self.packets = 0
        self._call, self._protect = loaded.send_frames, protect
        self._forget()

    def _forget(self) -> None:
        self.packets = 0
        self._frames: list[bytes] = []
        self._fronts: list[bytes] = []
        self._ends: list[bytes] = []
        self._sizes: list[int] = []
        self._ports: list[Port] = []

    def port(
        self, opened: socket.socket, session: Session, *, abs_send_time: bool, numbered: bool = True
    ) -> CompiledPort:
        return CompiledPort(self._protect, opened, session, abs_send_time=abs_send_time, numbered=numbered)

    def add(self, port: Port, frame: Frame, number: int) -> None:
        assert isinstance(port, CompiledPort)
        kind, marker, sequence, timestamp, ssrc, fronts, ends, sizes = frame
        many = len(sizes)
        self._frames.append(_FRAME.pack(port.address, number, timestamp, ssrc, sequence, kind, marker, many))
        self._fronts += fronts
        self._ends += ends
        self._sizes += sizes
        self._ports.append(port)  # kept until its packets are sent
        self.packets += many

    def flush(self, wall_ns: int) -> list[int]:
        many = len(self._frames)
        front_bytes, end_bytes = array("i", map(len, self._fronts)), array("i", map(len, self._ends))
        sizes = array("i", self._sizes)
        taken = array("q", bytes(8 * many))
        failed = self._call(
            b"".join(self._frames), many, b"".join(self._fronts), front_bytes.buffer_info()[0],
            b"".join(self._ends), end_bytes.buffer_info()[0], sizes.buffer_info()[0], wall_ns, taken.buffer_info()[0],
        )  # fmt: skip
        self._forget()
        if failed == IMPOSSIBLE:
            raise ValueError(f"a packet of {min(sizes)} to {max(sizes)} bytes cannot be sent")
        if failed:
            raise failure(failed)
        return taken.tolist()


def failure(status: int) -> Exception:
    """What the loop reported."""
    if status > 0:
        return MemoryError("there is no memory for what is to be sent")
    if status == IMPOSSIBLE:
        return ValueError("a packet of an impossible size cannot be sent")
    return pylibsrtp.Error(f"libsrtp does not protect a packet: its status is {-1 - status}")


def outbox() -> Sends:
    """The compiled one where there is one."""
    loaded, protect = library(), _protect()
    return Outbox() if loaded is None or protect is None else CompiledOutbox(loaded, protect)
