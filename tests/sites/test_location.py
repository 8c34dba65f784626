"""Proofs of place through the gate: what is judged, what stands because of it, and what changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sekisho.kernel.errors import DeniedError, NotFoundError, SekishoError
from sekisho.kernel.facts import Moment
from sekisho.ledger import read_file
from sekisho.sites import (
    AddAttestation,
    AddProof,
    AddTerritory,
    ChallengeSite,
    ListTasks,
    RemoveVerifier,
    RequestProof,
    ShowSite,
    entity_of_site,
)
from sekisho.sites.proofs import HAND_INS_MAX
from sekisho_verify import canonical
from sekisho_verify.location_proof import judge_again, read_proof
from sekisho_verify.location_territory import parse_territory
from tests.sites.verifiers import adding
from tests.sites.world import World
from tests.sites.yard import LANDMARKS, Yard, territory_text
from tests.support.toy import START_MS
from tests.verify import tokens
from tests.verify.places import area, box, degrees, public_of

MINUTE_MS = 60_000


@pytest.fixture
def yard(tmp_path: Path, db_url: str) -> Iterator[Yard]:
    world = World(tmp_path, db_url)
    yield Yard(world)
    world.close()


def proof_of(yard: Yard) -> Any:
    """The site's proof as the charter sees it now."""
    return yard.world.database.read(lambda tx: entity_of_site(tx, yard.place.id)).attributes["proof"]


def test_three_landmarks_of_two_organisations_make_a_measured_fact(yard: Yard) -> None:
    shown = yard.prove()
    assert (shown.state, shown.code) == ("accepted", "location.accepted")
    assert shown.standing is not None
    assert (shown.standing.grade, shown.binding_grade) == ("M", "D")
    assert shown.standing.observed_ms == yard.world.clock.now_ms() - 5000, "as old as its oldest session"
    assert shown.standing.expires_ms == shown.standing.observed_ms + 15 * MINUTE_MS
    assert proof_of(yard) == {
        "checked_at": Moment(shown.standing.observed_ms),
        "bound_km": 60,
        "foreign_margin_km": 315,
        "landmarks": 3,
        "bound_to_tee": False,
    }
    assert [finding.state for finding in shown.findings] == ["counts"] * 3
    assert {told.code for told in shown.not_shown} >= {"key_extracted", "moved_since"}
    assert yard.world.check().findings == []


@pytest.mark.parametrize(
    ("attested", "measured", "grade"),
    [("agent", tokens.MEASURED, "A"), ("another", tokens.MEASURED, "D"), ("agent", "0" * 96, "D")],
)
def test_a_proof_is_bound_to_known_hardware_that_vouches_for_the_key_that_answered(
    yard: Yard, attested: str, measured: str, grade: str
) -> None:
    world = yard.world
    world.perform(world.administrator, adding(tokens.AZURE))
    asked = world.perform(yard.keeper, ChallengeSite(site=yard.place.id))
    held = tokens.bound(canonical.from_base64url(asked.nonce), canonical.digest(public_of(attested)))
    now_s = world.clock.now_ms() // 1000
    token = tokens.AZURE.token(
        tokens.azure_tdx(held) | {"iat": now_s, "nbf": now_s, "exp": now_s + 3600, "tdx_mrtd": measured},
        header={"jku": tokens.AZURE.verifier.jku},
    )
    world.perform(yard.keeper, AddAttestation(site=yard.place.id, token=token, gpu=""))
    shown = yard.prove()
    assert (shown.code, shown.binding_grade) == ("location.accepted", grade)
    assert proof_of(yard)["bound_to_tee"] is (grade == "A")
    world.perform(world.administrator, RemoveVerifier(name="azure"))
    assert (yard.shown().binding_grade, proof_of(yard)["bound_to_tee"]) == ("D", False), "nothing vouches now"
    assert proof_of(yard)["landmarks"] == 3


def test_the_record_names_a_file_that_anybody_can_judge_again(yard: Yard) -> None:
    yard.prove()
    record = yard.world.records(stream=yard.place.id, action="sites.proof.add")[-1]
    files = record["detail"]["files"]
    stored = yard.world.database.read(
        lambda tx: {name: read_file(tx, digest) for name, digest in files.items()}
    )
    proof = read_proof(stored["location.json"] or b"")
    verdict = judge_again(proof, parse_territory(stored["territory.json"] or b""))
    assert verdict.accepted
    assert verdict.landmarks == ("east", "north", "south")
    assert record["detail"]["code"] == "location.accepted"


def test_one_organisation_alone_proves_nothing(yard: Yard) -> None:
    yard.ask()
    yard.measure("south")
    shown = yard.measure("east")
    assert (shown.state, shown.code, shown.standing) == ("open", "location.too_few_organisations", None)
    assert shown.waiting == ["north"]
    assert proof_of(yard)["landmarks"] == 0


def test_a_proof_is_over_after_a_quarter_of_an_hour_and_the_facts_move(yard: Yard) -> None:
    yard.prove()
    yard.later(15 * MINUTE_MS - 5000)
    yard.world.work()
    assert yard.shown().standing is None
    assert proof_of(yard)["landmarks"] == 0
    assert yard.world.records(stream=yard.place.id, action="sites.fact.expire")


def test_a_landmark_that_reaches_abroad_does_not_count_and_is_named_with_its_shortfall(yard: Yard) -> None:
    yard.ask()
    yard.measure("north", rtt_ns=3_000_000)
    shown = yard.measure("south")
    assert shown.standing is None
    far = next(finding for finding in shown.findings if finding.landmark == "north")
    assert (far.state, far.told.code) == ("too_far", "location.reaches_foreign")
    assert far.margin_m < 0
    assert "north" in far.told.en
    assert "km too near" in far.told.en
    assert "不足" in far.told.ja


HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"nonce": bytes(32)}, "location.other_nonce"),
    ({"rtt_ns": 0}, "transcript.no_time"),
    ({"place": degrees(32.1, 132)}, "location.landmark_moved"),
    ({"place": degrees(32.1, 132), "rtt_ns": 10}, "location.landmark_moved"),
    ({"site_key": "stranger"}, "location.other_site"),
    ({"site": "site_other"}, "location.other_site"),
    ({"site_offset_ms": 45_000}, "location.clock"),
    ({"at_ms": START_MS - 16 * MINUTE_MS}, "location.old"),
    ({"at_ms": START_MS + 2 * MINUTE_MS}, "location.future"),
    ({"landmark": "stranger"}, "transcript.unknown_landmark"),
    ({"count": 12}, "location.too_few_rounds"),
]


def test_what_is_hostile_is_refused_with_its_reason_recorded_and_changes_nothing(yard: Yard) -> None:
    yard.ask()
    task = yard.task("north")
    for changes, code in HOSTILE:
        held = replace(yard.held("north", task), **changes)
        shown = yard.hand_in("north", held.write(), task=task)
        assert [finding.told.code for finding in shown.findings] == [code]
        assert shown.standing is None
        assert "north" in shown.waiting, "it may still answer"
    recorded = yard.world.records(stream=yard.place.id, action="sites.proof.add")
    assert [each["detail"]["findings"][0]["code"] for each in recorded] == [code for _, code in HOSTILE]
    assert proof_of(yard)["landmarks"] == 0
    assert yard.measure("north").findings[-1].state == "counts"


def test_the_same_transcript_twice_counts_once(yard: Yard) -> None:
    yard.ask()
    task = yard.task("north")
    data = yard.held("north", task).write()
    yard.hand_in("north", data, task=task)
    shown = yard.hand_in("north", data, task=task)
    assert [finding.told.code for finding in shown.findings] == [
        "location.excludes_foreign",
        "location.replayed",
    ]


def test_one_landmark_however_much_it_hands_in_takes_nobody_elses_room(yard: Yard) -> None:
    """Sixteen times eight sessions that count, and only then somebody else's first."""
    yard.ask()
    task = yard.task("north")
    for turn in range(HAND_INS_MAX):
        at_ms = START_MS - 6000 + turn * 100
        sessions = [replace(yard.held("north", task), at_ms=at_ms + number).write() for number in range(8)]
        shown = yard.hand_in("north", *sessions, task=task)
        assert {finding.state for finding in shown.findings} == {"counts"}
        assert len(shown.findings) <= 9, "the newest of before, and what came now"
    once_more = yard.held("north", task).write()
    with pytest.raises(SekishoError) as caught:
        yard.hand_in("north", once_more, task=task)
    assert caught.value.code == "sites.proof_hand_ins"
    yard.measure("south")
    shown = yard.measure("east")
    assert (shown.state, shown.landmarks) == ("accepted", ["east", "north", "south"])
    assert yard.world.check().findings == []


def test_a_request_that_is_over_takes_nothing(yard: Yard) -> None:
    yard.ask()
    task = yard.task("north")
    data = yard.held("north", task).write()
    yard.later(MINUTE_MS)
    yard.world.work()
    with pytest.raises(SekishoError) as caught:
        yard.hand_in("north", data, task=task)
    assert caught.value.code == "sites.proof_over"
    assert yard.world.records(stream=yard.place.id, action="sites.proof.close")[-1]["detail"]["waiting"] == [
        "east",
        "north",
        "south",
    ]


def test_who_is_no_landmark_may_neither_hand_in_nor_look(yard: Yard) -> None:
    yard.ask()
    task = yard.task("north")
    data = canonical.to_base64url(yard.held("north", task).write())
    with pytest.raises(DeniedError):
        yard.world.perform(
            yard.keeper, AddProof(site=yard.place.id, request=task.request, transcripts=[data])
        )
    with pytest.raises(NotFoundError):
        yard.world.perform(yard.carriers["exchange"], ListTasks(landmark="north"))


def test_what_is_missing_is_named(yard: Yard) -> None:
    bare = yard.world.site("bare", yard.operator)
    with pytest.raises(SekishoError) as caught:
        yard.world.perform(yard.keeper, RequestProof(site=bare.id))
    assert caught.value.code == "sites.not_measurable"
    assert caught.value.params["missing"] == "agent, location-address, latitude-e6 longitude-e6"


def test_a_site_is_measured_again_unasked_at_a_time_nobody_can_foresee(yard: Yard) -> None:
    yard.world.work()
    yard.later(1000)
    yard.world.work()
    first = yard.task("north").request
    for landmark in LANDMARKS:
        yard.measure(landmark)
    yard.later(5 * MINUTE_MS - 2000)
    yard.world.work()
    assert yard.tasks("north") == []
    yard.later(5 * MINUTE_MS + 2000)
    yard.world.work()
    assert yard.task("north").request != first


def test_another_map_flips_the_verdict_and_the_one_before_stays_what_it_was(yard: Yard) -> None:
    """A disputed rock 300 km off the site: counted as foreign it lies inside every disc of 2.5 ms."""
    near = [
        area("home", box(130, 30, 134, 34), status="home"),
        area("away", box(124, 30, 128, 34)),
        area("rock", box(131.9, 34.5, 132.1, 34.6), status="disputed", counts_as="home"),
    ]
    before = yard.put_in_force(territory_text(areas=near))
    yard.prove(rtt_ns=2_000_000)
    first = yard.world.records(stream=yard.place.id, action="sites.proof.add")[-1]["detail"]["files"]
    assert proof_of(yard)["landmarks"] == 3
    near[2] = near[2] | {"counts_as": "foreign"}
    yard.put_in_force(territory_text(areas=near, version="2"))
    assert proof_of(yard)["landmarks"] == 0, "nothing was measured anew, the map alone changed"
    anew = yard.world.records(stream=yard.place.id, action="sites.territory.set")[-1]["detail"]
    assert anew["code"] == "location.too_few_organisations"
    for files, accepted in ((first, True), (anew["files"], False)):
        proof, land = (
            yard.world.database.read(lambda tx, name=name, files=files: read_file(tx, files[name])) or b""
            for name in ("location.json", "territory.json")
        )
        assert judge_again(read_proof(proof), parse_territory(land)).accepted is accepted
    assert first["territory.json"] == before
    assert yard.world.check().findings == []


HOME = area("home", box(130, 30, 134, 34), status="home")
TURNED = [round(number * 1e6) for number in (1, 1, 1, 2, 2, 2, 2, 1, 1, 1)]
UNUSABLE: list[tuple[list[dict[str, Any]], str]] = [
    ([HOME, area("away", box(1, 1, 2, 2)[:-2])], "territory.open"),
    ([HOME, area("away", box(1, 1, 9, 9), box(3, 3, 4, 4))], "territory.hole"),
    ([HOME, area("away", TURNED)], "territory.winding"),
    ([HOME], "territory.no_foreign"),
]


def test_a_map_that_is_none_is_refused_and_what_is_wrong_is_named(yard: Yard) -> None:
    for areas, code in UNUSABLE:
        with pytest.raises(SekishoError) as caught:
            yard.world.perform(yard.world.administrator, AddTerritory(territory=territory_text(areas=areas)))
        assert caught.value.code == "sites.territory_unusable"
        assert caught.value.params["code"] == code


def test_a_landmark_that_answers_sooner_than_light_is_marked_and_counts_no_more(yard: Yard) -> None:
    """North moves 200 km away on paper; the two others measure it as near as before."""
    yard.landmark("north", "university", latitude_udeg=30_100_000, address="192.0.2.8:7700")
    yard.world.work()
    for landmark in ("south", "east"):
        task = yard.task(landmark, "north")
        held = replace(yard.held(landmark, task), site_key="north")
        yard.hand_in(landmark, held.write(), task=task)
    marks = {row["name"]: row["contradicted_by"] for row in yard.world.rows("select * from sites_landmarks")}
    exchange, university = yard.organisations["exchange"], yard.organisations["university"]
    assert marks == {
        "north": f'["{exchange}"]',
        "south": f'["{university}"]',
        "east": f'["{university}"]',
    }, "one organisation against another: neither counts"
    yard.world.perform(yard.world.administrator, ShowSite(site="ishikari"))
    assert yard.tasks("north") == []
