"""Settings of a group of jitsi-autoscaler (``groupEntries`` of its groups.json), as JSON.

Its thresholds are shares of stress, and stress 1 is the load threshold of this machine type: what was measured is what
1 means. How far below 1 a group must grow depends on how fast load grows while an instance starts; the values here are
those that the largest operator publishes (jitsi/infra-provisioning), and are marked as such.
"""

from __future__ import annotations

import json
from typing import Any

from jvbtune.export.header import origin
from jvbtune.export.jvb_conf import thresholds
from jvbtune.export.terraform import MACHINE_TYPE, type_remark
from jvbtune.result.model import RunResult
from jvbtune.text import clean

FILE_NAME = "jvbtune-autoscaler-group.json"
#: jitsi/infra-provisioning's group of JVBs. Thresholds in stress, periods in seconds.
SCALING = {
    "scaleUpThreshold": 0.3,
    "scaleDownThreshold": 0.1,
    "scalePeriod": 60,
    "scaleUpPeriodsCount": 2,
    "scaleDownPeriodsCount": 10,
    "scaleUpQuantity": 1,
    "scaleDownQuantity": 1,
}


def render(result: RunResult, pin: bool = False) -> dict[str, str]:
    """{file name: text}: to be merged into the group's entry; its size and its cloud stay yours."""
    del pin
    load = thresholds(result).load_threshold_pps
    up = float(SCALING["scaleUpThreshold"])
    why = (
        f"Stress 1 is {load:.0f} pps on this machine type. Scaling up at {up} means {up * load:.0f} pps per bridge. "
        "The thresholds and periods are those of jitsi/infra-provisioning: they are not measured."
    )
    entry: dict[str, Any] = {
        "type": "JVB",
        "tags": {
            "jvbtune_from": " ".join(origin(result)),
            "jvbtune_machine_type": clean(str(result.labels.get(MACHINE_TYPE) or "unknown"), 100),
            "jvbtune_why": clean(" ".join([why, *remarks(result)]), 1000),
            "jvbtune_undo": "Remove these tags, and set the scalingOptions that the group had before.",
        },
        "scalingOptions": SCALING,
    }
    return {FILE_NAME: json.dumps({"groupEntries": [entry]}, indent=2) + "\n"}


def remarks(result: RunResult) -> list[str]:
    """What to do before the file is used."""
    return type_remark(result, f"jvbtune_machine_type in {FILE_NAME} is unknown")
