"""Becoming root on a host: ``sudo -n`` and nothing else; a missing right is told with the line that grants it."""

from __future__ import annotations

from collections.abc import Sequence

from jvbtune.errors import SudoError
from jvbtune.hosts.base import Completed

_REFUSALS = (b"a password is required", b"is not in the sudoers", b"is not allowed to", b"may not run sudo")
_NO_SUDO = (b"sudo: command not found", b"sudo: not found", b"No such file or directory: 'sudo'")


def with_sudo(argv: Sequence[str], *, uid: int) -> tuple[str, ...]:
    """``argv`` as root: unchanged where the login is root already."""
    return tuple(argv) if uid == 0 else ("sudo", "-n", "--", *argv)


def check_sudo(completed: Completed, host_name: str, user: str) -> None:
    """Raise SudoError where sudo itself refused."""
    if completed.status == 0:
        return
    if any(text in completed.stderr for text in _REFUSALS):
        raise SudoError(
            f"{host_name}: {user} may not become root without a password",
            hint=sudoers_hint(user),
        )
    if completed.status in (1, 127) and any(text in completed.stderr for text in _NO_SUDO):
        raise SudoError(
            f"{host_name}: sudo is not installed and the login is not root", hint="Log in as root, or install sudo."
        )


def sudoers_hint(user: str) -> str:
    """What to add, and where. A narrower line would only look safer: the agent is a program that runs as root."""
    return (
        "Add this line to /etc/sudoers.d/jvbtune on the host (visudo -f), or run playbooks/prepare.yml:\n"
        f"{user} ALL=(root) NOPASSWD: ALL"
    )
