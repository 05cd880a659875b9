"""Logging in with keys, in the order in which they are most likely to be the right ones.

A server ends the connection after some keys (MaxAuthTries, 6 by default), so the keys that the configuration names come
first, whether the agent or a file has them. OpenSSH tries the agent's other keys before files, and fails where this
does not. Passwords are never asked for.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm

from jvbtune.errors import HostError
from jvbtune.hosts.openssh import Resolved
from jvbtune.text import clean


@dataclass(frozen=True)
class Candidate:
    """A key, or a key with a certificate. ``origin``: where it is from, for errors."""

    key: paramiko.PKey
    origin: str
    certificate: paramiko.PublicBlob | None = None


class _Signer:
    """A key that never breaks the connection: paramiko signs in the connection's own thread, and an agent that refuses
    (a confirmation denied, a token pulled out) would end it there. The server refuses the empty signature instead."""

    def __init__(self, candidate: Candidate) -> None:
        self._key = candidate.key
        self.public_blob = candidate.certificate
        self.refused: str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._key, name)

    def sign_ssh_data(self, data: bytes, algorithm: str | None = None) -> Any:
        try:
            return self._key.sign_ssh_data(data, algorithm)
        except (paramiko.SSHException, OSError, ValueError, EOFError) as error:
            self.refused = str(error) or type(error).__name__
            message = paramiko.Message()
            message.add_string(algorithm or self._key.get_name())
            message.add_string(bytes(64))
            return message


def log_in(transport: paramiko.Transport, resolved: Resolved) -> None:
    """Raises HostError with the keys that were tried."""
    with _agent_keys(resolved) as from_agent:
        _try(transport, resolved, candidates(resolved, from_agent))


def _try(transport: paramiko.Transport, resolved: Resolved, keys: list[Candidate]) -> None:
    tried: list[str] = []
    more: list[str] = []
    ended = False
    for candidate in keys:
        signer: Any = _Signer(candidate)
        try:
            more = transport.auth_publickey(resolved.user, signer)
            if not more:
                return
            if "publickey" not in more:
                raise _wants_more(resolved, more)
            tried.append(f"{candidate.origin} (accepted, but not enough)")
        except paramiko.BadAuthenticationType as error:
            tried.append(f"{candidate.origin} (the server takes {', '.join(error.allowed_types)})")
        except paramiko.AuthenticationException:
            tried.append(f"{candidate.origin} ({signer.refused})" if signer.refused else candidate.origin)
        except (paramiko.SSHException, EOFError, OSError):
            if transport.is_active() and not tried:
                raise
            ended = True
        if ended or not transport.is_active():
            ended = True
            break
    passed_over = [f"{path} (a security key: add it to ssh-agent)" for path in _security_keys(resolved, keys)]
    hint = "Tried: " + (", ".join([*tried, *passed_over]) or "none was found")
    if ended:
        hint += (
            f"\nThe server ended the connection after {len(tried)} keys. Name the right one in ~/.ssh/config: "
            "IdentityFile, and IdentitiesOnly yes."
        )
    else:
        hint += f"\nDoes `ssh {resolved.alias} true` work without a password?"
    said = f"accepts a key, but then also wants {_methods(more)}" if more else "accepts none of the keys"
    raise HostError(f"{resolved.alias}: {resolved.user}@{resolved.hostname} {said}", hint=hint)


def _wants_more(resolved: Resolved, more: list[str]) -> HostError:
    """Of a server that wants what only somebody at a terminal has: a password, a code."""
    return HostError(
        f"{resolved.alias}: {resolved.user}@{resolved.hostname} accepts a key, but then also wants "
        f"{_methods(more)}, which jvbtune cannot answer",
        hint="Give jvbtune a login for which a key is enough. In sshd_config of the host, for example: "
        f"Match User {resolved.user}, and below it AuthenticationMethods publickey.",
    )


def _methods(more: list[str]) -> str:
    return " or ".join("another key" if one == "publickey" else clean(one) for one in more)


def candidates(resolved: Resolved, agent_keys: Iterable[paramiko.PKey]) -> list[Candidate]:
    """Keys of IdentityFile in its order, the agent's copy before the file; then the agent's other keys."""
    from_agent = {key.asbytes(): key for key in agent_keys}
    found: dict[bytes, Candidate] = {}
    for path in resolved.identity_files:
        key = _agents_copy(path, from_agent)
        if key is not None:
            found.setdefault(key.asbytes(), Candidate(key, f"{path} (ssh-agent)"))
        elif path.is_file():
            # A key with a passphrase, or one in a token: the agent has it, or it cannot be used here.
            with contextlib.suppress(
                paramiko.SSHException, ValueError, TypeError, OSError, paramiko.UnknownKeyType, UnsupportedAlgorithm
            ):
                key = paramiko.PKey.from_path(path)
                in_agent = from_agent.get(key.asbytes())
                found.setdefault(key.asbytes(), Candidate(in_agent or key, str(path)))
    if not resolved.identities_only:
        for blob, key in from_agent.items():
            found.setdefault(blob, Candidate(key, "ssh-agent"))
    certificates = list(_certificates(resolved))
    with_certificate = [
        Candidate(one.key, str(path), certificate)
        for path, certificate in certificates
        for one in found.values()
        if _is_of(certificate, one.key)
    ]
    return [*with_certificate, *found.values()]


def _agents_copy(path: Path, from_agent: dict[bytes, paramiko.PKey]) -> paramiko.PKey | None:
    with contextlib.suppress(OSError, paramiko.SSHException, ValueError):
        return from_agent.get(paramiko.PublicBlob.from_file(f"{path}.pub").key_blob)
    return None


def _security_keys(resolved: Resolved, keys: list[Candidate]) -> list[Path]:
    """Files of IdentityFile whose key is in a token (FIDO), and which the agent does not have."""
    origins = {candidate.origin for candidate in keys}
    return [path for path in resolved.identity_files if f"{path} (ssh-agent)" not in origins and _is_of_a_token(path)]


def _is_of_a_token(path: Path) -> bool:
    """By the public key, which no passphrase hides (PROTOCOL.key)."""
    with contextlib.suppress(OSError, ValueError):
        content = base64.b64decode("".join(path.read_text("ascii").splitlines()[1:-1]))
        return re.match(rb"openssh-key-v1\0.*?\0\0\0.sk-[a-z0-9-]+@openssh\.com", content, re.DOTALL) is not None
    return False


def _certificates(resolved: Resolved) -> Iterator[tuple[Path, paramiko.PublicBlob]]:
    """CertificateFile, and for each IdentityFile the one beside it."""
    beside = (path.with_name(f"{path.name}-cert.pub") for path in resolved.identity_files)
    for path in (*resolved.certificate_files, *beside):
        with contextlib.suppress(OSError, paramiko.SSHException, ValueError):
            blob = paramiko.PublicBlob.from_file(str(path))
            if "-cert-" in blob.key_type:
                yield path, blob


def _is_of(certificate: paramiko.PublicBlob, key: paramiko.PKey) -> bool:
    """A certificate is its type, a nonce, then the fields of the key that it is for (PROTOCOL.certkeys)."""
    message = paramiko.Message(certificate.key_blob)
    message.get_string()
    message.get_string()
    fields = paramiko.Message(key.asbytes())
    fields.get_string()
    own = fields.get_remainder()
    return bool(certificate.key_type.startswith(key.get_name()) and message.get_remainder().startswith(own))


@contextlib.contextmanager
def _agent_keys(resolved: Resolved) -> Iterator[list[paramiko.PKey]]:
    """The agent's keys, which can sign for as long as this is open."""
    agent = None if resolved.identity_agent == "none" else _agent(resolved)
    try:
        yield [] if agent is None else list(agent.get_keys())
    finally:
        if agent is not None:
            agent.close()


def _agent(resolved: Resolved) -> paramiko.Agent | None:
    before = os.environ.get("SSH_AUTH_SOCK")
    if resolved.identity_agent is not None and resolved.identity_agent != before:
        os.environ["SSH_AUTH_SOCK"] = os.path.expanduser(resolved.identity_agent)
    try:
        return paramiko.Agent()
    except (paramiko.SSHException, OSError):
        return None
    finally:
        if before is None:
            os.environ.pop("SSH_AUTH_SOCK", None)
        else:
            os.environ["SSH_AUTH_SOCK"] = before
