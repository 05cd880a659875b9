"""docker-jitsi-meet has no variable for load thresholds, but its jvb.conf ends with ``include "custom-jvb.conf"``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jvbtune.export import jvb_conf, sysctl
from jvbtune.export.header import header

FILE_NAME = "custom-jvb.conf"
ENV_NAME = "jvbtune.env"


def render(result: Mapping[str, Any]) -> dict[str, str]:
    """``custom-jvb.conf`` for ``${CONFIG}/jvb/``, Jicofo's variables for ``.env``, the host's sysctl file."""
    undo = [f"remove ${{CONFIG}}/jvb/{FILE_NAME} (or these lines of it) and: docker compose restart jvb"]
    text = header(result, why=jvb_conf.why(result), undo=undo)
    text += f"# To apply: put it into ${{CONFIG}}/jvb/{FILE_NAME} and: docker compose restart jvb\n"
    text += jvb_conf.hocon(result)
    env = header(
        result,
        why=["Jicofo's stress threshold stays at its default: the load threshold in custom-jvb.conf is not derated."],
        undo=["remove these lines from .env and: docker compose up -d jicofo"],
    )
    stress = jvb_conf.participant_stress(result)
    if stress is not None:
        env += f"BRIDGE_AVG_PARTICIPANT_STRESS={stress}\n"
    env += f"BRIDGE_STRESS_THRESHOLD={jvb_conf.JICOFO_OVERLOADED_STRESS}\n"
    return {FILE_NAME: text, ENV_NAME: env, **sysctl.render(result)}
