"""Manual page source to plain lines: the man and the mdoc macros, as far as prose needs them.

This is no typesetter. Tables, equations, synopses and other blocks in which lines must not be
joined are left out, because they are not sentences; fonts, sizes and motions are dropped.
A known hole: both branches of a conditional (`.ie`/`.el`) are read when they span several lines.
"""

from __future__ import annotations

import re
import sys
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Role(Enum):
    """What a macro at the start of a line means for the text around it."""

    HEADING = auto()  # its words are a paragraph of their own
    BREAK = auto()  # ends the paragraph; its arguments are measures or tags, not text
    WORDS = auto()  # its arguments are words of the sentence
    JOINED = auto()  # its arguments alternate between two fonts and touch each other
    MDOC = auto()  # its arguments are words, and some of them are macros again
    PAGE = auto()  # a page of the manual: name and section


_MACROS_BY_ROLE = {
    Role.HEADING: "SH SS Sh Ss",
    Role.BREAK: "PP P LP TP TQ IP HP RS RE sp br Pp It Bl El",
    Role.WORDS: "B I R SM SB OP UR MT",
    Role.JOINED: "BR BI IB IR RB RI",
    Role.MDOC: (
        "Nm Fl Ar Pa Cm Ic Li Em Sy Dv Ev Er Va Vt Fa Fn Ft Tn Ad An Ns No Nd Lk Mt "
        "Ql Dq Sq Qq Op Pq Aq Bq Brq Sx D1 Dl Cd St At Bx Fx Nx Ox Dx"
    ),
    Role.PAGE: "Xr MR",
}
MACROS: dict[str, Role] = {name: role for role, names in _MACROS_BY_ROLE.items() for name in names.split()}

# Blocks that are not prose, by the macro that opens them and the one that closes them.
BLOCKS: dict[str, str] = {
    "TS": "TE",  # table
    "EQ": "EN",  # equation
    "PS": "PE",  # picture
    "nf": "fi",  # lines kept as they are
    "EX": "EE",  # example
    "Vb": "Ve",  # verbatim, as pod2man writes it
    "SY": "YS",  # synopsis
    "Bd": "Ed",  # mdoc display
}
# Definitions and ignored text end at a macro that their argument may name: {macro: index of the argument}.
DEFINITIONS: dict[str, int] = {"ig": 0, "de": 1, "am": 1}

GLYPHS: dict[str, str] = {
    # quotes
    "aq": "'", "dq": '"', "lq": "“", "rq": "”", "oq": "‘", "cq": "’", "Fo": "«", "Fc": "»",
    # dashes and marks
    "hy": "-", "mi": "-", "en": "–", "em": "—", "bu": "・", "ha": "^", "ti": "~", "ga": "`", "at": "@",
    "sh": "#", "ul": "_", "br": "|", "ba": "|", "rs": "\\", "sl": "/", "lB": "[", "rB": "]", "lC": "{", "rC": "}",
    # signs
    "co": "©", "rg": "®", "tm": "™", "sc": "§", "de": "°", "mu": "×", "di": "÷", "+-": "±", "if": "∞",
    "->": "→", "<-": "←", "<=": "≤", ">=": "≥", "!=": "≠", "==": "≡",
}  # fmt: skip
STRINGS: dict[str, str] = {
    "lq": '"', "rq": '"', 'L"': '"', 'R"': '"', "Lq": '"', "Rq": '"', "Aq": "'", "C`": "", "C'": "",
    "Tm": "™", "R": "®", "--": "—",
}  # fmt: skip

_ESCAPE = re.compile(
    r"""\\(?:
      (?P<comment>["\#].*)
    | \((?P<glyph>..) | \[(?P<long_glyph>[^]]+)\]
    | \*(?:\((?P<string>..) | \[(?P<long_string>[^]]+)\] | (?P<short_string>.))
    | f(?:\(.. | \[[^]]*\] | .)                                         # font
    | s(?:[-+]?\d+ | \([-+]?\d\d | [-+]?\[[^]]*\] | '[^']*')            # size
    | [ABbCDHhLlNoRSvwXxZ]'[^']*'                                       # motions, drawings, measures
    | [FgkMmnOVY](?:\[[^]]*\] | \(.. | .)                               # colours, registers, variables
    | (?P<character>.)
    | $
    )""",
    re.VERBOSE,
)
# One-character escapes that print something; all others (\&, \|, \^, \%, \:, \c, ...) print nothing.
_CHARACTERS = {
    "e": "\\",
    "\\": "\\",
    "-": "-",
    "'": "'",
    "`": "`",
    " ": " ",
    "~": " ",
    "0": " ",
    "t": " ",
    ".": ".",
}
_REQUEST = re.compile(r"[.'][ \t]*(?P<name>[^\s\\]*)[ \t]*(?P<rest>.*)")
_ARGUMENT = re.compile(r'"((?:[^"]|"")*)"?|(\S+)')


def without_escapes(line: str) -> str:
    r"""The characters that a line prints: `\fBls\fP\-a` is `ls-a`, `\(co` is `©`. Unknown escapes print nothing."""
    return _ESCAPE.sub(_printed, line)


def _printed(escape: re.Match[str]) -> str:
    match escape.lastgroup:
        case "glyph" | "long_glyph":
            return _glyph(escape[escape.lastgroup])
        case "string" | "long_string" | "short_string":
            return STRINGS.get(escape[escape.lastgroup], "")
        case "character":
            return _CHARACTERS.get(escape["character"], "")
        case _:
            return ""


def _glyph(name: str) -> str:
    if re.fullmatch(r"u[0-9A-F]{4,6}", name):
        # Half characters (surrogates) and what lies above the last one are not printable either.
        character = chr(min(int(name[1:], 16), sys.maxunicode))
        return character if character.isprintable() else ""
    return GLYPHS.get(name, "")


def arguments(rest: str) -> list[str]:
    """The arguments of a macro: parted by blanks, kept together by double quotes, a doubled quote is one."""
    comment = re.search(r'\\["#]', rest)
    text = rest[: comment.start()] if comment else rest
    return [(quoted.replace('""', '"') or bare) for quoted, bare in _ARGUMENT.findall(text)]


def _mdoc_words(words: list[str]) -> str:
    """Mdoc calls macros within a line: `Op Fl a Ar file` prints `-a file`."""
    printed: list[str] = []
    dash = ""
    for word in words:
        if MACROS.get(word) is Role.MDOC:
            dash = "-" if word == "Fl" else ""
            continue
        printed.append(dash + word)
        dash = ""
    return " ".join(printed)


def _sentence_part(name: str, role: Role, words: list[str]) -> str:
    match role:
        case Role.JOINED:
            return "".join(words)
        case Role.MDOC:
            return _mdoc_words([name, *words])
        case Role.PAGE if len(words) > 1:
            return f"{words[0]}({words[1]}){''.join(words[2:])}"
        case _:
            return " ".join(words)


def _end_of_block(name: str, rest: str) -> str | None:
    """The macro that ends the block which `name` opens; None when it opens none."""
    if name in BLOCKS:
        return BLOCKS[name]
    if name in DEFINITIONS:
        named = rest.split()[DEFINITIONS[name] :]
        return named[0] if named else "."
    return None


def lines(source: str) -> Iterator[str]:
    """Yield the text lines of a page in order; an empty line parts two paragraphs. Never raises: any text is a page."""
    closing: str | None = None
    for line in source.replace("\\\n", "").splitlines():
        request = _REQUEST.match(line)
        name, rest = (request["name"], request["rest"]) if request else ("", "")
        role = MACROS.get(name)
        # A heading also ends a block that its author forgot to close; else the rest of the page would be lost.
        forgotten = role is Role.HEADING and closing in BLOCKS.values()
        if closing is not None and not forgotten:
            closing = None if request and name == closing else closing
            continue
        closing = _end_of_block(name, rest) if request else None
        if role in {Role.HEADING, Role.BREAK}:
            yield ""
        if request and role not in {None, Role.BREAK}:
            yield without_escapes(_sentence_part(name, role or Role.WORDS, arguments(rest))).strip()
        elif not request:
            yield without_escapes(line).strip()
        if role is Role.HEADING:
            yield ""


def points_elsewhere(source: str) -> bool:
    """Whether the page is only `.so other-page`: a second name of a page that is read under its own."""
    return source.lstrip().startswith(".so ")
