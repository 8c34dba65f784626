"""The proof of place in a bundle: judged again, on the auditor's landmarks and map where those are named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from sekisho_verify import Exit, Verdict, parse_trust, render, verify_bundle, write_bundle
from sekisho_verify.attestation_file import write_file
from sekisho_verify.canonical import digest, encode
from sekisho_verify.checkpoint import make_key
from sekisho_verify.errors import TrustError
from sekisho_verify.location import Claim, Policy
from sekisho_verify.location_proof import judged
from sekisho_verify.location_transcript import describe_landmark
from tests.verify import tokens
from tests.verify.attested import FILE as ATTESTED
from tests.verify.attested import MACHINES, time_text
from tests.verify.builders import (
    AGENT,
    START,
    Body,
    Signer,
    TestLog,
    agent_message,
    make_id,
    record_body,
)
from tests.verify.builders import facts as plain_facts
from tests.verify.places import NONCE, Held, case, degrees, key_of, public_of, territory, territory_body
from tests.verify.tokens import NOW_S

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
OTHER = Claim("site_2", public_of("other"), degrees(32, 132))


def choice(site: str) -> Body:
    return {"site": site, "country": "JP", "decision": "allow", "rules": [], "chosen": True}


def checked(
    file: bytes,
    *more: Body,
    site: str = "site_1",
    land: bytes | None = LAND,
    keep: bool = True,
    detail: Body | None = None,
    kept: Iterable[bytes] = (),
    **trust: Any,
) -> Verdict:
    """The verdict on a bundle whose placement rests on this file; `more` are the details of records after it."""
    files = {"location.json": digest(file), "territory.json": digest(LAND)}
    first: Body = {"level": 2, "sites": [choice(site)], "files": files, **(detail or {})}
    log = TestLog()
    log.append(record_body("s", number, detail=each) for number, each in enumerate([first, *more]))
    there = ([file] if keep else []) + ([land] if land is not None else [])
    members = log.members("s", files=[*there, *kept])
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
    found = checked(GOOD, keep=False)
    assert (found.exit_code, lines(found)) == (Exit.COMPLETENESS, ["transcript.missing"])
    found = checked(GOOD, land=None)
    assert (found.exit_code, lines(found)) == (Exit.COMPLETENESS, ["transcript.no_territory"])
    unnamed = checked(GOOD, land=None, detail={"files": {"location.json": digest(GOOD)}})
    assert (unnamed.exit_code, reasons(unnamed)) == (Exit.PROOF, ["proof.no_territory"])


@pytest.mark.parametrize(
    ("weak", "held", "field"),
    [
        (Policy(nonce=NONCE, age_ms_max=900_001), NORTH, "age_ms_max"),
        (Policy(nonce=NONCE, skew_ms_max=30_001), NORTH, "skew_ms_max"),
        (Policy(nonce=NONCE, rounds_min=1), replace(NORTH, count=1), "rounds_min"),
        (Policy(), NORTH, "nonce"),
        (
            Policy(age_ms_max=10**12, rounds_min=1),
            replace(NORTH, at_ms=AT_MS - 10**9),
            "age_ms_max, rounds_min, nonce",
        ),
    ],
    ids=["age", "skew", "rounds", "nonce", "all"],
)
def test_no_bundle_demands_less_of_itself_than_the_verifier_does(
    weak: Policy, held: Held, field: str
) -> None:
    """Even where what is weak would have held by the bundle's own policy."""
    found = checked(proof(held, replace(held, landmark="south", organisation="exchange"), policy=weak))
    assert (found.exit_code, reasons(found)) == (Exit.PROOF, ["proof.weak_policy"])
    assert f"is demanded: {field} [" in render(found, "en")


@pytest.mark.parametrize(
    "more",
    [{"age_ms_max": 50_000}, {"rounds_min": 25}, {"liars_max": 2}, {"skew_ms_max": 0}],
    ids=lambda more: next(iter(more)),
)
def test_an_auditor_may_demand_more(more: dict[str, int]) -> None:
    file = proof(*(replace(each, site_offset_ms=1000) for each in (NORTH, SOUTH)))
    known: list[dict[str, Any]] = [{"landmarks": []}, {"landmarks": TRUSTED}]
    for trust in known:
        assert checked(file, **trust, location=vars_of(Policy())).exit_code is Exit.HOLDS
        found = checked(file, **trust, location=more)
        assert (found.exit_code, len(reasons(found))) == (Exit.PROOF, 1)


def vars_of(policy: Policy) -> dict[str, int]:
    return {name: getattr(policy, name) for name in ("liars_max", "age_ms_max", "skew_ms_max", "rounds_min")}


@pytest.mark.parametrize(
    "wrong",
    [
        {"age_ms_max": 900_001},
        {"skew_ms_max": 30_001},
        {"rounds_min": 19},
        {"liars_max": 0},
        {"rounds_min": True},
        {"nonce": 1},
        [],
    ],
)
def test_an_auditor_cannot_demand_less(wrong: object) -> None:
    with pytest.raises(TrustError) as caught:
        checked(GOOD, location=wrong)
    assert caught.value.code in {"trust.location", "trust.number"}


def test_the_key_that_answered_is_the_key_of_the_attempts_agent() -> None:
    attempt, agent = make_id("att", 1), Signer(make_key("agent", public_of("agent")), key_of("agent").sign)
    placed: Body = {"attempt": attempt}
    for signer, holds in ((agent, True), (AGENT, False)):
        for place in (None, placed):
            said = agent_message(1, {"kind": "accept"}, signer=signer)
            found = checked(GOOD, placed | said, detail=place)
            assert found.holds is holds
            assert reasons(found) == ([] if holds else ["proof.other_key"])


def test_the_agent_of_an_attempt_elsewhere_has_another_key() -> None:
    """Each attempt is held against the proof of its own site, whichever record came first."""
    other = proof(*(replace(each, site="site_2", site_key="other") for each in (NORTH, SOUTH)), claim=OTHER)
    first, second = make_id("att", 1), make_id("att", 2)
    files = {"location.json": digest(other), "territory.json": digest(LAND)}
    moved: Body = {"sites": [choice("site_2")], "files": files, "attempt": second}
    agents = {name: Signer(make_key(name, public_of(name)), key_of(name).sign) for name in ("agent", "other")}
    said = [
        agent_message(1, {"kind": "accept"}, signer=agents["agent"], attempt=first),
        agent_message(1, {"kind": "accept"}, signer=agents["other"], attempt=second, lane="b"),
    ]
    assert checked(GOOD, moved, *said, detail={"attempt": first}, kept=[other]).holds
    swapped = [
        agent_message(1, {"kind": "accept"}, signer=agents["other"], attempt=first),
        agent_message(1, {"kind": "accept"}, signer=agents["agent"], attempt=second, lane="b"),
    ]
    found = checked(GOOD, moved, *swapped, detail={"attempt": first}, kept=[other])
    assert reasons(found) == ["proof.other_key"] * 2


def test_every_site_that_was_chosen_needs_a_proof_of_its_own() -> None:
    again: Body = {"sites": [choice("site_2")]}
    found = checked(GOOD, again)
    assert (found.exit_code, reasons(found)) == (Exit.PROOF, ["proof.uncovered"])
    assert next(str(line.fields["where"]) for line in found.lines if line.exit_code) == "records/000001.json"
    assert checked(GOOD, again, detail={"level": 1}).holds
    demanded = checked(GOOD, again, landmarks=TRUSTED, demand={"max_level_without_place": 1})
    assert reasons(demanded) == ["proof.uncovered", "demand.place"]


def test_a_proof_speaks_for_the_site_of_its_own_record_only() -> None:
    """The site that was chosen, where the attempt is, what the key was released for: each has to be the proof's."""
    files = {"location.json": digest(GOOD), "territory.json": digest(LAND)}
    order = encode({"order": {"site": "site_2", "attempt": "a"}, "v": 1})
    elsewhere: Body = {"files": files, "place": {"site": "site_2", "country": "JP"}}
    released: Body = {"files": files | {"key_release.json": digest(order)}}
    assert "proof.other_site" in reasons(checked(GOOD, elsewhere))
    assert "proof.other_site" in reasons(checked(GOOD, released, kept=[order]))
    alone = checked(GOOD, detail={"sites": [], "files": files})
    assert alone.holds
    assert "proof.other_site" in reasons(checked(GOOD, {"sites": [choice("site_2")]}, detail={"sites": []}))


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


def attested(key: str) -> bytes:
    """An attestation of the site's hardware for a session key of this digest, without GPUs; by software after a `~`."""
    if key.startswith("~"):
        stand_in = tokens.SOFTWARE.token(tokens.software(tokens.bound(key=key[1:])))
        return write_file(replace(ATTESTED, token=stand_in, gpu=""))
    claims = tokens.azure_tdx(tokens.bound(key=key))
    token = tokens.AZURE.token(claims, header={"jku": tokens.AZURE.verifier.jku})
    return write_file(replace(ATTESTED, token=token, gpu=""))


@pytest.mark.parametrize(
    ("key", "claimed", "known", "expected"),
    [
        (digest(public_of("agent")), True, True, "transcript.bound"),
        (digest(public_of("agent")), False, True, "transcript.bound"),
        (digest(public_of("agent")), True, False, "transcript.binding"),
        (digest(public_of("other")), False, True, "transcript.binding"),
        (digest(public_of("other")), True, True, "proof.unbound"),
        ("", True, True, "proof.unbound"),
        ("~" + digest(public_of("agent")), True, True, "proof.unbound"),
        ("", False, True, "transcript.binding"),
    ],
)
def test_that_hardware_vouches_for_the_key_is_worked_out_here(
    key: str, claimed: bool, known: bool, expected: str
) -> None:
    site: Body = {"type": "Site", "id": "site_1"}
    entity: Body = {"ref": site, "attributes": {"proof": {"bound_to_tee": claimed}}, "parents": []}
    fact = encode({"entities": [entity, {"ref": {"type": "Org", "id": "site_1"}}]})
    file = attested(key) if key else b"{}"
    files = {"location.json": digest(GOOD), "territory.json": digest(LAND)}
    log = TestLog()
    log.append(
        [
            record_body("s", 0, facts=digest(fact), detail={"sites": [choice("site_1")], "files": files}),
            record_body(
                "s", 1, time=time_text(NOW_S + 60), detail={"files": {"attestation.json": digest(file)}}
            ),
        ]
    )
    members = log.members("s", facts=[fact, plain_facts()], files=[GOOD, LAND, file])
    believed = tokens.VERIFIERS if known else ()
    found = verify_bundle(write_bundle(members), parse_trust(log.trust(verifiers=believed, more=MACHINES)))
    line = [line for line in found.lines if line.part == "transcript"][-1]
    unmeasured = verify_bundle(write_bundle(members), parse_trust(log.trust(verifiers=believed)))
    assert {line.grade for line in unmeasured.lines if line.part == "transcript"} <= {"M", "D", None, ""}
    assert str(line.fields.get("reason", line.code)) == expected
    assert (line.grade == "A") == (expected == "transcript.bound")
