"""``60-jvbtune.conf`` for /etc/sysctl.d: after the Debian package's ``20-jvb-udp-buffers.conf`` (sysctl.d(5))."""

from __future__ import annotations

from jvbtune.agent.settings import RMEM_MAX
from jvbtune.export.header import comments, header
from jvbtune.export.settings import NOTHING_KNOWN, OfHost, evidence, is_sysctl, lines_of, without_effect
from jvbtune.result.model import RunResult

FILE_NAME = "60-jvbtune.conf"


def render(result: RunResult, pin: bool = False, host: OfHost = NOTHING_KNOWN) -> dict[str, str]:
    """{file name: text}. Every host of this kind gets the same values, also one that was installed again.

    ``host``: the one that it is for (``lines_of``)."""
    lines = [line for line in lines_of(result, pin=pin, host=host) if is_sysctl(line.name)]
    names = {line.name for line in lines}
    undo = [
        f"rm /etc/sysctl.d/{FILE_NAME}",
        "sysctl --system restores only what other files set: write the old values back, or reboot",
        "restart the bridge while it is drained: a socket takes its buffer when it is created",
    ]
    text = header(result, why=[f"{line.name} = {line.value}: {line.why}" for line in lines] or ["nothing"], undo=undo)
    text += comments(
        [
            f"To apply: install this file as /etc/sysctl.d/{FILE_NAME}, run sysctl --system, then drain and restart",
            "the bridge. Seen in force by: sysctl NAME, and ss -uam sport = :10000 (rb = 2 x rmem_max).",
            "net.core.* are settings of the host, even if the bridge runs in a container.",
        ]
    )
    if RMEM_MAX in names:
        text += comments(
            [f"{RMEM_MAX} is a cap: on a host that has more, write that value here. Other programs may need it."]
        )
    text += comments(
        [
            evidence(verdict)
            for verdict in without_effect(result)
            if is_sysctl(verdict.name) and verdict.name not in names
        ]
    )
    if not lines:
        text += comments(["No sysctl is set: none made a difference, and the receive buffer could not be sized."])
    return {FILE_NAME: text + "".join(f"{line.name} = {line.value}\n" for line in lines)}
