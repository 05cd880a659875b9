"""Reports of every kind of run, opened in the browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from jvbtune.report import write_report
from jvbtune.result import RunResult, result_of
from jvbtune.store import Run, open_run
from tests.report import runs

REFERENCE = Path(__file__).parents[2] / "experiments" / "runs"

MAKERS: dict[str, Callable[[Path], Run]] = {
    "buffers": lambda out: runs.simulated(out, "--buffers", "--neighbours", "0.2", "--outliers", "0.1", "--seed", "8"),
    "shapes": lambda out: runs.simulated(out, "--blocks", "5", "--other-shapes", "--endpoint-us", "400"),
    "agreeing": lambda out: runs.searched(out, [53_000, 54_500, 56_000], "--seed", "3"),
    "disagreeing": lambda out: runs.searched(out, [30_000, 31_000, 31_500], "--seed", "3"),
    "without-curve": runs.without_curve,
    "hostile": runs.hostile,
    "reference": lambda out: open_run(shutil.copytree(REFERENCE / "reference-real-bridge", out / "reference")),
}


@dataclass(frozen=True)
class Report:
    result: RunResult
    path: Path


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Report]:
    """A report by the name of its run, made once."""
    made: dict[str, Report] = {}

    def report(name: str) -> Report:
        if name not in made:
            run = MAKERS[name](tmp_path_factory.mktemp(name))
            made[name] = Report(result_of(run), write_report(run))
        return made[name]

    return report


Open = Callable[..., Page]


@pytest.fixture
def show(browser: Browser, reports: Callable[[str], Report]) -> Iterator[Open]:
    """Opens a report, offline; at the end no page may have reported a fault, an alert or a request."""
    faults: list[str] = []
    pages: list[Page] = []

    def show_report(name: str, *, width: int = 1200, dark: bool = False, faults_expected: bool = False) -> Page:
        scheme = "dark" if dark else "light"
        page = browser.new_page(viewport={"width": width, "height": 900}, offline=True, color_scheme=scheme)  # type: ignore[arg-type]
        if not faults_expected:
            page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: None if request.url.startswith("file:") else faults.append(request.url))
        page.goto(reports(name).path.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        pages.append(page)
        return page

    yield show_report
    for page in pages:
        page.close()
    assert faults == []
