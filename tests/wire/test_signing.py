from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sekisho_verify import canonical
from sekisho_verify.errors import CanonicalError
from sekisho_wire.messages import (
    Body,
    Capabilities,
    Capacity,
    Ended,
    Envelope,
    LogReport,
    Offer,
    Ok,
    Orders,
    OutputReport,
    Poll,
    Progress,
    Renew,
)
from sekisho_wire.signing import (
    SealError,
    answer,
    answers,
    claimed_agent,
    decode_public_key,
    encode_public_key,
    format_time,
    open_sealed,
    seal,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes([1] * 32))
TIME = "2026-11-20T05:03:11.123Z"
ATTEMPT = "att_" + "0" * 26
DIGEST = "sha256:" + "0" * 64


def envelope(body: Body, **changes: Any) -> Envelope:
    values: dict[str, Any] = {
        "agent": "agt_" + "0" * 26,
        "lane": "main",
        "seq": 7,
        "time": TIME,
        "attempt": ATTEMPT,
        "token": 3,
        "body": body,
    }
    return Envelope(**(values | changes))


BODIES: list[Body] = [
    Renew(),
    Progress(line={"text": "日本語", "step": 3, "loss": "1.5", "last": True}),
    Ended(
        reason="finished",
        exit_status=-9,
        outputs=[OutputReport(name="out", object=DIGEST, size_bytes=1, refused=["link (link)"])],
        log=LogReport(bytes=1, dropped=0, digest=DIGEST),
        canaries={"udp": "closed"},
    ),
    Poll(
        wait_s=25,
        nonce="0" * 32,
        free=Capacity(attempts=1, cpus=2, memory_bytes=3),
        capabilities=Capabilities(engine="local", wall="none", limits={}),
        running=[(ATTEMPT, 1), (ATTEMPT, 2)],
    ),
    Orders(nonce="0" * 32, orders=["a\nb"]),
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_what_was_sealed_is_opened(body: Body) -> None:
    sent = envelope(body)
    sealed = seal(KEY, sent)
    assert open_sealed(KEY.public_key(), sealed) == sent
    assert claimed_agent(sealed) == sent.agent
    assert canonical.decode(sealed.partition(b"\n")[2]) is not None


def test_the_signature_covers_the_canonical_bytes_and_nothing_else() -> None:
    signature, _, payload = seal(KEY, envelope(Renew())).partition(b"\n")
    KEY.public_key().verify(canonical.from_base64(signature.decode()), payload)
    fields = {"agent", "attempt", "body", "lane", "seq", "time", "token"}
    assert set(json.loads(payload)) == fields


@pytest.mark.parametrize("value", [float("nan"), 1.5, 2**53])
def test_what_has_no_canonical_form_is_not_sealed(value: Any) -> None:
    with pytest.raises(CanonicalError):
        seal(KEY, envelope(Progress(line={"x": value})))


@given(st.data())
def test_every_flipped_bit_is_refused(data: st.DataObject) -> None:
    sealed = bytearray(seal(KEY, envelope(Renew())))
    position = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[position // 8] ^= 1 << (position % 8)
    with pytest.raises(SealError):
        open_sealed(KEY.public_key(), bytes(sealed))


@given(st.binary(max_size=300))
def test_any_bytes_give_one_kind_of_error(content: bytes) -> None:
    for opening in (lambda: open_sealed(KEY.public_key(), content), lambda: claimed_agent(content)):
        with pytest.raises(SealError):
            opening()


def test_another_key_is_refused() -> None:
    with pytest.raises(SealError) as caught:
        open_sealed(OTHER.public_key(), seal(KEY, envelope(Renew())))
    assert caught.value.code == "seal.signature"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"surplus": 1}, "seal.shape"),
        ({"seq": -1}, "seal.shape"),
        ({"seq": "7"}, "seal.shape"),
        ({"seq": True}, "seal.shape"),
        ({"time": "2026-11-20"}, "seal.shape"),
        ({"body": {"kind": "nothing we know"}}, "seal.shape"),
        ({"body": {"kind": "ok", "surplus": 1}}, "seal.shape"),
        ({"body": {}}, "seal.shape"),
    ],
)
def test_signed_but_of_the_wrong_shape(change: dict[str, object], code: str) -> None:
    value = {**msgspec.to_builtins(envelope(Ok())), **change}
    payload = canonical.encode(value)
    sealed = canonical.to_base64(KEY.sign(payload)).encode() + b"\n" + payload
    with pytest.raises(SealError) as caught:
        open_sealed(KEY.public_key(), sealed)
    assert caught.value.code == code


@pytest.mark.parametrize("spelling", [b" ", b"\n"])
def test_other_spellings_of_the_same_message_are_refused(spelling: bytes) -> None:
    """Signed by the right key, but not the canonical bytes: the bytes received must be the evidence."""
    payload = spelling + seal(KEY, envelope(Ok())).partition(b"\n")[2]
    sealed = canonical.to_base64(KEY.sign(payload)).encode() + b"\n" + payload
    with pytest.raises(SealError) as caught:
        open_sealed(KEY.public_key(), sealed)
    assert caught.value.code == "seal.malformed"


def test_an_endless_message_is_refused_before_it_is_read() -> None:
    with pytest.raises(SealError):
        open_sealed(KEY.public_key(), b"A" * (1 << 21))


@pytest.mark.parametrize(
    "change",
    [{"agent": "agt_" + "1" * 26}, {"lane": "lease"}, {"seq": 8}, {"attempt": ""}, {"token": 4}],
)
def test_an_answer_names_its_question(change: dict[str, object]) -> None:
    question = envelope(Renew())
    reply = open_sealed(KEY.public_key(), answer(KEY, question, time_text=TIME, body=Ok()))
    assert answers(question, reply)
    assert not answers(question, msgspec.structs.replace(reply, **change))


def test_keys_have_one_spelling() -> None:
    text = encode_public_key(KEY.public_key())
    assert decode_public_key(text) == KEY.public_key()
    for wrong in (text[:-1], text + "A", text + "=", text.replace(text[0], "+"), "", "é" * 43):
        with pytest.raises(SealError):
            decode_public_key(wrong)


@given(st.integers(0, 4_000_000_000_000))
def test_times_have_three_decimals_and_never_run_ahead(milliseconds: int) -> None:
    text = format_time(milliseconds / 1000)
    assert len(text) == len(TIME)
    assert envelope(Ok(), time=text).time == text
    assert format_time(1.9999) == "1970-01-01T00:00:01.999Z"


def test_defaults_are_left_out_of_the_bytes() -> None:
    offer = msgspec.to_builtins(BODIES[0])
    assert offer == {"kind": "renew"}
    assert "exit_status" not in msgspec.to_builtins(Ended(reason="x"))
    assert set(Offer.__struct_fields__) >= {"image_lock", "resume", "workdir"}
