"""Signed tokens: each algorithm holds for its own key only, and a header can bring nothing along."""

from __future__ import annotations

import hmac
import json
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sekisho_verify.attestation_jwt import (
    ALGORITHMS,
    RSA_BITS_MIN,
    TOKEN_BYTES_MAX,
    TokenError,
    TokenKey,
    make_token_key,
    parse_json,
    unverified_issuer,
    verify_token,
)
from sekisho_verify.canonical import to_base64url
from tests.verify.tokens import Issuer, part, private_key, public_bytes

CLAIMS: dict[str, object] = {"iss": "https://x.example", "n": [1, {"a": None}]}
ISSUERS = {alg: Issuer.make("software", alg) for alg in ALGORITHMS}
ONE = ISSUERS["ES256"]


@pytest.fixture(scope="module")
def certificate() -> bytes:
    """A self-signed certificate of the ES256 key, as a verifier publishes one."""
    key = private_key("ES256")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "verifier")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
        .sign(key, SHA256())
    )
    return made.public_bytes(Encoding.PEM)


def code_of(token: str, *keys: TokenKey, jku: str = "") -> str:
    with pytest.raises(TokenError) as caught:
        verify_token(token, keys or [ONE.key], jku=jku)
    return caught.value.code


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_each_algorithm_holds_under_its_key(alg: str) -> None:
    issuer = ISSUERS[alg]
    token = issuer.token(CLAIMS)
    assert verify_token(token, [issuer.key]) == (CLAIMS, "software-1")
    assert verify_token(issuer.token(CLAIMS, header={"typ": "eat+jwt"}), [issuer.key]).claims == CLAIMS
    assert verify_token(issuer.token(CLAIMS, header={"typ": None}), [issuer.key]).claims == CLAIMS
    assert unverified_issuer(token) == "https://x.example"
    head, body, signed = token.split(".")
    assert code_of(f"{head}.{part(CLAIMS | {'n': 2})}.{signed}", issuer.key) == "attestation.signature"
    assert code_of(f"{head}.{body}.{to_base64url(bytes(64))}", issuer.key) == "attestation.signature"
    assert code_of(f"{head}.{body}.AA", issuer.key) == "attestation.signature"


@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize("other", ["none", "None", "HS256", *ALGORITHMS])
def test_the_header_does_not_choose_the_algorithm(alg: str, other: str) -> None:
    issuer = ISSUERS[alg]
    if other != alg:
        assert code_of(issuer.token(CLAIMS, header={"alg": other}), issuer.key) == "attestation.algorithm"


def test_a_public_key_is_no_hmac_secret() -> None:
    for secret in (ONE.key.spki, public_bytes(private_key("ES256"), Encoding.PEM)):
        text = f"{part({'alg': 'HS256', 'kid': 'software-1'})}.{part(CLAIMS)}"
        forged = f"{text}.{to_base64url(hmac.digest(secret, text.encode(), 'sha256'))}"
        assert code_of(forged) == "attestation.algorithm"


def test_a_token_without_a_signature_is_none() -> None:
    text = f"{part({'alg': 'none'})}.{part(CLAIMS)}"
    assert code_of(f"{text}.") == "attestation.shape"
    assert code_of(text) == "attestation.shape"
    assert code_of(f"{text}.AA") == "attestation.unknown_key"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"kid": "other"}, "attestation.unknown_key"),
        ({"kid": None}, "attestation.unknown_key"),
        ({"kid": ["software-1"]}, "attestation.unknown_key"),
        ({"kid": "../software-1"}, "attestation.unknown_key"),
        ({"kid": "software-1' or '1'='1"}, "attestation.unknown_key"),
        ({"jwk": {"kty": "EC"}}, "attestation.header"),
        ({"x5u": "https://x.example"}, "attestation.header"),
        ({"x5c": ["AA"]}, "attestation.header"),
        ({"jku": "https://x.example"}, "attestation.header"),
        ({"crit": ["exp"]}, "attestation.header"),
        ({"b64": False}, "attestation.header"),
        ({"zip": "DEF"}, "attestation.header"),
        ({"cty": "JWT"}, "attestation.header"),
        ({"typ": "at+jwt"}, "attestation.header"),
        ({"typ": 5}, "attestation.header"),
        ({"alg": None}, "attestation.algorithm"),
        ({"alg": ["ES256"]}, "attestation.algorithm"),
    ],
)
def test_a_header_brings_nothing_along(header: dict[str, object], code: str) -> None:
    assert code_of(ONE.token(CLAIMS, header=header)) == code


def test_an_address_of_keys_is_compared_and_never_opened() -> None:
    own = "https://x.example/certs"
    token = ONE.token(CLAIMS, header={"jku": own})
    assert verify_token(token, [ONE.key], jku=own).claims == CLAIMS
    assert code_of(token, jku="https://x.example/other") == "attestation.header"


def test_two_keys_of_one_id_are_none() -> None:
    other = make_token_key("software-1", "ES384", public_bytes(private_key("ES384")))
    assert code_of(ONE.token(CLAIMS), ONE.key, other) == "attestation.unknown_key"


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("", "attestation.shape"),
        ("a.b", "attestation.shape"),
        ("a.b.c.d", "attestation.shape"),
        ("a.b.c\n", "attestation.shape"),
        ("a.b.ü", "attestation.shape"),
        ("AB.AA.AA", "attestation.shape"),
        (f"{part([])}.AA.AA", "attestation.json"),
        (f"{part(b'{')}.AA.AA", "attestation.json"),
        (f"{part(bytes([255]))}.AA.AA", "attestation.json"),
        (part(b'{"alg":"ES256","alg":"none","kid":"software-1"}') + ".AA.AA", "attestation.json"),
        (f"{part({'alg': 'x' * 5000})}.AA.AA", "attestation.size"),
        ("a.b." + "c" * TOKEN_BYTES_MAX, "attestation.size"),
    ],
)
def test_what_is_no_token_is_refused(token: str, code: str) -> None:
    assert code_of(token) == code


@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b"{",
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":' + b"1" * 5000 + b"}",
    ],
)
def test_claims_are_strict_json(payload: bytes) -> None:
    assert code_of(ONE.token(payload)) == "attestation.json"


def test_json_is_not_deeper_than_anybody_needs() -> None:
    deep = b"[" * 16 + b"]" * 16
    assert parse_json(deep, "x") == json.loads(deep)
    for levels in (17, 100_000):
        with pytest.raises(TokenError) as caught:
            parse_json(b'{"a":' * levels + b"[]" + b"}" * levels, "x")
        assert caught.value.code == "attestation.json"


def test_a_key_comes_as_pem_der_or_certificate(certificate: bytes) -> None:
    key = private_key("ES256")
    expected = ONE.key
    assert make_token_key("software-1", "ES256", public_bytes(key, Encoding.PEM)) == expected
    assert make_token_key("software-1", "ES256", expected.spki) == expected
    assert make_token_key("software-1", "ES256", certificate) == expected


@pytest.mark.parametrize(
    ("kid", "alg", "key"),
    [
        ("", "ES256", ONE.key.spki),
        ("a b", "ES256", ONE.key.spki),
        ("k", "none", ONE.key.spki),
        ("k", "HS256", ONE.key.spki),
        ("k", "ES384", ONE.key.spki),
        ("k", "RS256", ONE.key.spki),
        ("k", "EdDSA", ONE.key.spki),
        ("k", "ES256", ISSUERS["RS256"].key.spki),
        ("k", "ES256", b""),
        ("k", "ES256", b"-----BEGIN CERTIFICATE-----\nx"),
        ("k", "ES256", b"-----BEGIN PUBLIC KEY-----\nx"),
        ("k", "ES256", ONE.key.spki[:-1]),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",
)
def test_a_key_of_another_kind_is_refused(kid: str, alg: str, key: bytes) -> None:
    with pytest.raises(TokenError) as caught:
        make_token_key(kid, alg, key)
    assert caught.value.code == "attestation.key"


def test_weak_keys_and_foreign_kinds_are_refused() -> None:
    spki = PublicFormat.SubjectPublicKeyInfo
    for key, alg in (
        (rsa.generate_private_key(65537, RSA_BITS_MIN - 8), "RS256"),
        (ec.generate_private_key(ec.SECP256K1()), "ES256"),
        (x25519.X25519PrivateKey.generate(), "EdDSA"),
    ):
        with pytest.raises(TokenError):
            make_token_key("k", alg, key.public_key().public_bytes(Encoding.DER, spki))


def test_the_issuer_is_read_only_to_find_keys() -> None:
    with pytest.raises(TokenError) as caught:
        unverified_issuer(ONE.token({"iss": ["x"]}))
    assert caught.value.code == "attestation.issuer"
