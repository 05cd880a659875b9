"""What the user's OpenSSH would do for a host: asked of ``ssh -G``, so that Include, Match and all else hold."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from jvbtune.errors import HostError, UsageError
from jvbtune.text import clean


@dataclass(frozen=True)
class Resolved:
    """The part of ``ssh -G`` that jvbtune uses."""

    alias: str
    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...]
    identities_only: bool
    identity_agent: str | None  #: a socket's path; None: $SSH_AUTH_SOCK; "none": no agent
    user_known_hosts_files: tuple[Path, ...]
    global_known_hosts_files: tuple[Path, ...]
    host_key_alias: str | None
    proxy_command: tuple[str, ...] | None  #: argv; ProxyJump becomes ``ssh -W``
    connect_timeout_seconds: float
    keepalive_seconds: float
    certificate_files: tuple[Path, ...] = ()
    revoked_host_keys: tuple[Path, ...] = ()
    known_hosts_command: str | None = None  #: with its tokens

    @property
    def known_hosts_name(self) -> str:
        """The name under which known_hosts has the key."""
        name = self.host_key_alias or self.hostname
        return name if self.port == 22 or self.host_key_alias else f"[{name}]:{self.port}"


DEFAULT_CONNECT_TIMEOUT_SECONDS = 15.0
DEFAULT_KEEPALIVE_SECONDS = 5.0


def resolve(alias: str, config: Path | None = None) -> Resolved:
    """Ask ``ssh -G alias``. Raises HostError where there is no ssh client, UsageError for what it refuses."""
    command = ["ssh", *(["-F", str(config)] if config is not None else []), "-G", "--", alias]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError as error:
        raise HostError("there is no ssh client on this machine", hint="apt-get install openssh-client") from error
    except subprocess.TimeoutExpired as error:
        raise HostError(f"{alias}: ssh -G did not answer within 20 s: does a Match exec hang?") from error
    if done.returncode != 0:
        raise UsageError(f"{alias}: OpenSSH does not accept its configuration: {done.stderr.strip()}")
    return parse_resolved(alias, done.stdout, config)


def parse_resolved(alias: str, text: str, config: Path | None = None) -> Resolved:
    """Read the answer of ``ssh -G``: a keyword in lower case and its value on each line, some several times."""
    values: dict[str, list[str]] = {}
    for line in text.replace("\0", "").splitlines():  # no name of a host or a file has one
        key, _, value = line.partition(" ")
        values.setdefault(key.lower(), []).append(value.strip())

    def one(key: str, default: str = "") -> str:
        return values.get(key, [default])[0]

    def lists(key: str) -> tuple[Path, ...]:
        names = [name for value in values.get(key, []) for name in _split(value)]
        return tuple(Path(os.path.expanduser(name)) for name in names if name != "none")

    def files(key: str) -> tuple[Path, ...]:
        """Of a keyword with one file name on a line: without quotes, and with its tokens as they were written."""
        names = [name for name in values.get(key, []) if name not in ("", "none")]
        return tuple(Path(_expanded(os.path.expanduser(name), tokens)) for name in names)

    def number(key: str, default: str) -> int:
        value = one(key, default)
        if re.fullmatch("[0-9]{1,9}", value) is None:
            raise UsageError(f"{alias}: ssh -G gives {clean(value)!r} as {key}, which is not a number")
        return int(value)

    hostname, port, user = one("hostname", alias), number("port", "22"), one("user")
    myself = pwd.getpwuid(os.getuid())
    tokens = {"%%": "%", "%d": myself.pw_dir, "%h": hostname, "%n": alias.rpartition("@")[2], "%p": str(port)}
    tokens |= {"%r": user, "%u": myself.pw_name}
    alias_key = one("hostkeyalias", "none")
    return Resolved(
        alias=alias,
        hostname=hostname,
        port=port,
        user=user,
        identity_files=files("identityfile"),
        identities_only=one("identitiesonly", "no") == "yes",
        identity_agent=_agent(one("identityagent")),
        user_known_hosts_files=lists("userknownhostsfile"),
        global_known_hosts_files=lists("globalknownhostsfile"),
        host_key_alias=None if alias_key in ("", "none") else alias_key,
        proxy_command=_proxy(
            one("proxyjump", "none"), one("proxycommand", "none"), hostname, port, user, alias, config
        ),
        connect_timeout_seconds=(
            DEFAULT_CONNECT_TIMEOUT_SECONDS
            if one("connecttimeout", "none") == "none"
            else float(number("connecttimeout", "")) or DEFAULT_CONNECT_TIMEOUT_SECONDS  # 0: the system's own
        ),
        keepalive_seconds=float(number("serveraliveinterval", "0")) or DEFAULT_KEEPALIVE_SECONDS,
        certificate_files=files("certificatefile"),
        revoked_host_keys=files("revokedhostkeys"),
        known_hosts_command=command if (command := one("knownhostscommand", "none")) not in ("", "none") else None,
    )


def _split(value: str) -> list[str]:
    """File names, with quotes where they hold blanks."""
    try:
        return shlex.split(value)
    except ValueError:
        return [value]


def _expanded(name: str, tokens: dict[str, str]) -> str:
    """A file name with the values of its tokens and of ``${VAR}``; what has none stays (ssh_config(5), TOKENS)."""

    def value(match: re.Match[str]) -> str:
        return tokens.get(match[0], match[0]) if match[1] is None else os.environ.get(match[1], match[0])

    return re.sub(r"%.|\$\{(\w+)\}", value, name)


def _agent(value: str) -> str | None:
    """``$VAR`` is the socket that the variable names, and no agent if it is not set."""
    if value.startswith("$") and not value.startswith("${"):
        return os.environ.get(value[1:]) or "none"
    return None if value in ("", "SSH_AUTH_SOCK") else value


def _proxy(
    jump: str, command: str, hostname: str, port: int, user: str, alias: str, config: Path | None
) -> tuple[str, ...] | None:
    if jump not in ("", "none"):
        *through, last = jump.split(",")
        # BatchMode: what ssh would ask for on the terminal (an unknown key, a password) is an error instead.
        argv = ["ssh", "-o", "BatchMode=yes", *(["-F", str(config)] if config is not None else [])]
        if through:
            argv += ["-J", ",".join(through)]
        target, _, jump_port = last.rpartition(":")
        if target and jump_port.isdigit() and not target.endswith(":"):
            argv += ["-p", jump_port]
            last = target
        login, at, host = last.rpartition("@")
        last = login + at + host.removeprefix("[").removesuffix("]")  # ssh -G puts them around an address
        return (*argv, "-W", f"[{hostname}]:{port}", "--", last)
    if command not in ("", "none"):
        # ssh -G leaves the tokens of ProxyCommand as they are (ssh_config(5), TOKENS). A shell reads the result, and a
        # name may come from anybody's inventory; ssh refuses such a name (CVE-2023-51385), and quotes change no other.
        quoted = {"%h": hostname, "%p": str(port), "%r": user, "%n": alias}
        tokens = {"%%": "%", **{token: shlex.quote(value) for token, value in quoted.items()}}
        expanded, index = "", 0
        while index < len(command):
            pair = command[index : index + 2]
            expanded += tokens.get(pair, command[index])
            index += 2 if pair in tokens else 1
        return ("sh", "-c", f"exec {expanded}")
    return None
