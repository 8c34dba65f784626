"""The schema: the same commands give the same text, and a command outside its groups is found at once."""

from __future__ import annotations

import random

import cedarpy
import msgspec
import pytest

from sekisho.charter import CharterError, VocabularyError, schema_text
from sekisho.charter.compiled import Charter
from sekisho.charter.schema import narrowed, program_specs, read_schema
from sekisho.charter.vocabulary import ENTITY_TYPES, GROUPS, NOW, Side
from sekisho.kernel.command import Kind
from tests.charter import yard


def test_the_text_depends_on_the_commands_alone() -> None:
    specs = [*program_specs(), *yard.COMMANDS]
    shuffled = specs[:]
    random.Random(3).shuffle(shuffled)
    assert schema_text(specs) == schema_text(shuffled) == yard.SCHEMA
    document = msgspec.json.decode(yard.SCHEMA)
    assert msgspec.json.encode(document, order="sorted").decode() == yard.SCHEMA
    assert cedarpy.Schema.from_json_str(yard.SCHEMA)


def test_it_is_read_back_whole() -> None:
    shapes = read_schema(yard.SCHEMA)
    assert shapes.entities.keys() == {kind.name for kind in ENTITY_TYPES}
    for kind in ENTITY_TYPES:
        assert set(shapes.entities[kind.name].values()) == {
            msgspec.structs.replace(one, fields=tuple(sorted(one.fields, key=lambda field: field.name)))
            for one in kind.attributes
        }
    for group in GROUPS:
        action = shapes.actions[group.any_action]
        assert action.groups == {group.name, *group.parents}
        assert set(action.principals) == set(group.principals)
        assert action.context.keys() == {NOW, *(one.name for one in group.context)}
    assert shapes.actions["yard.job.place"].context.keys() == {
        NOW,
        "site",
        "key",
        "egress",
        "egress_attested",
    }
    assert shapes.attribute("Nothing", "x") is None


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"":{}}', '{"":{"entityTypes":[],"actions":{}}}', "nonsense"]
)
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a schema"):
        read_schema(text)
    with pytest.raises(CharterError):
        Charter(text, yard.JAPAN)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (yard.spec("yard.x.y", "nothing", resource="Job"), "does not know"),
        (yard.spec("yard.x.y", "use", resource="Lamp"), "does not know"),
        (yard.spec("yard.x.y", "use", resource="Job", principals=("Lamp",)), "does not know"),
        (yard.spec("yard.x.y", "processing", resource="Model"), "no resource of processing"),
        (yard.spec("yard.x.y", "export", resource="Artifact"), "cannot act in export"),
        (yard.spec("yard.x.y", "use", "inference", resource="Model"), "role of its own"),
        (yard.spec("yard.x.y", "use", resource="Job", principals=("System",)), "no role group"),
    ],
)
def test_a_command_outside_its_groups_is_a_mistake(wrong: object, why: str) -> None:
    with pytest.raises(VocabularyError, match=why):
        schema_text([wrong])  # type: ignore[list-item] - the parameters are specs


def test_plumbing_is_no_action_and_foreign_commands_are_not_ours() -> None:
    plumbing = msgspec.structs.replace(yard.spec("yard.x.y", resource="Job"), kind=Kind.PLUMBING)
    assert "yard.x.y" not in read_schema(schema_text([plumbing])).actions
    assert not [spec.name for spec in program_specs() if spec.name.startswith("toy.")]
    assert {"charter.version.draft", "kernel.proposal.list"} <= {spec.name for spec in program_specs()}


def test_a_schema_narrowed_to_one_action_keeps_its_groups() -> None:
    action = read_schema(yard.SCHEMA).actions["yard.data.replicate"]
    small = read_schema(narrowed(yard.SCHEMA, action))
    assert small.actions == {action.name: action}
    assert small.entities == read_schema(yard.SCHEMA).entities
    groups = msgspec.json.decode(narrowed(yard.SCHEMA, action))[""]["actions"].keys() - {action.name}
    assert groups == {"at_rest", "replication", "use"}


def test_rule_groups_have_context_and_role_groups_none() -> None:
    for group in GROUPS:
        assert bool(group.context) == (group.side is Side.RULE)
        assert not group.moves_data or group.side is Side.RULE
