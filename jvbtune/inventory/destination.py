"""What may be given to OpenSSH as a host, and what may be a host's name: both come from files that others write.

OpenSSH puts the name into ``ProxyCommand`` and ``Match exec``, which a shell reads. It refuses the same characters in a
name on its own command line (since 9.6, CVE-2023-51385).
"""

from __future__ import annotations

import ipaddress
import unicodedata

SHELL = frozenset("'\"`$\\;&<>|(){}")
MAX_LENGTH = 255


def name_fault(name: str) -> str | None:
    """Why this cannot be the name of a host; None: it can."""
    if not name:
        return "is empty"
    if len(name) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    if name.startswith("-"):
        return "begins with a dash, which ssh takes for an option"
    if any(unicodedata.category(character)[0] in "CZ" for character in name):
        return "has a blank or a control character"
    return None


def destination_fault(destination: str) -> str | None:
    """Why this is no ``[user@]host`` or ``ssh://[user@]host[:port]`` for OpenSSH; None: it is one."""
    if (fault := name_fault(destination)) is not None:
        return fault
    rest = destination.removeprefix("ssh://")
    user, at, host = rest.rpartition("@")
    if not host or (at and not user):
        return "is not [user@]host"
    if host.startswith("-") or user.startswith("-"):
        return "has a part that begins with a dash, which ssh takes for an option"
    if strange := sorted(SHELL & set(destination)):
        return f"has the character {strange[0]}, which a shell would read"
    return None


def destination(host: str, user: str | None = None, port: int | None = None) -> str:
    """The parts as OpenSSH takes them; an address of IPv6 has brackets in a URI."""
    who = f"{user}@" if user else ""
    if port is None or port == 22:
        return f"{who}{host}"
    return f"ssh://{who}[{host}]:{port}" if ":" in host else f"ssh://{who}{host}:{port}"


def is_address(text: str) -> bool:
    """Whether it is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_PRIVATE = [ipaddress.ip_network(net) for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")]
_PRIVATE_6 = [ipaddress.ip_network(net) for net in ("fc00::/7", "fe80::/10")]


def is_private(address: str) -> bool:
    """Whether it is an address of a private network (RFC 1918, 4193, 6598, link-local). Raises ValueError."""
    parsed = ipaddress.ip_address(address)
    return any(parsed in net for net in (_PRIVATE if parsed.version == 4 else _PRIVATE_6))


def is_loopback(address: str) -> bool:
    """Whether it is this machine's own, such as 127.0.0.1. Raises ValueError."""
    return ipaddress.ip_address(address).is_loopback
