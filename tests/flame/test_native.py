"""The compiled loops give what Python's give, for whatever comes; and nothing is compiled after the installation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from benchmarks.flame_workload import write_collapsed_pair, write_perf_script
from jvbtune.cli.flame import command as flame
from jvbtune.errors import FormatError
from jvbtune.flame.formats import native, perf, read, streams
from jvbtune.flame.names import ALL_RULES, NameRules
from tests.flame.files import Rows, rows_of, write
from tests.flame.test_cases import INPUTS

pytestmark = pytest.mark.skipif(native.library() is None, reason="built without a C compiler")


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "WORTH_IT_BYTES", 0)


def outcome(paths: list[Path], rules: NameRules) -> list[Rows] | str:
    """What is read, or the message of what is wrong."""
    try:
        return [rows_of(profile) for profile in read(paths, rules)]
    except FormatError as error:
        return str(error)


def both(paths: list[Path], rules: NameRules = ALL_RULES) -> list[Rows] | str:
    """The outcome, the same by either way."""
    by_c = outcome(paths, rules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "library", lambda: None)
        assert outcome(paths, rules) == by_c
    return by_c


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_files_of_real_tools(path: Path) -> None:
    both([path], NameRules.none())


@pytest.mark.usefixtures("compiled")
def test_a_pair_and_perfs_text_of_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_collapsed_pair(tmp_path / "a", tmp_path / "b", number=2000, depth=30)
    write_perf_script(tmp_path / "p", samples=2000, depth=20)
    taken: list[bool] = []
    fold = perf.PerfReader._fold_fast
    monkeypatch.setattr(perf.PerfReader, "_fold_fast", lambda *a: taken.append(lines := fold(*a)) or lines)
    monkeypatch.setattr(streams, "READ_BYTES", 50_000)
    assert both([tmp_path / "a", tmp_path / "b"])
    assert both([tmp_path / "p"])
    assert sum(map(bool, taken)) > len(taken) / 2, "most pieces go by the compiled loop"


NAMES = ("a", "b/C.d_[j]", "k_[k]", "[x tid=1]", "[unknown]", "thread (7): m", "java", "é", "\0", "\t", "0")
ENDS = (" 1", " 12\n", " 3\n", "\n", "\r\n", " 1.5\n", " -1\n", " 1e3\n", " 9999999999999999\n", " 999999999999999\n")
FRAGMENTS = st.sampled_from((*NAMES, *ENDS, ";", ";", ";", " "))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(FRAGMENTS, min_size=1, max_size=40), chunk=st.integers(1, 40))
@example(parts=["a 1\n", "a;b 2\n", "a;;b 1\n"], chunk=64)
@example(parts=["[x tid=1];a 1\n", "a;[x tid=1] 2\n", "[x tid=1] 3\n"], chunk=64)
def test_any_collapsed_text(parts: list[str], chunk: int, tmp_path: Path) -> None:
    path = write(tmp_path / "f", "".join(["start;x 1\n", *parts]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "WORTH_IT_BYTES", 0)
        patch.setattr(streams, "READ_BYTES", chunk)
        patch.setattr(streams, "HEAD_BYTES", 64)
        both([path, path], NameRules.none())


LINES = st.sampled_from(
    [
        "IO pool  10/11  [000]  5.000001:   10101010 cpu-clock:pppH: ",
        "IO pool  10/12  [000]  5.000001:   5 cpu-clock:pppH: ",
        "java 11 5.000001: cpu-clock: ",
        "\tffffffff81234567 udp_sendmsg+0x1f7 ([kernel.kallsyms])",
        "\tffffffff81234567 udp_sendmsg ([kernel.kallsyms])",
        "\t    7f4570001234 void a.B.c+0x44 (/tmp/perf-10.map)",
        "\t    7f4570001234 operator+0x44+0x1 (/lib/x.so (deleted))",
        "\t    7f4570001234 x::y<(z)1> (inlined)",
        "\t    7f4570001234 +0x44 (/lib/x.so)",
        "\t    7f4570001234 [unknown] ([unknown])",
        "\t    7F4570001234 upper+0x1 (/lib/x.so)",
        "\t 123456789012345678 long+0x1 (/lib/x.so)",
        "\t    7f45 " + "n" * 5000 + "+0x1 (/lib/x.so)",
        "\t    zz x (y)",
        "\t    12 x",
        "",
        "",
        "# comment",
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINES, min_size=1, max_size=25), chunk=st.integers(1, 400))
def test_any_text_of_perf_script(lines: list[str], chunk: int, tmp_path: Path) -> None:
    start = "IO pool  10/11  [000]  5.000001:   10101010 cpu-clock:pppH: \n\t    7f45 a+0x1 (/lib/x.so)\n\n"
    path = write(tmp_path / "f", start + "\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "WORTH_IT_BYTES", 0)
        patch.setattr(streams, "READ_BYTES", chunk)
        patch.setattr(streams, "HEAD_BYTES", len(start))
        both([path], NameRules.none())


def copied(directory: Path) -> Path:
    """The package, to be changed."""
    package = directory / "jvbtune"
    shutil.copytree(Path(native.__file__).parents[3], package, ignore=shutil.ignore_patterns("lab", "__pycache__"))
    return package / "flame/formats/native"


PROGRAM = "from jvbtune.flame.formats import native; print(native.library() is not None, native.__file__)"


def loaded(native_directory: Path, **environment: str) -> bool:
    root = str(native_directory.parents[3])
    env = {**os.environ, "PYTHONPATH": root, "PYTHONSAFEPATH": "1", **environment}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True, cwd="/"
    ).stdout.split()
    assert done[1].startswith(root)
    return done[0] == "True"


def test_only_a_library_built_from_this_very_source_is_loaded(tmp_path: Path) -> None:
    directory = copied(tmp_path)
    assert loaded(directory)
    assert not loaded(directory, JVBTUNE_NATIVE="0")
    with (directory / "fold.c").open("a") as source:
        source.write("/* another version */\n")
    assert not loaded(directory)


def test_nothing_is_compiled_when_it_runs(tmp_path: Path) -> None:
    """A compiler that is found leaves a trace; the cache stays empty, and Python reads."""
    directory = copied(tmp_path)
    for library in directory.glob("*.so"):
        library.unlink()
    trace = tmp_path / "called"
    for name in ("cc", "gcc", "clang"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        compiler = tmp_path / "bin" / name
        compiler.write_text(f"#!/bin/sh\ntouch {trace}\n")
        compiler.chmod(0o755)
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert not loaded(directory, **environment)
    stacks = write(tmp_path / "large.collapsed", b"main;work 1\n" * (native.WORTH_IT_BYTES // 12 + 1))
    program = "import sys; from jvbtune.flame.formats import read; print(read(sys.argv[1:])[0].total)"
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1", **environment}
    argv = [sys.executable, "-c", program, str(stacks)]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True, cwd="/")
    assert float(done.stdout) == native.WORTH_IT_BYTES // 12 + 1
    assert not trace.exists()
    assert not (tmp_path / "cache").exists()
    assert not list(directory.glob("*.so"))


def test_a_slow_installation_is_named_once_and_only_for_large_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = write(tmp_path / "s", b"a 1\n"), write(tmp_path / "l", b"a;b 1\n" * 2000)
    monkeypatch.setattr(native, "SLOW_BYTES", 10_000)
    assert native.remark([large]) is None, "it is fast"
    monkeypatch.setattr(native, "library", lambda: None)
    assert native.remark([small]) is None
    for command in (["view", "--no-open", "-o", str(tmp_path / "x.html")], ["convert", "-o", str(tmp_path / "x.json")]):
        done = CliRunner().invoke(flame, [*command, str(large)])
        assert done.exit_code == 0, done.output
        assert done.stderr.count("no compiled reader") == 1
    monkeypatch.setenv("JVBTUNE_NATIVE", "0")
    assert native.remark([large]) is None, "the user switched it off"
