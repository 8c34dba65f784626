"""The table says each command once, and what is derived from it is what the code says."""

from __future__ import annotations

import importlib
import json

import msgspec
import pytest

from sekisho.http import catalogue, openapi, reference
from sekisho.http.route import Route, in_order, mistakes
from sekisho.http.routes import KERNEL, ROUTES, WITHOUT_ROUTE, only_inside
from sekisho.kernel.command import all_specs
from tests.http import toyserver
from tests.support import tree
from tests.support.toy import DropThing, PutThing, ShowThing

CAPABILITIES = [folder.name for folder in tree.capabilities()]


def _specs() -> dict[str, object]:
    for name in CAPABILITIES:
        importlib.import_module(f"sekisho.{name}")
    modules = (*CAPABILITIES, "kernel")
    return {
        spec.name: spec
        for spec in all_specs()
        if spec.command.__module__.startswith(tuple(f"sekisho.{name}." for name in modules))
    }


def test_the_table_makes_sense() -> None:
    assert mistakes(ROUTES) == []
    assert mistakes(toyserver.ROUTES) == []


def test_a_table_that_makes_none_is_caught() -> None:
    wrong = [
        Route("GET", "/v1/a/{nothing}", ShowThing),
        Route("GET", "/v1/b", PutThing),
        Route("GET", "/elsewhere/{id}", ShowThing),
        Route("GET", "/v1/c/{id}", ShowThing),
        Route("GET", "/v1/c/{id}", ShowThing),
        Route("DELETE", "/v1/d/{id}", DropThing, words=("colour",)),
    ]
    found = mistakes(wrong)
    assert len(found) == 5
    for part in ("no field nothing", "not a read", "outside /v1", "routed twice", "no field colour"):
        assert any(part in line for line in found), part


def test_every_command_has_a_route_or_a_reason() -> None:
    routed = {route.spec.name for route in ROUTES}
    specs = [spec for spec in all_specs() if spec.name in _specs()]
    missing = {spec.name for spec in specs if spec.name not in routed and not only_inside(spec)}
    assert missing == set(WITHOUT_ROUTE)
    assert all(WITHOUT_ROUTE.values())
    assert routed & set(WITHOUT_ROUTE) == set()


def test_nothing_that_only_the_inside_asks_is_routed() -> None:
    assert [route.spec.name for route in ROUTES if only_inside(route.spec)] == []


def test_each_command_is_routed_once_and_each_verb_is_one_command() -> None:
    names = [route.spec.name for route in ROUTES]
    verbs = [route.cli for route in ROUTES if route.cli]
    daily = [route.daily for route in ROUTES if route.daily]
    assert len(set(names)) == len(names)
    assert len(set(verbs)) == len(verbs)
    assert len(set(daily)) == len(daily)


def test_every_field_and_noun_has_words_in_both_languages() -> None:
    assert catalogue.without_words(ROUTES) == []
    assert "field colour" not in catalogue.without_words(ROUTES)
    assert "noun thing" in catalogue.without_words(toyserver.ROUTES)


def test_columns_are_members_of_the_answer() -> None:
    for route in ROUTES:
        if not route.columns:
            continue
        described = openapi.document([route])
        schemas = described["components"]["schemas"]
        content = described["paths"][route.path][route.method.lower()]["responses"]["200"]["content"]
        schema = content["application/json"]["schema"]
        page = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        row = schemas[page["properties"]["items"]["items"]["$ref"].rpartition("/")[2]]
        assert set(route.columns) - set(row["properties"]) == set(), route.path


def test_a_fixed_word_wins_over_a_placeholder() -> None:
    paths = [route.path for route in in_order(ROUTES)]
    for position, path in enumerate(paths):
        if path.endswith("}"):
            parent = path.rpartition("/")[0]
            later = [other for other in paths[position:] if other.rpartition("/")[0] == parent]
            assert all(other.endswith("}") for other in later), path


@pytest.mark.parametrize("path", reference.files(), ids=lambda path: path.name)
def test_what_is_generated_is_what_the_code_says(path: object) -> None:
    texts = {str(file): text for file, text in reference.files().items()}
    from pathlib import Path

    assert Path(str(path)).read_text() == texts[str(path)], "run python -m sekisho.http.reference"


def test_the_catalogue_is_json_with_one_command_a_line() -> None:
    text = catalogue.encode(catalogue.catalogue(KERNEL))
    assert json.loads(text) == json.loads(msgspec.json.encode(catalogue.catalogue(KERNEL)))
    assert sum(line.startswith('  "kernel.') for line in text.splitlines()) == len(KERNEL)


def test_writing_the_reference_is_repeatable(capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main(["--check"]) == 0
    assert capsys.readouterr().out == "different: nothing\n"
