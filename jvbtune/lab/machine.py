"""A booted tree: its own systemd as process 1 of namespaces of its own, all of its processes in one control group.

The network namespace is the initial one (net.core.* can be written there), or a named one. Whatever the machine mounts
and starts goes when the control group is killed: its mount namespace dies with its last process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jvbtune.errors import JvbtuneError
from jvbtune.lab.tree import RECIPES

BOOT_TIMEOUT_SECONDS = 30.0
KILL_TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True)
class Machine:
    """A machine by the directory that its writable layer lies in and by its control group."""

    directory: Path
    group: str  #: name below the root of the cgroup2 hierarchy

    @property
    def root_layer(self) -> Path:
        """What the machine has written, and what is put into it before it boots."""
        return self.directory / "upper"

    @property
    def control_group(self) -> Path:
        return cgroup2() / self.group

    def prepare(self) -> None:
        """Directories that ``boot`` wants."""
        for name in ("root", "upper", "work", "containers"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        self.root_layer.chmod(0o755)

    def boot(self, tree: Path, home: Path, name: str, netns: str | None) -> None:
        """Start its process 1, with a boot id of its own. Raises JvbtuneError with the end of the log."""
        (self.directory / "boot_id").write_text(f"{uuid.uuid4()}\n")
        self.control_group.mkdir(exist_ok=True)
        prefix = ["nsenter", f"--net=/run/netns/{netns}", "--"] if netns else []
        argv = ["setsid", "--fork", *prefix, "unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--", "sh"]
        argv += [str(RECIPES / "boot.sh"), *map(str, (self.control_group, self.directory, tree, home, name))]
        log = self.directory / "boot.log"
        with log.open("ab") as output:
            subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", check=True)
        begun = time.monotonic()
        while not (pid := self.init_pid()) or not "".join(_argv(pid)[:1]).endswith("systemd"):
            waited = time.monotonic() - begun
            if waited > BOOT_TIMEOUT_SECONDS or (waited > 10 and not self.processes()):
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise JvbtuneError("the lab's machine did not boot", hint=tail)
            time.sleep(0.02)

    def processes(self) -> list[int]:
        """Every process of it, as this machine counts them."""
        found: list[int] = []
        for path in self._groups():
            with contextlib.suppress(OSError):
                found += [int(pid) for pid in (path / "cgroup.procs").read_text().split()]
        return sorted(found)

    def init_pid(self) -> int | None:
        """Its process 1."""
        return next((pid for pid in self.processes() if _namespaced_pids(pid)[1:] == [1]), None)

    def own_pid(self, pid: int) -> int:
        """What a process of it is called within the machine. Raises ProcessLookupError where it is gone."""
        numbers = _namespaced_pids(pid)
        if len(numbers) < 2:
            raise ProcessLookupError(pid)
        return numbers[1]

    def find(self, *parts: str) -> int | None:
        """The process of it whose command line has each of these parts somewhere."""
        for pid in self.processes():
            argv = _argv(pid)
            if all(any(part in argument for argument in argv) for part in parts):
                return pid
        return None

    def run(self, argv: Sequence[str], *, timeout_seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command in its namespaces and its control group, as root."""
        pid = self.init_pid()
        if pid is None:
            raise JvbtuneError("the lab's machine does not run")
        entered = ["nsenter", f"--target={pid}", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--net", "--"]
        # A session of its own kind would be logind's; a scope of systemd's is what a command line of the machine has.
        return subprocess.run(
            [*entered, "systemd-run", "--quiet", "--scope", "--", *argv],
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            stdin=subprocess.DEVNULL,
            check=False,
            cwd="/",
        )

    def kill(self) -> None:
        """End every process of it at once, and take its control groups away. May be called again."""
        deadline = time.monotonic() + KILL_TIMEOUT_SECONDS
        while self.control_group.is_dir():
            with contextlib.suppress(OSError):
                (self.control_group / "cgroup.kill").write_text("1")
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for path in reversed(self._groups()):
                with contextlib.suppress(OSError):
                    path.rmdir()
            if time.monotonic() > deadline:
                raise JvbtuneError(f"processes of the lab are left in {self.control_group}: {self.processes()}")
            time.sleep(0.02)

    def _groups(self) -> list[Path]:
        """Its control groups, a group before those below it."""
        if not self.control_group.is_dir():
            return []
        return [Path(directory) for directory, _, _ in os.walk(self.control_group)]


def cgroup2() -> Path:
    """Where the cgroup2 hierarchy is mounted: alone, or beside those of version 1. Raises JvbtuneError."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.startswith("cgroup2 "):
            return Path(fields.split()[4])
    raise JvbtuneError("this machine has no cgroup2 hierarchy: systemd cannot run in a lab here")


def _argv(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def _namespaced_pids(pid: int) -> list[int]:
    """Its number in each process namespace that it is in, the outermost first; empty where it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("NSpid:"):
                return [int(number) for number in line.split()[1:]]
    return []
