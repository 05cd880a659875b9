"""The perf sysctls: changed for a capture that may, under the guard, without the bridge; put back however it ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jvbtune.errors import JvbtuneError, TuningError
from jvbtune.hosts.agent_client import AgentClient
from jvbtune.hosts.local import LocalHost
from jvbtune.settings.tuning import Tuning
from tests.capture.conftest import NOBODY, StartJvm, Take, take_with, until

pytestmark = [pytest.mark.jvm, pytest.mark.kernel]

RESTRICT = Path("/proc/sys/kernel/kptr_restrict")
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")


@pytest.fixture
def hidden_symbols(sysctl: Callable[[str], str]) -> Iterator[None]:
    """A host that hides the kernel's addresses from everybody, as hardened ones do."""
    before = RESTRICT.read_text(), PARANOID.read_text()
    RESTRICT.write_text("2")
    PARANOID.write_text("2")
    yield
    found = RESTRICT.read_text().strip(), PARANOID.read_text().strip()
    RESTRICT.write_text(before[0])
    PARANOID.write_text(before[1])
    assert found == ("2", "2"), "the capture left the sysctls changed"


@pytest.mark.usefixtures("hidden_symbols")
def test_without_leave_nothing_is_changed_and_what_is_lost_is_said(start_jvm: StartJvm, take: Take) -> None:
    (document,) = take(start_jvm(uid=NOBODY), slices=1)
    assert not document["kernel_frames"]
    assert "_[k]" not in document["stacks"]
    assert any(text.startswith("Kernel frames") for text in document["lost"])


@pytest.mark.usefixtures("hidden_symbols")
def test_with_leave_they_are_changed_for_the_time_and_put_back(start_jvm: StartJvm, take: Take) -> None:
    (document,) = take(start_jvm(uid=NOBODY), slices=1, allow_sysctls=True)
    assert document["kernel_frames"]
    assert "udp_sendmsg_[k]" in document["stacks"]
    assert RESTRICT.read_text().strip() == "2"


@pytest.mark.usefixtures("hidden_symbols")
def test_the_guard_puts_them_back_when_the_agent_is_killed(start_jvm: StartJvm, tmp_path: Path) -> None:
    jvm = start_jvm(uid=NOBODY)
    with LocalHost() as host, AgentClient(host) as agent:

        def take() -> None:
            with pytest.raises(JvbtuneError):
                take_with(agent, jvm, tmp_path, slices=1, slice_seconds=60.0, allow_sysctls=True)

        thread = threading.Thread(target=take)
        thread.start()
        until(lambda: RESTRICT.read_text().strip() == "0" and jvm.perf_descriptors() > 0, 20)
        os.kill(agent.capabilities.pid, signal.SIGKILL)
        until(lambda: RESTRICT.read_text().strip() == "2" and jvm.untouched(), 10)
        thread.join(20)


def test_without_the_bridge_only_what_it_takes_no_notice_of_can_change(agent: AgentClient) -> None:
    tuning = Tuning(agent, owner="t", run_id="t", lease_seconds=5, bridge=None, settings=["net.core.rmem_max"])
    with pytest.raises(TuningError, match="needs a restart"):
        tuning.__enter__()
