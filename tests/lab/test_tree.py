"""The cached tree: known by its recipe, whole or not there, also after a build that failed or was killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jvbtune.errors import JvbtuneError
from jvbtune.lab import tree

pytestmark = pytest.mark.lab

#: Run by a process of its own, to be killed.
BUILD = """
import sys
from pathlib import Path
from jvbtune.lab import tree
tree.RECIPES = Path(sys.argv[1])
print(tree.lab_tree())
"""


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe that mounts and writes in no time, instead of the real one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tree, "RECIPES", tmp_path)
    monkeypatch.setattr(tree.shutil, "which", lambda program: f"/usr/sbin/{program}")
    _recipe(tmp_path, "echo built >> $OUT/../log")
    return tmp_path


def _recipe(directory: Path, end: str) -> None:
    text = f"set -eu\nOUT=$1\nmkdir $OUT/host\nmount -t tmpfs tmpfs $OUT/host\n{end}\n"
    (directory / "tree.sh").write_text(text)


def _command_lines() -> str:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_text(errors="replace"))
    return "\n".join(found)


def _left(recipes: Path) -> list[str]:
    return sorted(path.name for path in (recipes / "cache/jvbtune/lab-trees").iterdir() if path.is_dir())


def test_it_is_built_once_for_each_recipe(recipes: Path) -> None:
    first = tree.lab_tree()
    assert tree.lab_tree() == first
    assert (first / "host").is_dir()
    assert (first.parent / "log").read_text() == "built\n"
    _recipe(recipes, "echo again >> $OUT/../log")
    assert tree.lab_tree() != first
    assert (first.parent / "log").read_text() == "built\nagain\n"


def test_a_build_that_fails_leaves_its_log_and_nothing_else(recipes: Path) -> None:
    _recipe(recipes, "echo no such package; exit 100")
    with pytest.raises(JvbtuneError, match="cannot be built") as told:
        tree.lab_tree()
    assert "no such package" in str(told.value.hint)
    assert _left(recipes) == []


def test_a_build_that_was_killed_is_no_tree_and_is_cleared_by_the_next(recipes: Path) -> None:
    _recipe(recipes, "touch $OUT/../begun; sleep 60")
    with subprocess.Popen([sys.executable, "-c", BUILD, str(recipes)], stdout=subprocess.DEVNULL) as build:
        begun, deadline = recipes / "cache/jvbtune/lab-trees/begun", time.monotonic() + 60
        while not begun.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(build.pid, signal.SIGKILL)
    assert not tree.tree_path().exists()
    deadline = time.monotonic() + 10
    while str(recipes) in _command_lines():
        assert time.monotonic() < deadline, "the recipe goes on without its builder"
        time.sleep(0.05)
    assert str(recipes) not in Path("/proc/self/mounts").read_text()
    _recipe(recipes, "true")
    assert _left(recipes) != []
    made = tree.lab_tree()
    assert _left(recipes) == [made.name]
