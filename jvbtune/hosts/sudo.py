"""Becoming root on a host: ``sudo -n`` and nothing else; a missing right is an error with the line that grants it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jvbtune.errors import SudoError
from jvbtune.hosts.base import Completed

#: What sudo and sudo-rs say in English.
_REFUSALS = re.compile(
    rb"password is required|not in the sudoers|not allowed to|may not run sudo|authentication is required"
    rb"|I'm afraid I can't do that|terminal is required|must have a tty"
)
#: In other languages (an administrator may set one for sudo) its lines are known by how they begin; these are warnings.
_OWN_LINE = re.compile(rb"^sudo(-rs)?: (?!unable to resolve host|setrlimit|.*: command not found$)(.+)$", re.M)
_NO_SUDO = re.compile(
    rb"\bsudo\W{0,4}: (command )?not found|sudo\W{0,4}: No such file|No such file or directory: 'sudo'"
)
_NO_TTY = re.compile(rb"have a tty|\btty\b")


def with_sudo(argv: Sequence[str], *, uid: int) -> tuple[str, ...]:
    """``argv`` as root: unchanged if the login is root already. LC_ALL: what sudo says is to be understood."""
    return tuple(argv) if uid == 0 else ("env", "LC_ALL=C", "LANGUAGE=", "sudo", "-n", "--", *argv)


def check_sudo(completed: Completed, host_name: str, user: str) -> None:
    """Raise SudoError if sudo itself refused."""
    if completed.status in (1, 127):
        refused = sudo_refusal(completed.stderr, host_name, user)
        if refused is not None:
            raise refused


def sudo_refusal(stderr: bytes, host_name: str, user: str) -> SudoError | None:
    """The error that sudo's own words stand for; None if it said nothing."""
    if _NO_SUDO.search(stderr):
        hint = "Log in as root, or install sudo."
        return SudoError(f"{host_name}: sudo is not installed and the login is not root", hint=hint)
    own = _OWN_LINE.findall(stderr)
    if not own and not _REFUSALS.search(stderr):
        return None
    if _NO_TTY.search(stderr):
        return SudoError(
            f"{host_name}: sudo wants a terminal for {user}",
            hint=f"Add this line to /etc/sudoers.d/jvbtune on the host (visudo -f):\nDefaults:{user} !requiretty",
        )
    return SudoError(f"{host_name}: {user} may not become root without a password", hint=sudoers_hint(user))


def sudoers_hint(user: str) -> str:
    """What to add, and where. The playbook's line is narrower: it permits the agent that it installs, and no more."""
    return (
        "Run playbooks/prepare.yml, which permits jvbtune's agent only. Or add this line to /etc/sudoers.d/jvbtune on "
        f"the host (visudo -f):\n{user} ALL=(root) NOPASSWD: ALL"
    )
