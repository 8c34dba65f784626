"""The Cedar schema: written from the vocabulary and the commands, read back from the text a version carries.

A version keeps the schema it was drafted under. A newer program with more commands therefore goes on deciding
under the old text, where its new actions are unknown and so denied, until a version drafted today is activated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

import sekisho.kernel.proposals  # noqa: F401 - its commands are in every schema: charters name them
from sekisho.charter.vocabulary import (
    ENTITY_TYPE_BY_NAME,
    ENTITY_TYPES,
    GROUP_BY_NAME,
    GROUPS,
    NOW,
    Attribute,
    Group,
    Side,
)
from sekisho.kernel.command import Kind, Spec, all_specs

_encoder = msgspec.json.Encoder(order="sorted")
_NOW = Attribute(NOW, "datetime")
_SCALARS: Mapping[str, dict[str, Any]] = {
    "string": {"type": "String"},
    "long": {"type": "Long"},
    "bool": {"type": "Boolean"},
    "datetime": {"type": "Extension", "name": "datetime"},
    "strings": {"type": "Set", "element": {"type": "String"}},
}


class VocabularyError(Exception):
    """A command steps outside the groups it names: a mistake in the program, found when the schema is written."""


class Action(msgspec.Struct, frozen=True):
    """One action of a schema. `groups` holds every group it is in, also through another group."""

    name: str
    groups: frozenset[str]
    principals: tuple[str, ...]
    resources: tuple[str, ...]
    context: Mapping[str, Attribute]


class Shapes(msgspec.Struct, frozen=True):
    """A schema text read back: what the engine and the analysis ask of it."""

    entities: Mapping[str, Mapping[str, Attribute]]
    actions: Mapping[str, Action]

    def attribute(self, entity: str, name: str) -> Attribute | None:
        """The attribute `name` of an entity type, or None."""
        return self.entities.get(entity, {}).get(name)


def program_specs() -> tuple[Spec, ...]:
    """The commands of this program: those that its own packages define, whatever else was imported beside them."""
    return tuple(spec for spec in all_specs() if spec.command.__module__.startswith("sekisho."))


def schema_text(specs: Iterable[Spec]) -> str:
    """Canonical JSON text of the schema for these commands; the same commands always give the same text.

    Raises VocabularyError for a command whose resource, principals or groups do not fit each other.
    """
    actions: dict[str, Any] = {}
    for group in GROUPS:
        actions[group.name] = {"memberOf": [{"id": parent} for parent in sorted(group.parents)]}
        actions[group.any_action] = _action([group], group.principals, group.resources)
    for spec in specs:
        if spec.kind is not Kind.PLUMBING:
            groups = _groups_of(spec)
            actions[spec.name] = _action(groups, spec.principals, (spec.resource,))
    entities = {
        kind.name: {
            "memberOfTypes": sorted(kind.parents),
            "shape": {"type": "Record", "attributes": _attributes(kind.attributes)},
        }
        for kind in ENTITY_TYPES
    }
    return _encoder.encode({"": {"entityTypes": entities, "actions": actions}}).decode()


def _groups_of(spec: Spec) -> list[Group]:
    unknown = {*spec.groups} - GROUP_BY_NAME.keys()
    types = {*spec.principals, spec.resource} - ENTITY_TYPE_BY_NAME.keys()
    if unknown or types:
        raise VocabularyError(f"{spec.name} names what the charter does not know: {sorted(unknown | types)}")
    groups = [GROUP_BY_NAME[name] for name in sorted(set(spec.groups))]
    rules = [group for group in groups if group.side is Side.RULE]
    roles = {name for group in groups if group.side is Side.ROLE for name in group.principals}
    for group in rules:
        if outside := {*spec.principals} - {*group.principals}:
            raise VocabularyError(f"{spec.name}: {sorted(outside)} cannot act in {group.name}")
        if spec.resource not in group.resources:
            raise VocabularyError(f"{spec.name}: {spec.resource} is no resource of {group.name}")
        if group.own_role and "use" in spec.groups:
            raise VocabularyError(
                f"{spec.name}: {group.name} has a role of its own and cannot also be in use"
            )
    if roles and (outside := {*spec.principals} - roles):
        raise VocabularyError(f"{spec.name}: no role group of it is for {sorted(outside)}")
    return groups


def _action(groups: list[Group], principals: tuple[str, ...], resources: tuple[str, ...]) -> dict[str, Any]:
    context = {attribute.name: attribute for group in groups for attribute in group.context}
    return {
        "memberOf": [{"id": group.name} for group in groups],
        "appliesTo": {
            "principalTypes": sorted(principals),
            "resourceTypes": sorted(resources),
            "context": {"type": "Record", "attributes": _attributes((*context.values(), _NOW))},
        },
    }


def _attributes(attributes: Iterable[Attribute]) -> dict[str, Any]:
    return {attribute.name: {**_type(attribute), "required": attribute.required} for attribute in attributes}


def _type(attribute: Attribute) -> dict[str, Any]:
    if attribute.kind == "entity":
        return {"type": "Entity", "name": attribute.entity}
    if attribute.kind == "record":
        return {"type": "Record", "attributes": _attributes(attribute.fields)}
    return _SCALARS[attribute.kind]


def read_schema(text: str) -> Shapes:
    """Read a text written by `schema_text`, of this or an earlier program; ValueError for anything else."""
    try:
        document = msgspec.json.decode(text)[""]
        entities = {
            name: {attribute.name: attribute for attribute in _read_attributes(kind["shape"]["attributes"])}
            for name, kind in document["entityTypes"].items()
        }
        raw = document["actions"]
        actions = {name: _read_action(name, raw) for name in raw if "appliesTo" in raw[name]}
    except (KeyError, TypeError, AttributeError, msgspec.DecodeError) as error:
        raise ValueError("not a schema this program wrote") from error
    return Shapes(entities, actions)


def narrowed(text: str, action: Action) -> str:
    """The same schema with this one action and its groups.

    Cedar puts an entity for every action of the schema into every set of entities, and copies them all whenever
    one is added: with a hundred actions a decision costs four times as much.
    """
    document = msgspec.json.decode(text)
    kept = {action.name, *action.groups}
    document[""]["actions"] = {name: form for name, form in document[""]["actions"].items() if name in kept}
    return _encoder.encode(document).decode()


def _read_action(name: str, raw: Mapping[str, Any]) -> Action:
    applies = raw[name]["appliesTo"]
    context = _read_attributes(applies["context"]["attributes"])
    return Action(
        name,
        frozenset(_ancestors(name, raw)),
        tuple(applies["principalTypes"]),
        tuple(applies["resourceTypes"]),
        {attribute.name: attribute for attribute in context},
    )


def _ancestors(name: str, raw: Mapping[str, Any]) -> Iterable[str]:
    for parent in raw[name]["memberOf"]:
        yield parent["id"]
        yield from _ancestors(parent["id"], raw)


def _read_attributes(attributes: Mapping[str, Any]) -> tuple[Attribute, ...]:
    return tuple(_read_attribute(name, attributes[name]) for name in sorted(attributes))


def _read_attribute(name: str, kind: Mapping[str, Any]) -> Attribute:
    required = kind["required"]
    match kind["type"]:
        case "Entity":
            return Attribute(name, "entity", entity=kind["name"], required=required)
        case "Record":
            return Attribute(name, "record", fields=_read_attributes(kind["attributes"]), required=required)
        case "Set":
            return Attribute(name, "strings", required=required)
        case "Extension":
            return Attribute(name, "datetime", required=required)
        case "Long":
            return Attribute(name, "long", required=required)
        case "Boolean":
            return Attribute(name, "bool", required=required)
        case _:
            return Attribute(name, "string", required=required)
