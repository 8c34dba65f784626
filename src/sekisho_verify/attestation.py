"""Attestation results: what a verifier that somebody chose beforehand says of a machine, held against our question.

Pure and offline: tokens, configured verifiers and a moment in, one `Attestation` or a `TokenError` out. Nobody is
asked: a verifier's keys are handed over beforehand, and what a token points to is never opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from sekisho_verify.attestation_claims import (
    KINDS,
    NONCE_BYTES,
    NVIDIA,
    SOFTWARE,
    Gpu,
    check_overall,
    gpu_nonce,
    read_gpu,
    read_machine,
)
from sekisho_verify.attestation_jwt import (
    KEYS_MAX,
    TOKEN_BYTES_MAX,
    Token,
    TokenError,
    TokenKey,
    parse_json,
    unverified_issuer,
    verify_token,
)

__all__ = [
    "KINDS",
    "NONCE_BYTES",
    "Attestation",
    "Question",
    "TokenError",
    "Verifier",
    "check_verifiers",
    "judge",
]

GPUS_MAX = 64
LIFETIME_S_MAX = 24 * 3600
SKEW_S_MAX = 60
_TIME_S_LIMIT = 253_402_300_800
_BUNDLE = ("overall", "devices")


@dataclass(frozen=True, slots=True)
class Verifier:
    """Somebody whose word on hardware counts: `country` is where it works, `jku` the address its headers may carry."""

    name: str
    kind: str
    issuer: str
    country: str
    keys: tuple[TokenKey, ...]
    jku: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked: 32 random bytes, when, and the moment the answer is judged at (milliseconds since the epoch)."""

    nonce: bytes
    asked_ms: int
    now_ms: int


@dataclass(frozen=True, slots=True)
class Attestation:
    """What was found out. `grade` is A, or D from a stand-in; `key` is the digest of the session key that is bound.

    `gpus` are the models of GPUs that answered for the same key. Times are seconds since the epoch.
    """

    verifier: str
    kind: str
    issuer: str
    country: str
    tee: str
    measurement: str
    key: str
    gpus: tuple[str, ...]
    gpu_verifier: str
    issued_s: int
    expires_s: int

    @property
    def grade(self) -> str:
        """How well it is known."""
        return "D" if self.kind == SOFTWARE else "A"


def check_verifiers(verifiers: Sequence[Verifier]) -> None:
    """TokenError unless each is of a known kind, has keys under different ids, and no issuer or name comes twice."""
    for number, one in enumerate(verifiers):
        kids = {key.kid for key in one.keys}
        if (
            one.kind not in KINDS
            or not one.issuer
            or not 0 < len(one.keys) <= KEYS_MAX
            or len(kids) != len(one.keys)
        ):
            raise TokenError(
                "attestation.verifier", "a verifier of an unknown kind, or whose keys are no set"
            )
        for other in verifiers[:number]:
            if one.name == other.name or one.issuer == other.issuer:
                raise TokenError("attestation.verifier", "the same verifier twice")


def judge(token: str, gpu: str, verifiers: Sequence[Verifier], question: Question) -> Attestation:
    """The attestation in a machine's token and, where there is one, its GPUs' bundle (else empty text).

    TokenError with a stable code for whatever does not hold; then nothing may be concluded from any of it.
    """
    verifier = _verifier_of(token, verifiers)
    issued, expires, found = _read(token, verifier, question)
    machine = read_machine(verifier.kind, found.claims)
    if machine.nonce != question.nonce:
        raise TokenError("attestation.nonce", "the token answers another question")
    gpus: Sequence[Gpu] = ()
    gpu_verifier = ""
    if gpu:
        asked = gpu_nonce(machine.key, question.nonce)
        gpu_verifier, gpus, gpu_expires = _judge_gpus(gpu, verifiers, question, asked)
        expires = min(expires, gpu_expires)
    return Attestation(
        verifier=verifier.name,
        kind=verifier.kind,
        issuer=verifier.issuer,
        country=verifier.country,
        tee=machine.tee,
        measurement=machine.measurement,
        key=machine.key,
        gpus=tuple(one.model for one in gpus),
        gpu_verifier=gpu_verifier,
        issued_s=issued,
        expires_s=expires,
    )


def _judge_gpus(
    bundle: str, verifiers: Sequence[Verifier], question: Question, asked: str
) -> tuple[str, list[Gpu], int]:
    """Verifier's name, GPUs and the earliest end of NVIDIA's detached EAT bundle, each part signed and named."""
    overall, devices = _parse_bundle(bundle)
    verifier = _verifier_of(overall, verifiers)
    if verifier.kind != NVIDIA:
        raise TokenError("attestation.kind", "this verifier does not speak of GPUs")
    _, expires, found = _read(overall, verifier, question)
    digests = check_overall(found.claims, asked)
    if digests != {name: sha256(token.encode()).hexdigest() for name, token in devices.items()}:
        raise TokenError("attestation.gpu_set", "the GPUs' tokens are not those that the overall token names")
    gpus: list[Gpu] = []
    for token in devices.values():
        _, end, device = _read(token, verifier, question)
        gpus.append(read_gpu(device.claims, asked))
        expires = min(expires, end)
    if len({one.ueid for one in gpus}) != len(gpus):
        raise TokenError("attestation.gpu_set", "one GPU twice")
    return verifier.name, gpus, expires


def _parse_bundle(text: str) -> tuple[str, Mapping[str, str]]:
    """Overall token and device tokens of `[["JWT", token], {name: token}]`."""
    if len(text) > TOKEN_BYTES_MAX * (GPUS_MAX + 1):
        raise TokenError("attestation.size", "a GPU bundle that is too long")
    value = parse_json(text.encode(errors="surrogatepass"), "GPU bundle")
    first, devices = value if isinstance(value, list) and len(value) == len(_BUNDLE) else (None, None)
    if (
        not isinstance(first, list)
        or len(first) != len(_BUNDLE)
        or first[0] != "JWT"
        or not isinstance(devices, dict)
    ):
        raise _no_bundle()
    # A lone surrogate is text to JSON and no bytes to anybody.
    tokens = {name: token for name, token in devices.items() if isinstance(token, str) and token.isascii()}
    if not isinstance(first[1], str) or not 0 < len(tokens) == len(devices) <= GPUS_MAX:
        raise _no_bundle()
    return first[1], tokens


def _no_bundle() -> TokenError:
    return TokenError("attestation.shape", "a GPU bundle is an overall token and tokens by name")


def _verifier_of(token: str, verifiers: Sequence[Verifier]) -> Verifier:
    issuer = unverified_issuer(token)
    for one in verifiers:
        if one.issuer == issuer:
            return one
    raise TokenError("attestation.unknown_verifier", "issued by a verifier that is not configured")


def _read(token: str, verifier: Verifier, question: Question) -> tuple[int, int, Token]:
    """When it was issued and ends, and the token itself, verified and fresh."""
    found = verify_token(token, verifier.keys, jku=verifier.jku)
    if found.claims.get("iss") != verifier.issuer:
        raise TokenError("attestation.issuer", "a token of another issuer")
    issued, expires = _time(found, "iat"), _time(found, "exp")
    begins = _time(found, "nbf") if "nbf" in found.claims else issued
    now_s = question.now_ms // 1000
    if issued > now_s + SKEW_S_MAX or begins > now_s + SKEW_S_MAX:
        raise TokenError("attestation.future", "a token from the future")
    if expires <= now_s:
        raise TokenError("attestation.expired", "a token that has expired")
    if issued < question.asked_ms // 1000 - SKEW_S_MAX:
        raise TokenError("attestation.old", "a token older than the question")
    if not 0 < expires - issued <= LIFETIME_S_MAX:
        raise TokenError("attestation.lifetime", "a token that holds for more than a day, or for no time")
    return issued, expires, found


def _time(found: Token, claim: str) -> int:
    value = found.claims.get(claim)
    if type(value) is not int or not 0 <= value < _TIME_S_LIMIT:
        raise TokenError("attestation.time", f"the claim {claim} is not a time in whole seconds")
    return value
