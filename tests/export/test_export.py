"""What is deployed: only what was shown to be better, with where it comes from and how to undo it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pyhocon import ConfigFactory

from jvbtune.cli.fit import command as fit
from jvbtune.cli.simulate import command as simulate
from jvbtune.errors import NoRecommendation, UsageError
from jvbtune.export import RENDERERS, export_run
from jvbtune.export.jvb_conf import thresholds
from jvbtune.report.result import result_of
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
def result(run: Run) -> dict[str, Any]:
    return result_of(run)


def _with(result: dict[str, Any], **setting: Any) -> dict[str, Any]:
    base = {"values": [1], "verdict": "better", "recommended": 1, "reason": "", "effect": None, "interval": None}
    return result | {"settings": [base | {"metric": "burst_drops"} | setting]}


@pytest.mark.parametrize("name", ["sysctl", "jvb-conf", "docker"])
def test_each_file_says_where_it_comes_from_and_how_to_undo_it(run: Run, name: str) -> None:
    for text in RENDERERS[name](result_of(run)).values():
        for part in HEAD:
            assert part in text
        assert run.id in text


def test_hocon_chooses_the_measurement_that_its_threshold_is_of(result: dict[str, Any]) -> None:
    for format_name, file_name in (("jvb-conf", "jvbtune.conf"), ("docker", "custom-jvb.conf")):
        parsed = ConfigFactory.parse_string(RENDERERS[format_name](result)[file_name])
        section = parsed["videobridge.load-management.load-measurements"]
        assert section["load-measurement"] == "packet-rate"
        load = section["packet-rate.load-threshold"]
        assert 0 < load <= result["recommendation"]["max_packet_rate_pps"]
        assert section["packet-rate.recovery-threshold"] == int(0.8 * load)


def test_the_threshold_is_the_careful_figure_and_never_falls_back_on_another(result: dict[str, Any]) -> None:
    figures = result["recommendation"]
    assert thresholds(result)[0] == figures["export_pps"] < figures["max_packet_rate_pps"]
    with pytest.raises(NoRecommendation):
        thresholds(result | {"recommendation": figures | {"export_pps": 0.0}})


def test_jicofo_is_told_the_stress_of_a_participant_as_it_was_measured(result: dict[str, Any]) -> None:
    load = thresholds(result)[0]
    env = RENDERERS["docker"](result)["jvbtune.env"]
    (line,) = [line for line in env.splitlines() if line.startswith("BRIDGE_AVG_PARTICIPANT_STRESS=")]
    assert float(line.split("=")[1]) == pytest.approx(150 / load, rel=0.03)
    unknown = RENDERERS["docker"](result | {"thresholds": None})["jvbtune.env"]
    assert "BRIDGE_AVG_PARTICIPANT_STRESS" not in unknown


def test_a_history_of_production_is_kept_with_the_run_and_carried_into_its_files(tmp_path: Path) -> None:
    shapes = ["--other-shapes", "--endpoint-us", "400"]
    options = ["--out", str(tmp_path), "--blocks", "5", "--restart-sd", "0.01", *shapes]
    assert CliRunner().invoke(simulate, options).exit_code == 0
    run = open_run("latest", tmp_path)
    before = thresholds(result_of(run))[0]
    produced = tmp_path / "prod.csv"
    produced.write_text("in_pps,out_pps,endpoints\n2000,4000,60\n1900,4100,62\n")
    done = CliRunner().invoke(fit, ["latest", "--runs-dir", str(tmp_path), "--history", str(produced)])
    assert done.exit_code == 0, done.output
    assert "dearest mix that production carries" in done.stdout
    produced.unlink()
    result = result_of(run)
    after = thresholds(result)[0]
    assert 0.6 * before < after < 0.95 * before
    assert result["recommendation"]["max_packet_rate_pps"] > before
    text = RENDERERS["jvb-conf"](result)["jvbtune.conf"]
    assert "dearest packets of the host's own history" in text
    assert f"average-participant-stress = {12000 / 122 / after:.5f}" in text


def test_only_a_setting_that_is_better_is_set(result: dict[str, Any]) -> None:
    name = "net.core.rmem_max"
    better = RENDERERS["sysctl"](_with(result, name=name, recommended=10485760))["60-jvbtune.conf"]
    assert f"\n{name} = 10485760\n" in better
    for verdict in ("worse", "no difference", "unresolved"):
        text = RENDERERS["sysctl"](_with(result, name=name, verdict=verdict, recommended=None))["60-jvbtune.conf"]
        assert [line for line in text.splitlines() if line and not line.startswith("#")] == []
        assert f"{name}: not set: {verdict}" in text


def test_the_bridges_own_setting_goes_into_its_configuration_and_not_into_sysctl(result: dict[str, Any]) -> None:
    key = "ice4j.harvest.udp.receive-buffer-size"
    changed = _with(result, name=key, recommended=4194304)
    assert ConfigFactory.parse_string(RENDERERS["jvb-conf"](changed)["jvbtune.conf"])[key] == 4194304
    assert key not in RENDERERS["sysctl"](changed)["60-jvbtune.conf"]


def test_sysctl_itself_takes_the_file(result: dict[str, Any], tmp_path: Path) -> None:
    text = RENDERERS["sysctl"](_with(result, name="net.core.rmem_max", recommended=10485760))["60-jvbtune.conf"]
    path = tmp_path / "60-jvbtune.conf"
    path.write_text(text)
    done = subprocess.run(["sysctl", "--dry-run", "-p", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["net.core.rmem_max", "=", "10485760"]), done.stderr


def test_json_is_the_whole_result(run: Run, result: dict[str, Any]) -> None:
    assert json.loads(export_run(run, "json")["jvbtune.json"])["recommendation"] == result["recommendation"]


def test_what_cannot_be_carried_is_not_exported(run: Run, result: dict[str, Any]) -> None:
    with pytest.raises(NoRecommendation):
        RENDERERS["jvb-conf"](result | {"recommendation": None})
    with pytest.raises(NoRecommendation, match="simulated"):
        export_run(run, "sysctl")
    with pytest.raises(UsageError, match="jvb-conf"):
        export_run(run, "salt")
