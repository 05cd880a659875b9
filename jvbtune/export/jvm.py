"""The heap and the collector that the figures were measured with, for the Debian package's unit.

A systemd drop-in adds an environment file after the package's own ``/etc/jitsi/videobridge/config``; of two files the
later wins, so that ``jvb.sh`` starts the JVM with these.
"""

from __future__ import annotations

import re

from jvbtune.errors import NoRecommendation
from jvbtune.export.header import comments, header
from jvbtune.result.model import RunResult

DROP_IN, ENVIRONMENT = "jitsi-videobridge2.service.d/60-jvbtune.conf", "jvbtune.env"
ENVIRONMENT_PATH = f"/etc/jitsi/videobridge/{ENVIRONMENT}"
_COLLECTOR = re.compile(r"[A-Z][A-Za-z0-9]{0,30}GC")


def render(result: RunResult, pin: bool = False) -> dict[str, str]:
    """{file name: text}. Raises NoRecommendation if the run does not know what its JVM was started with."""
    del pin
    facts = result.provenance
    values = {}
    if facts.heap_mib is not None:
        values["VIDEOBRIDGE_MAX_MEMORY"] = f"{int(facts.heap_mib)}m"
    if facts.collector is not None and _COLLECTOR.fullmatch(facts.collector):
        values["VIDEOBRIDGE_GC_TYPE"] = facts.collector
    if not values:
        raise NoRecommendation(
            f"run {result.id} does not know the heap and the collector of the bridge that it measured",
            hint="The bridge was started without -Xmx and -XX:+Use…GC, or by an earlier version of jvbtune.",
        )
    why = [f"{name}={value}: the figures of this run were measured with it" for name, value in values.items()]
    undo = [f"rm /etc/systemd/system/{DROP_IN} {ENVIRONMENT_PATH}; systemctl daemon-reload; restart the drained bridge"]
    apply = comments(
        [
            f"To apply: install {DROP_IN} below /etc/systemd/system and {ENVIRONMENT} as",
            f"{ENVIRONMENT_PATH}; then systemctl daemon-reload, and restart the drained bridge.",
        ]
    )
    head = header(result, why=why, undo=undo) + apply
    return {
        DROP_IN: head + f"[Service]\nEnvironmentFile=-{ENVIRONMENT_PATH}\n",
        ENVIRONMENT: head + "".join(f"{name}={value}\n" for name, value in values.items()),
    }
