"""What crosses between two nodes of a gang: a greeting, then sealed frames, each good once and in its place only.

Both sides greet with a random number; the attempt's key and both greetings give a key for each direction (HKDF-SHA256,
RFC 5869), so no connection shares a key with another one. A frame is ChaCha20-Poly1305 (RFC 8439) under a nonce that
counts frames and is never sent: a frame that was forged, repeated, left out or put elsewhere does not open.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sekisho_agent.errors import AgentError

KEY_BYTES: Final = 32
RANDOM_BYTES: Final = 32
TAG_BYTES: Final = 16
PAYLOAD_BYTES_MAX: Final = 65_535
"""An IPv4 packet's own limit."""
MAGIC: Final = b"sekisho1"
GREETING: Final = struct.Struct(">8sHHH32s")
HEADER: Final = struct.Struct(">I")
FRAME_BYTES_MAX: Final = HEADER.size + PAYLOAD_BYTES_MAX + TAG_BYTES
LENGTH_BITS: Final = 24

PACKET: Final = 0
READY: Final = 1
LEAVING: Final = 2
HERE: Final = 3
KINDS: Final = frozenset({PACKET, READY, LEAVING, HERE})
"""A packet of the payload's; the sender's wall stands; the sender's payload has ended; the first frame of each side."""


class SealError(AgentError):
    """What came in is not the other node's word."""

    def __init__(self, detail: str) -> None:
        super().__init__("peers.forged", detail)


class Greeting(msgspec.Struct, frozen=True):
    """Who speaks to whom, in a gang of how many."""

    sender: int
    receiver: int
    nodes: int
    random: bytes

    @classmethod
    def fresh(cls, sender: int, receiver: int, nodes: int) -> Greeting:
        """With a random number of its own."""
        return cls(sender, receiver, nodes, secrets.token_bytes(RANDOM_BYTES))

    @classmethod
    def decode(cls, content: bytes) -> Greeting:
        """SealError for anything but a greeting of this version."""
        magic, sender, receiver, nodes, random = GREETING.unpack(content)
        if magic != MAGIC:
            raise SealError("not a greeting")
        return cls(sender, receiver, nodes, random)

    def encode(self) -> bytes:
        """As it is sent, in the clear."""
        return GREETING.pack(MAGIC, self.sender, self.receiver, self.nodes, self.random)


class Sealer:
    """One direction of one connection, sending. Not shared between threads without a lock."""

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._count = 0
        self._frame = bytearray(FRAME_BYTES_MAX)

    def seal(self, kind: int, payload: memoryview | bytes = b"") -> memoryview:
        """The frame, in a buffer that the next call uses again."""
        size = len(payload)
        end = HEADER.size + size + TAG_BYTES
        HEADER.pack_into(self._frame, 0, kind << LENGTH_BITS | size)
        view = memoryview(self._frame)
        header = bytes(view[: HEADER.size])
        self._cipher.encrypt_into(_nonce(self._count), payload, header, view[HEADER.size : end])
        self._count += 1
        return view[:end]


class Opener:
    """One direction of one connection, receiving. Used by one thread."""

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._count = 0
        self._payload = bytearray(PAYLOAD_BYTES_MAX)

    def size(self, header: memoryview | bytes) -> int:
        """How many bytes follow this header; SealError for one that no node of ours sends."""
        (word,) = HEADER.unpack(header)
        kind, size = word >> LENGTH_BITS, word & ((1 << LENGTH_BITS) - 1)
        if kind not in KINDS or size > PAYLOAD_BYTES_MAX or (kind != PACKET and size):
            raise SealError("not a frame of ours")
        return size + TAG_BYTES

    def open(self, header: memoryview | bytes, sealed: memoryview | bytes) -> tuple[int, memoryview]:
        """Kind and payload, in a buffer that the next call uses again. SealError for a frame that is not the next."""
        size = len(sealed) - TAG_BYTES
        view = memoryview(self._payload)[:size]
        try:
            self._cipher.decrypt_into(_nonce(self._count), sealed, bytes(header), view)
        except InvalidTag as error:
            raise SealError("a frame that does not belong here") from error
        self._count += 1
        return header[0], view


def directions(key: bytes, dialler: Greeting, listener: Greeting) -> tuple[bytes, bytes]:
    """The key from the dialling node to the listening one, and the one back."""
    if hmac.compare_digest(dialler.random, listener.random):
        raise SealError("a greeting that was sent back")
    said = dialler.encode() + listener.encode()
    derived = HKDF(SHA256(), 2 * KEY_BYTES, salt=MAGIC, info=b"between nodes of a gang" + said).derive(key)
    return derived[:KEY_BYTES], derived[KEY_BYTES:]


def _nonce(count: int) -> bytes:
    return count.to_bytes(12, "big")
