"""What a calibration sends to: a process of this machine that answers and forwards as a bridge does, but cheaply.

It answers ICE and DTLS, forwards each stream to the receivers that it is told, and sends transport-wide feedback to
cameras. Ciphertext is forwarded as it came: receivers only read the headers of most packets (``sockets``). The sampled
ones, which they decrypt, are encrypted again for each. It takes packets by recvmmsg(2) and sends by sendmmsg(2), so
that it keeps up with several generator processes.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import secrets
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt
from pylibsrtp import Error as SrtpError
from pylibsrtp import Session

from jvbtune.errors import LoadError
from jvbtune.load import rtcp, stun
from jvbtune.load.colibri import Answer, LocalTransport, Sources
from jvbtune.load.dtls import Handshake, identity
from jvbtune.load.media.rtp import HEADER_BYTES, TRANSPORT_CC_AT
from jvbtune.load.mix import Mix
from jvbtune.load.sockets import SAMPLE_EVERY, rejected_packets
from jvbtune.protocol.worker import Remote

ADDRESS = "127.0.0.1"
ROWS, ROW_BYTES = 1024, 1536
COPIES = 4096  #: that one sendmmsg(2) takes at most
BUFFER_BYTES = 64 << 20
MSG_DONTWAIT = 0x40
#: It sleeps so long where nothing waits: what comes in the meantime is one batch, as a bridge's queues make them.
IDLE_SECONDS = 0.001
ANSWER_SECONDS = 10.0
_NAME_BYTES, _MESSAGE_WORDS = 16, 8  #: struct sockaddr_in; struct mmsghdr on 64 bit
_SET_FORCE = 33  #: SO_RCVBUFFORCE: for root, beyond net.core.rmem_max
_FEEDBACK_PACKETS = 4  #: that the sink's feedback is about: a frame of a camera

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Route:
    """A stream and the ports of its receivers."""

    ssrc: int
    receivers: tuple[int, ...]


@dataclass(frozen=True)
class Usage:
    """Of the sink so far. ``dropped``: packets that it was too slow to take."""

    cpu_seconds: float
    dropped: int


class _Peer:
    """An endpoint, by its port on loopback."""

    def __init__(self, transport: LocalTransport, feedback_ssrc: int | None) -> None:
        self.handshake = Handshake(transport.fingerprint, server=True)
        self.feedback_ssrc = feedback_ssrc  #: of its camera
        self.inbound: Session | None = None
        self.outbound: Session | None = None


class _Forwarder:
    """The loop of the sink's process."""

    def __init__(self, control: Connection, password: str) -> None:
        self._control, self._password = control, password
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        for option in (socket.SO_RCVBUF, _SET_FORCE):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
            except PermissionError:
                pass  # not root: what net.core.rmem_max allows; what does not fit is counted and reported
        self._socket.bind((ADDRESS, 0))
        self._library = ctypes.CDLL(None, use_errno=True)
        self._peers: dict[int, _Peer] = {}
        self._cameras: list[int] = []
        self._rate = 0.0  #: feedback packets a second, of all cameras together,
        self._owed = 0.0  #: what of it is due,
        self._served = time.monotonic()  #: and since when
        self._receivers: dict[int, Ints] = {}
        self._numbers: Ints = np.zeros(65536, np.int64)  #: by port: the next transport-wide sequence number
        self._tagged = np.zeros(65536, bool)  #: by port: its packets have such a number
        self._names = _Names()
        self._in, self._out = _Batch(ROWS, 1), _Batch(COPIES, 2)
        self._data: Bytes = np.zeros((ROWS, ROW_BYTES), np.uint8)
        self._from: Bytes = np.zeros((ROWS, _NAME_BYTES), np.uint8)
        rows = np.arange(ROWS, dtype=np.uint64)
        self._in.vectors[:, 0, 0] = self._data.ctypes.data + rows * ROW_BYTES
        self._in.vectors[:, 0, 1] = ROW_BYTES
        self._in.messages[:, 0] = self._from.ctypes.data + rows * _NAME_BYTES
        self._in.messages[:, 1] = _NAME_BYTES

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def run(self) -> None:
        """Until the other end of the pipe is closed."""
        while True:
            if self._control.poll() and not self._obey():
                return
            if self._take() == 0:
                select.select([self._socket.fileno(), self._control.fileno()], [], [], IDLE_SECONDS)
            self._feed_back()

    # -- what the calibration asks --------------------------------------------------------------------------------

    def _obey(self) -> bool:
        try:
            asked, arguments = self._control.recv()
        except EOFError:
            return False
        self._control.send(getattr(self, f"_on_{asked}")(*arguments))
        return True

    def _on_add(self, transport: LocalTransport, feedback_ssrc: int | None) -> None:
        self._peers[transport.port] = _Peer(transport, feedback_ssrc)

    def _on_route(self, routes: Sequence[Route], tagged: bool, feedback_pps: float) -> None:
        """``feedback_pps``: of each camera."""
        for route in routes:
            self._receivers[route.ssrc] = np.array(route.receivers, np.int64)
            self._tagged[list(route.receivers)] = tagged
        self._count_cameras(feedback_pps)

    def _on_remove(self, ports: Sequence[int], ssrcs: Sequence[int], feedback_pps: float) -> None:
        for port in ports:
            self._peers.pop(port, None)
            self._numbers[port] = 0
        for ssrc in ssrcs:
            self._receivers.pop(ssrc, None)
        self._count_cameras(feedback_pps)

    def _on_usage(self) -> Usage:
        return Usage(time.process_time(), rejected_packets(self._socket))

    def _count_cameras(self, feedback_pps: float) -> None:
        self._cameras = [port for port, peer in self._peers.items() if peer.feedback_ssrc is not None]
        self._rate = feedback_pps * len(self._cameras)

    # -- packets --------------------------------------------------------------------------------------------------

    def _take(self) -> int:
        self._in.messages[:, 1] = _NAME_BYTES
        count = self._library.recvmmsg(
            self._socket.fileno(), ctypes.c_void_p(self._in.address), ROWS, MSG_DONTWAIT, None
        )
        if count <= 0:
            return 0
        lengths = (self._in.messages[:count, 7] & np.uint64(0xFFFFFFFF)).astype(np.int64)
        ports = self._from[:count, 2].astype(np.int64) << 8 | self._from[:count, 3]
        first, kind = self._data[:count, 0], self._data[:count, 1] & 0x7F
        media = (first >= 128) & ((kind < 64) | (kind >= 96)) & (lengths > HEADER_BYTES)
        for row in np.flatnonzero(first < 128):
            self._on_control(int(ports[row]), self._data[row, : lengths[row]].tobytes())
        rows = np.flatnonzero(media)
        if len(rows):
            self._forward(rows, ports, lengths)
        return int(count)

    def _on_control(self, port: int, data: bytes) -> None:
        peer = self._peers.get(port)
        if peer is None:
            return
        if stun.is_stun(data):
            message = stun.decode(data)
            if message is not None and message.kind == stun.BINDING_REQUEST:
                self._socket.sendto(stun.binding_success(message, (ADDRESS, port), self._password), (ADDRESS, port))
            return
        for datagram in peer.handshake.feed(data):
            self._socket.sendto(datagram, (ADDRESS, port))
        keys = peer.handshake.keys
        if keys is not None and peer.inbound is None:
            peer.inbound, peer.outbound = keys.inbound(), keys.outbound()

    def _forward(self, rows: Ints, ports: Ints, lengths: Ints) -> None:
        """Each packet to each receiver of its stream, in order."""
        head = self._data[rows, :HEADER_BYTES].astype(np.int64)
        ssrcs = head[:, 8] << 24 | head[:, 9] << 16 | head[:, 10] << 8 | head[:, 11]
        known, which = np.unique(ssrcs, return_inverse=True)
        nobody = np.zeros(0, np.int64)
        to = [self._receivers.get(int(ssrc), nobody) for ssrc in known]
        counts = np.array([len(one) for one in to], np.int64)
        starts = np.cumsum(counts) - counts
        each = counts[which]
        copies = int(each.sum())
        if not copies:
            return
        place = np.arange(copies) - np.repeat(np.cumsum(each) - each, each)
        receivers = np.concatenate(to)[np.repeat(starts[which], each) + place]
        source = np.repeat(rows, each)
        numbers = self._numbered(receivers)
        sampled = (np.repeat(head[:, 3], each) & (SAMPLE_EVERY - 1)) == 0
        for at in range(0, copies, COPIES):
            part = slice(at, at + COPIES)
            self._send(source[part], receivers[part], numbers[part], sampled[part], ports, lengths)

    def _numbered(self, receivers: Ints) -> Ints:
        """The transport-wide sequence number of each copy: one after the other for each receiver."""
        order = np.argsort(receivers, kind="stable")
        ordered = receivers[order]
        begins = np.flatnonzero(np.diff(ordered, prepend=-1))
        lengths = np.diff(begins, append=len(ordered))
        numbers = np.empty_like(receivers)
        numbers[order] = self._numbers[ordered] + np.arange(len(ordered)) - np.repeat(begins, lengths)
        self._numbers[ordered[begins]] += lengths
        return numbers

    def _send(
        self, source: Ints, receivers: Ints, numbers: Ints, sampled: npt.NDArray[np.bool_], ports: Ints, lengths: Ints
    ) -> None:
        count = len(source)
        heads = self._data[source, :HEADER_BYTES].copy()
        tagged = self._tagged[receivers]
        heads[tagged, TRANSPORT_CC_AT] = numbers[tagged] >> 8 & 0xFF
        heads[tagged, TRANSPORT_CC_AT + 1] = numbers[tagged] & 0xFF
        vectors, at = self._out.vectors, np.arange(count, dtype=np.uint64)
        vectors[:count, 0, 0] = heads.ctypes.data + at * HEADER_BYTES
        vectors[:count, 0, 1] = HEADER_BYTES
        vectors[:count, 1, 0] = self._data.ctypes.data + source.astype(np.uint64) * ROW_BYTES + HEADER_BYTES
        vectors[:count, 1, 1] = lengths[source] - HEADER_BYTES
        kept = []
        plain: dict[int, bytes | None] = {}
        for copy in np.flatnonzero(sampled):
            row, receiver = int(source[copy]), int(receivers[copy])
            if row not in plain:
                plain[row] = self._decrypted(int(ports[row]), self._data[row, : lengths[row]].tobytes())
            number = heads[copy, TRANSPORT_CC_AT : TRANSPORT_CC_AT + 2].tobytes() if tagged[copy] else b""
            again = self._encrypted(receiver, plain[row], number)
            kept.append(again)
            vectors[copy, 0] = (ctypes.cast(ctypes.c_char_p(again), ctypes.c_void_p).value or 0, len(again))
            vectors[copy, 1, 1] = 0
        self._out.messages[:count, 0] = self._names.of(receivers)
        self._out.messages[:count, 1] = _NAME_BYTES
        self._out.send(self._library, self._socket.fileno(), count)

    def _decrypted(self, port: int, data: bytes) -> bytes | None:
        peer = self._peers.get(port)
        if peer is None or peer.inbound is None:
            return None
        try:
            return peer.inbound.unprotect(data)
        except SrtpError:
            return None

    def _encrypted(self, port: int, plain: bytes | None, number: bytes) -> bytes:
        """For one receiver, with its transport-wide sequence number; nothing for one that is gone."""
        peer = self._peers.get(port)
        if plain is None or peer is None or peer.outbound is None:
            return b""
        return peer.outbound.protect(plain[:TRANSPORT_CC_AT] + number + plain[TRANSPORT_CC_AT + len(number) :])

    def _feed_back(self) -> None:
        """To each camera in turn, evenly over time."""
        now = time.monotonic()
        self._owed = min(self._owed + self._rate * (now - self._served), float(len(self._cameras)))
        self._served = now
        while self._owed >= 1 and self._cameras:
            self._owed -= 1
            port = self._cameras.pop(0)
            self._cameras.append(port)
            peer = self._peers[port]
            if peer.outbound is not None and peer.feedback_ssrc is not None:
                report = rtcp.transport_feedback(1, peer.feedback_ssrc, 0, 0, [time.time_ns()] * _FEEDBACK_PACKETS)
                self._socket.sendto(peer.outbound.protect_rtcp(report), (ADDRESS, port))


class _Batch:
    """The arrays of recvmmsg(2) and sendmmsg(2)."""

    def __init__(self, rows: int, parts: int) -> None:
        self.vectors = np.zeros((rows, parts, 2), np.uint64)
        self.messages = np.zeros((rows, _MESSAGE_WORDS), np.uint64)
        self.messages[:, 2] = self.vectors.ctypes.data + np.arange(rows, dtype=np.uint64) * (16 * parts)
        self.messages[:, 3] = parts
        self.address = self.messages.ctypes.data

    def send(self, library: ctypes.CDLL, descriptor: int, count: int) -> None:
        """All of them: a receiver whose buffer is full loses a packet, as on any network."""
        sent = 0
        while sent < count:
            at = ctypes.c_void_p(self.address + sent * 8 * _MESSAGE_WORDS)
            taken = library.sendmmsg(descriptor, at, count - sent, 0)
            if taken <= 0:
                select.select([], [descriptor], [], IDLE_SECONDS)
                taken = 0 if ctypes.get_errno() in (11, 105) else 1  # EAGAIN, ENOBUFS; else: skip what is refused
            sent += taken


class _Names:
    """Socket addresses of loopback, by port."""

    def __init__(self) -> None:
        address = struct.pack("=H2x4s8x", socket.AF_INET, socket.inet_aton(ADDRESS))
        self._table: Bytes = np.tile(np.frombuffer(address, np.uint8), (65536, 1))
        ports = np.arange(65536)
        self._table[:, 2], self._table[:, 3] = ports >> 8, ports & 0xFF

    def of(self, ports: Ints) -> npt.NDArray[np.uint64]:
        found: npt.NDArray[np.uint64] = (self._table.ctypes.data + ports * _NAME_BYTES).astype(np.uint64)
        return found


def _serve(control: Connection, password: str, cpus: Sequence[int]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the calibration ends it, after its own interrupt
    if cpus:
        os.sched_setaffinity(0, cpus)
    forwarder = _Forwarder(control, password)
    control.send((forwarder.port, identity().fingerprint))
    forwarder.run()


class Sink:
    """The sink's process. A context manager: leaving it ends the process. Raises LoadError."""

    def __init__(self, cpus: Sequence[int] = ()) -> None:
        """``cpus``: the cores that it runs on; none: all of this process."""
        self._ufrag, self._password = secrets.token_hex(4), secrets.token_hex(12)
        self._lock = threading.Lock()
        context = multiprocessing.get_context("spawn")
        self._control, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._password, tuple(cpus)), daemon=True)
        self._process.start()
        theirs.close()
        self.port, self._fingerprint = self._receive()

    def _receive(self) -> Any:
        if not self._control.poll(ANSWER_SECONDS):
            raise LoadError(f"the sink of the calibration did not answer within {ANSWER_SECONDS:g} s")
        try:
            return self._control.recv()
        except EOFError:
            self._process.join(1)
            raise LoadError(f"the sink of the calibration ended with status {self._process.exitcode}") from None

    def _call(self, asked: str, *arguments: Any) -> Any:
        with self._lock:
            try:
                self._control.send((asked, arguments))
            except OSError as error:
                raise LoadError(f"the sink of the calibration is gone: {error}") from None
            return self._receive()

    def usage(self) -> Usage:
        found: Usage = self._call("usage")
        return found

    def conference(self, mix: Mix) -> SinkConference:
        return SinkConference(self, mix)

    def add(self, transport: LocalTransport, feedback_ssrc: int | None) -> Answer:
        self._call("add", transport, feedback_ssrc)
        return Answer(Remote(self._ufrag, self._password, self._fingerprint), ((ADDRESS, self.port),))

    def route(self, routes: Sequence[Route], tagged: bool, feedback_pps: float) -> None:
        self._call("route", tuple(routes), tagged, feedback_pps)

    def remove(self, ports: Sequence[int], ssrcs: Sequence[int], feedback_pps: float) -> None:
        self._call("remove", tuple(ports), tuple(ssrcs), feedback_pps)

    def close(self) -> None:
        self._control.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SinkConference:
    """One conference on the sink: it is routed when all of its endpoints are there."""

    def __init__(self, sink: Sink, mix: Mix) -> None:
        self._sink, self._mix = sink, mix
        self._ports: list[int] = []
        self._sources: list[Sources] = []
        video = mix.video if mix.meeting else None
        self._feedback_pps = video.frames_per_second if video is not None and mix.transport_cc else 0.0

    def add(self, name: str, transport: LocalTransport, sources: Sources) -> Answer:
        camera = sources.layers[0][0] if sources.layers and self._feedback_pps else None
        answer = self._sink.add(transport, camera)
        self._ports.append(transport.port)
        self._sources.append(sources)
        if len(self._ports) == self._mix.participants:
            routes = [Route(ssrc, tuple(ports)) for ssrc, ports in self._receivers().items()]
            self._sink.route(routes, self._mix.meeting and self._mix.transport_cc, self._feedback_pps)
        return answer

    def expire(self) -> None:
        ssrcs = [
            ssrc for one in self._sources for ssrc in (one.audio, *(s for both in one.layers for s in both)) if ssrc
        ]
        self._sink.remove(self._ports, ssrcs, self._feedback_pps)
        self._ports, self._sources = [], []

    def _receivers(self) -> Mapping[int, list[int]]:
        """By SSRC the ports that get it: audio to all others, of video the layers of the mix's views."""
        found: dict[int, list[int]] = {}
        for number, sources in enumerate(self._sources):
            if sources.audio is not None:
                found[sources.audio] = [port for other, port in enumerate(self._ports) if other != number]
        video = self._mix.video if self._mix.meeting else None
        for receiver, camera, layer in video.views(self._mix.participants) if video else ():
            ssrc = self._sources[camera].layers[video.layers.index(layer)][0] if video else 0
            found.setdefault(ssrc, []).append(self._ports[receiver])
        return found
