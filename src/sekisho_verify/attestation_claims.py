"""What four kinds of verifiers say of a machine, brought into one shape. Every claim that is missing counts against it.

azure     Microsoft Azure Attestation, TDX and SEV-SNP: `x-ms-attestation-type`, `x-ms-compliance-status`,
          `x-ms-runtime`, `tdx_mrtd`, `attester_tcb_status`, `dbgstat`, `x-ms-sevsnpvm-launchmeasurement`,
          `x-ms-sevsnpvm-is-debuggable`
intel     Intel Trust Authority, TDX, version 1 (flat) and 2 (below `tdx`): `attester_type`, `attester_held_data`,
          `attester_tcb_status`, `tdx_mrtd`, `tdx_is_debuggable`, `dbgstat`
nvidia    NVIDIA Remote Attestation Service, a detached EAT: `eat_nonce`, `x-nvidia-overall-att-result`, `submods`; of
          each GPU also `measres`, `secboot`, `dbgstat`, `hwmodel`, `ueid` and, each after
          `x-nvidia-gpu-attestation-report-`, `nonce-match`, `signature-verified`, `parsed`
software  our stand-in, which attests nothing (grade D): `sekisho`, `measurement`

Sources: learn.microsoft.com/azure/attestation/trust-domain-extensions-eat-profile and .../attestation-token-examples;
docs.trustauthority.intel.com (concept-attestation-tokens) and portal.trustauthority.intel.com/eat_profile.html;
docs.nvidia.com/attestation/advanced-documentation/latest/claims-guide/gpu_claims.html; `dbgstat` and `submods` are
those of RFC 9711 (4.2.9, 4.2.18).

What binds a token to our question is what the machine itself put into its quote: `{"key", "nonce"}`, the digest of its
session key and the nonce it was asked with, as `sekisho` in Azure's runtime data and in ours, as canonical JSON in
Intel's held data. A GPU's nonce is the digest of that same object, so that CPU and GPU answer one question for one key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

from sekisho_verify.attestation_jwt import TokenError, parse_json
from sekisho_verify.canonical import encode, from_base64, from_base64url, to_base64url
from sekisho_verify.errors import CanonicalError

AZURE, INTEL, NVIDIA, SOFTWARE = "azure", "intel", "nvidia", "software"
KINDS = (AZURE, INTEL, NVIDIA, SOFTWARE)

NONCE_BYTES = 32
_HELD_BYTES_MAX = 1024
_DEBUG_OFF = ("disabled", "disabled-since-boot", "disabled-permanently", "disabled-fully-and-permanently")
_TCB_GOOD = "UpToDate"
_COMPLIANT = ("azure-compliant-cvm", "azure-compliant-uvm")
_GPU_TRUE = (
    "secboot",
    "x-nvidia-gpu-attestation-report-nonce-match",
    "x-nvidia-gpu-attestation-report-signature-verified",
    "x-nvidia-gpu-attestation-report-parsed",
)
is_measurement = re.compile("[0-9a-f]{64}|[0-9a-f]{96}").fullmatch
"""Whether a text is a launch measurement: SHA-256 or SHA-384 in lower-case hexadecimal."""
_key_digest = re.compile("sha256:[0-9a-f]{64}").fullmatch
_plain = re.compile(r"[ -~]{1,64}").fullmatch


class Machine(NamedTuple):
    """What a verifier says of a machine: its TEE, what was measured, and what it put into its own quote.

    `measurement` is lower-case hexadecimal, `key` the digest text of the session key, `nonce` 32 bytes.
    """

    tee: str
    measurement: str
    key: str
    nonce: bytes


class Gpu(NamedTuple):
    """What a verifier says of one GPU; `ueid` is the id burnt into it."""

    model: str
    ueid: str


def read_machine(kind: str, claims: Mapping[str, object]) -> Machine:
    """The machine in a token of this kind; TokenError, naming the claim, where one is missing or says no."""
    if kind == AZURE:
        return _azure(claims)
    if kind == INTEL:
        return _intel(claims)
    if kind == SOFTWARE:
        key, nonce = _bound(claims.get("sekisho"), "sekisho")
        return Machine("software", _hexadecimal(claims, "measurement"), key, nonce)
    raise TokenError("attestation.kind", "this verifier speaks of GPUs, not of machines")


def gpu_nonce(key: str, nonce: bytes) -> str:
    """What a GPU is asked with, in hexadecimal, whose machine has this session key and was asked with this number."""
    return sha256(encode({"key": key, "nonce": to_base64url(nonce)})).hexdigest()


def check_overall(claims: Mapping[str, object], asked: str) -> dict[str, str]:
    """SHA-256 of each GPU's own token by name, from NVIDIA's overall token for this nonce."""
    _check_gpu_nonce(claims, asked)
    if claims.get("x-nvidia-overall-att-result") is not True:
        raise _no("x-nvidia-overall-att-result")
    submods = claims.get("submods")
    if not isinstance(submods, dict) or not submods:
        raise _no("submods")
    digests: dict[str, str] = {}
    for name, entry in submods.items():
        match entry:
            case ["DIGEST", ["SHA-256", str(found)]]:
                digests[name] = found
            case _:
                raise _no("submods")
    return digests


def read_gpu(claims: Mapping[str, object], asked: str) -> Gpu:
    """The GPU in one of NVIDIA's device tokens; TokenError, naming the claim, where one is missing or says no."""
    _check_gpu_nonce(claims, asked)
    for name in _GPU_TRUE:
        if claims.get(name) is not True:
            raise _no(name)
    if claims.get("measres") != "success":
        raise _no("measres")
    _check_debug(claims.get("dbgstat"))
    return Gpu(_text(claims, "hwmodel"), _text(claims, "ueid"))


def _azure(claims: Mapping[str, object]) -> Machine:
    kind = claims.get("x-ms-attestation-type")
    runtime = claims.get("x-ms-runtime")
    key, nonce = _bound(runtime.get("sekisho") if isinstance(runtime, dict) else None, "x-ms-runtime")
    if kind == "tdxvm":
        _check_tdx(claims)
        return Machine("tdx", _hexadecimal(claims, "tdx_mrtd"), key, nonce)
    if kind != "sevsnpvm":
        raise _no("x-ms-attestation-type")
    if claims.get("x-ms-compliance-status") not in _COMPLIANT:
        raise _no("x-ms-compliance-status")
    if claims.get("x-ms-sevsnpvm-is-debuggable") is not False:
        raise TokenError("attestation.debug", "the machine can be debugged from outside")
    return Machine("sev-snp", _hexadecimal(claims, "x-ms-sevsnpvm-launchmeasurement"), key, nonce)


def _intel(claims: Mapping[str, object]) -> Machine:
    inner = claims.get("tdx", claims)
    if not isinstance(inner, dict) or inner.get("attester_type") != "TDX":
        raise _no("attester_type")
    if inner.get("tdx_is_debuggable") is not False:
        raise TokenError("attestation.debug", "the machine can be debugged from outside")
    _check_tdx({"dbgstat": claims.get("dbgstat"), **inner})
    key, nonce = _bound(_held(inner.get("attester_held_data")), "attester_held_data")
    return Machine("tdx", _hexadecimal(inner, "tdx_mrtd"), key, nonce)


def _check_tdx(claims: Mapping[str, object]) -> None:
    if claims.get("attester_tcb_status") != _TCB_GOOD:
        raise _no("attester_tcb_status")
    _check_debug(claims.get("dbgstat"))


def _check_debug(status: object) -> None:
    if status not in _DEBUG_OFF:
        raise TokenError("attestation.debug", "the machine can be debugged from outside")


def _check_gpu_nonce(claims: Mapping[str, object], asked: str) -> None:
    if claims.get("eat_nonce") != asked:
        raise TokenError("attestation.gpu_key", "the GPU answered another question, or for another key")


def _held(value: object) -> object:
    if not isinstance(value, str) or len(value) > _HELD_BYTES_MAX:
        raise _no("attester_held_data")
    try:
        return parse_json(from_base64(value), "held data")
    except CanonicalError as error:
        raise _no("attester_held_data") from error


def _bound(value: object, claim: str) -> tuple[str, bytes]:
    """Digest of the session key, and the nonce, from what the machine put into its quote."""
    if not isinstance(value, dict):
        raise _no(claim)
    key, encoded = value.get("key"), value.get("nonce")
    if not isinstance(key, str) or not _key_digest(key) or not isinstance(encoded, str):
        raise _no(claim)
    try:
        nonce = from_base64url(encoded)
    except CanonicalError as error:
        raise _no(claim) from error
    if len(nonce) != NONCE_BYTES:
        raise _no(claim)
    return key, nonce


def _hexadecimal(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not is_measurement(value):
        raise _no(name)
    return value


def _text(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not _plain(value):
        raise _no(name)
    return value


def _no(claim: str) -> TokenError:
    return TokenError("attestation.claim", f"the claim {claim} is missing, malformed or says no")
