"""A seed determines a fault: its kind, the instant at which it happens, and whether somebody joins the bridge.

An instant is an effect of the agent or the guard (before or after it), or a moment inside a trial. The effects are
those of a run without a fault, recorded first, so that a seed means the same fault while the agent stays the same.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

LEASE_SECONDS = 3.0
ERRNOS = ("ENOSPC", "EROFS", "EIO", "EMFILE")

#: Kind -> how it happens: at an effect of the agent, at one of the guard while it puts back, or in a trial.
KINDS: dict[str, tuple[str, ...]] = {
    "kill agent": ("agent",),
    "kill guard": ("agent", "guard"),
    "kill controller": ("agent", "trial"),
    "kill agent and guard": ("agent", "trial"),
    "kill agent and controller": ("agent",),
    "kill guard and controller": ("agent", "trial"),
    "stop agent": ("agent", "trial"),
    "stop guard": ("agent", "guard"),
    "stop controller": ("trial",),
    "SIGHUP agent": ("agent", "trial"),
    "SIGTERM after end of input": ("trial",),
    "error once": ("agent", "guard"),
    "error for good": ("agent", "guard"),
    "disk full": ("trial",),
    "read-only": ("trial",),
    "journal lost": ("agent", "trial", "guard"),
    "lease lost": ("trial",),
    "foreign setting": ("trial", "agent"),
    "drain toggled": ("trial",),
    "bridge restarted": ("trial",),
    "bridge fails": ("trial", "agent"),
    "configuration edited": ("trial",),
    "clock stepped": ("trial",),
    "reboot": ("agent", "trial"),
    "second controller begins": ("agent", "trial"),
    "second controller reverts": ("agent", "trial"),
    "participants unknown": ("trial",),
}
#: Of a series of its own (``draw_interrupt``).
INTERRUPT = "interrupt"
#: Nobody can tell a foreign value from ours between the agent's look and its write, or a join between look and restart.
_UNSEEN = ("open /proc/sys", "write /proc/sys", "spawn restart")


@dataclass(frozen=True)
class Point:
    """An effect: before or after the ``nth`` of that label in the process of that actor."""

    actor: str
    label: str
    nth: int
    when: str


@dataclass(frozen=True)
class Fault:
    seed: int
    kind: str
    point: Point | None  #: None: in a trial
    trial: int = 2  #: 1 or 2; with a point of the guard: the trial in which the agent is killed, so that it puts back
    delay_seconds: float = 0.0  #: after the trial's begin
    details: dict[str, Any] = field(default_factory=dict)
    join_seconds: float | None = None  #: when somebody joins, after ``join_after``
    join_after: str = "fault"  #: start | begun | fault
    drained_before: bool = False
    names: bool = True  #: the bridge tells who is on it (``/debug``); else only how many

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Fault:
        return cls(**{**data, "point": Point(**data["point"]) if data["point"] else None})

    def __str__(self) -> str:
        more = " ".join(str(value) for value in self.details.values() if value is not None)
        where = f"in trial {self.trial} after {self.delay_seconds:.2f} s"
        if self.point is not None:
            where = f"{self.point.when} {self.point.actor}'s {self.point.label} #{self.point.nth}"
        joins = (
            f"; 3 join {self.join_seconds:.1f} s after the {self.join_after}" if self.join_seconds is not None else ""
        )
        drained = "; drained before" if self.drained_before else ""
        names = "" if self.names else "; no names"
        return f"{self.kind} {more} {where}{joins}{drained}{names}".replace("  ", " ")

    def trial_seconds(self) -> float:
        """Long enough that what the watch over the bridge has to see within two seconds can be seen."""
        return 4.5 if self.kind in ("drain toggled", "bridge restarted") else 1.0


Effects = Mapping[str, Sequence[tuple[str, int]]]


def draw(seed: int, effects: Effects) -> Fault:
    """The fault of a seed. Kinds take turns, so that any 27 seeds in a row have each."""
    kinds = list(KINDS)
    kind = kinds[seed % len(kinds)]
    rng = random.Random(seed)
    where = rng.choice(KINDS[kind])
    details = _details(kind, rng)
    point = None
    if where != "trial":
        choices = list(_suitable(kind, details, effects[where]))
        label, nth = rng.choice(choices)
        point = Point(where, label, nth, "before" if kind.startswith("error") else rng.choice(("before", "after")))
    if kind.startswith("error") and point is not None:
        details["scope"] = _scope(kind, str(details["errno"]), point)
    return Fault(
        seed=seed,
        kind=kind,
        point=point,
        trial=rng.choice((1, 2)),
        delay_seconds=rng.uniform(0, 0.5),
        details=details,
        join_seconds=rng.uniform(0.0, 2.5) if rng.random() < 1 / 3 else None,
        join_after=rng.choices(("start", "begun", "fault"), (1, 2, 7))[0],
        drained_before=rng.random() < 0.1,
        names=rng.random() < 0.75,
    )


def draw_interrupt(seed: int, effects: Effects) -> Fault:
    """An interrupt of the controller at a random instant: of the clock, of a trial, or of the agent's work."""
    rng = random.Random(1_000_000 + seed)
    details: dict[str, Any] = {"signal": rng.choice(("SIGINT", "SIGTERM", "SIGHUP"))}
    where = rng.choice(("clock", "clock", "trial", "agent"))
    point = None
    if where == "clock":
        details["at"] = round(rng.uniform(0.0, 5.0), 3)
    elif where == "agent":
        label, nth = rng.choice([effect for effect in effects["agent"] if "lease" not in effect[0] or effect[1] == 1])
        point = Point("agent", label, nth, rng.choice(("before", "after")))
    return Fault(
        seed=seed,
        kind=INTERRUPT,
        point=point,
        trial=rng.choice((1, 2)),
        delay_seconds=rng.uniform(0, 0.9),
        details=details,
    )


def _suitable(kind: str, details: Mapping[str, Any], found: Iterable[tuple[str, int]]) -> Iterable[tuple[str, int]]:
    for label, nth in found:
        if "lease" in label and nth > 1:
            continue  # how many there are is a matter of time
        if kind.startswith("error") and not _can_fail(label, str(details["errno"])):
            continue
        if kind in ("foreign setting", "drain toggled") and label.startswith(_UNSEEN):
            continue
        yield label, nth


def _can_fail(label: str, name: str) -> bool:
    op = label.split()[0]
    if name == "EMFILE":
        return op in ("open", "spawn", "connect")
    if name == "ENOSPC":
        return op in ("open", "write", "replace", "mkdir", "fsync") and "/proc/sys" not in label
    return op in ("open", "write", "replace", "mkdir", "fsync", "unlink")


def _scope(kind: str, name: str, point: Point) -> str | None:
    """Where an error for good is: the file system, or for EMFILE the process."""
    if kind == "error once":
        return None
    if name == "EMFILE":
        return point.actor
    path = point.label.split()[1]
    return next((top for top in ("/var/lib/", "/run/", "/proc/sys/") if path.startswith(top)), "/run/")


def _details(kind: str, rng: random.Random) -> dict[str, Any]:
    if kind.startswith("stop "):
        return {"leases": rng.choice((0.5, 1.5))}
    if kind.startswith("error"):
        return {"errno": rng.choice(ERRNOS)}
    if kind == "disk full":
        return {"where": rng.choice(("/var/lib", "/run"))}
    if kind == "read-only":
        return {"where": rng.choice(("/var/lib", "/run", "/proc/sys"))}
    if kind in ("journal lost", "lease lost"):
        how = rng.choice(("deleted", "truncated", "truncated", "replaced"))
        share = round(rng.random(), 4) if how == "truncated" else None
        return {"how": how, "share": share, "copies": rng.choice(("first", "both")) if kind == "journal lost" else None}
    if kind == "foreign setting":
        return {"to": rng.choice(("new", "ours", "baseline"))}
    if kind == "bridge restarted":
        return {"how": rng.choice(("crash", "restart"))}
    if kind == "bridge fails":
        return {"how": rng.choice(("unhealthy", "503", "hang", "no-restart"))}
    if kind == "configuration edited":
        return {"how": rng.choice(("in place", "by rename"))}
    if kind == "clock stepped":
        return {"seconds": rng.choice((-86400.0, -30.0, 30.0, 86400.0))}
    if kind == "second controller reverts":
        return {"force": rng.random() < 0.5}
    if kind == "participants unknown":
        return {"how": rng.choice(("missing", "none", "list", "empty"))}
    return {}


def spec_of(fault: Fault) -> dict[str, Any]:
    """What the hooks in the processes have to know."""
    point = asdict(fault.point) if fault.point is not None else None
    raises = fault.kind.startswith("error")
    return {
        "point": point,
        "action": "raise" if raises else "pause",
        "errno": getattr(errno, str(fault.details["errno"])) if raises else 0,
        "scope": fault.details.get("scope"),
    }
