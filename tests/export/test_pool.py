"""Several hosts of one machine type as one result: honest about the interval, and about hosts that differ."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from jvbtune.cli.export import command as export_command
from jvbtune.errors import UsageError
from jvbtune.export import export
from jvbtune.export.jvb_conf import thresholds
from jvbtune.export.pool import combine, newest_of_group, pool
from jvbtune.result import RunResult, result_of
from jvbtune.result.model import Source
from jvbtune.store import RunWriter, create_run, list_runs
from tests.apply.results import of_host, scaled, simulated


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return result_of(simulated(tmp_path_factory.mktemp("runs")))


def _host(result: RunResult, name: str, factor: float) -> RunResult:
    return of_host(result, name, factor, machine_type="c2-standard-4", group="eu")


def test_the_interval_of_the_average_host_covers_it_in_19_of_20_pools() -> None:
    """Hosts of a type whose rate is 50 000 pps, 8 % between hosts, each measured with 5 % error."""
    draws, covered = random.Random(14), 0
    for _ in range(2000):
        logs = [math.log(50_000) + draws.gauss(0, 0.08) + draws.gauss(0, 0.05) for _ in range(4)]
        rates = [math.exp(one) for one in logs]
        pooled = combine(rates, [(rate * math.exp(-0.098), rate * math.exp(0.098)) for rate in rates])
        covered += pooled.interval_pps[0] <= 50_000 <= pooled.interval_pps[1]
    assert 0.93 <= covered / 2000 <= 0.985


def test_equal_hosts_are_pooled_to_their_rate_and_are_not_said_to_differ() -> None:
    pooled = combine([50_000, 50_000, 50_000], [(45_000, 55_500)] * 3)
    assert pooled.max_packet_rate_pps == pytest.approx(50_000)
    assert pooled.heterogeneity_p == pytest.approx(1)
    assert pooled.between_sd == 0


def test_the_load_threshold_is_that_of_the_weakest_host(result: RunResult) -> None:
    hosts = [_host(result, "a", 1.0), _host(result, "b", 0.9), _host(result, "c", 1.1)]
    pooled = pool(hosts)
    assert thresholds(pooled).load_threshold_pps == thresholds(hosts[1]).load_threshold_pps
    text = export(pooled, "jvb-conf")["jvbtune.conf"]
    assert "3 hosts of the machine type c2-standard-4: a, b, c" in text
    assert "the load threshold is that of the weakest, b" in text
    assert "differ by more than chance" not in text
    assert pool(hosts[:1]) is hosts[0]


def test_a_host_that_is_worse_than_its_kind_is_named(result: RunResult) -> None:
    hosts = [_host(result, "a", 1.0), _host(result, "b", 1.0), _host(result, "bad", 0.3)]
    assert any("differ by more than chance" in remark.text and "bad" in remark.text for remark in pool(hosts).remarks)


def test_runs_of_other_kinds_or_of_one_host_are_not_pooled(result: RunResult) -> None:
    first, second = _host(result, "a", 1.0), _host(result, "b", 1.0)
    other = replace(second, provenance=replace(second.provenance, jvb_version="JVB 2.4"))
    typed = replace(second, labels={"machine_type": "e2-micro"})
    for wrong, what in ((other, "version of the bridge"), (typed, "machine type"), (first, "of one host")):
        with pytest.raises(UsageError, match=what):
            pool([first, wrong])


def _machine(result: RunResult, name: str, cpu: str | None, cores: float | None, **labels: str) -> RunResult:
    facts = replace(result.provenance, cpu=cpu, cores=cores)
    return replace(_host(result, name, 1.0), provenance=facts, labels=labels)


def test_unlike_cores_are_refused_and_both_are_named(result: RunResult) -> None:
    for labels in ({"machine_type": "big"}, {}):
        hosts = [_machine(result, "a", "Xeon", 4.0, **labels), _machine(result, "b", "Xeon", 64.0, **labels)]
        with pytest.raises(UsageError, match=r"number of cores 4 \(a\) and 64 \(b\)"):
            pool(hosts)


@pytest.mark.parametrize(("cpu", "cores"), [(None, 4.0), ("Xeon", None), (None, None)])
def test_machines_of_which_too_little_is_known_are_not_pooled(
    result: RunResult, cpu: str | None, cores: float | None
) -> None:
    """As runs of a CSV file are: it tells nothing of the CPU."""
    hosts = [_machine(result, "a", cpu, cores), _machine(result, "b", cpu, cores)]
    with pytest.raises(UsageError, match="machine type of a, b is unknown") as refused:
        pool(hosts)
    assert "label machine_type" in str(refused.value.hint)
    labelled = [replace(one, labels={"machine_type": "t"}) for one in hosts]
    assert pool(labelled).host == "2 hosts of the machine type t: a, b"
    with pytest.raises(UsageError, match="machine type of b is unknown"):
        pool([labelled[0], hosts[1]])


def test_a_host_is_not_called_a_machine_type(result: RunResult) -> None:
    pooled = pool([_machine(result, "a", "Xeon", 4.0), _machine(result, "b", "Xeon", 4.0)])
    assert pooled.host == "2 hosts of an unknown machine type with the CPU Xeon and 4 cores: a, b"


def test_a_simulated_run_is_not_pooled_with_measured_ones(tmp_path: Path) -> None:
    from jvbtune.result.stored import store_result

    for name in ("a", "b", "c"):
        run = simulated(tmp_path, "--name", name)
        found = scaled(_machine(result_of(run), name, "Xeon", 4.0), 1.2 if name == "c" else 1.0)
        store_result(run, replace(found, source=Source.SIMULATED if name == "c" else Source.SWEEP))
    runs = [run.id for run in list_runs(tmp_path)]
    arguments = ["--runs-dir", str(tmp_path), "--format", "jvb-conf"]
    refused = CliRunner().invoke(export_command, [*runs, *arguments])
    assert "is simulated" in str(refused.exception)
    done = CliRunner().invoke(export_command, [*runs[1:], *arguments])
    assert done.exit_code == 0, done.output


def test_a_group_is_the_newest_run_of_each_of_its_hosts(tmp_path: Path) -> None:
    for seed in ("4", "5"):
        simulated(tmp_path, "--seed", seed)
    import json

    for number, run in enumerate(list_runs(tmp_path)):
        manifest = json.loads((run.path / "manifest.json").read_text())
        changed = {**manifest, "host": f"jvb-{number}", "labels": {"group": "eu", "machine_type": "c2"}}
        (run.path / "manifest.json").write_text(json.dumps(changed))
    arguments = ["--runs-dir", str(tmp_path), "--format", "jvb-conf"]
    done = CliRunner().invoke(export_command, ["--group", "eu", *arguments])
    assert "Host: 2 hosts of the machine type c2: jvb-0, jvb-1;" in done.output, done.output
    missing = CliRunner().invoke(export_command, ["--group", "us", *arguments])
    assert isinstance(missing.exception, UsageError)
    assert "eu" in str(missing.exception.hint)


def test_runs_are_pooled_by_any_group_their_hosts_were_in(tmp_path: Path) -> None:
    """An autoscaled group is no label: the run records the groups of its host."""
    for host, groups in (("a", ["jitsi-eu1-jvb", "jvb"]), ("b", ["jvb"]), ("c", [])):
        run = create_run(tmp_path, host=host, experiment={"name": "e"}, seed=0, plan={}, groups=groups)
        with RunWriter(run) as writer:
            writer.journal.append("run_finished", status="done")
    runs = list_runs(tmp_path)
    assert [run.host for run in newest_of_group(runs, "jvb")] == ["a", "b"]
    assert [run.host for run in newest_of_group(runs, "jitsi-eu1-jvb")] == ["a"]
    with pytest.raises(UsageError, match="no finished run is of the group") as refused:
        newest_of_group(runs, "other")
    assert "Groups of the runs: jitsi-eu1-jvb, jvb" in str(refused.value)
