"""Egress reports and listeners' observations in a bundle: what is said of them, and what makes the bundle fail."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_verify import parse_trust, verify_bundle, write_bundle
from sekisho_verify.canonical import digest, encode, from_base64url, to_base64url
from sekisho_verify.errors import Exit, VerifyError
from sekisho_verify.lines import Line
from sekisho_verify.observation import (
    PROTOCOLS,
    REPORT_BYTES_MAX,
    Observation,
    read_canaries_file,
    read_observation,
    write_canaries,
    write_observation,
)
from sekisho_verify.sealed import seal
from tests.verify.builders import (
    AGENT,
    ROUTES_CLOSED,
    START,
    Signer,
    TestLog,
    agent_message,
    make_id,
    record_body,
)

LISTENER = Signer.make("listener.example/one")
STRANGER = Signer.make("listener.example/one", seed="another")
ATTEMPT = make_id("att", 1)
BEGUN_MS = round(START.timestamp() * 1000)
REACHED = {
    "destination": "data.example.jp:443",
    "connections": 2,
    "sent_bytes": 300,
    "received_bytes": 4000,
    "addresses": ["203.0.113.7"],
}
REPORT: dict[str, Any] = {
    "mechanism": "network namespace + proxy",
    "reached": [REACHED],
    "refused": [{"destination": "x.example:443", "reason": "not_listed", "count": 3}],
    "refused_count": 3,
}
NOTHING: dict[str, Any] = {"mechanism": "network namespace", "reached": [], "refused": [], "refused_count": 0}
OBSERVED = Observation(
    "listener.example/one",
    LISTENER.key.public,
    AGENT.key.public,
    ATTEMPT,
    1,
    BEGUN_MS - 1000,
    BEGUN_MS + 60_000,
    frozenset(PROTOCOLS),
    frozenset(),
)


def seen(signer: Signer = LISTENER, **changes: Any) -> bytes:
    return write_observation(OBSERVED._replace(key=signer.key.public)._replace(**changes), signer.sign)


def file(**changes: Any) -> bytes:
    return encode({"v": 1, "attempt": ATTEMPT, "canaries": ROUTES_CLOSED, "egress": REPORT} | changes)


def verdict(
    *,
    egress: bytes | None = None,
    canaries: bytes | None = None,
    said: Any = REPORT,
    level: int = 2,
    message: bool = True,
    trusted: bool = True,
    kept: bool = True,
    reason: str = "finished",
    more: dict[str, Any] | None = None,
    **demand: Any,
) -> tuple[Exit, list[Line]]:
    """The exit and the lines about egress of a bundle whose last record names these files."""
    files = {name: data for name, data in (("egress.json", egress), ("canaries.json", canaries)) if data}
    ended = {"kind": "ended", "reason": reason, "canaries": ROUTES_CLOSED, "egress": said}
    detail = {"level": level, "files": {name: digest(data) for name, data in files.items()}}
    time = time_text(START + timedelta(seconds=65))
    detail |= agent_message(2, ended | {"seconds": 60, **(more or {})}, time=time) if message else {}
    log = TestLog()
    before = agent_message(1, {"kind": "started"})
    actor = make_id("agt", 7)
    log.append(
        [record_body("s", 0, actor=actor, detail=before), record_body("s", 1, actor=actor, detail=detail)]
    )
    bundle = write_bundle(log.members("s", files=list(files.values()) if kept else []))
    trust = json.loads(log.trust(demand=demand))
    if trusted:
        key = to_base64url(LISTENER.key.public)
        trust["listeners"] = [{"name": "listener.example/one", "key": key}]
    found = verify_bundle(bundle, parse_trust(json.dumps(trust).encode()))
    return found.exit_code, [line for line in found.lines if line.part == "egress"]


@given(opened=st.integers(0, 50), closed=st.integers(0, 50), start=st.integers(0, 50), run=st.integers(0, 50))
def test_a_watch_covers_a_run_only_if_it_holds_every_moment_of_it(
    opened: int, closed: int, start: int, run: int
) -> None:
    watch = OBSERVED._replace(opened_ms=opened, closed_ms=closed)
    moments = range(start, start + run + 1)
    assert watch.covers(start, start + run, skew_ms=0) == all(opened <= each <= closed for each in moments)
    assert watch.covers(opened + 7, closed - 7, skew_ms=0)
    assert watch.covers(opened - 7, closed + 7, skew_ms=7)
    assert not watch.covers(opened - 8, closed, skew_ms=7)
    assert not watch.covers(opened, closed + 8, skew_ms=7)


def test_a_report_is_printed_at_the_sites_word() -> None:
    code, (line,) = verdict(egress=file())
    assert (code, line.code, line.grade, line.state) == (Exit.HOLDS, "egress.listed", "D", "note")
    assert line.fields == {
        "mechanism": "network namespace + proxy",
        "destinations": "data.example.jp:443",
        "connections": 2,
        "sent": 300,
        "received": 4000,
        "refused": 3,
    }


def test_nothing_let_out_and_nothing_held_back_are_told_apart() -> None:
    assert verdict(egress=file(egress=NOTHING), said=NOTHING)[1][0].code == "egress.none"
    opened = NOTHING | {"mechanism": "open"}
    assert verdict(egress=file(egress=opened), said=opened)[1][0].code == "egress.open"


def time_text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_a_bundle_without_either_says_nothing_of_them() -> None:
    assert verdict() == (Exit.HOLDS, [])


def test_a_file_that_is_not_there_is_absent() -> None:
    code, (line,) = verdict(egress=file(), kept=False)
    assert (code, line.code, line.fields) == (Exit.COMPLETENESS, "egress.missing", {"name": "egress.json"})


@pytest.mark.parametrize(
    ("changes", "exit_code"),
    [
        ({"egress": file(egress=REPORT | {"refused_count": 4})}, Exit.EGRESS),
        ({"egress": file(attempt=make_id("att", 2))}, Exit.EGRESS),
        ({"egress": file(canaries=ROUTES_CLOSED | {"raw": "unproven"})}, Exit.EGRESS),
        ({"egress": file(canaries=ROUTES_CLOSED | {"raw": "shut"})}, Exit.MALFORMED),
        ({"egress": file(more=1)}, Exit.MALFORMED),
        ({"egress": file(v=2)}, Exit.MALFORMED),
        ({"egress": file(v=True)}, Exit.MALFORMED),
        ({"egress": b"{"}, Exit.MALFORMED),
        ({"egress": file(egress=[]), "said": []}, Exit.MALFORMED),
        ({"egress": file(egress={"mechanism": "x"}), "said": {"mechanism": "x"}}, Exit.MALFORMED),
        ({"egress": file(), "message": False}, Exit.EGRESS),
        ({"canaries": write_canaries([seen(attempt=make_id("att", 2))])}, Exit.EGRESS),
        ({"canaries": write_canaries([seen(agent=LISTENER.key.public)])}, Exit.EGRESS),
        ({"canaries": write_canaries([seen(inside=frozenset({"udp"}))])}, Exit.EGRESS),
        ({"canaries": write_canaries([seen(inside=frozenset({"udp"}))]), "level": -1}, Exit.EGRESS),
        ({"canaries": write_canaries([seen(STRANGER, inside=frozenset({"udp"}))])}, Exit.EGRESS),
        ({"canaries": write_canaries([seen()]), "message": False}, Exit.EGRESS),
        ({"canaries": encode({"v": 1, "reports": []})}, Exit.MALFORMED),
        ({"canaries": encode({"v": 1, "reports": [1]})}, Exit.MALFORMED),
        ({"canaries": encode({"v": 2, "reports": [to_base64url(seen())]})}, Exit.MALFORMED),
        ({"canaries": encode({"v": True, "reports": [to_base64url(seen())]})}, Exit.MALFORMED),
        ({"canaries": encode({"reports": [to_base64url(seen())]})}, Exit.MALFORMED),
        ({"canaries": encode({"v": 1, "reports": to_base64url(seen())})}, Exit.MALFORMED),
    ],
)
def test_what_contradicts_itself_fails(changes: dict[str, Any], exit_code: Exit) -> None:
    code, lines = verdict(**changes)
    assert code == exit_code
    assert "failed" in [line.state for line in lines]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mechanism", 1),
        ("reached", {}),
        ("reached", [1]),
        ("reached", [REACHED | {"destination": 1}]),
        ("reached", [REACHED | {"more": 1}]),
        ("reached", [REACHED | {"connections": -1}]),
        ("reached", [REACHED | {"sent_bytes": "1"}]),
        ("refused_count", True),
    ],
)
def test_a_report_of_the_wrong_shape_is_refused(field: str, value: object) -> None:
    report = REPORT | {field: value}
    assert verdict(egress=file(egress=report), said=report)[0] == Exit.MALFORMED


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({"token": 2}, False),
        ({"opened_ms": BEGUN_MS + 30_000}, True),
        ({"opened_ms": BEGUN_MS + 30_001}, False),
        ({"closed_ms": BEGUN_MS + 30_000}, True),
        ({"closed_ms": BEGUN_MS + 29_999}, False),
    ],
)
def test_a_report_is_of_this_token_and_of_all_the_time_that_the_attempt_ran(
    changes: dict[str, Any], holds: bool
) -> None:
    code, (line,) = verdict(canaries=write_canaries([seen(**changes)]))
    assert code is (Exit.HOLDS if holds else Exit.EGRESS)
    if not holds:
        assert line.fields["reason"] == ("observed.foreign" if "token" in changes else "observed.time")


def test_without_word_of_its_length_a_run_ends_with_the_last_message() -> None:
    for more in ({"seconds": 0}, {"seconds": "60"}):
        early = write_canaries([seen(closed_ms=BEGUN_MS + 34_999)])
        assert verdict(canaries=early, more=more)[0] is Exit.EGRESS
        late = write_canaries([seen(closed_ms=BEGUN_MS + 35_000)])
        assert verdict(canaries=late, more=more)[0] is Exit.HOLDS


def test_a_report_that_the_agents_message_holds_cannot_be_left_out() -> None:
    """The control plane may refuse what is of something else; what is of this attempt is evidence."""
    heard = seen(inside=frozenset({"tcp"}))
    mine, held = to_base64url(heard), {"observed": [to_base64url(heard)]}
    code, (line,) = verdict(more=held)
    assert (code, line.fields["reason"]) == (Exit.EGRESS, "observed.left_out")
    code, lines = verdict(canaries=write_canaries([seen()]), more=held)
    assert (code, lines[-1].fields["reason"]) == (Exit.EGRESS, "observed.left_out")
    assert verdict(more=held, level=1) == (Exit.HOLDS, [])
    assert (
        verdict(canaries=write_canaries([seen()]), more={"observed": [to_base64url(seen())]})[0] is Exit.HOLDS
    )
    for other in (
        [to_base64url(seen(token=9))],
        [mine[:-4]],
        [1],
        "x",
        [to_base64url(seen(closed_ms=BEGUN_MS))],
    ):
        assert verdict(more={"observed": other}) == (Exit.HOLDS, [])


def test_an_observed_wall_can_be_demanded_of_every_attempt() -> None:
    good = write_canaries([seen()])
    bar = {"max_level_without_observation": 1}
    assert verdict(canaries=good, **bar)[0] is Exit.HOLDS
    assert verdict(canaries=good, trusted=False, **bar)[0] is Exit.DEMAND
    code, (line,) = verdict(**bar)
    assert (code, line.code, line.fields["attempt"]) == (Exit.DEMAND, "observed.none", ATTEMPT)
    another = verdict(canaries=write_canaries([seen(attempt=make_id("att", 2))]), more={}, **bar)
    assert another[0] is Exit.EGRESS


def test_once_one_attempt_was_observed_the_others_are_named() -> None:
    log, data, actor = TestLog(), write_canaries([seen()]), make_id("agt", 7)
    time = time_text(START + timedelta(seconds=65))
    ended = agent_message(2, {"kind": "ended", "reason": "finished", "seconds": 60}, time=time)
    other = agent_message(3, {"kind": "started"}, attempt=make_id("att", 2))
    details = [
        agent_message(1, {"kind": "started"}) | {"level": 2},
        ended | {"files": {"canaries.json": digest(data)}},
        other,
        agent_message(4, {"kind": "ended", "observed": [to_base64url(seen())]}, time="soon"),
    ]
    log.append(record_body("s", number, actor=actor, detail=each) for number, each in enumerate(details))
    lines = verify_bundle(write_bundle(log.members("s", files=[data]))).lines
    told = [(line.code, line.fields.get("attempt")) for line in lines if line.part == "egress"]
    assert told == [("observed.unknown", None), ("observed.none", make_id("att", 2))]


def test_a_last_message_without_a_time_bears_no_report() -> None:
    log, data, actor = TestLog(), write_canaries([seen()]), make_id("agt", 7)
    ended = agent_message(1, {"kind": "ended"}, time="soon") | {"files": {"canaries.json": digest(data)}}
    log.append([record_body("s", 0, actor=actor, detail=ended)])
    assert verify_bundle(write_bundle(log.members("s", files=[data]))).exit_code is Exit.MALFORMED


def test_what_a_known_listener_observed_is_measured() -> None:
    code, (line,) = verdict(canaries=write_canaries([seen()]))
    assert (code, line.code, line.state, line.grade) == (Exit.HOLDS, "observed.closed", "ok", "M")
    assert line.fields == {"listener": "listener.example/one", "alive": "tcp, udp, dns"}


def test_a_listener_that_nothing_reached_proves_nothing() -> None:
    some, (line,) = verdict(canaries=write_canaries([seen(outside=frozenset({"tcp"}))]))
    assert (some, line.code, line.grade, line.state) == (Exit.HOLDS, "observed.unproven", "M", "note")
    assert line.fields["unproven"] == "udp, dns"
    _, (line,) = verdict(canaries=write_canaries([seen(outside=frozenset())]))
    assert line.fields == {"listener": "listener.example/one", "alive": "-", "unproven": "tcp, udp, dns"}


@pytest.mark.parametrize("trusted", [True, False])
def test_a_key_that_the_auditor_does_not_know_shows_nothing(trusted: bool) -> None:
    signer = STRANGER if trusted else LISTENER
    code, (line,) = verdict(canaries=write_canaries([seen(signer)]), trusted=trusted)
    assert (code, line.code, line.grade, line.state) == (Exit.HOLDS, "observed.unknown", "D", "note")
    assert line.fields["key"] == to_base64url(signer.key.public)


@pytest.mark.parametrize(("level", "reason"), [(1, "finished"), (2, "wall.canary_open")])
def test_a_way_out_is_told_where_nothing_was_at_stake_or_it_was_stopped(level: int, reason: str) -> None:
    canaries = write_canaries([seen(inside=frozenset({"udp", "tcp"}))])
    code, (line,) = verdict(canaries=canaries, level=level, reason=reason)
    assert (code, line.code, line.fields["open"]) == (Exit.HOLDS, "observed.open", "tcp, udp")


def test_without_a_trust_file_no_listener_is_known() -> None:
    log = TestLog()
    data = write_canaries([seen()])
    detail = {"files": {"canaries.json": digest(data)}} | agent_message(
        2, {"kind": "ended", "reason": "finished"}
    )
    log.append(
        [record_body("s", 0), record_body("s", 1, actor=make_id("agt", 7), detail={"level": 1} | detail)]
    )
    lines = verify_bundle(write_bundle(log.members("s", files=[data]))).lines
    assert [line.code for line in lines if line.part == "egress"] == ["observed.unknown"]


def test_a_report_reads_as_written_and_any_flipped_bit_does_not() -> None:
    data = seen()
    assert read_observation(data) == OBSERVED
    assert read_canaries_file(write_canaries([data, data])) == [OBSERVED, OBSERVED]
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(VerifyError):
            read_observation(bytes(changed))


@given(data=st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(VerifyError):
        read_observation(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": True},
        {"kind": "another"},
        {"more": 1},
        {"listener": ""},
        {"listener": "a b"},
        {"listener": 1},
        {"attempt": "a" * 300},
        {"token": -1},
        {"token": True},
        {"token": "1"},
        {"opened_ms": BEGUN_MS + 60_001},
        {"agent": "AA"},
        {"agent": "!"},
        {"agent": 1},
        {"inside": ["tcp", "tcp"]},
        {"outside": ["udp", "tcp"]},
        {"outside": ["icmp"]},
        {"outside": "tcp"},
    ],
)
def test_a_report_signed_over_something_else_is_refused(changes: dict[str, object]) -> None:
    body: dict[str, object] = {
        "v": 1,
        "kind": "sekisho.listener.report",
        **OBSERVED._asdict(),
        "key": to_base64url(LISTENER.key.public),
        "agent": to_base64url(OBSERVED.agent),
        "outside": ["dns", "tcp", "udp"],
        "inside": [],
    }
    assert read_observation(seal(body, LISTENER.sign)) == OBSERVED
    with pytest.raises(VerifyError):
        read_observation(seal(body | changes, LISTENER.sign))


@pytest.mark.parametrize(
    "data", [b"x" * (REPORT_BYTES_MAX + 1), b"\n{}", b'\n{"key":"AA"}', b"", b'AA\n{"key":1}']
)
def test_a_report_without_a_key_of_its_own_is_refused(data: bytes) -> None:
    with pytest.raises(VerifyError):
        read_observation(data)


def test_a_file_has_at_most_eight_reports() -> None:
    with pytest.raises(VerifyError):
        read_canaries_file(write_canaries([seen()] * 9))
    assert from_base64url(to_base64url(seen())) == seen()
