"""Every setting knows its range, what it needs, and what a host would suffer from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jvbtune.agent.settings import SETTINGS
from jvbtune.settings.catalogue import CATALOGUE

RMEM, ICE4J = "net.core.rmem_max", "ice4j.harvest.udp.receive-buffer-size"


def test_host_and_controller_know_the_same_settings() -> None:
    assert set(CATALOGUE) == set(SETTINGS)
    for name, setting in CATALOGUE.items():
        assert setting.needs_restart == SETTINGS[name].at_socket_creation
        if name.startswith("net."):
            assert (setting.scope == "host") == SETTINGS[name].initial_only


@pytest.mark.parametrize("name", [name for name in CATALOGUE if not name.startswith("ice4j")])
def test_what_this_kernel_has_in_force_is_within_the_range(name: str) -> None:
    path = Path("/proc/sys", *name.split("."))
    if not path.exists():
        pytest.skip(f"{name} does not exist in this network namespace")
    CATALOGUE[name].check(path.read_text())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (RMEM, 100, "not within"),
        (RMEM, 2**31, "not within"),
        (RMEM, "a lot", "not one integer"),
        (RMEM, True, "not one integer"),
        ("net.core.netdev_max_backlog", 0, "not within"),
        ("net.ipv4.udp_mem", "1 2", "not 3 integers"),
        ("net.ipv4.udp_mem", "3 2 1", "must ascend"),
        ("net.core.netdev_budget", -1, "negative"),
    ],
)
def test_a_bad_value_is_refused_in_words(name: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CATALOGUE[name].check(value)


def test_udp_mem_is_never_lowered() -> None:
    setting = CATALOGUE["net.ipv4.udp_mem"]
    setting.refuse_lowered("10 20 30", "10\t20\t30")
    with pytest.raises(ValueError, match="never lowered"):
        setting.refuse_lowered([10, 19, 30], "10\t20\t30")
    CATALOGUE[RMEM].refuse_lowered(4096, 8192)
