"""T7, one bundle per job: all that the job rests on, checked with the network off, and no byte of it can change."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sekisho.ledger import ExportBundle, ReadBundle, ShowTrust
from sekisho.sites import AddAttestation, ChallengeSite
from sekisho_verify import Exit, Trust, Verdict, parse_trust, render, verify_bundle, write_bundle
from sekisho_verify.archive import read_archive
from sekisho_verify.attestation_file import verifier_document
from sekisho_verify.canonical import decode_object, digest, encode, from_base64url
from sekisho_verify.location_transcript import describe_landmark
from sekisho_wire import messages
from tests.compute.sealed_world import SealedWorld
from tests.compute.world import World, started
from tests.sites.verifiers import adding
from tests.verify import tokens
from tests.verify.attested import MACHINES
from tests.verify.builders import TestLog, make_id, record_body
from tests.verify.tokens import VERIFIERS

SHOWN = {
    "job": "ok",
    "charter": "ok",
    "digests": "ok",
    "checkpoint": "ok",
    "inclusion": "ok",
    "completeness": "ok",
    "messages": "ok",
    "attestation": "ok",
    "transcript": "ok",
    "key_release": "ok",
    "demand": "ok",
}
"""What this bundle has to show, whatever else it does."""


def attested(world: World) -> None:
    """The site's machine answers to a verifier, and its GPU for the same key."""
    for issuer in (tokens.AZURE, tokens.NVIDIA):
        world.perform(world.administrator, adding(issuer))
    keeper = world.account("keeper", world.home.site.operator, "site_operator")
    nonce = from_base64url(world.perform(keeper, ChallengeSite(site="ishikari")).nonce)
    now_s = world.clock.now_ms() // 1000
    times = {"iat": now_s, "nbf": now_s, "exp": now_s + 3600}
    token = tokens.AZURE.token(
        tokens.azure_tdx(tokens.bound(nonce)) | times, header={"jku": tokens.AZURE.verifier.jku}
    )
    device = tokens.gpu(nonce=nonce) | times
    gpu = tokens.gpu_bundle(device, eat_nonce=device["eat_nonce"], **times)
    world.perform(keeper, AddAttestation(site="ishikari", token=token, gpu=gpu))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Trust]:
    """The bundle of a job of level 2 that a proven and attested site has run, with a key it was given for it.

    And an auditor's trust file. Made once; nobody changes it.
    """
    folder = tmp_path_factory.mktemp("world")
    world = SealedWorld(folder, f"sqlite:{folder / 'x.db'}").begin()
    attested(world)
    job, order = world.staging()
    world.granted(order)
    world.home.say(order, messages.Staged(), started(), messages.Ended(reason="finished", exit_status=0))
    world.settle()
    export = world.perform(world.engineer, ExportBundle(job=job))
    world.seal_log()
    data = world.perform(world.engineer, ReadBundle(export=export.record)).content
    trust = msgspec.json.decode(world.perform(world.administrator, ShowTrust()).text) | {
        **MACHINES,
        "verifiers": [verifier_document(one) for one in VERIFIERS],
        "landmarks": [describe_landmark(known) for known in world.yard.known()],
        "demand": {"closed": True, "max_level_without_attestation": 1, "max_level_without_place": 1},
    }
    world.close()
    return data, parse_trust(msgspec.json.encode(trust))


def parts(verdict: Verdict) -> dict[str, str]:
    """Each part with the state of its first line."""
    found: dict[str, str] = {}
    for line in verdict.lines:
        found.setdefault(line.part, line.state)
    return found


def test_t07_one_file_shows_what_the_job_rests_on(made: tuple[bytes, Trust]) -> None:
    data, trust = made
    verdict = verify_bundle(data, trust)
    assert verdict.exit_code is Exit.HOLDS, render(verdict, "en")
    found = parts(verdict)
    assert {part: found[part] for part in SHOWN} == SHOWN
    assert found["operator_sessions"] == "absent", "a place for them, which says that none is recorded"
    members = read_archive(data)
    named = {name for record in members if record.startswith("records/") for name in _files(members[record])}
    assert named >= {"job.yaml", "attestation.json", "location.json", "territory.json", "key_release.json"}
    (charter,) = [one for one in verdict.lines if one.part == "charter"]
    (joined,) = [line for line in verdict.lines if line.code == "job.joined"]
    assert (joined.fields["level"], joined.fields["labels"], joined.fields["parts"]) == (2, "-", 3)
    assert int(charter.fields["made"]) >= 4, "submission, placement and reports were decided again"
    sites = {str(line.fields["name"]): line.code for line in verdict.lines if line.part == "site"}
    assert sites == {"ishikari": "site.chosen", "us-west": "site.denied"}
    (attestation,) = [line for line in verdict.lines if line.part == "attestation"]
    assert (attestation.grade, attestation.by) == ("A", "azure, nvidia")
    for language, words in (("en", ("made again here", "denied by")), ("ja", ("再判定し", "不許可、条項"))):
        text = render(verdict, language)
        assert all(word in text for word in words)


def _files(record: bytes) -> list[str]:
    detail = decode_object(record)["detail"]
    assert isinstance(detail, dict)
    return [*detail.get("files", {})]


def test_t07_no_byte_of_any_member_can_change(made: tuple[bytes, Trust]) -> None:
    """Every member at a spread of places, with the zip rebuilt around the change; nor can any be left out."""
    data, trust = made
    members = read_archive(data)
    for name, content in members.items():
        for at in {0, len(content) // 3, len(content) // 2, len(content) - 1}:
            changed = content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]
            assert not verify_bundle(write_bundle(members | {name: changed}), trust).holds, (name, at)
        rest = {key: value for key, value in members.items() if key != name}
        assert not verify_bundle(write_bundle(rest), trust).holds, name
    for extra in ("extra", "/etc/passwd", "../up", "files/" + "0" * 64, "operator/1.json"):
        assert verify_bundle(write_bundle(members | {extra: b"x"}), trust).exit_code is Exit.MALFORMED
    renamed = {name.replace("000000", "000099"): content for name, content in members.items()}
    assert verify_bundle(write_bundle(renamed), trust).exit_code is Exit.MALFORMED


def test_t07_what_is_demanded_and_missing_fails(made: tuple[bytes, Trust]) -> None:
    data, trust = made
    members = read_archive(data)
    kept = {name: content for name, content in members.items() if b"sekisho.attestation" not in content}
    assert len(kept) == len(members) - 1
    found = verify_bundle(write_bundle(kept), trust)
    assert found.exit_code is Exit.COMPLETENESS
    assert [line.code for line in found.lines if line.part == "attestation"] == ["attestation.missing"]
    assert [line.fields["reason"] for line in found.lines if line.part == "demand"] == ["demand.attestation"]


def test_t07_without_cedar_it_says_that_nothing_was_decided_again(
    made: tuple[bytes, Trust], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, trust = made
    monkeypatch.setattr("sekisho_verify.reevaluation.ENGINE", "no_such_engine")
    verdict = verify_bundle(data, trust)
    assert verdict.holds
    assert parts(verdict)["charter"] == "note"
    assert "not_reevaluated" in verdict.not_proven
    assert "cedarpy is not installed" in render(verdict, "en")


def test_t07_a_decision_that_its_facts_do_not_lead_to_is_found(made: tuple[bytes, Trust]) -> None:
    """A log that signed a yes where its own charter says no: every signature holds, and it is found all the same."""
    data, _ = made
    verdict = forged(read_archive(data))
    reasons: list[Any] = [line.fields.get("reason") for line in verdict.lines if line.part == "charter"]
    assert reasons == ["charter.other_decision"]
    assert verdict.exit_code is Exit.DECISION


def forged(members: dict[str, bytes]) -> Verdict:
    """A log of one's own whose only record allows, by real charter and facts, what they deny: who asks has no role."""
    records = [decode_object(members[name]) for name in sorted(members) if name.startswith("records/")]
    body: Any = next(one for one in records if one["action"] == "compute.job.submit")
    fact: Any = decode_object(members[f"facts/{body['facts'][7:]}.json"])
    fact["principal"]["attributes"]["roles"] = []
    changed = encode(fact)
    log = TestLog()
    log.append(
        [
            record_body(
                "s",
                0,
                **{name: body[name] for name in ("time", "rules", "charter", "action", "resource")},
                facts=digest(changed),
                actor=make_id("svc", 1),
            )
        ]
    )
    charter = members[f"charters/{body['charter'][7:]}.json"]
    made = log.members("s", charters=[charter], facts=[changed])
    return verify_bundle(write_bundle(made), parse_trust(log.trust()))
