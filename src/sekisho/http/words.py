"""Words for people: what each field of a command means, in both languages, for help and table headings.

Kept in one table because one name means one thing everywhere; the command line, its tables and the reference
read it. A field that is not here fails a test.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sekisho_wire.problems import Text


class Word(msgspec.Struct, frozen=True):
    """One field. `heading` stands over a column, `help` beside an option, `sample` in an example."""

    heading: Text
    help: Text
    sample: str = "..."


def _word(english: str, japanese: str, help_text: tuple[str, str] = ("", ""), sample: str = "...") -> Word:
    return Word(Text(english, japanese), Text(help_text[0] or english, help_text[1] or japanese), sample)


FIELDS: Mapping[str, Word] = {
    "action": _word(
        "action", "操作", ("action, the command's name", "操作名（コマンドの名前）"), "compute.job.submit"
    ),
    "amount": _word("amount", "数量", sample="3"),
    "created_at": _word("created", "作成日時"),
    "cursor": _word("cursor", "続きの位置", ("where the last page ended", "前のページの終わりの位置")),
    "expires_at": _word(
        "expires", "期限", ("when it ends (RFC 3339)", "終了する日時（RFC 3339）"), "2026-12-31T00:00:00Z"
    ),
    "id": _word("id", "ID", ("its id", "対象のID")),
    "limit": _word("limit", "件数", ("rows per page", "1ページの件数"), "50"),
    "name": _word("name", "名前", sample="example"),
    "proposal": _word("proposal", "申請", ("the proposal's id", "申請のID"), "prop_01kae7x2m4"),
    "proposer": _word("proposer", "申請者"),
}

NOUNS: Mapping[str, Text] = {
    "proposal": Text("What waits for a second person", "2人目の承認待ち"),
}
"""What a noun of the command line stands for."""


def word(name: str) -> Word:
    """The word of a field; an unknown one is its own name, which `tests/http` does not let pass."""
    plain = name.replace("_", " ")
    return FIELDS.get(name) or _word(plain, plain)
