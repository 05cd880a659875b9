"""docker-jitsi-meet has no variable for load thresholds, but its jvb.conf ends with ``include "custom-jvb.conf"``.

Of Jicofo's variables only ``BRIDGE_STRESS_THRESHOLD`` is written: ``BRIDGE_AVG_PARTICIPANT_STRESS`` has no effect with
bridges that report their own value.
"""

from __future__ import annotations

from jvbtune.export import jicofo, jvb_conf, sysctl
from jvbtune.export.header import comments, header
from jvbtune.result.model import RunResult

FILE_NAME = "custom-jvb.conf"


def render(result: RunResult, pin: bool = False) -> dict[str, str]:
    """``custom-jvb.conf`` for ``${CONFIG}/jvb/``, the host's sysctl file, and Jicofo's line of ``.env``."""
    undo = [f"remove ${{CONFIG}}/jvb/{FILE_NAME} (or these lines of it) and run: docker compose restart jvb"]
    text = header(result, why=jvb_conf.why(result), undo=undo)
    text += comments([f"To apply: put it into ${{CONFIG}}/jvb/{FILE_NAME} and run: docker compose restart jvb"])
    return {FILE_NAME: text + jvb_conf.hocon(result, pin=pin), **sysctl.render(result, pin), **jicofo.env(result)}
