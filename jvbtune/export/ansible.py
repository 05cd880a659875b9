"""An Ansible role with the files of an export, and variables under the names that the community's roles use.

The role's tasks are the same for every result (``ansible_role/``); its files and defaults are the result's.
"""

from __future__ import annotations

import json
from importlib import resources

from jvbtune.export import jvb_conf, sysctl
from jvbtune.export.header import comments, header
from jvbtune.export.jvb_conf import thresholds
from jvbtune.export.settings import is_sysctl, lines_of
from jvbtune.export.text import literal
from jvbtune.fit.thresholds import JICOFO_OVERLOADED_STRESS
from jvbtune.result.model import RunResult

ROLE = "roles/jvbtune"
#: The same for every result.
TASKS = (
    "tasks/main.yml",
    "tasks/taken.yml",
    "tasks/values.yml",
    "tasks/look.yml",
    "tasks/note.yml",
    "tasks/drain.yml",
    "tasks/keep.yml",
    "tasks/release.yml",
    "tasks/restart.yml",
    "tasks/verify.yml",
    "tasks/rollback.yml",
    "tasks/restore.yml",
    "vars/main.yml",
)
#: jitsi/infra-configuration's ``jvb_recovery_multiplier``.
RECOVERY_DIGITS = 3


def render(result: RunResult, pin: bool = False) -> dict[str, str]:
    """{file name: text}: the role, and ``vars/`` for other people's roles."""
    role = resources.files("jvbtune.export") / "ansible_role"
    tasks = {f"{ROLE}/{name}": (role / name).read_text() for name in TASKS}
    return {
        **tasks,
        f"{ROLE}/defaults/main.yml": _head(result, "delete the role") + _defaults(result, pin),
        f"{ROLE}/files/{sysctl.FILE_NAME}": sysctl.render(result, pin)[sysctl.FILE_NAME],
        f"{ROLE}/files/{jvb_conf.FILE_NAME}": jvb_conf.render(result, pin)[jvb_conf.FILE_NAME],
        "vars/infra-configuration.yml": _infra_configuration(result, pin),
        "vars/ansible-role-jitsi.yml": _custom_extension(result, pin),
    }


def _head(result: RunResult, undo: str) -> str:
    return header(result, why=jvb_conf.why(result), undo=[undo])


def _defaults(result: RunResult, pin: bool) -> str:
    values = {line.name: str(line.value) for line in lines_of(result, pin=pin) if is_sysctl(line.name)}
    stress = thresholds(result).average_participant_stress
    return (
        "---\n"
        f"jvbtune_sysctls: {json.dumps(values)}\n"
        f"jvbtune_average_participant_stress: {'null' if stress is None else f'{stress:.5f}'}\n"
        + (resources.files("jvbtune.export") / "ansible_role" / "defaults/main.yml").read_text()
    )


def _infra_configuration(result: RunResult, pin: bool) -> str:
    """Variables of jitsi/infra-configuration's roles jitsi-videobridge and jicofo (defaults/main.yml)."""
    found = thresholds(result)
    lines = {line.name: line.value for line in lines_of(result, pin=pin)}
    text = _head(result, "remove these variables, and run the playbook again")
    text += comments(["For the roles jitsi-videobridge and jicofo of jitsi/infra-configuration."])
    text += (
        "---\n"
        "jvb_use_cpu_for_stress: false\n"
        f"jvb_load_threshold: {int(found.load_threshold_pps)}\n"
        f"jvb_recovery_multiplier: {found.recovery_threshold_pps / found.load_threshold_pps:.{RECOVERY_DIGITS}f}\n"
    )
    if found.average_participant_stress is not None:
        text += f"jvb_average_participant_stress: {found.average_participant_stress:.5f}\n"
    for variable, name in (
        ("jvb_udp_buffer_size", "net.core.rmem_max"),
        ("jvb_udp_buffer_max_backlog", "net.core.netdev_max_backlog"),
    ):
        if name in lines:
            text += f"{variable}: {lines[name]}\n"
    return text + f"jicofo_stress_threshold: {JICOFO_OVERLOADED_STRESS}\n"


def _custom_extension(result: RunResult, pin: bool) -> str:
    """mother-of-all-self-hosting/ansible-role-jitsi takes HOCON as it is."""
    text = _head(result, "remove the variable, and run the playbook again")
    text += comments(
        [
            "For mother-of-all-self-hosting/ansible-role-jitsi. It sets no sysctl: use the role beside this file, or",
            "install files/60-jvbtune.conf on the host.",
        ]
    )
    hocon = jvb_conf.hocon(result, pin=pin)
    return text + "---\njitsi_jvb_custom_config_extension: |\n" + literal(hocon, 2)
