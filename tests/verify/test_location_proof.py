"""A proof's file: what was judged, judged again, and every way in which it can be none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sekisho_verify import canonical
from sekisho_verify.location import Policy
from sekisho_verify.location_proof import PROOF_BYTES_MAX, ProofError, judge_again, judged, read_proof
from sekisho_verify.location_text import document
from tests.verify.places import NONCE, NOW_MS, Held, case, outcome, territory

NORTH, SOUTH = Held(), Held(landmark="south", organisation="exchange")
KNOWN = [NORTH.known(), SOUTH.known()]
TRANSCRIPTS = [NORTH.write(), SOUTH.write()]
VERDICT, FILE = judged(TRANSCRIPTS, case(KNOWN, policy=Policy(nonce=NONCE)))


def body() -> dict[str, Any]:
    return canonical.decode_object(FILE)


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The file with something else in it."""
    value = body()
    change(value)
    return canonical.encode(value)


def test_a_file_says_everything_that_its_verdict_rests_on() -> None:
    proof = read_proof(FILE)
    assert VERDICT.accepted
    assert document(judge_again(proof, territory())) == proof.verdict == document(VERDICT)
    assert list(proof.transcripts) == TRANSCRIPTS
    assert (proof.time_ms, proof.policy.nonce, proof.claim.site) == (NOW_MS, NONCE, "site_1")
    assert list(proof.landmarks) == KNOWN


def test_it_is_as_old_as_it_was_whenever_it_is_read() -> None:
    old, file = judged(TRANSCRIPTS, case(KNOWN, now_ms=NOW_MS + 3_600_000))
    assert [finding.code for finding in old.findings] == ["location.old"] * 2
    assert not judge_again(read_proof(file), territory()).accepted
    assert judge_again(read_proof(FILE), territory()).accepted


def test_without_a_nonce_it_says_so() -> None:
    _, file = judged(TRANSCRIPTS, case(KNOWN))
    assert read_proof(file).policy.nonce == b""


CHANGES: list[Callable[[dict[str, Any]], object]] = [
    lambda value: value["verdict"].update(accepted=False),
    lambda value: value["verdict"].update(bound_m=value["verdict"]["bound_m"] - 1),
    lambda value: value["verdict"].update(more=1),
    lambda value: value.update(time_ms=NOW_MS + 3_600_000),
    lambda value: value["policy"].update(liars_max=2),
    lambda value: value["landmarks"].pop(),
    lambda value: value["transcripts"].pop(),
    lambda value: value["claim"].update(site="site_2"),
]


def test_a_verdict_that_was_changed_does_not_come_out_again() -> None:
    for change in CHANGES:
        with pytest.raises(ProofError) as caught:
            judge_again(read_proof(changed(change)), territory())
        assert caught.value.code == "proof.verdict"


def test_on_other_landmarks_the_verdict_is_theirs() -> None:
    proof = read_proof(FILE)
    assert judge_again(proof, territory(), KNOWN).accepted
    alone = judge_again(proof, territory(), KNOWN[:1])
    assert [finding.code for finding in alone.findings] == [
        "location.excludes_foreign",
        "transcript.unknown_landmark",
    ]
    moved = replace(KNOWN[0], organisation="other")
    assert not judge_again(proof, territory(), [moved, KNOWN[1]]).accepted


def test_another_map_is_another_question() -> None:
    with pytest.raises(ProofError) as caught:
        judge_again(read_proof(FILE), territory(version="2"))
    assert caught.value.code == "proof.territory"


def test_sessions_that_only_others_have_seen_make_no_file() -> None:
    with pytest.raises(ValueError, match="seen"):
        judged(TRANSCRIPTS, case(KNOWN, seen=frozenset({bytes(32)})))


HOSTILE: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda value: value.update(v=2), "proof.fields"),
    (lambda value: value.update(v=True), "proof.fields"),
    (lambda value: value.update(kind="other"), "proof.fields"),
    (lambda value: value.update(more=1), "proof.fields"),
    (lambda value: value.pop("policy"), "proof.fields"),
    (lambda value: value.update(territory="sha256:x"), "proof.fields"),
    (lambda value: value.update(territory=1), "proof.fields"),
    (lambda value: value.update(verdict=[]), "proof.fields"),
    (lambda value: value.update(time_ms=-1), "proof.number"),
    (lambda value: value.update(time_ms=True), "proof.number"),
    (lambda value: value.update(landmarks={}), "proof.list"),
    (lambda value: value.update(landmarks=value["landmarks"] * 200), "proof.list"),
    (lambda value: value.update(landmarks=[1]), "transcript.fields"),
    (lambda value: value["landmarks"][0].pop("key"), "transcript.landmark"),
    (lambda value: value.update(transcripts=[1]), "proof.bytes"),
    (lambda value: value.update(transcripts=[""]), "proof.bytes"),
    (lambda value: value.update(transcripts=["!"]), "canonical.base64"),
    (lambda value: value.update(transcripts=value["transcripts"] * 40), "proof.list"),
    (lambda value: value.update(claim=[]), "proof.claim"),
    (lambda value: value["claim"].pop("key"), "proof.claim"),
    (lambda value: value["claim"].update(site=""), "proof.claim"),
    (lambda value: value["claim"].update(site=1), "proof.claim"),
    (lambda value: value["claim"].update(site="a\u0000"), "proof.claim"),
    (lambda value: value["claim"].update(key="AA"), "proof.bytes"),
    (lambda value: value["claim"].update(latitude_udeg=90_000_001), "proof.place"),
    (lambda value: value["claim"].update(longitude_udeg="1"), "proof.place"),
    (lambda value: value.update(policy=[]), "proof.policy"),
    (lambda value: value["policy"].update(more=1), "proof.policy"),
    (lambda value: value["policy"].update(rounds_min="1"), "proof.number"),
    (lambda value: value["policy"].update(nonce="AA"), "proof.bytes"),
]


@pytest.mark.parametrize(("change", "code"), HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_no_proof_is_refused_with_one_code(
    change: Callable[[dict[str, Any]], object], code: str
) -> None:
    assert outcome(read_proof, changed(change)) == code


def test_bytes_that_are_no_file_are_refused() -> None:
    assert outcome(read_proof, b" " * (PROOF_BYTES_MAX + 1)) == "proof.size"
    assert outcome(read_proof, b"{") != ""
    assert outcome(read_proof, FILE[:-1]) != ""
    assert outcome(read_proof, b"[]") != ""


def test_a_flipped_bit_is_never_the_same_verdict() -> None:
    for position in range(0, len(FILE), 997):
        data = bytearray(FILE)
        data[position] ^= 1

        def again(data: bytes) -> object:
            return judge_again(read_proof(data), territory())

        assert outcome(again, bytes(data)) != "", position
