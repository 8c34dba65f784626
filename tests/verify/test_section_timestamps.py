"""Time stamps in a bundle: over its own checkpoint, by an authority that the auditor trusts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256

import pytest

from sekisho_verify import Exit, Verdict, parse_trust, render, verify_bundle, write_bundle
from sekisho_verify.canonical import digest
from sekisho_verify.checkpoint import parse_note
from sekisho_verify.errors import TrustError
from sekisho_verify.lines import Line
from sekisho_verify.timestamp import Authority, make_request, read_response
from tests.support.stamping import StampAuthority
from tests.verify.builders import Body, TestLog, record_body

PAST = "2026-01-01T00:00:00.000Z"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> StampAuthority:
    return StampAuthority.make(tmp_path_factory.mktemp("tsa") / "a")


def log_of(time: str = PAST) -> TestLog:
    log = TestLog()
    log.append([record_body("s", 0, time=time)])
    return log


def stamp_of(authority: StampAuthority, log: TestLog) -> bytes:
    text = parse_note(log.checkpoint()).text
    return read_response(authority.answer(make_request(sha256(text.encode()).digest(), 7)))


def verdict(
    log: TestLog, tokens: Iterable[bytes], authorities: Iterable[Authority] = (), demand: Body | None = None
) -> Verdict:
    data = write_bundle(log.members("s", timestamps=tokens))
    return verify_bundle(data, parse_trust(log.trust(authorities=authorities, demand=demand)))


def lines(found: Verdict) -> list[Line]:
    return [line for line in found.lines if line.part == "timestamp"]


def test_a_stamp_is_shown_with_its_time_and_whose_it_is(authority: StampAuthority) -> None:
    log = log_of()
    found = verdict(log, [stamp_of(authority, log)], [authority.by_root], {"timestamp": True})
    assert found.holds
    (line,) = lines(found)
    assert (line.state, line.grade, line.by) == ("ok", "S", "stamps")
    assert "S stamps" in render(found, "en")
    assert "時刻証明" in render(found, "ja")


def test_without_a_trusted_authority_it_is_not_checked_and_meets_no_demand(authority: StampAuthority) -> None:
    log = log_of()
    token = stamp_of(authority, log)
    assert [line.code for line in lines(verdict(log, [token]))] == ["timestamp.unchecked"]
    assert verdict(log, [token], demand={"timestamp": True}).exit_code is Exit.DEMAND
    assert lines(verdict(log, [])) == []
    assert verdict(log, [], [authority.by_root], {"timestamp": True}).exit_code is Exit.DEMAND
    data = write_bundle(log.members("s", timestamps=[token]))
    assert verify_bundle(data, None).exit_code is Exit.UNTRUSTED


def test_a_stamp_of_another_checkpoint_or_by_a_stranger_fails(
    authority: StampAuthority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log, other = log_of(), log_of("2026-01-02T00:00:00.000Z")
    foreign = verdict(log, [stamp_of(authority, other)], [authority.by_root])
    assert (foreign.exit_code, lines(foreign)[0].fields["reason"]) == (Exit.SIGNATURE, "timestamp.other")
    stranger = StampAuthority.make(tmp_path_factory.mktemp("tsa") / "b")
    found = verdict(log, [stamp_of(authority, log)], [stranger.by_root])
    assert lines(found)[0].fields["reason"] == "timestamp.unknown_authority"
    junk = verdict(log, [b"junk"], [authority.by_root])
    assert junk.exit_code in {Exit.MALFORMED, Exit.SIGNATURE}


def test_a_record_newer_than_the_stamp_over_it_is_a_contradiction(authority: StampAuthority) -> None:
    log = log_of("2099-01-01T00:00:00.000Z")
    found = verdict(log, [stamp_of(authority, log)], [authority.by_root])
    assert lines(found)[0].fields["reason"] == "timestamp.before"


def test_no_bit_of_a_stamp_can_be_flipped(authority: StampAuthority) -> None:
    log = log_of()
    token = stamp_of(authority, log)
    members = log.members("s", timestamps=[token])
    trust = parse_trust(log.trust(authorities=[authority.by_root]))
    assert verify_bundle(write_bundle(members), trust).holds
    name = f"timestamps/{digest(token)[7:]}"
    for at in range(len(token)):
        changed = token[:at] + bytes([token[at] ^ 1 << at % 8]) + token[at + 1 :]
        assert not verify_bundle(write_bundle(members | {name: changed}), trust).holds, at


def test_stamps_are_bounded_and_named_by_their_digest() -> None:
    log = log_of()
    many = verdict(log, [b"%d" % number for number in range(17)])
    assert many.exit_code is Exit.MALFORMED
    odd = log.members("s") | {"timestamps/1": b"x"}
    assert verify_bundle(write_bundle(odd), None).exit_code is Exit.MALFORMED
    misnamed = log.members("s") | {"timestamps/" + "0" * 64: b"x"}
    assert verify_bundle(write_bundle(misnamed), parse_trust(log.trust())).exit_code is Exit.DIGEST


@pytest.mark.parametrize(
    "authorities",
    [
        [Authority("a", (b"x",))],
        [Authority("", (b"x",))],
        [Authority("a", ())],
        [Authority("a\x1b", (b"x",))],
        [Authority(f"{number}", (b"x",)) for number in range(17)],
    ],
)
def test_a_trust_file_with_a_wrong_authority_is_refused(authorities: list[Authority]) -> None:
    with pytest.raises(TrustError):
        parse_trust(log_of().trust(authorities=authorities))


@pytest.mark.parametrize("authorities", [5, [5], [{"name": "a"}], [{"name": 5, "certificates": ["AA"]}]])
def test_a_trust_file_with_another_shape_of_authorities_is_refused(authorities: object) -> None:
    body = json.loads(log_of().trust()) | {"authorities": authorities}
    with pytest.raises(TrustError):
        parse_trust(json.dumps(body).encode())


def test_an_authority_comes_once(authority: StampAuthority) -> None:
    with pytest.raises(TrustError) as caught:
        parse_trust(log_of().trust(authorities=[authority.by_root, authority.by_itself]))
    assert caught.value.code == "trust.authorities"
