"""Objects by digest in a local folder: what goes in comes out, and nothing else ever does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_verify import canonical
from sekisho_wire.objects import ObjectError, ObjectsByDigest, object_key

MISSING = "sha256:" + "0" * 64


@pytest.fixture
def store(tmp_path: Path) -> ObjectsByDigest:
    return ObjectsByDigest.open(f"file://{tmp_path}/store", tmp_path / "scratch")


@given(content=st.binary(max_size=5000))
def test_what_is_stored_comes_back(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("store")
    store = ObjectsByDigest.open(f"file://{folder}/store", folder / "scratch")
    digest = store.put_bytes(content)
    assert digest == canonical.digest(content)
    assert store.get_bytes(digest, size_bytes_max=len(content)) == content
    assert store.put_bytes(content) == digest
    assert store.get_file(digest, folder / "copy", size_bytes_max=len(content)) == len(content)
    assert (folder / "copy").read_bytes() == content


def test_an_object_that_is_not_there(store: ObjectsByDigest, tmp_path: Path) -> None:
    assert not store.has(MISSING)
    for reading in (
        lambda: store.get_bytes(MISSING, size_bytes_max=10),
        lambda: store.get_file(MISSING, tmp_path / "x", size_bytes_max=10),
    ):
        with pytest.raises(ObjectError) as caught:
            reading()
        assert caught.value.code == "object.missing"


def test_changed_bytes_in_the_store_are_never_handed_out(store: ObjectsByDigest, tmp_path: Path) -> None:
    digest = store.put_bytes(b"content")
    (tmp_path / "store" / object_key(digest)).write_bytes(b"c0ntent")
    for reading in (
        lambda: store.get_bytes(digest, size_bytes_max=10),
        lambda: store.get_file(digest, tmp_path / "x", size_bytes_max=10),
    ):
        with pytest.raises(ObjectError) as caught:
            reading()
        assert caught.value.code == "object.digest_mismatch"
    assert not (tmp_path / "x").exists()


def test_incoming_bytes_are_checked_before_they_are_stored(store: ObjectsByDigest, tmp_path: Path) -> None:
    digest = canonical.digest(b"content")
    with pytest.raises(ObjectError) as caught:
        store.put_stream(iter([b"cont", b"enT"]), digest, size_bytes_max=100)
    assert caught.value.code == "object.digest_mismatch"
    with pytest.raises(ObjectError) as caught:
        store.put_stream(iter([b"content"] * 100), digest, size_bytes_max=100)
    assert caught.value.code == "object.too_large"
    assert not store.has(digest)
    assert not list((tmp_path / "scratch").iterdir())

    def breaks() -> Iterator[bytes]:
        yield b"cont"
        raise ObjectError("object.unreachable", "gone")

    with pytest.raises(ObjectError):
        store.put_stream(breaks(), digest, size_bytes_max=100)
    assert not store.has(digest)
    assert store.put_stream(iter([b"cont", b"ent"]), digest, size_bytes_max=7) == 7


@pytest.mark.parametrize(
    "url", ["", "/var/store", "http://store.invalid/x", "memory:///", "ftp://x", "gs://bucket"]
)
def test_stores_of_other_kinds_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ObjectError) as caught:
        ObjectsByDigest.open(url, tmp_path)
    assert caught.value.code == "object.store_url"


def test_a_full_disk_leaves_nothing_half_written(
    store: ObjectsByDigest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    digest = store.put_bytes(b"content")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ObjectError) as caught:
        store.get_file(digest, tmp_path / "x", size_bytes_max=10)
    assert caught.value.code == "object.not_written"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".incoming")]


def test_a_folder_that_is_not_there_is_one_clear_error(store: ObjectsByDigest, tmp_path: Path) -> None:
    digest = store.put_bytes(b"content")
    with pytest.raises(ObjectError) as caught:
        store.get_file(digest, tmp_path / "absent" / "x", size_bytes_max=10)
    assert caught.value.code == "object.not_written"
