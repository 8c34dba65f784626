"""A packed folder comes back as it was, and nothing else is written for a stream that is none."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_verify import canonical
from sekisho_wire.packing import MAGIC, PIECE_BYTES_MAX, Packer, Reading, Source, Unpacker
from sekisho_wire.trees import MODE_EXECUTABLE, MODE_PLAIN, TreeError, encode_tree

NAME = st.text("abcdefgh", min_size=1, max_size=4)
FILES = st.dictionaries(
    st.lists(NAME, min_size=1, max_size=3).map(lambda parts: "d/".join(parts) + ".f"),
    st.tuples(st.binary(max_size=64), st.sampled_from([MODE_PLAIN, MODE_EXECUTABLE])),
    max_size=6,
)


def framed(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def packed(files: dict[str, tuple[bytes, int]]) -> tuple[bytes, bytes]:
    """The stream, and the manifest of the tree that it holds."""
    packer = Packer(Source(path, mode, [content]) for path, (content, mode) in files.items())
    return b"".join(packer.stream()), encode_tree(packer.files)


def unpack(
    chunks: Iterable[bytes],
    folder: Path,
    *,
    size_bytes_max: int,
    check: Callable[[], None] = lambda: None,
) -> int:
    """All of a stream, piece by piece."""
    unpacker = Unpacker(folder, size_bytes_max=size_bytes_max, check=check)
    for chunk in chunks:
        unpacker.write(memoryview(chunk))
    return unpacker.finish()


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@given(FILES, st.integers(1, 50))
def test_what_was_packed_comes_back_whatever_the_chunks(
    files: dict[str, tuple[bytes, int]], size: int
) -> None:
    stream, _ = packed(files)
    with tempfile.TemporaryDirectory() as folder:
        total = unpack(pieces(stream, size), Path(folder), size_bytes_max=1 << 20)
        assert total == sum(len(content) for content, _ in files.values())
        for path, (content, mode) in files.items():
            found = Path(folder) / path
            assert (found.read_bytes(), found.stat().st_mode & 0o777) == (content, mode)


@given(FILES.filter(bool), st.data())
def test_a_stream_that_was_cut_or_changed_is_refused(
    files: dict[str, tuple[bytes, int]], data: st.DataObject
) -> None:
    stream, _ = packed(files)
    at = data.draw(st.integers(0, len(stream) - 1))
    broken = data.draw(
        st.sampled_from(
            [stream[:at], stream + b"x", stream[:at] + bytes([stream[at] ^ 1]) + stream[at + 1 :]]
        )
    )
    with tempfile.TemporaryDirectory() as folder, pytest.raises(TreeError):
        unpack([broken], Path(folder), size_bytes_max=1 << 20)


def test_a_file_longer_than_a_piece_is_cut_into_pieces(tmp_path: Path) -> None:
    content = b"0123456789abcdef" * (PIECE_BYTES_MAX // 8)
    stream, _ = packed({"big": (content, MODE_PLAIN)})
    assert unpack([stream], tmp_path, size_bytes_max=len(content)) == len(content)
    assert (tmp_path / "big").read_bytes() == content


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([b'["../out",420]'], "tree.path"),
        ([b'["/etc/passwd",420]'], "tree.path"),
        ([b'["a",511]'], "tree.malformed"),
        ([b'{"a":1}'], "tree.malformed"),
        ([b"not json"], "tree.malformed"),
        ([b'["a",420]', b'["a",420]'], "tree.collision"),
        ([b'["a",420]', b'["a/b",420]'], "tree.collision"),
        ([b"x" * 9000], "tree.malformed"),
    ],
)
def test_names_that_leave_the_folder_or_meet_are_refused(
    headers: list[bytes], code: str, tmp_path: Path
) -> None:
    stream = MAGIC + b"".join(framed(header) + framed(b"hello") + framed(b"") for header in headers)
    folder = tmp_path / "inside"
    folder.mkdir()
    with pytest.raises(TreeError) as caught:
        unpack([stream], folder, size_bytes_max=100)
    assert caught.value.code == code
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def test_more_than_allowed_and_more_files_than_a_tree_holds_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, _ = packed({"a": (b"12345", MODE_PLAIN), "b": (b"67890", MODE_PLAIN)})
    with pytest.raises(TreeError, match="more than 9 bytes"):
        unpack([stream], tmp_path, size_bytes_max=9)
    monkeypatch.setattr("sekisho_wire.packing.FILES_MAX", 1)
    folder = tmp_path / "second"
    folder.mkdir()
    with pytest.raises(TreeError, match="more than 1 files"):
        unpack([stream], folder, size_bytes_max=100)


def test_whoever_stops_it_stops_it_between_pieces(tmp_path: Path) -> None:
    stream, _ = packed({"a": (b"1", MODE_PLAIN)})

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        unpack([stream], tmp_path, size_bytes_max=9, check=stop)


def test_a_manifest_of_other_files_is_refused(tmp_path: Path) -> None:
    stream, manifest = packed({"a": (b"1", MODE_PLAIN)})
    _, other = packed({"a": (b"2", MODE_PLAIN)})
    with pytest.raises(TreeError, match="not that of the files"):
        unpack([stream.removesuffix(manifest) + other], tmp_path, size_bytes_max=9)
    assert canonical.digest(manifest) != canonical.digest(other)


@given(FILES, st.integers(1, 40))
def test_a_packer_reads_like_a_file(files: dict[str, tuple[bytes, int]], size: int) -> None:
    packed_file = Reading(
        Packer(Source(path, mode, [content]) for path, (content, mode) in files.items()).stream()
    )
    buffer, found = memoryview(bytearray(size)), b""
    while count := packed_file.readinto(buffer):
        found += bytes(buffer[:count])
    assert found == packed(files)[0]
