"""Numbers of samples beside weights: from every format that has them, kept by every writer that can."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jvbtune.flame.compare import merge
from jvbtune.flame.compare.samples import samples
from jvbtune.flame.formats import read, together, write
from jvbtune.flame.model import Meta, Profile
from jvbtune.flame.names import NameRules
from tests.flame.files import write as save
from tests.flame.test_round_trip import profile_of

GO = Path(__file__).parent / "cases/go-pprof/input"
SAMPLE = "java 7 [000] 10.0000{n:02}: {period:>10} cycles: \n\t7f12a0001000 {name}+0x1 (/opt/app)\n\n"


def perf_text(periods: list[tuple[str, int]]) -> str:
    return "".join(SAMPLE.format(n=n, period=period, name=name) for n, (name, period) in enumerate(periods))


@pytest.mark.usefixtures("either_way")
def test_perf_keeps_the_number_of_samples_beside_varying_periods(tmp_path: Path) -> None:
    text = perf_text([("a", 1), ("a", 1_000_000), ("b", 250), ("a", 3)])
    (profile,) = read([save(tmp_path / "p", text)], NameRules.none())
    assert profile.samples is not None
    assert sorted(profile.samples) == [1, 3]
    assert sorted(profile.counts) == [250, 1_000_004]
    assert (profile.meta.unit, profile.meta.event) == ("cycles", "cpu")


def test_several_files_of_weights_keep_their_samples(tmp_path: Path) -> None:
    paths = [save(tmp_path / name, perf_text([("a", 5), ("b", 7)])) for name in "xy"]
    whole = together(read(paths))
    assert whole.samples is not None
    assert (whole.samples.sum(), whole.total) == (4, 24)


def test_pprof_has_them_if_a_type_of_values_counts_samples() -> None:
    (cpu,) = read([GO])
    assert cpu.samples is not None
    assert cpu.samples.sum() * 1e7 == cpu.total


def weighted() -> Profile:
    profile = profile_of([(["a"], "t tid=1", 700), (["a", "b"], None, 30), (["c"], None, 1)], Meta(unit="cycles"))
    return replace(profile, samples=np.array([7.0, 2.0, 1.0]))


@pytest.mark.parametrize("name", ["p.pb.gz", "p.speedscope.json"])
def test_writers_keep_them(name: str, tmp_path: Path) -> None:
    write(weighted(), tmp_path / name)
    (again,) = read([tmp_path / name], NameRules.none())
    assert again.samples is not None
    assert sorted(zip(again.counts, again.samples, strict=True)) == [(1, 1), (30, 2), (700, 7)]


def test_a_count_of_objects_is_no_number_of_samples(tmp_path: Path) -> None:
    """As of a heap profile: its counts are scaled up from the samples."""
    profile = replace(profile_of([(["a"], None, 700), (["b"], None, 300)], Meta(unit="count", event="inuse_objects")))
    write(profile, tmp_path / "p.pb.gz")
    (again,) = read([tmp_path / "p.pb.gz"])
    assert (again.samples, again.meta.unit, samples(again)) == (None, "inuse_objects", None)


def test_speedscopes_weights_are_samples_only_if_all_are_one_interval(tmp_path: Path) -> None:
    def document(weights: list[float]) -> str:
        one = {"type": "sampled", "name": "t", "unit": "seconds", "startValue": 0, "endValue": 1}
        one |= {"samples": [[0]] * len(weights), "weights": weights}
        return json.dumps({"shared": {"frames": [{"name": "a"}]}, "profiles": [one]})

    (even,) = read([save(tmp_path / "even", document([0.01] * 12))])
    assert even.samples is not None
    assert (even.samples.sum(), even.meta.interval_ns) == (12, 1e7)
    (uneven,) = read([save(tmp_path / "uneven", document([0.01] * 12 + [0.0173]))])
    assert samples(uneven) is None


PROGRAM = """
import hashlib, json, time
data = list(range(300))
def one(): return json.dumps(data)
def two(): return hashlib.sha256(b"x" * 20000).digest()
def three(): return sorted(data, key=lambda x: -x)
until = time.process_time() + 3
while time.process_time() < until: one(); two(); three()
"""


@pytest.mark.skipif(not shutil.which("perf"), reason="needs perf")
@pytest.mark.parametrize("rate", ["-F997", "-c1000000"], ids=["by-frequency", "by-period"])
def test_two_halves_of_a_real_record_do_not_differ(rate: str, tmp_path: Path) -> None:
    """The samples of one record, dealt out to two files in turn: any significant frame is a false one."""
    argv = ["perf", "record", "-q", "-e", "task-clock", rate, "-g", "-o", str(tmp_path / "d"), "--"]
    done = subprocess.run([*argv, sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"perf may not record here: {done.stderr.strip()[:80]}")
    script = ["perf", "script", "-i", str(tmp_path / "d")]
    text = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    blocks = text.strip("\n").split("\n\n")
    assert len(blocks) > 500
    _no_difference(blocks, tmp_path)
    # the same samples with periods as cycles have them: far from equal, and not by the stack
    random = np.random.default_rng(7)
    uneven = [block.replace(block.split()[3], f"{int(p)}", 1) for block, p in zip(
        blocks, random.lognormal(14, 0.7, len(blocks)), strict=True)]  # fmt: skip
    _no_difference([block.replace("task-clock", "cycles") for block in uneven], tmp_path)


def _no_difference(blocks: list[str], directory: Path, level: float = 0.001) -> None:
    """A level of 5 % would fail one run of twenty: a recording is never the same twice."""
    halves = [save(directory / name, "\n\n".join(blocks[i::2]) + "\n\n") for i, name in enumerate("ab")]
    profiles = read(halves)
    for profile, taken in zip(profiles, (blocks[::2], blocks[1::2]), strict=True):
        assert profile.samples is not None
        assert profile.samples.sum() == len(taken)
    tree = merge([[profile] for profile in profiles], level=level)
    assert tree.test is not None
    assert tree.test.method == "poisson", tree.test.note
    assert tree.table.significance is not None
    assert int(tree.table.significance.significant.sum()) == 0
    assert np.isfinite(tree.table.significance.p_value).sum() >= 3, "frames were tested"
