"""Signed tokens (JWS compact, RFC 7515; JWT, RFC 7519) under keys that are known beforehand, and under no others.

Stricter than the RFCs where a forger would like room. Each key has one algorithm, and a header that names another is
refused, so that neither `none` nor a public key taken for an HMAC secret gets anywhere. A header may name its key and
nothing else: a key, a certificate or an address in it (`jwk`, `x5c`, `x5u`) is refused, and so is `jku`, unless it is
the very address written beside the verifier's keys, which is compared and never opened. JSON has unique keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)
from cryptography.x509 import InvalidVersion, load_pem_x509_certificate

from sekisho_verify.canonical import from_base64url
from sekisho_verify.errors import CanonicalError, Exit, VerifyError

ALGORITHMS = ("EdDSA", "ES256", "ES384", "PS256", "PS384", "RS256")
"""RFC 7518 and RFC 8037. Azure Attestation signs RS256, Intel Trust Authority PS384 (RS256 when asked), NRAS ES384."""

TOKEN_BYTES_MAX = 64 * 1024
KEYS_MAX = 32
RSA_BITS_MIN = 2048

_DEPTH_MAX = 16
_HEADER_BYTES_MAX = 4096
_KEY_BYTES_MAX = 16 * 1024
_TYPES = ("JWT", "eat+jwt")
_HEADER_FIELDS = frozenset({"alg", "kid", "typ", "jku"})
_compact = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+").fullmatch
_kid = re.compile(r"[!-~]{1,255}").fullmatch

_hashes: dict[str, HashAlgorithm] = {
    "ES256": SHA256(),
    "ES384": SHA384(),
    "PS256": SHA256(),
    "PS384": SHA384(),
    "RS256": SHA256(),
}
_curves = {"ES256": "secp256r1", "ES384": "secp384r1"}

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class TokenError(VerifyError):
    """A token that says nothing: malformed, or not signed by a key that was known beforehand."""

    exit_code = Exit.ATTESTATION


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A public key under the id its owner gave it: `spki` is the DER of its SubjectPublicKeyInfo."""

    kid: str
    alg: str
    spki: bytes


class Token(NamedTuple):
    """A token whose signature has been verified."""

    claims: dict[str, object]
    kid: str


def make_token_key(kid: str, alg: str, key: bytes) -> TokenKey:
    """A checked key from a PEM public key or certificate, or from the DER of a public key; TokenError otherwise.

    Of a certificate only the key is taken: that it belongs to the verifier is what whoever configures it vouches for.
    """
    if not _kid(kid) or alg not in ALGORITHMS:
        raise TokenError("attestation.key", "a key needs an id of visible characters and a known algorithm")
    public = _load(key)
    if not _fits(public, alg):
        raise TokenError("attestation.key", f"not a key for {alg}, or a weak one")
    return TokenKey(kid, alg, public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def pem_of(key: TokenKey) -> str:
    """The key as people pass it on."""
    return _load(key.spki).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def unverified_issuer(token: str) -> str:
    """Whose token it claims to be, to choose the keys it is then held against; TokenError where it says nothing."""
    issuer = _claims(_parts(token)[1]).get("iss")
    if not isinstance(issuer, str):
        raise TokenError("attestation.issuer", "a token that names no issuer")
    return issuer


def verify_token(token: str, keys: Sequence[TokenKey], *, jku: str = "") -> Token:
    """The claims, once the signature holds under the one key that the header names; TokenError otherwise.

    `jku` is the address that the header may carry; it is compared and never opened.
    """
    encoded, payload, signature = _parts(token)
    header = _object(_bytes(encoded, _HEADER_BYTES_MAX), "header")
    key = _choose(header, keys, jku)
    signed = token.rpartition(".")[0].encode("ascii")
    try:
        _verify(_load(key.spki), key.alg, _bytes(signature, TOKEN_BYTES_MAX), signed)
    except (InvalidSignature, ValueError) as error:
        raise TokenError("attestation.signature", "the token's signature does not hold") from error
    return Token(_claims(payload), key.kid)


def parse_json(data: bytes, what: str) -> object:
    """Strict JSON: UTF-8, unique keys, no NaN, at most 16 levels; TokenError names `what` otherwise."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
        # Half of a surrogate pair, written as an escape, is text that nothing can write down again.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise TokenError("attestation.json", f"the {what} is not strict JSON") from error
    _check_depth(value, what)
    return value


def _parts(token: str) -> list[str]:
    if len(token) > TOKEN_BYTES_MAX:
        raise TokenError("attestation.size", f"a token of more than {TOKEN_BYTES_MAX} bytes")
    if not _compact(token):
        raise TokenError("attestation.shape", "a token is three parts of base64url")
    return token.split(".")


def _choose(header: dict[str, object], keys: Sequence[TokenKey], jku: str) -> TokenKey:
    unknown = sorted(header.keys() - _HEADER_FIELDS)
    if unknown:
        raise TokenError("attestation.header", f"the header has {unknown[0][:40]!r}, which is not accepted")
    if "jku" in header and (not jku or header["jku"] != jku):
        raise TokenError("attestation.header", "the header points to keys elsewhere")
    if header.get("typ", _TYPES[0]) not in _TYPES:
        raise TokenError("attestation.header", "the header says it is no attestation token")
    named = [key for key in keys if key.kid == header.get("kid")]
    if len(named) != 1:
        raise TokenError("attestation.unknown_key", "signed with a key that is not configured")
    if header.get("alg") != named[0].alg:
        raise TokenError("attestation.algorithm", f"the key is for {named[0].alg} and for nothing else")
    return named[0]


def _claims(payload: str) -> dict[str, object]:
    return _object(_bytes(payload, TOKEN_BYTES_MAX), "token")


def _object(data: bytes, what: str) -> dict[str, object]:
    value = parse_json(data, what)
    if not isinstance(value, dict):
        raise TokenError("attestation.json", f"the {what} is not an object")
    return value


def _bytes(text: str, limit: int) -> bytes:
    if len(text) > limit:
        raise TokenError("attestation.size", f"a part of more than {limit} bytes")
    try:
        return from_base64url(text)
    except CanonicalError as error:
        raise TokenError("attestation.shape", error.detail) from error


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        message = "the same key twice"
        raise ValueError(message)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _check_depth(value: object, what: str) -> None:
    level = [value]
    for _ in range(_DEPTH_MAX):
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        ]
    if level:
        raise TokenError("attestation.json", f"the {what} is more than {_DEPTH_MAX} levels deep")


def _load(key: bytes) -> PublicKey:
    try:
        if key.startswith(b"-----BEGIN CERTIFICATE-----"):
            public = load_pem_x509_certificate(key[:_KEY_BYTES_MAX]).public_key()
        elif key.startswith(b"-----BEGIN"):
            public = load_pem_public_key(key[:_KEY_BYTES_MAX])
        else:
            public = load_der_public_key(key[:_KEY_BYTES_MAX])
    except (ValueError, UnsupportedAlgorithm, InvalidVersion) as error:
        raise TokenError("attestation.key", "not a public key or certificate") from error
    if not isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise TokenError("attestation.key", "a key of a kind that signs no token")
    return public


def _fits(public: PublicKey, alg: str) -> bool:
    match public:
        case rsa.RSAPublicKey():
            return alg in {"PS256", "PS384", "RS256"} and public.key_size >= RSA_BITS_MIN
        case ec.EllipticCurvePublicKey():
            return _curves.get(alg) == public.curve.name
        case _:
            return alg == "EdDSA"


def _verify(public: PublicKey, alg: str, signature: bytes, signed: bytes) -> None:
    """Raises InvalidSignature or ValueError where it does not hold."""
    match public:
        case rsa.RSAPublicKey():
            chosen = _hashes[alg]
            scheme = (
                padding.PKCS1v15()
                if alg == "RS256"
                else padding.PSS(padding.MGF1(chosen), padding.PSS.DIGEST_LENGTH)
            )
            public.verify(signature, signed, scheme, chosen)
        case ec.EllipticCurvePublicKey():
            half = (public.curve.key_size + 7) // 8
            if len(signature) != 2 * half:
                raise InvalidSignature
            first, second = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
            public.verify(encode_dss_signature(first, second), signed, ec.ECDSA(_hashes[alg]))
        case _:
            public.verify(signature, signed)
