"""Verdicts: what holds, and one exit code for each kind of thing that does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sekisho_verify import Exit, Trust, Verdict, parse_trust, render, verify_bundle, write_bundle
from sekisho_verify.canonical import digest, encode
from sekisho_verify.checkpoint import SignedNote, cosign_note, format_note, parse_note, sign_note
from sekisho_verify.record import parse_record
from tests.verify.builders import (
    AGENT_ID,
    ROUTES_CLOSED,
    Body,
    Signer,
    TestLog,
    agent_message,
    charter,
    facts,
    job_log,
    job_members,
    job_stream,
    make_id,
    record_body,
)

LOG = job_log()
MEMBERS = job_members(LOG)
TRUST = parse_trust(LOG.trust(quorum=2))


def check(members: dict[str, bytes], trust: Trust | None = TRUST) -> Verdict:
    return verify_bundle(write_bundle(members), trust)


def states(verdict: Verdict) -> dict[str, str]:
    """The worst state of each part."""
    order = ["ok", "note", "absent", "failed"]
    found: dict[str, str] = {}
    for line in verdict.lines:
        found[line.part] = max(found.get(line.part, "ok"), line.state, key=order.index)
    return found


def reasons(verdict: Verdict) -> list[str]:
    return [str(line.fields["reason"]) for line in verdict.lines if line.exit_code]


def stream_verdict(*bodies: Body, demand: Body | None = None) -> Verdict:
    """The verdict on a log that holds exactly this stream."""
    log = TestLog()
    log.append(bodies)
    return check(log.members("s"), parse_trust(log.trust(demand=demand)))


def placed(**changes: object) -> Body:
    site: Body = {"site": "a", "country": "JP", "decision": "allow", "rules": [], "chosen": True}
    return {"sites": [site | changes]}


def test_a_whole_job_holds() -> None:
    verdict = check(MEMBERS)
    assert verdict.holds
    assert verdict.exit_code is Exit.HOLDS
    assert states(verdict) == {
        "records": "ok",
        "digests": "ok",
        "checkpoint": "ok",
        "witness": "ok",
        "inclusion": "ok",
        "consistency": "absent",
        "completeness": "ok",
        "messages": "ok",
        "decision": "ok",
        "site": "note",
        "place": "note",
        "wall": "note",
        "transcript": "absent",
        "attestation": "absent",
        "key_release": "absent",
        "operator_sessions": "absent",
        "demand": "ok",
    }
    assert verdict.not_proven == ("operator_hands", "not_reevaluated", "agent_word")


def test_what_only_the_site_says_is_graded_d_and_a_witness_s() -> None:
    grades = {line.part: line.grade for line in check(MEMBERS).lines}
    assert {part for part, grade in grades.items() if grade == "D"} == {"messages", "place", "wall"}
    assert {part for part, grade in grades.items() if grade == "S"} == {"witness"}


def test_without_a_trust_file_it_is_only_consistent_with_itself() -> None:
    verdict = check(MEMBERS, None)
    assert verdict.exit_code is Exit.UNTRUSTED
    assert not verdict.holds
    assert states(verdict)["checkpoint"] == "note"
    assert "unwitnessed" in verdict.not_proven


def test_bytes_that_are_no_bundle() -> None:
    for data in (b"", b"PK\x03\x04", bytes(100)):
        verdict = verify_bundle(data, TRUST)
        assert verdict.exit_code is Exit.MALFORMED
        assert [line.part for line in verdict.lines] == ["bundle"]


def test_a_flipped_byte_of_a_record_fails_its_checksum() -> None:
    data = write_bundle(MEMBERS)
    at = data.index(b"compute.job.submit")
    assert verify_bundle(data[:at] + b"d" + data[at + 1 :], TRUST).exit_code is Exit.DIGEST


def test_a_changed_charter_facts_or_file_fails_its_digest() -> None:
    changed = {"charters/": charter(2), "facts/": facts(2), "files/": b"another job"}
    for folder, data in changed.items():
        name = next(name for name in MEMBERS if name.startswith(folder))
        verdict = check(MEMBERS | {name: data})
        assert verdict.exit_code is Exit.DIGEST
        assert states(verdict)["inclusion"] == "ok"


def resigned(seed: str) -> dict[str, bytes]:
    """The same job in a log of the same name, wholly signed by other keys."""
    witnesses = tuple(Signer.make(w.key.name, kind=w.key.kind, seed=seed) for w in LOG.witnesses)
    log = TestLog(seed=seed, witnesses=witnesses)
    log.append_noise(10)
    log.append(job_stream())
    return job_members(log)


def test_a_bundle_wholly_signed_again_by_another_key() -> None:
    assert check(resigned("")).holds
    verdict = check(resigned("forger"))
    assert verdict.exit_code is Exit.SIGNATURE
    assert check(resigned("forger"), None).exit_code is Exit.UNTRUSTED


def test_a_log_of_another_origin() -> None:
    log = TestLog(origin="other.example/log")
    log.append(job_stream())
    verdict = check(job_members(log))
    assert (verdict.exit_code, reasons(verdict)) == (
        Exit.SIGNATURE,
        ["signature.origin", "demand.quorum"][:1],
    )


def with_lines(change: Callable[[SignedNote], SignedNote]) -> dict[str, bytes]:
    return MEMBERS | {"checkpoint": format_note(change(parse_note(MEMBERS["checkpoint"])))}


def test_a_foreign_cosignature_is_refused_and_a_missing_one_is_less_than_demanded() -> None:
    stranger = Signer.make("stranger.example", kind=4)

    def add(note: SignedNote) -> SignedNote:
        return SignedNote(
            note.text, (*note.signatures, cosign_note(note.text, stranger.key, stranger.sign, time_s=1))
        )

    def drop(note: SignedNote) -> SignedNote:
        return SignedNote(note.text, note.signatures[:-1])

    assert check(with_lines(add)).exit_code is Exit.SIGNATURE
    verdict = check(with_lines(drop))
    assert (verdict.exit_code, reasons(verdict)) == (Exit.DEMAND, ["demand.quorum"])


def test_without_witnesses_the_verdict_says_so() -> None:
    log = TestLog(witnesses=())
    log.append(job_stream())
    verdict = check(job_members(log), parse_trust(log.trust()))
    assert verdict.holds
    assert states(verdict)["witness"] == "absent"
    assert "unwitnessed" in verdict.not_proven


def test_a_checkpoint_of_another_size_or_root() -> None:
    other = LOG.checkpoint(24)
    assert check(MEMBERS | {"checkpoint": other}).exit_code is Exit.INCLUSION


def test_a_record_that_is_not_in_the_log() -> None:
    bodies = job_stream()
    bodies[1]["rules"] = ["P9-other"]
    verdict = check(MEMBERS | {"records/000001.json": encode(bodies[1])})
    assert (verdict.exit_code, reasons(verdict)) == (Exit.INCLUSION, ["inclusion.root"])


def test_another_tenants_record_is_refused() -> None:
    log = TestLog()
    log.append([record_body("theirs", 0), record_body("s", 1)])
    mine, theirs = log.members("s"), log.members("theirs")
    verdict = check(mine | {"records/000000.json": theirs["records/000000.json"]}, parse_trust(log.trust()))
    assert (verdict.exit_code, reasons(verdict)) == (Exit.MALFORMED, ["bundle.foreign_record"])


def test_consistency_with_a_head_seen_before() -> None:
    seen = parse_trust(LOG.trust(seen_size=7, demand={"consistency": True}))
    assert check(job_members(LOG, seen_size=7), seen).holds
    assert check(job_members(LOG, seen_size=8), seen).exit_code is Exit.CONSISTENCY
    assert check(MEMBERS, seen).exit_code is Exit.DEMAND
    assert check(MEMBERS, parse_trust(LOG.trust(seen_size=25, demand={"consistency": True}))).holds
    verdict = check(MEMBERS, parse_trust(LOG.trust(seen_size=7)))
    assert verdict.holds
    assert states(verdict)["consistency"] == "note"


def test_a_log_that_was_rewritten_after_it_was_seen() -> None:
    rewritten = TestLog()
    rewritten.append_noise(9)
    rewritten.append([record_body("other", 0)])
    seen = rewritten.trust(seen_size=10)
    assert check(job_members(LOG, seen_size=10), parse_trust(seen)).exit_code is Exit.CONSISTENCY


def test_a_consistency_proof_that_nobody_can_check_is_refused() -> None:
    members = job_members(LOG, seen_size=8)
    assert check(members).exit_code is Exit.CONSISTENCY
    assert check(members, None).exit_code is Exit.CONSISTENCY


def test_an_open_stream_holds_unless_closed_is_demanded() -> None:
    log = job_log(close=False)
    open_members = job_members(log)
    verdict = check(open_members, parse_trust(log.trust()))
    assert verdict.holds
    assert [line.code for line in verdict.lines if line.part == "completeness"] == ["completeness.open"]
    demanded = check(open_members, parse_trust(log.trust(demand={"closed": True})))
    assert (demanded.exit_code, reasons(demanded)) == (Exit.DEMAND, ["demand.closed"])
    assert check(MEMBERS, parse_trust(LOG.trust(demand={"closed": True}))).holds


CLOSE: Body = {"action": "ledger.stream.close", "actor": "system"}


@pytest.mark.parametrize(
    ("bodies", "reason"),
    [
        ([record_body("s", 0), record_body("s", 1, **CLOSE, detail={"count": 3})], "completeness.count"),
        ([record_body("s", 0), record_body("s", 1, **CLOSE, detail={"count": True})], "completeness.count"),
        ([record_body("s", 0), record_body("s", 1, **CLOSE)], "completeness.count"),
        (
            [
                record_body("s", 0),
                record_body("s", 1, **CLOSE, outcome="failed", effects=[], detail={"count": 2}),
            ],
            "completeness.count",
        ),
        (
            [record_body("s", 0, **CLOSE, detail={"count": 1}), record_body("s", 1)],
            "completeness.after_close",
        ),
    ],
)
def test_a_stream_closed_wrongly(bodies: list[Body], reason: str) -> None:
    verdict = stream_verdict(*bodies)
    assert (verdict.exit_code, reasons(verdict)) == (Exit.COMPLETENESS, [reason])


def test_a_record_left_out() -> None:
    """Whoever exports leaves out the third record and renumbers the members; the log tells."""
    log = TestLog()
    log.append([record_body("s", number) for number in range(5)])
    whole = list(log.records)
    for left_out in range(5):
        log.records = whole[:left_out] + whole[left_out + 1 :]
        verdict = check(log.members("s"), parse_trust(log.trust()))
        if left_out == 4:
            assert verdict.holds
        else:
            assert (verdict.exit_code, reasons(verdict)) == (Exit.COMPLETENESS, ["completeness.gap"])


def test_records_out_of_log_order() -> None:
    """A log that gave a later record an earlier index: numbers without a gap, yet in the wrong order."""
    log = TestLog()
    log.append([record_body("s", 0), record_body("s", 1)])
    (_, _, first), (_, _, second) = log.records
    swapped = TestLog()
    for number, data in ((1, second), (0, first)):
        swapped.records.append((len(swapped.leaves), number, data))
        swapped.leaves.append(parse_record(data).leaf_hash(number))
    swapped.records.reverse()
    verdict = check(swapped.members("s"), parse_trust(swapped.trust()))
    assert (verdict.exit_code, reasons(verdict)) == (Exit.COMPLETENESS, ["completeness.order"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"decision": "deny", "effects": []}, "decision.denied_done"),
        ({"decision": "deny", "outcome": "denied"}, "decision.denied_effect"),
        ({"outcome": "failed"}, "decision.denied_effect"),
        ({"detail": placed(decision="deny", rules=["C01"])}, "decision.denied_site"),
    ],
)
def test_something_done_against_a_decision(changes: Body, reason: str) -> None:
    verdict = stream_verdict(record_body("s", 0, **changes))
    assert verdict.exit_code is Exit.DECISION
    assert reason in reasons(verdict)


def test_denials_and_failures_without_effect_hold() -> None:
    denied = record_body("s", 0, decision="deny", outcome="denied", effects=[], rules=["C01-residency"])
    failed = record_body("s", 1, outcome="failed", effects=[])
    verdict = stream_verdict(denied, failed)
    assert verdict.holds
    assert {line.code for line in verdict.lines if line.part == "decision"} == {
        "decision.deny",
        "decision.allow",
    }


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ([placed(), {"place": {"site": "b", "country": "JP"}}], "place.not_chosen"),
        ([placed(), {"place": {"site": "a", "country": "US"}}], "place.not_chosen"),
        ([{"residency": ["JP"]}, {"place": {"site": "b", "country": "US"}}], "place.residency"),
        ([{"residency": ["JP", "US"]}, {"residency": ["JP"]}, placed(country="US")], "place.residency"),
        ([{"residency": []}, placed()], "place.residency"),
        ([{"residency": ["JP"]}, placed(country="")], "place.residency"),
    ],
)
def test_a_place_that_contradicts_the_records(details: list[Body], reason: str) -> None:
    verdict = stream_verdict(
        *(record_body("s", number, detail=detail) for number, detail in enumerate(details))
    )
    assert (verdict.exit_code, set(reasons(verdict))) == (Exit.PLACE, {reason})


def test_a_site_of_no_known_country_is_said_to_be_so() -> None:
    verdict = stream_verdict(record_body("s", 0, detail=placed(country="", name="Nowhere")))
    assert verdict.holds
    assert "Nowhere (unknown): chosen" in render(verdict, "en")
    assert "Nowhere、不明" in render(verdict, "ja")


def test_no_place_is_absent() -> None:
    verdict = stream_verdict(record_body("s", 0))
    assert verdict.holds
    assert [states(verdict)[part] for part in ("place", "wall", "messages")] == ["absent"] * 3


OPEN = {**ROUTES_CLOSED, "dns": "open"}


@pytest.mark.parametrize(
    ("level", "detail", "reason"),
    [
        (2, {"canaries": OPEN}, "egress.open"),
        (5, {"canaries": OPEN, "reason": "finished"}, "egress.open"),
        (-1, {"canaries": OPEN}, "egress.open"),
        (2, agent_message(1, {"kind": "started", "canaries": OPEN}), "egress.open"),
        (
            2,
            {
                "reason": "wall.canary_open",
                **agent_message(1, {"kind": "ended", "reason": "done", "canaries": OPEN}),
            },
            "egress.open",
        ),
        (
            0,
            {"canaries": ROUTES_CLOSED, **agent_message(1, {"kind": "started", "canaries": OPEN})},
            "egress.differs",
        ),
        (0, agent_message(1, {"kind": "started", "canaries": {"dns": "ajar"}}), "record.detail"),
    ],
)
def test_an_attempt_that_ran_with_an_open_wall(level: int, detail: Body, reason: str) -> None:
    first = record_body("s", 0, detail={} if level < 0 else {"level": level})
    verdict = stream_verdict(first, record_body("s", 1, actor="system", detail=detail))
    assert reasons(verdict) == [reason]
    assert verdict.exit_code is (Exit.MALFORMED if reason == "record.detail" else Exit.EGRESS)


@pytest.mark.parametrize(
    ("level", "detail"),
    [
        (1, {"canaries": OPEN}),
        (2, {"canaries": OPEN, "reason": "wall.canary_open"}),
        (2, {"canaries": {**ROUTES_CLOSED, "raw": "unproven"}}),
        (2, {"canaries": {"udp": "closed"}}),
        (2, agent_message(1, {"kind": "ended", "reason": "wall.canary_open", "canaries": OPEN})),
    ],
)
def test_a_wall_that_is_not_wholly_closed_is_said(level: int, detail: Body) -> None:
    verdict = stream_verdict(record_body("s", 0, detail={"level": level}), record_body("s", 1, detail=detail))
    assert verdict.holds
    assert [line.code for line in verdict.lines if line.part == "wall"] == ["wall.partly"]


def test_an_empty_report_is_no_report() -> None:
    ended: Body = {"kind": "ended", "reason": "finished", "canaries": {}}
    silent: list[Body] = [agent_message(1, ended), {"canaries": {}}]
    for detail in silent:
        verdict = stream_verdict(record_body("s", 0, actor="system", detail=detail))
        assert verdict.holds
        assert states(verdict)["wall"] == "absent"


def test_each_report_of_the_wall_is_printed_once() -> None:
    partly = {**ROUTES_CLOSED, "raw": "unproven"}
    details: list[Body] = [{"canaries": results} for results in (ROUTES_CLOSED, partly, ROUTES_CLOSED)]
    verdict = stream_verdict(
        *(record_body("s", number, detail=detail) for number, detail in enumerate(details))
    )
    assert [line.code for line in verdict.lines if line.part == "wall"] == ["wall.closed", "wall.partly"]


def agent_record(number: int, **options: object) -> Body:
    changes: Body = {"actor": AGENT_ID, "detail": agent_message(number, {"kind": "progress"})}
    return record_body("s", number, **(changes | options))


FORGED = agent_message(1, {"kind": "progress"})
FORGED["agent_key"] = agent_message(1, {"kind": "progress"}, signer=Signer.make("forger"))["agent_key"]


@pytest.mark.parametrize(
    ("bodies", "reason"),
    [
        ([agent_record(0, detail=FORGED)], "signature.invalid"),
        ([agent_record(0, actor=make_id("agt", 8))], "sealed.other_agent"),
        (
            [
                agent_record(
                    0, detail={"attempt": make_id("att", 2), **agent_message(0, {"kind": "progress"})}
                )
            ],
            "sealed.other_attempt",
        ),
        (
            [agent_record(0), agent_record(1, detail=agent_message(0, {"kind": "ended"}))],
            "sealed.number_twice",
        ),
    ],
)
def test_an_agents_message_that_cannot_be(bodies: list[Body], reason: str) -> None:
    verdict = stream_verdict(*bodies)
    assert (verdict.exit_code, reasons(verdict)) == (Exit.SIGNATURE, [reason])


def test_a_sealed_object_that_is_no_agent_message() -> None:
    verdict = stream_verdict(agent_record(0, detail=agent_message(0, {"kind": "progress"}, lane=5)))
    assert (verdict.exit_code, reasons(verdict)) == (Exit.MALFORMED, ["sealed.fields"])


def test_one_message_may_cause_two_records() -> None:
    same = agent_message(4, {"kind": "ended"})
    assert stream_verdict(agent_record(0, detail=same), agent_record(1, detail=same)).holds


@pytest.mark.parametrize(
    ("level", "bar", "holds"), [(2, 1, False), (1, 1, True), (None, 4, False), (None, 5, True), (5, 5, True)]
)
def test_a_measured_place_demanded(level: int | None, bar: int, *, holds: bool) -> None:
    detail: Body = placed() if level is None else {"level": level, **placed()}
    verdict = stream_verdict(record_body("s", 0, detail=detail), demand={"max_level_without_place": bar})
    assert verdict.holds == holds
    assert reasons(verdict) == ([] if holds else ["demand.place"])


def test_the_first_failing_kind_decides_and_every_failure_is_printed() -> None:
    log = TestLog()
    log.append([record_body("s", 0, decision="deny"), record_body("s", 1, detail=placed(decision="deny"))])
    members = log.members("s", facts=[facts()])
    name = next(name for name in members if name.startswith("facts/"))
    verdict = check(members | {name: facts(9)}, parse_trust(log.trust(demand={"closed": True})))
    failing = {line.exit_code for line in verdict.lines if line.exit_code}
    assert failing == {Exit.DIGEST, Exit.DECISION, Exit.DEMAND}
    assert verdict.exit_code is Exit.DIGEST


def test_two_charters_over_one_stream() -> None:
    log = TestLog()
    log.append([record_body("s", 0), record_body("s", 1, charter=digest(charter(2)))])
    assert check(log.members("s", charters=[charter(), charter(2)]), parse_trust(log.trust())).holds


def test_a_key_rotated_while_both_sign() -> None:
    newer = Signer.make(LOG.origin, seed="newer")

    def add(note: SignedNote) -> SignedNote:
        return SignedNote(note.text, (sign_note(note.text, newer.key, newer.sign), *note.signatures))

    old = parse_trust(LOG.trust())
    both = Trust(old.origin, (*old.keys, newer.key), old.witnesses)
    assert check(with_lines(add), both).holds
    assert check(with_lines(add), old).exit_code is Exit.SIGNATURE
