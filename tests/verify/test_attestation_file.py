"""`attestation.json` and the verifiers of a trust file: read as written, and nothing else is read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sekisho_verify import parse_trust
from sekisho_verify.attestation import TokenError
from sekisho_verify.attestation_file import (
    AttestationFile,
    read_file,
    read_verifiers,
    verifier_document,
    write_file,
)
from sekisho_verify.canonical import decode, encode
from sekisho_verify.errors import TrustError, VerifyError
from sekisho_verify.trust import Demand
from tests.verify import tokens
from tests.verify.attested import MACHINES
from tests.verify.builders import job_log
from tests.verify.tokens import MEASURED, QUESTION, VERIFIERS

FILE = AttestationFile("site_1", QUESTION, tokens.token(), tokens.gpu_bundle(), VERIFIERS)
BODY = decode(write_file(FILE))
assert isinstance(BODY, dict)
AZURE: dict[str, Any] = verifier_document(VERIFIERS[0])


def test_a_file_reads_as_written_and_can_be_judged_again() -> None:
    found = read_file(write_file(FILE))
    assert found == FILE
    assert found.judge(VERIFIERS).grade == "A"
    with pytest.raises(TokenError):
        found.judge(VERIFIERS[1:])


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": True},
        {"kind": "other"},
        {"more": 1},
        {"site": ""},
        {"site": "a b"},
        {"site": 5},
        {"nonce": "AA"},
        {"nonce": "A"},
        {"nonce": 5},
        {"asked_ms": -1},
        {"judged_ms": True},
        {"token": 5},
        {"gpu": []},
        {"verifiers": {}},
        {"verifiers": [AZURE] * 65},
    ],
)
def test_a_file_of_another_shape_is_none(changes: dict[str, object]) -> None:
    with pytest.raises(TokenError):
        read_file(encode(BODY | changes))


def test_a_file_is_canonical() -> None:
    for data in (b"[]", b" " + write_file(FILE), b"{}"):
        with pytest.raises(VerifyError):
            read_file(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "a b"},
        {"name": "x" * 301},
        {"name": 5},
        {"kind": "sgx"},
        {"issuer": ""},
        {"issuer": "a\x1b"},
        {"country": "JPN"},
        {"country": "jp"},
        {"jku": 5},
        {"more": 1},
        {"keys": []},
        {"keys": {}},
        {"keys": [5]},
        {"keys": AZURE["keys"] * 33},
        {"keys": AZURE["keys"] * 2},
        {"keys": [AZURE["keys"][0] | {"more": 1}]},
        {"keys": [AZURE["keys"][0] | {"spki": "AA"}]},
        {"keys": [AZURE["keys"][0] | {"spki": "A"}]},
        {"keys": [AZURE["keys"][0] | {"kid": 5}]},
        {"keys": [AZURE["keys"][0] | {"alg": "ES256"}]},
    ],
)
def test_a_verifier_of_another_shape_is_none(changes: dict[str, object]) -> None:
    with pytest.raises(TokenError):
        read_verifiers([AZURE | changes])


def test_a_trust_file_names_verifiers_and_demands_them() -> None:
    log = job_log()
    trust = parse_trust(log.trust(verifiers=VERIFIERS, demand={"max_level_without_attestation": 1}))
    assert trust.verifiers == VERIFIERS
    assert trust.demand == Demand(max_level_without_attestation=1)
    assert read_verifiers([{name: value for name, value in AZURE.items() if name != "jku"}]) == (
        replace(VERIFIERS[0], jku=""),
    )
    assert parse_trust(log.trust(more=MACHINES)).measurements == {MEASURED}
    wrongs: list[object] = ["x", {"a": 1}, ["F" * 64], ["0" * 63], [0]]
    for wrong in wrongs:
        with pytest.raises(TrustError) as caught:
            parse_trust(log.trust(more={"measurements": wrong}))
        assert (caught.value.where, caught.value.exit_code) == ("measurements", 2)
    with pytest.raises(TrustError) as caught:
        parse_trust(log.trust(verifiers=VERIFIERS[:1] * 2))
    assert (caught.value.where, caught.value.exit_code) == ("verifiers", 2)
