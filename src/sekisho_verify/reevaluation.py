"""A recorded decision made again: the charter's text and schema, the facts it looked at, and the time it was taken.

Pure but for Cedar itself, which `cedarpy` brings and which is optional: without it nothing is made again, and the
verdict says so. What Cedar gets is what the control plane gave it: types come from the charter's own schema, every
reference has to lead somewhere before Cedar is asked, and no charter lifts the floor.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sekisho_verify.canonical import decode_object
from sekisho_verify.errors import CanonicalError, Exit, VerifyError
from sekisho_verify.record import Record

ENGINE = "cedarpy"
_FIELDS = {"action", "context", "entities", "principal", "resource", "v"}
_FLOOR_LEVEL = 2
_ANY = "any"
NESTING_MAX, OPERATORS_MAX = 100, 1000
"""Brackets within brackets, and operators of one policy."""
_DOUBTS = ("malformed", "evaluation")
_GONE = ("submitter",)
"""The rule of a denial that no charter took: who submitted the job may do nothing any more."""
_KINDS = {"usr": "User", "svc": "Service", "agt": "Agent", "system": "System", "anonymous": "Anonymous"}
_SYSTEM, _JOB, _PLACE, _REST = "System", "Job", "compute.job.place", "data.workdir.add"
_FOR_SUBMITTER = {
    _PLACE: {_PLACE},
    "data.key.release": {_PLACE, _REST},
    "data.key.confirm": {_PLACE, _REST},
}
"""Actions that are decided in the name of the job's submitter, and what is asked in that name."""
_JOB_AS = {_REST: "Artifact"}
_FOR_ARRAY = ("compute.job.cancel", "compute.array.cancel")
"""What the system does to each member, and what it was asked for all of them."""
_ASKED_OF = {"kernel.proposal.approve": "Proposal", "sites.territory.set": "Charter"}
"""Actions that are asked about one thing and recorded of another, which they are for."""
_tokens = re.compile(
    r'"(?:[^"\\]|\\.)*"|//[^\r\n]*|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<end>;)'
    r"|(?P<operator>&&|\|\||[.+*<>=!-]|\b(?:if|has|in|like|is)\b)"
).finditer
_ID, _NOW = "id", "now"

Json = dict[str, Any]


class ReplayError(VerifyError):
    """A decision that its own charter and facts do not lead to."""

    exit_code = Exit.DECISION


class Asked(NamedTuple):
    """What a decision is about, by its record and stream: the job, who submitted it, its level, the sites chosen."""

    submitter: str
    job: str
    level: int
    sites: frozenset[str]


class Answer(NamedTuple):
    """What came of it: whether it is allowed, and the ids of the rules that decided."""

    allowed: bool
    rules: frozenset[str]


class Charter:
    """One charter version, parsed once; `cedarpy` must be there."""

    def __init__(self, data: bytes) -> None:
        """ReplayError for a charter that Cedar cannot read."""
        body = decode_object(data)
        _check_nesting(str(body["policies"]))
        self._cedar = importlib.import_module(ENGINE)
        try:
            self._types: Json = json.loads(str(body["schema"]))[""]
            self._schema = self._cedar.Schema.from_json_str(str(body["schema"]))
            self._policies = self._cedar.PolicySet.from_str(str(body["policies"]))
            forms = json.loads(self._cedar.policies_to_json_str(str(body["policies"])))["staticPolicies"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ReplayError("charter.unreadable", "a charter that Cedar cannot read") from error
        self._ids = {key: form.get("annotations", {}).get("id") or key for key, form in forms.items()}

    def decide(self, facts: Json, time: str) -> Answer:
        """The decision on these facts at this time (RFC 3339 in UTC)."""
        missing = _missing(facts, self._shape)
        if missing:
            return Answer(allowed=False, rules=frozenset(f"closed:{kind}" for kind in missing))
        action = self._types["actions"].get(facts["action"])
        if action is None:
            return Answer(allowed=False, rules=frozenset({"closed:Action"}))
        shape = action["appliesTo"]["context"]["attributes"]
        context = {**_values(facts["context"], shape), _NOW: _moment(time)}
        request = {
            "principal": _uid(facts["principal"]["ref"]),
            "action": {"type": "Action", "id": facts["action"]},
            "resource": _uid(facts["resource"]["ref"]),
            "context": json.dumps(context),
        }
        entities = [self._entity(one) for one in _all(facts)]
        result = self._cedar.is_authorized(
            request,
            self._policies,
            self._cedar.Entities.from_json_str(json.dumps(entities), self._schema),
            self._schema,
        )
        return self._read(result, facts)

    def _read(self, result: Any, facts: Json) -> Answer:  # noqa: ANN401 - cedarpy is loaded by name
        rules = frozenset(self._ids.get(key, key) for key in result.diagnostics.reasons)
        denials = rules if result.decision is self._cedar.Decision.Deny else frozenset[str]()
        if not denials and _under_floor(facts):
            denials = frozenset({"floor"})
        if result.diagnostics.errors:
            denials |= {"evaluation"}
        if result.decision is self._cedar.Decision.Allow and not denials:
            return Answer(allowed=True, rules=rules)
        return Answer(allowed=False, rules=denials or frozenset({"no-permit"}))

    def _shape(self, kind: str) -> Json:
        return dict(self._types["entityTypes"].get(kind, {}).get("shape", {}).get("attributes", {}))

    def _entity(self, entity: Json) -> Json:
        kind = entity["ref"]["type"]
        shape = self._shape(kind)
        attributes = _values(entity["attributes"], shape)
        if _ID in shape:
            attributes[_ID] = entity["ref"]["id"]
        return {
            "uid": _uid(entity["ref"]),
            "attrs": attributes,
            "parents": [_uid(one) for one in entity["parents"]],
        }


def available() -> bool:
    """Whether Cedar is there."""
    try:
        importlib.import_module(ENGINE)
    except ImportError:
        return False
    return True


def read_facts(data: bytes | None) -> Json | None:
    """The facts of a decision that can be made again; None for others, such as those that no charter looked into."""
    try:
        body: Json = decode_object(data or b"")
    except CanonicalError:
        return None
    return body if body.keys() == _FIELDS and body["v"] == 1 else None


def contradictions(record: Record, charter: Charter, facts: Json, asked: Asked) -> Iterator[ReplayError]:
    """Each thing in which a record's decision is not what its charter and facts lead to, or was asked about others."""
    try:
        yield from _of_others(record, facts, asked)
        found = charter.decide(facts, record.time)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        if not (record.decision == "deny" and any(rule in _DOUBTS for rule in record.rules)):
            yield ReplayError("charter.facts", "facts that do not fit the charter's schema")
        return
    if record.decision == "deny" and record.rules == _GONE:
        return
    if found.allowed != (record.decision == "allow"):
        yield ReplayError("charter.other_decision", f"recorded as {record.decision}, made again it is not")
    elif found.rules != frozenset(record.rules):
        yield ReplayError("charter.other_rules", f"made again it is by {', '.join(sorted(found.rules))}")


def _of_others(record: Record, facts: Json, asked: Asked) -> Iterator[ReplayError]:
    """What the facts are about against what the record is about. A slice leaves out ids that its charter never read."""
    action, principal, resource = facts["action"], facts["principal"]["ref"], facts["resource"]["ref"]
    named = action in _FOR_SUBMITTER.get(record.action, ())
    if not named and action != record.action and (record.action, action) != _FOR_ARRAY:
        yield ReplayError("charter.other_action", f"a decision about {action}")
    actor = asked.submitter if named else record.actor
    if principal["id"] not in {"", actor} or principal["type"] != _KINDS.get(actor.partition("_")[0]):
        yield ReplayError("charter.other_principal", "a decision about somebody else")
    own = record.resource._asdict()
    if named:
        own = {"type": _JOB_AS.get(action, _JOB), "id": asked.job}
    # The system's own rounds ask about the queue or the log, not about each thing in it.
    other = resource["type"] != own["type"] or resource["id"] not in {"", own["id"]}
    if other and principal["type"] != _SYSTEM and resource["type"] != _ASKED_OF.get(record.action):
        yield ReplayError("charter.other_resource", "a decision about something else")
    site = facts["context"].get("site")
    if asked.sites and site is not None and site["id"] not in asked.sites:
        yield ReplayError("charter.other_site", "a decision about a site that was not chosen")
    level = facts["resource"]["attributes"].get("level")
    if named and asked.level >= 0 and level != asked.level:
        yield ReplayError("charter.other_level", f"a decision about data of level {level}")


def _check_nesting(policies: str) -> None:
    """Refuse what would take Cedar's parser, or its evaluator, below the end of its stack: that ends the process.

    Strings and comments are skipped; an operator is a level of its own, because chains of them nest.
    """
    depth = operators = 0
    for found in _tokens(policies):
        match found.lastgroup:
            case "open":
                depth += 1
            case "close":
                depth = max(0, depth - 1)
            case "end":
                operators = operators if depth else 0
            case "operator":
                operators += 1
        if depth > NESTING_MAX or operators > OPERATORS_MAX:
            raise ReplayError("charter.nesting", "a charter that is nested more deeply than any real one")


def _all(facts: Json) -> list[Json]:
    """Every entity once; the request's own replace slow ones of the same name."""
    named = {_key(one["ref"]): one for one in (*facts["entities"], facts["resource"], facts["principal"])}
    return [*named.values()]


def _missing(facts: Json, shape: Any) -> list[str]:  # noqa: ANN401 - a function from a type's name to its attributes
    """Types of references that lead nowhere, sorted; one of which is a no before Cedar is asked."""
    there = {_key(one["ref"]) for one in _all(facts)}
    wanted = list(_references_of(facts["context"], None))
    for one in _all(facts):
        wanted += [*one["parents"], *_references_of(one["attributes"], shape(one["ref"]["type"]))]
    return sorted({ref["type"] for ref in wanted if _key(ref) not in there})


def _references_of(values: Json, shape: Json | None) -> Iterator[Json]:
    """References among some attributes. A record of the same two names is one only where the schema says so."""
    for name, value in values.items():
        if not isinstance(value, dict):
            continue
        form = None if shape is None else shape.get(name, {})
        if value.keys() == {"id", "type"} and (form is None or form.get("type") == "Entity"):
            yield value
        else:
            yield from _references_of(value, None if form is None else form.get("attributes", {}))


def _values(values: Mapping[str, Any], shape: Mapping[str, Json]) -> Json:
    return {name: _value(value, shape[name]) for name, value in values.items()}


def _value(value: Any, form: Json) -> Any:  # noqa: ANN401 - JSON of any shape
    """One value in Cedar's spelling, as the type in the schema has it; KeyError or TypeError where it does not fit."""
    match form["type"]:
        case "Entity":
            return {"__entity": _uid(value)}
        case "Extension":
            text = datetime.fromtimestamp(value["ms"] / 1000, UTC).isoformat(timespec="milliseconds")
            return _moment(text.replace("+00:00", "Z"))
        case "Record":
            return _values(value, form["attributes"])
        case _:
            return value


def _moment(text: str) -> Json:
    return {"__extn": {"fn": "datetime", "arg": text}}


def _uid(ref: Mapping[str, str]) -> Json:
    return {"type": ref["type"], "id": ref["id"]}


def _key(ref: Mapping[str, str]) -> tuple[str, str]:
    return ref["type"], ref["id"]


def _under_floor(facts: Json) -> bool:
    """Whether data of level 2 and above would come to a country outside its residency, whatever the charter says."""
    resource, context = facts["resource"]["attributes"], facts["context"]
    places: list[str] = []
    if "site" in context:
        site = next((one for one in facts["entities"] if one["ref"] == context["site"]), None)
        places.append(str(site["attributes"].get("country", "")) if site else "")
    if "destination" in context:
        places.append(str(context["destination"]))
    residency = context.get("residency", resource.get("residency"))
    levels = [values.get("level", 0) for values in (resource, context)]
    if not places or residency is None or all(isinstance(one, int) and one < _FLOOR_LEVEL for one in levels):
        return False
    return _ANY not in residency and any(not place or place not in residency for place in places)
