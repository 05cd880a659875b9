"""STUN for ICE (RFC 8489, RFC 8445): the binding requests of a controlling agent, and the answers to the bridge's."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import struct
import zlib
from dataclasses import dataclass

COOKIE = 0x2112A442
BINDING_REQUEST, BINDING_SUCCESS, BINDING_ERROR = 0x0001, 0x0101, 0x0111
USERNAME, MESSAGE_INTEGRITY, XOR_MAPPED_ADDRESS = 0x0006, 0x0008, 0x0020
PRIORITY, USE_CANDIDATE, FINGERPRINT, ICE_CONTROLLING = 0x0024, 0x0025, 0x8028, 0x802A
FINGERPRINT_XOR = 0x5354554E
_HEADER = struct.Struct("!HHI12s")


@dataclass(frozen=True)
class Message:
    """A decoded message. ``attributes``: type -> value; of a repeated one the first counts (RFC 8489, 14)."""

    kind: int
    transaction: bytes
    attributes: dict[int, bytes]
    raw: bytes
    integrity_at: int | None  #: offset of MESSAGE-INTEGRITY

    def intact(self, key: bytes) -> bool:
        """Whether its MESSAGE-INTEGRITY is that of ``key``; what stands behind it is not covered (RFC 8489, 14.5)."""
        if self.integrity_at is None:
            return False
        covered = bytearray(self.raw[: self.integrity_at])
        struct.pack_into("!H", covered, 2, self.integrity_at + 24 - 20)
        return hmac.compare_digest(hmac.digest(key, covered, hashlib.sha1), self.attributes[MESSAGE_INTEGRITY])


def is_stun(data: bytes) -> bool:
    """RFC 7983: a first byte of 0..3."""
    return len(data) >= 20 and data[0] < 4


def decode(data: bytes) -> Message | None:
    """None: not a well-formed STUN message, or its FINGERPRINT is wrong."""
    if len(data) < 20:
        return None
    kind, length, cookie, transaction = _HEADER.unpack_from(data)
    if cookie != COOKIE or length % 4 or length + 20 != len(data):
        return None
    attributes: dict[int, bytes] = {}
    integrity_at: int | None = None
    offset = 20
    while offset + 4 <= len(data):
        attribute, size = struct.unpack_from("!HH", data, offset)
        value = data[offset + 4 : offset + 4 + size]
        if len(value) != size:
            return None
        if attribute == FINGERPRINT and size == 4:
            wanted = (zlib.crc32(data[:offset]) ^ FINGERPRINT_XOR) & 0xFFFFFFFF
            if struct.unpack("!I", value)[0] != wanted:
                return None
        if attribute == MESSAGE_INTEGRITY and integrity_at is None:
            integrity_at = offset
        if integrity_at is None or attribute in (MESSAGE_INTEGRITY, FINGERPRINT):
            attributes.setdefault(attribute, value)
        offset += 4 + (size + 3 & ~3)
    return Message(kind, transaction, attributes, data, integrity_at)


def encode(kind: int, transaction: bytes, attributes: list[tuple[int, bytes]], key: bytes | None) -> bytes:
    """A message with MESSAGE-INTEGRITY (where there is a key) and FINGERPRINT."""
    body = bytearray()
    for attribute, value in attributes:
        body += struct.pack("!HH", attribute, len(value)) + value + b"\0" * (-len(value) % 4)
    if key is not None:
        head = _HEADER.pack(kind, len(body) + 24, COOKIE, transaction)
        body += struct.pack("!HH", MESSAGE_INTEGRITY, 20) + hmac.digest(key, head + body, hashlib.sha1)
    head = _HEADER.pack(kind, len(body) + 8, COOKIE, transaction)
    crc = (zlib.crc32(head + body) ^ FINGERPRINT_XOR) & 0xFFFFFFFF
    return head + bytes(body) + struct.pack("!HHI", FINGERPRINT, 4, crc)


def binding_request(
    transaction: bytes, *, local_ufrag: str, remote_ufrag: str, remote_password: str, tie_breaker: int
) -> bytes:
    """A controlling agent's check that nominates its pair at once (RFC 8445, 7.2.2 and 8.1.1)."""
    return encode(
        BINDING_REQUEST,
        transaction,
        [
            (USERNAME, f"{remote_ufrag}:{local_ufrag}".encode()),
            (PRIORITY, struct.pack("!I", 110 << 24 | 65535 << 8 | 255)),  # peer reflexive, 5.1.2
            (ICE_CONTROLLING, struct.pack("!Q", tie_breaker)),
            (USE_CANDIDATE, b""),
        ],
        remote_password.encode(),
    )


def binding_success(request: Message, address: tuple[str, int], password: str) -> bytes:
    """The answer to a check of the bridge's."""
    return encode(
        BINDING_SUCCESS,
        request.transaction,
        [(XOR_MAPPED_ADDRESS, xor_address(address, request.transaction))],
        password.encode(),
    )


def xor_address(address: tuple[str, int], transaction: bytes) -> bytes:
    """RFC 8489, 14.2."""
    packed = ipaddress.ip_address(address[0]).packed
    mask = struct.pack("!I", COOKIE) + transaction
    family = 1 if len(packed) == 4 else 2
    port = address[1] ^ (COOKIE >> 16)
    return struct.pack("!BBH", 0, family, port) + bytes(a ^ b for a, b in zip(packed, mask, strict=False))
