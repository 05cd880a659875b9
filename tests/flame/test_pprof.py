"""pprof: held against Go's own reader and writer; damaged files are refused."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jvbtune.errors import FormatError
from jvbtune.flame.formats import protobuf, read, write
from jvbtune.flame.model import Meta
from jvbtune.flame.names import NameRules
from tests.flame.files import names_of
from tests.flame.files import write as save
from tests.flame.test_round_trip import profile_of

GO = Path(__file__).parent / "cases/go-pprof/input"


@pytest.mark.skipif(not shutil.which("go"), reason="needs Go, whose pprof is the other reader")
def test_gos_pprof_reads_what_is_written(tmp_path: Path) -> None:
    rows = [(["a/B.c_[j]", "sendto", "udp_sendmsg_[k]"], "main tid=1", 70), (["a/B.c_[j]"], None, 30)]
    write(profile_of(rows, Meta(unit="ns", event="cpu", interval_ns=10)), tmp_path / "p.pb.gz")
    argv = ["go", "tool", "pprof", "-raw", "-unit=nanoseconds", str(tmp_path / "p.pb.gz")]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout
    assert "cpu/nanoseconds" in said
    assert re.search(r"^ +70: 3 2 1 *\n +thread:\[main tid=1\]", said, re.MULTILINE), said
    assert re.search(r"^ +30: 1 *$", said, re.MULTILINE), said
    assert "udp_sendmsg_[k]" in said


def test_of_several_values_the_last_is_read_or_the_one_asked_for() -> None:
    (cpu,) = read([GO])
    (samples,) = read([GO], event="samples")
    assert (cpu.meta.unit, cpu.meta.interval_ns) == ("ns", 1e7)
    assert samples.meta.unit == "samples"
    assert cpu.total == samples.total * 1e7
    assert set(names_of(cpu)) == set(names_of(samples))
    with pytest.raises(FormatError, match="no values of wall; there are: samples, cpu"):
        read([GO], event="wall")


def test_a_file_that_was_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = gzip.decompress(GO.read_bytes())
    (expected,) = read([GO], NameRules.none())
    for length in range(16, len(whole), 7):
        path = save(tmp_path / "cut", gzip.compress(whole[:length], 1))
        with pytest.raises(FormatError, match="pprof"):
            read([path])
    (again,) = read([save(tmp_path / "whole", whole)], NameRules.none())
    assert names_of(again) == names_of(expected)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(min_size=1, max_size=200))
def test_noise_is_an_error_and_never_a_traceback(noise: bytes, tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        read([save(tmp_path / "noise", b"\x0a\x04\x08\x01\x10\x02" + noise)])


@given(value=st.integers(0, 2**64 - 1))
def test_varints(value: int) -> None:
    data = protobuf.encoded(value)
    assert protobuf.varint(data, 0) == (value, len(data))
