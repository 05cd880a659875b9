"""The agent's readers against independent ones, on real processes and sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path

import psutil
import pytest
from pyroute2 import DiagSocket

from jvbtune.agent import procfs
from jvbtune.agent.overlay import with_assignments
from jvbtune.agent.sockdiag import mark_receivers, sockets_of
from jvbtune.agent.truesize import truesizes
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.hosts.local import LocalHost
from jvbtune.lab import Lab
from jvbtune.protocol.agent import BRIDGE_FIND, SAMPLE_START, SAMPLE_STOP, BridgeQuery, OfBridge, StartSampling
from jvbtune.protocol.messages import Nothing
from jvbtune.protocol.samples import Sample


def test_a_queued_packet_is_charged_for_more_than_its_length() -> None:
    found = truesizes()
    assert list(found) == ["120", "400", "700", "1200"]
    assert all(charged > int(payload) + 200 for payload, charged in found.items())
    assert list(found.values()) == sorted(found.values())


def test_a_process_as_psutil_sees_it() -> None:
    sum(range(3_000_000))
    stat = procfs.parse_stat(Path(f"/proc/{os.getpid()}/stat").read_text())
    other = psutil.Process()
    times = other.cpu_times()
    assert stat.user_s == pytest.approx(times.user, abs=0.05)
    assert stat.sys_s == pytest.approx(times.system, abs=0.05)
    assert stat.nr_threads == other.num_threads()
    assert stat.rss_bytes == pytest.approx(other.memory_info().rss, rel=0.1)


def test_a_name_with_parentheses_and_blanks_does_not_shift_the_fields() -> None:
    text = Path(f"/proc/{os.getpid()}/stat").read_text()
    changed = text[: text.index("(")] + "(a) b (c" + text[text.rindex(")") :]
    assert procfs.parse_stat(changed).name == "a) b (c"
    assert procfs.parse_stat(changed).start_ticks == procfs.parse_stat(text).start_ticks


def test_cores_as_psutil_sees_them() -> None:
    mine = procfs.parse_cpu(Path("/proc/stat").read_text())
    theirs = psutil.cpu_times(percpu=True)
    assert len(mine) == len(theirs)
    for one, other in zip(mine, theirs, strict=True):
        assert one.user_s == pytest.approx(other.user, abs=0.3)
        assert one.softirq_s == pytest.approx(other.softirq, abs=0.3)
        assert one.steal_s == pytest.approx(other.steal, abs=0.3)


def test_interfaces_as_psutil_sees_them() -> None:
    mine = procfs.parse_net_dev(Path("/proc/net/dev").read_text())
    theirs = psutil.net_io_counters(pernic=True)
    assert set(mine) == set(theirs) - {"lo"}


def test_an_overflowing_socket_is_seen_with_its_buffer_and_drops() -> None:
    """sock_diag against SO_RCVBUF, against pyroute2's reading, and against what was really lost."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        receiver.bind(("127.0.0.1", 0))
        port = receiver.getsockname()[1]
        for _ in range(100):
            sender.sendto(bytes(400), ("127.0.0.1", port))
        found = next(entry for entry in sockets_of(os.getpid()) if entry["port"] == port)
        assert found["rcvbuf_bytes"] == receiver.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 16384
        received = 0
        receiver.setblocking(False)
        while True:
            try:
                receiver.recv(1000)
                received += 1
            except BlockingIOError:
                break
        assert found["drops"] == 100 - received > 0
        assert found["address"] == "127.0.0.1"
        with DiagSocket() as diag:
            other = next(
                message
                for message in diag.get_sock_stats(family=socket.AF_INET, protocol=17, extensions=1 << 6, states=0xFFF)
                if message["idiag_sport"] == port
            )
        assert other["idiag_inode"] == found["inode"]


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("size", [2, 4, 16])
def test_the_one_socket_of_a_pool_that_receives_is_known_before_it_does(address: str, size: int) -> None:
    """A pool as ice4j binds it; whether the mark is right is for the kernel to say, by where the packets go."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.ExitStack() as stack:
        pool: list[socket.socket] = []
        for number in range(size):
            opened = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((address, pool[0].getsockname()[1] if number else 0))
            pool.append(opened)
        pool[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        port = pool[0].getsockname()[1]
        marked = [entry for entry in mark_receivers(sockets_of(os.getpid()), port) if entry["receives"]]
        assert [entry["rcvbuf_bytes"] for entry in marked] == [16384]
        sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sender.sendto(bytes(400), ("127.0.0.1", port))
        [holds] = [entry for entry in sockets_of(os.getpid()) if entry["port"] == port and entry["rmem_bytes"]]
        assert holds["inode"] == marked[0]["inode"]


def test_packets_tell_which_socket_receives_where_the_order_does_not() -> None:
    entries = [
        {"port": 10000, "address": "192.0.2.1", "inode": inode, "drops": drops, "rmem_bytes": 0}
        for inode, drops in ((1, 0), (2, 5), (3, 0))
    ]
    assert [entry["inode"] for entry in mark_receivers(entries) if entry["receives"]] == [2]
    assert [entry["receives"] for entry in mark_receivers(entries, 10001)] == [False, False, False]


_ZERO = "00000000 " * 8
SOFTNET = f"0000a6a1 00000000 00000003 {_ZERO}00000007 00000000\n0001d0c5 0000000a 00000000 {_ZERO}00000000 00000003\n"


def test_softnet_with_and_without_the_column_of_the_cpu() -> None:
    rows = procfs.parse_softnet(SOFTNET)
    assert [(row.cpu, row.dropped, row.squeezed) for row in rows] == [(0, 0, 3), (3, 10, 0)]
    assert rows[0].backlog == 7
    old = "\n".join(" ".join(line.split()[:10]) for line in SOFTNET.splitlines())
    assert [row.cpu for row in procfs.parse_softnet(old)] == [0, 1]


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("org.ice4j.ice.h", "org.ice4j.ice.h"),
        ("qtp1372483461-2", "qtp*-*"),
        ("Global IO poolp", "Global IO poolp"),
        ("IceConnector@18", "IceConnector@*"),
        ("dsipool-7-threa", "dsipool-*-threa"),
    ],
)
def test_threads_of_a_pool_count_as_one(name: str, group: str) -> None:
    assert procfs.thread_group(name) == group


@pytest.mark.parametrize(
    ("text", "expected_tail"),
    [
        ("a = 1\n", "a = 1\n\n# added"),
        ('videobridge { x = "}" }\nice4j { y = 2 }', "ice4j { y = 2 }\n# added"),
        ("# {\n{\n  a { b = 1 } // }\n}\n", "}\n"),
    ],
)
def test_an_assignment_goes_where_hocon_takes_it(text: str, expected_tail: str) -> None:
    import hocon

    changed = with_assignments(text, {"ice4j.harvest.udp.receive-buffer-size": "7"})
    assert expected_tail in changed
    assert hocon.parse(changed)["ice4j.harvest.udp.receive-buffer-size"] == 7


@pytest.mark.lab
def test_samples_lie_on_the_grid_and_cost_next_to_nothing(lab: Lab) -> None:
    with LocalHost() as host, AgentClient(host) as agent:
        assert abs(agent.clock_offset_seconds) < 0.05
        query = BridgeQuery(pid_file=str(lab.directory / "bridge.pid"))
        found = agent.call(BRIDGE_FIND, OfBridge(query))
        assert found.java["version"]
        assert found.config_file == str(lab.directory / "jvb.conf")
        agent.call(SAMPLE_START, StartSampling(query))
        time.sleep(4.5)
        agent.call(SAMPLE_STOP, Nothing())
        samples = []
        while not agent.events.empty():
            event = agent.events.get()
            if isinstance(event, Sample):
                samples.append(event)
    assert len(samples) in (4, 5)
    for sample in samples:
        assert sample.t_unix % 1 < 0.2
        assert sample.bridge is not None
        assert sample.bridge.pid == lab.bridge_pid()
        assert sample.bridge.rx_thread_cpu_s is not None
        assert sample.sockets[0].port == lab.media_port
        assert sample.gc is not None
    process = psutil.Process(lab.bridge_pid()).cpu_times()
    assert samples[-1].bridge is not None
    assert samples[-1].bridge.cpu_user_s == pytest.approx(process.user, abs=0.5)


def test_the_clock_is_the_mean_of_the_cores_that_tell_it(tmp_path: Path) -> None:
    for cpu, kilohertz in ((0, "2000000\n"), (1, "3000000\n")):
        directory = tmp_path / f"cpu{cpu}" / "cpufreq"
        directory.mkdir(parents=True)
        (directory / "scaling_cur_freq").write_text(kilohertz)
    assert procfs.cpu_mhz([0, 1, 2], str(tmp_path)) == 2500.0
    assert procfs.cpu_mhz([2], str(tmp_path)) is None
