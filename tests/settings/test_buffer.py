"""What a socket must have, by what the bridge asks for: read, not read, swept; and how a tuning learns it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jvbtune.agent.settings import ICE4J_BUFFER
from jvbtune.bridge.config import asked_buffer
from jvbtune.protocol import agent as protocol
from jvbtune.protocol import tuning as messages
from jvbtune.protocol.agent import BridgeQuery, UdpSocket
from jvbtune.protocol.codec import build
from jvbtune.settings.buffer import AskedBuffer
from jvbtune.settings.tuning import Tuning
from tests.bridge.configs import CASES, host_of

RMEM, DEFAULT = "net.core.rmem_max", "net.core.rmem_default"
MIB = 2**20
UNKNOWN = AskedBuffer(False, None, "why")


@pytest.mark.parametrize(
    ("asked", "values", "expected"),
    [
        (AskedBuffer(True, 10485760, ""), {RMEM: 212992}, 425984),
        (AskedBuffer(True, 10485760, ""), {RMEM: "33554432"}, 20971520),
        (AskedBuffer(True, 104857600, ""), {RMEM: "104857600"}, 209715200),
        (AskedBuffer(True, 10485760, ""), {}, None),
        (AskedBuffer(True, 222, ""), {RMEM: 212992}, 2304),  # the kernel's least
        (AskedBuffer(True, None, ""), {RMEM: 4096, DEFAULT: "212992"}, 212992),  # it asks for none
        (UNKNOWN, {RMEM: 212992}, None),
        (AskedBuffer(False, None, "", at_least_bytes=8 * MIB), {RMEM: 4 * MIB}, 8 * MIB),
        (AskedBuffer(False, None, "", at_least_bytes=8 * MIB), {RMEM: 9 * MIB}, None),
        (AskedBuffer(False, 4 * MIB, ""), {RMEM: 9 * MIB}, 8 * MIB),
    ],
)
def test_the_buffer_to_expect(asked: AskedBuffer, values: dict[str, Any], expected: int | None) -> None:
    assert asked.expected_rcvbuf_bytes(values) == expected


def test_production_values_of_jitsis_own_role() -> None:
    """Both at 104857600: expected is twice that, whatever is swept."""
    case = next(case for case in CASES if case.name == "production")
    assert asked_buffer(host_of(case)).expected_rcvbuf_bytes({RMEM: "104857600"}) == 209715200


def test_a_socket_tells_what_a_configuration_does_not() -> None:
    assert UNKNOWN.seen(6 * MIB, {RMEM: 8 * MIB}).asked_bytes == 3 * MIB
    assert UNKNOWN.seen(16 * MIB, {RMEM: 8 * MIB}).at_least_bytes == 8 * MIB
    assert UNKNOWN.seen(None, {RMEM: 8 * MIB}) == UNKNOWN
    read = AskedBuffer(True, 5, "")
    assert read.seen(6 * MIB, {RMEM: 8 * MIB}) == read


class Agent:
    """An agent whose host has one bridge; ``steps``: (rmem_max, rcvbuf) at each look."""

    host = SimpleNamespace(name="h")
    alive = True

    def __init__(self, case: Path, steps: list[tuple[int, int]]) -> None:
        self._ask, self.steps, self.at = host_of(case), steps, -1

    def call(self, operation: Any, arguments: Any, timeout_seconds: float = 30.0) -> Any:
        if operation is protocol.BRIDGE_CONFIG:
            answer = self._ask(arguments.files, arguments.names)
            return build(protocol.ConfigRead, {"pid": 1, "directory": None, "argument_files": False, **answer})
        if operation is messages.BEGIN:
            return messages.Begun({RMEM: str(self.steps[0][0])}, True, None, False, None)
        if operation in (messages.VERIFY, messages.RESTART_BRIDGE):
            self.at += 1
            limit, rcvbuf = self.steps[self.at]
            values, sockets = {RMEM: str(limit)}, [UdpSocket(10000, "192.0.2.1", 1, 0, rcvbuf_bytes=rcvbuf)]
            restarted = messages.Restarted(values, sockets, 1, 0.0)
            return messages.InForce(values, sockets) if operation is messages.VERIFY else restarted
        return messages.PutBack() if operation is messages.END else messages.InForce({}, [])


def expectations(case: str, steps: list[tuple[int, int]], swept: dict[str, Any] | None = None) -> list[int | None]:
    """Of each restart; the first step is the host on arrival."""
    agent = Agent(next(one for one in CASES if one.name == case), steps)
    found = []
    with Tuning(
        agent,  # type: ignore[arg-type]
        owner="t",
        run_id="t",
        lease_seconds=60,
        bridge=BridgeQuery(),
        settings=[],
    ) as tuning:
        for _ in steps[1:]:
            found.append(tuning.apply(swept or {}, restart=True).expected_rcvbuf_bytes)
    return found


def test_a_configuration_that_is_read_decides() -> None:
    assert expectations("include", [(8 * MIB, 8 * MIB), (8 * MIB, 1), (64 * MIB, 1)]) == [16 * MIB, 41943040]


def test_one_that_is_not_is_held_against_the_socket_on_arrival() -> None:
    assert expectations("url", [(8 * MIB, 6 * MIB), (8 * MIB, 6 * MIB), (MIB, 2 * MIB)]) == [6 * MIB, 2 * MIB]
    # less than on arrival: the trial is judged against what the bridge had then
    assert expectations("url", [(8 * MIB, 6 * MIB), (8 * MIB, 4 * MIB)]) == [6 * MIB]
    # the limit was raised after the bridge had started: more than on arrival is no fault
    later = [(16 * MIB, 425984), (16 * MIB, 20 * MIB), (16 * MIB, 20 * MIB), (16 * MIB, 425984)]
    assert expectations("url", later) == [20 * MIB, 20 * MIB, 20 * MIB]
    # clamped on arrival: what it asks for beyond that is not known, until a restart shows it
    clamped = [(MIB, 2 * MIB), (MIB, 2 * MIB), (64 * MIB, 20 * MIB), (64 * MIB, 2 * MIB)]
    assert expectations("url", clamped) == [2 * MIB, 20 * MIB, 20 * MIB]


def test_a_swept_value_is_what_the_bridge_asks_for() -> None:
    steps = [(8 * MIB, 6 * MIB), (8 * MIB, 2 * MIB)]
    assert expectations("url", steps, {ICE4J_BUFFER: MIB}) == [2 * MIB]
