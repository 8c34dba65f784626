"""Handlers that let an attempt have a data key, or keep what one opened: asked anew each time, as things stand now.

A release is decided, recorded, and answered only once its record is under a checkpoint: the agent asks again with the
same one-time key until then. So nothing is lost or given twice when either side dies in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from sekisho import data
from sekisho.compute import tables
from sekisho.compute.candidates import PROOFS, judge
from sekisho.compute.errors import FENCED
from sekisho.compute.held import attempt_entity, attempt_target, digest_of, held, taken
from sekisho.compute.jobs import KeepFile, entity_of, spec_of_row
from sekisho.compute.leaving import is_placed, resting
from sekisho.compute.model import AttemptState
from sekisho.compute.seals import Seals
from sekisho.compute.spec import JobSpec
from sekisho.compute.submitters import submitter_of
from sekisho.data import ConfirmRelease, KeyView, Release, ReleaseKey
from sekisho.kernel import lanes
from sekisho.kernel.command import spec_of
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.errors import NotFoundError, SekishoError
from sekisho.kernel.facts import Decision, Entity, Principals, Ref, Target
from sekisho.kernel.tx import Row, Tx
from sekisho.ledger import Proven, Witness, prove
from sekisho.sites import SiteView, find_site, standing_file
from sekisho_verify import canonical
from sekisho_wire.custody import Order
from sekisho_wire.keying import REASON_PLACE_UNPROVEN, KeyGranted, KeyPending, KeyRefused, WantKey
from sekisho_wire.messages import Body

RELEASES_MAX = 10_000
"""Per attempt: each training checkpoint needs one; beyond this an agent asks for the sake of asking."""
ORDER_MS = 120_000
"""How long an order is good for: a checkpoint and a custodian's answer take seconds."""
EVIDENCE_FILE, PLACE_FILE = "key_release.json", "location.json"
PLACES_MAX = 256
PLACE_LEVEL = 2
"""From here up a release rests on a proof of place."""


class _Wish(NamedTuple):
    """What an attempt asks for, of one key and version."""

    key: KeyView
    version: int


class ReleaseActions:
    """The handlers, with what an order needs."""

    def __init__(
        self, signer: Seals, *, principals: Principals, keep_file: KeepFile, cosigners: Sequence[Witness] = ()
    ) -> None:
        """`signer` signs answers and release orders, `keep_file` stores the evidence of each decision.

        `cosigners` are the log's witnesses, as many of which as a custodian demands must have seen what it is shown.
        """
        self._signer = signer
        self._cosigners = cosigners
        self._principals = principals
        self._keep_file = keep_file
        self._places: dict[str, dict[str, str]] = {}

    def release(self, ctx: Ctx, command: ReleaseKey) -> bytes:
        """One message of the main lane that asks for data keys."""
        envelope = command.envelope
        # The answer is made again for a repeat, like every one that opens something: it belongs into no table.
        lanes.take(ctx.tx, (envelope.agent, envelope.lane), envelope.seq, digest_of(command.sealed))
        row = held(ctx.tx, envelope)
        taken(row, envelope)
        if not isinstance(envelope.body, WantKey):
            raise SekishoError(FENCED, attempt=row["id"], token=envelope.token)
        body = self._answered(ctx, row, command, envelope.body)
        return self._signer.answer(envelope, body, ctx.now_ms)

    def _answered(self, ctx: Ctx, row: Row, command: ReleaseKey, want: WantKey) -> Body:
        job = tables.find_job(ctx.tx, row["job"], "") or {}
        kept = data.find_release(ctx.tx, row["id"], want.recipient)
        new = kept is None
        if kept is None:
            # Each took one of the agent's numbers, so before that many there is nothing to count.
            if command.envelope.seq > RELEASES_MAX <= data.count_releases(ctx.tx, row["id"]):
                raise SekishoError(data.KEY_RELEASES, attempt=row["id"], limit=RELEASES_MAX)
            kept = self._decide(ctx, row, job, (want, _wish(ctx.tx, job, want), command.envelope.agent))
            ctx.detail(
                attempt=row["id"],
                event="wantkey",
                message=canonical.to_base64url(command.sealed.encode()),
                agent_key=command.agent_key,
            )
        elif (kept.envelopes, kept.make) != (want.headers, want.make):
            raise SekishoError(FENCED, attempt=row["id"], token=row["token"])
        elif not kept.reason:
            # Charter, proof and grant may have moved while the record waited for its checkpoint.
            wish = _Wish(data.find_key(ctx.tx, kept.key), kept.version)
            reason, rules, _ = self._judge(ctx, row, job, wish=wish, site=find_site(ctx.tx, row["site"]))
            kept = msgspec.structs.replace(kept, reason=reason, rules=rules)
        if kept.reason:
            return KeyRefused(reason=kept.reason, rules=kept.rules)
        # What was decided in this very transaction is under no checkpoint.
        proven = None if new else self._proven(ctx.tx, kept)
        return self._granted(ctx, kept, proven, command.sealed) if proven else KeyPending(order=kept.id)

    def _decide(self, ctx: Ctx, row: Row, job: Row, asked: tuple[WantKey, _Wish, str]) -> Release:
        """Ask, and write down what was answered, whichever way. The order is fixed now and signed when it leaves."""
        want, wish, agent = asked
        site = find_site(ctx.tx, row["site"])
        reason, rules, decision = self._judge(ctx, row, job, wish=wish, site=site)
        place = self._place_files(ctx, site, job["level"])
        order = Order(
            id=ctx.new_id("rel"),
            custodian=wish.key.custodian_name,
            owner=wish.key.owner,
            key=wish.key.name,
            key_version=wish.version,
            headers=want.headers,
            make=want.make,
            job=row["job"],
            attempt=row["id"],
            token=row["token"],
            site=row["site"],
            agent=agent,
            recipient=want.recipient,
            rules=[*decision.rules],
            proof=place.get(PLACE_FILE, ""),
            issued_ms=ctx.now_ms,
            not_after_ms=ctx.now_ms + ORDER_MS,
        )
        with ctx.row(
            action=spec_of(ReleaseKey).name,
            resource=Ref("Key", wish.key.id),
            stream=row["job"],
            decision=decision,
            outcome=("failed" if decision.allowed else "denied") if reason else "done",
            detail={
                "order": order.digest(),
                "level": job["level"],
                "files": {EVIDENCE_FILE: self._keep(ctx.tx, order, wish.key, reason), **place},
            },
        ) as record:
            release = Release(
                id=order.id,
                attempt=row["id"],
                job=row["job"],
                key=wish.key.id,
                version=wish.version,
                envelopes=want.headers,
                make=want.make,
                recipient=want.recipient,
                release_order=order.payload().decode(),
                reason=reason,
                rules=rules,
                decided_ms=ctx.now_ms,
                record_id=record,
            )
            # What was denied has no effect: the agent that asks again is denied again.
            if not reason:
                data.insert_release(ctx.tx, release)
        return release

    def _keep(self, tx: Tx, order: Order, key: KeyView, reason: str) -> str:
        """The evidence of one decision, for the bundle: the order, whose key it is, and why not where there is none."""
        content = canonical.encode(
            {
                "v": 1,
                "order": msgspec.to_builtins(order),
                "released": not reason,
                "reason": reason,
                "key": {
                    "id": key.id,
                    "owner": key.owner,
                    "custodian": key.custodian,
                    "country": key.country,
                    "custody": key.custody,
                    "exportable": key.exportable,
                    "grade": key.grade,
                    "state": key.state,
                },
            }
        )
        digest = canonical.digest(content)
        self._keep_file(tx, digest, content)
        return digest

    def _proven(self, tx: Tx, kept: Release) -> Proven | None:
        quorum = data.find_key(tx, kept.key).quorum
        return prove(tx, kept.record_id, self._cosigners, quorum=quorum)

    def _granted(self, ctx: Ctx, kept: Release, proven: Proven, request: str) -> Body:
        key = data.find_key(ctx.tx, kept.key)
        order = msgspec.json.decode(kept.release_order, type=Order)
        return KeyGranted(
            order=self._signer.sealed(order).decode(),
            record=proven.record.decode(),
            index=proven.log_index,
            stream_seq=proven.stream_seq,
            path=[canonical.to_base64url(step) for step in proven.path],
            checkpoint=proven.checkpoint.decode(),
            request=request,
            url=key.address,
            custodian_key=key.public_key,
        )

    def _place_files(self, ctx: Ctx, site: SiteView, level: int) -> dict[str, str]:
        """The proof of place that a release rests on, as evidence files; none where the level asks for none.

        A proof's file is read once: it is long, and never changes.
        """
        if level < PLACE_LEVEL:
            return {}
        file = standing_file(site, ctx.now_ms)
        if file and file not in self._places:
            if len(self._places) >= PLACES_MAX:
                self._places.clear()
            self._places[file] = PROOFS.files(ctx.tx, site)
        return self._places[file] if file else {}

    def _judge(
        self, ctx: Ctx, row: Row, job: Row, *, wish: _Wish, site: SiteView
    ) -> tuple[str, list[str], Decision]:
        """Why there is no release, empty where there is one; the rules that said so; the decision as it is recorded.

        Two questions in the submitter's name: whether the job may run at the site now, and whether what the key opens
        may lie there. And whether the agent that holds the attempt is the one of the site whose place was shown.
        """
        submitter = submitter_of(ctx.tx, self._principals, job["submitter"])
        decisions: list[Decision] = []
        if submitter is not None:
            spec = msgspec.structs.replace(spec_of_row(job), key=wish.key.id)
            decisions = [
                item.decision for item in judge(ctx, submitter, entity_of(job), spec=spec, sites=[site])
            ]
            decisions.append(resting(ctx, submitter, job, site=site.id, key=wish.key.id))
        decision = _weightiest(decisions, ctx.decision)
        allowed = bool(decisions) and decision.allowed
        reason = data.refusal(wish.key, wish.version, decision.rules, allowed=allowed)
        if not reason and not is_placed(ctx, row["agent"], site, job["level"]):
            reason = REASON_PLACE_UNPROVEN
        return reason, [] if decision.allowed else [*decision.rules], decision

    def confirm(self, ctx: Ctx, command: ConfirmRelease) -> bool:
        """Whether a running attempt may keep what its keys opened; whatever the answer, it is recorded."""
        row = tables.find_attempt(ctx.tx, command.attempt)
        if row is None or AttemptState(row["state"]).ended:
            return False
        job = tables.find_job(ctx.tx, row["job"], "") or {}
        refused = False
        site = find_site(ctx.tx, row["site"])
        for key in data.keys_held(ctx.tx, row["id"]):
            reason, rules, decision = self._judge(ctx, row, job, wish=_Wish(key, key.version), site=site)
            refused = refused or bool(reason)
            with ctx.row(
                action=spec_of(ConfirmRelease).name,
                resource=Ref("Key", key.id),
                stream=row["job"],
                decision=decision,
                detail={"attempt": row["id"], "key": key.name, "level": job["level"], "reason": reason},
            ) as record:
                data.insert_release(
                    ctx.tx,
                    Release(
                        id=ctx.new_id("rel"),
                        attempt=row["id"],
                        job=row["job"],
                        key=key.id,
                        version=key.version,
                        envelopes=[],
                        make=0,
                        recipient=record,
                        release_order="",
                        reason=reason,
                        rules=rules,
                        decided_ms=ctx.now_ms,
                        record_id=record,
                    ),
                )
        return not refused


def key_hold(ctx: Ctx, row: Row, level: int) -> str:
    """Why an attempt's lease ends with this renewal, empty where it goes on; an old decision is taken again."""
    held = data.decisions_held(ctx.tx, row["id"])
    if not held:
        return ""
    # A newer decision about another key says nothing of the one that was asked about longest ago.
    if data.confirm_due(level, min(key.decided_ms for key in held), ctx.now_ms):
        ctx.later(ConfirmRelease(attempt=row["id"]), dedupe=f"keys:{row['id']}")
    return data.lease_refusal(level, [(key.decided_ms, key.reason, key.state) for key in held], ctx.now_ms)


def sealed_with(tx: Tx, attempt: str) -> tuple[str, int] | None:
    """Key and version under which an attempt was last given new data keys; None where it has none."""
    made = data.newest_made(tx, attempt)
    return (made.key, made.version) if made else None


def _wish(tx: Tx, job: Row, want: WantKey) -> _Wish:
    """The key and version that are asked for; problem `not_found` for envelopes that are no input of the job."""
    spec = spec_of_row(job)
    openable = _openable(tx, job["id"], spec, want.headers)
    wished = {openable.get(header) for header in want.headers}
    if want.make and spec.key:
        key = data.find_key(tx, spec.key)
        wished.add((key.id, key.version))
    if len(wished) != 1 or None in wished:
        raise NotFoundError(id=(want.headers or ["data key"])[0][:80])
    ((name, version),) = [found for found in wished if found]
    return _Wish(data.find_key(tx, name), version)


def _openable(tx: Tx, job: str, spec: JobSpec, wanted: list[str]) -> dict[str, tuple[str, int]]:
    """Key and version of what an attempt may open: inputs, and where more is wanted its workdir and checkpoint."""
    found = {item.envelope: (item.key, item.key_version) for item in spec.inputs if item.key}
    if found.keys() >= set(wanted):
        return found
    newest = data.newest_checkpoint(tx, job)
    workdir = data.find_artefact(tx, spec.workdir_id) if spec.workdir_id else None
    for artefact in (newest, workdir):
        if artefact and artefact.key:
            found[artefact.envelope] = (artefact.key, artefact.key_version)
    return found


def _weightiest(decisions: list[Decision], otherwise: Decision) -> Decision:
    """The first that says no, else the first; a submitter who is gone may do nothing."""
    if not decisions:
        return msgspec.structs.replace(otherwise, allowed=False, rules=("submitter",))
    return next((item for item in decisions if not item.allowed), decisions[0])


def _want_target(tx: Tx, principal: Entity, command: ReleaseKey) -> Target:
    """The attempt at its site, as for a report: a message under a stale token is fenced before anything is decided."""
    return attempt_target(tx, principal, command.envelope)


def _confirm_target(tx: Tx, principal: Entity, command: ConfirmRelease) -> Target:
    del principal
    row = tables.find_attempt(tx, command.attempt)
    if row is None:
        raise NotFoundError(id=command.attempt)
    return Target(resource=attempt_entity(tx, row), stream=row["job"])


def handlers(actions: ReleaseActions) -> tuple[Handler[Any], ...]:
    """Every command about releases."""
    return (
        Handler(ReleaseKey, _want_target, actions.release),
        Handler(ConfirmRelease, _confirm_target, actions.confirm),
    )
