"""Manual pages to lines, on sources written for these tests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import programs

roff = programs.load("roff")
prose = programs.load("prose")

PAGE = r"""'\" t
.\" 注釈は本文ではありません
.TH SEKISHO 1 "2026-01-01"
.SH 名前
sekisho \- 関所を通る
.SH 説明
.B sekisho
は、\fI手形\fPを調べて
通行を許可します。
.PP
設定は
.BR sekisho.conf (5)
を参照してください。
.nf
この行は整形しません
.fi
.TS
表;
l l.
一	二
.TE
.ig 終
隠した文
.終
.de XX
マクロの中身
..
\(lq終わり\(rq です\e。
"""


def paragraphs(source: str) -> list[str]:
    return [prose.clean(paragraph) for paragraph in prose.paragraphs(roff.lines(source))]


def test_a_page_becomes_its_paragraphs() -> None:
    assert paragraphs(PAGE) == [
        "名前",
        "sekisho - 関所を通る",
        "説明",
        "sekisho は、手形を調べて通行を許可します。",
        "設定は sekisho.conf(5) を参照してください。“終わり” です\\。",
    ]


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        (r"\fB太字\fPと\f[BI]斜体\fR", "太字と斜体"),
        (r"\s-1小\s0 \s'+2'大", "小 大"),
        (r"a\-b\&c\|d\^e\%f", "a-bcdef"),
        (r"\(co 2026 \[rg] \[u3042]", "© 2026 ® あ"),
        (r"\[uD800]\[uFFFFFF]\[unknown]", ""),
        (r"\*(lqx\*(rq \*R", '"x" ®'),
        (r"\h'2n'幅\w'長さ'", "幅"),
        (r"本文\" 注釈", "本文"),
        (r"\m[red]赤\m[]\n[.x]", "赤"),
        ("端\\", "端"),
    ],
)
def test_escapes_print_what_they_stand_for(line: str, printed: str) -> None:
    assert roff.without_escapes(line) == printed


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('.B "二つの 語" 三つ', ["二つの 語 三つ"]),
        ('.BR "a ""b""" c', ['a "b"c']),
        (".Op Fl a Ar ファイル", ["-a ファイル"]),
        (".Xr ls 1 。", ["ls(1)。"]),
        (".UR あて先", ["あて先"]),
        (".unknown 消える", []),
    ],
)
def test_macros_put_their_words_into_the_sentence(line: str, words: list[str]) -> None:
    assert list(roff.lines(line)) == words


def test_a_heading_ends_a_block_that_was_never_closed() -> None:
    assert paragraphs(".nf\n失われる行\n.SH 次の節\n残る行") == ["次の節", "残る行"]


def test_a_definition_hides_a_heading() -> None:
    assert paragraphs(".de XX\n.SH 見出し\n..\n残る行") == ["残る行"]


def test_a_page_that_points_elsewhere_is_known() -> None:
    assert roff.points_elsewhere(".so man1/ls.1\n")
    assert not roff.points_elsewhere(PAGE)


@given(st.text(alphabet=st.sampled_from("\\.'\"([*]fsnmuBSHTEia あ。\n\t{}|"), max_size=200))
def test_any_text_is_a_page(source: str) -> None:
    assert all("\n" not in line for line in roff.lines(source))


def test_japanese_lines_join_without_a_blank_and_latin_ones_with_one() -> None:
    joined = list(prose.paragraphs(["日本語と", "日本語、", "and a", "word", "", "次"]))
    assert joined == ["日本語と日本語、and a word", "次"]


@given(st.text(max_size=200))
def test_cleaning_twice_changes_nothing(text: str) -> None:
    once = prose.clean(text)
    assert prose.clean(once) == once
    assert not any(character in once for character in "\x00\x07\u200b\ufeff\ufffd\n")


@pytest.mark.parametrize(
    ("paragraph", "kept"),
    [
        ("関所を通る", True),
        ("関所", False),
        ("only a few words in english 語", False),
        ("a.conf は設定です", True),
    ],
)
def test_what_counts_as_japanese(paragraph: str, kept: bool) -> None:
    assert prose.is_japanese(paragraph) is kept


def test_long_paragraphs_count_once_and_short_ones_always() -> None:
    seen = prose.Seen()
    long = "同じ断り書きが千のページの終わりに立っているとき、それは一度だけ数えればよいのです。" * 2
    assert [seen.is_new(long), seen.is_new(long)] == [True, False]
    assert [seen.is_new("名前"), seen.is_new("名前")] == [True, True]
