"""Orders and releases of keys: each side finds by itself what is not meant for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sekisho_verify.canonical import digest, to_base64url
from sekisho_wire.custody import (
    ASK_BYTES_MAX,
    CustodyError,
    Destruction,
    Facts,
    Opening,
    Order,
    Release,
    Version,
    check_release,
    open_opening,
    open_release,
    read_signed,
    seal_keys,
    seal_opening,
)
from sekisho_wire.custody_checks import CLOCK_MS_MAX, check_ask, read_ask
from sekisho_wire.envelope import EnvelopeKey
from tests.verify.builders import AGENT, Signer, make_id
from tests.wire.custody_world import CUSTODIAN, KEY, NAME, NOW_MS, ORDER, OWNER, Asker, header

MADE = header(kind="tree")
KEYS = [EnvelopeKey(bytes([number] * 32)) for number in range(3)]


def release(order: Order, keys: Sequence[EnvelopeKey], /, **changes: Any) -> Release:
    fields: dict[str, Any] = {
        "custodian": order.custodian,
        "order": order.digest(),
        "id": order.id,
        "key": order.key,
        "key_version": order.key_version,
        "attempt": order.attempt,
        "token": order.token,
        "agent": order.agent,
        "recipient": order.recipient,
        "box": seal_keys(order, keys),
        "made": [to_base64url(MADE.data)] * order.make,
        "number": 9,
        "time_ms": NOW_MS,
    }
    return Release(**(fields | changes))


def answered(order: Order, keys: Sequence[EnvelopeKey], /, **changes: Any) -> bytes:
    return release(order, keys, **changes).sealed(CUSTODIAN.sign)


def code_of(sealed: bytes, order: Order, signer: Signer = CUSTODIAN) -> str:
    with pytest.raises(CustodyError) as caught:
        check_release(sealed, signer.key.public, order)
    return caught.value.code


def ask_code(asker: Asker, ask: Any, *, agents: bool = False, now_ms: int = NOW_MS) -> str:
    with pytest.raises(CustodyError) as caught:
        check_ask(ask, asker.trusted(agents=agents), now_ms)
    return caught.value.code


# --------------------------------------------------------------------------------------------- what an owner opens
HEAD = header(bytes([5] * 40))
ENVELOPE = HEAD.digest()
ONE_TIME = X25519PrivateKey.from_private_bytes(bytes(range(32)))


def opening(**changes: Any) -> bytes:
    recipient = to_base64url(ONE_TIME.public_key().public_bytes_raw())
    fields: dict[str, Any] = {
        "custodian": NAME,
        "key": KEY,
        "key_version": 1,
        "envelope": HEAD.digest(),
        "recipient": recipient,
        "box": seal_opening(HEAD, KEYS[0], recipient),
        "by": "owner",
        "number": 9,
        "time_ms": NOW_MS,
    }
    return Opening(**(fields | changes)).sealed(CUSTODIAN.sign)


def opening_code(sealed: bytes, signer: Signer = CUSTODIAN) -> str:
    with pytest.raises(CustodyError) as caught:
        open_opening(sealed, signer.key.public, HEAD, ONE_TIME)
    return caught.value.code


def test_an_opening_holds_the_one_data_key_of_its_envelope() -> None:
    assert open_opening(opening(), CUSTODIAN.key.public, HEAD, ONE_TIME) == KEYS[0]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"key": "others"}, "custody.foreign"),
        ({"key_version": 2}, "custody.foreign"),
        ({"envelope": digest(b"another")}, "custody.foreign"),
        ({"recipient": "B" * 43}, "custody.foreign"),
        ({"box": ""}, "custody.box"),
        ({"box": "%"}, "custody.box"),
        ({"box": "A" * 200}, "custody.box"),
    ],
)
def test_an_opening_of_anything_else_is_refused(changes: dict[str, Any], code: str) -> None:
    assert opening_code(opening(**changes)) == code


def test_a_box_of_a_release_or_of_another_envelope_or_size_is_no_opening() -> None:
    recipient = to_base64url(ONE_TIME.public_key().public_bytes_raw())
    order = Asker().order((HEAD,), recipient=recipient)
    other = header(bytes([6] * 40))
    for box in (
        seal_keys(order, KEYS[:1]),
        seal_opening(other, KEYS[0], recipient),
        seal_opening(HEAD, EnvelopeKey(KEYS[0][:31]), recipient),
    ):
        assert opening_code(opening(box=box)) == "custody.box"
    assert opening_code(answered(order, KEYS[:1])) == "custody.shape"
    assert opening_code(opening(), Signer.make("stranger")) == "custody.signature"


@given(st.integers(0), st.integers(0, 7))
def test_every_flipped_bit_of_an_opening_is_found(at: int, bit: int) -> None:
    changed = bytearray(opening())
    changed[at % len(changed)] ^= 1 << bit
    assert opening_code(bytes(changed)) in {"custody.signature", "custody.shape"}


# ------------------------------------------------------------------------------------------------- the answer
def test_the_keys_of_a_release_open_for_the_one_time_key_of_its_order() -> None:
    asker = Asker()
    heads = [header(bytes([1] * 40)), header(bytes([2] * 40))]
    order = asker.order(heads, make=1)
    found = check_release(answered(order, KEYS), CUSTODIAN.key.public, order)
    opened = open_release(found, order, asker.one_time)
    assert opened.keys == KEYS[:2]
    assert opened.made == [(MADE, KEYS[2])]


@pytest.mark.parametrize(
    "changes",
    [
        {"custodian": "another"},
        {"order": digest(b"another")},
        {"id": "rel_2"},
        {"key": "others"},
        {"key_version": 2},
        {"attempt": make_id("att", 2)},
        {"token": 4},
        {"agent": make_id("agt", 8)},
        {"recipient": "B" * 43},
        {"made": []},
    ],
)
def test_an_answer_to_anything_else_is_foreign(changes: dict[str, Any]) -> None:
    order = Asker().order(make=1)
    assert code_of(answered(order, KEYS[:1], **changes), order) == "custody.foreign"


def test_another_attempts_answer_is_foreign_and_its_box_does_not_open() -> None:
    asker = Asker()
    first, second = asker.order(make=1), asker.order(make=1, attempt=make_id("att", 2))
    assert code_of(answered(first, KEYS[:1]), second) == "custody.foreign"
    moved = release(second, KEYS[:1], box=release(first, KEYS[:1]).box)
    with pytest.raises(CustodyError) as caught:
        open_release(moved, second, asker.one_time)
    assert caught.value.code == "custody.box"


def test_a_foreign_signature_is_named() -> None:
    order = Asker().order(make=1)
    assert code_of(answered(order, KEYS[:1]), order, Signer.make("somebody")) == "custody.signature"


@given(at=st.integers(0), bit=st.integers(0, 7))
def test_every_flipped_bit_of_an_answer_is_found(at: int, bit: int) -> None:
    order = Asker().order(make=1)
    sealed = bytearray(answered(order, KEYS[:1]))
    sealed[at % len(sealed)] ^= 1 << bit
    assert code_of(bytes(sealed), order) in {"custody.shape", "custody.signature"}


def test_one_kind_of_message_does_not_stand_for_another() -> None:
    order = Asker().order(make=1)
    kinds: list[Any] = [Order, Facts, Destruction]
    for kind in kinds:
        with pytest.raises(CustodyError) as caught:
            read_signed(answered(order, KEYS[:1]), CUSTODIAN.key.public, kind)
        assert caught.value.code == "custody.shape"
    assert code_of(b"x" * (ASK_BYTES_MAX + 1), order) == "custody.shape"


@pytest.mark.parametrize(
    "changes",
    [
        {"box": "AAAA"},
        {"box": "A"},
        {"made": ["AAAA"]},
        {"made": ["="]},
        {"made": []},
        {"made": [to_base64url(header().data)]},
        {"made": [to_base64url(header(kind="tree", key="others").data)]},
        {"made": [to_base64url(header(kind="tree", version=2).data)]},
    ],
)
def test_a_box_that_does_not_open_is_refused(changes: dict[str, Any]) -> None:
    asker = Asker()
    order = asker.order(make=1)
    with pytest.raises(CustodyError) as caught:
        open_release(release(order, KEYS[:1], **changes), order, asker.one_time)
    assert caught.value.code == "custody.box"


def test_too_few_and_too_many_keys_are_refused_and_so_is_another_one_time_key() -> None:
    asker = Asker()
    order = asker.order(make=1)
    for keys, private in (
        (KEYS[:0], asker.one_time),
        (KEYS, asker.one_time),
        (KEYS[:1], X25519PrivateKey.generate()),
    ):
        with pytest.raises(CustodyError) as caught:
            open_release(release(order, keys), order, private)
        assert caught.value.code == "custody.box"


@pytest.mark.parametrize("recipient", ["A" * 43, "_" * 43])
def test_a_key_of_no_use_gets_nothing(recipient: str) -> None:
    with pytest.raises(CustodyError) as caught:
        seal_keys(msgspec.structs.replace(ORDER, recipient=recipient), KEYS)
    assert caught.value.code == "custody.recipient"


def test_facts_say_which_version_wraps() -> None:
    versions = [Version(1, 5, 6), Version(2, 6), Version(3, 7, 8)]
    facts = Facts(
        custodian=NAME,
        owner=OWNER,
        key=KEY,
        country="JP",
        custody="customer-hsm",
        exportable=False,
        store="a store",
        attestation="",
        quorum=0,
        stopped=False,
        versions=versions,
        time_ms=NOW_MS,
    )
    assert facts.newest == 2
    assert msgspec.structs.replace(facts, versions=versions[:1]).newest == 0
    assert read_signed(facts.sealed(CUSTODIAN.sign), CUSTODIAN.key.public, Facts) == facts


# ----------------------------------------------------------------------------------------------- the question
def test_an_order_under_a_checkpoint_holds() -> None:
    asker = Asker(quorum=2)
    heads = [header()]
    order = asker.order(heads)
    ask = read_ask(msgspec.json.encode(asker.ask(order, heads)))
    for agents in (False, True):
        asked = check_ask(ask, asker.trusted(agents=agents), NOW_MS)
        assert (asked.order, asked.headers, asked.checkpoint.size) == (order, heads, len(asker.log.leaves))


@pytest.mark.parametrize(
    ("changes", "now_ms", "code"),
    [
        ({"custodian": "another"}, NOW_MS, "custody.other_custodian"),
        ({"owner": make_id("org", 2)}, NOW_MS, "custody.other_owner"),
        ({}, NOW_MS + 60_001, "custody.order_expired"),
        ({}, NOW_MS - CLOCK_MS_MAX - 1, "custody.order_early"),
        ({"not_after_ms": NOW_MS + 600_001}, NOW_MS, "custody.order_early"),
        ({"issued_ms": NOW_MS + 1, "not_after_ms": NOW_MS}, NOW_MS, "custody.order_early"),
        ({"make": 0}, NOW_MS, "custody.headers"),
    ],
)
def test_an_order_that_is_not_for_now_or_here_is_refused(
    changes: dict[str, Any], now_ms: int, code: str
) -> None:
    asker = Asker()
    ask = asker.ask(asker.order(**({"make": 1} | changes)))
    assert ask_code(asker, ask, now_ms=now_ms) == code


@pytest.mark.parametrize(
    "record",
    [
        {"decision": "deny", "outcome": "denied"},
        {"outcome": "failed"},
        {"action": "compute.job.place"},
        {"detail": {}},
        {"detail": {"order": digest(b"another")}},
    ],
)
def test_only_the_record_that_allowed_this_order_will_do(record: dict[str, Any]) -> None:
    asker = Asker()
    assert ask_code(asker, asker.ask(asker.order(make=1), **record)) == "custody.record"


def test_an_order_signed_by_another_key_is_refused() -> None:
    asker = Asker()
    order = asker.order(make=1)
    ask = asker.ask(order)
    forged = order.sealed(Signer.make("thief").sign).decode()
    assert ask_code(asker, msgspec.structs.replace(ask, order=forged)) == "custody.signature"
    assert ask_code(asker, msgspec.structs.replace(ask, order="noise")) == "custody.shape"
    plain = AGENT.sign(b"")
    assert ask_code(asker, msgspec.structs.replace(ask, order=plain.hex())) == "custody.shape"


def test_an_order_outside_the_log_is_refused() -> None:
    asker, thief = Asker(), Asker(origin_seed="thief")
    order = asker.order(make=1)
    ask = asker.ask(order)
    replace = msgspec.structs.replace
    assert ask_code(asker, replace(ask, index=ask.index - 1)) == "custody.inclusion"
    assert ask_code(asker, replace(ask, path=ask.path[:-1])) == "custody.inclusion"
    assert ask_code(asker, replace(ask, path=["A" * 43 for _ in ask.path])) == "custody.inclusion"
    assert ask_code(asker, replace(ask, stream_seq=ask.stream_seq + 1)) == "custody.inclusion"
    assert ask_code(asker, replace(ask, checkpoint=asker.log.checkpoint(5).decode())) == "custody.inclusion"
    # A log of the thief's own, under the same name: the control plane's key alone opens nothing.
    assert ask_code(asker, thief.ask(order)) == "custody.checkpoint"
    assert ask_code(asker, replace(ask, checkpoint="noise")) == "custody.checkpoint"
    assert ask_code(asker, replace(ask, record="noise")) == "custody.record"
    assert ask_code(asker, replace(ask, path=["B" * 43, *ask.path[1:]])) == "custody.record"


def test_a_checkpoint_with_too_few_witnesses_is_refused() -> None:
    asker = Asker(quorum=2)
    trusted = asker.trusted()
    asker.log.witnesses = asker.log.witnesses[:1]
    with pytest.raises(CustodyError) as caught:
        check_ask(asker.ask(asker.order(make=1)), trusted, NOW_MS)
    assert caught.value.code == "custody.checkpoint"


def test_headers_are_exactly_those_of_the_order_and_of_its_key() -> None:
    asker = Asker()
    mine, other = header(), header(bytes([1] * 40))
    ask = asker.ask(asker.order([mine]), [mine])
    replace = msgspec.structs.replace
    none: list[bytes] = []
    for headers in (none, [other.data], [mine.data, other.data], [b"noise"]):
        changed = replace(ask, headers=[to_base64url(data) for data in headers])
        assert ask_code(asker, changed) == "custody.headers"
    assert ask_code(asker, replace(ask, headers=["="])) == "custody.headers"
    for foreign in (header(key="others"), header(version=2)):
        assert ask_code(asker, asker.ask(asker.order([foreign]), [foreign])) == "custody.headers"


def test_what_an_agent_asked_for_is_the_order_of_no_other_object() -> None:
    """A question for new keys, or for one object, answered by an order for what somebody else would like to see."""
    asker = Asker()
    mine, other = header(), header(bytes([1] * 40))
    for asked, ordered in (
        ([mine], [other]),
        ([mine], [mine, other]),
        ([mine, other], [other, mine]),
        ([header(bytes([2] * 40))], [other]),
    ):
        order = asker.order(ordered, make=1)
        question = asker.request(asker.order(asked, make=1, id=order.id))
        ask = msgspec.structs.replace(asker.ask(order, ordered), request=question)
        assert ask_code(asker, ask, agents=True) == "custody.request"
    order = asker.order([mine], make=1)
    check_ask(asker.ask(order, [mine]), asker.trusted(agents=True), NOW_MS)


def test_where_agents_are_known_the_agent_itself_must_have_asked() -> None:
    asker = Asker()
    order = asker.order(make=1)
    ask = asker.ask(order)
    replace = msgspec.structs.replace

    def with_request(request: str) -> str:
        return ask_code(asker, replace(ask, request=request), agents=True)

    assert with_request("") == "custody.request"
    assert with_request(asker.request(order, signer=Signer.make("thief"))) == "custody.signature"
    assert with_request(asker.request(order, recipient="B" * 43)) == "custody.request"
    odd: list[dict[str, Any]] = [
        {"make": 2},
        {"headers": [ENVELOPE]},
        {"kind": "accept"},
        {"make": "1"},
        {"x": 1},
    ]
    for changes in odd:
        assert with_request(asker.request(order, **changes)) == "custody.request", changes
    assert with_request(asker.request(replace(order, token=4))) == "custody.request"
    assert with_request(asker.request(replace(order, attempt=make_id("att", 2)))) == "custody.request"
    stranger = asker.ask(asker.order(make=1, agent=make_id("agt", 8)))
    assert ask_code(asker, stranger, agents=True) == "custody.request"


@given(noise=st.binary(max_size=100))
def test_noise_is_no_question(noise: bytes) -> None:
    for data in (noise, b"{}", b'{"order":"\xff"}', b"x" * (ASK_BYTES_MAX + 1)):
        with pytest.raises(CustodyError) as caught:
            read_ask(data)
        assert caught.value.code == "custody.shape"
