"""What only ssh promises: the user's configuration, host keys, broken links. Against real sshds."""

from __future__ import annotations

import getpass
import os
import pwd
import signal
import subprocess
import time
from pathlib import Path

import pytest

from jvbtune.errors import HostError, HostKeyError
from jvbtune.hosts.local import LocalHost
from jvbtune.hosts.openssh import parse_resolved, resolve
from jvbtune.hosts.ssh import SshHost
from tests.sshd import Server, make_key, run_sshd


def _config(server: Server, directory: Path, *, known_hosts: str | None = None, key: Path | None = None) -> Path:
    text = server.client_config.read_text()
    if known_hosts is not None:
        (directory / "known_hosts").write_text(known_hosts)
        text = text.replace(f"{server.directory}/known_hosts", f"{directory}/known_hosts")
    if key is not None:
        text = text.replace(f"{server.directory}/user_key", str(key))
    path = directory / "ssh_config"
    path.write_text(text)
    return path


def test_an_unknown_key_is_refused_with_its_fingerprint(sshd: Server, tmp_path: Path) -> None:
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(sshd.directory / "host_key.pub")], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    with pytest.raises(HostKeyError) as caught:
        SshHost.connect("target", "target", config=_config(sshd, tmp_path, known_hosts=""))
    assert shown in str(caught.value)
    assert "accept it once with: ssh target" in str(caught.value)


def test_a_changed_key_is_refused_and_said_to_be_changed(sshd: Server, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    other = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    config = _config(sshd, tmp_path, known_hosts=f"[127.0.0.1]:{sshd.port} {other}\n")
    with pytest.raises(HostKeyError, match="CHANGED") as caught:
        SshHost.connect("target", "target", config=config)
    assert "ssh-keygen -R" in str(caught.value)


def test_a_revoked_key_is_refused(sshd: Server, tmp_path: Path) -> None:
    known = (sshd.directory / "known_hosts").read_text()
    config = _config(sshd, tmp_path, known_hosts=known + "@revoked * " + known.split(" ", 1)[1])
    with pytest.raises(HostKeyError, match="revoked"):
        SshHost.connect("target", "target", config=config)


def test_a_certificate_authority_is_not_a_key_of_the_host(sshd: Server, tmp_path: Path) -> None:
    known = (sshd.directory / "known_hosts").read_text()
    with pytest.raises(HostKeyError, match="trusts a certificate authority") as caught:
        SshHost.connect("target", "target", config=_config(sshd, tmp_path, known_hosts="@cert-authority " + known))
    assert "ssh target cat /etc/ssh/ssh_host_ed25519_key.pub" in str(caught.value)


def test_hashed_names_and_wildcards_of_known_hosts_hold(sshd: Server, tmp_path: Path) -> None:
    config = _config(sshd, tmp_path, known_hosts=(sshd.directory / "known_hosts").read_text())
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(tmp_path / "known_hosts")], check=True, capture_output=True)
    assert "127.0.0.1" not in (tmp_path / "known_hosts").read_text()
    with SshHost.connect("target", "target", config=config) as host:
        assert host.run(["true"]).status == 0
    key = (sshd.directory / "known_hosts").read_text().split(" ", 1)[1]
    (tmp_path / "known_hosts").write_text(f"[127.0.0.*]:{sshd.port} {key}")
    with SshHost.connect("target", "target", config=config) as host:
        assert host.run(["true"]).status == 0


def test_a_key_that_the_host_does_not_take(sshd: Server, tmp_path: Path) -> None:
    make_key(tmp_path / "stranger")
    with pytest.raises(HostError, match="accepts none of the keys") as caught:
        SshHost.connect("target", "target", config=_config(sshd, tmp_path, key=tmp_path / "stranger"))
    assert "stranger" in str(caught.value)


@pytest.mark.parametrize("name", ["target", "127.0.0.1:{port}"])
def test_through_a_jump_host(sshd: Server, tmp_path: Path, name: str) -> None:
    name = name.format(port=sshd.port)
    jump = sshd.client_config.read_text().replace("Host target", "Host target 127.0.0.1")
    with (
        run_sshd(tmp_path / "inner", alias="inner", extra_client=f"  ProxyJump {name}\n" + jump) as inner,
        SshHost.connect("inner", "inner", config=inner.client_config) as host,
    ):
        assert host.resolved.proxy_command is not None
        assert host.run(["echo", "through"]).stdout == b"through\n"


def test_a_killed_server_is_told_not_waited_for(tmp_path: Path) -> None:
    with run_sshd(tmp_path / "own") as server, SshHost.connect("x", "target", config=server.client_config) as host:
        stream = host.stream(["cat"])
        for pid in server.sessions():
            os.kill(pid, signal.SIGKILL)
        begun = time.monotonic()
        assert stream.read_line(20) is None
        with pytest.raises(HostError):
            stream.wait(20)
        with pytest.raises(HostError):
            host.run(["true"], timeout_seconds=20)
        assert time.monotonic() - begun < 20
        stream.close()


def test_nobody_listens(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host nowhere\n  HostName 127.0.0.1\n  Port 1\n")
    with pytest.raises(HostError, match=r"cannot connect to 127\.0\.0\.1:1"):
        SshHost.connect("nowhere", "nowhere", config=config)


@pytest.mark.parametrize("name", ["a..b", f"{'a' * 64}.example.org"])
def test_what_is_no_host_name(tmp_path: Path, name: str) -> None:
    config = tmp_path / "config"
    config.write_text(f"Host nowhere\n  HostName {name}\n")
    with pytest.raises(HostError, match=rf"nowhere: {name} is no host name"):
        SshHost.connect("nowhere", "nowhere", config=config)
    with pytest.raises(HostError, match=rf"localhost: {name} is no host name"):
        LocalHost().connect_tcp(name, 8080)


def test_the_answer_of_ssh_g_is_read(tmp_path: Path) -> None:
    text = (
        "user jane\nhostname 203.0.113.7\nport 2222\nidentityfile ~/.ssh/id_a\nidentityfile /k/b\nidentitiesonly yes\n"
        "userknownhostsfile /a /b\nproxyjump gw1,ops@gw2:2200\nconnecttimeout 7\n"
        "serveraliveinterval 0\nhostkeyalias none\n"
    )
    resolved = parse_resolved("jvb", text, Path("/c"))
    assert (resolved.user, resolved.hostname, resolved.port) == ("jane", "203.0.113.7", 2222)
    assert resolved.identity_files == (Path.home() / ".ssh/id_a", Path("/k/b"))
    assert resolved.user_known_hosts_files == (Path("/a"), Path("/b"))
    assert resolved.known_hosts_name == "[203.0.113.7]:2222"
    assert resolved.connect_timeout_seconds == 7
    expected = (
        "ssh",
        "-o",
        "BatchMode=yes",
        "-F",
        "/c",
        "-J",
        "gw1",
        "-p",
        "2200",
        "-W",
        "[203.0.113.7]:2222",
        "--",
        "ops@gw2",
    )
    assert resolved.proxy_command == expected


@pytest.mark.parametrize(
    ("jump", "end"),
    [
        ("bob@[10.0.0.1]", ["--", "bob@10.0.0.1"]),
        ("[10.0.0.1]:2222", ["-p", "2222", "-W", "[h]:22", "--", "10.0.0.1"]),
        ("bob@[2001:db8::1]:2222", ["-p", "2222", "-W", "[h]:22", "--", "bob@2001:db8::1"]),
        ("[2001:db8::1]", ["--", "2001:db8::1"]),
        ("a@[10.0.0.2]:23,bob@[10.0.0.1]", ["-J", "a@[10.0.0.2]:23", "-W", "[h]:22", "--", "bob@10.0.0.1"]),
    ],
)
def test_the_address_of_a_jump_host_is_given_to_ssh_without_brackets(jump: str, end: list[str]) -> None:
    found = parse_resolved("n", f"user u\nhostname h\nport 22\nproxyjump {jump}\n").proxy_command
    assert found is not None
    assert list(found[-len(end) :]) == end


def test_file_names_are_those_that_openssh_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a real ``ssh -G``, which leaves quotes out and tokens as they are."""
    config, me = tmp_path / "config", pwd.getpwuid(os.getuid())
    config.write_text(
        "Host x\n  HostName h.example.org\n  Port 2200\n  User jane\n  ConnectTimeout 0\n"
        '  IdentityFile ~/.ssh/%h_key\n  IdentityFile %d/%n-%p-%r-%u\n  IdentityFile "${JVBTUNE_KEYS}/a b/100%%"\n'
        "  IdentityFile /k/${JVBTUNE_NONE}/%Z\n  IdentityFile /o\\'neil/id\n"
        '  CertificateFile "/c d/%r-cert.pub"\n  RevokedHostKeys "/r k/%h"\n  IdentityAgent $JVBTUNE_AGENT\n'
        "Host y\n  IdentityFile none\n  ConnectTimeout 7\n"
    )
    monkeypatch.setenv("JVBTUNE_KEYS", "/keys")
    monkeypatch.delenv("JVBTUNE_NONE", raising=False)
    monkeypatch.setenv("JVBTUNE_AGENT", "/run/agent")
    found = resolve("x", config)
    assert found.identity_files == (
        Path.home() / ".ssh/h.example.org_key",
        Path(me.pw_dir, f"x-2200-jane-{me.pw_name}"),
        Path("/keys/a b/100%"),
        Path("/k/${JVBTUNE_NONE}/%Z"),
        Path("/o'neil/id"),
    )
    assert found.certificate_files == (Path("/c d/jane-cert.pub"),)
    assert found.revoked_host_keys == (Path("/r k/h.example.org"),)
    assert (found.identity_agent, found.connect_timeout_seconds) == ("/run/agent", 15)
    monkeypatch.delenv("JVBTUNE_AGENT")
    assert resolve("bob@x", config).identity_agent == "none"
    assert resolve("bob@x", config).identity_files[1] == Path(me.pw_dir, f"x-2200-bob-{me.pw_name}")
    other = resolve("y", config)
    assert (other.identity_files, other.identity_agent, other.connect_timeout_seconds) == ((), None, 7)


def test_tokens_of_a_proxy_command() -> None:
    text = "user u\nhostname h\nport 22\nproxycommand nc %h %p %%x %n\n"
    assert parse_resolved("n", text).proxy_command == ("sh", "-c", "exec nc h 22 %x n")


def test_a_name_of_an_inventory_cannot_run_a_command() -> None:
    text = "user u\nhostname $(touch_x);h\nport 22\nproxycommand nc %h %p\n"
    assert parse_resolved("n", text).proxy_command == ("sh", "-c", "exec nc '$(touch_x);h' 22")


def test_the_login_is_that_of_the_configuration(sshd: Server) -> None:
    with SshHost.connect("target", "target", config=sshd.client_config) as host:
        assert host.user == getpass.getuser()
        assert host.uid() == os.getuid()
