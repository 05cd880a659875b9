"""Text of perf script: every sample counted, every malformed line named."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.flame_workload import write_perf_script
from jvbtune.errors import FormatError
from jvbtune.flame.formats import perf, read, streams
from jvbtune.flame.model import Kind
from jvbtune.flame.names import NameRules
from tests.flame.files import names_of, rows_of, write

pytestmark = pytest.mark.usefixtures("either_way")

SAMPLE = """\
IO pool  10/11  [000]  5.000001:   10101010 cpu-clock:pppH: 
\tffffffff81234567 udp_sendmsg+0x1f7 ([kernel.kallsyms])
\t    7f4570001234 void a.B.c+0x44 (/tmp/perf-10.map)

"""  # noqa: W291


def one(tmp_path: Path, content: str, event: str | None = None):  # type: ignore[no-untyped-def]
    (profile,) = read([write(tmp_path / "perf.txt", content)], NameRules.none(), event=event)
    return profile


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
def test_samples_add_up_whatever_the_size_of_a_read(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "READ_BYTES", chunk)
    monkeypatch.setattr(streams, "HEAD_BYTES", 1)
    monkeypatch.setattr(perf, "looks_like", lambda head: True)
    profile = one(tmp_path, SAMPLE * 3 + SAMPLE.replace("10/11", "10/12"))
    frames = (("void a.B.c", Kind.JAVA), ("udp_sendmsg", Kind.KERNEL))
    assert rows_of(profile) == {("IO pool tid=11", frames): 3 * 10101010, ("IO pool tid=12", frames): 10101010}
    assert (profile.meta.unit, profile.meta.event, profile.meta.interval_ns) == ("ns", "cpu", 10101010)


def plain_fold(text: str) -> dict[str, int]:
    """The same by the shortest program there is."""
    found: dict[str, int] = {}
    for block in text.strip().split("\n\n"):
        header, *lines = block.split("\n")
        frames = [line.split(maxsplit=1)[1].rpartition(" (")[0].rpartition("+0x")[0] for line in reversed(lines)]
        found[";".join(frames)] = found.get(";".join(frames), 0) + int(header.split()[4])
    return found


@pytest.mark.parametrize(("lines", "size"), [(400_000, 64 << 20), (50, 4000)])
def test_folding_agrees_with_a_plain_program_even_when_little_is_remembered(
    lines: int, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perf, "REMEMBERED_LINES", lines)
    monkeypatch.setattr(perf, "REMEMBERED_BYTES", size)
    write_perf_script(tmp_path / "p.txt", samples=1500, depth=25, seed=5)
    (profile,) = read([tmp_path / "p.txt"], NameRules.none())
    assert names_of(profile) == plain_fold((tmp_path / "p.txt").read_text())
    assert profile.total == 1500 * 10101010


MALFORMED = [
    (lambda s: s.replace("udp_sendmsg+0x1f7 ([kernel.kallsyms])", "udp_sendmsg"), 2, "no frame"),
    (lambda s: s.replace("ffffffff81234567", "zzz"), 2, "no frame"),
    (lambda s: s.replace("(/tmp/perf-10.map)", "(/tmp/perf-10.map"), 3, "no frame"),
    (lambda s: s.replace("5.000001:", "5.0000"), 1, "no header"),
    (lambda s: s.replace("5.000001:", "5.00x001:"), 1, "no header"),
    (lambda s: s.replace("   10101010 cpu", "   -1 cpu"), 1, "no header"),
]


@pytest.mark.parametrize(("harm", "line", "said"), MALFORMED)
@pytest.mark.parametrize("before", [1, 5000])
def test_a_malformed_line_is_named(harm, line: int, said: str, before: int, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    harmed = harm(SAMPLE)
    with pytest.raises(FormatError, match=said) as error:
        one(tmp_path, SAMPLE * before + harmed + SAMPLE)
    assert error.value.line == 4 * before + line
    assert harmed.split("\n")[line - 1].strip()[:40] in str(error.value)


def test_samples_of_several_events_are_not_added_up(tmp_path: Path) -> None:
    content = SAMPLE + SAMPLE.replace("cpu-clock:pppH", "page-faults")
    with pytest.raises(FormatError, match=r"several events: cpu-clock, page-faults"):
        one(tmp_path, content)
    assert one(tmp_path, content, "page-faults").total == 10101010
    assert one(tmp_path, content, "page-faults").meta.unit == "page-faults"
    with pytest.raises(FormatError, match="no sample of event cycles"):
        one(tmp_path, content, "cycles")


def test_without_periods_samples_are_counted_and_a_mixture_is_refused(tmp_path: Path) -> None:
    bare = SAMPLE.replace("   10101010 ", " ")
    assert (one(tmp_path, bare * 3).total, one(tmp_path, bare).meta.unit) == (3, "samples")
    with pytest.raises(FormatError, match="some have none"):
        one(tmp_path, bare + SAMPLE)


def test_varying_periods_are_added_and_give_no_interval(tmp_path: Path) -> None:
    content = SAMPLE + SAMPLE.replace("10101010", "5")
    profile = one(tmp_path, content)
    assert (profile.total, profile.meta.interval_ns) == (10101015, None)


def test_perfs_own_record_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="perf script"):
        read([write(tmp_path / "perf.data", b"PERFILE2" + random.Random(1).randbytes(100))])


@pytest.mark.skipif(not shutil.which("perf"), reason="needs perf")
def test_a_real_record_of_a_real_process(tmp_path: Path) -> None:
    program = "import time\nuntil = time.time() + 0.3\nwhile time.time() < until: sum(range(1000))"
    argv = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "199", "-g", "-o", str(tmp_path / "d"), "--"]
    done = subprocess.run([*argv, sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"perf may not record here: {done.stderr.strip()[:80]}")
    text = subprocess.run(
        ["perf", "script", "-i", str(tmp_path / "d")], capture_output=True, text=True, check=True
    ).stdout
    samples = text.count("cpu-clock:")
    assert samples > 0
    profile = one(tmp_path, text)
    assert profile.total == pytest.approx(samples * profile.meta.interval_ns)
    assert all(label.startswith("python") for label in profile.threads)
