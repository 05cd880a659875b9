"""Up, down and status of a lab: what all kinds share, and the kind ``process``.

Everything that ``up`` makes is written into ``state.json`` before it is made, so that ``down`` finds it whatever
happened in between; nothing is found by name, processes are known by pid and start time.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from jvbtune.agent.errors import AgentFault
from jvbtune.agent.journal import STATE_DIRECTORY, Journal, own_directory
from jvbtune.agent.putback import put_back
from jvbtune.errors import JvbtuneError, UsageError
from jvbtune.inventory import HostEntry, load_inventory
from jvbtune.lab import files
from jvbtune.lab.home import check_home, lab_home
from jvbtune.lab.network import NETNS_DIRECTORY, Network, free_network
from jvbtune.lab.processes import alive, start_ticks, stop, stop_with_children
from jvbtune.store.atomic import write_json

SSHD = "/usr/sbin/sshd"
PRIVILEGE_SEPARATION = Path("/run/sshd")
HEALTHY_TIMEOUT_SECONDS = 60.0
HEAP_MIB = 1024
#: First ports of the labs; each lab's number is added.
SSH_PORT, HTTP_PORT, MEDIA_PORT = 22100, 18080, 12000
_LOCK = Path("/run/jvbtune-lab.lock")
LABS_DIRECTORY = "/var/lib/jvbtune-labs"


#: A guard sees its agent end at once, puts back what was written and restarts the bridge.
GUARD_SECONDS = 30.0


def lab_directory() -> Path:
    """Where labs are kept: ``$JVBTUNE_LAB_DIR``, else one place for the machine, whose labs they are."""
    return Path(os.environ.get("JVBTUNE_LAB_DIR") or LABS_DIRECTORY).absolute()


def running_labs() -> dict[str, Path]:
    """The inventories of the labs that are up, by the names of their hosts: a lab may be reached as several users."""
    found = {}
    for state in sorted(lab_directory().glob("*/state.json")):
        inventory = state.with_name("jvbtune.toml")
        if inventory.is_file():
            found.update(dict.fromkeys(load_inventory(inventory).hosts, inventory))
    return found


@dataclass
class Lab:
    """One lab. ``Lab.up`` makes it, ``down`` takes it away; also a context manager that does the latter."""

    name: str
    directory: Path
    state: dict[str, Any] = field(default_factory=dict)
    kind: ClassVar[str] = "process"

    # -- what callers use ---------------------------------------------------------------------------------------

    @property
    def inventory(self) -> Path:
        return self.directory / "jvbtune.toml"

    @property
    def ssh_config(self) -> Path:
        return self.directory / "ssh_config"

    @property
    def network(self) -> Network:
        return Network(int(self.state["number"]), bool(self.state["own_namespace"]))

    @property
    def http_port(self) -> int:
        return HTTP_PORT + int(self.state["number"])

    @property
    def media_port(self) -> int:
        return MEDIA_PORT + int(self.state["number"])

    @property
    def ssh_port(self) -> int:
        return SSH_PORT + int(self.state["number"])

    def entry(self) -> HostEntry:
        """The lab's host."""
        return load_inventory(self.inventory).host(self.name)

    def bridge_pid(self) -> int | None:
        """The running bridge's pid."""
        pid, started = _pid_file(self.directory / "bridge.pid")
        return pid if alive(pid, started) else None

    @classmethod
    def named(cls, name: str) -> Lab | None:
        """The lab of that name, whatever state it is in; None: there is none."""
        directory = lab_directory() / name
        try:
            state = json.loads((directory / "state.json").read_text())
            return _kind(state.get("kind", "process"))(name, directory, state)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise JvbtuneError(f"{directory / 'state.json'} is damaged", hint="Delete the directory.") from error

    @classmethod
    def up(
        cls,
        name: str = "lab",
        *,
        kind: str = "process",
        bridge_home: Path | None = None,
        own_namespace: bool = False,
        say: Callable[[str], None] = lambda text: None,
    ) -> Lab:
        """Make the lab, all of it or nothing. Raises JvbtuneError with the end of the log that tells why.

        ``kind``: one of KINDS. ``say`` takes a line of progress where something takes minutes.
        """
        _check_name(name)
        made = _kind(kind)
        made.check_requirements()
        home = check_home(bridge_home) if bridge_home is not None else lab_home()
        existing = cls.named(name)
        if existing is not None:
            if existing.status()["running"]:
                raise JvbtuneError(f"the lab {name!r} is up already", hint=f"jvbtune lab down {name}")
            existing.down()
        lab = made(name, lab_directory() / name)
        lab._fetch(say)
        lab.directory.mkdir(parents=True, mode=0o755)
        try:
            with _machine_lock():
                network = free_network(own_namespace)
                facts = {"number": network.number, "own_namespace": own_namespace, "boot_id": _boot_id()}
                lab._note(kind=kind, home=str(home), **facts)
                if not Path(STATE_DIRECTORY).exists():
                    lab._note(made_state_directory=True)
                network.up()
            lab._start(home)
        except BaseException as error:
            tail = lab._log_tail()
            lab.down()
            if isinstance(error, JvbtuneError):
                raise type(error)(error.message, hint="\n".join(filter(None, (error.hint, tail)))) from error
            raise
        return lab

    def down(self) -> None:
        """Take away all that ``up`` made. May be called again, after any crash, and after a reboot."""
        if self.state.get("boot_id") == _boot_id():
            self._let_go()
            self._stop()
            if (directory := self._own_state_directory()) is not None:
                shutil.rmtree(directory, ignore_errors=True)
            if "number" in self.state:
                self.network.down()
        if self.state.get("made_state_directory") and not Path(Journal().path).exists():
            shutil.rmtree(STATE_DIRECTORY, ignore_errors=True)
        if self.state.get("made_privilege_separation"):
            with contextlib.suppress(OSError):
                PRIVILEGE_SEPARATION.rmdir()
        shutil.rmtree(self.directory, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.directory.parent.rmdir()  # where it was the last one

    def _own_state_directory(self) -> str | None:
        """Where the agent keeps its journal if the lab is a host in a namespace of its own."""
        own = self.network.host_netns if "number" in self.state else None
        if own is None:
            return None
        with contextlib.suppress(FileNotFoundError):
            return own_directory(STATE_DIRECTORY, (NETNS_DIRECTORY / own).stat().st_ino)
        return None

    def _let_go(self) -> None:
        """Of a sweep under way the agent is ended, and its guard puts the host back while the bridge is still there:
        with the lab's sshd the guard would go as well. Where there is no guard any more, it is done here."""
        own = self._own_state_directory()
        journal = Journal(own or STATE_DIRECTORY)
        try:
            record = journal.read()
        except AgentFault:
            return  # somebody has to look at it: "jvbtune revert" says where
        if record is None or str(self.directory) not in json.dumps(record["bridge"]):
            return
        stop(int(record["agent"]["pid"]), int(record["agent"]["start_ticks"]))
        deadline = time.monotonic() + GUARD_SECONDS
        while Path(journal.path).exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        if own is None and Path(journal.path).exists():
            with contextlib.suppress(TimeoutError, OSError), journal.locked(5.0):
                put_back(journal, _boot_id(), "the lab: it is taken down")

    def status(self) -> dict[str, Any]:
        """What of the lab runs."""
        here = self.state.get("boot_id") == _boot_id()
        sshd = [pid for pid, started in self.state.get("sshd") or () if here and alive(pid, started)]
        pid = self.bridge_pid() if here else None
        return {
            "name": self.name,
            "running": bool(sshd) and pid is not None,
            "directory": str(self.directory),
            "inventory": str(self.inventory),
            "home": self.state.get("home"),
            "own_namespace": self.state.get("own_namespace"),
            "sshd_pid": sshd[0] if sshd else None,
            "bridge_pid": pid,
            "bridge_healthy": self._healthy() if pid else False,
            "ssh_port": self.ssh_port,
            "http_port": self.http_port,
            "media_address": self.network.bridge_address,
            "media_port": self.media_port,
            "generator_netns": self.network.generator_netns,
        }

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    # -- what kinds differ in --------------------------------------------------------------------------------------

    @classmethod
    def check_requirements(cls) -> None:
        """Raises JvbtuneError where this machine cannot have such a lab."""
        check_requirements()

    def _fetch(self, say: Callable[[str], None]) -> None:
        """What has to be there before anything of the lab is made."""

    def _start(self, home: Path) -> None:
        self._write_files(home)
        self._start_sshd()
        self._start_bridge()

    def _stop(self) -> None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                [sys.executable, "-I", "-B", str(self.directory / "bridgectl.py"), "stop"],
                capture_output=True,
                timeout=30,
                check=False,
            )
        for pid, started in self.state.get("sshd") or ():
            stop_with_children(pid, started)

    # -- the steps of up ----------------------------------------------------------------------------------------

    def _note(self, **facts: Any) -> None:
        self.state.update(facts)
        write_json(self.directory / "state.json", self.state)

    def _write_files(self, home: Path) -> None:
        network, directory = self.network, self.directory
        (directory / "tmp").mkdir()
        bridge_cores, other_cores = split_cores()
        self._note(other_cores=other_cores)
        java = shutil.which("java")
        assert java is not None
        self._make_keys()
        shutil.copyfile(directory / "user_key.pub", directory / "authorized_keys")
        texts = {
            "sshd_config": files.sshd_config(directory, network.ssh_address, self.ssh_port),
            "ssh_config": files.ssh_config(directory, self.name, network.ssh_address, self.ssh_port, getpass.getuser()),
            "jvb.conf": files.jvb_conf(network.bridge_address, self.media_port, self.http_port),
            "bridgectl.py": Path(files.__file__).with_name("bridgectl.py").read_text(),
            "bridgectl.json": json.dumps(
                {
                    "argv": files.bridge_argv(str(Path(java).resolve()), home, directory, HEAP_MIB),
                    "netns": network.host_netns,
                    "cpus": bridge_cores,
                    "pid_file": str(directory / "bridge.pid"),
                    "log_file": str(directory / "bridge.log"),
                    "grace_seconds": 5.0,
                },
                indent=1,
            ),
        }
        for file_name, text in texts.items():
            (directory / file_name).write_text(text)
        self.inventory.write_text(
            files.inventory(
                directory,
                self.name,
                address=network.bridge_address,
                media_port=self.media_port,
                http_port=self.http_port,
                python=_system_python(),
                generator_netns=network.generator_netns,
                generator_cpus=other_cores,
            )
        )

    def _make_keys(self) -> None:
        """The host's and the user's, and the client's known_hosts."""
        for key in ("host_key", "user_key"):
            comment, path = f"jvbtune-{self.name}", self.directory / key
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
            subprocess.run(argv, check=True)
        host_key = " ".join((self.directory / "host_key.pub").read_text().split()[:2])
        known = f"[{self.network.ssh_address}]:{self.ssh_port} {host_key}\n"
        (self.directory / "known_hosts").write_text(known)

    def _start_sshd(self) -> None:
        if not PRIVILEGE_SEPARATION.exists():
            self._note(made_privilege_separation=True)
            PRIVILEGE_SEPARATION.mkdir(mode=0o755)
        argv = [SSHD, "-f", str(self.directory / "sshd_config"), "-E", str(self.directory / "sshd.log")]
        if self.network.host_netns:
            argv = ["nsenter", f"--net=/run/netns/{self.network.host_netns}", "--", *argv]
        cores = ",".join(str(core) for core in self.state["other_cores"])
        done = subprocess.run(
            ["taskset", "--cpu-list", cores, *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd="/",
            timeout=30,
            check=False,
        )
        if done.returncode != 0:
            raise JvbtuneError(f"the lab's sshd did not start: {done.stderr.strip()}")
        path = self.directory / "sshd.pid"
        self._wait(lambda: path.exists() and path.read_text().endswith("\n"), 10, "sshd")  # there before it is filled
        pid = int(path.read_text())
        self._note(sshd=[[pid, start_ticks(pid) or 0]])
        self._wait(lambda: listens(self.network.ssh_address, self.ssh_port), 10, "sshd")

    def _start_bridge(self) -> None:
        argv = [_system_python(), "-I", "-B", str(self.directory / "bridgectl.py"), "start"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise JvbtuneError(f"the bridge did not start: {done.stderr.strip()}")
        self._wait(self._healthy, HEALTHY_TIMEOUT_SECONDS, "the bridge")

    def _healthy(self) -> bool:
        """``/about/health`` answers 200, asked from the bridge's own network namespace."""
        script = (
            "import sys, urllib.request as r\n"
            f"sys.exit(r.urlopen('http://127.0.0.1:{self.http_port}/about/health', timeout=2).status != 200)\n"
        )
        argv = [_system_python(), "-I", "-c", script]
        if self.network.host_netns:
            argv = ["nsenter", f"--net=/run/netns/{self.network.host_netns}", "--", *argv]
        return subprocess.run(argv, capture_output=True, timeout=10, check=False).returncode == 0

    def _wait(self, ready: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if what == "the bridge" and self.bridge_pid() is None:
                raise JvbtuneError(f"{what} of the lab ended")
            if time.monotonic() > deadline:
                raise JvbtuneError(f"{what} of the lab was not ready within {seconds:g} s")
            time.sleep(0.1)

    def _log_tail(self) -> str:
        tails = []
        for log in ("boot.log", "sshd.log", "bridge.log"):
            with contextlib.suppress(OSError):
                text = (self.directory / log).read_text(errors="replace").strip()
                if text:
                    tails.append(f"{log}:\n" + "\n".join(text.splitlines()[-15:]))
        return "\n".join(tails)


#: Kinds of lab, the default first: how the bridge runs on the host.
KINDS = ("process", "systemd", "container")


def _kind(name: str) -> type[Lab]:
    from jvbtune.lab.hosts import ContainerLab, SystemdLab  # they build on this module

    kinds: dict[str, type[Lab]] = {one.kind: one for one in (Lab, SystemdLab, ContainerLab)}
    if name not in kinds:
        raise UsageError(f"{name!r} is no kind of lab: {', '.join(KINDS)} are")
    return kinds[name]


def split_cores() -> tuple[list[int], list[int]]:
    """The bridge's core, and those of everything else; the same one where there is no other."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[-1:], cores[:-1]) if len(cores) > 1 else (cores, cores)


def check_requirements(java: bool = True) -> None:
    """Raise JvbtuneError with the line to run where something is missing."""
    if os.getuid() != 0:
        raise JvbtuneError(
            "the lab needs root: it makes a network namespace and its sweeps write kernel settings",
            hint="sudo " + " ".join(sys.argv),
        )
    packages = {
        "nsenter": "util-linux",
        "taskset": "util-linux",
        "ssh-keygen": "openssh-client",
        **({"java": "openjdk-17-jdk-headless"} if java else {"debootstrap": "debootstrap"}),
    }
    missing = list(dict.fromkeys(package for name, package in packages.items() if shutil.which(name) is None))
    if java and not Path(SSHD).exists():
        missing.append("openssh-server")
    if missing:
        raise JvbtuneError("the lab needs more of this machine", hint=f"apt-get install -y {' '.join(missing)}")


def _check_name(name: str) -> None:
    if not name or not all(c.isalnum() or c in "-_." for c in name) or name[0] in "-.":
        raise UsageError(f"{name!r} cannot be the name of a lab: letters, digits, '-', '_' and '.' can")


def _pid_file(path: Path) -> tuple[int, int]:
    try:
        return int(path.read_text()), int(path.with_name(path.name + ".start").read_text())
    except (OSError, ValueError):
        return 0, 0


def listens(address: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
        return True
    return False


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _system_python() -> str:
    """A Python outside of any virtual environment, as hosts have one."""
    return "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable


@contextlib.contextmanager
def _machine_lock() -> Iterator[None]:
    """One lab at a time looks for a free number."""
    with open(_LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    # The file goes with the boot (/run is a tmpfs); deleting it would let two holders in.
