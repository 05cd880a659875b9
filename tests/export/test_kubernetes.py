"""What the exported DaemonSet writes on a node, run by a shell against a directory of the test's own."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from jvbtune.export import export
from tests.apply.results import buffer_of, simulated, with_result


@pytest.mark.parametrize(
    ("found", "left"),
    [("400000\t500000\t600000", "400000 510000 600000"), ("80000\t500000\t510000", "90000 510000 520000")],
)
def test_no_number_of_udp_mem_is_lowered(tmp_path: Path, found: str, left: str) -> None:
    """The first node has more memory than the host that was measured."""
    result = with_result(simulated(tmp_path / "runs"), buffer_of(1 << 20))
    pinned = replace(result, measured_with={"net.ipv4.udp_mem": "90000 510000 520000"})
    text = export(pinned, "kubernetes", pin=True)["jvbtune-kubernetes.yaml"]
    _, daemons = yaml.safe_load_all(text)
    [write] = daemons["spec"]["template"]["spec"]["initContainers"]
    values = {"core/rmem_max": "212992", "ipv4/udp_mem": found}
    for name, value in values.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f"{value}\n")
    subprocess.run([*write["command"][:2], write["command"][2].replace("/proc/sys/net", str(tmp_path))], check=True)
    assert (tmp_path / "ipv4/udp_mem").read_text() == f"{left}\n"
    assert (tmp_path / "core/rmem_max").read_text() == f"{1 << 20}\n"
