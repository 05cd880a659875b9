"""The host of a fault: its settings, its bridge, its processes, and the question whether it is as it was found."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jvbtune.hosts.archive import Archive, agent_archive

HERE = Path(__file__).parent
KEY = "ice4j.harvest.udp.receive-buffer-size"
A, B, TRIPLE = "net.ipv4.udp_rmem_min", "net.core.somaxconn", "net.ipv4.tcp_rmem"
#: Real ones of the kernel that a network namespace has of its own; the last two stand for those that it has not.
SETTINGS = {A: 1, B: 1, TRIPLE: 3}
STEPS: tuple[dict[str, str], ...] = (
    {A: "8192", KEY: "1048576"},
    {A: "12288", B: "1024", TRIPLE: "4096 65536 2097152"},
)
FOREIGN_VALUE = "20480"
CONFIG = "videobridge {\n  http-servers { private { port = 8080 } }\n}\n"
EDIT = "# an operator's edit of this day\n"
#: In proportion to a lease of 3 s; the real ones are in proportion to a real bridge.
CONSTANTS = {
    "control.HTTP_TIMEOUT_SECONDS": 1.5,
    "control.HEALTHY_TIMEOUT_SECONDS": 4.0,
    "control.RESTART_TIMEOUT_SECONDS": 6.0,
    "calls.REFRESH_SECONDS": 0.3,
    "guard.RETRY_SECONDS": 0.5,
}


def injected_archive(directory: Path) -> Archive:
    """The agent's archive with the hooks in front."""
    source = zipfile.ZipFile(io.BytesIO(agent_archive().content))
    hooks = (HERE / "hooks.py").read_text().replace('DIRECTORY = globals().get("DIRECTORY", "")', "")
    hooks = hooks.replace("import builtins\n", f"DIRECTORY = {str(directory)!r}\nimport builtins\n", 1)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            data = source.read(name)
            archive.writestr(name, b"import jvbtune_faults\n" + data if name == "__main__.py" else data)
        archive.writestr("jvbtune_faults.py", hooks)
    content = buffer.getvalue()
    return Archive(content, hashlib.sha256(content).hexdigest())


def read_setting(name: str) -> str:
    return " ".join(Path("/proc/sys", *name.split(".")).read_text().split())


def write_setting(name: str, value: str) -> None:
    Path("/proc/sys", *name.split(".")).write_text(value + "\n")


@dataclass(frozen=True)
class Process:
    pid: int
    actor: str  #: agent | guard


def processes() -> list[Process]:
    """Agents and guards that live (a zombie does not)."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            argv = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state not in "ZX" and any(part.endswith(b".pyz") for part in argv):
            found.append(Process(int(name), "guard" if b"guard" in argv else "agent"))
    return found


@dataclass
class Host:
    """This process's namespaces as a host. ``directory`` holds what the harness and the bridge write."""

    directory: Path
    baseline: dict[str, str] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)  #: what somebody else set, and nobody may write over
    edited: bytes | None = None
    drain_found: bool = False
    drain_foreign: bool | None = None

    @property
    def config(self) -> Path:
        return self.directory / "etc" / "jvb.conf"

    def set_up(self, drained: bool) -> None:
        for place in ("/run", "/var/lib", "/var/cache"):
            run("mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "none", place)
        run("ip", "link", "set", "lo", "up")
        self.config.parent.mkdir()
        self.config.write_text(CONFIG)
        self.put("participants", "0")
        self.put("mode", "ok")
        self.baseline = {name: read_setting(name) for name in SETTINGS}
        self.bridge_command("start")
        if drained:
            self.toggle_drain(True)
        self.drain_found = drained

    def put(self, name: str, text: str) -> None:
        temporary = self.directory / f"{name}.put"
        temporary.write_text(text)
        temporary.replace(self.directory / name)

    def get(self, name: str, default: str = "") -> str:
        try:
            return (self.directory / name).read_text()
        except OSError:
            return default

    def log(self, **data: Any) -> None:
        line = {"t": time.monotonic(), **data}
        descriptor = os.open(self.directory / "timeline.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, json.dumps(line).encode() + b"\n")
        os.close(descriptor)

    def timeline(self) -> list[dict[str, Any]]:
        lines = self.get("timeline.jsonl").splitlines()
        return sorted((json.loads(line) for line in lines), key=lambda line: float(line["t"]))

    # -- the bridge ---------------------------------------------------------------------------------------------

    def bridge_arguments(self) -> dict[str, Any]:
        return {
            "http_address": "127.0.0.1",
            "http_port": 8080,
            "control": {"commands": {"restart": self.restart_command()}},
            "config_file": str(self.config),
            "pid_file": str(self.directory / "pid"),
            "match": None,
            "media_port": 10000,
        }

    def restart_command(self) -> list[str]:
        return [sys.executable, "-I", "-S", "-B", str(HERE / "bridge.py"), "restart", str(self.directory)]

    def inventory(self) -> Path:
        path = self.directory / "jvbtune.toml"
        path.write_text(
            '[hosts."here"]\nlocal = true\n[hosts."here".bridge]\nhttp_port = 8080\n'
            f"pid_file = {json.dumps(str(self.directory / 'pid'))}\nconfig_file = {json.dumps(str(self.config))}\n"
            f"control = {{ commands = {{ restart = {json.dumps(self.restart_command())} }} }}\n"
        )
        return path

    def bridge_command(self, what: str) -> None:
        run(sys.executable, "-I", "-S", "-B", str(HERE / "bridge.py"), what, str(self.directory))

    def toggle_drain(self, on: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=5)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("POST", f"/colibri/drain/{'enable' if on else 'disable'}", headers={"X-By": "somebody"})
            connection.getresponse().read()
        connection.close()

    def draining(self) -> bool:
        return self.get("drained").strip() == "1"

    # -- as it was found ----------------------------------------------------------------------------------------

    def state_directories(self) -> list[Path]:
        return [*Path("/var/lib").glob("jvbtune*"), *Path("/run").glob("jvbtune*")]

    def journal(self) -> bool:
        """Whether there is a record of what is changed: the journal, or a second copy of it. A damaged one counts."""
        copies = [_read_copy(path) for path in self.journal_files()]
        finished = [copy.get("run_id") for copy in copies if copy is not None and copy.get("finished")]
        return any(copy is None or copy.get("run_id") not in finished for copy in copies)

    def overlay(self) -> bool:
        wanted = f" {self.config} "
        return any(wanted in line for line in Path("/proc/self/mountinfo").read_text().splitlines())

    def deviations(self) -> list[str]:
        """How the host differs from what was found on arrival, what others did aside; empty: it is as it was found."""
        wrong = []
        for name, baseline in self.baseline.items():
            value = read_setting(name)
            if value not in (baseline, self.foreign.get(name)):
                wrong.append(f"{name} is {value} and was {baseline}")
        if self.overlay():
            wrong.append("an overlay is mounted over the configuration")
        wrong += self._configuration()
        if self.draining() not in (self.drain_found, self.drain_foreign):
            wrong.append(f"the bridge is {'' if self.draining() else 'not '}draining")
        return wrong + self._bridge_in_force()

    def _configuration(self) -> list[str]:
        content = self.config.read_bytes()
        if content == CONFIG.encode():
            kept = any(EDIT.encode() in path.read_bytes() for top in self.state_directories() for path in top.glob("*"))
            return [] if self.edited is None or kept else ["an edit of the configuration is lost"]
        if self.edited is not None and EDIT.encode() in content and b"jvbtune" not in content:
            return []
        return [f"the configuration is {content[-80:]!r}"]

    def _bridge_in_force(self) -> list[str]:
        """The running bridge took its sockets under our values."""
        started = [line for line in self.timeline() if line.get("event") == "start"]
        if not started:
            return []
        last = started[-1]
        wrong = [
            f"the bridge was started with {name} = {value}"
            for name, value in last["values"].items()
            if value not in (self.baseline[name], self.foreign.get(name))
        ]
        if last["receive_buffer"]:
            wrong.append(f"the bridge was started with a receive buffer of {last['receive_buffer']}")
        return wrong

    def left_over(self) -> list[str]:
        """Files, processes and mounts of jvbtune's that should be gone once all is put back."""
        wrong = [f"{process.actor} {process.pid} is running" for process in processes()]
        allowed = {"lock", "last-revert.json"}
        for top in self.state_directories():
            if str(top).startswith("/run/"):
                wrong.append(f"{top} is left: {sorted(path.name for path in top.glob('*'))}")
                continue
            for path in top.iterdir():
                if path.name not in allowed and EDIT.encode() not in path.read_bytes():
                    wrong.append(f"{path} is left")
        return wrong

    def changed(self) -> bool:
        """Whether something of a sweep's is in force."""
        values = {name: read_setting(name) for name in self.baseline}
        swept = any(value not in (self.baseline[name], self.foreign.get(name)) for name, value in values.items())
        return swept or self.overlay()

    def kill(self, *actors: str) -> None:
        for process in processes():
            if process.actor in actors:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)

    def journal_files(self) -> Iterator[Path]:
        for top in self.state_directories():
            yield from top.glob("journal*.json")


def _read_copy(path: Path) -> dict[str, Any] | None:
    """A copy of the journal; None: it is damaged."""
    try:
        copy = json.loads(path.read_text())
    except FileNotFoundError:
        return {"finished": True}
    except (OSError, ValueError):
        return None
    return copy if isinstance(copy, dict) else None


def run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")
