"""Sending in C (send.c): a library that is built with the package, where a compiler was at hand.

Without it, or with ``JVBTUNE_NATIVE=0``, Python does the same (``sending.Sending``). It calls the libsrtp that
pylibsrtp brings with it, by address: no library has to be there when the package is built.
"""

from __future__ import annotations

import ctypes
import socket
from array import array
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pylibsrtp
from pylibsrtp import Session

from jvbtune.load.media.codecs import KIND_OF, STAMP_IN_PAYLOAD
from jvbtune.load.media.rtp import ABS_SEND_TIME_ID, RED, TRANSPORT_CC_ID
from jvbtune.load.sending import Run, Sending, Sends
from jvbtune.native import load

MOST = 64  #: packets in one call
_TYPES = 128
_NOWHERE, _RED = -1, -2


class _Rules(ctypes.Structure):
    _fields_ = (
        ("stamp", ctypes.c_int16 * _TYPES),
        ("timed", ctypes.c_uint8 * _TYPES),
        ("transport_id", ctypes.c_uint8),
        ("time_id", ctypes.c_uint8),
    )


@cache
def _rules(abs_send_time: bool) -> _Rules:
    stamp = [STAMP_IN_PAYLOAD.get(kind, _NOWHERE) for kind in range(_TYPES)]
    stamp[RED] = _RED
    timed = [abs_send_time and KIND_OF.get(kind, "audio") != "audio" for kind in range(_TYPES)]
    return _Rules(
        (ctypes.c_int16 * _TYPES)(*stamp), (ctypes.c_uint8 * _TYPES)(*timed), TRANSPORT_CC_ID, ABS_SEND_TIME_ID
    )


@cache
def library() -> ctypes.CDLL | None:
    """The compiled loop; None where the package was built without it, or the user wants none."""
    loaded = load(Path(__file__).with_name("send.c"))
    if loaded is not None:
        loaded.send_packets.argtypes = [
            ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p,
            ctypes.c_long, ctypes.c_uint64, ctypes.c_int64, ctypes.c_void_p,
        ]  # fmt: skip
        loaded.send_packets.restype = ctypes.c_long
    return loaded


@cache
def _protect() -> int | None:
    """Where srtp_protect is; None where this pylibsrtp is put together in another way."""
    try:
        binding: Any = pylibsrtp._binding
        return int(binding.ffi.cast("uintptr_t", binding.ffi.addressof(binding.lib, "srtp_protect")))
    except Exception:  # of cffi, whose errors have no common ancestor
        return None


def _address(session: Session) -> int | None:
    try:
        return int(pylibsrtp._binding.ffi.cast("uintptr_t", session._srtp[0]))
    except Exception:
        return None


class CompiledSending:
    """As ``sending.Sending``. The packets that it is given stay as they are."""

    _runs = (ctypes.c_int64 * (3 * MOST))()
    _runs_at = ctypes.addressof(_runs)

    def __init__(
        self, loaded: ctypes.CDLL, protect: int, address: int, opened: socket.socket, session: Session, timed: bool
    ) -> None:
        self._call, self._session = loaded.send_packets, session  # the address is good while the session is
        self._constant = (opened.fileno(), protect, address, ctypes.addressof(_rules(timed)))

    def send(self, packets: Sequence[bytearray], wall_ns: int, number: int | None) -> list[Run]:
        if len(packets) > MOST:
            following = None if number is None else number + MOST
            runs = self.send(packets[:MOST], wall_ns, number)
            return runs + self.send(packets[MOST:], wall_ns, following)
        lengths = array("i", map(len, packets)).tobytes()
        found = self._call(
            *self._constant, b"".join(packets), lengths, len(packets), wall_ns, -1 if number is None else number,
            self._runs_at,
        )  # fmt: skip
        if found < -1:
            raise pylibsrtp.Error(f"libsrtp refused to protect a packet: its status is {-1 - found}")
        if found < 0:
            raise ValueError(f"packets of {sorted(map(len, packets))} bytes cannot be sent")
        flat = self._runs[: 3 * found]
        return list(zip(flat[::3], flat[1::3], flat[2::3], strict=True))


def sending(opened: socket.socket, session: Session, *, abs_send_time: bool) -> Sends:
    """The compiled way where there is one."""
    loaded, protect, address = library(), _protect(), _address(session)
    if loaded is None or protect is None or address is None:
        return Sending(opened, session, abs_send_time=abs_send_time)
    return CompiledSending(loaded, protect, address, opened, session, abs_send_time)
