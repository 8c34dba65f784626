"""The canonical zip: members stored, header fields fixed, names in order; the members fix every byte.

Reading walks the local headers, then writes the archive again and compares: whatever differs (a comment, a
gap, a central directory that tells another story) is refused without being interpreted. Ordinary unzip
programs can open it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from zlib import crc32

from sekisho_verify.errors import ArchiveError, ChecksumError

ARCHIVE_BYTES_MAX = 64 * 2**20
MEMBERS_MAX = 100_000
NAME_BYTES_MAX = 255

_VERSION = 20
_MIDNIGHT = 0
_FIRST_OF_1980 = 0x21
_U16_MAX = 0xFFFF

# Local header: mark, version, flags, method, time, date, crc, stored size, size, name and extra lengths.
_local = struct.Struct("<4s5H3I2H")
_LOCAL_MARK = b"PK\x03\x04"
# Central header: as above after version made by, then comment length, disk, two attributes, offset.
_central = struct.Struct("<4s6H3I5H2I")
_CENTRAL_MARK = b"PK\x01\x02"
# End of the directory, and the 64-bit form of it that more than 65,534 members need.
_end = struct.Struct("<4s4H2IH")
_END_MARK = b"PK\x05\x06"
_end64 = struct.Struct("<4sQ2H2I4Q4sIQI")


def write_archive(members: Mapping[str, bytes]) -> bytes:
    """The one archive of these members; ArchiveError for names or sizes it cannot hold."""
    if len(members) > MEMBERS_MAX:
        raise ArchiveError("archive.members", f"more than {MEMBERS_MAX} members")
    locals_: list[bytes] = []
    centrals: list[bytes] = []
    offset = 0
    for name in sorted(members):
        encoded, data = _encode_name(name), members[name]
        size = len(data)
        if offset + size > ARCHIVE_BYTES_MAX:
            raise ArchiveError("archive.size", f"more than {ARCHIVE_BYTES_MAX} bytes")
        common = (_VERSION, 0, 0, _MIDNIGHT, _FIRST_OF_1980, crc32(data), size, size, len(encoded), 0)
        locals_ += [_local.pack(_LOCAL_MARK, *common), encoded, data]
        centrals += [_central.pack(_CENTRAL_MARK, _VERSION, *common, 0, 0, 0, 0, offset), encoded]
        offset += _local.size + len(encoded) + size
    directory = b"".join(centrals)
    archive = b"".join((*locals_, directory, _ending(len(members), len(directory), offset)))
    if len(archive) > ARCHIVE_BYTES_MAX:
        raise ArchiveError("archive.size", f"more than {ARCHIVE_BYTES_MAX} bytes")
    return archive


def read_archive(data: bytes) -> dict[str, bytes]:
    """Members by name, in order; ChecksumError for one that differs from its checksum, else ArchiveError."""
    if len(data) > ARCHIVE_BYTES_MAX:
        raise ArchiveError("archive.size", f"more than {ARCHIVE_BYTES_MAX} bytes")
    members: dict[str, bytes] = {}
    offset = 0
    while data.startswith(_LOCAL_MARK, offset):
        if len(data) < offset + _local.size or len(members) == MEMBERS_MAX:
            raise ArchiveError("archive.truncated", "ends inside a header, or has too many members")
        fields = _local.unpack_from(data, offset)
        checksum, size, name_size = fields[6], fields[8], fields[9]
        start = offset + _local.size + name_size
        offset = start + size
        if offset > len(data):
            raise ArchiveError("archive.truncated", "ends inside a member")
        name = _decode_name(data[start - name_size : start])
        if name in members:
            raise ArchiveError("archive.duplicate", "the same member twice", where=name)
        members[name] = data[start:offset]
        if crc32(members[name]) != checksum:
            raise ChecksumError("archive.checksum", "a member that differs from its checksum", where=name)
    if write_archive(members) != data:
        raise ArchiveError("archive.spelling", "not the canonical zip of its members")
    return members


def _ending(count: int, directory_bytes: int, offset: int) -> bytes:
    if count < _U16_MAX:
        return _end.pack(_END_MARK, 0, 0, count, count, directory_bytes, offset, 0)
    wide = _end64.pack(
        b"PK\x06\x06",
        44,  # bytes of this record after this field
        _VERSION,
        _VERSION,
        0,
        0,
        count,
        count,
        directory_bytes,
        offset,
        b"PK\x06\x07",
        0,
        offset + directory_bytes,
        1,
    )
    return wide + _end.pack(_END_MARK, 0, 0, _U16_MAX, _U16_MAX, directory_bytes, offset, 0)


def _encode_name(name: str) -> bytes:
    if not 0 < len(name) <= NAME_BYTES_MAX or not name.isascii() or not name.isprintable():
        raise ArchiveError("archive.name", "a member's name is 1 to 255 printable ASCII characters")
    return name.encode("ascii")


def _decode_name(encoded: bytes) -> str:
    try:
        return encoded.decode("ascii")
    except UnicodeDecodeError as error:
        raise ArchiveError("archive.name", "a member's name is not ASCII") from error
