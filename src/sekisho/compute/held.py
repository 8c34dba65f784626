"""Whether an agent may speak about an attempt now: the fence in front of every message of one."""

from __future__ import annotations

import hashlib

from sekisho.compute import tables
from sekisho.compute.errors import FENCED
from sekisho.compute.model import AttemptState
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import Entity, Ref, Target
from sekisho.kernel.tx import Row, Tx
from sekisho_wire.messages import Envelope


def attempt_entity(tx: Tx, row: Row) -> Entity:
    """An attempt as the charter sees it."""
    job = tables.find_job(tx, row["job"], "") or {}
    site, owner = Ref("Site", row["site"]), Ref("Org", job["owner"])
    return Entity(Ref("Attempt", row["id"]), {"site": site, "owner": owner})


def attempt_target(tx: Tx, principal: Entity, envelope: Envelope) -> Target:
    """The attempt at its site; a message under a stale token is fenced before anything is decided."""
    row = tables.find_attempt(tx, envelope.attempt)
    site = principal.attributes.get("site")
    if row is None or not isinstance(site, Ref) or site.id != row["site"]:
        raise SekishoError(FENCED, attempt=envelope.attempt[:64], token=envelope.token)
    return Target(resource=attempt_entity(tx, row), stream=row["job"])


def digest_of(sealed: str) -> str:
    """Under which digest the newest message of a lane is remembered."""
    return hashlib.sha256(sealed.encode()).hexdigest()


def held(tx: Tx, envelope: Envelope, *, ended_too: bool = False) -> Row:
    """The attempt, while this agent's site holds it under this token; problem `attempt.fenced` otherwise."""
    row = tables.find_attempt(tx, envelope.attempt)
    if (
        row is None
        or row["token"] != envelope.token
        or row["agent"] not in {"", envelope.agent}
        or (AttemptState(row["state"]).ended and not ended_too)
    ):
        raise SekishoError(FENCED, attempt=envelope.attempt[:64], token=envelope.token)
    return row


def taken(row: Row, envelope: Envelope) -> None:
    """Nobody holds an attempt that is only offered: problem `attempt.fenced`."""
    if AttemptState(row["state"]) is AttemptState.OFFERED:
        raise SekishoError(FENCED, attempt=row["id"], token=envelope.token)
