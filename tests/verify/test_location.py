"""The verdict on a place: who counts, who does not and why, and what is never concluded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sekisho_verify import canonical
from sekisho_verify.location import KM_PER_NS, NOT_SHOWN, Claim, LocationError, Policy, bound_km, judge
from sekisho_verify.location_packets import Round, read_hello, statement
from sekisho_verify.location_sphere import distance_km
from sekisho_verify.location_text import (
    NOT_PROVEN,
    REASONS,
    SENTENCES,
    SUMMARIES,
    document,
    geographic_results,
    render,
)
from sekisho_verify.location_transcript import Session
from tests.verify.places import NOW_MS, Held, area, box, case, degrees, key_of, public_of, territory

NORTH = Held()
SOUTH = Held(landmark="south", organisation="exchange")
EAST = Held(landmark="east", organisation="university")
ALL = [held.known() for held in (NORTH, SOUTH, EAST)]


def _codes(*data: bytes, **changes: Any) -> list[str]:
    return [finding.code for finding in judge(data, case(ALL, **changes)).findings]


def test_light_in_vacuum_goes_150_km_and_back_in_a_millisecond() -> None:
    assert bound_km(1_000_000) == pytest.approx(149.896229)
    assert KM_PER_NS * 2e9 == 299_792.458


def test_two_organisations_that_each_exclude_all_foreign_land_are_enough() -> None:
    verdict = judge([NORTH.write(), SOUTH.write()], case(ALL))
    assert verdict.accepted
    assert verdict.organisations == ("exchange", "university")
    assert [finding.rtt_ns for finding in verdict.findings] == [400_000, 400_000]
    assert verdict.bound_km == pytest.approx(59.958, abs=1e-3)
    assert verdict.margin_km == pytest.approx(verdict.findings[0].foreign_km - verdict.bound_km)
    assert verdict.disputed == {"rock": "home"}


def test_two_landmarks_of_one_organisation_are_one_voice() -> None:
    verdict = judge([NORTH.write(), EAST.write()], case(ALL))
    assert verdict.landmarks == ("east", "north")
    assert (verdict.code, verdict.organisations) == ("location.too_few_organisations", ("university",))


def test_one_landmark_that_reaches_abroad_does_not_count_and_its_limit_is_exact() -> None:
    distance = territory().nearest_foreign(NORTH.place).distance_km
    limit_ns = int(distance / KM_PER_NS)
    near, far = replace(NORTH, rtt_ns=limit_ns), replace(NORTH, rtt_ns=limit_ns + 1)
    assert _codes(near.write(), SOUTH.write()) == ["location.excludes_foreign"] * 2
    verdict = judge([far.write(), SOUTH.write()], case(ALL))
    assert [f.code for f in verdict.findings] == ["location.reaches_foreign", "location.excludes_foreign"]
    assert not verdict.accepted
    assert verdict.findings[0].landmark == "north"
    assert verdict.findings[0].foreign == "away"
    assert verdict.findings[0].margin_km <= 0


def test_never_on_an_intersection_of_discs() -> None:
    """One lands in the west, one in the east of the island: both discs reach abroad, what they share does not."""
    split = territory(
        areas=[
            area("home", box(130, 30, 134, 34), status="home"),
            area("west", box(124, 30, 128, 34)),
            area("east", box(136, 30, 140, 34)),
        ]
    )
    west = replace(NORTH, place=degrees(32, 130.1), rtt_ns=2_000_000)
    east = replace(SOUTH, place=degrees(32, 133.9), rtt_ns=2_000_000)
    radius = bound_km(2_000_000)
    for far in (degrees(32, 128), degrees(32, 136)):
        assert max(distance_km(far, west.place), distance_km(far, east.place)) > radius
    verdict = judge([west.write(), east.write()], case([west.known(), east.known()], territory=split))
    assert [f.state for f in verdict.findings] == ["too_far", "too_far"]
    assert verdict.code == "location.too_few_organisations"


def test_a_disputed_rock_is_counted_as_the_file_says() -> None:
    close = replace(NORTH, place=degrees(33.9, 131.05), rtt_ns=900_000)
    where = Claim("site_1", public_of("agent"), degrees(33.8, 131.05))
    rock = area("rock", box(131, 35, 131.1, 35.1), status="disputed", counts_as="foreign")
    areas = [*_areas()[:2], rock]
    foreign = case([close.known()], claim=where, territory=territory(areas=areas))
    assert judge([close.write()], case([close.known()], claim=where)).findings[0].state == "counts"
    found = judge([close.write()], foreign)
    assert (found.findings[0].foreign, found.findings[0].state) == ("rock", "too_far")
    assert found.disputed == {"rock": "foreign"}


def _areas() -> list[dict[str, Any]]:
    return [area("home", box(130, 30, 134, 34), status="home"), area("away", box(124, 30, 128, 34))]


def test_an_answer_from_nowhere_near_is_faster_than_light() -> None:
    """The landmark says it is 100 km from the place claimed and that the answer took a tenth of the time needed."""
    away = replace(NORTH, place=degrees(32.9, 132), rtt_ns=60_000)
    assert judge([away.write()], case([away.known()])).findings[0].code == "location.too_fast"
    exact = int(distance_km(away.place, degrees(32, 132)) / KM_PER_NS) + 1
    slower = replace(away, rtt_ns=exact)
    assert judge([slower.write()], case([away.known()])).findings[0].state == "counts"


@pytest.mark.parametrize(
    ("held", "code"),
    [
        (replace(NORTH, rtt_ns=0), "transcript.no_time"),
        (replace(NORTH, site="site_2"), "location.other_site"),
        (replace(NORTH, site_key="another"), "location.other_site"),
        (replace(NORTH, place=degrees(32.001, 132)), "location.landmark_moved"),
        (replace(NORTH, organisation="exchange"), "location.landmark_moved"),
        (replace(NORTH, landmark="unheard"), "transcript.unknown_landmark"),
        (replace(NORTH, count=19), "location.too_few_rounds"),
        (replace(NORTH, site_offset_ms=31_000), "location.clock"),
        (replace(NORTH, site_offset_ms=-31_000), "location.clock"),
        (replace(NORTH, at_ms=NOW_MS - 15 * 60_000 - 1), "location.old"),
        (replace(NORTH, at_ms=NOW_MS + 28_000), "location.future"),
    ],
)
def test_what_is_refused(held: Held, code: str) -> None:
    verdict = judge([held.write(), SOUTH.write(), EAST.write()], case(ALL))
    assert [f.code for f in verdict.findings] == [code, *["location.excludes_foreign"] * 2]
    assert verdict.accepted, "one bad transcript must not spoil the others"
    assert code in render(verdict, "ja")


def test_a_clock_that_ran_backwards_is_no_clock() -> None:
    session = NORTH.session()
    short = replace(session, ended_ms=session.started_ms - 1, rtts_ns=(1,) * len(session.rounds))
    assert _codes(NORTH.write(short)) == ["transcript.elapsed"]


def test_age_and_nonce_are_parameters() -> None:
    old = replace(NORTH, at_ms=NOW_MS - 3_600_000)
    assert _codes(old.write(), policy=Policy(age_ms_max=3_600_000)) == ["location.excludes_foreign"]
    assert _codes(NORTH.write(), policy=Policy(nonce=bytes(32))) == ["location.other_nonce"]
    assert _codes(NORTH.write(), policy=Policy(nonce=NORTH.nonce)) == ["location.excludes_foreign"]


def test_two_sessions_of_one_landmark_are_one_landmark() -> None:
    later = replace(NORTH, at_ms=NORTH.at_ms + 5000)
    verdict = judge([NORTH.write(), later.write()], case(ALL))
    assert [finding.state for finding in verdict.findings] == ["counts", "counts"]
    assert (verdict.landmarks, verdict.organisations) == (("north",), ("university",))
    assert not verdict.accepted


def test_a_session_is_judged_once() -> None:
    assert _codes(NORTH.write(), NORTH.write()) == ["location.excludes_foreign", "location.replayed"]
    assert _codes(NORTH.write(), seen={NORTH.session().id}) == ["location.replayed"]


def _signed_again(session: Session, rounds: list[Round]) -> Session:
    """As a landmark and a site that cheat together would write it: every signature holds."""
    said = statement(
        read_hello(session.hello),
        session=session.id,
        key=session.key,
        rounds=rounds,
        time_ms=session.closed_ms,
    )
    return replace(session, rounds=tuple(rounds), closed_signature=key_of("agent").sign(said))


OTHER = replace(NORTH, at_ms=NORTH.at_ms + 1).session()
TWICE: dict[str, Any] = {"rtts_ns": (*NORTH.session().rtts_ns, 1), "sent": 99}
CHEATS: dict[str, tuple[Callable[[Session], Session], str]] = {
    "truncated": (
        lambda s: replace(s, rounds=s.rounds[:-1], rtts_ns=s.rtts_ns[:-1]),
        "signature.invalid",
    ),
    "begun late": (lambda s: replace(s, rounds=s.rounds[1:], rtts_ns=s.rtts_ns[1:]), "signature.invalid"),
    "reordered": (
        lambda s: _signed_again(s, [s.rounds[1], s.rounds[0], *s.rounds[2:]]),
        "transcript.order",
    ),
    "duplicated": (
        lambda s: _signed_again(replace(s, **TWICE), [*s.rounds, s.rounds[-1]]),
        "transcript.order",
    ),
    "same challenge": (
        lambda s: _signed_again(s, [s.rounds[0], s.rounds[0]._replace(seq=1), *s.rounds[2:]]),
        "transcript.challenge_twice",
    ),
    "foreign challenge": (
        lambda s: _signed_again(s, [*s.rounds[:-1], OTHER.rounds[-1]]),
        "transcript.answer",
    ),
    "other welcome": (lambda s: replace(s, welcome=OTHER.welcome), "transcript.foreign_session"),
    "other session": (lambda s: replace(s, hello=OTHER.hello, welcome=OTHER.welcome), "transcript.answer"),
    "other key": (lambda s: replace(s, key=OTHER.key), "transcript.answer"),
    "never sent": (lambda s: replace(s, sent=len(s.rounds) - 1), "transcript.rounds"),
    "longer than the session": (
        lambda s: replace(s, rtts_ns=(3_100_000_000, *s.rtts_ns[1:])),
        "transcript.elapsed",
    ),
    "none": (lambda s: _signed_again(replace(s, rtts_ns=()), []), "transcript.rounds"),
}


@pytest.mark.parametrize("name", CHEATS)
def test_rounds_are_what_both_signed_in_order_and_whole(name: str) -> None:
    """The landmark signs the changed transcript itself: it is the one that lies."""
    change, code = CHEATS[name]
    assert _codes(NORTH.write(change(NORTH.session()))) == [code]


def test_a_hello_to_another_site_is_no_session_with_this_one() -> None:
    stranger = replace(NORTH, site_key="another").session()
    data = NORTH.write(replace(NORTH.session(), hello=stranger.hello))
    assert _codes(data) == ["transcript.foreign_session"]


@pytest.mark.parametrize(
    ("place", "code"),
    [
        (degrees(32, 126), "location.claim_not_home"),
        (degrees(32, 129), "location.claim_not_home"),
        (degrees(32, 132), "location.claim_foreign"),
    ],
)
def test_the_place_claimed_must_be_home(place: Any, code: str) -> None:
    areas = _areas()
    if code == "location.claim_foreign":
        areas.append(area("enclave", box(131.9, 31.9, 132.1, 32.1)))
    verdict = judge(
        [NORTH.write(), SOUTH.write()],
        case(ALL, claim=Claim("site_1", public_of("agent"), place), territory=territory(areas=areas)),
    )
    assert verdict.code == code
    assert not verdict.accepted


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"landmarks": [ALL[0], ALL[0]]}, "location.landmarks"),
        ({"landmarks": [ALL[0], replace(ALL[1], name="north")]}, "location.landmarks"),
        ({"policy": Policy(liars_max=0)}, "location.policy"),
        ({"policy": Policy(rounds_min=0)}, "location.policy"),
        ({"policy": Policy(nonce=b"short")}, "location.policy"),
        ({"claim": Claim("site_1", b"short", degrees(32, 132))}, "location.policy"),
    ],
)
def test_a_question_that_asks_for_too_little_is_refused(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(LocationError) as caught:
        judge([], replace(case(ALL), **changes))
    assert caught.value.code == code


def test_too_many_transcripts_are_not_even_read() -> None:
    with pytest.raises(LocationError) as caught:
        judge([b""] * 65, case(ALL))
    assert caught.value.code == "location.transcripts"


def test_the_words() -> None:
    far = replace(EAST, rtt_ns=9_000_000)
    verdict = judge([NORTH.write(), far.write(), b"no transcript"], case(ALL))
    english, japanese = render(verdict, "en"), render(verdict, "ja")
    assert (
        "✓ north (university): answered in 0.400 ms, so within 60.0 km; the nearest foreign land, away"
        in english
    )
    assert "! east (university): answered in 9.000 ms" in english
    assert "✗ transcript 2 : refused, it is malformed" in english
    assert "Not shown: 1 organisations exclude all foreign land, 2 are needed." in english
    assert english.count("Not shown:") == 1 + len(NOT_SHOWN)
    assert japanese.count("示さないこと：") == len(NOT_SHOWN)
    assert set(NOT_SHOWN) == set(NOT_PROVEN)
    for table in (SENTENCES, SUMMARIES, REASONS, NOT_PROVEN):
        assert all(len(pair) == 2 and all(pair) for pair in table.values())


def test_the_document_is_canonical_and_rounds_against_the_site() -> None:
    written = document(judge([NORTH.write(), SOUTH.write()], case(ALL)))
    canonical.encode(written)
    assert written["accepted"] is True
    assert written["bound_m"] == 59959
    findings = written["findings"]
    assert isinstance(findings, list)
    assert findings[0]["margin_m"] - (findings[0]["foreign_m"] - 59959) in {0, 1}


def test_the_same_question_has_the_same_answer() -> None:
    data = [NORTH.write(), SOUTH.write()]
    assert document(judge(data, case(ALL))) == document(judge(data, case(ALL)))


def test_an_accepted_place_is_told_in_the_shape_of_the_draft_and_no_other_is() -> None:
    """draft-richardson-rats-geographic-results-01: only the country is known, and it is no exclave."""
    accepted = judge([NORTH.write(), SOUTH.write()], case(ALL))
    shape = {"grc.jurisdiction-country": "JP", "grc.jurisdiction-country-exclave": False}
    assert geographic_results(accepted, "JP") == {"ear.geographic-result-claims": shape}
    assert geographic_results(replace(accepted, code="location.claim_foreign"), "JP") == {}
