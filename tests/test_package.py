"""What is installed is whole: an operator has no checkout."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

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
    for directory in ("", "mixes"):
        there = {path.name for path in (installed / "jvbtune/experiments" / directory).iterdir() if path.is_file()}
        assert there == {path.name for path in (ROOT / "experiments" / directory).glob("*.toml")}
        assert there


def test_a_sweep_without_an_experiment_has_its_default(installed: Path) -> None:
    done = _run(installed, "sweep", "--host", "127.0.0.1", "--dry-run")
    assert done.returncode == 1, done.stderr  # no bridge is there
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


def _loads(site: Path) -> bool:
    """Both libraries, or neither."""
    program = "from jvbtune.flame.formats import native; from jvbtune.load import native as sending; "
    program += "print({native.library() is not None, sending.library() is not None}, native.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, cwd="/", env=environment, timeout=60)
    loaded, file = done.stdout.split()
    assert file.startswith(str(site))
    assert loaded in ("{True}", "{False}")
    return loaded == "{True}"


def _build(what: Path, directory: Path, **environment: str) -> Path:
    """Builds the source in ``what``; gives the wheel."""
    argv = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(directory), str(what)]
    subprocess.run(argv, check=True, timeout=300, capture_output=True, env={**os.environ, **environment})
    (wheel,) = directory.glob("*.whl")
    return wheel


def test_a_wheel_is_the_same_wherever_and_whenever_it_is_built(tmp_path: Path) -> None:
    """Byte by byte, of two checkouts with other paths, times of files and umasks; the environment names the time."""
    hashes = []
    for number, mask in ((1, 0o022), (2, 0o077)):
        copy = tmp_path / ("a" * 7 * number) / "jvbtune"
        names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for name in filter(None, names.split("\0")):
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
            target.chmod((0o777 if os.access(ROOT / name, os.X_OK) else 0o666) & ~mask)
            os.utime(target, (number * 1e9, number * 1e9))
        wheel = _build(copy, tmp_path / f"wheel{number}", SOURCE_DATE_EPOCH="1700000000", TZ=f"UTC+{number}")
        hashes.append((wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest()))
    assert hashes[0] == hashes[1]


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_the_compiled_loops_are_in_it_and_are_loaded(installed: Path) -> None:
    assert _loads(installed)
    (wheel,) = installed.parent.glob("*.whl")
    assert re.fullmatch(r"jvbtune-[\w.]+-py3-none-linux_\w+\.whl", wheel.name), "of one platform, of any Python"


def test_without_a_compiler_a_wheel_is_built_and_is_pure(tmp_path: Path) -> None:
    wheel = _build(ROOT, tmp_path, CC="/nowhere/cc")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".so")]
        archive.extractall(tmp_path / "site")
    assert not _loads(tmp_path / "site")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, built as ``python -m build`` does: by the backend that pyproject.toml names."""
    directory = tmp_path_factory.mktemp("sdist")
    venv.create(directory / "venv", with_pip=True)
    python = directory / "venv/bin/python"
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requires]
    subprocess.run(install, check=True, timeout=300)
    program = f"import hatchling.build as b; print(b.build_sdist({str(directory)!r}))"
    subprocess.run([str(python), "-c", program], check=True, cwd=ROOT, timeout=300, capture_output=True)
    (archive,) = directory.glob("*.tar.gz")
    return archive


def test_a_wheel_of_the_source_distribution_is_the_same(source: Path, installed: Path, tmp_path: Path) -> None:
    with tarfile.open(source) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert {
        "hatch_build.py",
        "jvbtune/flame/formats/native/fold.c",
        "jvbtune/load/native/send.c",
        "experiments/capacity.toml",
    } <= set(names)
    assert not [name for name in names if name.endswith(".so") or "/target/" in name]
    with zipfile.ZipFile(_build(source, tmp_path)) as wheel:
        ours = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
        assert {name for name in wheel.namelist() if "__pycache__" not in name} == {
            name for name in ours if "__pycache__" not in name
        }


def test_nothing_that_was_built_here_is_in_it(installed: Path) -> None:
    names = [str(path.relative_to(installed)) for path in installed.rglob("*")]
    assert any(name.endswith("lab/bridge/pom.xml") for name in names)
    assert not [name for name in names if "/target/" in name or name.endswith((".jar", ".class", ".pyc"))]
