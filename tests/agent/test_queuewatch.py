"""The watch of a socket's queue, on a real socket whose reader stalls: what bursts took of it, and what they lost."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator

import pytest

from jvbtune.agent import queuewatch
from jvbtune.agent.errors import AgentFault
from jvbtune.agent.queuewatch import QueueWatch
from jvbtune.agent.sockdiag import SockDiag
from jvbtune.protocol.samples import QueueSeen

PAYLOAD = b"x" * 100
TRUESIZE = 832  # of a packet of at most 160 bytes on loopback


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(1)
        yield opened


def _burst(receiver: socket.socket, packets: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(packets):
            sender.sendto(PAYLOAD, receiver.getsockname())


def _drain(receiver: socket.socket) -> int:
    receiver.setblocking(False)
    count = 0
    while True:
        try:
            receiver.recv(2048)
        except BlockingIOError:
            return count
        count += 1


def _watched(receiver: socket.socket, bursts: tuple[int, ...]) -> QueueSeen:
    watch = QueueWatch(os.getpid(), receiver.getsockname()[1], 30)
    watch.start()
    for packets in bursts:
        _burst(receiver, packets)
        time.sleep(0.05)
        _drain(receiver)
        time.sleep(0.08)
    return watch.stop()


def test_what_a_burst_takes_of_the_buffer_is_seen_and_what_it_loses(receiver: socket.socket) -> None:
    seen = _watched(receiver, (20, 60, 1000))
    assert seen.rcvbuf_bytes == receiver.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    bursts = seen.bursts
    assert [burst.peak_bytes for burst in bursts[:2]] == pytest.approx([20 * TRUESIZE, 60 * TRUESIZE], rel=0.15)
    assert [burst.drops > 0 for burst in bursts] == [False, False, True]
    assert seen.peak_bytes == bursts[2].peak_bytes
    assert seen.drops == bursts[2].drops
    assert 500 < seen.drops < 1000


def test_each_burst_has_its_time_and_the_one_under_way_at_the_end_counts(receiver: socket.socket) -> None:
    begun = time.time()
    watch = QueueWatch(os.getpid(), receiver.getsockname()[1], 30)
    watch.start()
    time.sleep(0.1)
    _burst(receiver, 300)  # nobody reads it
    time.sleep(0.05)
    seen = watch.stop()
    (burst,) = seen.bursts
    assert begun + 0.05 < burst.at_unix < time.time()
    assert burst.drops == seen.drops > 0


def test_it_ends_by_itself_and_costs_little(receiver: socket.socket) -> None:
    watch = QueueWatch(os.getpid(), receiver.getsockname()[1], 0.3)
    watch.start()
    watch.join(5)
    assert not watch.is_alive()
    seen = watch.stop()
    assert seen.bursts == []
    assert seen.polls > 50
    assert seen.cpu_seconds / seen.polls < 0.0005


def test_polls_that_cost_too_much_become_fewer(receiver: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queuewatch, "MAX_CPU_RATIO", 0.004)
    monkeypatch.setattr(queuewatch, "COST_EVERY", 20)
    seen = _ended(QueueWatch(os.getpid(), receiver.getsockname()[1], 2.0))
    assert seen.polls < 800
    assert seen.cpu_seconds < 0.004 * 2.0 * 2.5


def test_a_port_that_nobody_has_is_a_fault_of_the_watch_alone(receiver: socket.socket) -> None:
    port = receiver.getsockname()[1]
    receiver.close()
    watch = QueueWatch(os.getpid(), port, 5)
    watch.start()
    with pytest.raises(AgentFault, match=f"no UDP socket has the port {port}"):
        watch.stop()


def _ended(watch: QueueWatch) -> QueueSeen:
    watch.start()
    watch.join(10)
    return watch.stop()


def test_of_a_pool_that_shares_a_port_the_socket_which_receives_is_watched() -> None:
    with contextlib.ExitStack() as stack:
        pool = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3)]
        for one in pool:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", pool[0].getsockname()[1] if one is not pool[0] else 0))
        _burst(pool[0], 10)
        diag = SockDiag()
        stack.callback(diag.close)
        port = pool[0].getsockname()[1]
        entries = {entry["inode"]: entry["rmem_bytes"] for entry in diag.udp_sockets(port)}
        found = diag.receiver(socket.AF_INET, "127.0.0.1", port)
        assert found is not None
        assert found["rmem_bytes"] == 10 * TRUESIZE == entries[found["inode"]]
        assert sorted(entries.values()) == [0, 0, 10 * TRUESIZE]
        assert diag.receiver(socket.AF_INET, "127.0.0.1", 1) is None


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"), (socket.AF_INET6, "::1")]
)
def test_the_receiver_is_found_whatever_it_is_bound_to(family: socket.AddressFamily, address: str) -> None:
    diag = SockDiag()
    with socket.socket(family, socket.SOCK_DGRAM) as opened:
        opened.bind((address, 0))
        found = diag.receiver(family, address, opened.getsockname()[1])
        assert found is not None
        assert found["inode"] == os.fstat(opened.fileno()).st_ino
        assert found["rcvbuf_bytes"] == opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    diag.close()


def test_sockets_of_one_port_are_asked_for_alone(receiver: socket.socket) -> None:
    diag = SockDiag()
    try:
        port = receiver.getsockname()[1]
        assert {entry["port"] for entry in diag.udp_sockets(port)} == {port}
    finally:
        diag.close()
