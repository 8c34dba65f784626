"""T13: another territory file flips a verdict, by two people, and the verdict before stays reproducible."""

from __future__ import annotations

from typing import Any

import pytest

from sekisho.kernel.errors import SekishoError
from sekisho.kernel.proposals import ApproveProposal
from sekisho.sites import AddTerritory, SetTerritory
from sekisho_verify import Exit
from tests.claims.placing import Placing
from tests.sites.yard import territory_text
from tests.verify.places import area, box

ISLANDS = [
    area("home", box(130, 30, 134, 34), status="home"),
    area("away", box(124, 30, 128, 34)),
    area("rock", box(131.9, 34.5, 132.1, 34.6), status="disputed", counts_as="home"),
]
AS_FOREIGN = [*ISLANDS[:2], ISLANDS[2] | {"counts_as": "foreign"}]


def test_t13_a_swapped_territory_flips_the_verdict_and_the_bundle_of_before_still_holds(
    placing: Placing,
) -> None:
    """The rock is 278 km off: within the disc of 2 ms only where it counts as foreign does that matter."""
    yard, world = placing.yard, placing.world
    before = yard.put_in_force(territory_text(areas=ISLANDS, version="2"))
    yard.prove(rtt_ns=2_000_000)
    job = placing.submit()
    assert placing.state(job) != "waiting"
    digest = world.perform(
        world.administrator, AddTerritory(territory=territory_text(areas=AS_FOREIGN, version="3"))
    ).digest
    proposed: Any = world.perform(world.administrator, SetTerritory(digest=digest))
    assert yard.shown().standing is not None, "one person alone changes nothing"
    with pytest.raises(SekishoError) as caught:
        world.perform(world.administrator, ApproveProposal(proposal=proposed.proposal))
    assert caught.value.code == "proposal.same_person"
    world.perform(yard.second, ApproveProposal(proposal=proposed.proposal))
    assert yard.shown().standing is None, "the same measurements on the other map show nothing"
    later = placing.submit()
    rules, english, _ = placing.refusal(later)
    assert rules == ["C02-location-proof"]
    assert "ishikari has no location proof" in english
    kept = placing.verdict(placing.bundle(job), territory=before)
    assert kept.exit_code is Exit.HOLDS
    assert "transcript.own_keys" in [line.code for line in kept.lines]
    assert placing.verdict(placing.bundle(job), territory=digest).exit_code is Exit.PROOF
    yard.prove(rtt_ns=1_000_000)
    placing.round()
    assert placing.state(later) != "waiting", "nearer landmarks show it on that map too"
