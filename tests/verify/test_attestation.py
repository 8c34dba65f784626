"""Attestation results: four shapes, and every way in which one may say nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho_verify.attestation import KINDS, Question, TokenError, Verifier, check_verifiers, judge
from sekisho_verify.attestation_claims import gpu_nonce
from sekisho_verify.errors import Exit
from tests.verify import tokens
from tests.verify.tokens import KEY, MEASURED, NONCE, NOW_S, QUESTION, SHAPES, VERIFIERS

TEES = {
    "azure-tdx": "tdx",
    "azure-snp": "sev-snp",
    "intel-1": "tdx",
    "intel-2": "tdx",
    "software": "software",
}


def code_of(token: str, gpu: str = "", question: Question = QUESTION, verifiers: Any = VERIFIERS) -> str:
    with pytest.raises(TokenError) as caught:
        judge(token, gpu, verifiers, question)
    assert caught.value.exit_code is Exit.ATTESTATION
    return caught.value.code


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_comes_to_one(shape: str) -> None:
    issuer, _ = SHAPES[shape]
    found = judge(tokens.token(shape), "", VERIFIERS, QUESTION)
    assert (found.tee, found.measurement, found.key) == (TEES[shape], MEASURED, KEY)
    assert (found.verifier, found.issuer, found.country) == (
        issuer.verifier.name,
        issuer.verifier.issuer,
        "JP",
    )
    assert (found.issued_s, found.expires_s, found.gpus) == (NOW_S - 10, NOW_S + 3600, ())
    assert found.grade == ("D" if shape == "software" else "A")


@pytest.mark.parametrize("shape", SHAPES)
def test_gpus_answer_for_the_machine_s_key(shape: str) -> None:
    bundle = tokens.gpu_bundle(tokens.gpu(0), tokens.gpu(1) | {"exp": NOW_S + 60})
    found = judge(tokens.token(shape), bundle, VERIFIERS, QUESTION)
    assert found.gpus == ("GH100 A01 GSP BROM",) * 2
    assert found.gpu_verifier == "nvidia"
    assert found.expires_s == NOW_S + 60, "the earliest end is the end of all"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exp": NOW_S}, "attestation.expired"),
        ({"exp": NOW_S - 5}, "attestation.expired"),
        ({"iat": NOW_S + 61, "nbf": None}, "attestation.future"),
        ({"nbf": NOW_S + 61}, "attestation.future"),
        ({"iat": NOW_S - 91}, "attestation.old"),
        ({"exp": NOW_S + 24 * 3600}, "attestation.lifetime"),
        ({"exp": None}, "attestation.time"),
        ({"iat": None}, "attestation.time"),
        ({"iat": True}, "attestation.time"),
        ({"exp": float(NOW_S + 60)}, "attestation.time"),
        ({"exp": str(NOW_S + 60)}, "attestation.time"),
        ({"nbf": -1}, "attestation.time"),
        ({"exp": 10**12}, "attestation.time"),
        ({"iss": "https://elsewhere.example"}, "attestation.unknown_verifier"),
        ({"iss": None}, "attestation.issuer"),
        ({"iss": 5}, "attestation.issuer"),
    ],
)
def test_a_token_out_of_its_time_or_by_nobody_is_refused(
    shape: str, changes: dict[str, Any], code: str
) -> None:
    assert code_of(tokens.token(shape, **changes)) == code


@pytest.mark.parametrize("shape", SHAPES)
def test_a_token_for_another_question_is_refused(shape: str) -> None:
    assert code_of(tokens.token(shape), question=replace(QUESTION, nonce=bytes(32))) == "attestation.nonce"
    old = replace(QUESTION, asked_ms=QUESTION.asked_ms + 7_200_000, now_ms=QUESTION.now_ms + 3_500_000)
    assert code_of(tokens.token(shape), question=old) == "attestation.old"


@pytest.mark.parametrize(
    ("shape", "changes", "code"),
    [
        ("azure-tdx", {"dbgstat": "enabled"}, "attestation.debug"),
        ("azure-tdx", {"dbgstat": None}, "attestation.debug"),
        ("azure-tdx", {"dbgstat": False}, "attestation.debug"),
        ("azure-tdx", {"dbgstat": ["disabled"]}, "attestation.debug"),
        ("azure-tdx", {"attester_tcb_status": "OutOfDate"}, "attestation.claim"),
        ("azure-tdx", {"tdx_mrtd": None}, "attestation.claim"),
        ("azure-tdx", {"tdx_mrtd": MEASURED[:-1]}, "attestation.claim"),
        ("azure-tdx", {"tdx_mrtd": MEASURED.upper()}, "attestation.claim"),
        ("azure-tdx", {"x-ms-attestation-type": "sgx"}, "attestation.claim"),
        ("azure-tdx", {"x-ms-attestation-type": ["tdxvm"]}, "attestation.claim"),
        ("azure-tdx", {"x-ms-runtime": None}, "attestation.claim"),
        ("azure-tdx", {"x-ms-runtime": {}}, "attestation.claim"),
        ("azure-tdx", {"x-ms-runtime": {"sekisho": {"key": KEY}}}, "attestation.claim"),
        ("azure-tdx", {"x-ms-runtime": {"sekisho": {"key": "md5:x", "nonce": "AA"}}}, "attestation.claim"),
        ("azure-tdx", {"x-ms-runtime": {"sekisho": {"key": KEY, "nonce": "AA"}}}, "attestation.claim"),
        ("azure-tdx", {"x-ms-runtime": {"sekisho": {"key": KEY, "nonce": "A"}}}, "attestation.claim"),
        ("azure-snp", {"x-ms-sevsnpvm-is-debuggable": True}, "attestation.debug"),
        ("azure-snp", {"x-ms-sevsnpvm-is-debuggable": None}, "attestation.debug"),
        ("azure-snp", {"x-ms-sevsnpvm-is-debuggable": 0}, "attestation.debug"),
        ("azure-snp", {"x-ms-compliance-status": "azure-none"}, "attestation.claim"),
        ("azure-snp", {"x-ms-sevsnpvm-launchmeasurement": 5}, "attestation.claim"),
        ("intel-1", {"tdx_is_debuggable": True}, "attestation.debug"),
        ("intel-1", {"dbgstat": "enabled"}, "attestation.debug"),
        ("intel-1", {"attester_type": "SGX"}, "attestation.claim"),
        ("intel-1", {"attester_held_data": None}, "attestation.claim"),
        ("intel-1", {"attester_held_data": "!"}, "attestation.claim"),
        ("intel-1", {"attester_held_data": "A" * 2000}, "attestation.claim"),
        ("intel-1", {"attester_held_data": "e30="}, "attestation.claim"),
        ("intel-1", {"attester_held_data": "e30"}, "attestation.claim"),
        ("intel-1", {"attester_held_data": "eyJhIjoxLCJhIjoxfQ=="}, "attestation.json"),
        ("intel-2", {"tdx": []}, "attestation.claim"),
        ("intel-2", {"tdx": {}}, "attestation.claim"),
        ("software", {"measurement": "x"}, "attestation.claim"),
        ("software", {"sekisho": "x"}, "attestation.claim"),
    ],
)
def test_a_claim_that_is_missing_or_says_no_is_a_no(shape: str, changes: dict[str, Any], code: str) -> None:
    assert code_of(tokens.token(shape, **changes)) == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"eat_nonce": sha256(b"other").hexdigest()}, "attestation.gpu_key"),
        ({"eat_nonce": None}, "attestation.gpu_key"),
        ({"eat_nonce": tokens.KEY.removeprefix("sha256:")}, "attestation.gpu_key"),
        ({"eat_nonce": gpu_nonce(tokens.KEY, bytes(32))}, "attestation.gpu_key"),
        ({"measres": "fail"}, "attestation.claim"),
        ({"secboot": False}, "attestation.claim"),
        ({"secboot": 1}, "attestation.claim"),
        ({"dbgstat": "enabled"}, "attestation.debug"),
        ({"x-nvidia-gpu-attestation-report-nonce-match": False}, "attestation.claim"),
        ({"x-nvidia-gpu-attestation-report-signature-verified": None}, "attestation.claim"),
        ({"x-nvidia-gpu-attestation-report-parsed": "true"}, "attestation.claim"),
        ({"hwmodel": "\x1b[2J"}, "attestation.claim"),
        ({"ueid": None}, "attestation.claim"),
        ({"exp": NOW_S - 1}, "attestation.expired"),
        ({"iss": "https://azure.verifier.example"}, "attestation.issuer"),
    ],
)
def test_one_gpu_that_fails_fails_all(changes: dict[str, Any], code: str) -> None:
    wrong = {name: value for name, value in (tokens.gpu(1) | changes).items() if value is not None}
    assert code_of(tokens.token(), tokens.gpu_bundle(tokens.gpu(0), wrong)) == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"x-nvidia-overall-att-result": False}, "attestation.claim"),
        ({"x-nvidia-overall-att-result": 1}, "attestation.claim"),
        ({"eat_nonce": "00"}, "attestation.gpu_key"),
        ({"eat_nonce": gpu_nonce(tokens.KEY, bytes(32))}, "attestation.gpu_key"),
        ({"submods": {}}, "attestation.claim"),
        ({"submods": []}, "attestation.claim"),
        ({"submods": {"GPU-0": ["DIGEST", ["SHA-1", "00"]]}}, "attestation.claim"),
        ({"submods": {"GPU-0": ["DIGEST", ["SHA-256", "00"]]}}, "attestation.gpu_set"),
        ({"iss": "https://azure.verifier.example"}, "attestation.kind"),
        ({"iss": "https://elsewhere.example"}, "attestation.unknown_verifier"),
    ],
)
def test_the_overall_token_of_gpus_counts(changes: dict[str, Any], code: str) -> None:
    assert code_of(tokens.token(), tokens.gpu_bundle(**changes)) == code


def test_a_gpu_that_the_overall_token_does_not_name_does_not_count() -> None:
    first, devices = json.loads(tokens.gpu_bundle(tokens.gpu(0)))
    more = devices | {"GPU-1": tokens.NVIDIA.token(tokens.gpu(1))}
    assert code_of(tokens.token(), json.dumps([first, more])) == "attestation.gpu_set"
    other = {"GPU-0": tokens.NVIDIA.token(tokens.gpu(1))}
    assert code_of(tokens.token(), json.dumps([first, other])) == "attestation.gpu_set"


def test_one_gpu_does_not_count_twice() -> None:
    assert code_of(tokens.token(), tokens.gpu_bundle(tokens.gpu(0), tokens.gpu(0))) == "attestation.gpu_set"


@pytest.mark.parametrize(
    "bundle",
    [
        "{}",
        "[]",
        "[1, 2]",
        '[["JWT"], {}]',
        '[["EAT", "x"], {"GPU-0": "x"}]',
        '[["JWT", "x"], {}]',
        '[["JWT", 5], {"GPU-0": "x"}]',
        '[["JWT", "x"], {"GPU-0": 5}]',
        '[["JWT", "x"], ["x"]]',
        '[["JWT", "x"], {"GPU-0": "x"}, 3]',
        json.dumps([["JWT", "x"], {f"GPU-{number}": "x" for number in range(65)}]),
    ],
)
def test_what_is_no_bundle_of_gpus_is_refused(bundle: str) -> None:
    assert code_of(tokens.token(), bundle) == "attestation.shape"


def test_a_bundle_of_gpus_is_bounded_and_strict() -> None:
    assert code_of(tokens.token(), "x" * (65 * 64 * 1024 + 1)) == "attestation.size"
    assert code_of(tokens.token(), "\udcff") == "attestation.json"
    assert code_of(tokens.token(), "{") == "attestation.json"


def test_a_lone_surrogate_is_no_token_of_a_gpu_whoever_signed_the_rest() -> None:
    first, devices = json.loads(tokens.gpu_bundle(tokens.gpu(0)))
    for name, token in (("\ud800", devices["GPU-0"]), ("GPU-1", "\ud800")):
        assert code_of(tokens.token(), json.dumps([first, devices | {name: token}])) == "attestation.json"
    assert code_of(tokens.token(), json.dumps([["JWT", "\ud800"], devices])) == "attestation.json"


def test_who_speaks_of_gpus_does_not_speak_of_machines() -> None:
    assert code_of(tokens.NVIDIA.token(tokens.gpu())) == "attestation.kind"


def test_verifiers_are_a_set() -> None:
    check_verifiers(VERIFIERS)
    one = VERIFIERS[0]
    for wrong in (
        [one, one],
        [one, replace(VERIFIERS[1], name=one.name)],
        [one, replace(VERIFIERS[1], issuer=one.issuer)],
        [replace(one, kind="sgx")],
        [replace(one, issuer="")],
        [replace(one, keys=())],
        [replace(one, keys=one.keys * 2)],
        [replace(one, keys=tuple(replace(one.keys[0], kid=str(number)) for number in range(33)))],
    ):
        with pytest.raises(TokenError) as caught:
            check_verifiers(wrong)
        assert caught.value.code == "attestation.verifier"
    assert {verifier.kind for verifier in VERIFIERS} == set(KINDS)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([*SHAPES]),
    st.integers(0, 10_000),
    st.sampled_from("ABCabc019-_.="),
)
def test_a_token_with_any_character_changed_says_nothing(shape: str, place: int, character: str) -> None:
    whole = tokens.token(shape)
    at = place % len(whole)
    changed = whole[:at] + character + whole[at + 1 :]
    if changed != whole:
        with pytest.raises(TokenError):
            judge(changed, "", VERIFIERS, QUESTION)


def test_the_verifier_is_chosen_by_its_issuer_alone() -> None:
    """Another verifier's key under the first one's issuer is an unknown key, or one for another algorithm."""
    forged = tokens.SOFTWARE.token(tokens.azure_tdx())
    assert code_of(forged) == "attestation.unknown_key"
    renamed = tokens.SOFTWARE.token(tokens.azure_tdx(), header={"kid": tokens.AZURE.key.kid})
    assert code_of(renamed) == "attestation.algorithm"


def test_the_nonce_is_the_machine_s_own_word() -> None:
    assert judge(tokens.token(), "", VERIFIERS, QUESTION).key == KEY
    assert QUESTION.nonce == NONCE
    held = tokens.bound(nonce=sha256(b"other").digest())
    assert code_of(tokens.token("software", sekisho=held)) == "attestation.nonce"


def test_nobody_configured_is_nobody() -> None:
    empty: tuple[Verifier, ...] = ()
    assert code_of(tokens.token(), verifiers=empty) == "attestation.unknown_verifier"
