"""The charter's commands through the gate, on the real identity: drafting, activating, reading, trying."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from sekisho import charter, identity
from sekisho.charter import schema
from sekisho.charter.actions import PAGE_MAX
from sekisho.charter.compiled import document_digest
from sekisho.charter.vocabulary import GROUP_BY_NAME
from sekisho.kernel import proposals
from sekisho.kernel.clock import ManualClock, rfc3339
from sekisho.kernel.command import Command
from sekisho.kernel.db import open_database
from sekisho.kernel.errors import ConflictError, DeniedError, InvalidInputError, NotFoundError, SekishoError
from sekisho.kernel.facts import SYSTEM, Actor, Entity, Ref
from sekisho.kernel.gate import Gate
from sekisho.kernel.tx import Tx
from tests.charter import yard
from tests.support import toy

LOOSER = yard.JAPAN.replace('duration("15m")', 'duration("30m")')


class Office:
    """Two administrators, a compliance officer, an engineer and a stranger, under the shipped charter."""

    def __init__(self, url: str) -> None:
        self.clock, self.recorder = ManualClock(toy.START_MS), toy.Memory()
        self.database = open_database(url)
        self.kept: dict[str, bytes] = {}
        self.engine = charter.CharterEngine(
            [identity.OrganisationEntities(self.clock), identity.ApproverEntities(self.clock)]
        )
        self.office = charter.Office(self.engine, keep=self._keep)
        self.gate = Gate(
            self.database,
            clock=self.clock,
            decider=self.engine,
            principals=identity.IdentityPrincipals(self.clock),
            recorder=self.recorder,
            handlers=(
                *identity.handlers(
                    clock=self.clock,
                    sites=self._no_site,
                    control_key="A" * 43,
                    install_charter=self.office.install,
                    agents_changed=lambda _ctx, _site: None,
                ),
                *charter.handlers(self.office),
            ),
        )
        people = [identity.NewPerson(display_name=name, email=f"{name}@example.jp") for name in ("a", "b")]
        genesis = self.perform(
            SYSTEM,
            identity.Begin(
                organisation=identity.NewOrganisation(
                    name="国立計算機構", jurisdiction="JP", parent_jurisdiction="JP", foreign_control_pct=0
                ),
                administrators=people,
                charter=charter.default_policies(),
            ),
        )
        self.home = genesis.organisation
        self.ann, self.ben = (Actor(Ref("User", one.account)) for one in genesis.administrators)

    def _keep(self, tx: Tx, digest: str, body: bytes) -> None:
        assert tx.record_id
        self.kept[digest] = body

    @staticmethod
    def _no_site(tx: Tx, site: str, /) -> Entity:
        del tx
        raise NotFoundError(id=site)

    def perform(self, actor: Actor, command: Command[Any]) -> Any:
        return self.gate.perform(actor, command)

    def person(self, *roles: Any) -> Actor:
        made = self.perform(self.ann, identity.CreatePerson(organisation=self.home, display_name="x"))
        for role in roles:
            self.perform(self.ann, identity.GrantRole(account=made.id, role=role))
        return Actor(Ref("User", made.id))

    def draft(self, policies: str) -> charter.Drafted:
        self.clock.advance(1)  # ids of one millisecond are in no order
        found: charter.Drafted = self.perform(self.ann, charter.DraftVersion(policies=policies))
        return found

    def activate(self, version: str) -> dict[str, Any]:
        proposed = self.perform(self.ann, charter.ActivateVersion(version=version))
        raw = self.perform(self.ben, proposals.ApproveProposal(proposal=proposed.proposal))
        found: dict[str, Any] = msgspec.json.decode(raw)
        return found

    def active(self) -> str:
        found: str = self.perform(self.ann, charter.ShowVersion()).version.id
        return found


@pytest.fixture
def office(db_url: str) -> Iterator[Office]:
    found = Office(db_url)
    yield found
    found.database.close()


def test_genesis_brings_the_first_charter(office: Office) -> None:
    shown = office.perform(office.ann, charter.ShowVersion())
    assert (shown.version.state, shown.outdated) == ("active", False)
    assert shown.version.activated == rfc3339(toy.START_MS)
    assert shown.policies == yard.JAPAN
    body = office.kept[shown.version.digest]
    assert document_digest(body) == shown.version.digest
    assert msgspec.json.decode(body) == {"v": 1, "schema": shown.schema, "policies": shown.policies}
    assert office.database.read(lambda tx: charter.charter_document(tx, shown.version.digest)) == body
    assert office.database.read(lambda tx: charter.charter_document(tx, "sha256:none")) is None
    first = next(iter(office.recorder.drafts.values()))
    assert first.decision.rules == ("genesis",)
    assert first.decision.charter == charter.NO_CHARTER
    assert any(effect[0] == "charter_versions" for effect in first.effects)


def test_a_draft_is_checked_kept_and_compared(office: Office) -> None:
    before = office.active()
    drafted = office.draft(LOOSER)
    assert drafted.policies == yard.JAPAN.count("@id(")
    assert drafted.changes_complete
    assert {one.action for one in drafted.changes} >= {"processing.any", "at_rest.any"}
    assert office.active() == before
    record = office.recorder.last
    assert (record.action, record.outcome, record.detail["digest"]) == (
        "charter.version.draft",
        "done",
        drafted.digest,
    )
    assert [effect[0] for effect in record.effects] == ["charter_versions"]
    with pytest.raises(charter.CharterError) as caught:
        office.draft(LOOSER)
    assert (caught.value.code, caught.value.params["version"]) == ("charter.duplicate", drafted.version)


def test_two_people_activate(office: Office) -> None:
    before = office.active()
    drafted = office.draft(LOOSER)
    proposed = office.perform(office.ann, charter.ActivateVersion(version=drafted.version))
    assert office.active() == before
    with pytest.raises(SekishoError) as caught:
        office.perform(office.ann, proposals.ApproveProposal(proposal=proposed.proposal))
    assert caught.value.code == "proposal.same_person"
    assert office.active() == before
    office.clock.advance(1_000)
    office.perform(office.ben, proposals.ApproveProposal(proposal=proposed.proposal))
    assert office.active() == drafted.version
    record = office.recorder.last
    assert record.approvers == (office.ann.ref.id, office.ben.ref.id)
    assert record.detail == {
        "digest": drafted.digest,
        "replaced": office.perform(office.ann, charter.ShowVersion(version=before)).version.digest,
    }
    assert len([effect for effect in record.effects if effect[0] == "charter_versions"]) == 2
    assert drafted.digest in office.kept
    old = office.perform(office.ann, charter.ShowVersion(version=before)).version
    assert (old.state, old.retired) == ("retired", rfc3339(toy.START_MS + 1_001))
    assert office.recorder.last.decision.charter != drafted.digest, "decided under the charter before"
    office.perform(office.ann, identity.CreatePerson(organisation=office.home, display_name="y"))
    assert office.recorder.last.decision.charter == drafted.digest


def test_a_retired_version_can_come_back(office: Office) -> None:
    first = office.active()
    drafted = office.draft(LOOSER)
    office.activate(drafted.version)
    answer = office.activate(first)
    assert (answer["version"], answer["replaced"]) == (first, drafted.version)
    assert office.active() == first
    with pytest.raises(ConflictError):
        office.activate(first)
    with pytest.raises(NotFoundError):
        office.perform(office.ann, charter.ActivateVersion(version="chv_none")) and office.activate(
            "chv_none"
        )


@pytest.mark.parametrize(
    ("policies", "code"),
    [
        ("this is not Cedar", "charter.unreadable"),
        (" ", "charter.unreadable"),
        ('@id("x") permit (principal == ?principal, action, resource);', "charter.unreadable"),
        ("x" * 300_000, "charter.unreadable"),
        ('@id("x") permit (principal, action, resource) when { resource.levl == 2 };', "charter.invalid"),
        ("permit (principal, action, resource);", "charter.lint"),
        ('@id("x") permit (principal, action, resource);', "charter.leaks"),
        (yard.JAPAN.replace('action in Action::"govern"', 'action in Action::"audit"'), "charter.locked"),
    ],
)
def test_a_bad_charter_is_refused_and_leaves_nothing(office: Office, policies: str, code: str) -> None:
    count = len(office.recorder.drafts)
    with pytest.raises(charter.CharterError) as caught:
        office.draft(policies)
    assert caught.value.code == code
    assert len(office.perform(office.ann, charter.ListVersions()).items) == 1
    assert len(office.recorder.drafts) == count


def test_a_charter_for_too_few_people_is_not_activated(office: Office) -> None:
    head, group, tail = yard.JAPAN.partition('action in Action::"govern"')
    text = head + group + tail.replace('["administrator", "compliance"]', '["compliance"]', 1)
    drafted = office.draft(text)
    proposed = office.perform(office.ann, charter.ActivateVersion(version=drafted.version))
    with pytest.raises(charter.CharterError) as caught:
        office.perform(office.ben, proposals.ApproveProposal(proposal=proposed.proposal))
    assert caught.value.code == "charter.locked"
    assert office.active() != drafted.version


def test_only_those_who_govern_may_change_and_nobody_waits_for_a_check_in_vain(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    engineer = office.person("engineer")
    monkeypatch.setattr(office.office, "check", _never)
    for command in (charter.DraftVersion(policies=LOOSER), charter.ActivateVersion(version=office.active())):
        with pytest.raises(DeniedError) as caught:
            office.perform(engineer, command)
        assert caught.value.rules == ("no-permit",)
        assert caught.value.sentences[0].en == "Needs the role administrator / compliance."


def _never(policies: str) -> None:
    raise AssertionError(policies[:20])


def test_reading_is_for_everybody_with_a_role(office: Office) -> None:
    drafted = office.draft(LOOSER)
    engineer, nobody = office.person("engineer"), office.person()
    listed = office.perform(engineer, charter.ListVersions(limit=1))
    assert [one.id for one in listed.items] == [drafted.version]
    rest = office.perform(engineer, charter.ListVersions(limit=1, cursor=listed.next))
    assert (len(rest.items), rest.next) == (1, None)
    assert rest.items[0].state == "active"
    for limit in (0, PAGE_MAX + 1):
        with pytest.raises(InvalidInputError):
            office.perform(engineer, charter.ListVersions(limit=limit))
    for command in (
        charter.ListVersions(),
        charter.ShowVersion(),
        charter.DiffVersions(after=drafted.version),
    ):
        with pytest.raises(NotFoundError):
            office.perform(nobody, command)
    with pytest.raises(NotFoundError):
        office.perform(engineer, charter.ShowVersion(version="chv_none"))


def test_a_difference_reads_both_ways(office: Office) -> None:
    drafted = office.draft(LOOSER)
    there = office.perform(office.ann, charter.DiffVersions(after=drafted.version))
    back = office.perform(office.ann, charter.DiffVersions(after=there.before, before=there.after))
    assert there.complete
    assert {one.allowed_after for one in there.changes} == {True}
    assert {one.allowed_after for one in back.changes} == {False}
    assert tuple(msgspec.structs.replace(one, changes=()) for one in (there, back)) == (
        charter.Difference(there.before, there.after, (), complete=True),
        charter.Difference(there.after, there.before, (), complete=True),
    )


# ------------------------------------------------------------------------------------------------------ trying out

NONE: list[str] = []
ORG: dict[str, Any] = {
    "jurisdiction": "JP",
    "parent_jurisdiction": "JP",
    "foreign_control_pct": 0,
    "legal_exposure": NONE,
    "certs": NONE,
    "grades": {"jurisdiction": 0, "parent_jurisdiction": 0, "foreign_control_pct": 0},
}


def share(office: Office, **changes: Any) -> charter.TryRequest:
    given: dict[str, Any] = {
        "action": "share.any",
        "principal": charter.EntityInput(
            "User",
            "usr_x",
            {"org": office.home, "roles": ["analyst"], "residence": "JP", "mfa": True, "clearances": []},
            ("team_x",),
        ),
        "resource": charter.EntityInput(
            "Indicator", "i", {"owner": office.home, "tlp": "red", "has_personal_data": False}
        ),
        "context": {"recipient": office.home, "recipient_kind": "private", "agreement": False},
    }
    return charter.TryRequest(**(given | changes))


def alone(office: Office) -> charter.EntityInput:
    who = share(office).principal
    assert who is not None
    return msgspec.structs.replace(who, parents=())


def test_a_made_up_request_is_answered_and_leaves_no_trace(office: Office) -> None:
    count = len(office.recorder.drafts)
    trial = office.perform(office.ann, share(office, principal=alone(office)))
    assert (trial.allowed, trial.rules, trial.sentences) == (True, ("P16-analyst",), ())
    red = office.perform(
        office.ann,
        share(
            office,
            principal=alone(office),
            resource=charter.EntityInput(
                "Indicator", "i", {"owner": office.home, "tlp": "red", "has_personal_data": True}
            ),
        ),
    )
    assert (red.allowed, red.rules) == (False, ("C12-tlp",))
    assert "Japanese national authorities" in red.sentences[0].en
    ghost = office.perform(office.ann, share(office))
    assert ghost.rules == ("closed:Team",)
    assert len(office.recorder.drafts) == count


def test_whoever_asks_can_try_for_themselves_at_another_time_and_version(office: Office) -> None:
    drafted = office.draft(LOOSER)
    command = charter.TryRequest(
        action="charter.version.draft",
        resource=charter.EntityInput("Charter", "charter"),
        version=drafted.version,
        at="2030-01-01T00:00:00Z",
    )
    trial = office.perform(office.ann, command)
    assert (trial.allowed, trial.charter) == (True, drafted.digest)
    assert not office.perform(office.person("engineer"), command).allowed


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"action": "share.nothing"}, "action"),
        ({"at": "yesterday"}, "at"),
        ({"resource": charter.EntityInput("Nothing", "x")}, "resource.type"),
        ({"resource": charter.EntityInput("Indicator", "x", {"level": 2})}, "resource.attributes.level"),
        (
            {"resource": charter.EntityInput("Indicator", "x", {"tlp": "red"})},
            "resource.attributes.has_personal_data",
        ),
        (
            {"resource": charter.EntityInput("Org", "x", ORG | {"foreign_control_pct": True})},
            "foreign_control_pct",
        ),
        ({"resource": charter.EntityInput("Org", "x", ORG | {"certs": ["a", 1]})}, "certs"),
        ({"resource": charter.EntityInput("Org", "x", ORG | {"certs": "a"})}, "certs"),
        ({"resource": charter.EntityInput("Org", "x", ORG | {"grades": 3})}, "grades"),
        ({"resource": charter.EntityInput("Org", "x", ORG | {"grades": {"x": 1}})}, "grades.x"),
        ({"context": {"recipient": 5, "recipient_kind": "private", "agreement": False}}, "context.recipient"),
        ({"context": {}}, "context."),
        ({"context": {"now": "2026-01-01T00:00:00Z"}}, "context.now"),
    ],
)
def test_a_made_up_request_that_does_not_fit_names_the_field(
    office: Office, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        office.perform(office.ann, share(office, **changes))
    assert field in str(caught.value.params["field"])


def test_moments_are_read_as_rfc_3339(office: Office) -> None:
    facts: dict[str, Any] = {
        "org": office.home,
        "roles": [],
        "residence": "JP",
        "mfa": True,
        "clearances": [],
        "clearance_until": "2026-11-20T03:00:00+09:00",
    }
    who = charter.EntityInput("User", "u", facts)
    assert not office.perform(office.ann, share(office, principal=who)).allowed
    for wrong in ("2026-11-20", 5, "2026-11-20T03:00:00"):
        with pytest.raises(InvalidInputError):
            office.perform(
                office.ann,
                share(office, principal=charter.EntityInput("User", "u", facts | {"clearance_until": wrong})),
            )


# ------------------------------------------------------------------------------------- an upgrade of the program


def test_a_newer_program_goes_on_under_the_old_text_until_two_people_renew_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert office.database.read(lambda tx: charter.drift(office.engine, tx)) == charter.Drift(
        office.perform(office.ann, charter.ShowVersion()).version.digest, (), ()
    )
    before = office.perform(office.ann, charter.ShowVersion()).version
    more = (*schema.program_specs(), yard.spec("yard.lamp.light", "administer", resource="Account"))
    less = tuple(one for one in more if one.name != "identity.me.show")
    monkeypatch.setattr("sekisho.charter.actions.program_specs", lambda: less)
    assert office.perform(office.ann, charter.ShowVersion()).outdated
    found = office.database.read(lambda tx: charter.drift(office.engine, tx))
    assert found is not None
    assert (found.charter, found.newer) == (before.digest, ("yard.lamp.light",))
    assert set(found.gone) <= {"identity.me.show"}
    trial = charter.TryRequest(
        action="yard.lamp.light", resource=charter.EntityInput("Account", "x", {"owner": office.home})
    )
    with pytest.raises(InvalidInputError):
        office.perform(office.ann, trial)
    renewed = office.draft("")
    assert renewed.digest != before.digest
    assert renewed.changes == ()
    office.activate(renewed.version)
    assert office.perform(office.ann, trial).allowed
    assert not office.perform(office.ann, charter.ShowVersion()).outdated


def test_there_is_no_drift_before_the_first_charter() -> None:
    class Empty:
        def facts_version(self) -> int:
            return 1

        def one(self, sql: str, /, **params: Any) -> None:
            del sql, params

    nothing: Any = Empty()
    assert charter.drift(charter.CharterEngine([]), nothing) is None


def test_every_group_has_a_name_in_the_vocabulary() -> None:
    named = {group for one in schema.program_specs() for group in one.groups}
    assert named <= GROUP_BY_NAME.keys()
