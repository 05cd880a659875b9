"""Only a bridge that takes the connection itself is believed about its calls."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jvbtune.agent import calls
from jvbtune.agent.answering import check_answering
from jvbtune.agent.control import Bridge
from jvbtune.agent.errors import AgentFault
from tests.agent.fake_bridge import FakeBridge

#: Listens at the addresses given, accepts for ever, and prints each port.
LISTENER = """
import socket, sys, threading
def serve(listening):
    while True:
        peer = listening.accept()[0]
        threading.Thread(target=lambda: (peer.recv(1), peer.close())).start()
for text in sys.argv[1:]:
    address, port = text.rsplit(":", 1)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    dual, address = address == "::", address.removesuffix("only") or "::"
    listening = socket.create_server((address, int(port)), family=family, dualstack_ipv6=dual)
    print(listening.getsockname()[1], flush=True)
    threading.Thread(target=serve, args=(listening,)).start()
"""


@contextlib.contextmanager
def listener(*addresses: str, within: tuple[str, ...] = ()) -> Iterator[tuple[int, list[int]]]:
    """(pid, ports) of a process that listens; ``within``: a command that runs it."""
    argv = [*within, sys.executable, "-I", "-c", LISTENER, *addresses]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.pid, [int(process.stdout.readline()) for _ in addresses]
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("listens", "asked"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "localhost"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "127.0.0.1"),
        ("::", "::1"),
        ("::1", "::1"),
    ],
)
def test_the_process_that_listens_there_answers(listens: str, asked: str) -> None:
    with listener(f"{listens}:0") as (pid, (port,)):
        check_answering(pid, asked, port)
        for other in (os.getpid(), os.getppid()):
            with pytest.raises(AgentFault, match=rf"{asked}:{port} is not the bridge's"):
                check_answering(other, asked, port)


def test_the_same_port_at_another_address_is_another_process() -> None:
    with listener("127.0.0.1:0") as (one, (port,)), listener(f"127.0.0.2:{port}", "127.0.0.3:0") as (other, _):
        check_answering(one, "127.0.0.1", port)
        check_answering(other, "127.0.0.2", port)
        with pytest.raises(AgentFault, match="listens at TCP ports"):
            check_answering(other, "127.0.0.1", port)


def test_of_both_families_the_kernel_prefers_its_own() -> None:
    with listener("0.0.0.0:0") as (four, (port,)), listener(f"::only:{port}") as (six, _):
        check_answering(four, "127.0.0.1", port)
        check_answering(six, "::1", port)
        with pytest.raises(AgentFault):
            check_answering(six, "127.0.0.1", port)


def test_a_process_that_is_gone_is_a_clear_error() -> None:
    with listener("127.0.0.1:0") as (pid, (port,)):
        pass
    with pytest.raises(AgentFault, match=f"process {pid} cannot be looked at"):
        check_answering(pid, "127.0.0.1", port)


def test_calls_are_not_known_where_something_else_answers(tmp_path: Path) -> None:
    """The port of an idle bridge in the entry of another one: nobody must believe it."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with contextlib.closing(FakeBridge(tmp_path / "a")) as busy, contextlib.closing(FakeBridge(tmp_path / "b")) as idle:
        busy.foreign = 3
        assert calls.look(Bridge(busy.arguments)).foreign == 3
        found = calls.look(Bridge({**busy.arguments, "http_port": idle.port}))
        assert found.foreign is None
        assert not found.free
        assert f"127.0.0.1:{idle.port} is not the bridge's" in found.text()
        assert f"listens at TCP port {busy.port}" in found.text()


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_a_published_port_is_seen_to_reach_its_container() -> None:
    """A proxy between two network namespaces, as docker's: the process has one connection more while one is open."""
    with listener("127.0.0.1:8080", within=("unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh")) as (
        pid,
        _,
    ):
        with _proxy_into(pid, 8080) as port:
            check_answering(pid, "127.0.0.1", port)
        with listener("127.0.0.1:0") as (_, (other,)), pytest.raises(AgentFault, match="took no connection"):
            check_answering(pid, "127.0.0.1", other)
        with pytest.raises(AgentFault, match="took no connection"):
            check_answering(pid, "127.0.0.1", _free_port())


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


PROXY = """
import ctypes, os, socket, sys, threading
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
ctypes.CDLL(None).setns(os.open(f"/proc/{sys.argv[1]}/ns/net", os.O_RDONLY), 0)
while True:
    client = listening.accept()[0]
    server = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    def pump(client=client, server=server):
        while data := client.recv(4096):
            server.sendall(data)
        server.close()
    threading.Thread(target=pump).start()
"""


@contextlib.contextmanager
def _proxy_into(pid: int, port: int) -> Iterator[int]:
    argv = [sys.executable, "-I", "-c", PROXY, str(pid), str(port)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()
