"""A bridge's HTTP interface, and its restart: each drain, undrain, start and restart is logged with who is on it.

``bridge.py serve DIRECTORY`` is the bridge; ``bridge.py restart DIRECTORY`` is the command that restarts it. What it
answers is in files of the directory: ``participants`` (a number, or ``missing``, ``none``, ``list``, ``empty``) and
``mode`` (``ok``, ``unhealthy``, ``503``, ``hang``, ``no-restart``). ``names`` is there if
``/debug`` lists who is on it.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

DIRECTORY = sys.argv[2]
PORT = 8080
MEDIA_PORT = 10000


def text(name: str, default: str = "") -> str:
    try:
        with open(f"{DIRECTORY}/{name}") as file:
            return file.read().strip()
    except OSError:
        return default


def log(event: str, **data: object) -> None:
    line = {"t": time.monotonic(), "who": "bridge", "event": event, "participants": text("participants"), **data}
    descriptor = os.open(f"{DIRECTORY}/timeline.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, json.dumps(line).encode() + b"\n")
    os.close(descriptor)


def in_force() -> dict[str, str]:
    found = {}
    for name in json.loads(text("spec.json"))["settings"]:
        with open("/proc/sys/" + name.replace(".", "/")) as file:
            found[name] = " ".join(file.read().split())
    return found


def receive_buffer() -> str:
    found = re.findall(r"receive-buffer-size\s*[=:]\s*(\d+)", text("etc/jvb.conf"))
    return found[-1] if found else ""


class Handler(http.server.BaseHTTPRequestHandler):
    drained = False

    def answer(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refused(self) -> bool:
        mode = text("mode", "ok")
        if mode == "hang":
            while text("mode") == "hang":
                time.sleep(0.1)
        if mode == "503":
            self.answer({}, 503)
        return mode == "503"

    def do_GET(self) -> None:
        if self.refused():
            return
        if self.path == "/colibri/stats":
            self.answer(stats(text("participants", "0")))
        elif self.path == "/colibri/drain":
            self.answer({"drain": Handler.drained})
        elif self.path == "/debug" and os.path.exists(f"{DIRECTORY}/names") and text("participants", "0").isdigit():
            self.answer(names(int(text("participants", "0"))))
        elif self.path == "/about/health":
            self.answer({}, 500 if text("mode") == "unhealthy" else 200)
        elif self.path == "/about/version":
            self.answer({"name": "JVB", "version": "2.3-faults", "os": "Linux"})
        else:
            self.answer({}, 404)

    def do_POST(self) -> None:
        if self.refused():
            return
        if self.path not in ("/colibri/drain/enable", "/colibri/drain/disable"):
            self.answer({}, 404)
            return
        Handler.drained = self.path.endswith("/enable")
        by = self.headers.get("X-By", "jvbtune")
        log("drained" if Handler.drained else "undrained", by=by, values=in_force())
        with open(f"{DIRECTORY}/drained", "w") as file:
            file.write(str(int(Handler.drained)))
        self.answer({})

    def log_message(self, format: str, *args: object) -> None:
        pass


def stats(participants: str) -> object:
    if participants == "missing":
        return {"conferences": 0}
    if participants == "none":
        return {"participants": None, "conferences": None}
    if participants == "list":
        return []
    if participants == "empty":
        return {}
    number = int(participants or 0)
    return {"participants": number, "conferences": int(number > 0), "endpoints": number, "largest_conference": number}


def names(number: int) -> object:
    """``/debug`` of a bridge with one conference of that many; none: no conference."""
    endpoints = {f"{index:08x}": "Ada" for index in range(number)}
    conference = {"meeting_id": "1c7e4c1e-2f0e-4f6a-9d0e-52b6a9d5a001", "endpoints": endpoints}
    return {"drain": Handler.drained, "conferences": {"8d1a4f0c5b7e2a91": conference} if number else {}}


class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True


def serve() -> None:
    media = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    media.bind(("127.0.0.1", MEDIA_PORT))
    server = Server(("127.0.0.1", PORT), Handler)
    log("start", pid=os.getpid(), values=in_force(), receive_buffer=receive_buffer())
    for name, content in (("drained", "0"), ("pid", str(os.getpid()))):
        with open(f"{DIRECTORY}/{name}.new", "w") as file:
            file.write(content)
        os.replace(f"{DIRECTORY}/{name}.new", f"{DIRECTORY}/{name}")
    server.serve_forever()


def restart() -> int:
    parent = os.getppid()
    with open(f"/proc/{parent}/cmdline", "rb") as file:
        argv = file.read().decode().split("\0")
    log("restart", by="guard" if "guard" in argv else "agent", parent=parent)
    if text("mode") == "no-restart":
        sys.stderr.write("Job for the bridge failed\n")
        return 1
    stop()
    start()
    return 0


def stop() -> None:
    try:
        pid = int(text("pid"))
        os.kill(pid, signal.SIGKILL)
    except (ValueError, ProcessLookupError):
        return
    while os.path.exists(f"/proc/{pid}"):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except OSError:
            return
        time.sleep(0.01)


def start() -> None:
    """A new process of the bridge, until it listens."""
    before = text("pid")
    argv = [sys.executable, "-I", "-S", "-B", __file__, "serve", DIRECTORY]
    null = subprocess.DEVNULL
    subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, start_new_session=True)
    until = time.monotonic() + 20
    while text("pid") == before and time.monotonic() < until:
        time.sleep(0.01)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    elif sys.argv[1] == "restart":
        sys.exit(restart())
    else:
        stop()
        start()
