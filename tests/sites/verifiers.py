"""Commands that make the issuers of `tests.verify.tokens` count at a control plane."""

from __future__ import annotations

from typing import Any

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from sekisho.sites import AddVerifier, VerifierKey
from tests.verify import tokens
from tests.verify.tokens import Issuer


def adding(one: Issuer, /, **changes: Any) -> AddVerifier:
    verifier = one.verifier
    pem = tokens.public_bytes(tokens.private_key(one.alg, one.number), Encoding.PEM).decode()
    key: dict[str, Any] = {"kid": one.key.kid, "alg": one.alg, "key": pem}
    values: dict[str, Any] = {
        "name": verifier.name,
        "kind": verifier.kind,
        "issuer": verifier.issuer,
        "country": verifier.country,
        "jku": verifier.jku,
        "keys": [msgspec.convert(key, VerifierKey)],
    }
    return AddVerifier(**(values | changes))
