"""What the agent reads from hosts that are not at hand: a folder each, with the values expected of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jvbtune.agent import procfs
from jvbtune.agent.hsperf import HsPerf
from jvbtune.protocol.codec import to_json

RECORDED = Path(__file__).with_name("recorded")
CASES = sorted(path.parent.name for path in RECORDED.glob("*/expected.json"))
PID = 4242
TEXTS: dict[str, Callable[[str], Any]] = {
    "proc/stat": procfs.parse_cpu,
    "proc/net/softnet_stat": procfs.parse_softnet,
    f"proc/{PID}/net/snmp": procfs.parse_snmp_udp,
    f"proc/{PID}/net/dev": procfs.parse_net_dev,
    f"proc/{PID}/stat": procfs.parse_stat,
}

pytestmark = pytest.mark.skipif(
    (os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")) != (100, 4096), reason="recorded with other ticks or pages"
)


def _found(case: Path) -> dict[str, Any]:
    """All that the agent reads from a folder, under the names of expected.json."""
    found = {name: parse((case / name).read_text()) for name, parse in TEXTS.items() if (case / name).exists()}
    if (case / f"proc/{PID}/cgroup").exists():
        root = str(case)
        places = {name: procfs.cgroup_directory(PID, name, root) for name in ("cpu", "cpuacct", "cpuset")}
        found["cgroup"] = {name: place and os.path.relpath(place, root) for name, place in places.items()}
        if places["cpu"]:
            found["cpu.stat"] = procfs.parse_cgroup_cpu_stat(procfs.read_text(places["cpu"] + "/cpu.stat") or "")
        found["load_scope"] = procfs.jvm_load_scope(PID, root)
    if (case / "hsperfdata").exists():
        jvm = HsPerf(PID, str(case / "hsperfdata"))
        found |= {"collections": jvm.collections(), "compilation": jvm.compilation()}
        jvm.close()
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 9) if isinstance(value, float) else value


@pytest.mark.parametrize("case", CASES)
def test_a_host_is_read_as_it_is(case: str) -> None:
    expected = json.loads((RECORDED / case / "expected.json").read_text())
    found = {name: to_json(value) for name, value in _found(RECORDED / case).items()}
    assert _rounded(found) == _rounded(expected)
    files = {str(path.relative_to(RECORDED / case)) for path in (RECORDED / case).rglob("*") if path.is_file()}
    assert not [name for name in TEXTS if name in files and name not in expected], "a file without an expectation"


def test_there_are_old_and_new_kernels_both_cgroups_and_containers() -> None:
    assert len(CASES) >= 11
    for word in ("linux-3.10", "linux-6", "cgroup-v1", "cgroup-v2", "docker", "container", "hsperfdata"):
        assert any(word in case for case in CASES), word


@pytest.mark.parametrize("content", [b"", b"\xca\xfe\xc0\xc0", b"x" * 64, b"\xca\xfe\xc0\xc0" + b"\xff" * 60])
def test_a_file_that_is_no_hsperfdata_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises((ValueError, OSError)):
        HsPerf(PID, str(tmp_path / "file"))


@pytest.mark.parametrize("cut", [33, 60, 100, 200])
def test_a_file_that_is_cut_off_is_refused(cut: int, tmp_path: Path) -> None:
    shutil.copy(RECORDED / "hsperfdata-jdk17-g1gc" / "hsperfdata", tmp_path / "file")
    os.truncate(tmp_path / "file", cut)
    with pytest.raises((ValueError, OSError)):
        HsPerf(PID, str(tmp_path / "file"))
