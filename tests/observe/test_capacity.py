"""What is measured of a host is its own latest run, or its machine type's; nothing is invented."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from jvbtune.observe.capacity import SAMPLES, Capacities, Capacity, ThresholdWatch, of_results
from jvbtune.result import RunResult, result_of
from jvbtune.store import open_run
from tests.apply.results import of_host, simulated

KIND = {"machine_type": "c5.xlarge"}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the host ``measured``, with its result."""
    run = simulated(tmp_path_factory.mktemp("runs"))
    result_of(run)
    return run.path


@pytest.fixture(scope="module")
def result(original: Path) -> RunResult:
    return result_of(open_run(original))


def _run(original: Path, directory: Path, host: str, day: int, **labels: str) -> str:
    """The run as another host's, of another day."""
    run_id = f"202601{day:02}-000000-{host}-x"
    path = directory / run_id
    shutil.copytree(original, path)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest |= {"id": run_id, "host": host, "labels": labels, "created_unix": 1_790_000_000 + 86400 * day}
    (path / "manifest.json").write_text(json.dumps(manifest))
    (path / "result.json").unlink()
    return run_id


def _look(directory: Path, hosts: dict[str, dict[str, str]], **given: float) -> dict[str, Capacity]:
    said: list[str] = []
    found = Capacities(directory, given, said.append).look(hosts)
    assert not said
    return found


def test_a_host_has_the_figures_of_its_own_latest_run(original: Path, result: RunResult, tmp_path: Path) -> None:
    _run(original, tmp_path, "jvb-1", 1)
    newest = _run(original, tmp_path, "jvb-1", 2)
    found = _look(tmp_path, {"jvb-1": {}, "jvb-2": {}})
    assert set(found) == {"jvb-1"}
    assert result.recommendation is not None
    assert result.thresholds is not None
    assert found["jvb-1"].values() == {
        "max_packet_rate": result.recommendation.max_packet_rate_pps,
        "max_packet_rate_low": result.recommendation.interval_pps[0],
        "max_packet_rate_high": result.recommendation.interval_pps[1],
        "load_threshold": float(int(result.thresholds.load_threshold_pps)),
        "max_packet_rate_source": f"run {newest}",
    }


def test_a_host_that_was_not_measured_has_its_machine_types(original: Path, tmp_path: Path) -> None:
    _run(original, tmp_path, "jvb-1", 1, **KIND)
    found = _look(tmp_path, {"jvb-9": KIND, "other": {"machine_type": "m5.large"}, "none": {}})
    assert set(found) == {"jvb-9"}
    assert found["jvb-9"].source.startswith("machine type c5.xlarge: ")


def test_a_machine_type_is_pooled(result: RunResult) -> None:
    members = [of_host(result, "a", 1.0, **KIND), of_host(result, "b", 1.2, **KIND)]
    rates = [one.recommendation.max_packet_rate_pps for one in members if one.recommendation is not None]
    found = of_results("c", members)
    assert rates[0] < found.max_packet_rate_pps < rates[1]
    assert found.low_pps is not None
    assert found.low_pps < rates[0]
    assert found.source == "machine type c5.xlarge: run-a+run-b"


def test_the_operators_figure_comes_first(original: Path, tmp_path: Path) -> None:
    _run(original, tmp_path, "jvb-1", 1)
    found = Capacities(tmp_path, {"jvb-1": 46_000.0}, print).look({"jvb-1": {}})
    assert found["jvb-1"].values() == {"max_packet_rate": 46_000.0, "max_packet_rate_source": "option --capacity"}


def test_a_run_that_ends_in_the_meantime_is_used(original: Path, tmp_path: Path) -> None:
    capacities = Capacities(tmp_path, {}, print)
    assert capacities.look({"jvb-1": {}}) == {}
    _run(original, tmp_path, "jvb-1", 1)
    assert set(capacities.look({"jvb-1": {}})) == {"jvb-1"}


def test_simulated_runs_are_nobodys(original: Path, tmp_path: Path) -> None:
    run_id = _run(original, tmp_path, "jvb-1", 1)
    manifest = tmp_path / run_id / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "source": "simulated"}))
    assert _look(tmp_path, {"jvb-1": {}}) == {}


def test_a_type_that_cannot_be_pooled_is_said_once_and_unknown(
    result: RunResult, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(original, tmp_path, "a", 1, **KIND)
    _run(original, tmp_path, "b", 1, **KIND)
    cpus = {"a": "one CPU", "b": "another CPU"}
    monkeypatch.setattr(
        "jvbtune.observe.capacity.result_of",
        lambda run: replace(
            of_host(result, run.host, **KIND), provenance=replace(result.provenance, cpu=cpus[run.host])
        ),
    )
    said: list[str] = []
    capacities = Capacities(tmp_path, {}, said.append)
    assert capacities.look({"c": KIND}) == {}
    assert capacities.look({"c": KIND}) == {}
    assert len(said) == 1
    assert "not of one kind: CPU" in said[0]


@pytest.mark.parametrize(
    ("measurement", "configured", "stress", "expected"),
    [
        ("packet-rate", 20_000.0, None, True),
        ("cpu-usage", 20_000.0, None, False),
        ("cpu-usage", 20_000.0, 0.45, False),
        (None, 20_000.0, None, None),  # by the bridge's default, which differs between versions
        (None, None, None, None),
        ("packet-rate", 50_000.0, None, False),
        ("packet-rate", 50_000.0, 0.5, False),
        ("packet-rate", 15_000.0, None, True),  # of the weakest host of the type
        ("packet-rate", 15_000.0, 0.667, True),
        ("packet-rate", 10_000.0, 1.0, True),
        ("packet-rate", 15_000.0, 0.2, False),
        (None, 15_000.0, 0.667, True),
        ("packet-rate", 20_000.0, 0.5, True),
        (None, 20_000.0, 0.5, True),
        ("packet-rate", 20_000.0, 0.2, False),  # the file was changed, and the bridge was not restarted
        (None, None, 0.2, False),
        (None, None, 0.49, True),
    ],
)
def test_whether_the_threshold_is_in_force(
    measurement: str | None, configured: float | None, stress: float | None, expected: bool | None
) -> None:
    """At 10 000 packets per second, of a recommended threshold of 20 000."""
    watch = ThresholdWatch(measurement, configured)
    for _ in range(SAMPLES):
        watch.see(stress, 10_000.0, 20_000.0)
    assert watch.in_force(20_000.0) is expected
    assert watch.in_force(None) is None


def test_an_idle_bridge_says_nothing_of_its_threshold() -> None:
    watch = ThresholdWatch()
    for _ in range(SAMPLES):
        watch.see(0.5, 900.0, 20_000.0)
    assert watch.in_force(20_000.0) is None
