"""Attestation in a bundle: judged again, by the auditor's verifiers, for the site and the time it was used for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from sekisho_verify import Exit, Verdict, parse_trust, render, verify_bundle, write_bundle
from sekisho_verify.attestation import Verifier
from sekisho_verify.attestation_file import FILE_NAME, AttestationFile, write_file
from sekisho_verify.canonical import digest
from sekisho_verify.lines import Line
from tests.verify import tokens
from tests.verify.attested import CHOSEN, FILE, MACHINES, stream_of, time_text
from tests.verify.builders import Body, TestLog, record_body
from tests.verify.tokens import NOW_S, QUESTION, VERIFIERS


def verdict(
    *files: AttestationFile | bytes,
    time_s: int = NOW_S + 60,
    kept: bool = True,
    detail: Body | None = None,
    demand: Body | None = None,
    verifiers: Iterable[Verifier] = VERIFIERS,
    machines: Body = MACHINES,
) -> Verdict:
    """The verdict on a stream whose records each name one file."""
    log = TestLog()
    data = stream_of(log, *files, time_s=time_s, detail=detail)
    trust = parse_trust(log.trust(verifiers=verifiers, demand=demand, more=machines))
    return verify_bundle(write_bundle(log.members("s", files=data if kept else [])), trust)


def lines(found: Verdict) -> list[Line]:
    return [line for line in found.lines if line.part == "attestation"]


def reason(found: Verdict) -> str:
    assert found.exit_code is Exit.ATTESTATION
    (line,) = lines(found)
    assert line.fields["where"] == f"records/000000.json files/{_shown(found)}"
    return str(line.fields["reason"])


def _shown(found: Verdict) -> str:
    assert found.bundle
    return next(iter(found.bundle.files))[7:19]


def test_attested_hardware_is_shown_by_whom_at_grade_a() -> None:
    found = verdict(FILE, FILE, demand={"max_level_without_attestation": 1})
    assert found.holds
    (line,) = lines(found)
    assert (line.state, line.grade, line.by) == ("ok", "A", "azure, nvidia")
    assert "attested_hands" in found.not_proven
    assert "gpu_unattested" not in found.not_proven
    for language, word in (("en", "tdx at site_1"), ("ja", "site_1のtdx")):
        text = render(found, language)
        assert word in text
        assert "GH100 A01 GSP BROM" in text
        assert "A azure, nvidia" in text


def test_without_gpus_it_says_that_none_answered() -> None:
    found = verdict(replace(FILE, gpu=""))
    assert found.holds
    assert "gpu_unattested" in found.not_proven


def test_a_software_stand_in_shouts_and_meets_no_demand() -> None:
    file = replace(FILE, token=tokens.token("software"))
    found = verdict(file)
    assert found.holds
    (line,) = lines(found)
    assert (line.state, line.grade, line.code) == ("note", "D", "attestation.software")
    assert "no_hardware" in found.not_proven
    assert "NO HARDWARE" in render(found, "en")
    assert "ハードウェアではありません" in render(found, "ja")
    assert verdict(file, demand={"max_level_without_attestation": 1}).exit_code is Exit.DEMAND


@pytest.mark.parametrize("machines", [{}, {"measurements": []}, {"measurements": ["0" * 64, "f" * 96]}])
def test_hardware_that_measured_something_else_shows_what_and_counts_for_nothing(machines: Body) -> None:
    found = verdict(FILE, machines=machines)
    assert found.holds
    (line,) = lines(found)
    assert (line.state, line.grade, line.code) == ("note", "D", "attestation.unmeasured")
    assert "unmeasured" in found.not_proven
    assert line.fields["measurement"] == tokens.MEASURED
    demanded = verdict(FILE, machines=machines, demand={"max_level_without_attestation": 1})
    assert demanded.exit_code is Exit.DEMAND


def test_hardware_at_one_site_says_nothing_of_another() -> None:
    """Every site that was chosen has to show its own; what would be shown without the demand stays shown."""
    log = TestLog()
    data = write_file(FILE)
    other = CHOSEN | {"site": "site_2"}
    named: Body = {"level": 2, "sites": [CHOSEN], "files": {FILE_NAME: digest(data)}}
    log.append(
        record_body("s", number, time=time_text(NOW_S + 60), detail=detail)
        for number, detail in enumerate([named, {"level": 2, "sites": [other]}])
    )
    members = write_bundle(log.members("s", files=[data]))
    demand: Body = {"max_level_without_attestation": 1}
    trust = parse_trust(log.trust(verifiers=VERIFIERS, more=MACHINES))
    assert verify_bundle(members, trust).holds
    trust = parse_trust(log.trust(verifiers=VERIFIERS, more=MACHINES, demand=demand))
    assert verify_bundle(members, trust).exit_code is Exit.DEMAND


def test_by_the_bundle_s_own_keys_it_is_a_declaration() -> None:
    found = verdict(FILE, verifiers=())
    assert found.holds
    (line,) = lines(found)
    assert (line.state, line.grade, line.code) == ("note", "D", "attestation.own_keys")
    demanded = verdict(FILE, verifiers=(), demand={"max_level_without_attestation": 1})
    assert demanded.exit_code is Exit.DEMAND
    assert verify_bundle(write_bundle({}), None).exit_code is Exit.MALFORMED


def test_keys_that_the_auditor_does_not_know_count_for_nothing() -> None:
    other = tokens.Issuer.make("azure", "RS256", jku=tokens.AZURE.verifier.jku, number=1).verifier
    assert reason(verdict(replace(FILE, gpu=""), verifiers=[other])) == "attestation.signature"
    assert reason(verdict(FILE, verifiers=VERIFIERS[1:])) == "attestation.unknown_verifier"


@pytest.mark.parametrize(
    ("file", "time_s", "detail", "expected"),
    [
        (replace(FILE, site="site_2"), NOW_S, {}, "attestation.other_site"),
        (FILE, NOW_S, {"sites": [], "place": {"site": "site_2", "country": "JP"}}, "attestation.other_site"),
        (FILE, NOW_S + 3600, {}, "attestation.when"),
        (FILE, NOW_S - 1, {}, "attestation.when"),
        (replace(FILE, question=replace(QUESTION, asked_ms=NOW_S * 1000 + 1)), NOW_S, {}, "attestation.when"),
        (replace(FILE, question=replace(QUESTION, nonce=bytes(32))), NOW_S, {}, "attestation.nonce"),
        (replace(FILE, token=tokens.token(dbgstat="enabled")), NOW_S, {}, "attestation.debug"),
        (replace(FILE, token="x"), NOW_S, {}, "attestation.shape"),
        (b"{}", NOW_S, {}, "attestation.file"),
        (b"x", NOW_S, {}, "canonical.json"),
    ],
)
def test_what_does_not_hold_fails(
    file: AttestationFile | bytes, time_s: int, detail: Body, expected: str
) -> None:
    found = verdict(file, time_s=time_s, detail=detail)
    (line,) = lines(found)
    assert line.fields["reason"] == expected
    assert not found.holds
    assert "機器の証明" in render(found, "ja")


def test_a_record_that_chose_no_site_may_name_any() -> None:
    assert verdict(FILE, detail={"sites": []}).holds


def test_a_file_that_is_only_named_is_absent_and_meets_no_demand() -> None:
    found = verdict(FILE, kept=False)
    assert [line.code for line in lines(found)] == ["attestation.missing"]
    assert found.exit_code is Exit.COMPLETENESS
    demanded = verdict(FILE, kept=False, demand={"max_level_without_attestation": 1})
    assert [line.fields["reason"] for line in demanded.lines if line.part == "demand"] == [
        "demand.attestation"
    ]


def test_no_bit_of_it_can_be_flipped() -> None:
    """In place under its old name the digest fails; under its own name the record does not name it."""
    log = TestLog()
    data = write_file(FILE)
    log.append([record_body("s", 0, time=time_text(NOW_S), detail={"files": {FILE_NAME: digest(data)}})])
    members, trust = log.members("s", files=[data]), parse_trust(log.trust(verifiers=VERIFIERS))
    name = f"files/{digest(data)[7:]}"
    for at in range(0, len(data), 97):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        assert not verify_bundle(write_bundle(members | {name: changed}), trust).holds
        renamed = {key: value for key, value in members.items() if key != name}
        renamed[f"files/{digest(changed)[7:]}"] = changed
        assert verify_bundle(write_bundle(renamed), trust).exit_code is Exit.MALFORMED
