"""HOCON for the bridge: the load measurement, its thresholds, a participant's stress, and the receive buffer.

A threshold of the packet rate alone does nothing since 2024-11: ``load-measurement`` has to choose it (JVB's
reference.conf). ``average-participant-stress`` belongs here, not in jicofo.conf: a JVB always reports its own value,
and Jicofo uses the reported one (Bridge.kt, VideobridgeStatisticsShim.kt).
"""

from __future__ import annotations

from jvbtune.errors import NoRecommendation
from jvbtune.export.header import comments, header
from jvbtune.export.settings import evidence, is_sysctl, lines_of, without_effect
from jvbtune.fit.reasons import Code
from jvbtune.fit.thresholds import JICOFO_OVERLOADED_STRESS, Thresholds
from jvbtune.result.model import RunResult, Traffic

FILE_NAME = "jvbtune.conf"
#: Remarks without which a threshold would be misused.
IN_HEAD = (Code.SETTINGS_FIRST, Code.NOT_COMBINED, Code.AUDIO_ONLY, Code.POOLED)


def thresholds(result: RunResult) -> Thresholds:
    """Raises NoRecommendation if there are none."""
    found = result.thresholds
    if found is None or int(found.load_threshold_pps) <= 0:
        raise NoRecommendation(
            f"run {result.id} has no load threshold", hint="\n".join(str(r) for r in result.reasons) or None
        )
    return found


def hocon(result: RunResult, *, pin: bool = False) -> str:
    """The assignments, without a head."""
    found = thresholds(result)
    load, recovery = int(found.load_threshold_pps), int(found.recovery_threshold_pps)
    text = (
        "videobridge.load-management.load-measurements {\n"
        '  load-measurement = "packet-rate"\n'
        "  packet-rate {\n"
        f"    load-threshold = {load}\n"
        f"    recovery-threshold = {recovery}\n"
        "  }\n"
        "}\n"
    )
    if found.average_participant_stress is not None:
        text += f"videobridge.load-management.average-participant-stress = {found.average_participant_stress:.5f}\n"
    for line in lines_of(result, pin=pin):
        if not is_sysctl(line.name):
            text += f"{line.name} = {line.value}\n"
    return text


def why(result: RunResult) -> list[str]:
    """The head's reasons, one for each line that is set."""
    found, figures = thresholds(result), result.recommendation
    assert figures is not None
    low, high = figures.interval_pps
    load = found.load_threshold_pps
    lines = [
        f"load-threshold: 95 % of restarts stay within every limit at {load:.0f} pps. The max packet rate, "
        f"{figures.max_packet_rate_pps:.0f} pps (95 % interval {low or 0:.0f} to {high or 0:.0f}, limited by "
        f"{figures.binding_limit}), is where half of them exceed it.",
        *_mix(result.traffic),
        *(str(remark) for remark in result.remarks if remark.code in IN_HEAD),
        f"Jicofo treats a bridge at stress {JICOFO_OVERLOADED_STRESS} as overloaded, which is "
        f"{found.overloaded_pps:.0f} pps. Do not lower the threshold for that again.",
    ]
    if found.average_participant_stress is not None:
        of = "production" if found.packets_per_participant_source == "history" else "the load that was run"
        lines.append(
            f"average-participant-stress: {found.packets_per_participant_pps or 0:.0f} pps per participant (from {of}) "
            "/ load-threshold. The bridge reports it to Jicofo; in jicofo.conf it has no effect."
        )
    lines += [f"{line.name}: {line.why}" for line in lines_of(result) if not is_sysctl(line.name)]
    return lines


def _mix(traffic: Traffic | None) -> list[str]:
    if traffic is None:
        return []
    held = f"Traffic mix: {traffic.description}" + (f"; conferences of {traffic.shape}." if traffic.shape else ".")
    if traffic.worst_source == "history" and traffic.worst_rate_ratio < 1:
        return [
            held,
            f"Production's most expensive packets meet the CPU limit at {traffic.worst_rate_ratio:.0%} of the packet "
            "rate. The threshold allows for them.",
        ]
    return [held]


def render(result: RunResult, pin: bool = False) -> dict[str, str]:
    """{file name: text}: to be included at the end of jvb.conf."""
    undo = [f'remove the line  include "{FILE_NAME}"  from jvb.conf and restart the bridge']
    text = header(result, why=why(result), undo=undo)
    text += comments(
        [
            f'To apply: put it beside jvb.conf, end jvb.conf with the line  include "{FILE_NAME}"  and restart the',
            "drained bridge. Seen in force by: /colibri/stats (average_participant_stress; stress_level =",
            "packet rate / load-threshold).",
            *(evidence(verdict) for verdict in without_effect(result) if not is_sysctl(verdict.name)),
        ]
    )
    return {FILE_NAME: text + hocon(result, pin=pin)}
