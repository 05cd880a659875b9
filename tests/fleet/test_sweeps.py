"""Sweeps of several light hosts: budget, failures, resume, interrupt, a bad link. Only the load is a stand-in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from jvbtune.fleet.budget import Budget
from jvbtune.fleet.nursery import MEASURING, Nursery
from jvbtune.fleet.outcome import State
from jvbtune.fleet.run import Fleet, Member, Rules
from jvbtune.fleet.store import FleetWriter, create_fleet, open_fleet
from jvbtune.hosts import connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.inventory import bridge_arguments, load_inventory
from jvbtune.protocol import agent as protocol
from jvbtune.protocol.messages import Nothing
from jvbtune.protocol.samples import Sample
from jvbtune.store import list_runs
from jvbtune.sweep.experiment import load_experiment
from jvbtune.sweep.session import Options
from tests.fleet import standin
from tests.fleet.conftest import experiment, hosts_options
from tests.fleet.light import SETTING, LightFleet, LightHost
from tests.fleet.link import bad_link

pytestmark = [pytest.mark.root, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[2]
Command = Callable[..., subprocess.CompletedProcess[str]]


def _value(host: LightHost) -> str:
    return host.inside("cat", "/proc/sys/" + SETTING.replace(".", "/"))


def _wait(true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _our_spans(host: LightHost, since: float) -> list[tuple[float, float]]:
    """When jvbtune had a host drained."""
    spans, begun = [], None
    for line in host.timeline():
        if float(str(line["t"])) < since or line.get("by") != "jvbtune":
            continue
        if line["event"] == "drained" and begun is None:
            begun = float(str(line["t"]))
        elif line["event"] == "undrained" and begun is not None:
            spans.append((begun, float(str(line["t"]))))
            begun = None
    assert begun is None, f"{host.name} is still drained"
    return spans


def test_a_region_never_loses_more_than_its_share(light: LightFleet, jvbtune: Command, tmp_path: Path) -> None:
    """light-05 of eu is out by somebody else's doing, and is not even selected: eu's others are held back."""
    begun = time.monotonic()
    light.host("light-05").drain(True)
    try:
        chosen = hosts_options("light-01", "light-02", "light-04")
        rules = ("--per", "region", "--jobs", "4")
        done = jvbtune("sweep", *chosen, *rules, "--runs-dir", str(tmp_path), str(experiment(light)))
    finally:
        light.host("light-05").drain(False)
    found = open_fleet("latest", tmp_path).outcomes()
    assert found["light-01"].state is State.HELD_BACK
    assert "light-05 is drained" in found["light-01"].reason
    assert {found[name].state for name in ("light-02", "light-04")} == {State.NO_RECOMMENDATION}
    assert done.returncode == 5, done.stderr
    assert "light-01  held back" in done.stdout
    assert _our_spans(light.host("light-01"), begun) == []
    spans = sorted(_our_spans(light.host("light-02"), begun) + _our_spans(light.host("light-04"), begun))
    assert len(spans) == 2
    assert spans[0][1] <= spans[1][0], "two hosts of us were out at the same time"

    again = jvbtune("sweep", "--resume", "latest", "--runs-dir", str(tmp_path))
    assert again.returncode == 5, again.stderr
    assert {one.state for one in open_fleet("latest", tmp_path).outcomes().values()} == {State.NO_RECOMMENDATION}
    assert len(_our_spans(light.host("light-01"), begun)) == 1
    assert sorted(_our_spans(light.host("light-02"), begun) + _our_spans(light.host("light-04"), begun)) == spans
    assert len(list_runs(tmp_path)) == 3, "a host that was done was swept again"


def test_a_host_that_was_measured_to_its_end_is_not_touched_again(
    light: LightFleet, jvbtune: Command, tmp_path: Path
) -> None:
    """jvbtune was killed before the fleet's record had it."""
    host, options = light.host("light-09"), ("--runs-dir", str(tmp_path))
    done = jvbtune("sweep", "--host", host.name, "--json-lines", *options, str(experiment(light)))
    assert done.returncode == 5, done.stderr
    journal = open_fleet("latest", tmp_path).path / "journal.ndjson"
    kept = [line for line in journal.read_text().splitlines() if '"host_finished"' not in line]
    journal.write_text("\n".join([*kept, ""]))
    assert open_fleet("latest", tmp_path).outcomes()[host.name].state is State.INTERRUPTED
    seen = host.timeline()
    again = jvbtune("sweep", "--resume", "latest", *options)
    assert again.returncode == 5, again.stderr
    assert host.timeline() == seen
    [run] = list_runs(tmp_path)
    assert run.events("run_resumed") == []
    found = open_fleet("latest", tmp_path).outcomes()[host.name]
    assert (found.state, found.run) == (State.NO_RECOMMENDATION, run.id)


def test_hosts_are_put_back_at_ctrl_c_and_the_table_says_so(light: LightFleet, tmp_path: Path) -> None:
    names = ("light-01", "light-02", "light-03")
    argv = [sys.executable, "-m", "tests.fleet.cli_standin", "sweep", *hosts_options(*names), "--jobs", "2"]
    argv += ["--max-unavailable", "2", "--inventory", str(light.inventory), "--runs-dir", str(tmp_path)]
    long = tmp_path / "long.toml"
    long.write_text(experiment(light).read_text().replace("trial_seconds = 2", "trial_seconds = 60"))
    with subprocess.Popen(
        [*argv, str(long)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stderr is not None
        said, measuring = [], set()
        while len(measuring) < 2:
            line = process.stderr.readline()
            assert line, said
            said.append(line)
            if ": measuring" in line:
                measuring.add(line.partition(":")[0])
        assert all(light.host(name).drained() for name in measuring)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=90)
    assert process.returncode == 130, out
    for name in names:
        assert not light.host(name).drained()
        assert _value(light.host(name)) == "4096"
    assert out.count("was put back") == 2, out
    assert "2 interrupted, 1 not started" in out
    assert "NOT PUT BACK" not in out


def test_a_process_that_is_killed_costs_the_others_nothing_and_its_guard_puts_the_host_back(
    light: LightFleet, tmp_path: Path
) -> None:
    entries = [light_entry(light, name) for name in ("light-01", "light-02")]
    loaded = load_experiment(experiment(light))
    jobs = [standin.Sweep(entry, loaded, Options(tmp_path, "a test")) for entry in entries]
    states = []

    def observe(event: str, data: Mapping[str, Any]) -> None:
        measuring = event == "phase" and data["host"] == "light-01" and data["phase"] == "measuring"
        if measuring and "killed" not in states:
            os.kill(fleet._at_work["light-01"].child.pid, signal.SIGKILL)
            states.append("killed")
        if event == "host_started" and data["host"] == "light-02":
            states.append("out" if light.host("light-01").drained() else "in service")

    members = [Member(entry, job) for entry, job in zip(entries, jobs, strict=True)]
    record = create_fleet(tmp_path, "sweep", entries, {})
    with FleetWriter(record) as writer, Nursery(MEASURING) as nursery:
        fleet = Fleet("sweep", members, Rules(1, Budget(1)), observe, writer)
        assert fleet.run(nursery) == 4
    lost, other = fleet.ordered()
    assert lost.state is State.FAILED
    assert "was killed by SIGKILL" in lost.reason
    assert other.state is State.NO_RECOMMENDATION
    assert states == ["killed", "in service"], "light-02 was begun while light-01 was still out"
    assert _value(light.host("light-01")) == "4096"
    assert not light.host("light-01").drained()


def light_entry(light: LightFleet, name: str) -> Any:
    return load_inventory(light.inventory).host(name)


def test_a_slow_narrow_link_that_stalls_loses_no_sample(light: LightFleet) -> None:
    """Ten samples a second over a link of 60 kB/s in pieces of 97 bytes, which stands still for 5 s."""
    host = light.host("light-07")
    with bad_link(host.port, delay_seconds=0.15, bytes_per_second=60_000, piece_bytes=97) as link:
        host.ssh_port = link.port
        light.write_inventory()
        try:
            entry = light_entry(light, host.name)
            with connect(entry) as ssh, AgentClient(ssh) as agent:
                asked = protocol.StartSampling(bridge_arguments(entry), interval_seconds=0.1)
                agent.call(protocol.SAMPLE_START, asked)
                time.sleep(1)
                link.stall(5)
                begun = time.monotonic()
                _wait(lambda: time.monotonic() - begun > 8)
                agent.call(protocol.SAMPLE_STOP, Nothing(), timeout_seconds=60)
                arrived = [agent.events.get_nowait() for _ in range(agent.events.qsize())]
        finally:
            host.ssh_port = 0
            light.write_inventory()
    samples = [event for event in arrived if isinstance(event, Sample)]
    numbers = [sample.seq for sample in samples]
    assert len(numbers) >= 60
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    gaps = [after.t_unix - before.t_unix for before, after in pairwise(samples)]
    assert max(gaps) < 1.0, "the agent did not sample while the link stood still"


def test_a_trial_has_all_its_samples_though_the_link_stalled_at_its_end(light: LightFleet, tmp_path: Path) -> None:
    host = light.host("light-08")
    loaded = load_experiment(experiment(light))
    with bad_link(host.port, delay_seconds=0.02, bytes_per_second=500_000, piece_bytes=301) as link:
        host.ssh_port = link.port
        light.write_inventory()
        try:
            entry = light_entry(light, host.name)
            job = standin.Sweep(entry, loaded, Options(tmp_path, "a test"))

            def observe(event: str, data: Mapping[str, Any]) -> None:
                if event == "phase" and data["phase"] == "measuring" and link.stalls == 0:
                    threading.Timer(0.5, link.stall, (5.0,)).start()

            with Nursery(MEASURING) as nursery:
                Fleet("sweep", [Member(entry, job)], Rules(), observe).run(nursery)
        finally:
            host.ssh_port = 0
            light.write_inventory()
    assert link.stalls == 1
    [run] = list_runs(tmp_path)
    assert run.status() == "done"
    for event in run.finished_trials():
        row = event["row"]
        samples = run.samples(row["trial"])
        stamps = samples["t_unix"].to_list()
        start, end = row["started_unix"], row["started_unix"] + row["duration_s"]
        inside = [stamp for stamp in stamps if start <= stamp <= end]
        assert len(inside) >= 2, f"{row['trial']}: {len(inside)} samples of {row['duration_s']} s"
        assert samples["seq"].diff().drop_nulls().to_list() == [1] * (samples.height - 1)
