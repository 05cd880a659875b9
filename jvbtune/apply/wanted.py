"""What an export wants of a host, and whether it is in force there. Pure, but for the questions to the host."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jvbtune.agent.settings import ICE4J_BUFFER, canonical
from jvbtune.bridge.config import Unreadable, asked_buffer, effective
from jvbtune.errors import TuningError
from jvbtune.export import export
from jvbtune.export.docker import FILE_NAME as CUSTOM
from jvbtune.export.jvb_conf import FILE_NAME as INCLUDED
from jvbtune.export.jvb_conf import thresholds
from jvbtune.export.settings import NOTHING_KNOWN, OfHost, is_sysctl, lines_of
from jvbtune.export.sysctl import FILE_NAME as DROP_IN
from jvbtune.export.sysctl import render as drop_in_of
from jvbtune.protocol.agent import BridgeQuery, UdpSocket
from jvbtune.protocol.deploy import Planned, Wanted
from jvbtune.result.model import RunResult
from jvbtune.settings.catalogue import CATALOGUE

LOAD = "videobridge.load-management"
MEASUREMENT = f"{LOAD}.load-measurements.load-measurement"
THRESHOLD = f"{LOAD}.load-measurements.packet-rate.load-threshold"
RECOVERY = f"{LOAD}.load-measurements.packet-rate.recovery-threshold"
PARTICIPANT = f"{LOAD}.average-participant-stress"
#: A bridge reports it as it was configured; printing it as text may cost digits.
PARTICIPANT_TOLERANCE = 1e-6

Ask = Callable[[list[str], list[str]], Mapping[str, Any]]


@dataclass(frozen=True)
class Expected:
    """What has to be in force: sysctls in canonical form, and numbers or texts of the bridge's configuration."""

    sysctls: dict[str, str]
    bridge: dict[str, str | float]


def wanted_of(result: RunResult, bridge: BridgeQuery, *, pin: bool = False, host: OfHost = NOTHING_KNOWN) -> Wanted:
    """The files of an export for one host. Raises NoRecommendation as ``export`` does."""
    include = export(result, "jvb-conf", pin=pin)[INCLUDED]
    section = export(result, "docker", pin=pin)[CUSTOM]
    drop_in = drop_in_of(result, pin, host)[DROP_IN]
    sysctls = expected_of(result, pin=pin, host=host).sysctls
    return Wanted(result.id, bridge, drop_in, sysctls, include, section)


def expected_of(result: RunResult, *, pin: bool = False, host: OfHost = NOTHING_KNOWN) -> Expected:
    found = thresholds(result)
    lines = lines_of(result, pin=pin, host=host)
    bridge: dict[str, str | float] = {
        MEASUREMENT: "packet-rate",
        THRESHOLD: int(found.load_threshold_pps),
        RECOVERY: int(found.recovery_threshold_pps),
    }
    if found.average_participant_stress is not None:
        bridge[PARTICIPANT] = round(found.average_participant_stress, 5)
    bridge |= {line.name: int(line.value) for line in lines if not is_sysctl(line.name)}
    return Expected({line.name: canonical(line.name, line.value) for line in lines if is_sysctl(line.name)}, bridge)


def set_earlier(planned: Planned) -> dict[str, str]:
    """What the sysctl file of an earlier apply sets on the host, by name, in canonical form."""
    before = next((one.before for one in planned.files if one.path.endswith(f"/{DROP_IN}")), None) or ""
    found = {}
    for line in before.splitlines():
        name, separator, value = line.partition(" = ")
        with contextlib.suppress(ValueError):  # somebody else's line
            if separator and not name.startswith("#"):
                found[name] = canonical(name, value)
    return found


def refuse_lowered(planned: Planned) -> None:
    """Raises TuningError for a value that would hurt the whole host (``udp_mem``)."""
    for name, change in planned.values.items():
        try:
            CATALOGUE[name].refuse_lowered(change.wanted, change.found)
        except ValueError as error:
            raise TuningError(str(error), hint="Export without --pin, or measure this host itself.") from None


def not_in_force(
    expected: Expected,
    values: Mapping[str, str],
    sockets: Sequence[UdpSocket],
    ask: Ask,
    config_file: str | None,
    participant_stress: float | None,
) -> list[str]:
    """What is not as the export wants it, in words: sysctls, the configuration as the bridge reads it, the socket's
    real buffer, and what the bridge reports. ``values``: all sysctls that are known of the host."""
    faults = [
        f"{name} is {values.get(name)}, not {value}"
        for name, value in expected.sysctls.items()
        if values.get(name) != value
    ]
    try:
        found = effective(ask, config_file, list(expected.bridge))
        faults += [
            f"{name} is {found[name] or 'at its default'} in the bridge's configuration, not {value}"
            for name, value in expected.bridge.items()
            if not _same(found[name], value)
        ]
    except Unreadable as why:
        faults.append(f"the bridge's configuration cannot be read back: {why}")
    wanted = expected.bridge.get(PARTICIPANT)
    if wanted is not None and participant_stress is not None and not _same(str(participant_stress), wanted):
        faults.append(f"the bridge reports average_participant_stress {participant_stress:g}, not {wanted:g}")
    asked = asked_buffer(ask, config_file)
    to_ask = expected.bridge.get(ICE4J_BUFFER)
    if to_ask is not None and asked.known and asked.asked_bytes != to_ask:  # the older name of it wins
        faults.append(f"the bridge asks for a buffer of {asked.asked_bytes} bytes ({asked.source}), not {to_ask}")
    buffer = asked.expected_rcvbuf_bytes(values)
    got = min((socket.rcvbuf_bytes for socket in sockets), default=None)
    if got is None:
        faults.append("the bridge has no socket that receives media")
    elif buffer is not None and got < buffer:
        faults.append(f"the bridge's socket has a receive buffer of {got} bytes, not {buffer}")
    return faults


def _same(found: str | None, wanted: str | float) -> bool:
    if isinstance(wanted, str):
        return found == wanted
    try:
        return found is not None and abs(float(found) - wanted) <= PARTICIPANT_TOLERANCE
    except ValueError:
        return False
