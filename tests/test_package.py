"""What is installed is whole: an operator has no checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content, as pip would put it into site-packages."""
    directory = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(directory), str(ROOT)]
    subprocess.run(build, check=True, timeout=300)
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory / "site")
    return directory / "site"


def _run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed package, from a directory that knows nothing of the checkout."""
    program = "from jvbtune.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    argv = [sys.executable, "-c", program, *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, cwd="/", env=environment)


def test_the_experiments_that_the_documentation_names_are_in_it(installed: Path) -> None:
    there = {path.name for path in (installed / "jvbtune/experiments").iterdir()}
    assert there == {path.name for path in (ROOT / "experiments").glob("*.toml")}


def test_a_sweep_without_an_experiment_has_its_default(installed: Path) -> None:
    done = _run(installed, "sweep", "--host", "nobody", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "net.core.rmem_max" in done.stdout


def test_reports_pages_and_the_agent_are_made_of_it(installed: Path, tmp_path: Path) -> None:
    done = _run(installed, "simulate", "--out", str(tmp_path), "--blocks", "3", "--seed", "1")
    assert done.returncode == 0, done.stderr
    done = _run(installed, "report", "latest", "--runs-dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    stacks = tmp_path / "a.collapsed"
    stacks.write_text("main;work 10\n")
    done = _run(installed, "flame", "view", str(stacks), "-o", str(tmp_path / "a.html"), "--no-open")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.html").stat().st_size > 10_000
    packed = "import jvbtune; from jvbtune.hosts.archive import agent_archive; "
    packed += f"assert jvbtune.__file__.startswith({str(installed)!r}); assert len(agent_archive().content) > 10_000"
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    subprocess.run([sys.executable, "-c", packed], check=True, cwd="/", env=environment, timeout=60)


def test_nothing_that_was_built_here_is_in_it(installed: Path) -> None:
    names = [str(path.relative_to(installed)) for path in installed.rglob("*")]
    assert any(name.endswith("lab/bridge/pom.xml") for name in names)
    assert not [name for name in names if "/target/" in name or name.endswith((".jar", ".class", ".pyc"))]
