"""What is deployed: only what was shown to be better, with where it comes from and how to undo it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import hocon
import pytest
from click.testing import CliRunner

from jvbtune.cli.fit import command as fit
from jvbtune.cli.simulate import command as simulate
from jvbtune.errors import NoRecommendation, UsageError
from jvbtune.export import RENDERERS, export
from jvbtune.export.jvb_conf import thresholds
from jvbtune.fit.compare import SettingVerdict, Verdict
from jvbtune.result import RunResult, result_of
from jvbtune.result.model import Provenance, Source, Status
from jvbtune.result.stored import from_json
from jvbtune.store import Run, open_run

HEAD = ("Written by jvbtune", "from run", "Host:", "kernel", "Bridge:", "Why:", "To undo:")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("runs")
    options = ["--out", str(directory), "--blocks", "4", "--seconds", "5", "--seed", "4", "--buffers"]
    done = CliRunner().invoke(simulate, options)
    assert done.exit_code == 0, done.output
    return open_run("latest", directory)


@pytest.fixture(scope="module")
def result(run: Run) -> RunResult:
    return result_of(run)


def _with(result: RunResult, **setting: Any) -> RunResult:
    base = {"host": "h", "values": (1,), "verdict": "better", "recommended": 1, "reason": "", "metric": "burst_drops"}
    return replace(result, settings=(SettingVerdict(**(base | setting)),), receive_buffer=None)


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("name", ["sysctl", "jvb-conf", "docker"])
def test_each_file_says_where_it_comes_from_and_how_to_undo_it(run: Run, name: str) -> None:
    for text in RENDERERS[name](result_of(run), False).values():
        for part in HEAD:
            assert part in text
        assert run.id in text


def test_hocon_chooses_the_measurement_that_its_threshold_is_of(result: RunResult) -> None:
    for format_name, file_name in (("jvb-conf", "jvbtune.conf"), ("docker", "custom-jvb.conf")):
        parsed = hocon.parse(RENDERERS[format_name](result, False)[file_name])
        section = parsed.get_config("videobridge.load-management.load-measurements")
        assert section["load-measurement"] == "packet-rate"
        load = section["packet-rate.load-threshold"]
        assert result.recommendation is not None
        assert 0 < load <= result.recommendation.max_packet_rate_pps
        assert section["packet-rate.recovery-threshold"] == int(0.8 * load)


def test_the_threshold_is_the_careful_figure_and_never_falls_back_on_another(result: RunResult) -> None:
    figures = result.recommendation
    assert figures is not None
    load = thresholds(result).load_threshold_pps
    assert load == figures.load_threshold_pps < figures.max_packet_rate_pps
    with pytest.raises(NoRecommendation):
        thresholds(replace(result, thresholds=replace(thresholds(result), load_threshold_pps=0.0)))


def test_the_stress_of_a_participant_goes_into_the_bridges_file_as_it_was_measured(result: RunResult) -> None:
    load = thresholds(result).load_threshold_pps
    for format_name, file_name in (("jvb-conf", "jvbtune.conf"), ("docker", "custom-jvb.conf")):
        files = RENDERERS[format_name](result, False)
        stress = hocon.parse(files[file_name])["videobridge.load-management.average-participant-stress"]
        assert stress == pytest.approx(150 / load, rel=0.03)
        assert "BRIDGE_AVG_PARTICIPANT_STRESS" not in "".join(_lines("".join(files.values())))
    unknown = replace(result, thresholds=replace(thresholds(result), average_participant_stress=None))
    assert not [line for line in _lines(RENDERERS["jvb-conf"](unknown, False)["jvbtune.conf"]) if "stress" in line]


def test_a_history_of_production_is_kept_with_the_run_and_carried_into_its_files(tmp_path: Path) -> None:
    shapes = ["--other-shapes", "--endpoint-us", "400"]
    options = ["--out", str(tmp_path), "--blocks", "5", "--restart-sd", "0.01", *shapes]
    assert CliRunner().invoke(simulate, options).exit_code == 0
    run = open_run("latest", tmp_path)
    before = thresholds(result_of(run)).load_threshold_pps
    produced = tmp_path / "prod.csv"
    produced.write_text("in_pps,out_pps,endpoints\n2000,4000,60\n1900,4100,62\n")
    done = CliRunner().invoke(fit, ["latest", "--runs-dir", str(tmp_path), "--history", str(produced)])
    assert done.exit_code == 0, done.output
    assert "load threshold, not to be set yet" in done.stdout
    produced.unlink()
    result = result_of(run)
    after = thresholds(result).load_threshold_pps
    assert 0.6 * before < after < 0.95 * before
    assert result.recommendation is not None
    assert result.recommendation.max_packet_rate_pps > before
    assert any("Production's most expensive mix" in remark.text for remark in result.remarks)
    text = RENDERERS["jvb-conf"](result, False)["jvbtune.conf"]
    assert "Production's most expensive packets" in text
    assert f"average-participant-stress = {12000 / 122 / after:.5f}" in text


def test_only_a_setting_that_is_better_is_set(result: RunResult) -> None:
    name = "net.core.netdev_max_backlog"
    better = RENDERERS["sysctl"](_with(result, name=name, recommended=10000), False)["60-jvbtune.conf"]
    assert _lines(better) == [f"{name} = 10000"]
    for verdict in ("worse", "no difference", "unresolved"):
        changed = _with(result, name=name, verdict=verdict, recommended=None)
        text = RENDERERS["sysctl"](changed, False)["60-jvbtune.conf"]
        assert _lines(text) == []
        assert f"{name}: not set. {verdict}" in text


def test_the_receive_buffer_is_set_even_on_a_host_that_has_it_already(result: RunResult) -> None:
    assert result.receive_buffer is not None
    text = RENDERERS["sysctl"](result, False)["60-jvbtune.conf"]
    assert _lines(text) == [f"net.core.rmem_max = {result.receive_buffer.rmem_max_bytes}"]


def test_pinned_values_are_those_of_the_baseline_and_only_catalogued_ones(result: RunResult) -> None:
    measured = replace(result, measured_with={"net.core.wmem_default": 212992, "net.core.netdev_budget": 300})
    text = RENDERERS["sysctl"](measured, True)["60-jvbtune.conf"]
    assert {"net.core.wmem_default = 212992", "net.core.netdev_budget = 300"} <= set(_lines(text))
    assert not {"net.core.wmem_default = 212992"} & set(_lines(RENDERERS["sysctl"](measured, False)["60-jvbtune.conf"]))
    with pytest.raises(ValueError, match="core_pattern"):
        RENDERERS["sysctl"](replace(result, measured_with={"kernel.core_pattern": "|/bin/sh"}), True)


HOSTILE = "2.1\nkernel.core_pattern = |/tmp/x\x1b[2J\u2028net.core.rmem_max = 1\r# "


@pytest.mark.parametrize("name", ["sysctl", "jvb-conf", "docker"])
def test_what_a_host_says_of_itself_stays_in_its_comment(result: RunResult, name: str) -> None:
    facts = {field.name: HOSTILE for field in fields(Provenance) if field.name not in ("cores", "heap_mib")}
    hostile = replace(result, host=HOSTILE, provenance=Provenance(cores=1.0, **facts))
    files = RENDERERS[name](hostile, False)
    plain = RENDERERS[name](result, False)
    for file_name, text in files.items():
        assert _lines(text) == _lines(plain[file_name])
        assert "\x1b" not in text


def test_the_bridges_own_setting_goes_into_its_configuration_and_not_into_sysctl(result: RunResult) -> None:
    key = "ice4j.harvest.udp.receive-buffer-size"
    changed = _with(result, name=key, recommended=4194304)
    assert hocon.parse(RENDERERS["jvb-conf"](changed, False)["jvbtune.conf"])[key] == 4194304
    assert key not in "".join(_lines(RENDERERS["sysctl"](changed, False)["60-jvbtune.conf"]))


def test_a_bridge_that_asks_for_less_is_made_to_ask_for_what_is_advised(result: RunResult) -> None:
    """Else the socket stays small whatever the kernel allows."""
    key = "ice4j.harvest.udp.receive-buffer-size"
    advice = result.receive_buffer
    assert advice is not None
    small = replace(advice, rmem_max_bytes=4194304, asked_bytes=1048576)
    less = replace(result, receive_buffer=small, settings=())
    assert hocon.parse(RENDERERS["jvb-conf"](less, False)["jvbtune.conf"])[key] == 4194304
    assert "net.core.rmem_max = 4194304" in _lines(RENDERERS["sysctl"](less, False)["60-jvbtune.conf"])
    enough = replace(result, receive_buffer=replace(small, asked_bytes=4194304), settings=())
    assert key not in RENDERERS["jvb-conf"](enough, False)["jvbtune.conf"]
    # as an earlier apply made it ask: its file is replaced
    more = replace(advice, rmem_max_bytes=16 << 20, asked_bytes=16 << 20)
    text = RENDERERS["jvb-conf"](replace(result, receive_buffer=more, settings=()), False)["jvbtune.conf"]
    assert hocon.parse(text)[key] == 16 << 20


def test_the_kernel_allows_what_the_bridge_is_made_to_ask_for(result: RunResult) -> None:
    """No step of the sweep had all that was found better, so each has its own value; nor is one lowered by advice."""
    key, cap = "ice4j.harvest.udp.receive-buffer-size", "net.core.rmem_max"

    def better(name: str, value: int) -> SettingVerdict:
        return SettingVerdict("h", name, (value,), Verdict.BETTER, value, reason="planted")

    settings = (better(cap, 10 << 20), better(key, 32 << 20), better("net.core.netdev_max_backlog", 10000))
    for advice in (None, result.receive_buffer):
        changed = replace(result, settings=settings, receive_buffer=advice)
        assert f"{cap} = {32 << 20}" in _lines(RENDERERS["sysctl"](changed, False)["60-jvbtune.conf"])
        assert hocon.parse(RENDERERS["jvb-conf"](changed, False)["jvbtune.conf"])[key] == 32 << 20


def test_sysctl_itself_takes_the_file(result: RunResult, tmp_path: Path) -> None:
    text = RENDERERS["sysctl"](_with(result, name="net.core.rmem_max", recommended=10485760), False)["60-jvbtune.conf"]
    path = tmp_path / "60-jvbtune.conf"
    path.write_text(text)
    done = subprocess.run(["sysctl", "--dry-run", "-p", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["net.core.rmem_max", "=", "10485760"]), done.stderr


def test_json_is_the_whole_result(result: RunResult) -> None:
    assert from_json(json.loads(export(result, "json")["jvbtune.json"])) == result


def test_what_a_run_does_not_support_is_not_exported(result: RunResult) -> None:
    measured = replace(result, source=Source.SWEEP)
    assert export(measured, "sysctl")
    with pytest.raises(NoRecommendation):
        export(replace(measured, recommendation=None), "jvb-conf")
    with pytest.raises(NoRecommendation, match="unfinished"):
        export(replace(measured, status=Status.INTERRUPTED), "sysctl")
    with pytest.raises(NoRecommendation, match="simulated"):
        export(result, "sysctl")
    with pytest.raises(UsageError, match="jvb-conf"):
        export(result, "salt")
