"""T2: a site declared where it is not, by the time its answers take, gets no job that needs its place."""

from __future__ import annotations

from sekisho_verify import Exit, canonical
from sekisho_verify.location_transcript import describe_landmark
from tests.claims.placing import Placing
from tests.guarantor import namespaces
from tests.guarantor.landmark_world import NEAR_ABROAD, Asked
from tests.sites.yard import LANDMARKS


def test_t02_a_job_of_level_2_waits_for_the_proof_and_its_bundle_holds_it(placing: Placing) -> None:
    job = placing.submit()
    assert placing.state(job) == "waiting"
    rules, english, japanese = placing.refusal(job)
    assert rules == ["C02-location-proof"]
    assert english == "ishikari has no location proof; level 2 needs one of at most 15 min."
    assert "位置証明がありません" in japanese
    placing.yard.prove()
    placing.round()
    assert placing.state(job) != "waiting"
    placed = placing.world.records(stream=job, action="compute.job.place")[-1]
    assert set(placed["detail"]["files"]) == {"location.json", "territory.json"}
    bundle = placing.bundle(job)
    own = placing.verdict(bundle)
    assert own.exit_code is Exit.HOLDS
    assert [line.code for line in own.lines if line.part == "transcript"] == [
        *["transcript.counts"] * 3,
        "transcript.own_keys",
        "transcript.binding",
    ]
    trusted = [describe_landmark(known) for known in placing.yard.known()]
    demanded = placing.verdict(
        bundle,
        landmarks=trusted,
        demand={"max_level_without_place": 1},
        territory=placed["detail"]["files"]["territory.json"],
    )
    assert demanded.exit_code is Exit.HOLDS
    assert "transcript.shown" in [line.code for line in demanded.lines]
    assert placing.verdict(bundle, demand={"max_level_without_place": 1}).exit_code is Exit.DEMAND
    assert placing.verdict(bundle, landmarks=trusted[:1]).exit_code is Exit.PROOF
    assert placing.verdict(bundle, territory="sha256:" + "0" * 64).exit_code is Exit.PROOF


def test_t02_a_site_that_answers_over_an_added_path_gets_no_job_and_the_reason_names_the_landmark(
    placing: Placing,
) -> None:
    """Declared where Fukuoka is to Korea, 202 km off; whole network stacks, 3 ms of line added between them."""
    namespaces.needed()
    yard = placing.yard
    yard.stand_at(NEAR_ABROAD)
    job = placing.submit()
    for added_ms, placed in ((3.0, False), (0.0, True)):
        placing.to_now()
        yard.ask()
        task = yard.task("north")
        asked = Asked(
            site=task.target,
            agent=yard.agent,
            nonce=canonical.from_base64url(task.nonce).hex(),
            organisations={name: yard.organisations[whose] for name, whose in LANDMARKS.items()},
        )
        transcripts = namespaces.measured(added_ms / 2, asked)
        placing.to_now()
        shown = yard.hand_in("north", *transcripts, task=task)
        placing.round()
        assert (placing.state(job) != "waiting") is placed, shown.summary.en
        if not placed:
            assert [finding.told.code for finding in shown.findings] == ["location.reaches_foreign"] * 3
            assert all(finding.rtt_ns >= 3_000_000 for finding in shown.findings), "the shortest round counts"
            rules, english, japanese = placing.refusal(job)
            assert rules == ["C02-location-proof"]
            assert f"Landmark north ({yard.organisations['university']}): answered in 3." in english
            assert "km too near" in english
            assert "測位基準点north" in japanese
