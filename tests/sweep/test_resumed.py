"""A run goes on only on the host that it was begun on."""

from __future__ import annotations

from typing import Any

import pytest

from jvbtune.errors import UsageError
from jvbtune.sweep.resumed import refuse_changed, refuse_other_values

BEFORE: dict[str, Any] = {
    "kernel": "6.1.0",
    "cpu": {"model": "EPYC", "cores": 8},
    "jvb_version": "2.3",
    "boot_id": "a",
    "bridge": {"cores": 4.0, "java": {"version": "17"}, "jvm_options": ["-Xmx3072m"], "pid": 7},
    "sysctl": {"net.core.rmem_max": "212992", "net.ipv4.udp_mem": "1\t2\t3", "net.ipv4.ip_forward": "0"},
}


def test_the_same_host_after_a_reboot_is_the_same() -> None:
    now = {**BEFORE, "boot_id": "b", "bridge": {**BEFORE["bridge"], "pid": 9}}
    now["sysctl"] = {**BEFORE["sysctl"], "net.ipv4.udp_mem": "1 2 3", "net.ipv4.ip_forward": "1"}
    refuse_changed("jvb", "r", BEFORE, now)
    refuse_other_values("jvb", "r", {"net.core.rmem_max": "212992"}, {"net.core.rmem_max": "212992"})


def test_what_nobody_knew_is_no_difference() -> None:
    refuse_changed("jvb", "r", {}, BEFORE)
    refuse_changed("jvb", "r", {**BEFORE, "jvb_version": None}, BEFORE)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"kernel": "6.12.0"}, "kernel 6.1.0, now 6.12.0"),
        ({"cpu": {"model": "EPYC", "cores": 16}}, "cores of the host 8, now 16"),
        ({"jvb_version": "2.4"}, "JVB 2.3, now 2.4"),
        ({"bridge": {**BEFORE["bridge"], "jvm_options": ["-Xmx8g"]}}, "options of the JVM -Xmx3072m, now -Xmx8g"),
        ({"sysctl": {"net.core.rmem_max": "10485760"}}, "net.core.rmem_max 212992, now 10485760"),
    ],
)
def test_another_host_is_refused_in_words(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match="jvb is not as it was when run r began") as refused:
        refuse_changed("jvb", "r", BEFORE, {**BEFORE, **changed})
    assert said in refused.value.message


def test_another_value_that_the_bridge_asks_for_is_refused() -> None:
    name = "ice4j.harvest.udp.receive-buffer-size"
    with pytest.raises(UsageError, match="10485760, now 1048576"):
        refuse_other_values("jvb", "r", {name: "10485760"}, {name: "1048576"})
