"""A port of this machine that leads to an address as a host sees it, as ``ssh -L`` makes one."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from jvbtune.errors import JvbtuneError
from jvbtune.hosts.base import Host
from jvbtune.protocol.http import TcpConnection

CHUNK_BYTES = 65536
#: A connection without data, either way, is closed after so long.
IDLE_SECONDS = 120.0


class Forward:
    """Listens on 127.0.0.1 as long as it is open."""

    def __init__(self, host: Host, address: str, port: int) -> None:
        self._host, self._to = host, (address, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[TcpConnection] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, name="forward", daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), name="forward-connection", daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with contextlib.closing(near):
            try:
                far = self._host.connect_tcp(*self._to)
            except JvbtuneError:
                return  # the bridge does not answer: whoever connected sees the end of the connection
            with self._lock:
                self._open |= {near, far}
            far.settimeout(IDLE_SECONDS)
            near.settimeout(IDLE_SECONDS)
            back = threading.Thread(target=_pump, args=(far.recv, near.sendall, near.close), daemon=True)
            back.start()
            _pump(near.recv, far.sendall, lambda: None)
            back.join(IDLE_SECONDS)
            far.close()
            with self._lock:
                self._open -= {near, far}

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._listener.close()
        with self._lock:
            left = list(self._open)
        for one in left:
            one.close()


def _pump(receive: Callable[[int], bytes], send: Callable[[bytes], object], done: Callable[[], object]) -> None:
    with contextlib.suppress(OSError, EOFError):
        while data := receive(CHUNK_BYTES):
            send(data)
    with contextlib.suppress(OSError):
        done()
