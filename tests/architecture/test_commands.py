"""Commands, routes and sentences: one definition each, reachable, and said in both languages."""

from __future__ import annotations

import re
import string

import pytest

from scripts import generate_reference
from sekisho.http import routes
from sekisho.kernel.command import Spec, all_specs
from sekisho_wire import problems
from tests.support import tree

generate_reference.load_everything()
SPECS = [spec for spec in all_specs() if spec.command.__module__.startswith("sekisho.")]
PROBLEMS = problems.all_problems()
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff\uff01-\uff5e]")
HALF_WIDTH = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff][()!?,.:;]")
NAME = re.compile(r"[a-z]+(\.[a-z_]+){1,3}")
CODE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_command_is_named_after_the_room_it_lives_in(spec: Spec) -> None:
    assert NAME.fullmatch(spec.name), (
        "capability, then a verb, a thing and a verb, or a thing's thing and a verb"
    )
    assert spec.command.__module__.split(".")[1] == spec.name.partition(".")[0]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_command_says_what_it_does_in_both_languages(spec: Spec) -> None:
    assert JAPANESE.search(spec.ja)
    assert not HALF_WIDTH.search(spec.ja)
    assert not JAPANESE.search(spec.en)


def test_every_command_is_routed_inside_only_or_excused() -> None:
    routed = {route.command for route in routes.ROUTES}
    lost = {
        spec.name
        for spec in SPECS
        if spec.command not in routed
        and not routes.only_inside(spec)
        and spec.name not in routes.WITHOUT_ROUTE
    }
    assert lost == set()
    assert set(routes.WITHOUT_ROUTE) - {spec.name for spec in SPECS} == set(), "excused, but no such command"


def test_no_two_routes_are_the_same_door() -> None:
    doors = [(route.method, re.sub(r"\{\w+\}", "{}", route.path)) for route in routes.ROUTES]
    words = [word for route in routes.ROUTES for word in (route.cli, route.daily) if word]
    assert len(doors) == len(set(doors))
    assert len(words) == len(set(words))


@pytest.mark.parametrize("code", PROBLEMS)
def test_a_problem_says_the_same_in_both_languages(code: str) -> None:
    problem = PROBLEMS[code]
    assert CODE.fullmatch(code)
    for text in (problem.text, problem.hint):
        if text is not None:
            assert _placeholders(text.en) == _placeholders(text.ja)
            # Filling anything but a plain name may raise, in the middle of an answer.
            for part in (text.en, text.ja):
                assert part.count("{") == len(re.findall(r"\{[a-z_]+\}", part)) == part.count("}")
            assert JAPANESE.search(text.ja)
            assert not HALF_WIDTH.search(text.ja)
            assert not JAPANESE.search(text.en)


def test_every_code_that_the_source_names_is_defined() -> None:
    defined = re.compile(r"\bdefine\(\s*\"([a-z_.]+)\"")
    named = {code for path in tree.files("src/*.py") for code in defined.findall(path.read_text())}
    assert named
    assert named - set(PROBLEMS) == set()


def _placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
