"""DER (X.690), read strictly and written: as much of it as time stamps need.

One spelling for everything: definite lengths in their shortest form, no bytes left over, integers without needless
zeros. Reading never recurses further than its caller asks.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sekisho_verify.errors import VerifyError

BOOLEAN, INTEGER, OCTETS, NULL, OID = 0x01, 0x02, 0x04, 0x05, 0x06
GENERALIZED_TIME, SEQUENCE, SET = 0x18, 0x30, 0x31
CONTEXT_0, CONTEXT_1 = 0xA0, 0xA1

_SHORT = 0x80
_LENGTH_BYTES_MAX = 3
_HIGH_TAG = 0x1F
_ARC_SHIFT = 7
_ARCS_FIRST = 40
_OID_BYTES_MAX = 32


class DerError(VerifyError):
    """Bytes that are not the one DER form of anything."""


class Item(NamedTuple):
    """One value: its tag byte, its content, and the whole of it as it stands."""

    tag: int
    content: bytes
    whole: bytes


def read_one(data: bytes, tag: int | None = None) -> Item:
    """The one value that these bytes are; DerError where the tag is another or bytes are left over."""
    item, end = _read(data, 0)
    if end != len(data):
        raise DerError("der.trailing", "bytes after the end")
    return expect(item, tag)


def read_all(content: bytes) -> list[Item]:
    """Every value in the content of a sequence or set, in order."""
    items: list[Item] = []
    at = 0
    while at < len(content):
        item, at = _read(content, at)
        items.append(item)
    return items


def expect(item: Item, tag: int | None) -> Item:
    """The item, if it has this tag (None: any); DerError otherwise."""
    if tag is not None and item.tag != tag:
        raise DerError("der.tag", f"tag {item.tag:#04x} where {tag:#04x} is due")
    return item


def integer(item: Item) -> int:
    """A whole number of any size."""
    content = expect(item, INTEGER).content
    value = int.from_bytes(content, "big", signed=True) if content else -1
    if not content or integer_content(value) != content:
        raise DerError("der.integer", "an integer in another than its shortest form")
    return value


def oid(item: Item) -> str:
    """An object identifier in dotted form."""
    content = expect(item, OID).content
    if not 0 < len(content) <= _OID_BYTES_MAX or content[-1] & _SHORT:
        raise DerError("der.oid", "an object identifier that is none")
    arcs: list[int] = []
    value = 0
    for byte in content:
        if value == 0 and byte == _SHORT:
            raise DerError("der.oid", "an object identifier in another than its shortest form")
        value = value << _ARC_SHIFT | byte & ~_SHORT
        if not byte & _SHORT:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // _ARCS_FIRST, 2)
    return ".".join(map(str, [first, arcs[0] - first * _ARCS_FIRST, *arcs[1:]]))


def write(tag: int, *parts: bytes) -> bytes:
    """One value of this tag with these parts as its content."""
    content = b"".join(parts)
    size = len(content)
    if size < _SHORT:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, _SHORT | len(length)]) + length + content


def write_integer(value: int) -> bytes:
    """An integer."""
    return write(INTEGER, integer_content(value))


def integer_content(value: int) -> bytes:
    """Shortest two's complement of a number."""
    return value.to_bytes(((value + (value < 0)).bit_length() + 8) // 8, "big", signed=True)


def write_oid(text: str) -> bytes:
    """An object identifier from its dotted form."""
    first, second, *rest = map(int, re.split(r"\.", text))
    content = b""
    for arc in (first * _ARCS_FIRST + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> _ARC_SHIFT:
            groups.insert(0, arc & 0x7F | _SHORT)
        content += bytes(groups)
    return write(OID, content)


def _read(data: bytes, at: int) -> tuple[Item, int]:
    """The value at a place and where it ends."""
    if len(data) < at + 2 or data[at] & _HIGH_TAG == _HIGH_TAG:
        raise DerError("der.truncated", "ends inside a value, or a tag of more than one byte")
    tag, size, start = data[at], data[at + 1], at + 2
    if size >= _SHORT:
        count = size & ~_SHORT
        encoded = data[start : start + count]
        start += count
        size = int.from_bytes(encoded, "big")
        if not 0 < count <= _LENGTH_BYTES_MAX or len(encoded) != count or size < _SHORT or not encoded[0]:
            raise DerError("der.length", "a length in another than its shortest form, or too long")
    end = start + size
    if end > len(data):
        raise DerError("der.truncated", "ends inside a value")
    return Item(tag, data[start:end], data[at:end]), end
