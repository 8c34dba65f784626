"""The canonical zip: opened by others, one byte form, nothing else accepted."""

from __future__ import annotations

import io
import struct
import zipfile
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_verify.archive import ARCHIVE_BYTES_MAX, MEMBERS_MAX, read_archive, write_archive
from sekisho_verify.errors import ArchiveError, ChecksumError, VerifyError

names = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20)
members = st.dictionaries(names, st.binary(max_size=80), max_size=6)
SMALL = write_archive({"a": b"first", "b": b"second", "c/d": b""})


@given(members)
def test_members_come_back_and_others_can_read_them(content: dict[str, bytes]) -> None:
    data = write_archive(content)
    assert read_archive(data) == content
    assert list(read_archive(data)) == sorted(content)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == sorted(content)


@pytest.mark.parametrize("count", [65_534, 65_535, 65_536])
def test_more_members_than_sixteen_bits_count(count: int) -> None:
    content = {f"{number:06}": b"" for number in range(count)}
    data = write_archive(content)
    assert read_archive(data) == content
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.namelist()) == count


def test_every_bit_of_a_small_archive_matters() -> None:
    for at in range(len(SMALL)):
        for bit in range(8):
            changed = bytearray(SMALL)
            changed[at] ^= 1 << bit
            with pytest.raises(VerifyError):
                read_archive(bytes(changed))


def test_every_truncation_and_extension_is_refused() -> None:
    for length in range(len(SMALL)):
        with pytest.raises(VerifyError):
            read_archive(SMALL[:length])
    for more in (b"\0", SMALL, b"PK\x05\x06" + bytes(18)):
        with pytest.raises(ArchiveError):
            read_archive(SMALL + more)


def test_a_changed_member_is_a_failed_checksum_and_is_named() -> None:
    with pytest.raises(ChecksumError) as caught:
        read_archive(SMALL.replace(b"second", b"sec0nd", 1))
    assert caught.value.where == "b"
    assert caught.value.exit_code == 11


def test_archives_of_other_programs_are_refused() -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.writestr("a", b"first")
        with pytest.raises(VerifyError):
            read_archive(file.getvalue())


def local(name: bytes, data: bytes) -> bytes:
    return (
        struct.pack(
            "<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 0x21, crc32(data), len(data), len(data), len(name), 0
        )
        + name
        + data
    )


def test_duplicate_and_disordered_members_are_refused() -> None:
    with pytest.raises(ArchiveError, match="twice"):
        read_archive(local(b"a", b"1") + local(b"a", b"2"))
    with pytest.raises(ArchiveError):
        read_archive(local(b"b", b"1") + local(b"a", b"2") + SMALL[SMALL.index(b"PK\x01\x02") :])


@pytest.mark.parametrize("name", ["", "\u3042", "a\n", "\x7f", "a" * 256])
def test_names_are_short_and_printable(name: str) -> None:
    with pytest.raises(ArchiveError):
        write_archive({name: b""})
    with pytest.raises(ArchiveError):
        read_archive(local(name.encode(), b""))


def test_too_much_is_refused() -> None:
    with pytest.raises(ArchiveError):
        write_archive({"a": bytes(ARCHIVE_BYTES_MAX + 1)})
    with pytest.raises(ArchiveError):
        write_archive({"a": bytes(ARCHIVE_BYTES_MAX - 60)})
    with pytest.raises(ArchiveError):
        read_archive(bytes(ARCHIVE_BYTES_MAX + 1))
    with pytest.raises(ArchiveError):
        write_archive({str(number): b"" for number in range(MEMBERS_MAX + 1)})
    with pytest.raises(ArchiveError):
        read_archive(b"".join(local(b"%d" % number, b"") for number in range(MEMBERS_MAX + 1)))


@given(st.binary(max_size=120) | st.binary(max_size=80).map(lambda data: b"PK\x03\x04" + data))
def test_no_other_exception_escapes(data: bytes) -> None:
    with pytest.raises(VerifyError):
        read_archive(data)
