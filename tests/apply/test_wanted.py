"""What counts as in force: not what was asked for, but what the bridge reads, reports and got."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jvbtune.apply.wanted import Expected, expected_of, not_in_force, refuse_lowered, set_earlier, wanted_of
from jvbtune.errors import NoRecommendation, TuningError
from jvbtune.export import export
from jvbtune.export.settings import OfHost
from jvbtune.protocol.agent import BridgeQuery, UdpSocket
from jvbtune.protocol.deploy import FileChange, Planned, ValueChange
from jvbtune.result import RunResult
from tests.apply.results import buffer_of, found_better, simulated, with_result

BUFFER_BYTES = 1 << 20
RMEM_MAX = "net.core.rmem_max"
CONF = "/etc/jitsi/videobridge/jvb.conf"
INCLUDED = "/etc/jitsi/videobridge/jvbtune.conf"
SOCKET = UdpSocket(10000, "0.0.0.0", 1, 0, rcvbuf_bytes=2 * BUFFER_BYTES, receives=True)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return with_result(simulated(tmp_path_factory.mktemp("runs")), buffer_of(BUFFER_BYTES))


def _ask(files: Mapping[str, str]) -> Any:
    """A host with these files."""

    def ask(paths: list[str], names: list[str]) -> dict[str, Any]:
        found = {path: base64.b64encode(files[path].encode()).decode() if path in files else None for path in paths}
        properties = {"config.file": CONF} if "config.file" in names else {}
        return {"directory": "/", "files": found, "properties": properties, "environment": {}, "argument_files": False}

    return ask


def _faults(result: RunResult, conf: str, **changed: Any) -> list[str]:
    expected = expected_of(result)
    stress = float(expected.bridge["videobridge.load-management.average-participant-stress"])
    facts = {"values": dict(expected.sysctls), "sockets": [SOCKET], "participant_stress": stress, **changed}
    files = {CONF: conf, INCLUDED: export(result, "jvb-conf")["jvbtune.conf"]}
    return not_in_force(expected, facts["values"], facts["sockets"], _ask(files), None, facts["participant_stress"])


INCLUDE = 'include "jvbtune.conf"\n'
LOAD = "videobridge.load-management.load-measurements"


def test_an_included_export_is_in_force(result: RunResult) -> None:
    assert _faults(result, "videobridge {}\n" + INCLUDE) == []


@pytest.mark.parametrize(
    ("conf", "fault"),
    [
        ("videobridge {}\n", "load-measurement is at its default"),
        (INCLUDE + f"{LOAD}.load-measurement = cpu-usage\n", "load-measurement is cpu-usage"),
        (INCLUDE + f"{LOAD}.packet-rate.load-threshold = 50000\n", "load-threshold is 50000"),
        (INCLUDE + "a {\n", "cannot be read back"),
    ],
)
def test_what_the_bridge_would_read_otherwise_is_a_fault(result: RunResult, conf: str, fault: str) -> None:
    assert any(fault in text for text in _faults(result, conf))


def test_a_threshold_that_the_bridge_did_not_take_is_a_fault(result: RunResult) -> None:
    [fault] = _faults(result, INCLUDE, participant_stress=0.01)
    assert "reports average_participant_stress 0.01" in fault


def test_a_value_or_a_socket_that_is_not_as_wanted_is_a_fault(result: RunResult) -> None:
    assert any(
        "rmem_max is 212992" in text for text in _faults(result, INCLUDE, values={"net.core.rmem_max": "212992"})
    )
    small = replace(SOCKET, rcvbuf_bytes=425984)
    assert _faults(result, INCLUDE, sockets=[small]) == [
        f"the bridge's socket has a receive buffer of 425984 bytes, not {2 * BUFFER_BYTES}"
    ]
    assert _faults(result, INCLUDE, sockets=[]) == ["the bridge has no socket that receives media"]


def test_the_older_name_of_the_buffer_wins_and_shows_at_the_socket(result: RunResult) -> None:
    old = "org.ice4j.ice.harvest.AbstractUdpListener.SO_RCVBUF = 4194304\n"
    assert _faults(result, INCLUDE + old) == []  # rmem_max limits it
    [fault] = _faults(result, INCLUDE + old.replace("4194304", "65536"), sockets=[replace(SOCKET, rcvbuf_bytes=4608)])
    assert "131072" in fault
    assert result.receive_buffer is not None
    asks_less = replace(result, receive_buffer=replace(result.receive_buffer, asked_bytes=65536))
    small = INCLUDE + old.replace("4194304", "65536")
    first = _faults(asks_less, small, sockets=[replace(SOCKET, rcvbuf_bytes=131072)])[0]
    assert f"asks for a buffer of 65536 bytes (org.ice4j.ice.harvest.AbstractUdpListener.SO_RCVBUF in {CONF})" in first


def test_udp_mem_is_never_lowered() -> None:
    change = {"net.ipv4.udp_mem": ValueChange("200000 300000 400000", "100000 300000 400000")}
    planned = Planned("systemd", [], change, None, {}, False, 1, [], "")
    with pytest.raises(TuningError, match="never lowered"):
        refuse_lowered(planned)


def test_what_an_earlier_apply_set_stays_if_it_was_measured_with_it(result: RunResult) -> None:
    """Else the next boot brings the kernel's value back, under a threshold that was measured without it."""
    before = "# why\nnet.core.netdev_max_backlog = 10000\nnet.core.netdev_budget = 600\nsomebody = else\n"
    changes = [FileChange("/etc/sysctl.d/60-jvbtune.conf", before, "")]
    earlier = set_earlier(Planned("systemd", changes, {}, None, {}, False, 1, [], ""))
    assert earlier == {"net.core.netdev_max_backlog": "10000", "net.core.netdev_budget": "600"}
    measured = replace(result, measured_with={"net.core.netdev_max_backlog": 10000, "net.core.netdev_budget": 300})
    wanted = wanted_of(measured, BridgeQuery(), host=OfHost(earlier=earlier))
    assert wanted.sysctls == {RMEM_MAX: str(BUFFER_BYTES), "net.core.netdev_max_backlog": "10000"}
    assert "\nnet.core.netdev_max_backlog = 10000\n" in wanted.drop_in
    assert wanted.sysctls == expected_of(measured, host=OfHost(earlier=earlier)).sysctls


def test_a_run_without_figures_is_refused_before_a_host_is_asked(result: RunResult, tmp_path: Path) -> None:
    with pytest.raises(NoRecommendation):
        wanted_of(replace(result, recommendation=None), BridgeQuery())
    assert isinstance(expected_of(result), Expected)


def test_a_host_that_has_more_than_the_buffer_needs_keeps_it(result: RunResult) -> None:
    query = BridgeQuery()
    more, less = {RMEM_MAX: "33554432"}, {RMEM_MAX: "212992"}
    for in_force, value in ((more, "33554432"), (less, str(BUFFER_BYTES)), ({}, str(BUFFER_BYTES))):
        wanted = wanted_of(result, query, host=OfHost(in_force))
        assert wanted.sysctls == expected_of(result, host=OfHost(in_force)).sysctls == {RMEM_MAX: value}
        assert f"\n{RMEM_MAX} = {value}\n" in wanted.drop_in
        assert ("This host has 33554432, which is more, and keeps it." in wanted.drop_in) == (in_force is more)


def test_a_smaller_buffer_that_was_found_better_is_set(tmp_path: Path) -> None:
    found = with_result(simulated(tmp_path), found_better(RMEM_MAX, 4 << 20))
    assert expected_of(found, host=OfHost({RMEM_MAX: "33554432"})).sysctls == {RMEM_MAX: str(4 << 20)}
