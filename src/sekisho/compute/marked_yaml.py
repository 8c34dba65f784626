"""A YAML text as plain values with the place of each; no aliases that multiply, no tags of Python's.

Stops while it reads at what is too deep or too long. What cannot be read is problem `compute.file.malformed`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import yaml

from sekisho.compute.errors import FILE_MALFORMED
from sekisho.kernel.errors import SekishoError
from sekisho_wire.complaints import without_braces
from sekisho_wire.problems import Text

DEPTH_MAX = 12
YAML_NODES_MAX = 5_000
LARGEST = 2**53
"""Whole numbers stay below it: evidence and both databases hold no larger one."""
_STANDARD = "tag:yaml.org,2002:"
_SCALARS = frozenset({"null", "bool", "int", "float", "str"})
_TOO_LARGE = Text("too deep or too long", "深すぎるか、長すぎます")

Plain: TypeAlias = Any
"""What YAML gives: text, numbers, booleans, lists, objects, nothing."""


class Marks:
    """Where each value stands in the text, by msgspec's path spelling."""

    def __init__(self) -> None:
        self._at: dict[str, tuple[int, int]] = {"$": (1, 1)}
        self.nodes = 0

    def note(self, path: str, mark: yaml.Mark) -> None:
        """A value, or for a field its name, stands there."""
        self._at[path] = (mark.line + 1, mark.column + 1)

    def find(self, path: str) -> tuple[int, int]:
        """Line and column of a path, or of the nearest enclosing one."""
        while path and path not in self._at:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._at.get(path, (1, 1))


class _Loader(yaml.SafeLoader):
    """Stops while it reads, not afterwards, when a file is too deep or too long."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = 0
        self._depth = 0

    # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._nodes += 1
        self._depth += 1
        if self._depth > DEPTH_MAX + 1 or self._nodes > 2 * YAML_NODES_MAX:
            raise yaml.MarkedYAMLError(problem=_TOO_LARGE.en, problem_mark=self.peek_event().start_mark)
        try:
            node: yaml.Node | None = super().compose_node(parent, index)
        finally:
            self._depth -= 1
        return node


def load(text: str, marks: Marks) -> Plain:
    """The value of the text's one document; `marks` learns where each part of it stands."""
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            raise _malformed((1, 1), Text("the file is empty", "ファイルが空です"))
        return _value(node, "$", marks, 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        why = without_braces(error.problem or "")
        raise _malformed(where, Text(f"not YAML: {why}", f"YAMLとして読めません（{why}）")) from error
    except yaml.YAMLError as error:
        raise _malformed((1, 1), Text("not YAML text", "YAMLの文字列ではありません")) from error


def _value(node: yaml.Node, path: str, marks: Marks, depth: int) -> Plain:
    """The plain value of a node, its place noted on the way; no aliases, no tags of Python's."""
    marks.note(path, node.start_mark)
    marks.nodes += 1
    where = (node.start_mark.line + 1, node.start_mark.column + 1)
    if depth > DEPTH_MAX or marks.nodes > YAML_NODES_MAX:
        raise _malformed(where, _TOO_LARGE)
    if isinstance(node, yaml.CollectionNode) and node.tag not in {_STANDARD + "map", _STANDARD + "seq"}:
        raise _malformed(where, _other_type(node))
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, marks, depth)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, f"{path}[{number}]", marks, depth + 1) for number, item in enumerate(node.value)]
    return _scalar(node, where)


def _scalar(node: yaml.Node, where: tuple[int, int]) -> Plain:
    """Text, whole number, yes or no, nothing; what looks like a date stays the text it is."""
    tag, text = node.tag.removeprefix(_STANDARD), str(node.value)
    _check_text(text, where)
    if tag in {"str", "timestamp"}:
        return text
    if tag not in _SCALARS:
        raise _malformed(where, _other_type(node))
    if tag in {"int", "float"} and ":" in text:
        # YAML 1.1 would read it in base 60, which costs more than the square of its length.
        return text
    try:
        value = yaml.SafeLoader("").construct_object(node)  # type: ignore[no-untyped-call] - PyYAML is untyped here
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        what = Text(f"not a value of type {tag}", f"型{tag}の値ではありません")
        raise _malformed(where, what) from error
    if isinstance(value, int) and abs(value) >= LARGEST:
        raise _malformed(where, Text("the number is too large", "数値が大きすぎます"))
    return value if value is None or isinstance(value, (int, float)) else text


def _check_text(text: str, where: tuple[int, int]) -> None:
    """Escapes can spell what neither UTF-8 nor every database holds."""
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise _malformed(where, Text("a character that no text holds", "文字列に使えない文字があります"))


def _mapping(node: yaml.MappingNode, path: str, marks: Marks, depth: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, item in node.value:
        where = (key.start_mark.line + 1, key.start_mark.column + 1)
        if not isinstance(key, yaml.ScalarNode):
            raise _malformed(
                where, Text("a field needs a plain name", "項目名は単純な文字列でなければなりません")
            )
        _check_text(key.value, where)
        if key.value in result:
            name = without_braces(key.value)
            raise _malformed(where, Text(f"field {name} stands twice", f"項目{name}が2回あります"))
        result[key.value] = _value(item, f"{path}.{key.value}", marks, depth + 1)
        marks.note(f"{path}.{key.value}", key.start_mark)
    return result


def _other_type(node: yaml.Node) -> Text:
    tag = without_braces(node.tag[:60])
    return Text(f"no value of type {tag} is taken", f"型{tag}の値は使えません")


def _malformed(where: tuple[int, int], what: Text) -> SekishoError:
    return SekishoError(FILE_MALFORMED, line=where[0], column=where[1], texts={"what": what})
