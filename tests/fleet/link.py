"""A bad way to a host: a TCP connection that is slow, narrow, cut into small pieces, and stands still now and then."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Link:
    """``delay_seconds``: each way. ``bytes_per_second``: of each direction. ``piece_bytes``: of one write.

    TCP repairs a lossy path by sending again, which its users see as this: delays, stalls, and pieces.
    """

    target: int
    delay_seconds: float = 0.0
    bytes_per_second: float = 1e9
    piece_bytes: int = 1 << 16
    port: int = 0
    stalls: int = 0
    _flowing: threading.Event = field(default_factory=threading.Event)
    _closed: threading.Event = field(default_factory=threading.Event)
    _open: list[socket.socket] = field(default_factory=list)

    def stall(self, seconds: float) -> None:
        """Nothing passes in either direction for so long."""
        self.stalls += 1
        self._flowing.clear()
        timer = threading.Timer(seconds, self._flowing.set)
        timer.daemon = True
        timer.start()

    def serve(self, listening: socket.socket) -> None:
        while not self._closed.is_set():
            try:
                client, _ = listening.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self._open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        """Reads at once, and hands on later: what is under way is in ``waiting``, as in a long cable."""
        waiting: deque[tuple[float, bytes]] = deque()
        more = threading.Condition()

        def hand_on() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with more:
                        more.wait_for(lambda: waiting)
                        due, data = waiting.popleft()
                    time.sleep(max(0.0, due - time.monotonic()))
                    if not data:
                        sink.shutdown(socket.SHUT_WR)
                        return
                    for at in range(0, len(data), self.piece_bytes):
                        self._flowing.wait()
                        piece = data[at : at + self.piece_bytes]
                        sink.sendall(piece)
                        time.sleep(len(piece) / self.bytes_per_second)

        threading.Thread(target=hand_on, daemon=True).start()
        data = b"-"
        while data:
            try:
                data = source.recv(4096)
            except OSError:
                data = b""
            with more:
                waiting.append((time.monotonic() + self.delay_seconds, data))
                more.notify()

    def close(self) -> None:
        self._closed.set()
        self._flowing.set()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextlib.contextmanager
def bad_link(target: int, **how: float) -> Iterator[Link]:
    """A link to a port of 127.0.0.1; its own is ``port``."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        link = Link(target, port=listening.getsockname()[1], **how)  # type: ignore[arg-type]
        link._flowing.set()
        threading.Thread(target=link.serve, args=(listening,), daemon=True).start()
        try:
            yield link
        finally:
            link.close()
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
