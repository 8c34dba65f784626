"""One question put to Cedar, without any memory: from a request to allowed or not, and the rules that decided.

Cedar sees exactly the slice whose digest is the decision's `facts`, plus the time. Ids of principal and resource
that no policy can tell apart are left out of both, so that a thousand equal jobs are one decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cedarpy
import msgspec

from sekisho.charter import rules
from sekisho.charter.compiled import Charter, Plan
from sekisho.charter.convert import (
    MalformedError,
    Slice,
    cedar_entity,
    cedar_moment,
    cedar_value,
    encoder,
    moments,
    references,
)
from sekisho.charter.vocabulary import NOW
from sekisho.charter.worlds import Closure, World
from sekisho.kernel.facts import Entity, Ref, Request, Value

UNFIT = (MalformedError, TypeError, ValueError, OverflowError, AttributeError, RecursionError)
"""What values of the wrong kind raise on their way to bytes or to Cedar; always a no, never an error."""


class Question(msgspec.Struct, frozen=True):
    """A request as Cedar will see it, and the slow entities it reaches."""

    plan: Plan
    principal: Entity
    resource: Entity
    context: Mapping[str, Value]
    closure: Closure
    now_ms: int

    def body(self) -> bytes:
        """The slice in canonical JSON; raises one of UNFIT."""
        name, encoded = self.plan.action.name, self.closure.encoded
        return encoder.encode(Slice(name, self.context, encoded, self.principal, self.resource))

    def breakpoints(self) -> tuple[int, ...] | None:
        """Every time at which the answer may change; None when the policies use the time in another way."""
        use = self.plan.now
        if not use.simple:
            return None
        own = (self.principal.attributes, self.resource.attributes, self.context)
        times = [ms for values in own for ms in moments(values)]
        return rules.breakpoints((*times, *self.closure.moments_ms), use.offsets_ms, use.literals_ms)


class Prepared(msgspec.Struct, frozen=True):
    """A question in Cedar's spelling: the handle with the principal in it, the resource to add, and the request.

    Without a handle, `fault` says why.
    """

    base: cedarpy.Entities | None
    fault: str
    resource: str
    request: dict[str, Any]


class Answer(msgspec.Struct, frozen=True):
    """What Cedar said. `reasons` are keys of policies, `errors` Cedar's own sentences."""

    decision: cedarpy.Decision
    reasons: tuple[str, ...]
    errors: tuple[str, ...]


def question(charter: Charter, world: World, plan: Plan, request: Request) -> Question:
    """Leave out the ids that nobody looks at and follow every reference; raises one of UNFIT."""
    if NOW in request.context:
        raise MalformedError(NOW)
    # Two nameless entities of one type would be one entity to Cedar.
    both = request.principal.ref.type == request.resource.ref.type
    named = (plan.keeps_principal or both, plan.keeps_resource or both)
    principal = request.principal if named[0] else _nameless(request.principal)
    resource = request.resource if named[1] else _nameless(request.resource)
    roots = (
        *references(principal.attributes),
        *principal.parents,
        *references(resource.attributes),
        *resource.parents,
        *references(request.context),
    )
    own = tuple(part.ref for part, kept in zip((principal, resource), named, strict=True) if kept)
    return Question(
        plan, principal, resource, request.context, world.closure(charter, plan, roots, own), request.now_ms
    )


def _nameless(entity: Entity) -> Entity:
    return Entity(Ref(entity.ref.type, ""), entity.attributes, entity.parents)


def prepare(charter: Charter, asked: Question) -> Prepared:
    """Check every value and spell it for Cedar; raises one of UNFIT."""
    context = cedar_value(asked.context)
    context[NOW] = {"__extn": {"fn": "datetime", "arg": cedar_moment(asked.now_ms)}}
    base, fault = asked.closure.base(charter, asked.plan, asked.principal)
    resource = cedar_entity(asked.resource, charter.shapes)
    own = asked.principal.ref
    return Prepared(
        base,
        fault,
        "" if own == asked.resource.ref else encoder.encode([resource]).decode(),
        {
            "principal": {"type": own.type, "id": own.id},
            "action": {"type": "Action", "id": asked.plan.action.name},
            "resource": resource["uid"],
            "context": encoder.encode(context).decode(),
        },
    )


def ask(asked: Question, prepared: Prepared) -> Answer:
    """Put it to Cedar, with the schema both where entities are added and where the request is made."""
    entities = prepared.base
    if entities is None:
        return Answer(cedarpy.Decision.NoDecision, (), (prepared.fault,))
    if prepared.resource:
        try:
            entities = entities.with_added_json_str(prepared.resource, asked.plan.schema)
        except ValueError as error:
            return Answer(cedarpy.Decision.NoDecision, (), (str(error),))
    result = cedarpy.is_authorized(prepared.request, asked.plan.handle, entities, asked.plan.schema)
    return Answer(result.decision, tuple(result.diagnostics.reasons), tuple(result.diagnostics.errors))


def judge(charter: Charter, asked: Question, prepared: Prepared) -> tuple[bool, tuple[str, ...]]:
    """Allowed or not, and the ids of the rules that decided; the floor where no forbid of the charter did."""
    if asked.closure.missing:
        return False, tuple(rules.CLOSED + kind for kind in asked.closure.missing)
    answer = ask(asked, prepared)
    reached = asked.closure.entities

    def country_of(site: Ref) -> Value | None:
        return reached[site].attributes.get("country") if site in reached else None

    ids = tuple(sorted(charter.id_by_key[key] or key for key in answer.reasons))
    if answer.decision is cedarpy.Decision.NoDecision:
        return False, (rules.MALFORMED,)
    denials = ids if answer.decision is cedarpy.Decision.Deny else ()
    if not denials and rules.under_floor(asked.resource.attributes, asked.context, country_of):
        denials = (rules.FLOOR,)
    if answer.errors:
        denials = (*denials, rules.EVALUATION)
    if answer.decision is cedarpy.Decision.Allow and not denials:
        return True, ids
    return False, denials or (rules.NO_PERMIT,)
