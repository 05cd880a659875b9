"""The lab's network as the kernel has it: read back by another way than it was made, and nothing of it is left."""

from __future__ import annotations

import ipaddress
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pyroute2 import IPRoute

from jvbtune.errors import JvbtuneError
from jvbtune.lab.network import NETNS_DIRECTORY, Network, free_network
from jvbtune.lab.processes import alive, children, start_ticks, stop, stop_with_children

pytestmark = pytest.mark.lab


def _in(netns: str | None, *argv: str) -> str:
    enter = ["nsenter", f"--net=/run/netns/{netns}", "--"] if netns else []
    return subprocess.run([*enter, *argv], capture_output=True, text=True, check=True, timeout=20).stdout


def _addresses(netns: str | None) -> set[str]:
    """Local addresses by the routing table of the kernel (fib_trie)."""
    text = _in(netns, "cat", "/proc/net/fib_trie")
    return set(re.findall(r"-- (\S+)\n\s+/32 host LOCAL", text))


def _reaches(netns: str | None, target: str, port: int) -> bool:
    """A UDP socket is connected and sent from, in the namespace: there is a route, and the link is up."""
    script = f"import socket; s = socket.socket(2, 2); s.connect(({target!r}, {port})); print(s.send(b'x'), '')"
    return _in(netns, "python3", "-c", script).startswith("1 ")


@pytest.fixture(params=[False, True])
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    made = free_network(request.param, first=200)
    try:
        made.up()
        yield made
    finally:
        made.down()
    assert not made.exists()


def _traces() -> list[str]:
    names = [path.name for path in Path("/sys/class/net").iterdir()]
    return [*names, *(path.name for path in NETNS_DIRECTORY.iterdir())] if NETNS_DIRECTORY.exists() else names


def test_each_end_has_its_address_and_reaches_the_other(network: Network) -> None:
    assert network.exists()
    assert {network.generator_address, "127.0.0.1"} <= _addresses(network.generator_netns)
    assert network.bridge_address in _addresses(network.host_netns)
    assert _reaches(network.generator_netns, network.bridge_address, 9)
    assert _reaches(network.host_netns, network.generator_address, 9)
    if network.own_namespace:
        assert network.bridge_address not in _addresses(None)
        assert network.ssh_address in _addresses(network.host_netns)
        assert _reaches(None, network.ssh_address, 9)
    for address in (network.bridge_address, network.generator_address):
        assert ipaddress.ip_address(address) in ipaddress.ip_network("198.18.0.0/15")


def test_a_number_that_is_taken_is_not_given_again_and_its_network_is_not_touched(network: Network) -> None:
    assert free_network(network.own_namespace, first=network.number).number != network.number
    before = _addresses(network.generator_netns)
    with pytest.raises(JvbtuneError, match=f"{network.generator_netns} exists already"):
        network.up()
    assert _addresses(network.generator_netns) == before


def test_nothing_is_left_whatever_was_there(network: Network) -> None:
    network.down()
    network.down()
    assert not [name for name in _traces() if str(network.number) in name]


def test_what_the_kernel_refuses_is_an_error_in_words(network: Network) -> None:
    """Half a network is there: the veth's own name is taken."""
    network.down()
    veth = f"jvbt{network.number}m" if network.own_namespace else f"jvbt{network.number}b"
    other = Network(network.number, not network.own_namespace)
    with IPRoute() as here:
        here.link("add", ifname=veth, kind="veth", peer={"ifname": "jvbttest"})
    with pytest.raises(JvbtuneError, match=r"cannot be set up .*: file exists"):
        network.up()
    network.down()
    assert not network.exists()
    assert not other.exists()


def test_a_process_that_ignores_sigterm_is_killed_and_another_one_is_not() -> None:
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    with subprocess.Popen(["python3", "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        started = start_ticks(child.pid)
        assert started is not None
        stop(child.pid, started - 1)  # the same pid, another process
        assert child.poll() is None
        stop(child.pid, started, grace_seconds=0.3)
        assert not alive(child.pid, started)
        child.wait(5)


def test_a_zombie_of_somebody_elses_has_ended() -> None:
    """As of a parent that does not ask: the machine's init here collects no children."""
    script = (
        "import subprocess, time\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(["python3", "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            started = start_ticks(pid)
            assert started is not None
            assert children(parent.pid) == [pid]
            stop(pid, started)
            assert not alive(pid, started)
            assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        finally:
            parent.kill()


def test_children_of_children_go_with_their_parent() -> None:
    with subprocess.Popen(["sh", "-c", "(sleep 60; true) & wait"], start_new_session=True) as parent:
        while len(below := children(parent.pid, recursive=True)) < 2:
            assert parent.poll() is None
        identities = [(pid, start_ticks(pid) or 0) for pid in below]
        stop_with_children(parent.pid, start_ticks(parent.pid) or 0)
        assert not any(alive(*one) for one in identities)
    assert os.getpid() not in below
