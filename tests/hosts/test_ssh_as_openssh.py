"""ssh as OpenSSH does it: damaged known_hosts, many keys, agents that refuse, certificates, jump hosts."""

from __future__ import annotations

import base64
import contextlib
import getpass
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jvbtune.errors import HostError, HostKeyError
from jvbtune.hosts.host_keys import _matches
from jvbtune.hosts.ssh import SshHost
from tests.hosts.test_ssh import _config
from tests.sshd import Server, make_key, run_sshd


def _lines(server: Server) -> tuple[str, str]:
    """(name in known_hosts, the key)."""
    name, key = (server.directory / "known_hosts").read_text().split(" ", 1)
    return name, key.strip()


def _works(server: Server, directory: Path, known_hosts: str | None = None, extra: str = "") -> None:
    config = _config(server, directory, known_hosts=known_hosts)
    config.write_text(config.read_text() + extra)
    with SshHost.connect("target", "target", config=config) as host:
        assert host.run(["echo", "x"]).stdout.endswith(b"x\n")


DAMAGED = ["|1|", "|1|x|y", "|1|AAAA|AAAA", "|1|a", "|", "|2|x|y", "|1|\u00fc|x", "|1||", "|1|" + "A" * 28 + "=|="]


@pytest.mark.parametrize("pattern", DAMAGED)
def test_a_damaged_hashed_line_is_passed_over(sshd: Server, tmp_path: Path, pattern: str) -> None:
    name, key = _lines(sshd)
    _works(sshd, tmp_path, f"{pattern} {key}\n{name} {key}\n{pattern}\n")


@settings(max_examples=200)
@given(st.text(max_size=40))
def test_no_pattern_breaks_the_reading(pattern: str) -> None:
    assert _matches(pattern, "host") in (True, False)


def test_a_key_known_without_a_port_holds_for_another_port(sshd: Server, tmp_path: Path) -> None:
    _, key = _lines(sshd)
    _works(sshd, tmp_path, f"127.0.0.1 {key}\n")
    make_key(tmp_path / "other")
    other = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    with pytest.raises(HostKeyError, match="not known"):
        _works(sshd, tmp_path, f"127.0.0.1 {other}\n")
    with pytest.raises(HostKeyError, match="CHANGED"):
        _works(sshd, tmp_path, f"127.0.0.1 {key}\n[127.0.0.1]:{sshd.port} {other}\n")


def test_known_hosts_command(sshd: Server, tmp_path: Path) -> None:
    _, key = _lines(sshd)
    command = tmp_path / "known"
    command.write_text(f'#!/bin/sh\nprintf "%s {key}\\n" "$1"\n')
    command.chmod(0o755)
    _works(sshd, tmp_path, "", f"  KnownHostsCommand {command} %H\n")
    for rest, said in ((f"{command} %C", "uses %C"), ("/does/not/exist", "cannot be run"), ("/bin/false", "status 1")):
        with pytest.raises(HostKeyError, match=said):
            _works(sshd, tmp_path, "", f"  KnownHostsCommand {rest}\n")


def test_revoked_host_keys(sshd: Server, tmp_path: Path) -> None:
    name, key = _lines(sshd)
    make_key(tmp_path / "other")
    lists = {"text": key + "\n", "other": (tmp_path / "other.pub").read_text()}
    for file, text in lists.items():
        (tmp_path / file).write_text(text)
    argv = ["ssh-keygen", "-q", "-k", "-f", str(tmp_path / "krl"), str(sshd.directory / "host_key.pub")]
    subprocess.run(argv, check=True)
    _works(sshd, tmp_path, f"{name} {key}\n", f"  RevokedHostKeys {tmp_path}/other\n")
    for file, said in (("text", "is revoked in"), ("krl", "is revoked in"), ("missing", "cannot be looked up in")):
        with pytest.raises(HostKeyError, match=said):
            _works(sshd, tmp_path, f"{name} {key}\n", f"  RevokedHostKeys {tmp_path}/{file}\n")


@contextlib.contextmanager
def _ssh_agent(directory: Path) -> Iterator[Path]:
    path = directory / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        while not path.exists():
            assert process.poll() is None
        yield path
    finally:
        process.terminate()
        process.wait()


def _add(agent: Path, *arguments: str) -> None:
    environment = {**os.environ, "SSH_AUTH_SOCK": str(agent), "SSH_ASKPASS": "/bin/false", "DISPLAY": ":none"}
    subprocess.run(["ssh-add", "-q", *arguments], env=environment, check=True, capture_output=True)


def _with_agent(
    server: Server, directory: Path, agent: Path, *, only: str = "no", identity: Path | None = None
) -> Path:
    config = _config(server, directory, known_hosts=(server.directory / "known_hosts").read_text())
    text = config.read_text().replace("IdentityAgent none", f"IdentityAgent {agent}")
    text = text.replace("IdentitiesOnly yes", f"IdentitiesOnly {only}")
    if identity is not None:
        text = text.replace(str(server.directory / "user_key"), str(identity))
    config.write_text(text)
    return config


def test_the_right_key_comes_before_eight_of_the_agent(sshd: Server, tmp_path: Path) -> None:
    with _ssh_agent(tmp_path) as agent:
        for number in range(8):
            make_key(tmp_path / f"key{number}")
            _add(agent, str(tmp_path / f"key{number}"))
        config = _with_agent(sshd, tmp_path, agent)
        with SshHost.connect("target", "target", config=config) as host:
            assert host.run(["true"]).status == 0
        config = _with_agent(sshd, tmp_path, agent, identity=tmp_path / "no-such-key")
        with pytest.raises(HostError, match="accepts none of the keys") as caught:
            SshHost.connect("target", "target", config=config)
        assert "IdentitiesOnly yes" in str(caught.value)
        assert "No existing session" not in str(caught.value)


def _of_no_use(key: Path, config: Path, own: str) -> str:
    """A key that is tried before the user's own stops nothing. What is said if it is the only one."""
    config.write_text(config.read_text().replace(own, f"  IdentityFile {key}\n{own}"))
    with SshHost.connect("target", "target", config=config) as host:
        assert host.run(["true"]).status == 0
    config.write_text(config.read_text().replace(own, ""))
    with pytest.raises(HostError, match="accepts none of the keys") as caught:
        SshHost.connect("target", "target", config=config)
    return str(caught.value)


def test_an_agent_that_refuses_to_sign_does_not_stop_the_next_key(sshd: Server, tmp_path: Path) -> None:
    """``ssh-add -c`` with an askpass that says no."""
    make_key(tmp_path / "first")
    with run_sshd(tmp_path / "own") as server, _ssh_agent(tmp_path) as agent:
        keys = server.directory / "authorized_keys"
        keys.write_text(keys.read_text() + (tmp_path / "first.pub").read_text())
        _add(agent, "-c", str(tmp_path / "first"))
        (tmp_path / "first").unlink()
        config = _with_agent(server, tmp_path, agent)
        own = f"  IdentityFile {server.directory}/user_key\n"
        assert "first (ssh-agent)" in _of_no_use(tmp_path / "first", config, own)


def test_a_certificate_of_the_users(tmp_path: Path) -> None:
    make_key(tmp_path / "authority")
    with run_sshd(tmp_path / "own", extra_server=f"TrustedUserCAKeys {tmp_path}/authority.pub\n") as server:
        (server.directory / "authorized_keys").write_text("")
        with pytest.raises(HostError, match="accepts none"):
            SshHost.connect("target", "target", config=server.client_config)
        public = server.directory / "user_key.pub"
        sign = ["ssh-keygen", "-q", "-s", str(tmp_path / "authority"), "-I", "x", "-n", getpass.getuser(), str(public)]
        subprocess.run(sign, check=True)
        with SshHost.connect("target", "target", config=server.client_config) as host:
            assert host.run(["true"]).status == 0
        beside = server.directory / "user_key-cert.pub"
        beside.rename(tmp_path / "elsewhere.pub")
        config = server.client_config
        config.write_text(config.read_text() + f"  CertificateFile {tmp_path}/elsewhere.pub\n")
        with SshHost.connect("target", "target", config=config) as host:
            assert host.run(["true"]).status == 0


def _security_key(path: Path) -> None:
    """As ``ssh-keygen -t ed25519-sk`` writes it (PROTOCOL.key, PROTOCOL.u2f)."""

    def packed(*parts: bytes) -> bytes:
        return b"".join(struct.pack(">I", len(part)) + part for part in parts)

    public = packed(b"sk-ssh-ed25519@openssh.com", bytes(range(32)), b"ssh:")
    private = bytes(8) + public + b"\x01" + packed(b"handle", b"", b"a comment")
    private += bytes(range(1, 1 + -len(private) % 8))
    content = b"openssh-key-v1\0" + packed(b"none", b"none", b"") + struct.pack(">I", 1) + packed(public, private)
    lines = base64.encodebytes(content).decode()
    path.write_text(f"-----BEGIN OPENSSH PRIVATE KEY-----\n{lines}-----END OPENSSH PRIVATE KEY-----\n")
    path.chmod(0o600)


def test_a_security_key_is_passed_over_and_named(sshd: Server, tmp_path: Path) -> None:
    _security_key(tmp_path / "id_ed25519_sk")
    subprocess.run(["ssh-keygen", "-y", "-f", str(tmp_path / "id_ed25519_sk")], check=True, capture_output=True)
    config = _config(sshd, tmp_path)
    own = f"  IdentityFile {sshd.directory}/user_key\n"
    said = _of_no_use(tmp_path / "id_ed25519_sk", config, own)
    assert f"Tried: {tmp_path}/id_ed25519_sk (a security key: add it to ssh-agent)" in said


def test_a_server_that_wants_more_than_a_key(tmp_path: Path) -> None:
    wanted = f"Match User {getpass.getuser()}\n  KbdInteractiveAuthentication yes\n"
    wanted += "  AuthenticationMethods publickey,keyboard-interactive\n"
    with run_sshd(tmp_path / "own", extra_server=wanted) as server:
        begun = time.monotonic()
        with pytest.raises(HostError, match=r"then also wants keyboard-interactive, which jvbtune cannot") as caught:
            SshHost.connect("target", "target", config=server.client_config)
        assert time.monotonic() - begun < 5
        assert f"Match User {getpass.getuser()}" in str(caught.value.hint)


def test_a_server_that_wants_two_keys(tmp_path: Path) -> None:
    with run_sshd(tmp_path / "own", extra_server="AuthenticationMethods publickey,publickey\n") as server:
        with pytest.raises(HostError, match="then also wants another key") as caught:
            SshHost.connect("target", "target", config=server.client_config)
        assert "user_key (accepted, but not enough)" in str(caught.value)
        for name in ("stranger", "second"):
            make_key(server.directory / name)
        keys, config = server.directory / "authorized_keys", server.client_config
        keys.write_text(keys.read_text() + (server.directory / "second.pub").read_text())
        own = f"  IdentityFile {server.directory}/"
        config.write_text(config.read_text() + f"{own}stranger\n{own}second\n")
        with SshHost.connect("target", "target", config=config) as host:
            assert host.run(["true"]).status == 0


def test_a_login_that_prints_a_greeting(tmp_path: Path) -> None:
    from jvbtune.hosts.agent_client import _own_cache

    greeting = f"SetEnv HOME={tmp_path}/home\nForceCommand sh -c 'echo WELCOME; exec sh -c \"$SSH_ORIGINAL_COMMAND\"'\n"
    with (
        run_sshd(tmp_path / "own", extra_server=greeting) as server,
        SshHost.connect("target", "target", config=server.client_config) as host,
    ):
        assert host.run(["echo", "x"]).stdout == b"WELCOME\nx\n"
        assert host.uid() == os.getuid()
        found = _own_cache(host)
        assert found.endswith("/.cache/jvbtune")
        assert "WELCOME" not in found


def test_a_login_that_runs_no_commands(tmp_path: Path) -> None:
    with (
        run_sshd(tmp_path / "own", extra_server="ForceCommand echo 'This account is closed.'; exit 1\n") as server,
        SshHost.connect("target", "target", config=server.client_config) as host,
        pytest.raises(HostError, match=r"does not run commands.*This account is closed"),
    ):
        host.uid()


def test_an_unknown_key_of_the_jump_host_is_one_clear_line(
    sshd: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").write_text("")
    jump = sshd.client_config.read_text().replace(f"{sshd.directory}/known_hosts", f"{tmp_path}/empty")
    with (
        run_sshd(tmp_path / "inner", alias="inner", extra_client="  ProxyJump target\n" + jump) as inner,
        pytest.raises(HostError, match=r"no way through its jump host target: .*[Hh]ost key") as caught,
    ):
        SshHost.connect("inner", "inner", config=inner.client_config)
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("accept it once with: ssh target")
    assert "\n" not in caught.value.message
    said = capfd.readouterr()
    assert "host key" not in (said.out + said.err).lower()


def test_a_proxy_command_that_fails(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host x\n  HostName 127.0.0.1\n  ProxyCommand sh -c 'echo gone >&2; exit 1'\n")
    with pytest.raises(HostError, match="x: its ProxyCommand failed: gone"):
        SshHost.connect("x", "x", config=config)


def test_a_failed_connection_names_the_address(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host a b\n  Port 1\nHost a\n  HostName localhost\nHost b\n  HostName 127.0.0.1\n")
    with pytest.raises(HostError, match=r"cannot connect to localhost:1 \(.*127\.0\.0\.1.*\): "):
        SshHost.connect("a", "a", config=config)
    with pytest.raises(HostError, match=r"cannot connect to 127\.0\.0\.1:1: "):
        SshHost.connect("b", "b", config=config)


def test_nothing_of_paramiko_reaches_the_terminal() -> None:
    import sys

    script = (
        "import jvbtune.hosts.ssh, logging\n"
        "logging.getLogger('paramiko.transport').error('secret \\x1b[31m')\n"
        "logging.getLogger('paramiko').warning('x')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
