"""A live bridge is observed, and nothing of it or its host changes; what is lost comes back."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from jvbtune.bridge.client import BridgeClient
from jvbtune.hosts import agent_client, connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.hosts.base import Completed, Stream
from jvbtune.inventory import HostEntry, bridge_arguments
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, Mix, open_generator
from jvbtune.observe import watch as watching
from jvbtune.observe.capacity import Capacity
from jvbtune.observe.columns import BY_NAME, NETWORK, QUANTITIES
from jvbtune.observe.labels import labels_of
from jvbtune.observe.rows import Row
from jvbtune.observe.watch import HostWatch
from jvbtune.settings.tuning import Tuning

pytestmark = [pytest.mark.lab, pytest.mark.kernel]

#: Every mount of the agent's own view becomes read-only, and an installed agent is hidden.
READ_ONLY = """
import os, subprocess, sys
for line in open("/proc/self/mounts"):
    where = line.split()[1].encode().decode("unicode_escape")
    subprocess.run(["mount", "-o", "remount,ro,bind", where], stderr=subprocess.DEVNULL)
for path in ("/var/cache/jvbtune", "/run/jvbtune-cache"):
    if os.path.isdir(path):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", path], check=True)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class ReadOnlyHost:
    """A host on which nothing can be written: whatever runs there sees every file system read-only."""

    def __init__(self, host: Any) -> None:
        self._host = host
        self.argv: list[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def __enter__(self) -> ReadOnlyHost:
        return self

    def __exit__(self, *exc: Any) -> None:
        self._host.close()

    def _wrapped(self, argv: Sequence[str]) -> list[str]:
        self.argv.append(list(argv))
        return ["unshare", "--mount", "--propagation", "private", "python3", "-c", READ_ONLY, *argv]

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        done: Completed = self._host.run(self._wrapped(argv), **options)
        return done

    def stream(self, argv: Sequence[str], **options: Any) -> Stream:
        stream: Stream = self._host.stream(self._wrapped(argv), **options)
        return stream


class Watched:
    def __init__(self, entry: HostEntry, capacity: Capacity | None = None) -> None:
        self.rows: queue.Queue[Row] = queue.Queue()
        self.said: list[str] = []
        labels = labels_of(entry.name, entry.labels)
        self.thread = HostWatch(entry, labels, self.rows.put, self.said.append, interval_seconds=1.0)
        self.thread.capacity = capacity

    def __enter__(self) -> Watched:
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.thread.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()

    def until(self, true: Callable[[Row], bool], seconds: float = 30.0) -> Row:
        deadline = time.monotonic() + seconds
        while True:
            row = self.rows.get(timeout=max(0.1, deadline - time.monotonic()))
            if true(row):
                return row


def rated(row: Row) -> bool:
    return "packet_rate" in row.values


@pytest.fixture
def client(lab: Lab) -> Iterator[BridgeClient]:
    with connect(lab.entry()) as host:
        yield BridgeClient(host, "127.0.0.1", lab.http_port, timeout_seconds=60)


def test_nothing_is_written_drained_locked_or_restarted(
    lab: Lab, client: BridgeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, hosts = lab.bridge_pid(), []

    def read_only(entry: HostEntry) -> ReadOnlyHost:
        hosts.append(ReadOnlyHost(connect(entry)))
        return hosts[-1]

    with read_only(lab.entry()) as control:
        paths = [f"{path}/jvbtune-test" for path in ("/tmp", "/run", "/var/lib", "/var/cache", "/dev/shm", "/etc")]
        assert b"Read-only" in control.run(["touch", *paths]).stderr
        assert not any(Path(path).exists() for path in paths)
    monkeypatch.setattr(watching, "connect", read_only)
    with Watched(lab.entry()) as watched:
        row = watched.until(rated)
        assert row.values["bridge_up"] == 1.0
        assert not client.draining()
        with (
            AgentClient(client.host) as agent,
            Tuning(
                agent,
                owner="test",
                run_id="observed",
                lease_seconds=30.0,
                bridge=bridge_arguments(lab.entry()),
                settings=["net.ipv4.udp_rmem_min"],
            ) as tuning,
        ):
            tuning.apply({"net.ipv4.udp_rmem_min": "8192"}, restart=False)
            watched.until(lambda row: row.values.get("drain") == 1.0)
        watched.until(lambda row: row.values.get("drain") == 0.0)
    assert not watched.said
    assert lab.bridge_pid() == pid
    started = [argv for argv in hosts[-1].argv if "python3" in argv]
    assert started == [agent_client._memory_argv()]


@pytest.mark.measured
def test_what_is_observed_is_what_was_sent(lab: Lab, client: BridgeClient) -> None:
    capacity = Capacity(10_000.0, "test", 9_000.0, 11_000.0, 12_345)
    rows: list[Row] = []
    with Watched(lab.entry(), capacity) as watched, open_generator(lab.entry(), client.host) as generator:
        watched.until(rated)
        offered = generator.offer(IntendedLoad(4, Mix()), 5.0, settle_seconds=1.0)
        while not watched.rows.empty():
            rows.append(watched.rows.get())
    begun = offered.started_unix
    rows = [row for row in rows if begun + 1.5 <= row.unix <= begun + offered.duration_seconds]
    rates = sorted(row.number("packet_rate") or 0.0 for row in rows)
    expected = offered.offered_pps
    assert rates[len(rates) // 2] == pytest.approx(expected, rel=0.2)
    busiest = max(rows, key=lambda row: row.number("packet_rate") or 0.0)
    assert busiest.values["capacity_used"] == pytest.approx((busiest.number("packet_rate") or 0) / 10_000)
    assert busiest.values["max_packet_rate_source"] == "test"
    assert 0.0 < (busiest.number("receive_thread_busy") or 0.0) < 1.0
    # All that a bridge without a CPU quota, relays and containers has.
    missing = {quantity.name for quantity in QUANTITIES} - set(busiest.values)
    assert missing <= {"load_threshold_configured", "load_threshold_in_force", "throttled_s", "transit_mean_ms",
                       "transit_slow_share"}  # fmt: skip
    assert set(busiest.values) <= set(BY_NAME)
    for counters in busiest.interfaces.values():
        assert set(counters) == {quantity.name for quantity in NETWORK}


def test_a_host_that_is_lost_is_reported_and_found_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    agents: list[AgentClient] = []

    class Kept(AgentClient):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            agents.append(self)

    monkeypatch.setattr(watching, "AgentClient", Kept)
    monkeypatch.setattr(watching, "PATIENCE_SECONDS", 1.0)
    with Watched(lab.entry()) as watched:
        assert watched.until(rated).values["reconnects"] == 0.0
        os.kill(agents[0].capabilities.pid, signal.SIGKILL)
        lost = watched.until(lambda row: row.values["up"] == 0.0)
        assert lost.values == {"up": 0.0, "reconnects": 1.0}
        assert watched.until(rated).values["reconnects"] == 1.0
        stopped = agents[1].capabilities.pid
        os.kill(stopped, signal.SIGSTOP)
        try:
            watched.until(lambda row: row.values["up"] == 0.0)
            assert watched.until(rated).values["reconnects"] == 2.0
        finally:
            os.kill(stopped, signal.SIGKILL)
    assert len(watched.said) == 2
    assert "the agent ended" in watched.said[0]
    assert "no sample for 2 s" in watched.said[1]


def test_a_host_that_is_not_there_costs_the_other_nothing_and_sigterm_ends_in_order(lab: Lab, tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_text("Host gone\n  HostName 127.0.0.1\n  Port 1\n  User root\n")
    inventory = tmp_path / "jvbtune.toml"
    theirs = lab.inventory.read_text()
    inventory.write_text(f'{theirs}\n[hosts.gone]\nssh = "gone"\nssh_config = "{config}"\n')
    argv = [sys.executable, "-m", "jvbtune", "observe", "--host", lab.name, "--host", "gone", "--every-seconds", "1"]
    argv += ["--inventory", str(inventory), "--json", "--capacity", f"{lab.name}=5k", "-o", str(tmp_path / "out")]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    rows: list[dict[str, Any]] = []
    assert process.stdout is not None
    while len([row for row in rows if row["host"] == lab.name]) < 4:
        rows.append(json.loads(process.stdout.readline()))
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert time.monotonic() - begun < 10
    assert "Traceback" not in err
    assert err.count("gone: ") == 1
    gone = [row["values"]["up"] for row in rows if row["host"] == "gone"]
    assert set(gone) <= {0.0}
    ours = [row for row in rows if row["host"] == lab.name]
    assert all(row["values"]["up"] == 1.0 for row in ours)
    assert ours[-1]["values"]["max_packet_rate"] == 5000.0
    gaps = [after["unix"] - before["unix"] for before, after in pairwise(ours)]
    assert max(gaps) < 3.0
    assert list((tmp_path / "out").glob("*.parquet"))


def test_a_bridge_that_does_not_answer_is_reported_beside_what_the_kernel_says(lab: Lab) -> None:
    entry = lab.entry()
    wrong = replace(entry, bridge=replace(entry.bridge, http_port=1))
    with Watched(wrong) as watched:
        watched.until(lambda row: row.values["up"] == 1.0)
        row = watched.until(lambda row: "process_cpu_cores" in row.values)
    assert row.values["bridge_up"] == 0.0
    assert "stress_level" not in row.values
    assert "packet_rate" not in row.values
    assert "softnet_processed" in row.values
