"""How lines of a file are shown in messages."""

from __future__ import annotations


def shown(line: bytes, longest: int = 120) -> str:
    """A line in quotes, cut where it is long, with what is not text made visible."""
    text = line.decode(errors="backslashreplace").strip()
    return repr(text if len(text) <= longest else text[: longest - 1] + "…")
