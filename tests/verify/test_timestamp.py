"""Time stamps of a real responder, verified here; and every other one refused."""

from __future__ import annotations

import subprocess
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho_verify import der
from sekisho_verify.errors import VerifyError
from sekisho_verify.timestamp import (
    TOKEN_BYTES_MAX,
    Authority,
    der_of,
    make_request,
    read_response,
    stamped_digest,
    verify_stamp,
    x509_of,
)
from tests.support.stamping import SHA_256, Forger, StampAuthority, named

DIGEST = sha256(b"checkpoint").digest()
NONCE = 0x1234567890ABCDEF


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> StampAuthority:
    return StampAuthority.make(tmp_path_factory.mktemp("tsa") / "a")


@pytest.fixture(scope="module")
def token(authority: StampAuthority) -> bytes:
    return read_response(authority.answer(make_request(DIGEST, NONCE)))


def code_of(token: bytes, *authorities: Authority, digest: bytes = DIGEST) -> str:
    with pytest.raises(VerifyError) as caught:
        verify_stamp(token, digest, authorities)
    return caught.value.code


@pytest.mark.parametrize("kind", ["ec", "rsa"])
@pytest.mark.parametrize("ess", ["sha1", "sha256"])
def test_a_real_authority_is_believed_through_its_root_or_itself(tmp_path: Path, kind: str, ess: str) -> None:
    made = StampAuthority.make(tmp_path / "a", kind=kind, ess=ess)
    token = read_response(made.answer(make_request(DIGEST, NONCE)))
    for known in (made.by_root, made.by_itself):
        found = verify_stamp(token, DIGEST, [Authority("other", ()), known])
        assert (found.authority, found.nonce) == ("stamps", NONCE)
        assert abs(found.time_s - time.time()) < 60


def test_our_request_is_one_that_others_can_read(tmp_path: Path) -> None:
    query = tmp_path / "query"
    query.write_bytes(make_request(DIGEST, NONCE))
    shown = subprocess.run(
        ["openssl", "ts", "-query", "-in", query, "-text"], capture_output=True, text=True, check=True
    ).stdout
    assert "Hash Algorithm: sha256" in shown
    assert f"0x{NONCE:X}" in shown
    assert "Certificate required: yes" in shown


def test_a_token_of_something_else_is_refused(authority: StampAuthority, token: bytes) -> None:
    assert code_of(token, authority.by_root, digest=bytes(32)) == "timestamp.other"


def test_an_authority_that_nobody_trusts_is_refused(
    authority: StampAuthority, token: bytes, tmp_path: Path
) -> None:
    other = StampAuthority.make(tmp_path / "b")
    assert code_of(token) == "timestamp.unknown_authority"
    assert code_of(token, other.by_root, other.by_itself) == "timestamp.unknown_authority"
    assert verify_stamp(token, DIGEST, [other.by_root, authority.by_root]).authority == "stamps"


@pytest.mark.parametrize(("usage", "days"), [("stamp", -5)])
def test_a_certificate_that_did_not_hold_is_refused(tmp_path: Path, usage: str, days: int) -> None:
    made = StampAuthority.make(tmp_path / "a", usage=usage, days=days)
    token = read_response(made.answer(make_request(DIGEST, NONCE)))
    assert code_of(token, made.by_itself) == "timestamp.certificate"


def test_what_an_authority_refuses_is_no_token(authority: StampAuthority) -> None:
    sha1 = der.write(der.SEQUENCE, der.write_oid("1.3.14.3.2.26"), der.write(der.NULL))
    imprint = der.write(der.SEQUENCE, sha1, der.write(der.OCTETS, bytes(20)))
    refused = authority.answer(der.write(der.SEQUENCE, der.write_integer(1), imprint))
    with pytest.raises(VerifyError) as caught:
        read_response(refused)
    assert caught.value.code == "timestamp.refused"
    for data in (b"", b"\x30\x00", b"\x30\x02\x30\x00", bytes(TOKEN_BYTES_MAX + 1)):
        with pytest.raises(VerifyError):
            read_response(data)
    assert code_of(bytes(TOKEN_BYTES_MAX + 1)) == "timestamp.size"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_token_states_nothing_else(
    authority: StampAuthority, token: bytes, data: st.DataObject
) -> None:
    """A changed bit is refused, or lies where nothing is read: then the statement is the same."""
    at, bit = data.draw(st.integers(0, len(token) - 1)), data.draw(st.integers(0, 7))
    changed = token[:at] + bytes([token[at] ^ 1 << bit]) + token[at + 1 :]
    try:
        found = verify_stamp(changed, DIGEST, [authority.by_root])
    except VerifyError:
        return
    assert found == verify_stamp(token, DIGEST, [authority.by_root])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_one_way(data: bytes) -> None:
    with pytest.raises(VerifyError):
        read_response(data)
    with pytest.raises(VerifyError):
        verify_stamp(data, DIGEST, [])


def test_certificates_are_read_as_pem_and_der(authority: StampAuthority) -> None:
    pem, plain = (authority.root.public_bytes(form) for form in (Encoding.PEM, Encoding.DER))
    assert der_of(pem) == der_of(plain) == plain
    with pytest.raises(VerifyError) as caught:
        x509_of(b"x")
    assert caught.value.code == "timestamp.certificate"


@pytest.fixture(scope="module")
def forger() -> Forger:
    return Forger.make()


def test_a_token_written_by_hand_is_believed_when_it_is_right(forger: Forger) -> None:
    token = forger.token(forger.content(DIGEST))
    assert verify_stamp(token, DIGEST, [forger.authority]).nonce == -1
    assert stamped_digest(token) == DIGEST


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"version": 2}, "timestamp.shape"),
        ({"algorithm": "1.3.14.3.2.26"}, "timestamp.other"),
        ({"time": b"20261320000000Z"}, "timestamp.time"),
        ({"time": b"2026Z"}, "timestamp.time"),
        ({"time": b"20261120000000.0Z"}, "timestamp.time"),
        ({"time": b"19991120000000Z"}, "timestamp.certificate"),
    ],
)
def test_a_statement_of_another_shape_is_none(forger: Forger, changes: Any, code: str) -> None:
    assert code_of(forger.token(forger.content(DIGEST, **changes)), forger.authority) == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"kind": None}, "timestamp.attributes"),
        ({"kind": der.write_oid("1.2.3")}, "timestamp.attributes"),
        ({"digest": None}, "timestamp.attributes"),
        ({"digest": der.write(der.OCTETS, bytes(32))}, "timestamp.attributes"),
        ({"certificate": None}, "timestamp.attributes"),
        ({"certificate": der.write(der.SEQUENCE)}, "timestamp.attributes"),
        ({"certificate": der.write(der.SEQUENCE, der.write(der.SEQUENCE))}, "timestamp.attributes"),
        ({"own": bytes(32)}, "timestamp.attributes"),
    ],
)
def test_the_signed_attributes_bind_content_and_certificate(forger: Forger, changes: Any, code: str) -> None:
    content = forger.content(DIGEST)
    assert code_of(forger.token(content, forger.attributes(content, **changes)), forger.authority) == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"signature": bytes(64)}, "timestamp.signature"),
        ({"scheme": named("1.2.840.10045.4.3.3")}, "timestamp.algorithm"),
        ({"scheme": named("1.2.3")}, "timestamp.algorithm"),
        ({"digest": named("1.3.14.3.2.26")}, "timestamp.algorithm"),
        ({"digest": named(SHA_256, der.write_integer(1))}, "timestamp.algorithm"),
        ({"type": der.write_oid("1.2.3")}, "timestamp.shape"),
        ({"inner": der.write_oid("1.2.3")}, "timestamp.shape"),
        ({"more": der.write(0xA2)}, "timestamp.shape"),
        ({"more": der.write(der.CONTEXT_0)}, "timestamp.shape"),
    ],
)
def test_another_envelope_is_none(forger: Forger, changes: Any, code: str) -> None:
    assert code_of(forger.token(forger.content(DIGEST), **changes), forger.authority) == code


def test_a_signer_needs_attributes_each_once(forger: Forger) -> None:
    content = forger.content(DIGEST)
    assert code_of(forger.token(content, []), forger.authority) == "timestamp.shape"
    twice = forger.attributes(content) * 2
    assert code_of(forger.token(content, twice), forger.authority) == "timestamp.shape"


@pytest.mark.parametrize(
    ("usage", "kind", "code"),
    [
        ("server", "ec", "timestamp.usage"),
        ("none", "ec", "timestamp.usage"),
        ("stamp", "ed25519", "timestamp.algorithm"),
    ],
)
def test_a_certificate_for_something_else_stamps_nothing(usage: str, kind: str, code: str) -> None:
    made = Forger.make(usage=usage, kind=kind)
    assert code_of(made.token(made.content(DIGEST)), made.authority) == code


def test_a_certificate_issued_by_no_authority_leads_nowhere(forger: Forger) -> None:
    """Its own certificate, which is no authority's, is trusted as an issuer: nothing may hang on it."""
    own = Authority("own", (forger.certificate.public_bytes(Encoding.DER),))
    assert verify_stamp(forger.token(forger.content(DIGEST)), DIGEST, [own]).authority == "own"
    other = Forger.make()
    assert code_of(other.token(other.content(DIGEST)), own) == "timestamp.unknown_authority"
