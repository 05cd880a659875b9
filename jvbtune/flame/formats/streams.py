"""Files in and out, compressed or not: compression is told by the first bytes when read, by the name when written.

The decompressors of gzip.py and of zstandard's reader end a stream that was cut without a word, or only at the last
read; here a file that ends within a compressed frame is an error, always. Text in another encoding is read as UTF-8
with plain ends of lines (``encodings``).
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import queue
import stat
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from jvbtune.errors import FormatError
from jvbtune.flame.formats.encodings import as_plain_text
from jvbtune.flame.formats.native import WORTH_IT_BYTES

#: compression -> how its files begin. The last is that of ``xz --format=lzma``.
MAGICS = {
    "gzip": (b"\x1f\x8b",),
    "zstd": (b"\x28\xb5\x2f\xfd",),
    "bzip2": (b"BZh",),
    "xz": (b"\xfd7zXZ\0", b"\x5d\0\0"),
}
#: A file that was compressed by two programs, one after the other, is still read.
MOST_LAYERS = 3
READ_BYTES = 1 << 20
PIECES_AHEAD = 4
#: What is decompressed at once; and the most in all. A recording of an hour has some hundred MiB, collapsed stacks
#: compress 40:1, and 6 KB of zstd can hold 63 MiB of one byte.
CHUNK_BYTES = 1 << 20
MOST_BYTES = 4 << 30
#: Beyond this size no profile is smaller by such a factor when compressed.
MOST_RATIO, RATIO_COUNTS_BYTES = 1000, 16 << 20
#: A stack of a thousand frames with long names has some hundred KiB.
MOST_LINE_BYTES = 16 << 20

HEAD_BYTES = 64 << 10  # by these a format is told


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def pieces(self, data: bytes, /) -> Iterator[bytes]:
        """What these data decompress to, in pieces of bounded size."""


class Input:
    """A file's content, decompressed and in UTF-8. ``read`` gives what is at hand; ``b""`` is the end.

    ``peek()`` gives the beginning without taking it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._raw: BinaryIO = path.open("rb", buffering=0)
            head = b""
            while len(head) < HEAD_BYTES and (more := self._raw.read(READ_BYTES)):  # a pipe gives it in pieces
                head += more
        except OSError as error:
            raise FormatError(f"cannot be read: {error.strerror}", file=path) from None
        try:
            self._chunks = self._content(head)
            self._head = next(self._chunks, b"")
        except FormatError:
            self._raw.close()
            raise

    def _content(self, head: bytes) -> Iterator[bytes]:
        """The content in pieces: decompressed, and in UTF-8 if it is text."""
        layers: list[str] = []
        chunks, head = _gathered(self._raw_chunks(head))
        while compression := _compression(head):
            if len(layers) == MOST_LAYERS:
                raise FormatError(f"compressed more than {MOST_LAYERS} times", file=self.path)
            layers.append(compression)
            chunks, head = _gathered(self._decompressed(compression, chunks))
        self.compression = " in ".join(reversed(layers))
        return as_plain_text(chunks, head, self.path)

    def _raw_chunks(self, head: bytes) -> Iterator[bytes]:
        while head:
            yield head
            head = self._raw.read(READ_BYTES) or b""

    def __enter__(self) -> Input:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def peek(self) -> bytes:
        return self._head

    def read(self) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head
        return next(self._chunks, b"")

    def pieces(self, end: bytes) -> Iterator[bytes]:
        """The content in pieces that end with ``end``; the last may lack it."""
        rest = b""
        while chunk := self.read():
            at = chunk.rfind(end)
            if at < 0:
                rest += chunk
                if (at := rest.rfind(end)) < 0:  # it may lie across two chunks
                    if len(rest) > MOST_LINE_BYTES:
                        what = "line" if end == b"\n" else "sample"
                        raise FormatError(f"a {what} is over {MOST_LINE_BYTES >> 20} MiB long", file=self.path)
                    continue
                chunk, rest = rest, b""
            yield b"".join((rest, memoryview(chunk)[: at + len(end)]))
            rest = chunk[at + len(end) :]
        if rest:
            yield rest

    @contextmanager
    def pieces_ahead(self, end: bytes) -> Iterator[Iterator[bytes]]:
        """``pieces``, of a large file by a thread of its own: reading and decompressing go on while a piece is used."""
        pieces = self.pieces(end)
        if not self._is_file or not self.is_large:  # a pipe's writer may keep a reading thread waiting
            yield pieces
            return
        ready: queue.Queue[bytes | Exception | None] = queue.Queue(PIECES_AHEAD)
        left = threading.Event()

        def put(item: bytes | Exception | None) -> None:
            while not left.is_set():
                with suppress(queue.Full):
                    ready.put(item, timeout=0.1)
                    return

        def read() -> None:
            last: Exception | None = None
            try:
                for piece in pieces:
                    put(piece)
                    if left.is_set():
                        return
            except Exception as error:
                last = error
            put(last)

        def taken() -> Iterator[bytes]:
            while isinstance(item := ready.get(), bytes):
                yield item
            if item is not None:
                raise item

        reader = threading.Thread(target=read, name="read-ahead", daemon=True)
        reader.start()
        try:
            yield taken()
        finally:
            left.set()
            reader.join()

    @property
    def is_large(self) -> bool:
        """Whether it pays to compile the loops that read it; a pipe's size is not known."""
        size = os.fstat(self._raw.fileno()).st_size
        return not self._is_file or size * (8 if self.compression else 1) >= WORTH_IT_BYTES

    @property
    def _is_file(self) -> bool:
        return stat.S_ISREG(os.fstat(self._raw.fileno()).st_mode)

    def read_all(self) -> bytes:
        return b"".join(iter(self.read, b""))

    def _decompressed(self, compression: str, compressed: Iterator[bytes]) -> Iterator[bytes]:
        import zstandard

        taken = given = 0
        try:
            decompressor = _new(compression)
            data = next(compressed, b"")
            while True:
                if decompressor.eof:  # several members or frames may follow each other; zeros may pad the last
                    data = decompressor.unused_data.lstrip(b"\0") or next(compressed, b"").lstrip(b"\0")
                    if not data:
                        return
                    decompressor = _new(compression)
                elif not data:
                    raise FormatError(f"the {compression} data end before their time: the file was cut", file=self.path)
                taken += len(data)
                for chunk in decompressor.pieces(data):
                    given += len(chunk)
                    if given > MOST_BYTES or given > max(RATIO_COUNTS_BYTES, MOST_RATIO * taken):
                        raise FormatError(
                            f"the {compression} data are over {given >> 20} MiB when decompressed: this is no profile",
                            file=self.path,
                        )
                    yield chunk
                taken -= len(decompressor.unused_data)
                data = b"" if decompressor.eof else next(compressed, b"")
        except (zlib.error, zstandard.ZstdError, lzma.LZMAError, OSError, EOFError, ValueError) as error:
            raise FormatError(f"the {compression} data are damaged: {error}", file=self.path) from None


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data or not self._inner.eof:
            if chunk := self._inner.decompress(data, CHUNK_BYTES):
                yield chunk
            data = self._inner.unconsumed_tail
            if not data and len(chunk) < CHUNK_BYTES:
                return


class _Bounded:
    """bz2's and lzma's, which bound their output."""

    def __init__(self, inner: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._inner = inner

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while not self._inner.eof:
            chunk = self._inner.decompress(data, CHUNK_BYTES)
            if chunk:
                yield chunk
            data = b""
            if self._inner.needs_input or not chunk:
                return


class _Zstd:
    """zstandard's decompressor has no bound, but a block has: 128 KiB come of four bytes at most. It is fed in steps:
    of the smallest come 2 MiB at most, of the largest 32 MiB."""

    STEP_BYTES, LARGEST_STEP_BYTES = 64, 1024

    def __init__(self) -> None:
        import zstandard

        self._inner = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
        self._rest = b""

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data + self._rest

    def pieces(self, data: bytes) -> Iterator[bytes]:
        step, at, view = self.STEP_BYTES, 0, memoryview(data)
        while at < len(data) and not self._inner.eof:
            chunk = self._inner.decompress(view[at : at + step])
            at += step
            step = min(step * 4, self.LARGEST_STEP_BYTES) if len(chunk) < 200 * step else self.STEP_BYTES
            if chunk:
                yield chunk
        self._rest = data[at:]


def _new(compression: str) -> _Decompressor:
    if compression == "gzip":
        return _Gzip()
    if compression == "zstd":
        return _Zstd()
    if compression == "bzip2":
        return _Bounded(bz2.BZ2Decompressor())
    return _Bounded(lzma.LZMADecompressor(memlimit=256 << 20))


def _compression(head: bytes) -> str:
    return next((name for name, starts in MAGICS.items() if head.startswith(starts)), "")


def _gathered(chunks: Iterator[bytes]) -> tuple[Iterator[bytes], bytes]:
    """The same chunks, and the beginning of the content, long enough to tell what it is."""
    taken: list[bytes] = []
    while sum(map(len, taken)) < HEAD_BYTES and (chunk := next(chunks, b"")):
        taken.append(chunk)
    head = b"".join(taken)
    return chain((head,) if head else (), chunks), head


@contextmanager
def writing(path: Path, *, compress: bool = True) -> Iterator[BinaryIO]:
    """Opens a file that appears under its name only when it is whole; ``.gz`` and ``.zst`` are compressed, if at all.

    The same content gives the same bytes: no name and no time is stored.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as raw:
            if compress and path.suffix == ".gz":
                with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed:
                    yield cast(BinaryIO, packed)
            elif compress and path.suffix == ".zst":
                import zstandard

                with zstandard.ZstdCompressor(level=9).stream_writer(raw, closefd=False) as stream:
                    yield stream
            else:
                yield raw
        unfinished.replace(path)
    except OSError as error:
        raise FormatError(f"cannot be written: {error.strerror}", file=path) from None
    finally:
        unfinished.unlink(missing_ok=True)
