"""Handlers of exports: who has to agree, what may leave after that, and when its bytes are handed out.

Known hole: between site and person the bytes lie in the control plane's own store as they are, whatever the charter
says of keeping data here; its approvers agreed to that way, and it must not lead out of the residency.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sekisho.data import rules, tables_release
from sekisho.data.actions import DataActions, find_artefact, owner_of
from sekisho.data.errors import RELEASE_NOT_READY
from sekisho.data.model import ArtefactView, Download
from sekisho.data.model_release import (
    ExportArtefact,
    FetchRelease,
    ListReleases,
    ReleasePage,
    ReleaseView,
    ShowRelease,
)
from sekisho.data.tickets import Tickets
from sekisho.kernel.command import spec_of
from sekisho.kernel.context import Consent, Ctx, Handler
from sekisho.kernel.errors import NotFoundError, SekishoError
from sekisho.kernel.evidence import Evidence
from sekisho.kernel.facts import Actor, Entity, Principals, Ref, Target, Value
from sekisho.kernel.tx import Tx
from sekisho_verify import canonical

APPROVE_MS = 4 * 3600 * 1000
"""How long approvers have; the oldest approval a release rests on is no older."""
FETCH_MS = 24 * 3600 * 1000
"""How long a release may be fetched: large ones come slowly, and begin again where they broke off."""
EXPORT_FILE = "export.json"

KeepFile = Callable[[Tx, str, bytes], None]
"""Stores evidence bytes under their digest in this transaction."""
UnderCheckpoint = Callable[[Tx, str], bool]
"""Whether a record is under a checkpoint: what leaves the house because of it waits for that."""


class People:
    """Whom a command may name as its approvers."""

    def __init__(self, principals: Principals) -> None:
        """`principals` knows who is active, and for which organisation."""
        self._principals = principals

    def organisations(self, tx: Tx, named: list[str]) -> dict[str, str]:
        """The organisation of each of these people who is active."""
        found = {person: self.entity(tx, person) for person in named}
        return {person: owner_of(entity) for person, entity in found.items() if entity is not None}

    def entity(self, tx: Tx, person: str) -> Entity | None:
        """Somebody as the charter sees them now; None for who is not active."""
        return self._principals.principal(tx, Actor(Ref("User", person)))


def bound(artefact: ArtefactView) -> dict[str, Evidence]:
    """What approvers rely on of an artefact: its bytes, whose they are, and how sensitive."""
    return {
        "artefact": artefact.id,
        "object": artefact.object,
        "owner": artefact.owner,
        "owners": [*artefact.owners],
        "label": {
            "level": artefact.level,
            "labels": [*artefact.labels],
            "residency": [*artefact.residency],
        },
    }


def for_owners(ctx: Ctx, command: type[Any], owners: list[str], detail: Mapping[str, Evidence]) -> None:
    """A record in the stream of each further owner, so that each sees what became of what is partly theirs."""
    for owner in sorted(set(owners) - {ctx.target.stream}):
        resource = ctx.target.resource.ref
        with ctx.row(action=spec_of(command).name, resource=resource, stream=owner, detail=detail):
            pass


class ReleaseActions:
    """The handlers, with what they need from outside the database."""

    def __init__(
        self,
        data: DataActions,
        tickets: Tickets,
        people: People,
        *,
        keep_file: KeepFile,
        under_checkpoint: UnderCheckpoint,
    ) -> None:
        """`data` knows this place and which bytes lie here; the other two are the ledger's."""
        self._under_checkpoint = under_checkpoint
        self._data = data
        self._tickets = tickets
        self.people = people
        self._keep_file = keep_file

    def consent(self) -> Consent[ExportArtefact]:
        """Each owner, each approver of another organisation, and two of them from level 2 on."""
        return Consent(lambda command: tuple(command.approvers), self._check, _bound, APPROVE_MS)

    def _check(self, tx: Tx, proposer: Entity, command: ExportArtefact) -> None:
        artefact = find_artefact(tx, command.artefact)
        rules.check_export(artefact, self._data.country(tx))
        known = self.people.organisations(tx, command.approvers)
        rules.check_approvers(proposer.ref.id, known, command.approvers, artefact.owners)
        rules.check_organisations(artefact.level, known, command.approvers)

    def export(self, ctx: Ctx, command: ExportArtefact) -> ReleaseView:
        """Everybody agreed: from now on the requester may fetch it, once this is under a checkpoint."""
        artefact = find_artefact(ctx.tx, command.artefact)
        release = ReleaseView(
            id=ctx.new_id("rel"),
            artefact=artefact.id,
            owner=artefact.owner,
            object=artefact.object,
            object_kind=artefact.object_kind,
            size_bytes=artefact.size_bytes,
            destination=command.destination,
            licence=command.licence,
            reason=command.reason,
            requester=ctx.approvers[0],
            approvers=list(ctx.approvers[1:]),
            proposal=ctx.proposal,
            created_ms=ctx.now_ms,
            expires_ms=ctx.now_ms + FETCH_MS,
            record_id=ctx.record_id,
        )
        tables_release.insert(ctx.tx, release)
        agreed: dict[str, Evidence] = {
            **_bound(ctx.tx, command),
            "release": release.id,
            "proposal": ctx.proposal,
            "requester": release.requester,
            "approvers": [*release.approvers],
            "through": self._data.country(ctx.tx),
            "expires_ms": release.expires_ms,
        }
        content = canonical.encode({"v": 1, **agreed})
        digest = canonical.digest(content)
        self._keep_file(ctx.tx, digest, content)
        files: Evidence = {EXPORT_FILE: digest}
        detail = agreed | {"files": files}
        ctx.detail(**detail)
        for_owners(ctx, ExportArtefact, artefact.owners, detail)
        return self._viewed(ctx.tx, release, ctx.now_ms)

    def show(self, ctx: Ctx, command: ShowRelease) -> ReleaseView:
        """With how far it has come."""
        return self._viewed(ctx.tx, find_release(ctx.tx, command.release), ctx.now_ms)

    def fetch(self, ctx: Ctx, command: FetchRelease) -> Download:
        """A ticket, once record and bytes are where they must be; what was agreed to must still be what lies there."""
        release = self._viewed(ctx.tx, find_release(ctx.tx, command.release), ctx.now_ms)
        artefact = find_artefact(ctx.tx, release.artefact)
        rules.check_export(artefact, self._data.country(ctx.tx))
        if release.state != "ready" or (artefact.object, artefact.owner) != (release.object, release.owner):
            raise SekishoError(RELEASE_NOT_READY, state=release.state)
        ticket = self._tickets.issue(
            "get",
            release.object,
            release.object_kind,
            release.size_bytes,
            into=self._lies_under(release, artefact) or release.id,
        )
        detail: dict[str, Evidence] = {"release": release.id, "object": release.object}
        ctx.detail(**detail)
        for_owners(ctx, FetchRelease, artefact.owners, detail)
        return Download(
            release.object, release.object_kind, release.size_bytes, ticket, self._tickets.expiry_ms()
        )

    def list_releases(self, ctx: Ctx, command: ListReleases) -> ReleasePage:
        """Exactly those of artefacts that the asker may see."""
        items, following = ctx.page(
            functools.partial(tables_release.page, ctx.tx, artefact=command.artefact),
            start=command.cursor,
            limit=command.limit,
            key=lambda release: release.id,
            seen=lambda release: ctx.allows(ShowRelease, _entity(ctx.tx, release)),
        )
        return ReleasePage([self._viewed(ctx.tx, release, ctx.now_ms) for release in items], following)

    def wanted_from(self, ctx: Ctx, site: str) -> list[ReleaseView]:
        """Releases whose bytes lie at a site, waiting or not: cheap, so that a poll may ask it often."""
        return tables_release.wanted_from(ctx.tx, site, ctx.now_ms)

    def hand_over(self, ctx: Ctx, release: ReleaseView) -> str:
        """The ticket under which a site's agent may send it here; empty unless it waits for that and still may."""
        artefact = find_artefact(ctx.tx, release.artefact)
        requester = self.people.entity(ctx.tx, release.requester)
        if requester is None or self._viewed(ctx.tx, release, ctx.now_ms).state != "waiting":
            return ""
        asked = msgspec.structs.replace(
            ctx.request(
                FetchRelease,
                rules.artefact_entity(artefact),
                _context(release.destination, release.licence, release.approvers),
            ),
            principal=requester,
        )
        if artefact.object != release.object or not ctx.decide(asked).allowed:
            return ""
        return self._tickets.issue(
            "put", release.object, release.object_kind, release.size_bytes, into=release.id
        )

    def _viewed(self, tx: Tx, release: ReleaseView, now_ms: int) -> ReleaseView:
        artefact = find_artefact(tx, release.artefact)
        if release.expires_ms <= now_ms:
            return msgspec.structs.replace(release, state="over")
        if not self._under_checkpoint(tx, release.record_id):
            return release
        if self._lies_under(release, artefact):
            return msgspec.structs.replace(release, state="ready")
        return msgspec.structs.replace(release, state="waiting", sites=artefact.copies)

    def _lies_under(self, release: ReleaseView, artefact: ArtefactView) -> str:
        """The name under which all of its bytes came in here; empty while some are missing."""
        for into in (artefact.attempt or artefact.id, release.id):
            if self._data.arrived(into, release.object, release.object_kind):
                return into
        return ""


def find_release(tx: Tx, release: str) -> ReleaseView:
    """A release by its id or its proposal's; NotFoundError otherwise."""
    found = tables_release.find(tx, release)
    if found is None:
        raise NotFoundError(id=release)
    return found


def _bound(tx: Tx, command: ExportArtefact) -> dict[str, Evidence]:
    where: dict[str, Evidence] = {
        "destination": command.destination,
        "licence": command.licence,
        "reason": command.reason,
    }
    return {**bound(find_artefact(tx, command.artefact)), **where}


def _context(destination: str, licence: str, approvers: list[str]) -> dict[str, Value]:
    """The charter looks at two approvers; that all of them are different is looked at here."""
    named = zip(("approver1", "approver2"), approvers, strict=False)
    return {
        "destination": destination,
        "export_licence": bool(licence),
        **{name: Ref("User", person) for name, person in named},
    }


def _export_target(tx: Tx, principal: Entity, command: ExportArtefact) -> Target:
    del principal
    artefact = find_artefact(tx, command.artefact)
    return Target(
        resource=rules.artefact_entity(artefact),
        context=_context(command.destination, command.licence, command.approvers),
        stream=artefact.owner,
    )


def _entity(tx: Tx, release: ReleaseView) -> Entity:
    return rules.artefact_entity(find_artefact(tx, release.artefact))


def _show_target(tx: Tx, principal: Entity, command: ShowRelease) -> Target:
    del principal
    release = find_release(tx, command.release)
    return Target(resource=_entity(tx, release), stream=release.owner)


def _fetch_target(tx: Tx, principal: Entity, command: FetchRelease) -> Target:
    """Asked anew with the same approvers: one who has no say any more stops it, also after the approval."""
    release = find_release(tx, command.release)
    if principal.ref.id != release.requester:
        raise NotFoundError(id=command.release)
    return Target(
        resource=_entity(tx, release),
        context=_context(release.destination, release.licence, release.approvers),
        stream=release.owner,
    )


def _listing(tx: Tx, principal: Entity, command: ListReleases) -> Target:
    """Everything of the asker's organisation; each row is then asked about by itself."""
    del tx, command
    owner = owner_of(principal)
    entity = rules.labelled("Artifact", "all", owner=owner, level=0, labels=(), residency=(rules.ANYWHERE,))
    return Target(resource=entity, stream=owner)


def release_handlers(actions: ReleaseActions) -> tuple[Handler[Any], ...]:
    """Every command about what leaves."""
    return (
        Handler(ExportArtefact, _export_target, actions.export, consent=actions.consent()),
        Handler(ShowRelease, _show_target, actions.show),
        Handler(ListReleases, _listing, actions.list_releases),
        Handler(FetchRelease, _fetch_target, actions.fetch),
    )
