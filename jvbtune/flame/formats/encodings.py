"""Text in whatever encoding and with whatever ends of lines, as UTF-8 with plain ones.

Windows' tools write a byte-order mark, CRLF, and (PowerShell's ``>``) UTF-16. Left as they are, a mark makes the first
frame of a file another frame, and CRLF hides the empty lines between samples. Other bytes pass as they are: names that
are no UTF-8 are the readers' business.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from jvbtune.errors import FormatError

BOM = codecs.BOM_UTF8
#: Byte-order marks, those that begin like another one first.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
LOOKED_AT = 4096


def is_text(head: bytes) -> bool:
    """Whether a beginning can be that of text in UTF-8 or an older encoding of bytes."""
    return not any(byte < 9 for byte in head[:LOOKED_AT])


def as_plain_text(chunks: Iterator[bytes], head: bytes, file: Path) -> Iterator[bytes]:
    """Chunks of text in UTF-8 without marks or carriage returns before line ends; what is not text stays as it is.

    ``head`` is the beginning of the content. Raises FormatError, when read, for text that is damaged.
    """
    encoding = _wide_encoding(head)
    if encoding:
        chunks = _decoded(chunks, encoding, file)
        head = head.decode(encoding, errors="replace").encode()
    elif not is_text(head):
        return chunks
    if BOM in head[:LOOKED_AT]:
        chunks = _replaced(chunks, BOM, b"")
    if b"\r\n" in head:
        chunks = _replaced(chunks, b"\r\n", b"\n")
    elif b"\r" in head and b"\n" not in head:
        chunks = _replaced(chunks, b"\r", b"\n")
    return chunks


def _wide_encoding(head: bytes) -> str:
    """The encoding of two or four bytes a character; "" if it is none."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    start = head[: LOOKED_AT & ~1]
    even, odd = start[::2], start[1::2]
    if len(start) < 8 or BOM in start:
        return ""
    for zeros, others, encoding in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        # Latin letters without a mark: one byte of each pair is 0, and the other is text
        if zeros.count(0) >= 0.9 * len(zeros) and is_text(others):
            return encoding
    return ""


def _decoded(chunks: Iterator[bytes], encoding: str, file: Path) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk in chunks:
            if text := decoder.decode(chunk):
                yield text.encode()
        decoder.decode(b"", final=True)
    except UnicodeError as error:
        why = f"text in {encoding.upper()} that is damaged or was cut: {error}"
        raise FormatError(why, file=file, hint="Write it as UTF-8.") from None


def _replaced(chunks: Iterator[bytes], old: bytes, new: bytes) -> Iterator[bytes]:
    """Chunks with ``old`` replaced, also where it lies across two of them."""
    rest = b""
    for chunk in chunks:
        whole = rest + chunk
        keep = next((n for n in range(len(old) - 1, 0, -1) if whole.endswith(old[:n])), 0)
        rest = whole[len(whole) - keep :]
        if done := whole[: len(whole) - keep].replace(old, new):
            yield done
    if rest:
        yield rest
