"""Numbers with units, as people write them, and sizes as people read them."""

from __future__ import annotations

import re
from decimal import Decimal

KIB, MIB, GIB = 2**10, 2**20, 2**30
_NUMBER = re.compile(r"([+-]?(?:\d+(?:_\d+)*(?:\.\d*)?|\.\d+))\s*([a-zA-Zµ/]*)", re.ASCII)
_BYTES = {"": 1, "b": 1, "k": KIB, "kib": KIB, "m": MIB, "mib": MIB, "g": GIB, "gib": GIB}
_DECIMAL_BYTES = {"kb": 1000, "mb": 1000**2, "gb": 1000**3}
_RATES = {"": 1, "pps": 1, "k": 1000, "kpps": 1000, "m": 1000**2, "mpps": 1000**2}
BYTES_ACCEPTED = "a number of bytes, such as 10485760, 10M or 10MiB (K, M, G are powers of 1024; kB, MB, GB of 1000)"
RATES_ACCEPTED = "a packet rate, such as 50000, 50k or 50kpps"


def parse_bytes(value: object) -> int:
    """``10M``, ``10MiB``, ``8m``, ``512k`` and bare numbers as bytes. Raises ValueError with what is accepted."""
    return _whole(value, _BYTES | _DECIMAL_BYTES, BYTES_ACCEPTED)


def parse_rate(value: object) -> float:
    """``50k``, ``50kpps`` and bare numbers as packets per second. Raises ValueError with what is accepted."""
    return float(_parsed(value, _RATES, RATES_ACCEPTED))


def _whole(value: object, units: dict[str, int], accepted: str) -> int:
    number = _parsed(value, units, accepted)
    if number != number.to_integral_value():
        raise ValueError(f"{value!r} is not a whole number: write {accepted}")
    return int(number)


def _parsed(value: object, units: dict[str, int], accepted: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not {accepted}")
    if not isinstance(value, str):
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError(f"{value!r} is not {accepted}")
        return Decimal(str(value))
    match = _NUMBER.fullmatch(value.strip())
    factor = None if match is None else units.get(match[2].lower())
    if match is None or factor is None:
        raise ValueError(f"{value!r} is not {accepted}")
    return Decimal(match[1]) * factor


def size_text(size_bytes: float) -> str:
    """``8388608`` as ``8 MiB``, ``425984`` as ``416 KiB``, ``222`` as ``222 bytes``."""
    for unit, factor in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if abs(size_bytes) >= factor:
            return f"{size_bytes / factor:.4g} {unit}"
    return f"{size_bytes:.0f} bytes"
