"""What a request is about, looked up for explanations: paths of a condition to their values, facts to words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sekisho.charter.formulas import Variable
from sekisho.charter.texts import SENTENCES, WORDS
from sekisho.charter.vocabulary import IDENTITY, NOW
from sekisho.charter.worlds import World
from sekisho.kernel.facts import Entity, Moment, Ref, Request, Sentence
from sekisho_wire.problems import Language, Text

_UNITS = (("days", 86_400_000), ("hours_unit", 3_600_000), ("minutes", 60_000), ("seconds", 1_000))


class Scene:
    """One request with everything it refers to. Answers variables of formulas: None for what is not there."""

    def __init__(self, world: World, request: Request) -> None:
        """Nothing is copied; the scene lives as long as one explanation."""
        self.request = request
        self._world = world

    def get(self, variable: Variable) -> Any:  # noqa: ANN401 - of the attribute's own type
        """The value of a variable, as `Assignment.get`."""
        match variable.kind:
            case "literal":
                return int(variable.element) - self.request.now_ms
            case "has":
                return variable.path[-1] in self._attributes(variable.path[:-1])
            case "in":
                return self._inside(self.at(*variable.path), variable.element)
        value = self.at(*variable.path)
        if variable.kind in {"member", "filled"}:
            members = value if isinstance(value, frozenset) else frozenset()
            return variable.element in members if variable.kind == "member" else bool(members)
        return value.ms - self.request.now_ms if isinstance(value, Moment) else value

    def at(self, *path: str) -> Any:  # noqa: ANN401 - of the attribute's own type
        """The value at a path such as `("context", "site", "country")`, or None."""
        value: Any = {"principal": self.request.principal.ref, "resource": self.request.resource.ref}.get(
            path[0]
        )
        steps = path[1:]
        if path[0] == "context":
            value, steps = {**self.request.context, NOW: Moment(self.request.now_ms)}.get(path[1]), path[2:]
        for step in steps:
            if step == IDENTITY and isinstance(value, Ref):
                value = value.id
                continue
            value = self._inner(value).get(step)
        return value

    def _attributes(self, path: tuple[str, ...]) -> Mapping[str, Any]:
        return self.request.context if path == ("context",) else self._inner(self.at(*path))

    def _inner(self, value: object) -> Mapping[str, Any]:
        if isinstance(value, Ref):
            entity = self.entity(value)
            value = entity.attributes if entity else None
        return value if isinstance(value, Mapping) else {}

    def entity(self, ref: Ref) -> Entity | None:
        """The request's own entity or the slow one of this name."""
        for own in (self.request.principal, self.request.resource):
            if own.ref == ref:
                return own
        return self._world.entities.get(ref)

    def _inside(self, value: object, group: str) -> bool:
        waiting: list[object] = [value]
        seen: set[Ref] = set()
        while waiting:
            ref = waiting.pop()
            if not isinstance(ref, Ref) or ref in seen:
                continue
            if f"{ref.type}::{ref.id}" == group:
                return True
            seen.add(ref)
            entity = self.entity(ref)
            waiting += entity.parents if entity else ()
        return False

    def id_at(self, *path: str) -> str:
        """The id of the entity at a path; `-` when there is none."""
        value = self.at(*path)
        return value.id if isinstance(value, Ref) else "-"

    def number_at(self, *path: str) -> int:
        """The number at a path; 0 when there is none."""
        value = self.at(*path)
        return value if isinstance(value, int) else 0

    def texts_at(self, *path: str) -> tuple[str, ...]:
        """The texts of a set, sorted; empty when there is none."""
        value = self.at(*path)
        items: frozenset[object] = value if isinstance(value, frozenset) else frozenset()
        return tuple(sorted(item for item in items if isinstance(item, str)))

    def level(self) -> int:
        """The higher of the resource's level and the context's."""
        return max(self.number_at("resource", "level"), self.number_at("context", "level"))

    def country(self) -> str:
        """Where the data would come to; `-` when unknown."""
        return str(self.at("context", "site", "country") or self.at("context", "destination") or "-")

    def residency(self) -> tuple[str, ...]:
        """Where the data may be: the context's own residency counts before the resource's."""
        return self.texts_at("context", "residency") or self.texts_at("resource", "residency")

    def params(self, language: Language) -> dict[str, object]:
        """Every placeholder that any sentence may use."""
        request = self.request
        return {
            "action": request.action,
            "age": span_words(request.now_ms - self._proof_ms(), language),
            "countries": listed(self.residency(), language, "or") or word("none", language),
            "country": self.country(),
            "data": request.resource.ref.id,
            "landmarks": self.number_at("context", "site", "proof", "landmarks"),
            "law": self._law(language),
            "n": self.level(),
            "operator": self.id_at("context", "site", "operator"),
            "own": self.id_at("principal", "org"),
            "owner": self.id_at("resource", "owner"),
            "person": request.principal.ref.id,
            "recipient": self.id_at("context", "recipient"),
            "served": self.id_at("resource", "served_at"),
            "site": self.id_at("context", "site"),
            "tlp": f"TLP:{str(self.at('resource', 'tlp') or '-').upper()}",
            "who": request.principal.ref.type,
        }

    def _proof_ms(self) -> int:
        value = self.at("context", "site", "proof", "checked_at")
        return value.ms if isinstance(value, Moment) else 0

    def _law(self, language: Language) -> str:
        operator = ("context", "site", "operator")
        found = list(self.texts_at(*operator, "legal_exposure"))
        parent = self.at(*operator, "parent_jurisdiction")
        if parent not in {"JP", None}:
            found.append(WORDS["parent"].render(language, {"country": parent}))
        votes = self.number_at(*operator, "foreign_control_pct")
        if not found:
            found.append(WORDS["foreign_votes"].render(language, {"percent": votes}))
        return listed(found, language, "comma")

    def sentence(self, rule: str, key: str, **extra: Text | str | int) -> Sentence:
        """The sentence `key` of `texts.py` for this scene; `extra` placeholders may be in both languages."""
        return self.render(rule, SENTENCES[key], **extra)

    def render(self, rule: str, text: Text, **extra: Text | str | int) -> Sentence:
        """Any sentence with this scene's placeholders filled in."""
        rendered: list[str] = []
        for language in (Language.EN, Language.JA):
            more = {
                name: value.render(language, {}) if isinstance(value, Text) else value
                for name, value in extra.items()
            }
            rendered.append(text.render(language, {**self.params(language), "rule": rule, **more}))
        return Sentence(rule, *rendered)


def word(key: str, language: Language) -> str:
    """One word of `texts.py` in one language."""
    return WORDS[key].render(language, {})


def listed(items: tuple[str, ...] | list[str], language: Language, joint: str) -> str:
    """`JP, DE or FR`: items joined with commas, the last with `joint` (a key of WORDS)."""
    if len(items) < 2:  # noqa: PLR2004 - one item needs no joint
        return "".join(items)
    return word("comma", language).join(items[:-1]) + word(joint, language) + items[-1]


def words(keys: list[str], joint: str = "comma") -> Text:
    """Several words of `texts.py` as one list, in both languages."""
    parts = [
        listed([word(key, language) for key in keys], language, joint)
        for language in (Language.EN, Language.JA)
    ]
    return Text(*parts)


def span_words(span_ms: int, language: Language) -> str:
    """`22 min`: a stretch of time in its largest whole unit, rounded down."""
    for key, unit_ms in _UNITS:
        if span_ms >= unit_ms or key == "seconds":
            return WORDS[key].render(language, {"n": max(0, span_ms) // unit_ms})
    return ""
