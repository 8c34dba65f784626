"""The envelope of an object: opens whole and unchanged under its own key, or not at all."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_verify import canonical
from sekisho_wire.envelope import (
    AES_KW,
    MAGIC,
    PLAINTEXT_BYTES_MAX,
    SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN,
    EnvelopeError,
    EnvelopeKey,
    Header,
    Wrapped,
    decode_header,
    decrypt_file,
    decrypt_stream,
    encrypt_stream,
    envelope_key,
    new_data_key,
    new_header,
    read_header,
)

DATA_KEY = bytes(range(32))
KEY = EnvelopeKey(bytes(range(32)))
WRAPPED = Wrapped("patients", 3, AES_KW, bytes(40))
SEGMENT = SEGMENT_BYTES_MIN
FRONT = len(MAGIC) + 4


# Around each border of a segment, and well inside.
def around(segments: int, rest: int) -> int:
    return max(0, segments * SEGMENT + rest)


sizes = st.builds(around, st.integers(0, 4), st.one_of(st.sampled_from([-1, 0, 1]), st.integers(0, SEGMENT)))


def header(kind: str = "file", wrapped: Wrapped = WRAPPED) -> Header:
    return new_header(kind, wrapped, segment_bytes=SEGMENT)


def sealed(plain: bytes, head: Header | None = None, key: EnvelopeKey = KEY) -> bytes:
    target = io.BytesIO()
    encrypt_stream(io.BytesIO(plain), target, head or header(), key)
    return target.getvalue()


def opened(envelope: bytes, key: EnvelopeKey = KEY, *, kind: str = "") -> bytes:
    source, target = io.BytesIO(envelope), io.BytesIO()
    size = decrypt_stream(source, target, read_header(source, kind=kind), key)
    assert size == len(target.getvalue())
    return target.getvalue()


def refused(envelope: bytes, key: EnvelopeKey = KEY) -> str:
    with pytest.raises(EnvelopeError) as caught:
        opened(envelope, key)
    return caught.value.code


def parts(envelope: bytes) -> tuple[bytes, list[bytes]]:
    """What stands before the segments, and the segments."""
    head = read_header(io.BytesIO(envelope))
    begin = len(head.data) + 32
    step = head.segment_bytes + 16
    return envelope[:begin], [envelope[at : at + step] for at in range(begin, len(envelope), step)]


class Dribble:
    """A source that gives a few bytes at a time, as a pipe does."""

    def __init__(self, data: bytes, step: int) -> None:
        self._source = io.BytesIO(data)
        self._step = step

    def readinto(self, buffer: memoryview, /) -> int:
        return self._source.readinto(buffer[: self._step])


@given(size=sizes, seed=st.integers(0, 255))
def test_what_goes_in_comes_out_and_the_sizes_are_known_before(size: int, seed: int) -> None:
    plain = bytes((seed + at) % 256 for at in range(size))
    head = header()
    envelope = sealed(plain, head)
    assert opened(envelope) == plain
    assert head.ciphertext_bytes(size) == len(envelope)
    assert head.plaintext_bytes(len(envelope)) == size


@given(size=sizes, step=st.integers(1, 3 * SEGMENT))
def test_a_source_may_give_little_at_a_time(size: int, step: int) -> None:
    plain = bytes(size)
    target, back = io.BytesIO(), io.BytesIO()
    assert encrypt_stream(Dribble(plain, step), target, header(), KEY) == size
    source = Dribble(target.getvalue(), step)
    decrypt_stream(source, back, read_header(source), KEY)
    assert back.getvalue() == plain


@given(size=st.sampled_from([0, 1, SEGMENT, SEGMENT + 1]), at=st.integers(0), bit=st.integers(0, 7))
def test_every_flipped_bit_fails(size: int, at: int, bit: int) -> None:
    envelope = bytearray(sealed(bytes(size)))
    envelope[at % len(envelope)] ^= 1 << bit
    assert refused(bytes(envelope)) in {"envelope.shape", "envelope.key", "envelope.forged"}


def test_every_byte_of_the_front_counts() -> None:
    envelope = sealed(b"x")
    for at in range(len(envelope)):
        changed = bytearray(envelope)
        changed[at] ^= 1
        refused(bytes(changed))


@given(size=sizes, cut=st.integers(1))
def test_every_truncation_fails(size: int, cut: int) -> None:
    envelope = sealed(bytes(size))
    assert refused(envelope[: -(1 + cut % len(envelope))]) in {"envelope.shape", "envelope.forged"}


def test_a_cut_at_a_border_of_segments_fails_and_so_does_what_is_added() -> None:
    front, segments = parts(sealed(bytes(3 * SEGMENT)))
    assert len(segments) == 3
    for kept in range(3):
        assert refused(front + b"".join(segments[:kept])) == "envelope.forged"
    assert refused(front + b"".join([*segments, segments[-1]])) == "envelope.forged"
    assert refused(front + b"".join(segments) + b"\0") == "envelope.forged"
    assert refused(front + b"".join(segments) + bytes(16)) == "envelope.forged"


@given(order=st.permutations(range(4)))
def test_swapped_segments_fail(order: list[int]) -> None:
    front, segments = parts(sealed(bytes(4 * SEGMENT)))
    moved = front + b"".join(segments[number] for number in order)
    if order == [0, 1, 2, 3]:
        assert opened(moved) == bytes(4 * SEGMENT)
    else:
        assert refused(moved) == "envelope.forged"


def test_segments_of_another_object_do_not_fit_even_under_the_same_key() -> None:
    front, mine = parts(sealed(bytes(3 * SEGMENT)))
    _, theirs = parts(sealed(bytes(3 * SEGMENT)))
    assert refused(front + mine[0] + theirs[1] + mine[2]) == "envelope.forged"


def test_a_key_is_that_of_one_header_alone() -> None:
    """Whoever writes a header of its own over somebody's wrapped data key gets a key to nothing that lies there."""
    head = header()
    envelope = sealed(b"a secret", head, envelope_key(head, DATA_KEY))
    assert opened(envelope, envelope_key(head, DATA_KEY)) == b"a secret"
    for other in (
        header(),
        Header("tree", WRAPPED, head.nonce, SEGMENT),
        Header("file", WRAPPED, head.nonce, 2 * SEGMENT),
        Header("file", Wrapped("patients", 4, AES_KW, bytes(40)), head.nonce, SEGMENT),
        Header("file", Wrapped("others", 3, AES_KW, bytes(40)), head.nonce, SEGMENT),
    ):
        assert other.digest() != head.digest()
        assert refused(envelope, envelope_key(other, DATA_KEY)) == "envelope.key"
    assert refused(envelope, EnvelopeKey(DATA_KEY)) == "envelope.key"
    with pytest.raises(EnvelopeError) as caught:
        envelope_key(head, DATA_KEY[1:])
    assert caught.value.code == "envelope.key"


def test_the_format_is_this_one() -> None:
    """Frozen: who changes the format changes its version, and these."""
    head = Header("file", WRAPPED, bytes(range(7)), SEGMENT)
    key = envelope_key(head, DATA_KEY)
    assert key.hex() == "9455c76a8009e98fab37bd990801eafcf27c4c2a54102f9ea1b7946958500af5"
    envelope = sealed(bytes(SEGMENT) + b"end", head, key)
    assert (
        canonical.digest(envelope)
        == "sha256:e025f96821057a9bc19fd2b0aee06b3fabaf9e63d5065958f315e4db6c123dd5"
    )


def test_the_header_of_another_object_does_not_fit() -> None:
    plain = b"a secret"
    mine, theirs = header(), header("tree")
    envelope = sealed(plain, mine)
    for other in (
        theirs,
        Header("file", Wrapped("patients", 4, AES_KW, bytes(40)), mine.nonce, SEGMENT),
        Header("file", Wrapped("others", 3, AES_KW, bytes(40)), mine.nonce, SEGMENT),
        Header("file", WRAPPED, mine.nonce, 2 * SEGMENT),
    ):
        assert refused(other.data + envelope[len(mine.data) :]) == "envelope.key"


def test_another_key_is_named_before_anything_is_written() -> None:
    envelope, target = sealed(b"secret"), io.BytesIO()
    source = io.BytesIO(envelope)
    with pytest.raises(EnvelopeError) as caught:
        decrypt_stream(source, target, read_header(source), EnvelopeKey(new_data_key()))
    assert (caught.value.code, target.getvalue()) == ("envelope.key", b"")
    assert refused(envelope, EnvelopeKey(b"short")) == "envelope.key"


def test_who_expects_another_kind_is_told() -> None:
    envelope = sealed(b"x", header("tree"))
    assert opened(envelope, kind="tree") == b"x"
    with pytest.raises(EnvelopeError) as caught:
        opened(envelope, kind="file")
    assert caught.value.code == "envelope.unexpected"


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 1},
        {"v": 3},
        {"v": True},
        {"kind": "File"},
        {"key": "../key"},
        {"key": 1},
        {"key_version": 0},
        {"key_version": True},
        {"key_version": "3"},
        {"wrap": "none"},
        {"wrapped": "AA"},
        {"wrapped": "="},
        {"nonce": "AA"},
        {"segment_bytes": SEGMENT_BYTES_MAX + 1},
        {"segment_bytes": SEGMENT_BYTES_MIN - 1},
        {"more": 1},
    ],
)
def test_a_header_with_a_wrong_field_is_refused(changes: dict[str, object]) -> None:
    body = canonical.decode_object(header().data[FRONT:])
    written = canonical.encode(body | changes)
    assert refused(MAGIC + len(written).to_bytes(4, "big") + written + bytes(64)) == "envelope.shape"


@given(noise=st.binary(max_size=200))
def test_noise_is_no_envelope(noise: bytes) -> None:
    assert refused(noise) == "envelope.shape"
    assert refused(MAGIC + noise) == "envelope.shape"
    with pytest.raises(EnvelopeError):
        decode_header(noise)


def test_a_header_is_its_bytes() -> None:
    head = header()
    assert decode_header(head.data) == head
    assert head.digest() == canonical.digest(head.data)


@given(size=st.integers(-100, 5 * (SEGMENT + 16)))
def test_a_size_that_no_envelope_has_is_refused(size: int) -> None:
    head = header()
    total = len(head.data) + 32 + size
    full, rest = divmod(size, SEGMENT + 16)
    if size >= 16 and (rest > 16 or rest == 0 or (full == 0 and rest == 16)):
        assert head.ciphertext_bytes(head.plaintext_bytes(total)) == total
        return
    with pytest.raises(EnvelopeError) as caught:
        head.plaintext_bytes(total)
    assert caught.value.code == "envelope.forged"


def test_there_is_a_greatest_size() -> None:
    assert header().ciphertext_bytes(PLAINTEXT_BYTES_MAX) > PLAINTEXT_BYTES_MAX
    for size in (-1, PLAINTEXT_BYTES_MAX + 1):
        with pytest.raises(EnvelopeError) as caught:
            header().ciphertext_bytes(size)
        assert caught.value.code == "envelope.too_large"


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    source, target = tmp_path / "object", tmp_path / "plain"
    head, asked = header(), list[Header]()
    plain = bytes(2 * SEGMENT + 7)
    source.write_bytes(sealed(plain, head))

    def find(found: Header) -> EnvelopeKey:
        asked.append(found)
        return KEY

    assert decrypt_file(source, target, find, kind="file") == len(plain)
    assert (target.read_bytes(), target.stat().st_mode & 0o777, asked) == (plain, 0o600, [head])
    target.unlink()
    source.write_bytes(source.read_bytes()[:-1])
    with pytest.raises(EnvelopeError):
        decrypt_file(source, target, find)
    assert [path.name for path in tmp_path.iterdir()] == ["object"]
