"""What is exported for Prometheus, judged by promtool: configuration, rules, and the unit tests that come with them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from jvbtune.errors import NoRecommendation, UsageError
from jvbtune.export import export_fleet, write_files
from jvbtune.export.prometheus import ALERTS, RULES, SCRAPE, TESTS
from jvbtune.observe.columns import NETWORK, QUANTITIES, RULE_LOAD_THRESHOLD, RULE_MAX_PACKET_RATE
from jvbtune.result import RunResult, result_of
from tests.apply.results import of_host, simulated
from tests.observe.samples import FOREIGN

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: make test installs it"
)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return result_of(simulated(tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="module")
def fleet(result: RunResult) -> list[RunResult]:
    """Two hosts of one machine type, one of another, one without any."""
    return [
        of_host(result, "jvb-1", machine_type="c5.xlarge", region="eu"),
        of_host(result, "jvb-2", 1.1, machine_type="c5.xlarge", region="us"),
        of_host(result, "jvb-3", 2.0, machine_type="c5.4xlarge"),
        of_host(result, "jvb-4"),
    ]


def _promtool(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], cwd=directory, capture_output=True, text=True, check=False)


def _checked(files: Mapping[str, str], directory: Path) -> None:
    write_files(files, directory)
    for arguments in (("check", "config", SCRAPE), ("check", "rules", RULES), ("test", "rules", TESTS)):
        done = _promtool(directory, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def _rules(files: Mapping[str, str]) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(files[RULES])["groups"] for rule in group["rules"]]


@needs_promtool
def test_promtool_takes_all_three_files(fleet: list[RunResult], tmp_path: Path) -> None:
    _checked(export_fleet(fleet, "prometheus"), tmp_path)


@needs_promtool
def test_foreign_texts_stay_what_they_are(result: RunResult, tmp_path: Path) -> None:
    names = ['h"; }} {{ $labels.x }}', "é\n- alert: Evil", "a'b: [ # \\"]
    results = [of_host(result, name, **{"region": "eu", "machine_type": f"t {name}", **FOREIGN}) for name in names]
    files = export_fleet(results, "prometheus")
    _checked(files, tmp_path)
    assert {rule["alert"] for rule in _rules(files) if "alert" in rule} == {alert.name for alert in ALERTS}
    measured = [rule for rule in _rules(files) if rule.get("record") == RULE_MAX_PACKET_RATE]
    assert [rule["labels"]["host"] for rule in measured if "host" in rule["labels"]] == [
        " ".join(name.split()) for name in names
    ]


@needs_promtool
@pytest.mark.parametrize("expr", ["vector(1) > 2", 'label_replace(vector(1), "host", "jvb-1", "", "")'])
def test_the_unit_tests_see_an_alert_that_never_fires_and_one_that_always_does(
    result: RunResult, tmp_path: Path, expr: str
) -> None:
    files = export_fleet([of_host(result, "jvb-1")], "prometheus")
    parsed = yaml.safe_load(files[RULES])
    for group in parsed["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                rule["expr"] = expr
    write_files({**files, RULES: yaml.safe_dump(parsed)}, tmp_path)
    done = _promtool(tmp_path, "test", "rules", TESTS)
    assert done.returncode != 0
    for alert in ALERTS:
        assert f"alertname: {alert.name}," in done.stdout + done.stderr


def test_figures_of_hosts_and_of_pooled_machine_types(fleet: list[RunResult]) -> None:
    rules = _rules(export_fleet(fleet, "prometheus"))
    measured = {
        (rule["record"], *rule["labels"].items()): float(rule["expr"].removeprefix("vector(").removesuffix(")"))
        for rule in rules
        if "labels" in rule and "record" in rule
    }
    for one in fleet:
        assert one.recommendation is not None
        assert one.thresholds is not None
        host = ("host", one.host)
        assert measured[(RULE_MAX_PACKET_RATE, host)] == round(one.recommendation.max_packet_rate_pps)
        assert measured[(RULE_LOAD_THRESHOLD, host)] == int(one.thresholds.load_threshold_pps)
    kind = ("machine_type", "c5.xlarge")
    first, second = (measured[(RULE_MAX_PACKET_RATE, ("host", name))] for name in ("jvb-1", "jvb-2"))
    assert first < measured[(RULE_MAX_PACKET_RATE, kind)] < second
    assert measured[(RULE_LOAD_THRESHOLD, kind)] == measured[(RULE_LOAD_THRESHOLD, ("host", "jvb-1"))]


def test_every_metric_of_jvbtune_in_a_rule_exists(fleet: list[RunResult]) -> None:
    known = {quantity.metric for quantity in (*QUANTITIES, *NETWORK)}
    used = {
        name for rule in _rules(export_fleet(fleet, "prometheus")) for name in re.findall(r"jvbtune_\w+", rule["expr"])
    }
    assert used
    assert used <= known


def test_each_file_says_where_it_comes_from_and_how_to_undo_it(fleet: list[RunResult]) -> None:
    files = export_fleet(fleet, "prometheus")
    assert set(files) == {SCRAPE, RULES, TESTS}
    for text in files.values():
        for part in ("Written by jvbtune", "from run run-jvb-1", "from run run-jvb-3", "Why:", "To undo:"):
            assert part in text


def test_a_run_without_a_recommendation_is_refused(result: RunResult) -> None:
    with pytest.raises(NoRecommendation):
        export_fleet([of_host(result, "a"), replace(result, recommendation=None)], "prometheus")


@pytest.mark.parametrize("format_name", ["prometheus", "telegraf"])
@pytest.mark.parametrize("kinds", [({}, {}), ({"machine_type": "a"}, {"machine_type": "b"})])
def test_two_runs_of_one_host_are_refused(
    result: RunResult, format_name: str, kinds: tuple[dict[str, str], dict[str, str]]
) -> None:
    """The host would have two figures that contradict each other."""
    first, second = (of_host(result, "jvb-1", **kind) for kind in kinds)
    with pytest.raises(UsageError, match="run-jvb-1 and run-2 are both of the host jvb-1") as refused:
        export_fleet([first, of_host(result, "jvb-2"), replace(second, id="run-2")], format_name)
    assert "Leave one of them out" in str(refused.value)
