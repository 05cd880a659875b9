"""A fleet of ten hosts of three machine types: measured, pooled, exported, applied, rolled back.

The measurements are those of simulated hosts, because a host without a JVM takes no load. Everything after them happens
on ten hosts, each with its own network, files and processes. ``net.core.*`` exists once for the whole machine, so that
the setting that is applied is one of ``net.ipv4.*``, which each host has of its own.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jvbtune.cli import _run
from jvbtune.export.jvb_conf import thresholds
from jvbtune.result import RunResult, result_of
from jvbtune.store import Run, open_run
from tests.apply.results import scaled, simulated, with_result
from tests.fleet.conftest import TYPES, events, hosts_options
from tests.fleet.light import CONFIG, SETTING, LightFleet, LightHost

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600)]
Command = Callable[..., subprocess.CompletedProcess[str]]
RATES = dict(zip(TYPES, (1.0, 1.3, 0.7), strict=True))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[str]]]:
    """Of each machine type the directory of its runs, and their ids: of two of its hosts."""
    found = {}
    for type_ in TYPES:
        directory = tmp_path_factory.mktemp(type_)
        ids = []
        for host, more in (("measured-1", 1.0), ("measured-2", 1.02)):
            run = simulated(directory)
            manifest = run.path / "manifest.json"
            text = {**json.loads(manifest.read_text()), "host": host, "labels": {"machine_type": type_}}
            manifest.write_text(json.dumps(text))
            with_result(open_run(run.path), _scaled(RATES[type_] * more))
            ids.append(run.id)
        found[type_] = (directory, ids)
    return found


def _scaled(factor: float) -> Callable[[RunResult], RunResult]:
    """Another machine; its setting is one that a light host has of its own."""

    def change(result: RunResult) -> RunResult:
        return replace(scaled(result, factor), receive_buffer=None, settings=(), measured_with={SETTING: 8192})

    return change


def _files(host: LightHost) -> dict[str, str]:
    found = {path.name: path.read_text() for path in (host.directory / "etc").iterdir()}
    found["sysctl.d"] = host.inside("sh", "-c", "cat /etc/sysctl.d/* 2>/dev/null || true")
    found[SETTING] = host.inside("cat", "/proc/sys/" + SETTING.replace(".", "/"))
    return found


def _our_drains(host: LightHost) -> int:
    return sum(line["event"] == "drained" and line.get("by") == "jvbtune" for line in host.timeline())


def test_ten_hosts_of_three_machine_types(
    light: LightFleet, jvbtune: Command, runs: dict[str, tuple[Path, list[str]]], tmp_path: Path
) -> None:
    before = {host.name: _files(host) for host in light.hosts}

    # pooled and exported: what is applied below is what an operator would commit for the type
    exported = {}
    for type_, (directory, ids) in runs.items():
        out = tmp_path / type_
        options = ["--format", "jvb-conf", "--runs-dir", str(directory), "-o", str(out)]
        assert _run(["export", *ids, *options]) == 0
        exported[type_] = (out / "jvbtune.conf").read_text()

    # applied: the run of the weakest host of each type, whose threshold the pool exports
    for type_, (directory, ids) in runs.items():
        weakest = min((open_run(run, directory) for run in ids), key=_load_threshold)
        options = ["--yes", "--pin", "--watch", "0", "--runs-dir", str(directory)]
        options += ["--per", "region", "--max-unavailable", "2"]
        done = jvbtune("apply", "--label", f"machine_type={type_}", str(weakest.path), *options)
        assert done.returncode == 0, done.stdout + done.stderr
        hosts = [host for host in light.hosts if host.labels["machine_type"] == type_]
        assert done.stdout.count("applied and in force") == len(hosts)
    for host in light.hosts:
        found = _files(host)
        lines = exported[host.labels["machine_type"]].splitlines()
        threshold = next(line.strip() for line in lines if line.startswith("    load-threshold"))
        assert threshold in found["jvbtune.conf"]
        assert 'include "jvbtune.conf"' in found["jvb.conf"]
        assert found[SETTING] == "8192"
        assert f"{SETTING} = 8192" in found["sysctl.d"]
        assert not host.drained()

    # a second time: nothing is to be done, and no bridge is drained
    drains = {host.name: _our_drains(host) for host in light.hosts}
    directory, ids = runs[TYPES[0]]
    check = ["--check", "--pin", "--runs-dir", str(directory)]
    again = jvbtune("apply", "--label", f"machine_type={TYPES[0]}", str(directory / ids[0]), *check)
    assert again.returncode == 0, again.stdout
    assert "everything is in force" in again.stdout
    assert {host.name: _our_drains(host) for host in light.hosts} == drains

    # rolled back, all ten, two of a region at a time
    rules = ("--per", "region", "--max-unavailable", "2", "--json")
    done = jvbtune("rollback", "--group", "light", "--yes", *rules)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [one["state"] for one in json.loads(done.stdout)["hosts"]] == ["done"] * 10
    for host in light.hosts:
        assert _files(host) == before[host.name]
        assert before[host.name]["jvb.conf"] == CONFIG
        assert not host.drained()
        assert _our_drains(host) > drains[host.name]
    assert jvbtune("rollback", "--group", "light", "--check").returncode == 0


def _load_threshold(run: Run) -> float:
    return thresholds(result_of(run)).load_threshold_pps


def test_an_apply_stops_at_the_first_host_that_fails(
    light: LightFleet, jvbtune: Command, runs: dict[str, tuple[Path, list[str]]]
) -> None:
    directory, ids = runs[TYPES[0]]
    names = ("light-01", "light-02", "light-03")
    before = {name: _files(light.host(name)) for name in names}
    light.host("light-02").put("mode", "no-restart")
    try:
        options = ["--yes", "--watch", "0.5", "--runs-dir", str(directory), "--json-lines"]
        done = jvbtune("apply", *hosts_options(*names), str(directory / ids[0]), *options)
    finally:
        light.host("light-02").put("mode", "ok")
    assert done.returncode == 4, done.stderr
    ended = {e["host"]: e for e in events(done.stdout) if e["event"] == "host_finished"}
    assert [ended[name]["state"] for name in names] == ["done", "failed", "not started"]
    assert ended["light-03"]["reason"] == "light-02 failed first"
    assert _files(light.host("light-03")) == before["light-03"]
    rolled = jvbtune("rollback", *hosts_options(*names), "--yes")
    assert rolled.returncode == 0, rolled.stdout + rolled.stderr
    assert {name: _files(light.host(name)) for name in names} == before


def test_one_host_shares_the_budget_of_its_region_as_well(
    light: LightFleet, jvbtune: Command, runs: dict[str, tuple[Path, list[str]]]
) -> None:
    directory, ids = runs[TYPES[0]]
    drains = _our_drains(light.host("light-01"))
    argv = ["apply", "--host", "light-01", str(directory / ids[0]), "--runs-dir", str(directory), "--yes"]
    light.host("light-03").drain(True)
    try:
        done = jvbtune(*argv, "--per", "region")
    finally:
        light.host("light-03").drain(False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "held back  light-03 is drained" in done.stdout
    assert "--resume" not in done.stdout, "apply has none"
    refused = jvbtune(*argv, "--per", "nosuch")
    assert refused.returncode == 2
    assert "light-01 has no label nosuch" in refused.stderr
    assert _our_drains(light.host("light-01")) == drains


def test_what_is_not_as_it_was_shown_is_not_changed(
    light: LightFleet,
    jvbtune: Command,
    runs: dict[str, tuple[Path, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hosts that come late are changed hours after they were shown."""
    directory, ids = runs[TYPES[0]]
    names = ("light-04", "light-05")
    before = {name: _files(light.host(name)) for name in names}
    drains = _our_drains(light.host("light-05"))
    config = light.host("light-05").directory / "etc" / "jvb.conf"

    def somebody_edits(yes: bool, question: str) -> None:
        config.write_text(CONFIG + "# somebody else's\n")

    argv = [*hosts_options(*names), "--watch", "0", "--runs-dir", str(directory), "--keep-going", "--json"]
    with monkeypatch.context() as patched:
        patched.setattr("jvbtune.cli.apply._ask", somebody_edits)
        done = jvbtune("apply", *argv, str(directory / ids[0]))
    assert done.returncode == 4, done.stdout + done.stderr
    first, second = json.loads(done.stdout)["hosts"]
    assert (first["state"], second["state"]) == ("done", "failed")
    assert "light-05 is not as it was when its changes were shown (files)" in second["reason"]
    assert config.read_text() == CONFIG + "# somebody else's\n"
    assert _our_drains(light.host("light-05")) == drains
    config.write_text(CONFIG)
    rolled = jvbtune("rollback", "--host", "light-04", "--yes")
    assert rolled.returncode == 0, rolled.stdout + rolled.stderr
    assert {name: _files(light.host(name)) for name in names} == before


def test_nobody_is_asked_where_there_is_no_terminal(
    light: LightFleet, jvbtune: Command, runs: dict[str, tuple[Path, list[str]]]
) -> None:
    directory, ids = runs[TYPES[0]]
    names, before = ("light-04", "light-05"), [_our_drains(host) for host in light.hosts]
    done = jvbtune("apply", *hosts_options(*names), str(directory / ids[0]), "--runs-dir", str(directory))
    assert done.returncode == 2, done.stdout
    assert "nobody can be asked" in done.stderr
    assert "to change: " in done.stdout
    assert [_our_drains(host) for host in light.hosts] == before
