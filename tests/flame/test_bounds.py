"""A small file stays small: decompression and depth are bounded."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest
import zstandard

from jvbtune.errors import FormatError
from jvbtune.flame.formats import read, streams
from jvbtune.flame.formats.streams import Input

PACKERS = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor(level=9).compress, "xz": lzma.compress}


@pytest.mark.parametrize("packer", PACKERS)
def test_a_bomb_comes_in_small_pieces_and_ends_at_the_bound(
    packer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_BYTES", 6 << 20)
    path = tmp_path / "bomb"
    path.write_bytes(PACKERS[packer](bytes(12 << 20)))
    largest, total = 0, 0
    with Input(path) as stream, pytest.raises(FormatError, match=r"over [67] MiB when decompressed"):  # noqa: PT012
        while piece := stream.read():
            largest, total = max(largest, len(piece)), total + len(piece)
    assert largest <= 4 << 20
    assert total <= 7 << 20


@pytest.mark.parametrize("packer", PACKERS)
def test_ordinary_content_is_whole(packer: str, tmp_path: Path) -> None:
    content = b"".join(b"main;a%d;b%d %d\n" % (i % 97, i, i) for i in range(4_000))
    path = tmp_path / "file"
    path.write_bytes(PACKERS[packer](content) + PACKERS[packer](content))
    with Input(path) as stream:
        assert stream.read_all() == content * 2


def test_deep_json_is_an_error_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text('{"shared":' * 100_000)
    with pytest.raises(FormatError, match=r"deep\.json"):
        read([path])
