"""Writes docs/reference from the code: commands, problem codes and settings, each a heading.

The pages are derived, never edited: tests/architecture/test_docs.py compares them with what `pages` answers.
"""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import itertools
import pkgutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import inspect as types

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"
PROGRAMS = (
    "sekisho",
    "sekisho_agent",
    "sekisho_client",
    "sekisho_guarantor",
    "sekisho_verify",
    "sekisho_wire",
)
_NOTE = "<!-- Written by `make reference` from the code. Change the code, not this page. -->\n"
_SIMPLE: dict[type[types.Type], str] = {
    types.StrType: "text",
    types.IntType: "integer",
    types.BoolType: "true or false",
    types.FloatType: "number",
    types.BytesType: "bytes (base64)",
    types.NoneType: "nothing",
    types.AnyType: "anything",
    types.DateTimeType: "moment (RFC 3339)",
}


def load_everything() -> None:
    """Import every module of every program, so that what registers itself on import is registered."""
    for program in PROGRAMS:
        package = importlib.import_module(program)
        for module in pkgutil.walk_packages(package.__path__, prefix=f"{program}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def pages() -> dict[str, str]:
    """File name to text for each page of the reference."""
    load_everything()
    return {"commands.md": _commands(), "problems.md": _problems(), "settings.md": _settings()}


def _commands() -> str:
    from sekisho.http.routes import ROUTES
    from sekisho.kernel.command import all_specs

    places = {route.command: route for route in ROUTES}
    specs = {
        name: list(group) for name, group in itertools.groupby(all_specs(), lambda s: s.name.split(".")[0])
    }
    lines = [
        _NOTE,
        "# Commands",
        "",
        "Everything anybody can ask. One name is the route, the CLI verb, the charter's",
    ]
    lines += [
        "action and the evidence's kind. Recorded commands leave a record, also when they are denied.",
        "",
    ]
    for capability, group in specs.items():
        lines += [f"## {capability}", ""]
        for spec in group:
            people = "two people" if spec.two_people else " or ".join(spec.principals)
            lines += [f"### `{spec.name}`", "", spec.en, "", spec.ja, ""]
            if (route := places.get(spec.command)) is not None:
                verbs = [*(["sekisho " + " ".join(route.cli)] if route.cli else [])]
                verbs += [f"sekisho {route.daily}"] if route.daily else []
                where = [f"`{route.method} {route.path}`", *(f"`{verb}`" for verb in verbs)]
                lines += [f"- Ask by: {', '.join(where)}."]
            lines += [f"- Kind: {spec.kind.value}; on a {spec.resource}; by {people}."]
            lines += [f"- Groups: {', '.join(spec.groups) or 'none'}."]
            lines += [f"- Answers: {describe(types.type_info(spec.result))}.", ""]
            lines += _fields(spec.command)
    return "\n".join(lines).rstrip() + "\n"


def _problems() -> str:
    from sekisho_wire.problems import all_problems

    lines = [
        _NOTE,
        "# Problem codes",
        "",
        "A code never changes its meaning; its sentence may. `Exit` is the status",
    ]
    lines += ["of the command line, `HTTP` that of the API.", ""]
    for code, problem in all_problems().items():
        lines += [f"## `{code}`", "", problem.text.en, "", problem.text.ja, ""]
        if problem.hint:
            lines += [f"Hint: {problem.hint.en}", "", problem.hint.ja, ""]
        lines += [f"HTTP {problem.status}, exit {int(problem.exit)}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _settings() -> str:
    from sekisho.kernel.config import Settings

    lines = [
        _NOTE,
        "# Settings",
        "",
        "Read from the configuration file, then from the environment, which wins:",
    ]
    lines += ["`SEKISHO_` and the name in capitals. An unknown name is refused.", ""]
    for name, field, documentation in settings(Settings):
        default = "required" if field.required else f"default `{_plain(field.default)}`"
        lines += [f"## `{name}`", "", documentation, "", f"{describe(field.type)}, {default}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def settings(cls: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, types.Field, str]]:
    """Each setting's dotted name, its field and its note in the source; nested structs are walked."""
    described = types.type_info(cls)
    if not isinstance(described, types.StructType):
        raise TypeError(f"{cls.__name__} is not a struct")
    notes = field_notes(cls)
    for field in described.fields:
        if isinstance(field.type, types.StructType):
            yield from settings(field.type.cls, f"{prefix}{field.encode_name}.")
        else:
            yield prefix + field.encode_name, field, notes.get(field.name, "")


def field_notes(cls: type) -> dict[str, str]:
    """The string that stands under each field of a class: its documentation by our convention."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    notes = {}
    for field, text in itertools.pairwise(getattr(body, "body", [])):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            value = getattr(text, "value", None)
            if isinstance(text, ast.Expr) and isinstance(value, ast.Constant):
                notes[field.target.id] = inspect.cleandoc(str(value.value))
    return notes


def describe(kind: types.Type) -> str:
    """A type in words a caller of the API understands."""
    if type(kind) in _SIMPLE:
        return _SIMPLE[type(kind)]
    match kind:
        case types.EnumType():
            return "one of " + ", ".join(f"`{member.value}`" for member in kind.cls)
        case types.LiteralType():
            return "one of " + ", ".join(f"`{value}`" for value in kind.values)
        case types.UnionType():
            return " or ".join(describe(part) for part in kind.types)
        case types.DictType():
            return f"map of {describe(kind.key_type)} to {describe(kind.value_type)}"
        case types.ListType() | types.VarTupleType() | types.SetType() | types.FrozenSetType():
            return f"list of {describe(kind.item_type)}"
        case types.TupleType():
            return "(" + ", ".join(describe(part) for part in kind.item_types) + ")"
        case types.StructType():
            return f"`{kind.cls.__name__}`"
        case types.Metadata():
            return describe(kind.type)
        case _:
            return f"`{type(kind).__name__.removesuffix('Type').lower()}`"


def _fields(cls: type[msgspec.Struct]) -> list[str]:
    described = types.type_info(cls)
    if not isinstance(described, types.StructType) or not described.fields:
        return ["Takes nothing.", ""]
    notes = field_notes(cls)
    rows = ["| Field | Type | Needed | |", "|---|---|---|---|"]
    for field in described.fields:
        needed = "yes" if field.required else f"no (`{_plain(field.default)}`)"
        note = " ".join(notes.get(field.name, "").split())
        rows.append(
            f"| `{field.encode_name}` | {describe(field.type)} | {needed} | {note} |".replace("|  |", "| |")
        )
    return [*rows, ""]


def _plain(default: object) -> str:
    if default is msgspec.NODEFAULT:
        return "empty"
    value = default.value if isinstance(default, enum.Enum) else default
    return msgspec.json.encode(value).decode()


def main() -> int:
    """Write every page; a page that no longer exists in the code is removed."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    texts = pages()
    for name, text in texts.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    for stray in {path.name for path in FOLDER.glob("*.md")} - set(texts):
        (FOLDER / stray).unlink()
    print(f"{len(texts)} pages in {FOLDER.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
