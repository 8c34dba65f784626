"""Handlers of landmarks and proofs: who is asked to measure, what came of it, and what stands because of it."""

from __future__ import annotations

import secrets
from typing import Any, TypeAlias

import msgspec

from sekisho.identity import find_organisation, newest_agent
from sekisho.kernel.command import spec_of
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.errors import NotFoundError, SekishoError
from sekisho.kernel.facts import Entity, Ref, Target
from sekisho.kernel.tx import Row, Tx
from sekisho.sites import proofs, rules, tables, views_location
from sekisho.sites import tables_location as located
from sekisho.sites.errors import HAND_INS, KEY_TAKEN, NOT_MEASURABLE, REQUEST_OVER, TRANSCRIPT_UNREADABLE
from sekisho.sites.model import ExpireFact, Fact, SiteView
from sekisho.sites.model_location import (
    AddLandmark,
    AddProof,
    AskLandmarks,
    AskProof,
    CloseProof,
    LandmarkView,
    ListLandmarks,
    ListTasks,
    ProofView,
    RemoveLandmark,
    RequestProof,
    SetTerritory,
    ShowProof,
    TerritoryView,
)
from sekisho.sites.territories import CONTENTION, KeepFile, ReadFile, Territories, find, territory_target
from sekisho_verify import canonical
from sekisho_verify.errors import VerifyError
from sekisho_verify.location import TRANSCRIPTS_MAX, Case, Claim, LocationVerdict
from sekisho_verify.location_packets import NONCE_BYTES
from sekisho_verify.location_proof import judged
from sekisho_verify.location_sphere import Place
from sekisho_wire.locating import Task

LANDMARK, SITE = "landmark", "site"

OfSite: TypeAlias = RequestProof | AddProof | ShowProof | AskProof
OfLandmark: TypeAlias = AddLandmark | RemoveLandmark | ListLandmarks | ListTasks


class LocationActions:
    """The handlers, with the ledger's evidence files and the territories that were read."""

    def __init__(self, keep: KeepFile, read: ReadFile) -> None:
        """`keep` and `read` are the ledger's."""
        self._keep = keep
        self.territories = Territories(keep, read)
        self.views = views_location.ProofViews(read)

    def request(self, ctx: Ctx, command: RequestProof) -> ProofView:
        """Ask the landmarks now, unless they are asked already; `sites.not_measurable` names what is missing."""
        site = find_site(ctx.tx, command.site)
        if not self._asked(ctx, site):
            self._ask(ctx, site)
        return self.views.of_site(ctx.tx, site, ctx.now_ms)

    def ask(self, ctx: Ctx, command: AskProof) -> bool:
        """The same unasked; a site that cannot be measured is looked at again later."""
        site = find_site(ctx.tx, command.site)
        able = not (self._asked(ctx, site) or self._missing(ctx.tx, site))
        if able:
            self._ask(ctx, site)
        elif proofs.ADDRESS in site.facts:
            again_later(ctx, site.id)
        return able

    def _asked(self, ctx: Ctx, site: SiteView) -> bool:
        """Whether landmarks are asked already, about the agent that would be asked about now."""
        newest, agent = located.newest_proof(ctx.tx, site.id), newest_agent(ctx.tx, site.id)
        same = newest is not None and agent is not None and newest["public_key"] == agent.public_key
        return same and _is_open(newest, ctx.now_ms)

    def _missing(self, tx: Tx, site: SiteView) -> list[str]:
        """What a measurement still needs, by the names under which it is given."""
        needs = {
            "agent": newest_agent(tx, site.id) is not None,
            "landmark": bool(proofs.counting(located.landmarks(tx))),
            "territory": bool(located.territory_in_force(tx)),
            proofs.ADDRESS: proofs.ADDRESS in site.facts,
            " ".join(proofs.PLACE): proofs.place_of(site) is not None,
        }
        return [name for name, there in needs.items() if not there]

    def _ask(self, ctx: Ctx, site: SiteView) -> None:
        missing = self._missing(ctx.tx, site)
        agent = newest_agent(ctx.tx, site.id)
        if missing or agent is None:
            raise SekishoError(NOT_MEASURABLE, site=site.name, missing=", ".join(missing))
        request = _insert(
            ctx, SITE, target=site.id, key=agent.public_key, address=str(site.facts[proofs.ADDRESS].value)
        )
        ctx.detail(request=request)
        again_later(ctx, site.id, proofs.ASK_MS_MIN, proofs.ASK_MS_MAX)

    def ask_landmarks(self, ctx: Ctx, command: AskLandmarks) -> int:
        """Have the landmarks that answer measured by the others: their distances are known."""
        del command
        asked = [each for each in located.landmarks(ctx.tx) if each.address]
        if asked and located.territory_in_force(ctx.tx):
            for each in asked:
                _insert(ctx, LANDMARK, target=each.name, key=each.public_key, address=each.address)
        if asked:
            ctx.later(
                AskLandmarks(),
                delay_ms=_between(proofs.ASK_MS_MIN, proofs.ASK_MS_MAX),
                dedupe="prove-landmarks",
            )
        return len(asked)

    def add(self, ctx: Ctx, command: AddProof) -> ProofView:
        """Judge what was handed in together with what came before; only an accepted verdict changes anything."""
        row = located.proof(ctx.tx, command.request)
        if row is None or not _is_open(row, ctx.now_ms) or row["target"] != command.site:
            raise SekishoError(REQUEST_OVER, request=command.request[:80])
        given = [_transcript(number, text) for number, text in enumerate(command.transcripts)]
        handed_in = _counted(ctx, row)
        verdict, file = self._judge(ctx, row, given)
        located.note_proof(ctx.tx, row["id"], verdict.code, file, handed_in=handed_in)
        ctx.detail(**_evidence(row, verdict, file))
        if row["kind"] == LANDMARK:
            _note_contradictions(ctx, row, verdict)
            return views_location.of_landmark(ctx.tx, row)
        site = find_site(ctx.tx, row["target"])
        fact = self._stand(ctx, site, verdict, file) if verdict.accepted else None
        if not self.views.waiting(ctx.tx, located.proof(ctx.tx, row["id"]) or row):
            _close(ctx, row, verdict.code, standing=fact is not None)
        return self.views.of_site(ctx.tx, find_site(ctx.tx, site.id), ctx.now_ms)

    def _judge(self, ctx: Ctx, row: Row, given: list[bytes]) -> tuple[LocationVerdict, str]:
        earlier = self.views.transcripts(ctx.tx, row)
        case = Case(
            claim=_claim(ctx.tx, row),
            landmarks=[
                each for each in proofs.counting(located.landmarks(ctx.tx)) if each.name != row["target"]
            ],
            territory=self.territories.in_force(ctx.tx),
            now_ms=ctx.now_ms,
            policy=proofs.policy(row["nonce"]),
        )
        # What came first stays: who floods a request with transcripts pushes nobody's out.
        verdict, body = judged([*earlier, *given][:TRANSCRIPTS_MAX], case)
        digest = canonical.digest(body)
        self._keep(ctx.tx, digest, body)
        return verdict, digest

    def _stand(self, ctx: Ctx, site: SiteView, verdict: LocationVerdict, file: str) -> Fact | None:
        """Let an accepted proof stand; None where a better one does, or the agent that answered is not the newest."""
        started_ms, claimed = self.views.started_ms(ctx.tx, file), self.views.proof(ctx.tx, file).claim
        key, agent = claimed.key, newest_agent(ctx.tx, site.id)
        public_key = canonical.to_base64url(key)
        if agent is None or agent.public_key != public_key or claimed.site != site.id:
            return None
        bound = proofs.is_attested(site, key, ctx.now_ms)
        fact = proofs.fact_of(verdict, started_ms, file, bound=bound)
        if fact.expires_ms <= ctx.now_ms or not proofs.replaces(
            fact, site.facts.get(proofs.PLACE_PROOF), ctx.now_ms
        ):
            return None
        beside = msgspec.structs.replace(fact, value=public_key)
        for name, each in ((proofs.PLACE_PROOF, fact), (proofs.PLACE_KEY, beside)):
            tables.put_fact(ctx.tx, site.id, name, each)
            ctx.later(ExpireFact(site=site.id, name=name), delay_ms=fact.expires_ms - ctx.now_ms)
        return fact

    def close(self, ctx: Ctx, command: CloseProof) -> bool:
        """End a request that not every landmark answered; one that showed nothing is made again soon."""
        row = located.proof(ctx.tx, command.request)
        if row is None or row["state"] != "open":
            return False
        if row["kind"] == SITE:
            ctx.detail(request=row["id"], waiting=[*self.views.waiting(ctx.tx, row)])
        _close(ctx, row, row["code"], standing=row["code"] == views_location.ACCEPTED)
        return True

    def set_territory(self, ctx: Ctx, command: SetTerritory) -> TerritoryView:
        """Put a version in force, and judge every proof that stands again on it, each with a record of its own."""
        find(ctx.tx, command.digest)
        before = located.territory_in_force(ctx.tx)
        ctx.expect(before != command.digest, command.digest)
        located.set_territory(ctx.tx, command.digest, ctx.now_ms)
        ctx.detail(replaced=before, files={"territory.json": command.digest})
        for site in tables.every(ctx.tx):
            if proofs.PLACE_PROOF in site.facts:
                self._judge_anew(ctx, site)
        wake_all(ctx)
        return find(ctx.tx, command.digest)

    def _judge_anew(self, ctx: Ctx, site: SiteView) -> None:
        """The same transcripts on another map; a proof that does not hold there falls at once."""
        proof = self.views.proof(ctx.tx, site.facts[proofs.PLACE_PROOF].source)
        case = Case(
            claim=proof.claim,
            landmarks=proof.landmarks,
            territory=self.territories.in_force(ctx.tx),
            now_ms=ctx.now_ms,
            policy=proof.policy,
        )
        verdict, body = judged(proof.transcripts, case)
        file = canonical.digest(body)
        self._keep(ctx.tx, file, body)
        with ctx.row(
            action=spec_of(SetTerritory).name,
            resource=Ref("Site", site.id),
            stream=site.id,
            detail={"code": verdict.code, "files": _files(file, verdict)},
        ):
            _drop_proof(ctx.tx, site.id)
            if verdict.accepted:
                self._stand(ctx, find_site(ctx.tx, site.id), verdict, file)

    def show(self, ctx: Ctx, command: ShowProof) -> ProofView:
        """The newest request that somebody answered, and the proof that holds."""
        return self.views.of_site(ctx.tx, find_site(ctx.tx, command.site), ctx.now_ms)

    def tasks(self, ctx: Ctx, command: ListTasks) -> list[Task]:
        """What is open and not answered by this landmark; nothing for one that is contradicted."""
        landmark = _own_landmark(ctx.tx, ctx.principal, command.landmark)
        if landmark.contradicted_by:
            return []
        return [
            Task(
                request=row["id"],
                kind=row["kind"],
                target=row["target"],
                public_key=row["public_key"],
                address=row["address"],
                nonce=row["nonce"],
                seconds=max(0, row["asked_ms"] + proofs.OPEN_MS - ctx.now_ms) // 1000,
            )
            for row in located.open_proofs(ctx.tx, ctx.now_ms - proofs.OPEN_MS)
            if landmark.name in self.views.waiting(ctx.tx, row)
        ]


def add_landmark(ctx: Ctx, command: AddLandmark) -> LandmarkView:
    """Know a landmark, or know it anew: then what others measured of it before is forgotten."""
    find_organisation(ctx.tx, command.organisation)
    holder = located.landmark_with_key(ctx.tx, command.public_key)
    if holder is not None and holder.name != command.name:
        raise SekishoError(KEY_TAKEN, name=holder.name)
    rules.check_key(command.public_key)
    rules.check_address(command.address)
    located.drop_contradictions(ctx.tx, command.name)
    located.put_landmark(ctx.tx, command)
    _mark(ctx)
    ctx.detail(landmark=command.name, landmark_key=command.public_key)
    wake_all(ctx)
    if command.address:
        ctx.later(AskLandmarks(), dedupe="prove-landmarks")
    return _find_landmark(ctx.tx, command.name)


def remove_landmark(ctx: Ctx, command: RemoveLandmark) -> LandmarkView:
    """Proofs that stand are at most fifteen minutes old and stay; no later one counts it."""
    gone = _find_landmark(ctx.tx, command.name)
    located.drop_contradictions(ctx.tx, command.name)
    located.drop_landmark(ctx.tx, command.name)
    _mark(ctx)
    ctx.detail(landmark=gone.name, landmark_key=gone.public_key)
    return gone


def list_landmarks(ctx: Ctx, command: ListLandmarks) -> list[LandmarkView]:
    """All of them: who measures is no secret."""
    del command
    return located.landmarks(ctx.tx)


def wake_all(ctx: Ctx) -> None:
    """Something that proofs need is there now: every site that can be measured is, soon."""
    for site in located.sites_with_address(ctx.tx):
        again_later(ctx, site, 0, 1000)


def forget_place(ctx: Ctx, site: str) -> None:
    """An agent of a site, by id, came or went: the proof that stands falls, and who is there now is measured soon."""
    facts = find_site(ctx.tx, site).facts
    if facts.keys() & {proofs.PLACE_PROOF, proofs.PLACE_KEY}:
        _drop_proof(ctx.tx, site)
        ctx.tx.move_facts()
    if proofs.ADDRESS in facts:
        # Not `prove:`, under which the measurement in some minutes waits already: it would take this one's place.
        ctx.later(AskProof(site=site), delay_ms=_between(0, 1000), dedupe=f"prove-anew:{site}")


def _drop_proof(tx: Tx, site: str) -> None:
    for name in (proofs.PLACE_PROOF, proofs.PLACE_KEY):
        tables.drop_fact(tx, site, name)


def again_later(
    ctx: Ctx, site: str, least_ms: int = proofs.RETRY_MS_MIN, most_ms: int = proofs.RETRY_MS_MAX
) -> None:
    """Have a site measured at a random moment in between; an earlier one that waits already stays."""
    ctx.later(AskProof(site=site), delay_ms=_between(least_ms, most_ms), dedupe=f"prove:{site}")


def find_site(tx: Tx, site: str) -> SiteView:
    """A site by id or name; NotFoundError when there is none."""
    found = tables.find(tx, site)
    if found is None:
        raise NotFoundError(id=site)
    return found


def _is_open(row: Row | None, now_ms: int) -> bool:
    """Whether a request takes transcripts; its closing may be late."""
    return row is not None and row["state"] == "open" and now_ms < row["asked_ms"] + proofs.OPEN_MS


def _insert(ctx: Ctx, kind: str, *, target: str, key: str, address: str) -> str:
    request = ctx.new_id("prq")
    judged_last = located.newest_judged(ctx.tx, target)
    if judged_last is not None:
        located.drop_proofs(ctx.tx, target, judged_last["id"])
    row: Row = {
        "id": request,
        "target": target,
        "kind": kind,
        "public_key": key,
        "address": address,
        "nonce": canonical.to_base64url(secrets.token_bytes(NONCE_BYTES)),
        "asked_ms": ctx.now_ms,
    }
    located.insert_proof(ctx.tx, row)
    ctx.later(CloseProof(request=request), delay_ms=proofs.OPEN_MS)
    return request


def _close(ctx: Ctx, row: Row, code: str, *, standing: bool) -> None:
    state = "accepted" if code == views_location.ACCEPTED else "refused"
    located.close_proof(ctx.tx, row["id"], state, ctx.now_ms)
    if row["kind"] == SITE and not standing:
        again_later(ctx, row["target"])


def _claim(tx: Tx, row: Row) -> Claim:
    """Who was to be measured, as of now: the place as it is declared, the key as it was asked for."""
    if row["kind"] == LANDMARK:
        landmark = proofs.known(_find_landmark(tx, row["target"]))
        return Claim(row["target"], canonical.from_base64url(row["public_key"]), landmark.place)
    place = proofs.place_of(find_site(tx, row["target"]))
    return proofs.claim(row["target"], row["public_key"], place or Place(0, 0))


def _counted(ctx: Ctx, row: Row) -> dict[str, int]:
    """How often who handed in what, this time included: each time leaves a file, so there is an end to it."""
    own, counts = ctx.principal.attributes.get("org"), located.handed_in(row)
    organisation = own.id if isinstance(own, Ref) else ""
    found = counts.get(organisation, 0) + 1
    if found > proofs.hand_ins_max(located.landmarks(ctx.tx), organisation):
        raise SekishoError(HAND_INS, request=row["id"])
    return counts | {organisation: found}


def _transcript(number: int, text: str) -> bytes:
    try:
        return canonical.from_base64url(text)
    except VerifyError as error:
        raise SekishoError(TRANSCRIPT_UNREADABLE, number=number) from error


def _note_contradictions(ctx: Ctx, row: Row, verdict: LocationVerdict) -> None:
    """An answer that light could not have brought from the place declared: one of the two is not where it says."""
    found = [finding for finding in verdict.findings if finding.code == views_location.TOO_FAST]
    for finding in found:
        located.put_contradiction(ctx.tx, row["target"], finding.landmark, row["id"])
    if found:
        _mark(ctx)


def _mark(ctx: Ctx) -> None:
    """Bring every landmark's mark in line with the pairs that contradict each other."""
    every = {each.name: each for each in located.landmarks(ctx.tx)}
    pairs = [
        (every[one], every[other])
        for one, other in located.contradictions(ctx.tx)
        if one in every and other in every
    ]
    against = proofs.contradicted(pairs)
    for name, landmark in every.items():
        if landmark.contradicted_by != against.get(name, []):
            located.set_contradicted(ctx.tx, name, against.get(name, []))


def _evidence(row: Row, verdict: LocationVerdict, file: str) -> dict[str, Any]:
    """What the record says beside the file: enough to understand it, nothing that the file does not hold."""
    return {
        "request": row["id"],
        "code": verdict.code,
        "findings": [
            {
                "landmark": each.landmark,
                "organisation": each.organisation,
                "state": each.state,
                "code": each.code,
            }
            for each in verdict.findings
        ],
        "files": _files(file, verdict),
    }


def _files(file: str, verdict: LocationVerdict) -> dict[str, str]:
    return {"location.json": file, "territory.json": verdict.territory}


def _find_landmark(tx: Tx, name: str) -> LandmarkView:
    found = next((each for each in located.landmarks(tx) if each.name == name), None)
    if found is None:
        raise NotFoundError(id=name)
    return found


def _own_landmark(tx: Tx, principal: Entity, name: str) -> LandmarkView:
    """A landmark of the caller's own organisation; another's looks like none."""
    landmark = _find_landmark(tx, name)
    if principal.attributes.get("org") != Ref("Org", landmark.organisation):
        raise NotFoundError(id=name)
    return landmark


def _between(least_ms: int, most_ms: int) -> int:
    return least_ms + secrets.randbelow(most_ms - least_ms + 1)


def _site_target(tx: Tx, principal: Entity, command: OfSite) -> Target:
    """A site; a landmark that others measure is asked about as one of its organisation that has no site."""
    del principal
    site = tables.find(tx, command.site)
    if site is None and isinstance(command, AddProof):
        landmark = _find_landmark(tx, command.site)
        return Target(
            resource=rules.site_entity(rules.unplaced(landmark.organisation)), stream=landmark.organisation
        )
    if site is None:
        raise NotFoundError(id=command.site)
    return Target(resource=rules.site_entity(site), stream=site.id)


def _landmark_target(tx: Tx, principal: Entity, command: OfLandmark) -> Target:
    del tx
    own = principal.attributes.get("org")
    owner = own.id if isinstance(own, Ref) else ""
    owner = command.organisation if isinstance(command, AddLandmark) else owner
    return Target(resource=rules.site_entity(rules.unplaced(owner)), stream=owner)


def _request_target(tx: Tx, principal: Entity, command: CloseProof | AskLandmarks) -> Target:
    del principal
    row = located.proof(tx, command.request) if isinstance(command, CloseProof) else None
    return Target(resource=Entity(Ref("Ledger", "queue")), stream=row["target"] if row else "system")


def _turn(command: OfSite | CloseProof) -> str:
    return f"proof:{command.site}" if not isinstance(command, CloseProof) else f"request:{command.request}"


def _territory_turn(_command: SetTerritory) -> str:
    return CONTENTION


def handlers(actions: LocationActions) -> tuple[Handler[Any], ...]:
    """Every command about places and who measures them."""
    return (
        Handler(AddLandmark, _landmark_target, add_landmark),
        Handler(ListLandmarks, _landmark_target, list_landmarks),
        Handler(RemoveLandmark, _landmark_target, remove_landmark),
        Handler(SetTerritory, territory_target, actions.set_territory, _territory_turn),
        Handler(RequestProof, _site_target, actions.request, _turn),
        Handler(AddProof, _site_target, actions.add, _turn),
        Handler(ShowProof, _site_target, actions.show),
        Handler(ListTasks, _landmark_target, actions.tasks),
        Handler(AskProof, _site_target, actions.ask, _turn),
        Handler(AskLandmarks, _request_target, actions.ask_landmarks),
        Handler(CloseProof, _request_target, actions.close, _turn),
    )
