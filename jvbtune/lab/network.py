"""The lab's network: a namespace for the generator, joined by a veth pair, so that packets pass the softnet backlog.

The bridge stays in the initial namespace, where net.core.* can be written; a lab with ``own_namespace`` has one more
for its sshd and bridge, joined to the initial one by a second pair.
Addresses are of 198.18.0.0/15, which is set aside for benchmarks (RFC 2544, RFC 6890).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET

from pyroute2 import IPRoute, NetlinkError
from pyroute2 import netns as namespaces

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
        there = [name for name in self.namespaces() if (NETNS_DIRECTORY / name).exists()]
        if there:
            raise JvbtuneError(
                f"the network namespace {there[0]} exists already",
                hint=f"If no lab uses it: ip netns delete {there[0]}",
            )
        media, peer = f"jvbt{self.number}b", f"jvbt{self.number}g"
        for name in self.namespaces():
            namespaces.create(name)
            with netlink(name) as there_in:
                set_up(there_in, "lo")
        join(self.host_netns, media, self.bridge_address, self.generator_netns, peer, self.generator_address)
        if self.host_netns:
            outer, inner = f"jvbt{self.number}m", f"jvbt{self.number}n"
            join(None, outer, f"198.18.{self.number}.5", self.host_netns, inner, self.ssh_address)

    def down(self) -> None:
        """Take away whatever of it is there. The veth first: with its namespace it would go some time later."""
        with netlink(None) as here:
            for link in self.links:
                for index in here.link_lookup(ifname=link):
                    here.link("del", index=index)
        for name in self.namespaces():
            if (NETNS_DIRECTORY / name).exists():
                namespaces.remove(name)

    def exists(self) -> bool:
        return any((NETNS_DIRECTORY / name).exists() for name in self.namespaces()) or any(
            Path("/sys/class/net", link).exists() for link in self.links
        )


def free_network(own_namespace: bool, *, first: int = 0) -> Network:
    """The first number that nothing of this machine uses."""
    with netlink(None) as here:
        used = {str(found.get("address")).rpartition(".")[0] for found in here.get_addr(family=AF_INET)}
    for number in range(first, 250):
        both = (Network(number, False), Network(number, True))
        if not any(network.exists() for network in both) and f"198.18.{number}" not in used:
            return both[own_namespace]
    raise JvbtuneError("250 labs are up on this machine", hint="jvbtune lab down NAME")


def join(netns: str | None, name: str, address: str, peer_netns: str, peer: str, peer_address: str) -> None:
    """A veth pair: one end in ``netns`` (None: the caller's), the other in ``peer_netns``, both up, with addresses."""
    with netlink(netns) as ours:
        ours.link("add", ifname=name, kind="veth", peer={"ifname": peer, "net_ns_fd": peer_netns})
        set_up(ours, name, address)
    with netlink(peer_netns) as theirs:
        set_up(theirs, peer, peer_address)


def set_up(netlink: IPRoute, name: str, address: str | None = None) -> None:
    (index,) = netlink.link_lookup(ifname=name)
    if address is not None:
        netlink.addr("add", index=index, address=address, prefixlen=30)
    netlink.link("set", index=index, state="up")


@contextmanager
def netlink(netns: str | None) -> Iterator[IPRoute]:
    """rtnetlink(7) in a namespace. Raises JvbtuneError for what the kernel refuses."""
    where = f"in the network namespace {netns}" if netns else "on this machine"
    try:
        with IPRoute(netns=netns, flags=0) if netns else IPRoute() as opened:
            yield opened
    except NetlinkError as error:
        raise JvbtuneError(f"the lab's network cannot be set up {where}: {os.strerror(error.code).lower()}") from error
    except OSError as error:
        raise JvbtuneError(f"the lab's network cannot be reached {where}: {error.strerror or error}") from error
