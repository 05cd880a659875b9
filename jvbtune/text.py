"""Text that comes from outside: a host, a bridge, a file."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

MAX_LENGTH = 200


#: What moves a terminal's cursor, starts one of its sequences, hides text or turns its direction: C0 and C1 without tab
#: and line break, line and paragraph separators, all format characters (Unicode category Cf), lone surrogates.
_TERMINAL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-"
    "\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-"
    "\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]|\r(?!\n)"
)


def printable(text: str) -> str:
    """The text as it may reach a terminal: lines and tabs stay, each character that a terminal obeys becomes U+FFFD."""
    return _TERMINAL.sub("\ufffd", text)


def clean(text: str, most: int = MAX_LENGTH) -> str:
    """The text on one line, without what is not printable, at most ``most`` characters; one that is cut ends in "…".

    Line breaks, tabs and every control or format character (Unicode categories C and Z) become one space, so that no
    escape sequence reaches a terminal and no line a file that root will load.
    """
    shown = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in str(text)[: 4 * most])
    joined = " ".join(shown.split())
    return joined if len(joined) <= most else joined[: most - 1].rstrip() + "…"


def counted(number: int, word: str) -> str:
    """``1 host``, ``2 hosts``: for words with a plural in s."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean rmem_max?``, or nothing if no known name is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
