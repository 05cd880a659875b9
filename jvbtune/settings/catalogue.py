"""The settings that jvbtune knows: what each means, its range, when it takes effect, which counter shows its limit.

What the host needs of them (names, scope, canonical form) stands in ``jvbtune.agent.settings``; this is the rest.
Sources: Documentation/admin-guide/sysctl/net.rst, Documentation/networking/ip-sysctl.rst, socket(7), udp(7);
net/core/sysctl_net_core.c for what the kernel refuses; JVB's application.conf and ice4j's AbstractUdpListener.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jvbtune.agent.settings import ICE4J_BUFFER, INT_MAX, RMEM_MAX, SETTINGS, UDP_MEM, canonical
from jvbtune.units import parse_bytes

#: SOCK_MIN_RCVBUF and SOCK_MIN_SNDBUF (include/net/sock.h) on x86-64; a kernel refuses less with EINVAL, and may ask
#: for a little more where its sk_buff is larger.
SOCK_MIN_RCVBUF = 2304
SOCK_MIN_SNDBUF = 4608
#: What JVB's application.conf sets where jvb.conf does not.
DEFAULT_ICE4J_BUFFER_BYTES = 10_485_760


@dataclass(frozen=True)
class Setting:
    """One knob of a host.

    ``takes_effect``: ``live``, or ``restart`` where a socket keeps what it got when it was created.
    ``scope``: ``host`` (the initial network namespace alone), ``namespace`` (each network namespace has its own),
    ``bridge`` (its configuration).
    """

    name: str
    meaning: str
    unit: str
    minimum: int
    maximum: int
    takes_effect: str
    scope: str
    counter: str  #: what rises when this setting is the limit
    verified_by: str
    note: str = ""
    ascending: bool = False  #: of several numbers, none may be below the one before it
    never_lowered: bool = False  #: a value below the one found on arrival would hurt the whole host

    @property
    def count(self) -> int:
        """Numbers in a value."""
        return SETTINGS[self.name].count

    @property
    def needs_restart(self) -> bool:
        return self.takes_effect == "restart"

    def read(self, value: Any) -> int | str:
        """The value as jvbtune keeps it; sizes may have a unit (``10M``). Raises ValueError as ``check``."""
        if self.count == 1 and self.unit == "bytes" and isinstance(value, str):
            try:
                value = parse_bytes(value)
            except ValueError as error:
                raise ValueError(f"{self.name}: {error}") from None
        self.check(value)
        return self.normalise(value)

    def check(self, value: Any) -> None:
        """Raise ValueError where the value is of the wrong kind or out of range."""
        numbers = [int(part) for part in canonical(self.name, value).split()]
        for number in numbers:
            if not self.minimum <= number <= self.maximum:
                raise ValueError(f"{self.name}: {number} is not within {self.minimum}..{self.maximum} ({self.unit})")
        if self.ascending and numbers != sorted(numbers):
            raise ValueError(f"{self.name}: {value!r} must ascend (low, pressure, high)")

    def refuse_lowered(self, value: Any, found: Any) -> None:
        """Raise ValueError where a number of ``value`` is below the one in force (``found``), and may not be."""
        wanted, present = ([int(part) for part in canonical(self.name, each).split()] for each in (value, found))
        if self.never_lowered and any(new < old for new, old in zip(wanted, present, strict=True)):
            raise ValueError(
                f"{self.name}: {canonical(self.name, value)} is below {canonical(self.name, found)}, which is in "
                "force: it is never lowered, since all of the host would drop"
            )

    def normalise(self, value: Any) -> int | str:
        """The value as jvbtune keeps it: a number, or numbers joined by one blank. Raises ValueError."""
        text = canonical(self.name, value)
        return int(text) if self.count == 1 else text


_READ_BACK = "the value read back from /proc/sys"
_SOCKET = "the bridge's socket in sock_diag after a restart"

CATALOGUE: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            name=RMEM_MAX,
            meaning="The most that a socket may ask for as its receive buffer; the kernel grants twice the request.",
            unit="bytes",
            minimum=SOCK_MIN_RCVBUF,
            maximum=INT_MAX // 2,
            takes_effect="restart",
            scope="host",
            counter="sockets[].drops and udp.RcvbufErrors",
            verified_by=f"{_READ_BACK}, and {_SOCKET}: rcvbuf = 2 x min(asked, rmem_max)",
            note=f"Above what the bridge asks for ({ICE4J_BUFFER}, 10 MiB by default) it changes nothing.",
        ),
        Setting(
            name="net.core.rmem_default",
            meaning="The receive buffer of a socket that asks for none.",
            unit="bytes",
            minimum=SOCK_MIN_RCVBUF,
            maximum=INT_MAX,
            takes_effect="restart",
            scope="host",
            counter="none: a bridge never meets it",
            verified_by=_READ_BACK,
            note="Negative control: ice4j asks for its receive buffer by name, so this one has no effect on a bridge.",
        ),
        Setting(
            name="net.core.wmem_max",
            meaning="The most that a socket may ask for as its send buffer.",
            unit="bytes",
            minimum=SOCK_MIN_SNDBUF,
            maximum=INT_MAX // 2,
            takes_effect="restart",
            scope="host",
            counter="none: a bridge never meets it",
            verified_by=_READ_BACK,
            note="Negative control: a bridge never asks for a send buffer, so wmem_default governs.",
        ),
        Setting(
            name="net.core.wmem_default",
            meaning="The send buffer of a socket that asks for none, as a bridge's do.",
            unit="bytes",
            minimum=SOCK_MIN_SNDBUF,
            maximum=INT_MAX,
            takes_effect="restart",
            scope="host",
            counter="udp.SndbufErrors",
            verified_by=f"{_READ_BACK}, and {_SOCKET}",
        ),
        Setting(
            name="net.core.netdev_max_backlog",
            meaning="Packets that may wait in one CPU's backlog queue (RPS, veth, container bridges).",
            unit="packets",
            minimum=1,
            maximum=INT_MAX,
            takes_effect="live",
            scope="host",
            counter="softnet[].dropped",
            verified_by=_READ_BACK,
            note="The kernel accepts any integer, also negative ones. Zero would drop every packet of a backlog.",
        ),
        Setting(
            name="net.core.netdev_budget",
            meaning="Packets that one NAPI cycle may take off all interfaces before it yields.",
            unit="packets",
            minimum=1,
            maximum=INT_MAX,
            takes_effect="live",
            scope="host",
            counter="softnet[].squeezed, rising steadily",
            verified_by=_READ_BACK,
        ),
        Setting(
            name=UDP_MEM,
            meaning="Memory of all UDP sockets together: low, pressure, high.",
            unit="pages",
            minimum=1,
            maximum=2**63 // 4096 - 1,
            takes_effect="live",
            scope="host",
            counter="udp.MemErrors",
            verified_by=_READ_BACK,
            note="jvbtune never lowers it: above `high`, every UDP socket of the host drops packets. Some kernels "
            "skip a number that is out of range without an error, so jvbtune reads it back.",
            ascending=True,
            never_lowered=True,
        ),
        Setting(
            name="net.ipv4.udp_rmem_min",
            meaning="What a UDP socket may queue even when udp_mem is under pressure.",
            unit="bytes",
            minimum=1,
            maximum=INT_MAX,
            takes_effect="live",
            scope="namespace",
            counter="udp.MemErrors",
            verified_by=_READ_BACK,
        ),
        Setting(
            name=ICE4J_BUFFER,
            meaning="The receive buffer that the bridge asks for on its media socket.",
            unit="bytes",
            minimum=SOCK_MIN_RCVBUF,
            maximum=INT_MAX // 2,
            takes_effect="restart",
            scope="bridge",
            counter="sockets[].drops and udp.RcvbufErrors",
            verified_by=f"{_SOCKET}: rcvbuf = 2 x min(asked, rmem_max)",
            note="jvbtune mounts a changed copy over the bridge's configuration. The file itself is never written.",
        ),
        Setting(
            name="kernel.perf_event_paranoid",
            meaning="Who may open perf events: -1 everybody, 1 kernel frames of one's own processes, 2 user code only.",
            unit="level",
            minimum=-1,
            maximum=4,
            takes_effect="live",
            scope="host",
            counter="none",
            verified_by=_READ_BACK,
            note="`jvbtune profile --allow-sysctls` changes it and puts it back. It is never swept.",
        ),
        Setting(
            name="kernel.kptr_restrict",
            meaning="Who may read the kernel's addresses: 0 all who may profile it, 1 CAP_SYSLOG, 2 nobody.",
            unit="level",
            minimum=0,
            maximum=2,
            takes_effect="live",
            scope="host",
            counter="none",
            verified_by=_READ_BACK,
            note="`jvbtune profile --allow-sysctls` changes it and puts it back. It is never swept.",
        ),
    )
}


#: Who may profile: no packet takes notice of them, so they are never swept.
PERF_SETTINGS = ("kernel.perf_event_paranoid", "kernel.kptr_restrict")
