"""What a charter may speak of: types of entities with their attributes, and groups of actions with their context.

Everything here ends up in the Cedar schema, so a change here changes the digest of the next charter version. A
capability that hands an entity to the gate must give exactly these attributes: a missing, additional or wrongly
typed one is a no.
"""

from __future__ import annotations

import enum
from typing import Literal, TypeAlias

import msgspec

NOW = "now"
"""Name of the time of the decision in every context; added by the engine, never by a caller."""
ANYWHERE = "any"
"""The word in a residency set that stands for every country."""
IDENTITY = "id"
"""Attribute that the engine itself gives to some types: the entity's id as text, for comparing with text."""

Scalar: TypeAlias = Literal["string", "long", "bool", "datetime", "strings"]


class Attribute(msgspec.Struct, frozen=True):
    """One attribute: a scalar kind (`strings` is a set of text), or the name of an entity type, or fields."""

    name: str
    kind: Scalar | Literal["entity", "record"]
    entity: str = ""
    fields: tuple[Attribute, ...] = ()
    required: bool = True


def _string(name: str) -> Attribute:
    return Attribute(name, "string")


def _long(name: str) -> Attribute:
    return Attribute(name, "long")


def _bool(name: str) -> Attribute:
    return Attribute(name, "bool")


def _moment(name: str, *, required: bool = True) -> Attribute:
    return Attribute(name, "datetime", required=required)


def _strings(name: str) -> Attribute:
    return Attribute(name, "strings")


def _ref(name: str, entity: str, *, required: bool = True) -> Attribute:
    return Attribute(name, "entity", entity=entity, required=required)


def _record(name: str, *fields: Attribute) -> Attribute:
    return Attribute(name, "record", fields=fields)


class EntityType(msgspec.Struct, frozen=True):
    """A type with its attributes; `parents` are the types whose members it may be."""

    name: str
    attributes: tuple[Attribute, ...] = ()
    parents: tuple[str, ...] = ()


class Side(enum.Enum):
    """What a group of actions is for."""

    ROLE = "role"
    """Permits speak of it: who may do this kind of thing at all."""
    RULE = "rule"
    """Forbids speak of it: what must hold of data, place and key, whoever asks."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A group of actions. Commands in it must stay within its principals and resources and supply its context."""

    name: str
    side: Side
    principals: tuple[str, ...]
    resources: tuple[str, ...]
    context: tuple[Attribute, ...] = ()
    parents: tuple[str, ...] = ()
    own_role: bool = False
    """Has a role of its own, so that a command in it is not also in `use`, which would open it to engineers."""
    moves_data: bool = False
    """Brings data to the place its context names, so that no charter may let it leave a residency."""

    @property
    def any_action(self) -> str:
        """Name of the abstract action through which rules are checked before a command of the group exists."""
        return f"{self.name}.any"


_OWNED = (_ref("owner", "Org"), _long("level"), _strings("labels"), _strings("residency"))
_PROOF = _record(
    "proof",
    _moment("checked_at"),
    _long("bound_km"),
    _long("foreign_margin_km"),
    _long("landmarks"),
    _bool("bound_to_tee"),
)

ENTITY_TYPES: tuple[EntityType, ...] = (
    EntityType("Account", (_string(IDENTITY), _ref("owner", "Org"))),
    EntityType("Agent", (_ref("org", "Org"), _ref("site", "Site"))),
    EntityType("Anonymous"),
    EntityType("Artifact", _OWNED),
    EntityType("Attempt", (_ref("owner", "Org"), _ref("site", "Site"))),
    EntityType("Charter"),
    EntityType("Dataset", _OWNED),
    EntityType("Image", (_ref("owner", "Org"), _long("level"))),
    EntityType("Indicator", (_ref("owner", "Org"), _string("tlp"), _bool("has_personal_data"))),
    EntityType("Job", _OWNED),
    EntityType(
        "Key",
        (
            _ref("owner", "Org", required=False),
            _string("country"),
            _ref("custodian", "Org"),
            _string("custody"),
            _bool("exportable"),
            _long("grade"),
        ),
    ),
    EntityType("Lab", (_long("level"), _string("data"))),
    EntityType("Ledger"),
    EntityType("Model", (_ref("owner", "Org"), _long("level"), _ref("served_at", "Site"))),
    EntityType("Operator", (_ref("employer", "Org"), _string("residence"))),
    EntityType(
        "Org",
        (
            _string("jurisdiction"),
            _string("parent_jurisdiction"),
            _long("foreign_control_pct"),
            _strings("legal_exposure"),
            _strings("certs"),
            _record(
                "grades", _long("jurisdiction"), _long("parent_jurisdiction"), _long("foreign_control_pct")
            ),
        ),
    ),
    EntityType("Proposal"),
    EntityType("Record", (_ref("owner", "Org", required=False),)),
    EntityType("Secret", (_ref("owner", "Org"),)),
    EntityType("Service", (_string(IDENTITY), _ref("org", "Org"), _strings("roles"))),
    EntityType(
        "Site",
        (
            _string("country"),
            _ref("operator", "Org"),
            _PROOF,
            _bool("tee"),
            _moment("tee_attested_at", required=False),
            _bool("disconnected"),
            _strings("certs"),
            _bool("stand_in"),
            _string("wall"),
            _record("grades", _long("country"), _long("operator")),
        ),
    ),
    EntityType("System"),
    EntityType("Team", (_ref("owner", "Org"),)),
    EntityType("Token", (_ref("owner", "Org"), _string("holder"))),
    EntityType(
        "User",
        (
            _string(IDENTITY),
            _ref("org", "Org"),
            _strings("roles"),
            _string("residence"),
            _bool("mfa"),
            _strings("clearances"),
            _moment("clearance_until", required=False),
        ),
        parents=("Team",),
    ),
)

_PEOPLE = ("User", "Service")
_EVERYBODY = ("Agent", "Anonymous", "Operator", "Service", "System", "User")
_DATA = ("Artifact", "Dataset", "Job")
_EVERYTHING = tuple(kind.name for kind in ENTITY_TYPES)
_PLACED = (_ref("site", "Site"), _ref("key", "Key"))
_MOVERS = ("Agent", "Service", "System", "User")


def _role(name: str, *principals: str) -> Group:
    return Group(name=name, side=Side.ROLE, principals=principals, resources=_EVERYTHING)


GROUPS: tuple[Group, ...] = (
    _role("administer", *_PEOPLE),
    _role("agents", "Agent"),
    _role("audit", *_PEOPLE),
    _role("govern", *_PEOPLE),
    _role("lower", "User"),
    _role("measure", *_PEOPLE),
    _role("operate", *_PEOPLE),
    _role("public", *_EVERYBODY),
    _role("self", *_PEOPLE),
    _role("system", "System"),
    _role("use", *_PEOPLE),
    _role("view", *_PEOPLE),
    Group(
        name="at_rest",
        side=Side.RULE,
        principals=_MOVERS,
        resources=_DATA,
        context=_PLACED,
        moves_data=True,
    ),
    Group(
        name="export",
        side=Side.RULE,
        principals=("User",),
        resources=_DATA,
        context=(
            _string("destination"),
            _ref("approver1", "User", required=False),
            _ref("approver2", "User", required=False),
            _bool("export_licence"),
        ),
        own_role=True,
        moves_data=True,
    ),
    Group(
        name="inference",
        side=Side.RULE,
        principals=_PEOPLE,
        resources=("Model",),
        context=(
            _ref("site", "Site"),
            _long("level"),
            _strings("labels"),
            _strings("residency"),
            _string("purpose"),
            _bool("consent"),
            _bool("prompt_logging"),
        ),
        own_role=True,
        moves_data=True,
    ),
    Group(
        name="lab",
        side=Side.RULE,
        principals=("User",),
        resources=("Lab",),
        context=(_ref("site", "Site"), _long("gpu_hours_left")),
        own_role=True,
    ),
    Group(
        name="operator_access",
        side=Side.RULE,
        principals=("Operator",),
        resources=_DATA,
        context=(
            _ref("site", "Site"),
            _ref("approved_by", "User", required=False),
            _moment("approved_at", required=False),
            _bool("recorded"),
            _string("ticket"),
        ),
        own_role=True,
    ),
    Group(
        name="processing",
        side=Side.RULE,
        principals=_MOVERS,
        resources=_DATA,
        context=(*_PLACED, _string("egress"), _bool("egress_attested")),
        moves_data=True,
    ),
    Group(
        name="replication",
        side=Side.RULE,
        principals=_MOVERS,
        resources=_DATA,
        context=(*_PLACED, _string("transfer_basis")),
        parents=("at_rest",),
        moves_data=True,
    ),
    Group(
        name="share",
        side=Side.RULE,
        principals=_PEOPLE,
        resources=("Indicator",),
        context=(_ref("recipient", "Org"), _string("recipient_kind"), _bool("agreement")),
        own_role=True,
    ),
)

GROUP_BY_NAME = {group.name: group for group in GROUPS}
ENTITY_TYPE_BY_NAME = {kind.name: kind for kind in ENTITY_TYPES}
