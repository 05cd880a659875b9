"""Terraform: ``jvbtune.auto.tfvars.json``, keyed by machine type, and the declaration of its variable.

JSON has no comments: where the figures come from, why and how to undo it are attributes of the value.
"""

from __future__ import annotations

import json
from typing import Any

from jvbtune.export import jvb_conf, sysctl
from jvbtune.export.header import comments, header, origin
from jvbtune.export.jvb_conf import thresholds
from jvbtune.export.settings import is_sysctl, lines_of
from jvbtune.result.model import RunResult
from jvbtune.text import clean

TFVARS, VARIABLES = "jvbtune.auto.tfvars.json", "jvbtune-variables.tf"
VARIABLE = "jvbtune_by_machine_type"
#: The label of a host's inventory entry that names its machine type.
MACHINE_TYPE = "machine_type"

_DECLARATION = """\
variable "jvbtune_by_machine_type" {
  description = "What jvbtune measured for each machine type: thresholds, sysctls, and the files to install."
  type = map(object({
    run                        = string
    why                        = list(string)
    undo                       = list(string)
    load_threshold_pps         = number
    recovery_threshold_pps     = number
    max_packet_rate_pps        = number
    average_participant_stress = optional(number)
    sysctls                    = map(string)
    sysctl_conf                = string
    jvb_conf                   = string
  }))
  default = {}
}
"""


UNKNOWN = "unknown"


def machine_type(result: RunResult) -> str:
    """The label ``machine_type`` of the run, else ``UNKNOWN``, of which ``type_remark`` warns."""
    return clean(str(result.labels.get(MACHINE_TYPE) or UNKNOWN), 100)


def type_remark(result: RunResult, place: str) -> list[str]:
    """What to do about a run that does not know its machine type. ``place``: of the export, in words."""
    if result.labels.get(MACHINE_TYPE):
        return []
    return [
        f"Run {result.id} has no label {MACHINE_TYPE}, so {place}. Write the machine type in its place. Label the host "
        "in your inventory before the next measurement: a run records the labels of its host."
    ]


def remarks(result: RunResult) -> list[str]:
    """What to do before the files are used."""
    return type_remark(result, f"the key in {TFVARS} is {UNKNOWN}")


def render(result: RunResult, pin: bool = False) -> dict[str, str]:
    """{file name: text}: for the root module of the bridges."""
    found, figures = thresholds(result), result.recommendation
    assert figures is not None
    value: dict[str, Any] = {
        "run": " ".join(origin(result)),
        "why": [clean(line, 500) for line in (*remarks(result), *jvb_conf.why(result))],
        "undo": ["Delete this file, and apply; instances keep their files until they are replaced."],
        "load_threshold_pps": int(found.load_threshold_pps),
        "recovery_threshold_pps": int(found.recovery_threshold_pps),
        "max_packet_rate_pps": round(figures.max_packet_rate_pps),
        "average_participant_stress": None,
        "sysctls": {line.name: str(line.value) for line in lines_of(result, pin=pin) if is_sysctl(line.name)},
        "sysctl_conf": sysctl.render(result, pin)[sysctl.FILE_NAME],
        "jvb_conf": jvb_conf.render(result, pin)[jvb_conf.FILE_NAME],
    }
    if found.average_participant_stress is not None:
        value["average_participant_stress"] = round(found.average_participant_stress, 5)
    document = {VARIABLE: {machine_type(result): value}}
    head = header(result, why=[f"the type of the values in {TFVARS}"], undo=["delete both files, and apply"])
    head += comments(
        [
            "To apply: put both files into the root module of the bridges. In an instance template, look up the type:",
            f"  var.{VARIABLE}[var.machine_type].sysctl_conf",
            *remarks(result),
        ]
    )
    # Terraform reads ${ and %{ in the strings of JSON as templates; in tfvars they are plain, so nothing is escaped.
    return {TFVARS: json.dumps(document, indent=2) + "\n", VARIABLES: head + _DECLARATION}
