"""Hosts that make load: real sshd, each in a network namespace with an address of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyroute2 import netns as namespaces

from jvbtune.bridge.client import BridgeClient
from jvbtune.hosts import connect
from jvbtune.inventory import HostEntry, load_inventory
from jvbtune.lab import Lab, files
from jvbtune.lab.network import NETNS_DIRECTORY, join, netlink
from tests.sshd import PRIVILEGE_SEPARATION, SSHD, make_key


@dataclass
class LoadHost:
    name: str
    directory: Path
    netns: str
    link: str  #: its end in the initial namespace
    address: str
    sshd: subprocess.Popen[bytes] = field(repr=False)

    def processes(self, part: str = "worker") -> list[int]:
        """Pids in its namespace whose command line has an argument ``part``."""
        inode = (NETNS_DIRECTORY / self.netns).stat().st_ino
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                argv = Path("/proc", name, "cmdline").read_bytes().split(b"\0")
                if os.stat(f"/proc/{name}/ns/net").st_ino == inode and part.encode() in argv:
                    found.append(int(name))
        return found

    def sent_packets(self) -> int:
        """Datagrams that left its namespace so far: load, since ssh is TCP."""
        lines = Path(f"/proc/{self.sshd.pid}/net/snmp").read_text().splitlines()
        names, values = [line.split() for line in lines if line.startswith("Udp:")]
        return int(values[names.index("OutDatagrams")])

    def sends(self) -> bool:
        """Whether load comes from it, for half a second."""
        before = self.sent_packets()
        time.sleep(0.5)
        return self.sent_packets() - before > 50

    @contextlib.contextmanager
    def unreachable(self) -> Iterator[None]:
        """Nobody can log in any more; whoever is there stays."""
        keys = self.directory / "authorized_keys"
        away = keys.rename(keys.with_suffix(".away"))
        try:
            yield
        finally:
            away.rename(keys)

    def cut(self) -> None:
        """No packet passes any more, and nobody is told."""
        with netlink(self.netns) as there:
            there.link("set", index=there.link_lookup(ifname="there")[0], state="down")


@contextlib.contextmanager
def load_hosts(lab: Lab, directory: Path, numbers: Sequence[int] = (1, 2)) -> Iterator[list[LoadHost]]:
    """Up as long as the block: ``load-1`` and so on."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(_load_host(lab, directory / f"load-{one}", f"load-{one}", one)) for one in numbers]


@contextlib.contextmanager
def _load_host(lab: Lab, directory: Path, name: str, number: int) -> Iterator[LoadHost]:
    directory.mkdir(parents=True)
    lab_number, third = lab.network.number, 16 + 4 * number
    netns, link = f"jvbt-lab{lab_number}-load{number}", f"jvbt{lab_number}l{number}"
    ours, theirs, port = f"198.18.{lab_number}.{third + 1}", f"198.18.{lab_number}.{third + 2}", 22090
    made_separation = not PRIVILEGE_SEPARATION.exists()
    if made_separation:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755)
    for key in ("host_key", "user_key"):
        make_key(directory / key)
    (directory / "authorized_keys").write_text((directory / "user_key.pub").read_text())
    (directory / "authorized_keys").chmod(0o600)
    host_key = " ".join((directory / "host_key.pub").read_text().split()[:2])
    (directory / "known_hosts").write_text(f"[{theirs}]:{port} {host_key}\n")
    (directory / "sshd_config").write_text(files.sshd_config(directory, theirs, port))
    (directory / "ssh_config").write_text(files.ssh_config(directory, name, theirs, port, "root"))
    namespaces.create(netns)
    try:
        with netlink(netns) as there:
            there.link("set", index=there.link_lookup(ifname="lo")[0], state="up")
        join(None, link, ours, netns, "there", theirs)
        with netlink(netns) as there:
            there.route("add", dst="default", gateway=ours)
        with open(directory / "sshd.log", "wb") as log:
            argv = ["nsenter", f"--net=/run/netns/{netns}", "--", SSHD, "-D", "-e", "-f", f"{directory}/sshd_config"]
            sshd = subprocess.Popen(argv, stdout=log, stderr=log)
        host = LoadHost(name, directory, netns, link, theirs, sshd)
        try:
            _wait_for_sshd(host)
            yield host
        finally:
            for pid in [*host.processes(), *_sessions(sshd)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            sshd.terminate()
            sshd.wait(10)
    finally:
        with netlink(None) as here:
            for index in here.link_lookup(ifname=link):
                here.link("del", index=index)
        namespaces.remove(netns)
        if made_separation:
            with contextlib.suppress(OSError):
                PRIVILEGE_SEPARATION.rmdir()


def _sessions(sshd: subprocess.Popen[bytes]) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(pid) for pid in Path(f"/proc/{sshd.pid}/task/{sshd.pid}/children").read_text().split()]
    return []


def _wait_for_sshd(host: LoadHost) -> None:
    deadline = time.monotonic() + 10
    while "Server listening" not in (host.directory / "sshd.log").read_text():
        if host.sshd.poll() is not None or time.monotonic() > deadline:
            raise AssertionError((host.directory / "sshd.log").read_text())
        time.sleep(0.05)


def inventory(lab: Lab, path: Path, hosts: list[LoadHost], *, python: str = sys.executable) -> Path:
    """The lab's own inventory (its last table is that of the generator), with the hosts that make its load."""
    names = ", ".join(f'"{host.name}"' for host in hosts)
    text = lab.inventory.read_text() + f"hosts = [{names}]\n"
    for host in hosts:
        text += f'\n[hosts."{host.name}"]\nssh_config = "{host.directory}/ssh_config"\n'
        text += f'[hosts."{host.name}".generator]\npython = "{python}"\n'
    path.write_text(text)
    return path


def entry_with(lab: Lab, directory: Path, hosts: list[LoadHost], *, python: str = sys.executable) -> HostEntry:
    """The lab's host, whose load these hosts make."""
    return load_inventory(inventory(lab, directory / "jvbtune.toml", hosts, python=python)).host(lab.name)


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def bridge_is_empty(lab: Lab) -> bool:
    entry = lab.entry()
    with connect(entry) as host:
        client = BridgeClient(host, entry.bridge.http_address, entry.bridge.http_port)
        return within(5, lambda: not client.stats().participants)
