"""A real OpenSSH server for tests: keys, configuration and known_hosts of its own, on a port of its own."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SSHD = "/usr/sbin/sshd"
PRIVILEGE_SEPARATION = Path("/run/sshd")


@dataclass
class Server:
    directory: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def client_config(self) -> Path:
        return self.directory / "ssh_config"

    def sessions(self) -> list[int]:
        """Pids of the processes that serve connections, not the listener."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@contextlib.contextmanager
def run_sshd(
    directory: Path, alias: str = "target", extra_client: str = "", extra_server: str = ""
) -> Iterator[Server]:
    """Start the server, write a client configuration with ``alias``, stop it at the end."""
    directory.mkdir(parents=True, exist_ok=True)
    made_separation = os.getuid() == 0 and not PRIVILEGE_SEPARATION.exists()
    if made_separation:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755)
    port = free_port()
    for name in ("host_key", "user_key"):
        make_key(directory / name)
    public = (directory / "user_key.pub").read_text()
    (directory / "authorized_keys").write_text(public)
    (directory / "authorized_keys").chmod(0o600)
    host_key = " ".join((directory / "host_key.pub").read_text().split()[:2])
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    (directory / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory}/host_key\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {directory}/authorized_keys\nStrictModes no\nPasswordAuthentication no\n"
        "PermitRootLogin prohibit-password\nKbdInteractiveAuthentication no\nMaxSessions 200\nMaxStartups 100\n"
        + extra_server
    )
    (directory / "ssh_config").write_text(
        f"Host {alias}\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
        f"  IdentityFile {directory}/user_key\n  IdentitiesOnly yes\n  IdentityAgent none\n"
        f"  UserKnownHostsFile {directory}/known_hosts\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n"
        + extra_client
    )
    with open(directory / "sshd.log", "wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(directory / "sshd_config")], stdout=log, stderr=log)
    server = Server(directory, port, process)
    try:
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((directory / "sshd.log").read_text())
            time.sleep(0.05)
        yield server
    finally:
        with contextlib.suppress(FileNotFoundError):
            for pid in server.sessions() if process.poll() is None else []:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 15)
        process.terminate()
        process.wait(10)
        if made_separation:
            with contextlib.suppress(OSError):
                PRIVILEGE_SEPARATION.rmdir()
