"""A recorded decision asked again under another charter: from the facts that its record names to a new answer. Pure.

The facts are the slice that Cedar saw then, in the spelling of `convert`, and the time is the record's own, so the
same record under the same charter always comes to the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from sekisho.charter import rules
from sekisho.charter.compiled import Charter
from sekisho.charter.convert import misfit
from sekisho.charter.judge import UNFIT, judge, prepare, question
from sekisho.charter.model_replay import Altered, Recorded, Verdict
from sekisho.charter.worlds import World
from sekisho.kernel.facts import Entity, Moment, Ref, Request, Value

EXAMPLES_MAX = 5
_REF, _MOMENT = {"id", "type"}, {"ms"}


class Answer(msgspec.Struct, frozen=True):
    """What became of one recorded decision: `verdict`, and where it changed the new rules."""

    verdict: Verdict
    rules: tuple[str, ...] = ()
    site: str = ""
    """Where the data would have come to, by id; empty where the request names no site."""


def again(charter: Charter, recorded: Recorded) -> Answer:
    """Ask once more. Whatever cannot be asked is said to be so and never counted as the same."""
    if recorded.facts is None:
        return Answer("erased" if recorded.erased else "missing")
    try:
        request, world = read_slice(recorded.facts, recorded.time_ms)
    except (*UNFIT, KeyError, msgspec.DecodeError):
        return Answer("unfit")
    place = request.context.get("site")
    site = place.id if isinstance(place, Ref) else ""
    plan = charter.plan(request.action)
    if plan is None:
        return _compared(recorded, (False, (rules.CLOSED + "Action",)), site)
    nameless = (plan.keeps_principal and not request.principal.ref.id) or (
        plan.keeps_resource and not request.resource.ref.id
    )
    if nameless:
        return Answer("nameless", site=site)
    if _misfits(charter, request, world):
        return Answer("unfit", site=site)
    try:
        asked = question(charter, world, plan, request)
        return _compared(recorded, judge(charter, asked, prepare(charter, asked)), site)
    except UNFIT:
        return Answer("unfit", site=site)


def _compared(recorded: Recorded, now: tuple[bool, tuple[str, ...]], site: str) -> Answer:
    allowed, found = now
    if allowed != recorded.allowed:
        return Answer("allowed" if allowed else "denied", found, site)
    return Answer("same" if found == recorded.rules else "rules", found, site)


def read_slice(body: bytes, time_ms: int) -> tuple[Request, World]:
    """The request and the slow entities in a facts body; raises one of UNFIT, KeyError or DecodeError.

    A body that only says who asked for what (no charter could look into that request) has no entities: KeyError.
    """
    found = msgspec.json.decode(body)
    entities = [_entity(one) for one in found["entities"]]
    request = Request(
        principal=_entity(found["principal"]),
        action=found["action"],
        resource=_entity(found["resource"]),
        context=_values(found["context"]),
        now_ms=time_ms,
    )
    # The request's own entities stand apart from the slow ones, and other rules may reach them by a reference.
    own = [entity for entity in (request.principal, request.resource) if entity.ref.id]
    return request, World(0, {entity.ref: entity for entity in (*own, *entities)})


def _entity(found: Any) -> Entity:  # noqa: ANN401 - JSON of any shape
    return Entity(
        _ref(found["ref"]), _values(found["attributes"]), tuple(_ref(parent) for parent in found["parents"])
    )


def _ref(found: Mapping[str, str]) -> Ref:
    return Ref(found["type"], found["id"])


def _values(found: Mapping[str, Any]) -> dict[str, Value]:
    return {name: _value(value) for name, value in found.items()}


def _value(found: Any) -> Value:  # noqa: ANN401 - JSON of any shape
    if isinstance(found, list):
        return frozenset(found)
    if isinstance(found, dict):
        if found.keys() == _REF:
            return _ref(found)
        return Moment(found["ms"]) if found.keys() == _MOMENT else _values(found)
    if isinstance(found, (str, int)):
        return found
    raise TypeError


def _misfits(charter: Charter, request: Request, world: World) -> bool:
    """Whether the schema of the other charter asks for something else than what was written down then."""
    shapes = charter.shapes.entities
    ours = (request.principal, request.resource, *world.entities.values())
    context = charter.shapes.actions[request.action].context
    return any(misfit(one.ref.type, one.attributes, shapes.get(one.ref.type, {})) for one in ours) or bool(
        misfit("context", request.context, context)
    )


def gathered(answers: Iterable[tuple[Recorded, Answer]]) -> tuple[Altered, ...]:
    """Changed decisions that look alike as one row with their number, most frequent first, each with a few examples."""
    found: dict[tuple[object, ...], Altered] = {}
    for recorded, answer in answers:
        if answer.verdict not in {"allowed", "denied", "rules"}:
            continue
        key = (answer.verdict, recorded.action, answer.site, recorded.rules, answer.rules)
        known = found.get(key)
        found[key] = Altered(
            verdict=answer.verdict,
            action=recorded.action,
            site=answer.site,
            before=recorded.rules,
            after=answer.rules,
            count=known.count + 1 if known else 1,
            records=(*(known.records if known else ()), recorded.id)[:EXAMPLES_MAX],
        )
    return tuple(sorted(found.values(), key=_order))


def _order(row: Altered) -> tuple[object, ...]:
    return (-row.count, row.verdict, row.action, row.site, row.before, row.after)
