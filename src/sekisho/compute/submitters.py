"""Who submitted a job, as that account stands now."""

from __future__ import annotations

from sekisho.kernel.facts import Actor, Entity, Principals, Ref
from sekisho.kernel.tx import Tx


def submitter_of(tx: Tx, principals: Principals, account: str) -> Entity | None:
    """The submitter's present entity, person or service account; None when the account is gone or disabled."""
    kind = "Service" if account.startswith("svc_") else "User"
    return principals.principal(tx, Actor(Ref(kind, account)))


def teams_of(principal: Entity) -> frozenset[str]:
    """Ids of the teams somebody is in; a service account is in none."""
    return frozenset(parent.id for parent in principal.parents if parent.type == "Team")
