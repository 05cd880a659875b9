"""One endpoint of the generator: ICE (controlling), DTLS-SRTP, and what it received."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections import Counter

from pylibsrtp import Error as SrtpError
from pylibsrtp import Session

from jvbtune.errors import LoadError
from jvbtune.load import stun
from jvbtune.load.dtls import Handshake
from jvbtune.load.media import sent_ns
from jvbtune.load.sockets import SO_TIMESTAMPNS, open_socket, rejected_packets
from jvbtune.protocol.worker import Remote

#: RFC 8445, 14.2: at least 5 ms; the first answers of a cold bridge take longer.
CHECK_INTERVAL_SECONDS = 0.1
#: RFC 7675, 5.1.
CONSENT_INTERVAL_SECONDS = 5.0
#: The steps of connecting by the state that waits for each.
STEPS = {"checking": "ICE", "handshaking": "DTLS", "joining": "channel"}


class Endpoint:
    """States: ``new``, ``checking``, ``handshaking``, ``connected``; or ``failed``: step and reason are in ``why``."""

    def __init__(
        self, name: str, bind_address: str | None, remote_address: tuple[str, int], *, headers: bool = False
    ) -> None:
        self.name = name
        self.socket = open_socket(bind_address, remote_address, headers=headers)
        self.address: tuple[str, int] = self.socket.getsockname()[:2]
        self.ufrag = secrets.token_hex(4)
        self.password = secrets.token_hex(12)
        self.state = "new"
        self.why = ""
        self.outbound: Session | None = None
        self.inbound: Session | None = None
        self._remote: Remote | None = None
        self._handshake: Handshake | None = None
        self._tie_breaker = int.from_bytes(os.urandom(8), "big")
        self._transactions: set[bytes] = set()
        self.next_check = 0.0
        self._deadline = 0.0
        self._last_sequence: dict[int, int] = {}
        self._rejected = 0
        self._rejected_before = rejected_packets(self.socket)
        self.sampled = 0
        self.received_at_edge = 0  #: of ``received_packets``, what arrived before the last edge of a window
        self.reordered = 0
        self.delays_us = Counter[int]()  #: of sampled packets since the edge, how many had each

    # -- connecting ---------------------------------------------------------------------------------------------

    def connect(self, remote: Remote, timeout_seconds: float) -> None:
        """Begin the checks."""
        self._remote = remote
        self.state = "checking"
        self.allow(timeout_seconds)
        self._check()

    def allow(self, seconds: float) -> None:
        """It fails if it is not connected so long from now."""
        self._deadline = time.monotonic() + seconds

    def tick(self, now: float) -> None:
        """What is due: checks, retransmissions, consent."""
        if self.state in STEPS and now > self._deadline:
            self._fail(f"{STEPS[self.state]}: no answer of the bridge")
        elif self.state == "handshaking" and self._handshake is not None:
            self._send_all(self._handshake.tick())
        elif self.state in ("checking", "joining", "connected") and now >= self.next_check:
            self._check()

    def _check(self) -> None:
        assert self._remote is not None
        transaction = os.urandom(12)
        if len(self._transactions) > 64:
            self._transactions.clear()
        self._transactions.add(transaction)
        interval = CHECK_INTERVAL_SECONDS if self.state == "checking" else CONSENT_INTERVAL_SECONDS
        self.next_check = time.monotonic() + interval
        request = stun.binding_request(
            transaction,
            local_ufrag=self.ufrag,
            remote_ufrag=self._remote.ufrag,
            remote_password=self._remote.password,
            tie_breaker=self._tie_breaker,
        )
        self._send_all([request])

    def _on_stun(self, data: bytes) -> None:
        message = stun.decode(data)
        if message is None:
            return
        if message.kind == stun.BINDING_REQUEST and message.intact(self.password.encode()):
            self._send_all([stun.binding_success(message, self.socket.getpeername()[:2], self.password)])
        elif message.kind == stun.BINDING_SUCCESS and message.transaction in self._transactions:
            self._transactions.discard(message.transaction)
            assert self._remote is not None
            if self.state == "checking" and message.intact(self._remote.password.encode()):
                self.state = "handshaking"
                self._handshake = Handshake(self._remote.fingerprint)
                self._send_all(self._handshake.start())

    def _on_dtls(self, data: bytes) -> None:
        if self._handshake is None:
            return
        try:
            self._send_all(self._handshake.feed(data))
        except LoadError as error:
            self._fail(f"DTLS: {error.message}")
            return
        keys = self._handshake.keys
        if self.state == "handshaking" and keys is not None:
            self.outbound, self.inbound = keys.outbound(), keys.inbound()
            self.next_check = time.monotonic() + CONSENT_INTERVAL_SECONDS
            # 70 kB; the bridge has sent the last flight (RFC 6347, 4.2.4), so that there is nothing to send again
            self._handshake = None
            self._secured()

    def _secured(self) -> None:
        """What comes after DTLS."""
        self.state = "connected"

    def _fail(self, why: str) -> None:
        self.state, self.why = "failed", why

    def _send_all(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            try:
                self.socket.send(datagram)
            except (BlockingIOError, ConnectionRefusedError):
                continue  # lost like any datagram: it is sent again

    # -- receiving ----------------------------------------------------------------------------------------------

    def read(self) -> None:
        """Take all that is there: STUN, DTLS, and the sampled packets of media."""
        while True:
            try:
                data, ancillary, _, _ = self.socket.recvmsg(2048, 64)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error of a restarting bridge: reported once, then gone
            if not data:
                continue
            if data[0] < 128:
                self.on_control(data)
            elif len(data) > 1 and 64 <= data[1] & 0x7F < 96:
                self.on_rtcp(data)
            else:
                self._on_media(data, ancillary)

    def on_control(self, data: bytes) -> None:
        """STUN and DTLS (RFC 7983)."""
        if stun.is_stun(data):
            self._on_stun(data)
        elif 20 <= data[0] < 64:
            self._on_dtls(data)

    def on_rtcp(self, data: bytes) -> None:
        """Needs no answer of a generator of audio."""

    def _on_media(self, data: bytes, ancillary: list[tuple[int, int, bytes]]) -> None:
        self.sampled += 1
        if self.inbound is None:
            return
        try:
            plain = self.inbound.unprotect(data)
        except SrtpError:
            return
        found = sent_ns(plain)
        if found is None:
            return
        ssrc, sequence, sent = found
        before = self._last_sequence.get(ssrc)
        if before is not None and (sequence - before) & 0xFFFF >= 0x8000:
            self.reordered += 1
        else:
            self._last_sequence[ssrc] = sequence
        arrived = _timestamp_ns(ancillary)
        if arrived is not None:
            self.delays_us[(arrived - sent) // 1000] += 1

    def received_packets(self) -> int:
        """All media packets so far: those that reached the process and those that the filter counted away."""
        now = rejected_packets(self.socket)
        self._rejected += (now - self._rejected_before) & 0xFFFFFFFF
        self._rejected_before = now
        return self._rejected + self.sampled

    def close(self) -> None:
        self.socket.close()


def _timestamp_ns(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """SCM_TIMESTAMPNS: when the kernel took the packet off the interface."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) >= 16:
            return int.from_bytes(data[:8], "little") * 1_000_000_000 + int.from_bytes(data[8:16], "little")
    return None
