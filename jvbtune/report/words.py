"""Numbers and names as the report writes them: units, narrow spaces between thousands, a sensible number of digits."""

from __future__ import annotations

import math
import re
from typing import Any

from jvbtune.fit.compare import LABELS, Metric
from jvbtune.result.model import Interval, LimitFit

THIN = "\u202f"  #: between thousands, and between a number and its unit
MINUS = "\u2212"

#: The column of a delay limit that is held against the share of late packets.
LATE = "late_ratio"

LIMITS = {
    "ndr": "No loss (NDR)",
    "cpu": "CPU",
    "rx_thread": "Receive thread",
    "gc": "Garbage collection",
    "loss": "Packet loss",
    "delay": "Delay",
}


def count(value: float | None, digits: int = 0) -> str:
    """``46 750``."""
    if value is None:
        return "–"
    return f"{value:,.{digits}f}".replace(",", THIN).replace("-", MINUS)


def pps(value: float | None) -> str:
    return "–" if value is None else f"{count(value)}{THIN}pps"


def pps_interval(ends: Interval) -> str:
    """``48 495 to 51 231 pps``; ``more than 48 495 pps`` without an upper end."""
    low, high = ends
    if high is None:
        return "not known" if low is None else f"more than {pps(low)}"
    return f"{count(low or 0)} to {pps(high)}"


def percent(value: float | None, digits: int | None = None) -> str:
    """``80 %`` of a ratio of 0.8; as many digits as a small value needs."""
    if value is None:
        return "–"
    shown = 100 * value
    if digits is None:
        size = abs(shown)
        digits = 0 if size >= 10 or size == 0 or size == round(size) else max(1, 1 - math.floor(math.log10(size)))
        digits = min(digits, 6)
    text = f"{shown:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text}{THIN}%".replace("-", MINUS)


def change(effect: float | None) -> str:
    """A relative change: ``+4.4 %`` near 1, ``× 3.2`` or ``× 0.04`` far from it."""
    if effect is None:
        return "no end"
    if -0.5 < effect < 1:
        return f"{100 * effect:+.1f}{THIN}%".replace("-", MINUS)
    return f"×{THIN}{factor(1 + effect)}"


def factor(ratio: float) -> str:
    """``0.04``, ``3.2``, ``12 000``: two or three significant digits."""
    if ratio == 0:
        return "0"
    if ratio >= 100:
        return count(float(f"{ratio:.3g}"))
    if ratio >= 0.01:
        return f"{ratio:.2g}"
    return f"{ratio:.0e}".replace("e-0", "e-").replace("e-", f"{THIN}·{THIN}10^{MINUS}")


def size(value: float | None) -> str:
    """``8 MiB``, ``208 KiB``."""
    if value is None:
        return "–"
    for unit, many in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= many:
            return f"{value / many:.3g}{THIN}{unit}"
    return f"{value:.0f}{THIN}bytes"


def milliseconds(value: float | None) -> str:
    if value is None:
        return "–"
    digits = 0 if value >= 10 else 1 if value >= 1 else 2
    text = count(value, digits)
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text}{THIN}ms"


def setting_value(value: Any) -> str:
    """A setting's value as it is written to a file, with its size if that is easier to read: ``10485760 (10 MiB)``."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2**16:
        return f"{value} ({size(value)})"
    return str(value)


def step(name: str) -> str:
    """A step's name for a legend: ``net.core.rmem_max = 208 KiB``; the baseline is what the host had on arrival."""
    if name == "baseline":
        return "baseline (as found)"
    setting, equals, value = name.partition("=")
    if not equals or not re.fullmatch(r"[\w.-]+", setting):
        return name
    shown = size(int(value)) if value.isdigit() and int(value) >= 2**16 else value
    return f"{setting} = {shown}"


def metric(name: Metric) -> str:
    text = LABELS[name]
    return text[:1].upper() + text[1:]


def limit(name: str) -> str:
    return LIMITS.get(name, name)


def limit_value(name: str, value: float) -> str:
    """What the limit is, after its name: ``80 % of the bridge's cores``."""
    return {
        "cpu": f"{percent(value)} of the bridge's cores",
        "rx_thread": f"{percent(value)} of one core",
        "gc": f"{percent(value)} of the time",
        "loss": f"{percent(value)} of the packets",
        "delay": f"{milliseconds(value)} at the 99th percentile",
        "ndr": "not one packet lost",
    }.get(name, f"{value:g}")


def fit_limit(fit: LimitFit) -> str:
    """The same, of a fitted curve: ``1 % of packets later than 50 ms`` if it is one of late packets."""
    if fit.column == LATE:
        return f"{percent(fit.limit)} {fit.unit}"
    return limit_value(fit.name, fit.limit)


def sentence(text: str) -> str:
    """With a capital letter at its beginning and a full stop at its end."""
    text = text.strip()
    if not text:
        return ""
    return text[:1].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


#: A number of five digits or more that counts packets: after a space or a bracket, and before what is counted.
_MANY = re.compile(r"(?<=[ (])\d{5,}(?= (?:pps|packets|to |and \d)|;|\))")


def prose(text: str) -> str:
    """A sentence of the result, with narrow spaces between the thousands of its packet rates."""
    return sentence(_MANY.sub(lambda found: count(int(found[0])), text))


def clipped(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
