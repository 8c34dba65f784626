"""Wrong use of a command line is told as every other error: in the language asked for, with code and next step."""

from __future__ import annotations

import pytest

from sekisho_wire.problems import Exit, Language
from sekisho_wire.usage import Parser, in_words, parser_in


def made(language: Language) -> Parser:
    parser = parser_in(language)(prog="gate", add_help=False)
    parser.add_argument("--colour", choices=["red", "green"])
    verbs = parser.add_subparsers(metavar="", required=True)
    verbs.add_parser("open", add_help=False).add_argument("--wide", required=True)
    return parser


@pytest.mark.parametrize(
    ("words", "told", "program"),
    [
        ([], ("a command is needed", "コマンドが必要です"), "gate"),
        (["opn"], ("no such command: 'opn' (choose from 'open')", "'opn'というコマンドはありません"), "gate"),
        (
            ["open"],
            ("the following arguments are required: --wide", "次の引数が必要です：--wide"),
            "gate open",
        ),
        (
            ["open", "--wide"],
            ("argument --wide: expected one argument", "--wideには値が必要です"),
            "gate open",
        ),
        (
            ["open", "--wide", "1", "--odd"],
            ("unrecognized arguments: --odd", "不明な引数です：--odd"),
            "gate",
        ),
        (["--colour", "blue"], ("argument --colour: invalid choice: 'blue'", "--colourに'blue'は"), "gate"),
    ],
)
def test_a_mistake_is_told_in_both_languages(
    capsys: pytest.CaptureFixture[str], words: list[str], told: tuple[str, str], program: str
) -> None:
    for language, expected in zip((Language.EN, Language.JA), told, strict=True):
        with pytest.raises(SystemExit) as left:
            made(language).parse_args(words)
        said = capsys.readouterr().err.splitlines()
        assert left.value.code == Exit.USAGE
        assert said[0].startswith(f"error: {expected}")
        assert said[0].endswith("  [input.usage]")
        assert said[1:] == [f"hint: {program} --help"]


def test_what_is_not_known_is_told_as_it_came() -> None:
    for language in Language:
        assert in_words(r"something new: \1 {a}", language) == r"something new: \1 {a}"
        assert "{x} \\2" in in_words("unrecognized arguments: {x} \\2", language)
