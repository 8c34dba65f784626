"""Sites through the gate, under the charter that ships: who may register, state, drain, and see what."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho.kernel.errors import DeniedError, NotFoundError, SekishoError
from sekisho.kernel.facts import SYSTEM, Actor
from sekisho.sites import (
    Accelerator,
    DrainSite,
    Fact,
    ListSites,
    RegisterSite,
    ReportCapabilities,
    ResumeSite,
    ShowSite,
    StateFact,
)
from tests.sites.world import Role, World
from tests.support.toy import START_MS

DAY_MS = 86_400_000
ROLES: tuple[Role, ...] = ("analyst", "engineer", "site_operator")


def names(world: World, actor: Actor, limit: int = 50) -> list[str]:
    """Every site that the actor is listed, page by page."""
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = world.perform(actor, ListSites(cursor=cursor, limit=limit))
        assert len(page.items) <= limit
        found += [site.name for site in page.items]
        cursor = page.next
    return found


def shown(world: World, actor: Actor, site: str) -> bool:
    """Whether the actor may see one site."""
    try:
        return world.perform(actor, ShowSite(site=site)).name == site
    except NotFoundError:
        return False


def test_the_control_plane_is_a_site_like_any_other(world: World) -> None:
    control = world.perform(world.administrator, ShowSite(site="control"))
    assert (control.operator, control.control, control.engine) == (world.office, True, "control")
    assert (control.facts["country"].value, control.facts["country"].grade) == ("JP", "D")


def test_a_registered_site_carries_what_was_declared(world: World) -> None:
    operator = world.organisation("Sakura")
    site = world.site(
        "ishikari",
        operator,
        accelerators=[Accelerator("H100", 8, 300)],
        facts={"place": Fact(value="石狩"), "country": Fact(value="US")},
    )
    assert site == world.perform(world.administrator, ShowSite(site=site.id))
    assert site == world.perform(world.administrator, ShowSite(site="ishikari"))
    assert site.facts["country"].value == "JP", "the site's own field says where it is"
    record = world.records(stream=operator, action="sites.site.register")[0]
    assert record["detail"] == {"site": site.id, "name": "ishikari", "stand_in": True}
    assert record["id"] == site.record_id
    assert {effect[0] for effect in record["effects"]} == {"sites_sites", "sites_accelerators", "sites_facts"}
    assert world.check().findings == []


@pytest.mark.parametrize("grade", ["S", "A", "M"])
def test_what_is_typed_in_is_declared_whatever_it_claims(world: World, grade: Any) -> None:
    operator = world.organisation("Sakura")
    keeper = world.account("keeper", operator, "site_operator")
    claimed = Fact(value="JP", grade=grade, issuer="ministry", observed_ms=1, source="a letter")
    site = world.perform(
        world.administrator,
        RegisterSite(
            name="a", operator=operator, country=claimed, facts={"tee": Fact(value=True, grade=grade)}
        ),
    )
    stated = world.perform(keeper, StateFact(site="a", name="place", fact=Fact(value="x", grade=grade)))
    facts = {**site.facts, **stated.facts}
    assert {fact.grade for fact in facts.values()} == {"D"}
    assert facts["country"].issuer == world.administrator.ref.id
    assert facts["place"].issuer == keeper.ref.id
    assert {fact.observed_ms for fact in facts.values()} == {START_MS}
    assert facts["country"].source == "a letter"


def test_nobody_but_an_administrator_registers(world: World) -> None:
    operator = world.organisation("Sakura")
    everything = world.account("everything", operator, "analyst", "caller", "engineer", "site_operator")
    with pytest.raises(DeniedError):
        world.perform(everything, RegisterSite(name="a", operator=operator, country=Fact(value="JP")))
    assert names(world, world.administrator) == ["control"]


def test_a_site_of_an_unknown_organisation_is_refused(world: World) -> None:
    with pytest.raises(DeniedError):
        world.site("a", "org_00000000000000000000000000")
    assert names(world, world.administrator) == ["control"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"name": "control"}, "sites.name_taken"),
        ({"facts": {"colour": Fact(value="red")}}, "sites.fact_unknown"),
        ({"facts": {"tee": Fact(value="yes")}}, "sites.fact_type"),
        ({"country": Fact(value=81)}, "sites.fact_type"),
        ({"accelerators": [Accelerator("H100", 8), Accelerator("H100", 4)]}, "sites.accelerator_twice"),
    ],
)
def test_a_bad_registration_changes_nothing(world: World, fields: dict[str, Any], code: str) -> None:
    values: dict[str, Any] = {"name": "a", "operator": world.office, "country": Fact(value="JP")} | fields
    with pytest.raises(SekishoError) as caught:
        world.perform(world.administrator, RegisterSite(**values))
    assert caught.value.code == code
    assert names(world, world.administrator) == ["control"]
    assert world.check().findings == []


@pytest.mark.parametrize(
    "body",
    [
        '{"name":"a\\n","operator":"o","country":{"value":"JP"}}',
        '{"name":"","operator":"o","country":{"value":"JP"}}',
        '{"name":"a/../b","operator":"o","country":{"value":"JP"}}',
        '{"name":"a","operator":"o","country":{"value":"JP","grade":"X"}}',
        '{"name":"a","operator":"o","country":{"value":"JP","expires_ms":-1}}',
        '{"name":"a","operator":"o","country":{"value":"JP","expires_ms":9007199254740992}}',
        '{"name":"a","operator":"o","country":{"value":"JP"},"cpus":-1}',
        '{"name":"a","operator":"o","country":{"value":"JP"},"control":true}',
        '{"name":"a","operator":"o","country":{"value":"JP"},"facts":{"A B":{"value":1}}}',
        '{"name":"a","operator":"o","country":{"value":"JP"},"accelerators":[{"type":"H100\\n","count":1}]}',
    ],
)
def test_a_command_of_the_wrong_shape_is_none(body: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=RegisterSite)


def test_a_fact_goes_at_its_time_and_leaves_a_record(world: World) -> None:
    keeper = world.account("keeper", world.office, "site_operator")
    site = world.site("a", world.office)
    until = Fact(value=True, expires_ms=START_MS + DAY_MS)
    world.perform(keeper, StateFact(site="a", name="tee", fact=until))
    world.clock.advance(DAY_MS - 1)
    world.work()
    assert "tee" in world.perform(keeper, ShowSite(site="a")).facts
    before = world.rows("select version from kernel_facts")
    world.clock.advance(1)
    world.work()
    assert "tee" not in world.perform(keeper, ShowSite(site="a")).facts
    assert world.rows("select version from kernel_facts") != before, "caches of the charter must read again"
    (record,) = world.records(stream=site.id, action="sites.fact.expire")
    assert record["actor"] == "system"
    assert [effect[2] for effect in record["effects"]] == ["deleted"]
    assert world.check().findings == []


def test_a_fact_stated_again_outlives_its_first_end(world: World) -> None:
    keeper = world.account("keeper", world.office, "site_operator")
    world.site("a", world.office)
    for days in (1, 3):
        fact = Fact(value=True, expires_ms=START_MS + days * DAY_MS)
        world.perform(keeper, StateFact(site="a", name="tee", fact=fact))
    world.clock.advance(DAY_MS)
    world.work()
    assert "tee" in world.perform(keeper, ShowSite(site="a")).facts
    world.clock.advance(2 * DAY_MS)
    world.work()
    assert "tee" not in world.perform(keeper, ShowSite(site="a")).facts


def test_only_its_operator_drains_and_resumes_a_site(world: World) -> None:
    operator = world.organisation("Sakura")
    site = world.site("a", operator)
    keeper = world.account("keeper", operator, "site_operator")
    others = [
        world.administrator,
        world.account("engineer", operator, "engineer"),
        world.account("stranger", world.office, "site_operator"),
    ]
    for command in (DrainSite(site="a"), ResumeSite(site="a")):
        for other in others:
            with pytest.raises(DeniedError) as caught:
                world.perform(other, command)
            assert caught.value.record
    assert world.perform(keeper, DrainSite(site="a")).state == "draining"
    assert world.perform(keeper, DrainSite(site=site.id)).state == "draining"
    assert world.perform(keeper, ResumeSite(site="a")).state == "serving"
    stream = world.records(stream=site.id)
    assert [record["outcome"] for record in stream if record["actor"] == keeper.ref.id] == ["done"] * 3
    assert {record["outcome"] for record in stream if record["actor"] != keeper.ref.id} == {"denied"}
    assert world.check().findings == []


def test_a_site_that_is_not_there_is_not_found(world: World) -> None:
    for command in (ShowSite(site="none"), DrainSite(site="none"), ResumeSite(site="none")):
        with pytest.raises(NotFoundError):
            world.perform(world.administrator, command)


def test_whoever_has_no_role_sees_no_site(world: World) -> None:
    nobody = world.account("nobody", world.office)
    for command in (ListSites(), ShowSite(site="control")):
        with pytest.raises(NotFoundError):
            world.perform(nobody, command)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 5), draw=st.data())
def test_the_sites_listed_are_the_sites_one_may_see(world: World, limit: int, draw: st.DataObject) -> None:
    """Over this world's people: each row of the list can be shown, and every other cannot."""
    have = {row["name"] for row in world.rows("select name from sites_sites")}
    name = f"s{len(have)}"
    world.site(name, world.office, draw.draw(st.sampled_from(["JP", "US"])))
    roles = draw.draw(st.sets(st.sampled_from(ROLES), min_size=1, max_size=2))
    actor = world.account(f"p-{name}", world.office, *sorted(roles))
    listed = names(world, actor, limit)
    assert listed == sorted(set(listed))
    assert set(listed) == {site for site in have | {name} if shown(world, actor, site)}


def test_a_wall_is_noted_once_and_by_the_system_only(world: World) -> None:
    site = world.site("a", world.office)
    assert world.perform(SYSTEM, ReportCapabilities(site=site.id, wall="bubblewrap"))
    assert not world.perform(SYSTEM, ReportCapabilities(site=site.id, wall="bubblewrap"))
    assert world.perform(world.administrator, ShowSite(site="a")).wall == "bubblewrap"
    assert len(world.records(stream=site.id, action="sites.capabilities.report")) == 1
    with pytest.raises(NotFoundError):
        world.perform(world.administrator, ReportCapabilities(site=site.id, wall="none"))


def test_a_person_of_another_organisation_cannot_state_facts(world: World) -> None:
    operator = world.organisation("Sakura")
    world.site("a", operator)
    stranger = world.account("stranger", world.office, "site_operator", "engineer")
    for actor in (stranger, world.administrator):
        with pytest.raises(DeniedError):
            world.perform(actor, StateFact(site="a", name="country", fact=Fact(value="JP")))
