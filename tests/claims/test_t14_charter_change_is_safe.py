"""T14: before a charter is activated, everybody can see which recorded decisions it would have taken otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sekisho import charter
from sekisho.charter import ActivateVersion, CharterError, DraftVersion, Replay, ReplayVersion
from sekisho.kernel.errors import DeniedError, NotFoundError, SekishoError
from sekisho.kernel.facts import Actor, Ref
from sekisho.kernel.tx import Tx
from sekisho.ledger import EraseRecord
from tests.data.world import World

JAPAN = charter.default_policies()
STRICTER = JAPAN + (
    '\n@id("C90-nothing-internal")\n@en("Nothing internal is kept here.")\n@ja("内部のものは保管しません。")\n'
    'forbid (principal, action in Action::"at_rest", resource) when { resource.level >= 1 };\n'
)
LOOSER = JAPAN.replace(
    'principal has roles && principal.roles.contains("engineer") &&',
    'principal has roles && principal.roles.containsAny(["engineer", "caller"]) &&',
)
RENAMED = JAPAN.replace("P01-engineer", "P01-worker")


@pytest.fixture
def world(tmp_path: Path, db_url: str) -> Iterator[World]:
    """Three datasets of the office that were let in, one of them public, and one of a caller that was not."""
    made = World(tmp_path, db_url)
    made.add("public", level=0)
    made.add("first")
    made.add("second")
    caller = made.account("caller", made.office, "caller")
    with pytest.raises(DeniedError):
        made.add("third", by=caller, **made.sealing(1))
    made.add("theirs", by=made.stranger)
    made.seal_log()
    yield made
    made.close()


def draft(world: World, policies: str) -> str:
    drafted: Any = world.perform(world.administrator, DraftVersion(policies=policies))
    world.seal_log()
    return str(drafted.version)


def replayed(world: World, version: str, **fields: int) -> Replay:
    return world.perform(world.administrator, ReplayVersion(version=version, **fields))


def rows_of(found: Replay, action: str = "data.dataset.add") -> list[tuple[str, int, tuple[str, ...]]]:
    return [(row.verdict, row.count, row.after) for row in found.altered if row.action == action]


def whole(world: World, version: str, **fields: int) -> list[Replay]:
    """Every page."""
    pages = [replayed(world, version, **fields)]
    while pages[-1].next:
        pages.append(replayed(world, version, **(fields | {"upto": pages[0].upto, "after": pages[-1].next})))
    return pages


def test_t14_what_was_allowed_and_would_be_denied(world: World) -> None:
    found = replayed(world, draft(world, STRICTER))
    assert rows_of(found) == [
        ("denied", 3, ("C90-nothing-internal",)),
        ("rules", 1, ("C90-nothing-internal",)),
    ]
    (control,) = world.rows("select id from sites_sites where name = 'control'")
    assert {row.site for row in found.altered if row.action == "data.dataset.add"} == {control["id"]}
    named = {one for row in found.altered for one in row.records}
    assert named <= {row["id"] for row in world.rows("select id from ledger_entries")}


def test_t14_what_was_denied_and_would_be_allowed(world: World) -> None:
    found = replayed(world, draft(world, LOOSER))
    assert rows_of(found) == [("allowed", 1, ("P01-engineer",))]
    assert (found.changed, found.next) == (1, None)


def test_t14_what_would_come_out_the_same_by_another_rule(world: World) -> None:
    found = replayed(world, draft(world, RENAMED))
    assert rows_of(found) == [("rules", 4, ("P01-worker",))]


def test_t14_the_charter_in_force_changes_nothing_and_every_record_is_accounted_for(world: World) -> None:
    active = world.rows("select id from charter_versions where state = 'active'")[0]["id"]
    found = replayed(world, active)
    assert (found.changed, found.altered) == (0, ())
    assert found.upto == found.looked_at == len(world.rows("select id from ledger_entries"))
    parts = (found.same, found.changed, found.missing, found.erased, found.unfit, found.nameless)
    assert sum(parts) == found.looked_at
    assert found.same >= found.looked_at - 2, "all but what was decided before there was a charter"


def test_t14_a_run_is_reproducible_in_pages_of_any_size(world: World) -> None:
    version = draft(world, STRICTER)
    once = replayed(world, version)
    world.add("later")
    world.seal_log()
    for limit in (1, 4, 7):
        pages = whole(world, version, limit=limit, upto=once.upto)
        assert all(page.looked_at <= limit for page in pages)
        for name in ("looked_at", "same", "changed", "missing", "erased", "unfit", "nameless"):
            assert sum(getattr(page, name) for page in pages) == getattr(once, name)
    assert replayed(world, version, upto=once.upto) == once
    assert replayed(world, version).changed == once.changed + 1


def test_t14_what_cannot_be_asked_again_is_counted_and_said(world: World) -> None:
    version = draft(world, STRICTER)
    before = replayed(world, version)
    (denied,) = [row for row in before.altered if row.verdict == "rules"]
    world.both(EraseRecord(record=denied.records[0], reason="asked for"))
    world.seal_log()
    erased = replayed(world, version, upto=before.upto)
    assert (erased.erased, erased.changed) == (1, before.changed - 1)

    def forget(tx: Tx) -> None:
        tx.run("delete from ledger_facts")

    world.database.write(forget)
    gone = replayed(world, version, upto=before.upto)
    assert (gone.missing, gone.changed, gone.same) == (gone.looked_at - 1, 0, 0)


def test_t14_trying_changes_nothing_and_two_people_decide_afterwards(world: World) -> None:
    version = draft(world, STRICTER)
    rows = world.rows("select * from charter_versions order by id")
    replayed(world, version)
    assert world.rows("select * from charter_versions order by id") == rows
    proposal = world.asked(world.administrator, ActivateVersion(version=version)).proposal
    assert world.rows("select * from charter_versions order by id") == rows
    second = Actor(Ref("User", world.genesis.administrators[1].account))
    world.approve(second, proposal)
    with pytest.raises(DeniedError) as caught:
        world.add("too-late")
    assert caught.value.rules == ("C90-nothing-internal",)
    assert world.check().findings == []


def test_t14_no_row_names_anybody_or_anything_of_a_tenant(world: World) -> None:
    text = msgspec.json.encode(replayed(world, draft(world, STRICTER))).decode()
    for name in ("usr_", "svc_", "org_", "ds_", "corpus", world.office, world.laboratory):
        assert name not in text


def test_t14_only_those_who_govern_may_look(world: World) -> None:
    version = draft(world, STRICTER)
    engineer = world.person("engineer-person", world.office, "engineer")
    for actor in (engineer, world.engineer):
        with pytest.raises(NotFoundError):
            world.perform(actor, ReplayVersion(version=version))


@pytest.mark.parametrize(
    "broken", ["permit (principal, action, resource", 'forbid (principal, action == Action::"x", resource);']
)
def test_t14_a_draft_that_errors_is_refused_with_its_reason(world: World, broken: str) -> None:
    with pytest.raises(CharterError):
        world.perform(world.administrator, DraftVersion(policies=JAPAN + broken))
    version = draft(world, STRICTER)

    def damage(tx: Tx) -> None:
        sql = "update charter_versions set policies = :text, record_id = :record_id where id = :id"
        with tx.claimed_by("rec_damage"):
            tx.run(sql, text=broken, id=version)

    world.database.write(damage)
    with pytest.raises(SekishoError) as caught:
        replayed(world, version)
    assert caught.value.code.startswith("charter.")
    assert world.add("afterwards").id, "the charter in force goes on deciding"


def test_t14_one_page_takes_no_longer_than_it_may(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    version = draft(world, STRICTER)
    all_at_once = replayed(world, version)
    monkeypatch.setattr("sekisho.charter.actions.REPLAY_SECONDS", -1.0)
    pages = whole(world, version)
    assert [page.looked_at for page in pages] == [1] * all_at_once.looked_at
    assert sum(page.changed for page in pages) == all_at_once.changed
