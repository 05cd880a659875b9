"""Light hosts, dozens at once: each has its own network, mounts and processes, a real sshd, the real agent, and a small
bridge without a JVM.

What they do not have: media (no load can be offered), and the settings of ``net.core.*`` that the kernel has once for
the whole machine. Settings of ``net.ipv4.*`` are each host's own.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jvbtune.inventory import HostEntry, load_inventory
from tests.sshd import make_key

INSIDE = Path(__file__).with_name("inside.py")
BRIDGE = Path(__file__).parents[1] / "faults" / "bridge.py"
MEDIA_PORT = 10000
CONFIG = "videobridge {\n  http-servers { private { port = 8080 } }\n}\n"
SETTING = "net.ipv4.udp_rmem_min"


def media_address(number: int) -> str:
    """Of this process's hosts: others on this machine may have theirs."""
    return f"127.{64 + os.getpid() // 256 % 64}.{os.getpid() % 256}.{number}"


@dataclass
class LightHost:
    """``ssh_port``: that of the inventory; a link in between may change it before the inventory is written."""

    name: str
    directory: Path
    number: int
    port: int
    process: subprocess.Popen[bytes]
    labels: Mapping[str, str]
    ssh_port: int = 0

    def put(self, name: str, text: str) -> None:
        (self.directory / f"{name}.put").write_text(text)
        (self.directory / f"{name}.put").replace(self.directory / name)

    def get(self, name: str) -> str:
        return (self.directory / name).read_text()

    def timeline(self) -> list[dict[str, object]]:
        """What the bridge saw: start, drained, undrained, restart."""
        path = self.directory / "timeline.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def drained(self) -> bool:
        return self.get("drained").strip() == "1"

    def inside(self, *argv: str) -> str:
        """What a command prints on the host."""
        first = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0]
        done = subprocess.run(
            ["nsenter", "-t", first, "-m", "-n", "-p", *argv], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def drain(self, on: bool) -> None:
        """Somebody else's doing."""
        what = "enable" if on else "disable"
        self.inside(
            *(sys.executable, "-I", "-S", "-c"),
            "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8080, timeout=5);"
            f"c.request('POST', '/colibri/drain/{what}', headers={{'X-By': 'somebody'}}); c.getresponse().read()",
        )


@dataclass
class LightFleet:
    directory: Path
    hosts: list[LightHost] = field(default_factory=list)

    @property
    def inventory(self) -> Path:
        return self.directory / "jvbtune.toml"

    def entries(self) -> list[HostEntry]:
        return list(load_inventory(self.inventory).hosts.values())

    def host(self, name: str) -> LightHost:
        return next(one for one in self.hosts if one.name == name)

    def write_inventory(self) -> None:
        lines, ssh = [], []
        for one in self.hosts:
            restart = [sys.executable, "-I", "-S", "-B", str(BRIDGE), "restart", str(one.directory)]
            lines += [
                f'[hosts."{one.name}"]',
                f"ssh_config = {json.dumps(str(self.directory / 'ssh_config'))}",
                'groups = ["light"]',
                f'[hosts."{one.name}".bridge]',
                f'media_address = "{media_address(one.number)}"',
                f"media_port = {MEDIA_PORT}",
                f"pid_file = {json.dumps(str(one.directory / 'pid'))}",
                f"config_file = {json.dumps(str(one.directory / 'etc' / 'jvb.conf'))}",
                f"control = {{ commands = {{ restart = {json.dumps(restart)} }} }}",
                f'[hosts."{one.name}".labels]',
                *(f"{key} = {json.dumps(value)}" for key, value in one.labels.items()),
            ]
            ssh += [
                f"Host {one.name}",
                "  HostName 127.0.0.1",
                f"  Port {one.ssh_port or one.port}",
                f"  HostKeyAlias {one.name}",
                f"  User {getpass.getuser()}",
                f"  IdentityFile {self.directory}/user_key",
                "  IdentitiesOnly yes",
                "  IdentityAgent none",
                f"  UserKnownHostsFile {self.directory}/known_hosts",
                "  GlobalKnownHostsFile none",
                "  StrictHostKeyChecking yes",
            ]
        self.inventory.write_text("\n".join(lines) + "\n")
        (self.directory / "ssh_config").write_text("\n".join(ssh) + "\n")


@contextlib.contextmanager
def light_hosts(directory: Path, labels: Sequence[Mapping[str, str]]) -> Iterator[LightFleet]:
    """One host for each entry of ``labels``, named light-01 and so on; all are up when this is entered."""
    fleet = LightFleet(directory)
    for name in ("host_key", "user_key"):
        make_key(directory / name)
    shutil.copy(directory / "user_key.pub", directory / "authorized_keys")
    host_key = " ".join((directory / "host_key.pub").read_text().split()[:2])
    names = [f"light-{number:02d}" for number in range(1, len(labels) + 1)]
    (directory / "known_hosts").write_text("".join(f"{name} {host_key}\n" for name in names))
    with contextlib.ExitStack() as stack:
        for number, (name, of_host) in enumerate(zip(names, labels, strict=True), 1):
            media = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            media.bind((media_address(number), MEDIA_PORT))  # takes what a check sends; nobody reads it
            fleet.hosts.append(_start(directory / name, name, number, of_host, stack))
        fleet.write_inventory()
        deadline = time.monotonic() + 60
        for host in fleet.hosts:
            while not (host.directory / "pid").exists():
                assert host.process.poll() is None, (host.directory / "inside.log").read_text()
                assert time.monotonic() < deadline, f"{host.name} is not up"
                time.sleep(0.02)
        yield fleet


def _start(
    directory: Path, name: str, number: int, labels: Mapping[str, str], stack: contextlib.ExitStack
) -> LightHost:
    top = directory.parent
    (directory / "etc").mkdir(parents=True)
    (directory / "etc" / "jvb.conf").write_text(CONFIG)
    (directory / "spec.json").write_text(json.dumps({"settings": [SETTING]}))
    for file, text in (("participants", "0"), ("mode", "ok")):
        (directory / file).write_text(text)
    (directory / "sshd_config").write_text(
        f"HostKey {top}/host_key\nUsePAM no\nAuthorizedKeysFile {top}/authorized_keys\nStrictModes no\n"
        "PasswordAuthentication no\nPermitRootLogin prohibit-password\nKbdInteractiveAuthentication no\n"
        "MaxSessions 100\n"
    )
    with socket.create_server(("127.0.0.1", 0), backlog=32) as listening:
        log = stack.enter_context((directory / "inside.log").open("wb"))
        process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL"),  # a host does not outlive a test that is killed
                *("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"),
                *("--propagation", "private", sys.executable, "-I", "-S", "-B", str(INSIDE)),
                *(str(directory), str(listening.fileno()), str(BRIDGE)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(listening.fileno(),),
            env={"PATH": os.environ["PATH"]},
        )
        stack.callback(_stop, process)
        return LightHost(name, directory, number, listening.getsockname()[1], process, labels)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # the first process of the namespace goes with it, and all others with that
    process.wait(10)
