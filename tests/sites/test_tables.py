"""SQL of sites on each database."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from sekisho.kernel import heartbeats
from sekisho.kernel.ids import new_id
from sekisho.kernel.tx import Tx
from sekisho.sites import Accelerator, Fact, RegisterSite, ReportCapabilities, SiteView, tables
from tests.sites.world import World

RECORD = new_id("rec", 1)
H100, B200 = Accelerator("H100", 8, 300), Accelerator("B200", 2)


def write(world: World, work: Callable[[Tx], Any]) -> Any:
    """Under a record id, as the gate would."""

    def claimed(tx: Tx) -> Any:
        with tx.claimed_by(RECORD):
            return work(tx)

    return world.database.write(claimed)


def add(world: World, name: str, **fields: Any) -> str:
    site = f"site_{name}"
    command = RegisterSite(name=name, operator="org_a", country=Fact(value="JP"), **fields)
    write(world, lambda tx: tables.insert_site(tx, site, command, control=False))
    return site


def find(world: World, site: str) -> SiteView | None:
    return world.database.read(lambda tx: tables.find(tx, site))


def test_a_site_comes_back_as_it_was_added(world: World) -> None:
    site = add(world, "ishikari", cpus=96, memory_bytes=2**52, yen_per_hour=10, accelerators=[H100, B200])
    found = find(world, site)
    assert found == find(world, "ishikari")
    assert found == SiteView(
        id=site,
        name="ishikari",
        operator="org_a",
        engine="local",
        state="serving",
        stand_in=False,
        control=False,
        cpus=96,
        memory_bytes=2**52,
        yen_per_hour=10,
        accelerators=[B200, H100],
        facts={},
        wall="unknown",
        nodes=1,
        holds_leases=True,
        asks_health=False,
        away_seconds=0,
        heard_ms=0,
        record_id=RECORD,
    )
    assert find(world, "osaka") is None
    assert world.database.read(lambda tx: tables.named(tx, "ishikari"))
    assert not world.database.read(lambda tx: tables.named(tx, site))


@pytest.mark.parametrize("value", ["石狩", 43_171_000, -1, True, False, ["a", "b"], []], ids=repr)
def test_a_fact_of_each_type_comes_back_with_how_it_is_known(world: World, value: Any) -> None:
    site = add(world, "ishikari")
    fact = Fact(value=value, grade="S", issuer="usr_a", observed_ms=5, expires_ms=9, source="letter")
    write(world, lambda tx: tables.put_fact(tx, site, "place", fact))
    found = find(world, site)
    assert found is not None
    assert found.facts == {"place": fact}
    assert type(found.facts["place"].value) is type(value)


def test_a_later_statement_replaces_the_earlier(world: World) -> None:
    site = add(world, "ishikari")
    for value in ("JP", "US"):
        write(world, lambda tx, value=value: tables.put_fact(tx, site, "country", Fact(value=value)))
    found = find(world, site)
    assert found is not None
    assert found.facts["country"].value == "US"


@pytest.mark.parametrize(("expires_ms", "now_ms", "left"), [(0, 99, 1), (10, 9, 1), (10, 10, 0), (10, 11, 0)])
def test_only_a_fact_whose_time_is_over_goes(world: World, expires_ms: int, now_ms: int, left: int) -> None:
    site = add(world, "ishikari")
    write(world, lambda tx: tables.put_fact(tx, site, "place", Fact(value="a", expires_ms=expires_ms)))
    assert write(world, lambda tx: tables.drop_expired(tx, site, "place", now_ms)) == 1 - left
    found = find(world, site)
    assert found is not None
    assert len(found.facts) == left


def test_states_and_walls(world: World) -> None:
    site = add(world, "ishikari")
    write(world, lambda tx: tables.set_state(tx, site, "draining"))
    said = ReportCapabilities(site=site, wall="bubblewrap")
    gangs = msgspec.structs.replace(said, nodes=4)
    loose = msgspec.structs.replace(gangs, holds_leases=False)
    for one, changed in ((said, 1), (said, 0), (gangs, 1), (loose, 1), (loose, 0)):
        assert write(world, functools.partial(tables.set_capabilities, site=site, said=one)) == changed
    found = find(world, site)
    assert found is not None
    assert (found.state, found.wall) == ("draining", "bubblewrap")
    assert (found.nodes, found.holds_leases) == (4, False)


def pages(world: World, size: int) -> list[str]:
    """Names, page by page."""
    seen: list[str] = []
    after = ""
    while page := [
        item.name for item in world.database.read(functools.partial(tables.page, after=after, limit=size))
    ]:
        seen += page
        after = page[-1]
    return seen


def test_pages_run_by_name_without_a_gap(world: World) -> None:
    names = ["akita", "b-1", "b1", "control", "z"]
    for name in ("z", "b1", "akita", "b-1"):
        add(world, name)
    for size in (1, 2, 3, 9):
        assert pages(world, size) == sorted(names)
    assert {item.name for item in world.database.read(tables.every)} == set(names)


def test_what_was_heard_of_a_site_is_its_own(world: World) -> None:
    one, two = add(world, "one"), add(world, "two")
    world.database.write(lambda tx: heartbeats.beat(tx, f"site:{one}", at_ms=77, until_ms=77))
    assert [(item.id, item.heard_ms) for item in world.database.read(tables.every) if item.heard_ms] == [
        (one, 77)
    ]
    assert two in {item.id for item in world.database.read(tables.every)}
