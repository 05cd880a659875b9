"""Files in and out, compressed or not: gzip and zstd are told by their first bytes when read, by the name when written.

The decompressors of gzip.py and of zstandard's reader end a stream that was cut without a word, or only at the last
read; here a file that ends within a compressed frame is an error, always.
"""

from __future__ import annotations

import gzip
import os
import queue
import stat
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from jvbtune.errors import FormatError
from jvbtune.flame.formats.native import WORTH_IT_BYTES

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
READ_BYTES = 1 << 20
PIECES_AHEAD = 4

HEAD_BYTES = 64 << 10  # by these a format is told


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


class Input:
    """A file's content, decompressed. ``read`` gives what is at hand, at most about ``size`` bytes; ``b""`` is the end.

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
        self.compression = "gzip" if head.startswith(GZIP_MAGIC) else "zstd" if head.startswith(ZSTD_MAGIC) else ""
        self._chunks = self._decompressed(head) if self.compression else iter((head,))
        try:
            self._head = next(self._chunks, b"")
        except FormatError:
            self._raw.close()
            raise

    def __enter__(self) -> Input:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def peek(self) -> bytes:
        return self._head

    def read(self, size: int = READ_BYTES) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head
        if self.compression:
            return next(self._chunks, b"")
        return self._raw.read(size) or b""

    def pieces(self, end: bytes) -> Iterator[bytes]:
        """The content in pieces that end with ``end``; the last may lack it."""
        rest = b""
        while chunk := self.read():
            at = chunk.rfind(end)
            if at < 0:
                rest += chunk
                if (at := rest.rfind(end)) < 0:  # it may lie across two chunks
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

    def _new(self) -> _Decompressor:
        if self.compression == "gzip":
            return zlib.decompressobj(wbits=31)
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj()

    def _decompressed(self, data: bytes) -> Iterator[bytes]:
        import zstandard

        try:
            decompressor = self._new()
            while True:
                if decompressor.eof:  # several members or frames may follow each other; zeros may pad the last
                    data = decompressor.unused_data.lstrip(b"\0") or self._raw.read(READ_BYTES).lstrip(b"\0")
                    if not data:
                        return
                    decompressor = self._new()
                elif not data:
                    raise FormatError(
                        f"the {self.compression} data end before their time: the file was cut", file=self.path
                    )
                if chunk := decompressor.decompress(data):
                    yield chunk
                data = b"" if decompressor.eof else self._raw.read(READ_BYTES)
        except (zlib.error, zstandard.ZstdError) as error:
            raise FormatError(f"the {self.compression} data are damaged: {error}", file=self.path) from None


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
