"""The commands against a bridge that carries load: the lab's, and a real one where there is one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jvbtune.capture import Request, capture
from jvbtune.capture.stored import Capture, load_capture
from jvbtune.hosts import connect
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.inventory import bridge_arguments
from jvbtune.lab import Lab
from jvbtune.load import IntendedLoad, Mix, open_generator

pytestmark = [pytest.mark.lab, pytest.mark.jvm, pytest.mark.measured]

RATE_PPS = 6000.0


@pytest.fixture
def loaded(lab: Lab) -> Iterator[Lab]:
    """The lab under some load."""
    with connect(lab.entry()) as host, open_generator(lab.entry(), host) as generator:
        generator.offer(IntendedLoad.for_packet_rate(RATE_PPS, Mix(10, 6, 50.0)), 2.0)
        yield lab


def _is_the_load(found: Capture) -> bool:
    """On a machine that is busy with other tests the generator falls behind its schedule, and catches up."""
    return found.packet_rate_pps is not None and 0.4 < found.packet_rate_pps / RATE_PPS < 1.6


def _run(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "jvbtune", *arguments, "--host", lab.name, "--inventory", str(lab.inventory)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def test_profile_writes_a_capture_with_exact_packets_and_its_page(loaded: Lab, tmp_path: Path) -> None:
    done = _run(loaded, "profile", "--seconds", "4", "--slices", "2", "--captures-dir", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout)["captures"]
    assert told["schema_version"] == 1
    assert "engine: async-profiler" in done.stderr
    assert "cost: It loads a library into the JVM" in done.stderr
    found = load_capture(Path(told["path"]))
    assert _is_the_load(found)
    assert sum(profile.total for profile in found.profiles()) == sum(one.samples or 0 for one in found.slices) > 0
    page = (found.path / "flamegraph.html").read_text()
    assert page.lower().startswith("<!doctype html>")


def test_probe_starts_nothing(lab: Lab, tmp_path: Path) -> None:
    done = _run(lab, "profile", "--probe", "--json", "--captures-dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["engine"] == "async-profiler"
    assert not list(tmp_path.iterdir())
    maps = Path(f"/proc/{lab.bridge_pid()}/maps").read_text()
    assert "flamegraph" not in done.stdout
    assert "perf_event" not in maps


def test_the_generator_is_profiled_by_py_spy_into_the_same_store(lab: Lab, tmp_path: Path) -> None:
    options = (
        "--packet-rate",
        str(RATE_PPS),
        "--participants",
        "5",
        "--duration",
        "6",
        "--profile",
        "--captures-dir",
        str(tmp_path),
    )
    done = _run(lab, "load", *options)
    assert "the generator's profile:" in done.stderr, done.stderr
    (path,) = tmp_path.glob("*/capture.json")
    found = load_capture(path)
    assert (found.engine, found.event) == ("py-spy", "cpu")
    assert found.host == f"{lab.name}-generator"
    assert _is_the_load(found)
    names = {name for profile in found.profiles() for name in profile.stacks.frames.names}
    assert any("worker.py" in name for name in names)


@pytest.mark.real_bridge
@pytest.mark.perf
@pytest.mark.skipif("JVBTUNE_JVB_HOME" not in os.environ, reason="needs JVBTUNE_JVB_HOME: a real bridge")
def test_each_engine_resolves_a_real_bridge(lab_root: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        lab = stack.enter_context(Lab.up("real", bridge_home=Path(os.environ["JVBTUNE_JVB_HOME"])))
        host = stack.enter_context(connect(lab.entry()))
        agent = stack.enter_context(AgentClient(host))
        generator = stack.enter_context(open_generator(lab.entry(), host))
        generator.offer(IntendedLoad.for_packet_rate(RATE_PPS, Mix(5, 5, 50.0)), 8.0)
        for engine in ("async-profiler", "perf", "jfr"):
            request = Request(engine=engine, slices=2, slice_seconds=4.0, interval_ns=5_000_000)
            (path,) = capture(agent, request, tmp_path, host="real", bridge=bridge_arguments(lab.entry()))
            document: dict[str, Any] = json.loads((path / "capture.json").read_text())
            for one in document["slices"]:
                assert one["samples"] > 20
                assert one["unresolved_ratio"] < 0.06
                assert one["packets"] > 0
                assert one["kernel_ratio"] is None or one["kernel_ratio"] > 0.2 or engine == "jfr"
