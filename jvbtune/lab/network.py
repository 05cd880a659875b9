"""The lab's network: a namespace for the generator, joined by a veth pair, so that packets pass the softnet backlog.

The bridge stays in the initial namespace, where net.core.* can be written; a lab with ``own_namespace`` has one more
for its sshd and bridge, joined to the initial one by a second pair.
Addresses are of 198.18.0.0/15, which is set aside for benchmarks (RFC 2544, RFC 6890).
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from jvbtune.errors import JvbtuneError

NETNS_DIRECTORY = Path("/run/netns")


@dataclass(frozen=True)
class Network:
    """Names and addresses of one lab, all made of its number."""

    number: int  #: 0..249
    own_namespace: bool

    @property
    def generator_netns(self) -> str:
        return f"jvbt-lab{self.number}-gen"

    @property
    def host_netns(self) -> str | None:
        return f"jvbt-lab{self.number}-host" if self.own_namespace else None

    @property
    def bridge_address(self) -> str:
        return f"198.18.{self.number}.1"

    @property
    def generator_address(self) -> str:
        return f"198.18.{self.number}.2"

    @property
    def ssh_address(self) -> str:
        return f"198.18.{self.number}.6" if self.own_namespace else "127.0.0.1"

    @property
    def links(self) -> tuple[str, ...]:
        """Ends that lie in the initial namespace: while they are there, the number is taken."""
        return (f"jvbt{self.number}m",) if self.own_namespace else (f"jvbt{self.number}b",)

    def namespaces(self) -> tuple[str, ...]:
        return tuple(name for name in (self.generator_netns, self.host_netns) if name)

    def up(self) -> None:
        """Make it. What is there already is an error."""
        media, peer = f"jvbt{self.number}b", f"jvbt{self.number}g"
        for name in self.namespaces():
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        bridge_side = ["-n", self.host_netns] if self.host_netns else []
        _ip(*bridge_side, "link", "add", media, "type", "veth", "peer", "name", peer, "netns", self.generator_netns)
        _ip(*bridge_side, "address", "add", f"{self.bridge_address}/30", "dev", media)
        _ip(*bridge_side, "link", "set", media, "up")
        _ip("-n", self.generator_netns, "address", "add", f"{self.generator_address}/30", "dev", peer)
        _ip("-n", self.generator_netns, "link", "set", peer, "up")
        if self.host_netns:
            outer, inner = f"jvbt{self.number}m", f"jvbt{self.number}n"
            _ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", self.host_netns)
            _ip("address", "add", f"198.18.{self.number}.5/30", "dev", outer)
            _ip("link", "set", outer, "up")
            _ip("-n", self.host_netns, "address", "add", f"{self.ssh_address}/30", "dev", inner)
            _ip("-n", self.host_netns, "link", "set", inner, "up")

    def down(self) -> None:
        """Take away whatever of it is there. The veth first: with its namespace it would go some time later."""
        for link in self.links:
            if Path("/sys/class/net", link).exists():
                _ip("link", "delete", link)
        for name in self.namespaces():
            if (NETNS_DIRECTORY / name).exists():
                _ip("netns", "delete", name)

    def exists(self) -> bool:
        return any((NETNS_DIRECTORY / name).exists() for name in self.namespaces()) or any(
            Path("/sys/class/net", link).exists() for link in self.links
        )


def free_network(own_namespace: bool, *, first: int = 0) -> Network:
    """The first number that nothing of this machine uses."""
    addresses = _ip("-o", "-4", "address", "show")
    for number in range(first, 250):
        both = (Network(number, False), Network(number, True))
        if not any(network.exists() for network in both) and f" 198.18.{number}." not in addresses:
            return both[own_namespace]
    raise JvbtuneError("250 labs are up on this machine")


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise JvbtuneError(f"ip {' '.join(arguments)} failed: {done.stderr.strip()}")
    return done.stdout
