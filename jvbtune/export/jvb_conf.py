"""HOCON for the bridge: the load measurement, its thresholds, and the receive buffer.

A threshold of the packet rate alone does nothing since 2024-11: ``load-measurement`` has to choose it (JVB's
reference.conf). Recovery is 0.8 of the load threshold, the ratio of JVB's own defaults (50000, 40000).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jvbtune.errors import NoRecommendation
from jvbtune.export.header import header
from jvbtune.export.settings import exported, names, reasons

FILE_NAME = "jvbtune.conf"
RECOVERY_RATIO = 0.8
JICOFO_OVERLOADED_STRESS = 0.8


def thresholds(result: Mapping[str, Any]) -> tuple[int, int]:
    """(load threshold, recovery threshold) in packets per second. Raises NoRecommendation."""
    figures = result["recommendation"]
    if figures is None:
        raise NoRecommendation(
            f"run {result['id']} has no trustworthy max packet rate", hint="\n".join(result["reasons"]) or None
        )
    load = int(figures["export_pps"])
    if load <= 0:
        raise NoRecommendation(
            f"run {result['id']}: nothing that 19 of 20 restarts would carry can be said", hint="Run more blocks."
        )
    return load, int(load * RECOVERY_RATIO)


def hocon(result: Mapping[str, Any]) -> str:
    """The assignments, without a head."""
    load, recovery = thresholds(result)
    text = (
        "videobridge.load-management.load-measurements {\n"
        '  load-measurement = "packet-rate"\n'
        "  packet-rate {\n"
        f"    load-threshold = {load}\n"
        f"    recovery-threshold = {recovery}\n"
        "  }\n"
        "}\n"
    )
    for name, value in sorted(exported(result).items()):
        if name in names(result, sysctl=False):
            text += f"{name} = {value}\n"
    return text


def why(result: Mapping[str, Any]) -> list[str]:
    """The head's reasons."""
    load, _ = thresholds(result)
    figures = result["recommendation"]
    low, high = figures["interval_pps"]
    return [
        f"max packet rate {figures['max_packet_rate_pps']:.0f} pps (in + out), 95 % interval {low:.0f} to {high:.0f}; "
        f"bound by {figures['binding_limit']}.",
        f"The load threshold, {load} pps, is what 19 of 20 restarts carry: at the max packet rate half of them break "
        "the limit.",
        *_mix(figures.get("mix")),
        f"Stress 1 is {load} pps. Jicofo takes a bridge at stress {JICOFO_OVERLOADED_STRESS} for overloaded, which is "
        f"{load * JICOFO_OVERLOADED_STRESS:.0f} pps: do not derate again.",
        *reasons(result, names(result, sysctl=False)),
    ]


def _mix(mix: Mapping[str, Any] | None) -> list[str]:
    if mix is None:
        return []
    if mix["worst_source"] == "history" and mix["worst_rate_ratio"] < 1:
        return [
            f"It was measured with {mix['holds_for']}, and is {mix['worst_rate_ratio']:.0%} of what these carry, so "
            "that it holds for the dearest packets of the host's own history."
        ]
    return [f"It holds for packets as they were run: {mix['holds_for']}."]


def participant_stress(result: Mapping[str, Any]) -> str | None:
    """Jicofo's average-participant-stress, as measured; None where participants were not counted."""
    stress = (result.get("thresholds") or {}).get("average_participant_stress")
    return None if stress is None else f"{stress:.5f}"


def render(result: Mapping[str, Any]) -> dict[str, str]:
    """{file name: text}: to be included at the end of jvb.conf."""
    undo = [f'remove the line  include "{FILE_NAME}"  from jvb.conf and restart the bridge']
    text = header(result, why=why(result), undo=undo)
    text += f'# To apply: put it beside jvb.conf, end jvb.conf with the line  include "{FILE_NAME}"  and restart.\n'
    stress = participant_stress(result)
    if stress is not None:
        text += f"# For jicofo.conf, not here: jicofo.bridge.average-participant-stress = {stress}\n"
    return {FILE_NAME: text + hocon(result)}
