"""speedscope's JSON: what is not of it is refused with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jvbtune.errors import FormatError
from jvbtune.flame.formats import read
from jvbtune.flame.formats.speedscope import SCHEMA
from jvbtune.flame.names import NameRules
from tests.flame.files import names_of, rows_of, write


def document(*profiles: dict[str, Any], frames: tuple[str, ...] = ("a", "b", "c")) -> dict[str, Any]:
    return {"$schema": SCHEMA, "shared": {"frames": [{"name": name} for name in frames]}, "profiles": list(profiles)}


def sampled(samples: list[Any], weights: list[Any], name: str = "t", unit: str = "milliseconds") -> dict[str, Any]:
    return {"type": "sampled", "name": name, "unit": unit, "startValue": 0, "endValue": 9} | {
        "samples": samples,
        "weights": weights,
    }


def evented(*events: tuple[str, int, float]) -> dict[str, Any]:
    listed = [{"type": type_, "frame": frame, "at": at} for type_, frame, at in events]
    return {"type": "evented", "name": "t", "unit": "seconds", "startValue": 0, "endValue": 9, "events": listed}


def test_several_profiles_are_threads(tmp_path: Path) -> None:
    content = document(sampled([[0, 1], [0]], [1.5, 2], "x"), sampled([[0, 1]], [4], "y"))
    (profile,) = read([write(tmp_path / "f", json.dumps(content))], NameRules.none())
    named = {(t, ";".join(n for n, _ in s)): n for (t, s), n in rows_of(profile).items()}
    assert named == {("x", "a;b"): 1.5, ("x", "a"): 2, ("y", "a;b"): 4}
    assert profile.meta.unit == "ms"


def test_events_become_self_time(tmp_path: Path) -> None:
    events = evented(
        ("O", 0, 1), ("O", 1, 2), ("C", 1, 4.5), ("O", 2, 5), ("C", 2, 5), ("C", 0, 6), ("O", 0, 8), ("C", 0, 9)
    )
    (profile,) = read([write(tmp_path / "f", json.dumps(document(events)))], NameRules.none())
    assert names_of(profile) == {"a": 1 + 0.5 + 1 + 1, "a;b": 2.5, "a;c": 0}
    assert profile.total == 6
    assert profile.meta.seconds_per_unit == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"shared": {"frames": []},\n "profiles": [}', "line 2"),
        ('{"a": 1}', "not of speedscope"),
        (document(), "not of speedscope"),
        (document(sampled([[0]], [1], unit="parsecs")), "parsecs"),
        (document(sampled([[0]], [1]), sampled([[0]], [1], unit="bytes")), "bytes, milliseconds"),
        (document(sampled([[3]], [1])), r"profiles\[0\]\.samples\[0\]: no frame has this number, there are 3: '3'"),
        (document(sampled([[-1]], [1])), "no frame has this number"),
        (document(sampled([[0]], [1, 2])), "of one length"),
        (document(sampled([0], [1])), "a sample must be a list"),
        (document(sampled([[0], [1]], [1, -2])), r"profiles\[0\]\.weights\[1\].*'-2'"),
        (document(sampled([[0]], ["1"])), "a weight must be a number"),
        (document(evented(("O", 0, 1), ("C", 1, 2))), r"events\[1\]: frames must open"),
        (document(evented(("O", 0, 1))), "never closed"),
        (document(evented(("O", 0, 2), ("C", 0, 1))), r"events\[1\]: at must be"),
        (document({"type": "other", "unit": "none"}), "sampled"),
        (document(sampled([[0]], [1]), frames=("",)), r"shared\.frames\[0\]: a frame without a name"),
    ],
)
def test_what_is_wrong_is_named(content: Any, said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "f.json", content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(FormatError, match=said) as error:
        read([path])
    assert "f.json" in str(error.value)
