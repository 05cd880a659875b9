"""A report is made of any run, whatever went wrong in it, and tells the figures that ``show`` tells."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from jvbtune.cli.simulate import command
from jvbtune.report import write_report
from jvbtune.result import result_of
from jvbtune.store import Run, RunWriter, create_run, open_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    arguments = ["--out", str(tmp_path), "--blocks", "4", "--buffers", "--seed", "3", "--json"]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return open_run(json.loads(done.stdout)["path"], None)


def _page(run: Run) -> str:
    page = write_report(run).read_text()
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page), "a report is read without a network"
    assert page.count("<svg") == page.count("</svg>")
    return page


@pytest.mark.slow
def test_it_tells_what_show_tells(run: Run) -> None:
    page, result = _page(run), result_of(run)
    figures = result.recommendation
    assert figures is not None
    for value in (figures.max_packet_rate_pps, *figures.interval_pps):
        assert f"{value:,.0f}".replace(",", "\u202f") in page
    for setting in result.settings:
        assert setting.name in page
        assert setting.verdict in page
    assert page.count("<svg") > 4


@pytest.mark.slow
def test_a_profiled_trial_that_failed_takes_nothing_away(run: Run) -> None:
    before = result_of(run).recommendation
    row = {
        "run_id": run.id,
        "host": run.host,
        "block": 3,
        "step": "baseline",
        "settings": {},
        "trial": "b3-baseline-profile0",
        "kind": "profiled",
        "order": 999,
        "cores": 1.0,
        "intended_pps": 9000.0,
        "offered_pps": 9000.0,
        "valid": False,
        "invalid_because": ["not profiled: no engine <b>works</b> here"],
    }
    with RunWriter(run) as writer:
        writer.finish_trial(row, samples=(), offered={}, bridge=())
    page = _page(run)
    assert "not profiled: no engine &lt;b&gt;works&lt;/b&gt; here" in page
    assert result_of(run).recommendation == before


def test_a_run_without_a_single_trial_says_so(tmp_path: Path) -> None:
    experiment = {"name": "empty", "load": {"packet_rates_pps": [1000.0]}}
    run = create_run(tmp_path, host="h", experiment=experiment, seed=1, plan={}, command=())
    with RunWriter(run) as writer:
        writer.journal.append("run_started", owner="me")
        writer.journal.append("run_finished", status="failed", message="the bridge is <gone>")
    page = _page(run)
    assert "No trial was finished" in page
    assert "the bridge is &lt;gone&gt;" in page


@pytest.mark.slow
def test_what_packets_and_endpoints_cost_is_a_table_and_other_shapes_are_told_apart(tmp_path: Path) -> None:
    shapes = ["--other-shapes", "--endpoint-us", "400"]
    assert CliRunner().invoke(command, ["--out", str(tmp_path), "--blocks", "5", *shapes]).exit_code == 0
    page = _page(open_run("latest", tmp_path))
    for words in (
        "Traffic mix",
        "An endpoint, without its packets",
        "µs a second",
        "in conferences of 10 with 1 sender",
    ):
        assert words in page
