"""Becoming root: the exact right that is needed, what sudo's refusals mean, and whose archive is run."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jvbtune.errors import AgentError, SudoError, UsageError
from jvbtune.hosts import agent_client, archive
from jvbtune.hosts.agent_client import AgentClient, agent_argv
from jvbtune.hosts.base import Completed
from jvbtune.hosts.lines import after_mark
from jvbtune.hosts.local import LocalHost
from jvbtune.hosts.prepare import sudoers, write
from jvbtune.hosts.sudo import check_sudo, with_sudo

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")
AS_NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]


@pytest.mark.skipif(shutil.which("visudo") is None, reason="needs sudo")
@pytest.mark.parametrize("user", ["ops", "jvb-tuner", "_svc.1"])
def test_the_sudoers_file_is_one(user: str, tmp_path: Path) -> None:
    write(tmp_path, user)
    subprocess.run(["visudo", "-cf", str(tmp_path / "sudoers")], check=True, capture_output=True)
    text = (tmp_path / "sudoers").read_text()
    assert "NOPASSWD: ALL" not in text
    assert (tmp_path / archive.agent_archive().name).read_bytes() == archive.agent_archive().content


@pytest.mark.parametrize(
    "user", ["root", "", "ALL", "a b", "%wheel", "x\nALL ALL=(ALL) NOPASSWD: ALL", "a,b", "!x", "#0"]
)
def test_no_name_writes_another_line(user: str) -> None:
    with pytest.raises(UsageError):
        sudoers(user)


@needs_root
@pytest.mark.skipif(shutil.which("visudo") is None or shutil.which("unshare") is None, reason="needs sudo and unshare")
def test_the_right_starts_the_agent_and_nothing_else(tmp_path: Path) -> None:
    """With real sudo, in a mount namespace of its own: this machine's sudoers file is not touched."""
    write(tmp_path / "made", "nobody")
    cache, rules = tmp_path / "cache", tmp_path / "sudoers"
    (cache / "jvbtune").mkdir(parents=True)
    name = archive.agent_archive().name
    shutil.copy(tmp_path / "made" / name, cache / "jvbtune" / name)
    rules.write_text("Defaults env_reset, secure_path=/usr/sbin:/usr/bin\n" + (tmp_path / "made/sudoers").read_text())
    rules.chmod(0o440)
    path = f"{agent_client.ROOT_DIRECTORIES[0]}/{name}"
    sudo = " ".join([*AS_NOBODY, "sudo", "-n", "--"])
    enter = f"mount --bind {rules} /etc/sudoers && mount --bind {cache} /var/cache && "
    other = tmp_path / "other.pyz"

    def status(command: str) -> int:
        script = enter + f"{sudo} {command} </dev/null"
        return subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, timeout=60).returncode

    started = " ".join(agent_argv(path))
    assert status(started) == 0
    for refused in ("id", "sh -c true", f"python3 -I -B {other}", f"python3 -B {path}", f"{started} guard", "python3"):
        assert status(refused) == 1, refused


@pytest.mark.skipif(shutil.which("sudo") is None, reason="needs sudo")
@needs_root
def test_what_the_real_sudo_says_is_understood() -> None:
    argv = with_sudo(["true"], uid=65534)
    done = subprocess.run([*AS_NOBODY, *argv], capture_output=True, env={**os.environ, "LC_ALL": "de_DE.UTF-8"})
    with pytest.raises(SudoError, match="may not become root") as caught:
        check_sudo(Completed(argv, done.returncode, done.stdout, done.stderr), "jvb", "ops")
    assert "ops ALL=(root)" in str(caught.value)


REFUSALS = {
    "sudo: a password is required": "may not become root",
    "ops is not in the sudoers file.": "may not become root",
    "Sorry, user ops is not allowed to execute '/bin/sh' as root on jvb.": "may not become root",
    "sudo: Ein Passwort ist notwendig": "may not become root",
    "sudo: il est nécessaire de saisir un mot de passe": "may not become root",
    "sudo: interactive authentication is required": "may not become root",
    "sudo-rs: I'm sorry ops. I'm afraid I can't do that": "may not become root",
    "sudo: sorry, you must have a tty to run sudo": "wants a terminal",
    "sudo: Entschuldigung, Sie benötigen ein tty, um sudo auszuführen": "wants a terminal",
    "env: 'sudo': No such file or directory": "sudo is not installed",
    "sh: 1: sudo: not found": "sudo is not installed",
}


@pytest.mark.parametrize(("said", "meaning"), REFUSALS.items(), ids=lambda text: text[:30])
def test_refusals(said: str, meaning: str) -> None:
    with pytest.raises(SudoError, match=meaning) as caught:
        check_sudo(Completed(("sudo",), 127 if "not installed" in meaning else 1, b"", said.encode()), "jvb", "ops")
    assert caught.value.hint


@pytest.mark.parametrize(
    "said",
    [
        "sudo: unable to resolve host jvb: Name or service not known\nls: cannot access 'x'",
        "sudo: python3: command not found",
        "",
    ],
)
def test_failures_that_are_not_sudos(said: str) -> None:
    check_sudo(Completed(("sudo",), 1, b"", said.encode()), "jvb", "ops")


def test_an_old_python_says_what_is_needed() -> None:
    ast.parse(archive._MAIN, feature_version=(3, 4))
    script = f"import sys\nsys.version_info = (3, 8, 18, 'final', 0)\nexec({archive._MAIN!r})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "python3 on the host is 3.8, and jvbtune needs 3.9 or newer\n"


class _OldPython(LocalHost):
    """A host whose python3 is too old."""

    def __init__(self, directory: Path) -> None:
        super().__init__("old")
        self.python = directory / "python3"
        script = f"import sys\nsys.version_info = (3, 8, 18, 'final', 0)\nexec({archive._MAIN!r})"
        (directory / "old.py").write_text(script)
        self.python.write_text(f"#!/bin/sh\nexec {sys.executable} {directory}/old.py\n")
        self.python.chmod(0o755)

    def stream(self, argv, *, sudo=False):  # type: ignore[no-untyped-def]
        return super().stream([str(self.python), *argv[1:]], sudo=sudo)


def test_the_version_of_python_is_named_not_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_client, "ROOT_DIRECTORIES", (str(tmp_path / "cache"),))
    with pytest.raises(AgentError) as caught:
        AgentClient(_OldPython(tmp_path), sudo=os.getuid() == 0)
    assert caught.value.message == "old: python3 on the host is 3.8, and jvbtune needs 3.9 or newer"


@needs_root
def test_an_archive_that_somebody_else_can_write_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setattr(agent_client, "ROOT_DIRECTORIES", (str(first), str(second)))
    host, name = LocalHost(), archive.agent_archive().name
    assert agent_client._install(host, sudo=True) == f"{first}/{name}"
    for harm in (
        lambda: first.chmod(0o777),
        lambda: (first.chmod(0o775), os.chown(first, 0, 65534)),
        lambda: (first.chmod(0o755), os.chown(first, 65534, 0)),
    ):
        harm()
        assert agent_client._install(host, sudo=True) == f"{second}/{name}"
    os.chown(first, 0, 0)
    for harm in (
        lambda: (first / name).write_bytes(b"evil"),
        lambda: (first / name).chmod(0o666),
        lambda: os.chown(first / name, 65534, 0),
        lambda: ((first / name).unlink(), (first / name).symlink_to("/etc/passwd")),
    ):
        harm()
        assert agent_client._install(host, sudo=True) == f"{first}/{name}"
        found = (first / name).lstat()
        assert (found.st_uid, found.st_mode & 0o777) == (0, 0o644)
        assert (first / name).read_bytes() == archive.agent_archive().content
    second.chmod(0o777)
    first.chmod(0o777)
    with pytest.raises(AgentError, match="cannot be put on the host") as caught:
        agent_client._install(host, sudo=True)
    assert "somebody else" in str(caught.value)


@needs_root
@pytest.mark.skipif(
    shutil.which("unshare") is None or not Path("/etc/sudoers.d").is_dir(), reason="needs sudo and unshare"
)
def test_an_archive_that_a_right_names_stays_for_ever(tmp_path: Path) -> None:
    """The real command, in a mount namespace of its own: the rights are a test's."""
    cache, rules = tmp_path / "cache", tmp_path / "sudoers.d"
    rules.mkdir()
    (rules / "jvbtune").write_text(sudoers("ops").replace(archive.agent_archive().name, "agent-0123.pyz"))
    cache.mkdir()
    for name in ("agent-0123.pyz", "agent-4567.pyz", "agent-89ab.pyz", "else.pyz"):
        (cache / name).write_bytes(b"old")
        os.utime(cache / name, (0, 0))
    os.utime(cache / "agent-89ab.pyz")
    made = archive.agent_archive()
    script = f'mount --bind {rules} /etc/sudoers.d && exec sh -c "$1" sh "$2" "$3" "$4"'
    argv = ["unshare", "-m", "sh", "-c", script, "sh", agent_client._INSTALL, str(cache), made.name, made.sha256]
    subprocess.run(argv, input=made.content, check=True, timeout=60)
    assert {path.name for path in cache.iterdir()} == {"agent-0123.pyz", "agent-89ab.pyz", "else.pyz", made.name}


def test_an_answer_behind_a_greeting() -> None:
    assert after_mark(b"Welcome!\nmark:no\r\nmark:/home/x y\n", b"mark:".decode()) == "/home/x y"
    assert after_mark(b"Welcome!", "mark:") == ""
