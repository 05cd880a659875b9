"""The receive buffer that a bridge asks for, and the one that its socket must then have. Pure.

The kernel grants twice the request, cut to ``net.core.rmem_max`` before it is doubled (``sk_setsockopt``); a socket
that asks for nothing has ``net.core.rmem_default``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from jvbtune.agent.settings import ICE4J_BUFFER, RMEM_MAX
from jvbtune.settings.catalogue import SOCK_MIN_RCVBUF

RMEM_DEFAULT = "net.core.rmem_default"


@dataclass(frozen=True)
class AskedBuffer:
    """What a bridge asks for when it opens its media socket.

    ``known``: its configuration was read; ``asked_bytes`` None then means that it asks for none. Otherwise its socket
    showed ``asked_bytes``, or, clamped by the kernel, that it asks for ``at_least_bytes``.
    ``source``: where the figure is from; or why it is not known, in words.
    """

    known: bool
    asked_bytes: int | None
    source: str
    at_least_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def under(self, values: Mapping[str, Any]) -> AskedBuffer:
        """The same bridge with a swept value in its configuration."""
        swept = values.get(ICE4J_BUFFER)
        return self if swept is None else AskedBuffer(True, int(swept), "swept")

    def expected_rcvbuf_bytes(self, values: Mapping[str, Any]) -> int | None:
        """What sock_diag must show after a restart under these sysctls; None: it cannot be told."""
        if self.known and self.asked_bytes is None:
            default = values.get(RMEM_DEFAULT)
            return None if default is None else int(default)
        limit = values.get(RMEM_MAX)
        if limit is None:
            return None
        if self.asked_bytes is not None:
            return max(SOCK_MIN_RCVBUF, 2 * min(self.asked_bytes, int(limit)))
        return 2 * int(limit) if int(limit) <= self.at_least_bytes else None

    def seen(self, rcvbuf_bytes: int | None, values: Mapping[str, Any]) -> AskedBuffer:
        """What a socket that was opened under these sysctls adds. A configuration that was read is not revised."""
        limit = values.get(RMEM_MAX)
        if self.known or limit is None or not rcvbuf_bytes:
            return self
        if rcvbuf_bytes < 2 * int(limit):
            return replace(self, asked_bytes=rcvbuf_bytes // 2)
        return replace(self, at_least_bytes=max(self.at_least_bytes, int(limit)))
