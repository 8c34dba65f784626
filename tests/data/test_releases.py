"""Exports through the gate under the charter that ships: who has to agree, to what exactly, and what leaves then."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
import pytest

from sekisho import identity
from sekisho.data import (
    ArtefactView,
    ExportArtefact,
    FetchArtefact,
    FetchRelease,
    ListReleases,
    ShowRelease,
    tables,
    tables_release,
)
from sekisho.data.releases import APPROVE_MS, FETCH_MS
from sekisho.kernel.errors import DeniedError, NotFoundError, SekishoError
from sekisho.kernel.facts import SYSTEM, Actor
from sekisho.kernel.ids import new_id
from sekisho.kernel.proposals import ApproveProposal
from sekisho.kernel.tx import Tx
from tests.data.test_actions import code_of, put_artefact
from tests.data.world import TEXT, World, digest_of
from tests.support.toy import START_MS


class Desk:
    """An artefact with everybody whom its export needs: requester and approver at the office, one at the laboratory."""

    def __init__(self, world: World, **artefact: Any) -> None:
        self.world = world
        self.requester = world.releaser("requester", world.office)
        self.own = world.releaser("own", world.office)
        self.other = world.releaser("other", world.laboratory)
        self.artefact = put_artefact(world, **{"level": 2, **artefact})

    def command(self, *approvers: Actor, **fields: Any) -> ExportArtefact:
        named = [one.ref.id for one in approvers or (self.own, self.other)]
        values: dict[str, Any] = {
            "artefact": self.artefact.id,
            "destination": "JP",
            "reason": "for the journal",
            "approvers": named,
        } | fields
        return ExportArtefact(**values)

    def ask(self, *approvers: Actor, **fields: Any) -> str:
        return self.world.asked(self.requester, self.command(*approvers, **fields)).proposal

    def agreed(self, **fields: Any) -> Any:
        """A release, approved by both."""
        proposal = self.ask(**fields)
        self.world.approve(self.own, proposal)
        return self.world.approve(self.other, proposal)

    def arrive(self, release: str) -> None:
        self.world.send(into=release)

    def change(self, sql: str, **params: Any) -> None:
        """Past the gate: something about the artefact became another."""

        def work(tx: Tx) -> None:
            with tx.claimed_by(new_id("rec", START_MS)):
                tx.run(sql, id=self.artefact.id, **params)

        self.world.database.write(work)


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def refused(call: Any) -> str:
    with pytest.raises(SekishoError) as caught:
        call()
    return caught.value.code


def rules_of(call: Any) -> tuple[str, ...]:
    with pytest.raises(DeniedError) as caught:
        call()
    return caught.value.rules


def last(world: World, action: str, stream: str = "") -> dict[str, Any]:
    return world.records(stream=stream, action=action)[-1]


def sound(world: World) -> bool:
    """Whether all is well apart from the artefact itself, which came in past the gate."""
    return all(one.place.startswith(("data_artefacts", "data_copies")) for one in world.check().findings)


def test_from_a_request_to_bytes_that_left(desk: Desk) -> None:
    world = desk.world
    proposal = desk.ask()
    seen = world.open_proposals(desk.other)[proposal]
    assert seen.command["destination"] == "JP"
    assert seen.approvers == (desk.own.ref.id, desk.other.ref.id)
    waiting = world.approve(desk.own, proposal)
    assert waiting["waiting"] == [desk.other.ref.id]
    assert world.rows("select * from data_releases") == []
    release = world.approve(desk.other, proposal)
    assert (release["state"], release["object"]) == ("sealing", TEXT.object)
    fetch = FetchRelease(release=release["id"])
    assert refused(functools.partial(world.perform, desk.requester, fetch)) == "data.release_not_ready"
    world.seal_log()
    shown = world.perform(desk.requester, ShowRelease(release=proposal))
    assert (shown.state, shown.sites) == ("waiting", ["site_far"])
    world.put([TEXT.manifest], into=shown.id)
    assert world.perform(desk.requester, ShowRelease(release=shown.id)).state == "waiting"
    desk.arrive(shown.id)
    assert world.perform(desk.requester, ListReleases()).items[0].state == "ready"
    ticket = world.perform(desk.requester, fetch)
    grant = world.control.tickets.open(ticket.ticket)
    assert (grant.want, grant.object, grant.into) == ("get", TEXT.object, shown.id)
    assert sound(world)


def test_everybody_is_on_record_and_each_in_their_own_stream(desk: Desk) -> None:
    world = desk.world
    release = desk.agreed(licence="")
    done = last(world, "data.artefact.export", world.office)
    people = [desk.requester.ref.id, desk.own.ref.id, desk.other.ref.id]
    assert (done["outcome"], done["approvers"]) == ("done", people)
    detail = done["detail"]
    assert (detail["release"], detail["object"], detail["destination"]) == (release["id"], TEXT.object, "JP")
    assert detail["label"]["level"] == 2
    (kept,) = world.rows("select body from ledger_files where digest = :d", d=detail["files"]["export.json"])
    assert msgspec.json.decode(kept["body"])["approvers"] == people[1:]
    proposed = world.records(stream=world.office, action="data.artefact.export")[0]
    assert proposed["outcome"] == "proposed"
    assert proposed["detail"]["binding"] == detail_of(world, world.office)["binding"]
    theirs = world.records(stream=world.laboratory)
    assert [record["action"] for record in theirs if record["detail"].get("object")] == [
        "kernel.proposal.approve"
    ]
    assert theirs[-1]["actor"] == desk.other.ref.id


def detail_of(world: World, stream: str) -> dict[str, Any]:
    return last(world, "kernel.proposal.approve", stream)["detail"]


def test_each_owner_sees_its_own_evidence(world: World) -> None:
    desk = Desk(world, owners=[world.office, world.laboratory], level=1)
    with pytest.raises(SekishoError) as caught:
        world.perform(world.engineer, FetchArtefact(artefact=desk.artefact.id))
    assert caught.value.code == "data.export_needed"
    alone = functools.partial(world.perform, desk.requester, desk.command(desk.own))
    assert refused(alone) == "data.approver.missing"
    release = desk.agreed()
    world.seal_log()
    desk.arrive(release["id"])
    world.perform(desk.requester, FetchRelease(release=release["id"]))
    actions = [record["action"] for record in world.records(stream=world.laboratory)]
    assert [name for name in actions if name.startswith("data.")] == [
        "data.artefact.export",
        "data.release.fetch",
    ]


def test_the_requester_and_people_of_one_organisation_are_refused_by_the_charter(desk: Desk) -> None:
    world = desk.world
    second = world.releaser("second", world.office)
    for approvers in ((desk.requester, desk.other), (desk.own, second), (desk.own,)):
        call = functools.partial(world.perform, desk.requester, desk.command(*approvers))
        assert rules_of(call) == ("C10-export",)
    denied = last(world, "data.artefact.export")
    assert (denied["outcome"], denied["rules"]) == ("denied", ["C10-export"])
    assert world.rows("select * from kernel_proposals") == []


def test_below_level_two_the_same_people_are_refused_all_the_same(world: World) -> None:
    desk = Desk(world, level=1)
    second = world.releaser("second", world.office)
    cases = {
        "data.approver.requester": (desk.requester, desk.other),
        "data.approver.same_organisation": (desk.own, second),
        "data.approver.unknown": (desk.own, desk.own),
        "data.approver.missing": (desk.other,),
    }
    for code, approvers in cases.items():
        assert refused(functools.partial(world.perform, desk.requester, desk.command(*approvers))) == code
        failed = last(world, "data.artefact.export")
        assert (failed["outcome"], failed["detail"]["code"]) == ("failed", code)
    world.approve(desk.own, desk.ask(desk.own))
    assert len(world.rows("select * from data_releases")) == 1


def test_who_has_no_say_is_refused_before_anybody_is_asked(desk: Desk) -> None:
    world = desk.world
    outsider = world.person("outsider", world.laboratory)
    assert rules_of(functools.partial(world.perform, desk.requester, desk.command(desk.own, outsider))) == (
        "closed:User",
    )
    engineer = world.person("engineer-person", world.office, "engineer")
    assert "no-permit" in rules_of(functools.partial(world.perform, engineer, desk.command()))
    stranger = functools.partial(world.perform, desk.other, desk.command())
    assert refused(stranger) == "not_found"


@pytest.mark.parametrize(
    ("artefact", "fields", "found"),
    [
        ({"level": 4}, {}, "C10-export"),
        ({"labels": ["specially-designated-secret"]}, {}, "C08-no-designated-secret"),
        ({"residency": ["JP"]}, {"destination": "US"}, "C10-export"),
        ({"labels": ["export-controlled"], "residency": ["any"]}, {"destination": "US"}, "C10-export"),
        ({"level": 1, "residency": ["US"]}, {"destination": "US"}, "data.export_place"),
    ],
)
def test_what_never_leaves(
    world: World, artefact: dict[str, Any], fields: dict[str, Any], found: str
) -> None:
    desk = Desk(world, **artefact)
    with pytest.raises(SekishoError) as caught:
        world.perform(desk.requester, desk.command(**fields))
    error = caught.value
    assert found in (error.rules if isinstance(error, DeniedError) else (error.code,))
    assert world.rows("select * from kernel_proposals") == []


def test_an_export_licence_opens_what_is_controlled(world: World) -> None:
    desk = Desk(world, labels=["export-controlled"], residency=["any"])
    release = desk.agreed(destination="US", licence="METI-1")
    assert (release["destination"], release["licence"]) == ("US", "METI-1")


def test_an_approval_of_something_else_is_refused_and_recorded(desk: Desk) -> None:
    world = desk.world
    proposal = desk.ask()
    for binding in ("", digest_of(b"another")):
        call = ApproveProposal(proposal=proposal, binding=binding)
        assert refused(functools.partial(world.perform, desk.own, call)) == "proposal.changed"
    failed = last(world, "kernel.proposal.approve")
    assert (failed["outcome"], failed["detail"]["code"]) == ("failed", "proposal.changed")
    assert world.rows("select * from kernel_approvals") == []


@pytest.mark.parametrize(
    "sql",
    [
        "update data_artefacts set object = 'sha256:0', record_id = :record_id where id = :id",
        "update data_artefacts set owners = '[\"org_x\"]', record_id = :record_id where id = :id",
        "update data_artefacts set labels = '[\"personal\"]', record_id = :record_id where id = :id",
    ],
)
def test_what_changed_since_it_was_proposed_is_not_approved(desk: Desk, sql: str) -> None:
    world = desk.world
    proposal = desk.ask()
    world.approve(desk.own, proposal)
    desk.change(sql)
    assert refused(functools.partial(world.approve, desk.other, proposal)) == "proposal.changed"
    assert world.rows("select * from data_releases") == []


def test_another_owner_is_told_nothing(desk: Desk) -> None:
    world = desk.world
    proposal = desk.ask()
    world.approve(desk.own, proposal)
    desk.change(
        "update data_artefacts set owner = :org, record_id = :record_id where id = :id", org=world.laboratory
    )
    assert refused(functools.partial(world.approve, desk.other, proposal)) == "not_found"
    assert world.rows("select * from data_releases") == []


def test_approvals_come_in_time_once_and_from_who_is_named(desk: Desk) -> None:
    world = desk.world
    proposal = desk.ask()
    bound = world.open_proposals(desk.own)[proposal].binding
    own = functools.partial(world.approve, desk.own, proposal, binding=bound)
    own()
    assert refused(own) == "proposal.approved_already"
    assert refused(functools.partial(world.approve, desk.requester, proposal)) == "proposal.same_person"
    third = world.releaser("third", world.organisation("Third"))
    assert world.open_proposals(third) == {}
    assert refused(functools.partial(world.approve, third, proposal, binding=bound)) == "not_found"
    failed = [record["detail"]["code"] for record in world.records() if record["outcome"] == "failed"]
    assert failed == ["proposal.approved_already", "proposal.same_person", "not_found"]
    world.clock.advance(APPROVE_MS)
    late = functools.partial(world.approve, desk.other, proposal, binding=bound)
    assert refused(late) == "proposal.expired"
    assert world.rows("select * from data_releases") == []
    assert sound(world)


def test_a_replay_after_the_release_does_nothing_and_is_recorded(desk: Desk) -> None:
    world = desk.world
    proposal = desk.ask()
    bound = world.open_proposals(desk.own)[proposal].binding
    for person in (desk.own, desk.other):
        world.approve(person, proposal, binding=bound)
    assert refused(functools.partial(world.approve, desk.other, proposal, binding=bound)) == "not_found"
    assert last(world, "kernel.proposal.approve")["outcome"] == "failed"
    assert len(world.rows("select * from data_releases")) == 1


def test_a_role_lost_in_between_stops_it(desk: Desk) -> None:
    world = desk.world
    proposal = desk.ask()
    world.approve(desk.own, proposal)
    revoke = identity.RevokeRole(account=desk.own.ref.id, role="releaser")
    world.perform(world.administrator, revoke)
    assert rules_of(functools.partial(world.approve, desk.other, proposal)) == ("closed:User",)
    assert world.rows("select * from data_releases") == []
    assert [row["approver"] for row in world.rows("select approver from kernel_approvals")] == [
        desk.own.ref.id
    ]


def test_a_role_lost_before_saying_yes_makes_it_no_yes(desk: Desk) -> None:
    world = desk.world
    proposal = desk.ask()
    binding = world.open_proposals(desk.own)[proposal].binding
    revoke = identity.RevokeRole(account=desk.own.ref.id, role="releaser")
    world.perform(world.administrator, revoke)
    assert rules_of(functools.partial(world.approve, desk.own, proposal, binding=binding)) == ("no-permit",)
    assert world.rows("select approver from kernel_approvals") == []
    assert last(world, "kernel.proposal.approve")["outcome"] == "denied"


def test_a_role_that_no_longer_lets_approve_stops_it(desk: Desk) -> None:
    """Still somebody whom a context may name, but no second factor and so nobody the charter lets approve."""
    world = desk.world
    proposal = desk.ask()
    world.approve(desk.own, proposal)
    login = identity.AdmitLogin(
        issuer="https://id.example", subject="own", organisation=world.office, display_name="own", mfa=False
    )
    world.perform(SYSTEM, login)
    assert rules_of(functools.partial(world.approve, desk.other, proposal)) == ("no-permit",)
    assert world.rows("select * from data_releases") == []


def test_a_role_lost_after_the_release_stops_the_bytes(desk: Desk) -> None:
    world = desk.world
    release = desk.agreed()["id"]
    world.seal_log()
    desk.arrive(release)
    world.perform(world.administrator, identity.RevokeRole(account=desk.other.ref.id, role="releaser"))
    assert rules_of(functools.partial(world.perform, desk.requester, FetchRelease(release=release))) == (
        "closed:User",
    )


def test_two_exports_at_once_do_not_lend_each_other_approvals(desk: Desk) -> None:
    world = desk.world
    first, second = desk.ask(), desk.ask(reason="again")
    world.approve(desk.own, first)
    bound = world.open_proposals(desk.other)[first].binding
    crossed = functools.partial(world.approve, desk.other, second, binding=bound)
    assert refused(crossed) == "proposal.changed"
    assert world.approve(desk.other, second)["waiting"] == [desk.own.ref.id]
    assert world.rows("select * from data_releases") == []
    assert world.approve(desk.other, first)["proposal"] == first
    assert list(world.open_proposals(desk.own)) == [second]


def test_only_whoever_asked_fetches_and_only_for_a_day(desk: Desk) -> None:
    world = desk.world
    release = desk.agreed()["id"]
    world.seal_log()
    desk.arrive(release)
    for somebody in (desk.own, desk.other):
        call = functools.partial(world.perform, somebody, FetchRelease(release=release))
        assert refused(call) == "not_found"
    with pytest.raises(NotFoundError):
        world.perform(desk.other, ShowRelease(release=release))
    assert world.perform(desk.other, ListReleases()).items == []
    world.clock.advance(FETCH_MS)
    assert world.perform(desk.requester, ShowRelease(release=release)).state == "over"
    over = functools.partial(world.perform, desk.requester, FetchRelease(release=release))
    assert refused(over) == "data.release_not_ready"


def test_what_was_agreed_to_must_be_what_lies_there(desk: Desk) -> None:
    world = desk.world
    release = desk.agreed()["id"]
    world.seal_log()
    desk.arrive(release)
    desk.change("update data_artefacts set object = 'sha256:0', record_id = :record_id where id = :id")
    call = functools.partial(world.perform, desk.requester, FetchRelease(release=release))
    assert refused(call) == "data.release_not_ready"


def test_bytes_that_are_here_already_need_not_come_again(world: World) -> None:
    desk = Desk(world, level=1, kind="workdir", attempt="")
    world.send(into=desk.artefact.id)
    release = desk.agreed()["id"]
    world.seal_log()
    download = world.perform(desk.requester, FetchRelease(release=release))
    assert world.control.tickets.open(download.ticket).into == desk.artefact.id


def test_a_digest_that_somebody_names_is_handed_over_by_nobody(world: World) -> None:
    """The laboratory's output lies at a site; the office names a folder of that digest at level 0 and sends nothing."""
    theirs = put_artefact(world, level=2, owner=world.laboratory)
    named = world.add_workdir_of(theirs.object, theirs.size_bytes)
    desk = Desk(world, id="art_own", object=digest_of(b"own"))
    command = desk.command(desk.own, artefact=named)
    release = world.approve(desk.own, world.asked(desk.requester, command).proposal)
    world.seal_log()
    assert world.perform(desk.requester, ShowRelease(release=release["id"])).state == "waiting"

    def wanted(tx: Tx) -> list[str]:
        return [one.artefact for one in tables_release.wanted_from(tx, "site_far", world.clock.now_ms())]

    assert world.database.read(wanted) == []
    own = desk.agreed()
    assert world.database.read(wanted) == [own["artefact"]]


def test_an_unknown_release_is_not_found(desk: Desk) -> None:
    for command in (ShowRelease(release="rel_x"), FetchRelease(release="rel_x")):
        with pytest.raises(SekishoError) as caught:
            desk.world.perform(desk.requester, command)
        assert code_of(caught) == "not_found"


def test_proposals_are_shown_to_the_people_they_name(desk: Desk) -> None:
    world = desk.world
    proposal = desk.ask()
    assert proposal in world.open_proposals(desk.requester)
    assert proposal not in world.open_proposals(world.administrator)
    grant = identity.GrantApprover(person=desk.own.ref.id, role="compliance")
    ordinary = world.asked(world.administrator, grant).proposal
    assert set(world.open_proposals(world.administrator)) == {ordinary}
    assert set(world.open_proposals(desk.own)) == {proposal}


def test_the_artefact_is_untouched(desk: Desk) -> None:
    desk.agreed()
    found = desk.world.database.read(lambda tx: tables.find_artefact(tx, desk.artefact.id))
    assert isinstance(found, ArtefactView)
    assert msgspec.structs.replace(found, copies=[], record_id="") == desk.artefact
