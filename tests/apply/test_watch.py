"""When a bridge is worse off than before, and when only its traffic has changed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from jvbtune.apply.watch import Reading, worse

ONE, OTHER = (10, 1000), (11, 2000)


def readings(
    *,
    seconds: int = 20,
    process: tuple[int, int] = ONE,
    drops_per_second: float = 0,
    pps: float = 10_000,
    stress: float | None = 0.2,
    healthy: bool = True,
) -> list[Reading]:
    return [
        Reading(at, process, int(at * drops_per_second), int(at * pps), healthy, stress, pps)
        for at in range(0, seconds, 2)
    ]


CASES: list[tuple[str, Sequence[Reading], Sequence[Reading], str | None]] = [
    ("nothing changed", readings(), readings(process=OTHER), None),
    ("no reading before", [], readings(), None),
    ("a few drops of a start", readings(), readings(drops_per_second=0.9), None),
    ("it drops 1 %", readings(), readings(drops_per_second=100), "dropped 1800 packets, 0.99%"),
    ("it dropped as much before", readings(drops_per_second=100), readings(drops_per_second=150), None),
    ("it drops thrice as much", readings(drops_per_second=100), readings(drops_per_second=300), "dropped"),
    ("overloaded at the same rate", readings(), readings(stress=0.9), "a stress of 0.90 at 10000 pps"),
    ("overloaded by more traffic", readings(), readings(stress=0.9, pps=12_000), None),
    ("overloaded before as well", readings(stress=0.9), readings(stress=0.9), None),
    ("overloaded for one refresh", readings(), readings(seconds=9, stress=0.9), None),
    ("not healthy", readings(), readings(healthy=False), "not healthy"),
    ("one answer was late", readings(), [*readings(), *readings(seconds=2, healthy=False)], None),
    ("restarted by itself", readings(), [*readings(), *readings(process=OTHER)], "restarted by itself"),
    ("no figures", readings(), [Reading(0, None, None, None, True, None, None)] * 3, None),
]


@pytest.mark.parametrize(("before", "after", "why"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_worse(before: Sequence[Reading], after: Sequence[Reading], why: str | None) -> None:
    found = worse(before, after)
    assert (found is None) if why is None else (found is not None and why in found), found
