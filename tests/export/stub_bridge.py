"""A bridge of a test's own: what exports ask of one, and a record of what they have it do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class StubBridge:
    """``log``: each POST is a line of it."""

    log: Path
    drain: bool = False
    participants: int = 0
    joins_at_drain: bool = False  #: a conference begins in the moment before the drain
    joins_after_restart: bool = False  #: at the second drain, which follows a restart
    silent_after: int = -1  #: after so many restarts (lines of ``log``) it does not answer, until the next one
    address: str = ""

    def silent(self) -> bool:
        return self.log.exists() and self.log.read_text().count("systemctl restart") == self.silent_after

    def stats(self) -> dict[str, object]:
        count = self.participants
        told = {"participants": count, "conferences": int(count > 0), "drain": self.drain}
        return {**told, "average_participant_stress": 0.01}

    def post(self, path: str) -> None:
        with self.log.open("a") as log:
            log.write(f"POST {path}\n")
        self.drain = path == "/colibri/drain/enable"
        self.participants += self.drain and self.joins_at_drain
        drains = self.log.read_text().count("enable")
        self.participants += self.drain and self.joins_after_restart and drains == 2


@contextmanager
def serving(bridge: StubBridge) -> Iterator[StubBridge]:
    """It answers at its ``address``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({"drain": bridge.drain} if self.path == "/colibri/drain" else bridge.stats())

        def do_POST(self) -> None:
            bridge.post(self.path)
            self._answer({})

        def _answer(self, answer: dict[str, object]) -> None:
            if bridge.silent():
                return  # and the connection is closed
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer, separators=(",", ":")).encode())

        def log_message(self, format: str, *arguments: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    bridge.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield bridge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
