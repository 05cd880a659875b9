"""The seeds, and some mutations of each, the same ones each time; ``make fuzz`` goes on from there."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.engine import Report, run_targets
from tests.fuzz.harm import EXPECTED, HARM
from tests.fuzz.mutate import MOST_BYTES, mutate
from tests.fuzz.targets import CORPUS, CORPUS_BYTES, TARGETS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    executions = {name: len(target.corpus()) + target.quick for name, target in TARGETS.items()}
    found = run_targets(executions, seed=1, guided=False, state=tmp_path_factory.mktemp("fuzz"))
    return {report.target: report for report in found}


@pytest.mark.parametrize("name", TARGETS)
def test_a_clear_error_or_a_result(name: str, reports: dict[str, Report]) -> None:
    assert name in reports, f"the process ended before: {[report.findings for report in reports.values()]}"
    findings = reports[name].findings
    assert not findings, "\n".join(f"{where}: {what}\n{path}" for where, (what, path) in findings.items())
    assert reports[name].executions == len(TARGETS[name].corpus()) + TARGETS[name].quick


def test_each_target_has_seeds_and_each_file_a_target() -> None:
    assert all(target.corpus() != [b""] for target in TARGETS.values())
    assert {path.name for path in CORPUS.iterdir()} <= set(TARGETS)
    sizes = {path: path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()}
    assert max(sizes.values()) <= CORPUS_BYTES


def test_what_is_looked_for_is_seen(tmp_path: Path) -> None:
    found = run_targets(dict.fromkeys(HARM, 1), seed=1, guided=False, state=tmp_path)
    assert [report.target for report in found] == list(HARM)
    for report in found:
        assert [where for where in report.findings if EXPECTED[report.target] in where], report.findings
        assert all(Path(path).read_bytes() == b"seed" for _, path in report.findings.values())


def test_a_seed_determines_the_inputs() -> None:
    seeds = TARGETS["agent"].corpus()
    first, second = ([mutate(seeds[0], seeds, (), random.Random(seed)) for seed in range(300)] for _ in range(2))
    assert first == second
    assert len(set(first)) > 250
    assert max(map(len, first)) <= MOST_BYTES
