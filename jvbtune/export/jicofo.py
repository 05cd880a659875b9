"""jicofo.conf: when a bridge is overloaded, and how many may join one within a minute.

``average-participant-stress`` is not here: a JVB reports its own value, and Jicofo uses the reported one. The load
threshold is a real limit, so the stress threshold stays at Jicofo's default; it is written so that it is seen.
"""

from __future__ import annotations

from jvbtune.export.header import comments, header
from jvbtune.export.jvb_conf import thresholds
from jvbtune.fit.thresholds import JICOFO_OVERLOADED_STRESS
from jvbtune.result.model import RunResult

FILE_NAME = "jvbtune-jicofo.conf"
ENV_NAME = "jicofo.env"


def joins_per_minute(result: RunResult) -> int | None:
    """What fits between the stress at which a bridge is overloaded and 1. None: a participant's stress is not known.

    A bridge's stress is measured every 10 s and reported every 5 s; joins within that time all go to the same bridge
    (``max-bridge-participants-per-interval``, per conference and minute).
    """
    stress = thresholds(result).average_participant_stress
    return None if not stress else max(1, int((1 - JICOFO_OVERLOADED_STRESS) / stress))


def _why(result: RunResult) -> list[str]:
    found = thresholds(result)
    lines = [
        f"stress-threshold: stress 1 is the load threshold, {found.load_threshold_pps:.0f} pps. Jicofo's default, "
        f"{JICOFO_OVERLOADED_STRESS}, leaves the rest for joins that it does not see yet.",
    ]
    if found.average_participant_stress is not None:
        lines.append(
            f"max-bridge-participants-per-interval: {joins_per_minute(result)} participants of "
            f"{found.average_participant_stress:.5f} stress each fit between {JICOFO_OVERLOADED_STRESS} and 1; more "
            "within the time that a bridge needs to report its stress would overload it."
        )
    return lines


def render(result: RunResult, pin: bool = False) -> dict[str, str]:
    """{file name: text}: to be included at the end of jicofo.conf."""
    del pin
    undo = [f'remove the line  include "{FILE_NAME}"  from jicofo.conf and restart Jicofo']
    text = header(result, why=_why(result), undo=undo)
    text += comments(
        [
            f'To apply: put it beside jicofo.conf, end jicofo.conf with the line  include "{FILE_NAME}"  and restart',
            "Jicofo. Use the figures of the smallest machine type: Jicofo has one value for all bridges.",
        ]
    )
    text += f"jicofo.bridge.stress-threshold = {JICOFO_OVERLOADED_STRESS}\n"
    joins = joins_per_minute(result)
    if joins is not None:
        text += f"jicofo.bridge.max-bridge-participants-per-interval = {joins}\n"
    return {FILE_NAME: text}


def env(result: RunResult) -> dict[str, str]:
    """docker-jitsi-meet's ``.env``: the only variable of Jicofo's that has effect here."""
    undo = ["remove the line from .env and run: docker compose up -d jicofo"]
    text = header(result, why=_why(result)[:1], undo=undo)
    text += comments(
        [
            "To apply: add the line to .env and run: docker compose up -d jicofo",
            "BRIDGE_AVG_PARTICIPANT_STRESS is not set: it has no effect with bridges that report their own value.",
        ]
    )
    return {ENV_NAME: text + f"BRIDGE_STRESS_THRESHOLD={JICOFO_OVERLOADED_STRESS}\n"}
