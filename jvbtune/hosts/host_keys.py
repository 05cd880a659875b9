"""Host keys: only what the user's known_hosts files hold is accepted. Nothing is ever added to them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import shlex
import subprocess
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path

import paramiko

from jvbtune.errors import HostKeyError
from jvbtune.hosts.openssh import Resolved

_KRL = b"SSHKRL\n\0"


def fingerprint(key: paramiko.PKey) -> str:
    """As ``ssh-keygen -l`` shows it: ``SHA256:`` and base64 without padding."""
    digest = hashlib.sha256(key.asbytes()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


class KnownHosts:
    """The keys that hold for one host, and those that are revoked; as OpenSSH finds them (sshconnect.c)."""

    def __init__(self, resolved: Resolved) -> None:
        self._resolved = resolved
        self._keys: list[tuple[str, bytes]] = []  #: (type, key) in the order of the files
        self._without_port: list[tuple[str, bytes]] = []  #: known for the same host at port 22: the same keys hold
        self._revoked: set[bytes] = set()
        self._authority: str | None = None  #: the file that trusts a certificate authority for the host
        for path in (*resolved.user_known_hosts_files, *resolved.global_known_hosts_files):
            try:
                self._read(path.read_text(errors="replace"), str(path))
            except OSError:
                continue
        if resolved.known_hosts_command is not None:
            self._read(_ask(resolved), "KnownHostsCommand")

    def _read(self, text: str, where: str) -> None:
        resolved = self._resolved
        for line in text.splitlines():
            fields = line.split()
            if not fields or fields[0].startswith("#"):
                continue
            marker = fields.pop(0) if fields[0].startswith("@") else ""
            if len(fields) < 3:
                continue
            exact = _matches(fields[0], resolved.known_hosts_name)
            if not exact and not (resolved.host_key_alias is None and _matches(fields[0], resolved.hostname)):
                continue
            if marker == "@cert-authority":
                self._authority = self._authority or where
                continue
            try:
                key = base64.b64decode(fields[2], validate=True)
            except ValueError:
                continue
            if marker == "@revoked":
                self._revoked.add(key)
            elif not marker:
                (self._keys if exact else self._without_port).append((fields[1], key))

    def _known(self) -> list[tuple[str, bytes]]:
        return self._keys or self._without_port

    def types(self) -> list[str]:
        """The key types that are known, to ask the server for these first (as OpenSSH does)."""
        return list(dict.fromkeys(kind for kind, _ in self._known()))

    def check(self, key: paramiko.PKey) -> None:
        """Raise HostKeyError unless exactly this key is known for the host."""
        resolved = self._resolved
        name, seen = resolved.known_hosts_name, fingerprint(key)
        files = " ".join(str(path) for path in resolved.user_known_hosts_files[:1]) or "~/.ssh/known_hosts"
        if key.asbytes() in self._revoked:
            raise HostKeyError(f"{resolved.alias}: its {key.get_name()} key {seen} is revoked in known_hosts")
        for path in resolved.revoked_host_keys:
            _refuse_revoked(resolved.alias, key, path)
        if any(known == key.asbytes() for _, known in self._known()):
            return
        if self._keys:
            raise HostKeyError(
                f"{resolved.alias}: the host key has CHANGED: {name} shows {key.get_name()} {seen}",
                hint=(
                    "Somebody may be in between, or the host was installed again. Ask its administrator for the "
                    f"fingerprint; if it is right:\n  ssh-keygen -R '{name}' -f {files}\n"
                    f"  ssh {resolved.alias}    # look at the fingerprint, then accept it"
                ),
            )
        if self._authority is not None:
            file = f"/etc/ssh/ssh_host_{key.get_name().removeprefix('ssh-').partition('-')[0]}_key.pub"
            raise HostKeyError(
                f"{resolved.alias}: {self._authority} trusts a certificate authority for {name}, and jvbtune does not "
                "check host certificates",
                hint="Add the host's own key, over a connection that OpenSSH has checked:\n"
                f"  ssh {resolved.alias} cat {file} | sed 's/^/{name} /' >>{files}",
            )
        raise HostKeyError(
            f"{resolved.alias}: the host key is not known: {name} shows {key.get_name()} {seen}",
            hint=f"Compare the fingerprint with its administrator's, then accept it once with: ssh {resolved.alias}",
        )


def _matches(patterns: str, name: str) -> bool:
    """known_hosts(5): a comma-separated list of names, hashed names, wildcards, negations."""
    name, matched = name.lower(), False
    for pattern in patterns.split(","):
        negated, pattern = pattern.startswith("!"), pattern.removeprefix("!")
        if pattern.startswith("|"):
            hit = _hashed(pattern, name)
        else:
            hit = fnmatchcase(name, pattern.lower().replace("[", "[[]"))
        if hit and negated:
            return False
        matched = matched or hit
    return matched


def _hashed(pattern: str, name: str) -> bool:
    """``|1|salt|HMAC-SHA1 of the name``. A damaged one matches no name, as with OpenSSH."""
    parts = pattern.split("|")
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in parts[2:])
    except ValueError:
        return False
    return parts[1] == "1" and hmac.compare_digest(hmac.new(salt, name.encode(), "sha1").digest(), digest)


def _ask(resolved: Resolved) -> str:
    """What KnownHostsCommand prints. Raises HostKeyError if it fails, as OpenSSH refuses the host then."""
    command = resolved.known_hosts_command or ""
    tokens = {"%%": "%", "%H": resolved.known_hosts_name, "%h": resolved.hostname, "%p": str(resolved.port)}
    tokens |= {"%r": resolved.user, "%n": resolved.alias, "%I": "HOSTNAME", "%t": "NONE", "%K": "NONE", "%f": "NONE"}
    where = f"{resolved.alias}: KnownHostsCommand"
    try:
        argv = [re.sub("%.", lambda match: tokens[match[0]], part) for part in shlex.split(command)]
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=20, stdin=subprocess.DEVNULL, check=False
        )
    except KeyError as error:
        hint = f"jvbtune knows {' '.join(tokens)}. Or put the key into a file and name it by UserKnownHostsFile."
        raise HostKeyError(f"{where} uses {error.args[0]}, which jvbtune does not know", hint=hint) from None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise HostKeyError(f"{where} cannot be run: {error}") from None
    if done.returncode != 0:
        raise HostKeyError(f"{where} failed with status {done.returncode}: {done.stderr.strip()[-200:]}")
    return done.stdout


def _refuse_revoked(alias: str, key: paramiko.PKey, path: Path) -> None:
    """RevokedHostKeys: lines of keys, or a key revocation list. One that cannot be read revokes all."""
    what = f"{alias}: its {key.get_name()} key {fingerprint(key)}"
    try:
        content = path.read_bytes()
        revoked = _in_revocation_list(key, path) if content.startswith(_KRL) else _in_lines(key, content)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise HostKeyError(f"{what} cannot be looked up in {path} (RevokedHostKeys): {said}") from None
    if revoked:
        raise HostKeyError(f"{what} is revoked in {path} (RevokedHostKeys)")


def _in_lines(key: paramiko.PKey, content: bytes) -> bool:
    return key.get_base64().encode() in content.split()


def _in_revocation_list(key: paramiko.PKey, path: Path) -> bool:
    """Raises ValueError if ssh-keygen cannot read it."""
    with tempfile.NamedTemporaryFile("w", suffix=".pub") as file:
        file.write(f"{key.get_name()} {key.get_base64()}\n")
        file.flush()
        argv = ["ssh-keygen", "-Q", "-f", str(path), file.name]
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=20, check=False)
    if done.returncode != 0 and "REVOKED" not in done.stdout:
        raise ValueError(done.stderr.strip()[-200:])
    return done.returncode != 0
