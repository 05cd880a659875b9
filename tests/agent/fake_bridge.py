"""A bridge as the agent sees it: a process, and an HTTP interface that writes down who was there at what moment."""

from __future__ import annotations

import contextlib
import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

_RESTART = (
    "import sys, urllib.request; urllib.request.urlopen(urllib.request.Request(sys.argv[1], method='POST')).read()"
)


class FakeBridge:
    """``foreign``: participants of others; ``names``: whether /debug tells names; ``stats``: what stats say instead."""

    def __init__(self, directory: Path) -> None:
        self.foreign, self.ours, self.drain, self.names = 0, 0, False, True
        self.health, self.restarts_work = 200, True
        self.stats: Any = None
        self.silent_when_dead = False
        self.join_at_restart = 0
        self.log: list[str] = []
        self.pid_file = directory / "bridge.pid"
        self._process: subprocess.Popen[bytes] | None = None
        bridge = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if bridge.silent_when_dead and bridge._process is None:
                    return  # its socket went with it
                self._send(*bridge.answer(self.path))

            def do_POST(self) -> None:
                self._send(*bridge.act(self.path))

            def _send(self, status: int, value: Any) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(OSError):  # whoever asked went away
                    self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.start()

    @property
    def arguments(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.port}/test/restart"
        return {
            "http_address": "127.0.0.1",
            "http_port": self.port,
            "control": {"commands": {"restart": [sys.executable, "-I", "-c", _RESTART, url]}},
            "pid_file": str(self.pid_file),
        }

    def answer(self, path: str) -> tuple[int, Any]:
        if path == "/colibri/drain":
            return 200, {"drain": self.drain}
        if path == "/about/health":
            return self.health, {}
        if path == "/debug" and self.names:
            conferences = {}
            if self.ours:
                conferences["1"] = self._conference("jvbtune-0badcafe-0", "jvbtune", self.ours)
            if self.foreign:
                conferences["2"] = self._conference("5e5b1f1d-0000", "Sam-Kx1", self.foreign)
            return 200, {"conferences": conferences}
        if path == "/colibri/stats":
            counts = {"participants": self.ours + self.foreign, "conferences": bool(self.ours) + bool(self.foreign)}
            return 200, counts if self.stats is None else self.stats
        return 404, {}

    @staticmethod
    def _conference(meeting_id: str, stats_id: str, endpoints: int) -> dict[str, Any]:
        return {"meeting_id": meeting_id, "endpoints": {f"{n:08x}": stats_id for n in range(endpoints)}}

    def act(self, path: str) -> tuple[int, Any]:
        if path.startswith("/colibri/drain/"):
            self.drain = path.endswith("enable")
            self.log.append(f"{'drain' if self.drain else 'undrain'} with {self.foreign}")
        elif path == "/test/restart":
            self.log.append(f"restart with {self.foreign}")
            if not self.restarts_work:
                return 500, {}
            self.restart()
        return 200, {}

    @property
    def restarts(self) -> list[str]:
        return [line for line in self.log if line.startswith("restart")]

    def restart(self) -> None:
        """As by anybody: another process, undrained, its calls gone."""
        self.kill()
        self.foreign, self.drain = self.join_at_restart, False
        self.start()

    def start(self) -> None:
        """With the socket at which the test's thread answers, as a bridge has the one of its own."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", "import time; time.sleep(600)"], pass_fds=[self._server.fileno()]
        )
        self.pid_file.write_text(str(self._process.pid))

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.kill()
        self._server.shutdown()
        self._server.server_close()
