"""The proof of place in a bundle: judged again, on the auditor's landmarks and map where those are named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sekisho_verify import Exit, Verdict, parse_trust, render, verify_bundle, write_bundle
from sekisho_verify.canonical import digest, encode
from sekisho_verify.location import Policy
from sekisho_verify.location_proof import judged
from sekisho_verify.location_transcript import describe_landmark
from tests.verify.builders import START, Body, TestLog, record_body
from tests.verify.places import NONCE, Held, case, degrees, public_of, territory, territory_body

AT_MS = round(START.timestamp() * 1000)
NORTH = Held(at_ms=AT_MS - 60_000)
SOUTH = replace(NORTH, landmark="south", organisation="exchange")
FAR = replace(NORTH, landmark="far", organisation="exchange", rtt_ns=9_000_000)
KNOWN = [NORTH.known(), SOUTH.known(), FAR.known()]
LAND = encode(territory_body())


def proof(*held: Held, **changes: Any) -> bytes:
    """A proof's file, judged just before the record that names it."""
    fields = {"now_ms": AT_MS - 1000, "policy": Policy(nonce=NONCE)} | changes
    return judged([each.write() for each in held], case(KNOWN, **fields))[1]


GOOD = proof(NORTH, SOUTH, FAR)


def checked(
    file: bytes, *, site: str = "site_1", land: bytes | None = LAND, keep: bool = True, **trust: Any
) -> Verdict:
    """The verdict on a bundle whose placement rests on this file."""
    chosen: Body = {"site": site, "country": "JP", "decision": "allow", "rules": [], "chosen": True}
    files = {"location.json": digest(file), "territory.json": digest(LAND)}
    log = TestLog()
    log.append([record_body("s", 0, detail={"level": 2, "sites": [chosen], "files": files})])
    kept = ([file] if keep else []) + ([land] if land is not None else [])
    members = log.members("s", files=kept)
    return verify_bundle(write_bundle(members), parse_trust(log.trust(more=trust)))


def lines(verdict: Verdict) -> list[str]:
    return [line.code for line in verdict.lines if line.part == "transcript"]


def reasons(verdict: Verdict) -> list[str]:
    return [str(line.fields["reason"]) for line in verdict.lines if line.exit_code]


COUNTED = ["transcript.counts", "transcript.counts", "transcript.too_far"]
TRUSTED = [describe_landmark(each) for each in KNOWN]


def test_on_the_bundles_own_landmarks_it_shows_that_nothing_was_changed_and_says_so() -> None:
    found = checked(GOOD)
    assert found.exit_code is Exit.HOLDS
    assert lines(found) == [*COUNTED, "transcript.own_keys", "transcript.binding"]
    assert {"key_extracted", "moved_since"} <= set(found.not_proven)
    assert "the trust file names none" in render(found, "en")
    assert "信頼ファイルに記載がありません" in render(found, "ja")


def test_on_the_auditors_landmarks_it_is_measured() -> None:
    found = checked(GOOD, landmarks=TRUSTED, territory=digest(LAND), demand={"max_level_without_place": 1})
    assert found.exit_code is Exit.HOLDS
    assert lines(found) == [*COUNTED, "transcript.shown", "transcript.binding"]
    shown = next(line for line in found.lines if line.code == "transcript.shown")
    assert (shown.grade, shown.by) == ("M", "exchange, university")


def test_a_measured_place_is_demanded_of_landmarks_the_auditor_knows() -> None:
    assert checked(GOOD, demand={"max_level_without_place": 1}).exit_code is Exit.DEMAND


def test_what_the_auditor_does_not_know_does_not_count() -> None:
    found = checked(GOOD, landmarks=TRUSTED[:1])
    assert (found.exit_code, reasons(found)) == (Exit.PROOF, ["proof.not_accepted"])
    found = checked(GOOD, territory="sha256:" + "0" * 64)
    assert (found.exit_code, reasons(found)) == (Exit.PROOF, ["proof.other_territory"])


def test_a_recorded_verdict_that_is_another_one_fails_with_its_own_code() -> None:
    found = checked(GOOD.replace(b'"accepted":true', b'"accepted":false'))
    assert (found.exit_code, reasons(found)) == (Exit.PROOF, ["proof.verdict"])
    assert "A proof of place does not hold." in render(found, "en")


@pytest.mark.parametrize(
    ("file", "code"),
    [
        (proof(NORTH, FAR), "proof.not_accepted"),
        (proof(NORTH, SOUTH, now_ms=AT_MS + 5000), "proof.when"),
        (
            proof(*(replace(each, at_ms=AT_MS - 901_000) for each in (NORTH, SOUTH)), now_ms=AT_MS - 2000),
            "proof.when",
        ),
    ],
    ids=["too few", "judged later", "too old"],
)
def test_a_placement_rests_on_a_proof_that_held_then(file: bytes, code: str) -> None:
    found = checked(file)
    assert (found.exit_code, reasons(found)) == (Exit.PROOF, [code])


def test_a_proof_of_another_site_is_none_for_this_one() -> None:
    found = checked(GOOD, site="site_2")
    assert (found.exit_code, reasons(found)) == (Exit.PROOF, ["proof.other_site"])


def test_what_a_bundle_does_not_hold_is_named() -> None:
    assert lines(checked(GOOD, keep=False)) == ["transcript.missing"]
    assert lines(checked(GOOD, land=None)) == ["transcript.no_territory"]


def test_what_is_no_proof_fails_and_nothing_is_raised() -> None:
    found = checked(b"{}")
    assert found.exit_code is Exit.PROOF
    assert reasons(found) == ["proof.fields"]
    broken = proof(NORTH, SOUTH).replace(b'"v":1', b'"v":9')
    assert checked(broken).exit_code is Exit.PROOF


def test_a_refused_transcript_among_good_ones_is_named_and_harms_nobody() -> None:
    stranger = replace(NORTH, landmark="stranger", place=degrees(32, 132))
    assert public_of("stranger") not in {each.key for each in KNOWN}
    found = checked(proof(NORTH, SOUTH, stranger))
    assert found.exit_code is Exit.HOLDS
    assert lines(found)[2] == "transcript.refused"
    assert territory().digest == digest(LAND)


def test_trust_names_landmarks_and_a_map_or_is_refused() -> None:
    log = TestLog()
    log.append([record_body("s", 0)])
    wrong: list[tuple[str, object]] = [
        ("landmarks", "none"),
        ("landmarks", [1]),
        ("landmarks", [TRUSTED[0], TRUSTED[0]]),
        ("territory", 1),
        ("territory", "sha256:x"),
    ]
    for field, value in wrong:
        with pytest.raises(Exception, match=r".") as caught:
            parse_trust(log.trust(more={field: value}))
        assert getattr(caught.value, "code", "") == f"trust.{field}"
