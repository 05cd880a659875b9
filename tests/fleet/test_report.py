"""The fleet's page: machine types side by side, the host that is worse than its kind, what to set where."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from jvbtune.cli import _run
from jvbtune.errors import UsageError
from jvbtune.fleet.kinds import Kind, kinds_of, residuals_of
from jvbtune.fleet.page import render
from jvbtune.result import RunResult, result_of
from jvbtune.store import open_run
from tests.apply.results import simulated, with_result
from tests.report.test_page import CUT, UNFOLD

EVIL = 'x"><script>alert(1)</script>'


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return result_of(simulated(tmp_path_factory.mktemp("runs")))


def _host(result: RunResult, name: str, kind: str, factor: float, cores: float = 4.0, width: float = 1.0) -> RunResult:
    found, limits = result.recommendation, result.thresholds
    assert found is not None
    assert limits is not None
    rate = found.max_packet_rate_pps * factor
    return replace(
        result,
        id=f"run-{name}",
        host=name,
        labels={"machine_type": kind},
        provenance=replace(result.provenance, cores=cores),
        thresholds=replace(limits, load_threshold_pps=round(limits.load_threshold_pps * factor)),
        recommendation=replace(
            found, max_packet_rate_pps=rate, interval_pps=(rate * (1 - 0.06 * width), rate * (1 + 0.06 * width))
        ),
    )


def _fleet(result: RunResult) -> list[RunResult]:
    return [
        *(_host(result, f"jvb-eu-{n}", "c5.xlarge", 0.6 if n == 3 else 1.0 + 0.01 * n) for n in range(1, 6)),
        *(_host(result, f"jvb-us-{n}", "n2-standard-4", 0.8 - 0.01 * n) for n in range(1, 4)),
        _host(result, "jvb-ap-1", "e2-standard-8", 1.3, 8.0),
        replace(_host(result, "jvb-ap-2", "e2-standard-8", 1.3, 8.0), recommendation=None, thresholds=None),
    ]


def test_types_are_side_by_side_for_each_core_and_price(result: RunResult) -> None:
    kinds = kinds_of(_fleet(result), {"c5.xlarge": 0.2, "n2-standard-4": 0.1})
    assert [kind.name for kind in kinds] == ["e2-standard-8", "c5.xlarge", "n2-standard-4"]
    big, odd, cheap = kinds
    assert big.rate_pps is not None
    assert big.per(big.cores) == (big.rate_pps / 8, (big.interval_pps[0] / 8, big.interval_pps[1] / 8))  # type: ignore[operator]
    assert big.per(big.price) is None
    assert cheap.rate_pps is not None
    assert odd.rate_pps is not None
    assert cheap.per(0.1)[0] > odd.per(0.2)[0]  # type: ignore[index]
    assert [host.host for host in odd.worse] == ["jvb-eu-3"]
    assert big.worse == cheap.worse == ()
    assert big.measured == 1
    assert ("jvb.conf", f"load-threshold = {int(odd.thresholds.load_threshold_pps)}") in odd.settings()  # type: ignore[union-attr]


def test_a_host_is_called_worse_by_chance_in_one_of_twenty_fleets(result: RunResult) -> None:
    """Six equal hosts, each measured with 5 % error: a false alarm for one fleet in twenty at most, about."""
    draws, alarms, found = random.Random(3), 0, 0
    for _ in range(400):
        equal = [_measured(result, n, draws.gauss(0, 0.05)) for n in range(6)]
        alarms += any(one is not None and one.is_worse for one in residuals_of(equal))
        one_low = [_measured(result, n, draws.gauss(-0.4 if n == 2 else 0, 0.05)) for n in range(6)]
        worse = [n for n, one in enumerate(residuals_of(one_low)) if one is not None and one.is_worse]
        found += worse == [2]
    assert alarms / 400 <= 0.08
    assert found / 400 >= 0.95


def _measured(result: RunResult, number: int, logarithm: float) -> RunResult:
    import math

    one = _host(result, f"h{number}", "t", math.exp(logarithm))
    assert one.recommendation is not None
    rate = one.recommendation.max_packet_rate_pps
    ends = (rate * math.exp(-0.098), rate * math.exp(0.098))
    return replace(one, recommendation=replace(one.recommendation, interval_pps=ends))


def test_of_two_hosts_none_is_the_odd_one(result: RunResult) -> None:
    assert residuals_of([_host(result, "a", "t", 1.0), _host(result, "b", "t", 0.5)]) == [None, None]


def test_hosts_that_are_not_of_one_kind_are_shown_and_not_pooled(result: RunResult) -> None:
    other = _host(result, "b", "t", 1.0)
    other = replace(other, provenance=replace(other.provenance, jvb_version="9.9"))
    [kind] = kinds_of([_host(result, "a", "t", 1.0), other])
    assert kind.rate_pps is None
    assert "version of the bridge" in kind.why_not_pooled
    assert kind.settings() == []
    assert kind.why_not_pooled in render([kind], title="the fleet", created_unix=0.0)


def test_unknown_machines_are_listed_and_judged_by_nobody(result: RunResult) -> None:
    facts = [replace(result.provenance, cpu=None), replace(result.provenance, cores=None)]
    hosts = [
        replace(_host(result, f"h{n}", "", 0.5 if n == 3 else 1.0), labels={}, provenance=facts[n % 2])
        for n in range(1, 7)
    ]
    for some in (hosts, hosts[:1]):
        [kind] = kinds_of(some)
        assert kind.name == "unknown machine"
        assert len(kind.hosts) == len(some)
        assert (kind.rate_pps, kind.settings(), kind.worse) == (None, [], ())
        page = render([kind], title="the fleet", created_unix=0.0)
        assert "nobody knows whether these hosts are of one machine type" in page
        assert "h1" in page
        assert "of the type unknown" not in page
    known = [replace(_host(result, f"k{n}", "", 1.0, cores=1.0), labels={}) for n in (1, 2)]
    known = [replace(one, provenance=replace(one.provenance, cpu="Xeon")) for one in known]
    assert [kind.name for kind in kinds_of([*hosts, *known])] == ["Xeon, 1 core", "unknown machine"]


def test_hosts_of_one_label_and_unlike_cores_are_not_compared(result: RunResult) -> None:
    hosts = [_host(result, f"h{n}", "t", 0.5 if n == 3 else 1.0, 2.0 if n == 3 else 4.0) for n in range(1, 6)]
    [kind] = kinds_of(hosts)
    assert kind.rate_pps is None
    assert kind.worse == ()
    assert all(host.residual is None for host in kind.hosts)
    assert "2 (h3)" in kind.why_not_pooled


def test_simulated_runs_are_left_out_and_the_page_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = simulated(tmp_path)
    for name in ("measured", "simulated"):  # a newer run of the measured host is simulated
        assert _run(["simulate", "--out", str(tmp_path), "--name", name, "--blocks", "4", "--seconds", "5"]) == 0
    page = tmp_path / "fleet.html"
    assert _run(["fleet", "report", "--runs-dir", str(tmp_path), "-o", str(page)]) == 0
    assert "Left out: 1 simulated host\n" in capsys.readouterr().err
    assert "1 simulated host is left out: its figures belong to no machine." in page.read_text()
    assert measured.id in page.read_text()
    assert _run(["fleet", "report", "--json", "--runs-dir", str(tmp_path)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["simulated_hosts"] == 1
    assert [host["run"] for kind in document["kinds"] for host in kind["hosts"]] == [measured.id]
    for file in measured.path.iterdir():
        if file.is_file():
            file.unlink()
    assert _run(["fleet", "report", "--runs-dir", str(tmp_path), "-o", str(page)]) == 2
    assert "no finished run of these hosts; 2 simulated hosts left out" in capsys.readouterr().err


def test_a_price_of_an_unknown_type_is_refused(result: RunResult) -> None:
    with pytest.raises(UsageError, match=r"'c5.large', and no host"):
        kinds_of(_fleet(result), {"c5.large": 0.1})


@pytest.mark.parametrize("text", ["c5.xlarge", "c5.xlarge=", "=0.2", "c5.xlarge=free", "c5.xlarge=-1", "c5.xlarge=nan"])
def test_what_is_no_price_is_refused(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], result: RunResult
) -> None:
    simulated(tmp_path)
    assert _run(["fleet", "report", "--price", text, "--runs-dir", str(tmp_path), "-o", str(tmp_path / "f.html")]) == 2
    assert "Write --price c5.xlarge=0.19" in capsys.readouterr().err


def test_the_command_reads_runs_and_prices_of_jvbtune_toml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = simulated(tmp_path / "runs")
    manifest = run.path / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "labels": {"machine_type": "c5.xlarge"}}))
    with_result(open_run(run.path), lambda found: found)
    (tmp_path / "jvbtune.toml").write_text('[prices]\n"c5.xlarge" = 0.25\n"not-measured" = 1.0\n')
    options = ["--runs-dir", str(tmp_path / "runs"), "--inventory", str(tmp_path / "jvbtune.toml")]
    page = tmp_path / "out.html"
    assert _run(["fleet", "report", "-o", str(page), *options]) == 0
    assert capsys.readouterr().out.strip() == str(page)
    assert "Max packet rate for the price" in page.read_text()
    assert _run(["fleet", "report", "--json", *options]) == 0
    [kind] = json.loads(capsys.readouterr().out)["kinds"]
    assert (kind["machine_type"], kind["price"]) == ("c5.xlarge", 0.25)
    assert kind["settings"][0]["line"].startswith("load-threshold = ")


def _pages(result: RunResult) -> Sequence[Sequence[Kind]]:
    evil = replace(_host(result, EVIL, EVIL, 1.0), id="run-evil")
    return [kinds_of(_fleet(result), {"c5.xlarge": 0.19}), kinds_of([evil])]


@pytest.mark.browser
@pytest.mark.parametrize("width", [1200, 400])
def test_the_page_fits_can_be_read_and_runs_nothing(
    result: RunResult, browser: Browser, width: int, tmp_path: Path
) -> None:
    for number, kinds in enumerate(_pages(result)):
        file = tmp_path / f"{number}.html"
        file.write_text(render(kinds, title="the fleet", created_unix=0.0))
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
            faults: list[str] = []
            page.on("pageerror", lambda error, faults=faults: faults.append(str(error)))
            page.on("dialog", lambda dialog, faults=faults: (faults.append("a dialog"), dialog.dismiss()))
            page.goto(file.as_uri())
            page.evaluate(UNFOLD)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(CUT) == []
            broken = Axe().run(page).response["violations"]
            assert [one["id"] for one in broken] == []
            assert faults == []
            page.close()
