"""DTLS-SRTP (RFC 5764): a handshake through memory, and the SRTP keys that come out of it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from pylibsrtp import Policy, Session

from jvbtune.errors import LoadError

#: Name in DTLS -> (libsrtp's profile, bytes of key, bytes of salt): RFC 5764, 4.1.2; RFC 7714, 14.2.
PROFILES: dict[bytes, tuple[int, int, int]] = {
    b"SRTP_AEAD_AES_128_GCM": (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12),
    b"SRTP_AES128_CM_SHA1_80": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14),
}
MTU = 1200
#: Packets of a stream, of which one may be sent once more under its number.
REPEAT_WINDOW = 1024


@dataclass(frozen=True)
class Identity:
    """A self-signed certificate; one serves all endpoints of a worker."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.certificate)


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256, as SDP writes it (RFC 8122)."""
    return ":".join(f"{byte:02X}" for byte in certificate.fingerprint(hashes.SHA256()))


@cache
def identity() -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jvbtune")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    return Identity(certificate, key)


@cache
def _context() -> SSL.Context:
    context = SSL.Context(SSL.DTLS_METHOD)
    own = identity()
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)  # by fingerprint, below
    context.use_certificate(own.certificate)
    context.use_privatekey(own.key)
    context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256")
    context.set_tlsext_use_srtp(b":".join(PROFILES))
    return context


class Handshake:
    """One handshake, a client's or a server's. Feed it datagrams, send what it gives; ``keys`` are there when it is
    done."""

    def __init__(self, remote_fingerprint: str, *, server: bool = False) -> None:
        self._wanted = remote_fingerprint.upper()
        self._server = server
        self._connection = SSL.Connection(_context(), None)
        if server:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()
        self._connection.set_ciphertext_mtu(MTU)
        self.done = False
        self.keys: SrtpKeys | None = None

    def start(self) -> list[bytes]:
        return self._step()

    def feed(self, datagram: bytes) -> list[bytes]:
        """Raises LoadError where the handshake fails, or the bridge is not the one that was signalled."""
        self._connection.bio_write(datagram)
        if self.done:
            try:
                self._connection.recv(65536)  # a retransmission, or an alert: OpenSSL answers what it has to
            except SSL.Error:
                pass
            return self._take()
        return self._step()

    def tick(self) -> list[bytes]:
        """Retransmit what is due."""
        if self.done:
            return []
        timeout = self._connection.DTLSv1_get_timeout()
        if timeout is None or timeout > 0:
            return []
        self._connection.DTLSv1_handle_timeout()
        return self._take()

    def _step(self) -> list[bytes]:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return self._take()
        except SSL.Error as error:
            raise LoadError(f"DTLS failed: {error.args}") from error
        peer: Any = self._connection.get_peer_certificate(as_cryptography=True)
        if peer is None or fingerprint(peer) != self._wanted:
            raise LoadError("the certificate of the other end does not have the fingerprint that was signalled")
        self.keys = self._export()
        self.done = True
        return self._take()

    def _take(self) -> list[bytes]:
        out = []
        while True:
            try:
                out.append(self._connection.bio_read(MTU + 300))
            except SSL.WantReadError:
                return out

    def _export(self) -> SrtpKeys:
        name = self._connection.get_selected_srtp_profile()
        if name not in PROFILES:
            raise LoadError(f"the other end chose no SRTP profile of ours: {name!r}")
        profile, key, salt = PROFILES[name]
        exported = self._connection.export_keying_material(b"EXTRACTOR-dtls_srtp", 2 * (key + salt))
        client, server = exported[:key], exported[key : 2 * key]
        client_salt, server_salt = exported[2 * key : 2 * key + salt], exported[2 * key + salt :]
        ends = (client + client_salt, server + server_salt)
        return SrtpKeys(profile, *(reversed(ends) if self._server else ends))


@dataclass(frozen=True)
class SrtpKeys:
    profile: int
    local: bytes  #: key and salt of what we send
    remote: bytes

    def outbound(self) -> Session:
        policy = Policy(key=self.local, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=self.profile)
        policy.allow_repeat_tx, policy.window_size = True, REPEAT_WINDOW
        return Session(policy)

    def inbound(self) -> Session:
        return Session(Policy(key=self.remote, ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=self.profile))
