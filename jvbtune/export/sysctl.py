"""``60-jvbtune.conf`` for /etc/sysctl.d: after the Debian package's ``20-jvb-udp-buffers.conf`` (sysctl.d(5))."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jvbtune.export.header import header
from jvbtune.export.settings import exported, names, reasons

FILE_NAME = "60-jvbtune.conf"


def render(result: Mapping[str, Any]) -> dict[str, str]:
    """{file name: text}. A file of comments alone where no setting made a significant difference: it says so."""
    mine = names(result, sysctl=True)
    values = {name: value for name, value in exported(result).items() if name in mine}
    why = list(reasons(result, mine)) or ["no sysctl was swept"]
    undo = [
        f"rm /etc/sysctl.d/{FILE_NAME}",
        "then: sysctl --system, and restart the bridge (buffers are taken at start)",
    ]
    text = header(result, why=why, undo=undo)
    text += "# To apply: install it as /etc/sysctl.d/" + FILE_NAME + ", run sysctl --system, restart the bridge.\n"
    text += "# net.core.* are settings of the host, also where the bridge runs in a container.\n"
    if not values:
        text += "# No swept sysctl made a significant difference for the better: nothing is set.\n"
    for name, value in sorted(values.items()):
        text += f"{name} = {value}\n"
    return {FILE_NAME: text}
