"""Exports in force on a host with systemd: sysctl, the start-up script, the drop-in of the JVM."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace

import pytest

from jvbtune.export import export
from jvbtune.export.jvm import DROP_IN, ENVIRONMENT_PATH
from jvbtune.lab.hosts import UNIT, SystemdLab
from jvbtune.result import RunResult
from tests.apply.results import buffer_of, simulated, with_result
from tests.e2e.hosts import ssh, value_of
from tests.e2e.test_apply import RMEM_MAX, STATE

pytestmark = [pytest.mark.lab, pytest.mark.kernel, pytest.mark.timeout(900)]

BUFFER_BYTES = 1 << 20
NAMES = (RMEM_MAX, "net.core.netdev_max_backlog")
SYSCTL_FILE = "/etc/sysctl.d/60-jvbtune.conf"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    found = with_result(simulated(tmp_path_factory.mktemp("runs")), buffer_of(BUFFER_BYTES))
    return replace(found, provenance=replace(found.provenance, heap_mib=777, collector="SerialGC"))


@pytest.fixture(scope="module")
def as_found(systemd_lab: SystemdLab) -> Iterator[None]:
    """Files and values as they were, after these tests."""
    before, values = ssh(systemd_lab, STATE), {name: value_of(name) for name in NAMES}
    ssh(systemd_lab, f"cp -a /etc/jitsi /root/jitsi-kept; sysctl -q -w {RMEM_MAX}={BUFFER_BYTES >> 1}")
    yield
    ssh(systemd_lab, f"rm -rf {SYSCTL_FILE} /etc/jitsi/* /etc/systemd/system/{DROP_IN} /root/jvbtune-startup.sh")
    ssh(systemd_lab, "cp -a /root/jitsi-kept/. /etc/jitsi && rm -rf /root/jitsi-kept; systemctl daemon-reload")
    for name, value in values.items():
        ssh(systemd_lab, f"sysctl -q -w {name}={value}")
    ssh(systemd_lab, f"systemctl restart {UNIT}")
    systemd_lab._start_bridge()
    assert ssh(systemd_lab, STATE) == before


def _put(lab: SystemdLab, path: str, text: str, mode: str = "644") -> None:
    ssh(lab, f"mkdir -p $(dirname {path}); printf %s {shlex.quote(text)} > {path}; chmod {mode} {path}")


def test_sysctl_loads_the_file_and_it_wins_over_the_packages(
    systemd_lab: SystemdLab, result: RunResult, as_found: None
) -> None:
    _put(systemd_lab, SYSCTL_FILE, export(result, "sysctl")["60-jvbtune.conf"])
    assert ssh(systemd_lab, f"sysctl -p {SYSCTL_FILE}") == f"{RMEM_MAX} = {BUFFER_BYTES}"
    assert value_of(RMEM_MAX) == str(BUFFER_BYTES)
    ssh(systemd_lab, f"sysctl -q -w {RMEM_MAX}=212992")
    # The distribution's own files are hidden: their values would reach all of this machine.
    hidden = "mount -t tmpfs none /usr/lib/sysctl.d; cp /dev/null /etc/sysctl.conf 2>/dev/null; sysctl --system"
    loaded = ssh(systemd_lab, f"unshare --mount sh -c '{hidden}'")
    assert f"* Applying {SYSCTL_FILE}" in loaded
    assert value_of(RMEM_MAX) == str(BUFFER_BYTES)  # after 20-jvb-udp-buffers.conf, which sets 10 MiB


def test_the_start_up_script_puts_the_host_in_order_and_changes_nothing_twice(
    systemd_lab: SystemdLab, result: RunResult, as_found: None
) -> None:
    _put(systemd_lab, "/root/jvbtune-startup.sh", export(result, "startup")["jvbtune-startup.sh"], "755")
    command = f"JVBTUNE_HTTP=http://127.0.0.1:{systemd_lab.http_port} /root/jvbtune-startup.sh 2>&1; echo status $?"
    first = systemd_lab.bridge_pid()
    assert ssh(systemd_lab, command) == "status 0"
    assert value_of(RMEM_MAX) == str(BUFFER_BYTES)
    systemd_lab._start_bridge()
    second, state = systemd_lab.bridge_pid(), ssh(systemd_lab, STATE)
    assert second != first
    stats = ssh(systemd_lab, f"curl -s http://127.0.0.1:{systemd_lab.http_port}/colibri/stats")
    assert result.thresholds is not None
    assert f'"average_participant_stress":{round(result.thresholds.average_participant_stress or 0, 5)}' in stats
    assert ssh(systemd_lab, "stat -c '%U %a' /etc/jitsi/videobridge/jvbtune.conf") == "jvb 640"
    assert ssh(systemd_lab, command) == "status 0"
    assert (systemd_lab.bridge_pid(), ssh(systemd_lab, STATE)) == (second, state)


def test_systemd_takes_the_drop_in_and_the_jvm_has_its_heap_and_collector(
    systemd_lab: SystemdLab, result: RunResult, as_found: None
) -> None:
    files = export(result, "jvm")
    _put(systemd_lab, f"/etc/systemd/system/{DROP_IN}", files[DROP_IN])
    _put(systemd_lab, ENVIRONMENT_PATH, files["jvbtune.env"])
    assert ssh(systemd_lab, f"systemctl daemon-reload; systemd-analyze verify {UNIT} 2>&1") == ""
    ssh(systemd_lab, f"systemctl restart {UNIT}")
    systemd_lab._start_bridge()
    argv = ssh(systemd_lab, "tr '\\0' ' ' < /proc/$(pgrep -u jvb java)/cmdline")
    assert "-Xmx777m" in argv
    assert "-XX:+UseSerialGC" in argv
