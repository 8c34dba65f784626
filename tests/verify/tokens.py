"""Tokens of verifiers for tests: real keys, real signatures, and claims as each kind of verifier writes them.

Keys are made once for a process and are nobody's; what they sign is checked by the product's own code only.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sekisho_verify.attestation import Question, Verifier
from sekisho_verify.attestation_claims import gpu_nonce
from sekisho_verify.attestation_jwt import TokenKey, make_token_key
from sekisho_verify.canonical import encode, to_base64, to_base64url

NOW_S = 1_795_000_000
NONCE = sha256(b"asked").digest()
QUESTION = Question(NONCE, (NOW_S - 30) * 1000, NOW_S * 1000)
KEY = "sha256:" + sha256(b"session key").hexdigest()
MEASURED = sha256(b"image").hexdigest() + "0" * 32

Claims = dict[str, Any]
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def private_key(alg: str, number: int = 0) -> Private:
    """A private key for an algorithm, the same all along; numbers give different ones."""
    return _made(alg, number)


@functools.cache
def _made(alg: str, number: int) -> Private:
    if alg == "EdDSA":
        return ed25519.Ed25519PrivateKey.from_private_bytes(sha256(b"token %d" % number).digest())
    if alg.startswith("ES"):
        return ec.generate_private_key(ec.SECP256R1() if alg == "ES256" else ec.SECP384R1())
    return rsa.generate_private_key(65537, 2048)


def public_bytes(key: Private, form: Encoding = Encoding.DER) -> bytes:
    return key.public_key().public_bytes(form, PublicFormat.SubjectPublicKeyInfo)


def signature(key: Private, alg: str, data: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    digest = SHA384() if alg.endswith("384") else SHA256()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.curve.key_size + 7) // 8
        return b"".join(
            part.to_bytes(size, "big") for part in decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        )
    if alg.startswith("PS"):
        return key.sign(data, padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH), digest)
    return key.sign(data, padding.PKCS1v15(), digest)


def part(value: object) -> str:
    return to_base64url(value if isinstance(value, bytes) else json.dumps(value).encode())


@dataclass(frozen=True)
class Issuer:
    """A verifier with its private key."""

    verifier: Verifier
    alg: str
    number: int = 0

    @classmethod
    def make(cls, kind: str, alg: str, *, country: str = "JP", jku: str = "", number: int = 0) -> Issuer:
        key = make_token_key(f"{kind}-1", alg, public_bytes(private_key(alg, number)))
        issuer = f"https://{kind}.verifier.example"
        return cls(Verifier(kind, kind, issuer, country, (key,), jku), alg, number)

    @property
    def key(self) -> TokenKey:
        return self.verifier.keys[0]

    def token(
        self, claims: object, *, header: Mapping[str, object] | None = None, signed: bytes | None = None
    ) -> str:
        """A token of these claims, `header` replacing fields of the header (None removes one)."""
        fields = {"alg": self.alg, "kid": self.key.kid, "typ": "JWT"} | dict(header or {})
        head = part({name: value for name, value in fields.items() if value is not None})
        text = f"{head}.{part(claims)}"
        made = (
            signature(private_key(self.alg, self.number), self.alg, text.encode())
            if signed is None
            else signed
        )
        return f"{text}.{to_base64url(made)}"

    def times(self) -> Claims:
        return {"iss": self.verifier.issuer, "iat": NOW_S - 10, "nbf": NOW_S - 10, "exp": NOW_S + 3600}


AZURE = Issuer.make("azure", "RS256", jku="https://azure.verifier.example/certs")
INTEL = Issuer.make("intel", "PS384")
NVIDIA = Issuer.make("nvidia", "ES384")
SOFTWARE = Issuer.make("software", "EdDSA")
ISSUERS = (AZURE, INTEL, NVIDIA, SOFTWARE)
VERIFIERS = tuple(one.verifier for one in ISSUERS)


def bound(nonce: bytes = NONCE, key: str = KEY) -> dict[str, object]:
    """What a machine puts into its quote."""
    return {"key": key, "nonce": to_base64url(nonce)}


def azure_tdx(held: Mapping[str, object] | None = None) -> Claims:
    return AZURE.times() | {
        "x-ms-attestation-type": "tdxvm",
        "x-ms-compliance-status": "azure-compliant-cvm",
        "x-ms-runtime": {"sekisho": held or bound(), "vm-configuration": {"secure-boot": True}},
        "x-ms-ver": "1.0",
        "attester_tcb_status": "UpToDate",
        "dbgstat": "disabled",
        "tdx_mrtd": MEASURED,
        "tdx_seamsvn": 3,
    }


def azure_snp(held: Mapping[str, object] | None = None) -> Claims:
    return AZURE.times() | {
        "x-ms-attestation-type": "sevsnpvm",
        "x-ms-compliance-status": "azure-compliant-uvm",
        "x-ms-runtime": {"sekisho": held or bound()},
        "x-ms-sevsnpvm-is-debuggable": False,
        "x-ms-sevsnpvm-launchmeasurement": MEASURED,
    }


def intel(held: Mapping[str, object] | None = None) -> Claims:
    """Version 1: flat."""
    return INTEL.times() | {
        "attester_type": "TDX",
        "attester_held_data": to_base64(encode(dict(held or bound()))),
        "attester_tcb_status": "UpToDate",
        "dbgstat": "disabled",
        "tdx_is_debuggable": False,
        "tdx_mrtd": MEASURED,
        "ver": "1.0.0",
    }


def intel_nested(held: Mapping[str, object] | None = None) -> Claims:
    """Version 2: below `tdx`."""
    flat = intel(held)
    inner = {name: flat.pop(name) for name in [*flat] if name.startswith(("attester", "tdx"))}
    return flat | {"ver": "2.0.0", "tdx": inner}


def software(held: Mapping[str, object] | None = None) -> Claims:
    return SOFTWARE.times() | {"sekisho": held or bound(), "measurement": MEASURED}


SHAPES: dict[str, tuple[Issuer, Callable[..., Claims]]] = {
    "azure-tdx": (AZURE, azure_tdx),
    "azure-snp": (AZURE, azure_snp),
    "intel-1": (INTEL, intel),
    "intel-2": (INTEL, intel_nested),
    "software": (SOFTWARE, software),
}


def gpu(number: int = 0, key: str = KEY, nonce: bytes = NONCE) -> Claims:
    return NVIDIA.times() | {
        "eat_nonce": gpu_nonce(key, nonce),
        "measres": "success",
        "secboot": True,
        "dbgstat": "disabled",
        "hwmodel": "GH100 A01 GSP BROM",
        "ueid": f"{number:048}",
        "x-nvidia-gpu-attestation-report-nonce-match": True,
        "x-nvidia-gpu-attestation-report-signature-verified": True,
        "x-nvidia-gpu-attestation-report-parsed": True,
        "x-nvidia-gpu-driver-version": "575.32",
    }


def overall(devices: Mapping[str, str], key: str = KEY) -> Claims:
    return NVIDIA.times() | {
        "sub": "NVIDIA-PLATFORM-ATTESTATION",
        "eat_nonce": gpu_nonce(key, NONCE),
        "x-nvidia-ver": "3.0",
        "x-nvidia-overall-att-result": True,
        "submods": {
            name: ["DIGEST", ["SHA-256", sha256(token.encode()).hexdigest()]]
            for name, token in devices.items()
        },
    }


def gpu_bundle(*devices: Claims, **changes: object) -> str:
    """A detached EAT of these GPUs, `changes` replacing claims of the overall token."""
    tokens = {f"GPU-{number}": NVIDIA.token(claims) for number, claims in enumerate(devices or (gpu(),))}
    return json.dumps([["JWT", NVIDIA.token(overall(tokens) | changes)], tokens])


def token(shape: str = "azure-tdx", /, **changes: object) -> str:
    """A token of one shape, with claims replaced; a change to None removes one."""
    issuer, claims = SHAPES[shape]
    header = {"jku": issuer.verifier.jku} if issuer.verifier.jku else None
    made = {name: value for name, value in (claims() | changes).items() if value is not None}
    return issuer.token(made, header=header)


def elsewhere(country: str) -> tuple[Verifier, ...]:
    """The same verifiers in another country."""
    return tuple(replace(one, country=country) for one in VERIFIERS)
