"""Host keys: only what the user's known_hosts files hold is accepted. Nothing is ever added to them."""

from __future__ import annotations

import base64
import hashlib
from fnmatch import fnmatchcase
from pathlib import Path

import paramiko

from jvbtune.errors import HostKeyError
from jvbtune.hosts.openssh import Resolved


def fingerprint(key: paramiko.PKey) -> str:
    """As ``ssh-keygen -l`` shows it: ``SHA256:`` and base64 without padding."""
    digest = hashlib.sha256(key.asbytes()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


class KnownHosts:
    """The keys that hold for one host, and those that are revoked."""

    def __init__(self, resolved: Resolved) -> None:
        self._resolved = resolved
        self._keys: list[tuple[str, bytes]] = []  #: (type, key) in the order of the files
        self._revoked: set[bytes] = set()
        for path in (*resolved.user_known_hosts_files, *resolved.global_known_hosts_files):
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            return
        for line in lines:
            fields = line.split()
            if not fields or line.lstrip().startswith("#"):
                continue
            marker = fields.pop(0) if fields[0].startswith("@") else ""
            if len(fields) < 3 or marker == "@cert-authority" or not self._matches(fields[0]):
                continue  # a certificate authority signs certificates: a bare key is not accepted for it
            try:
                key = base64.b64decode(fields[2], validate=True)
            except ValueError:
                continue
            if marker == "@revoked":
                self._revoked.add(key)
            else:
                self._keys.append((fields[1], key))

    def _matches(self, patterns: str) -> bool:
        """known_hosts(5): a comma-separated list of names, hashed names, wildcards, negations."""
        name = self._resolved.known_hosts_name
        matched = False
        for pattern in patterns.split(","):
            negated, pattern = pattern.startswith("!"), pattern.removeprefix("!")
            if pattern.startswith("|1|"):
                hit = paramiko.HostKeys.hash_host(name, pattern) == pattern
            else:
                hit = fnmatchcase(name.lower(), pattern.lower().replace("[", "[[]"))
            if hit and negated:
                return False
            matched = matched or hit
        return matched

    def types(self) -> list[str]:
        """The key types that are known, to ask the server for these first (as OpenSSH does)."""
        return list(dict.fromkeys(kind for kind, _ in self._keys))

    def check(self, key: paramiko.PKey) -> None:
        """Raise HostKeyError unless exactly this key is known for the host."""
        resolved = self._resolved
        name, seen = resolved.known_hosts_name, fingerprint(key)
        files = " ".join(str(path) for path in resolved.user_known_hosts_files[:1]) or "~/.ssh/known_hosts"
        if key.asbytes() in self._revoked:
            raise HostKeyError(f"{resolved.alias}: its {key.get_name()} key {seen} is revoked in known_hosts")
        if any(known == key.asbytes() for _, known in self._keys):
            return
        if self._keys:
            raise HostKeyError(
                f"{resolved.alias}: the host key has CHANGED: {name} shows {key.get_name()} {seen}",
                hint=(
                    "Somebody may be in between, or the host was installed anew. Ask its administrator for the "
                    f"fingerprint; if it is right:\n  ssh-keygen -R '{name}' -f {files}\n"
                    f"  ssh {resolved.alias}    # look at the fingerprint, then accept it"
                ),
            )
        raise HostKeyError(
            f"{resolved.alias}: the host key is not known: {name} shows {key.get_name()} {seen}",
            hint=f"Compare the fingerprint with its administrator's, then accept it once with: ssh {resolved.alias}",
        )
