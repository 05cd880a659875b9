"""Texts of exports in the forms that their consumers want: YAML literals, JSON strings, shell here-documents."""

from __future__ import annotations

import json

from jvbtune.text import clean


def quoted(value: str, most: int = 500) -> str:
    """A text of the host as one JSON string, which YAML and HCL read alike: one line, printable, bounded."""
    return json.dumps(clean(value, most), ensure_ascii=True)


def literal(text: str, indent: int) -> str:
    """The lines of a YAML block literal (``|``)."""
    return "".join(f"{' ' * indent}{line}".rstrip() + "\n" for line in text.rstrip("\n").split("\n"))


def here_document(path: str, text: str, mark: str = "JVBTUNE_END") -> str:
    """Shell that prints a file's content without expanding anything in it. Raises ValueError if it holds the mark."""
    if mark in text.splitlines():
        raise ValueError(f"the content of {path} holds {mark}")
    return f"cat <<'{mark}'\n{text.rstrip(chr(10))}\n{mark}\n"
