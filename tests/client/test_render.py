"""Tables by display width, moments by age, and nothing a terminal would obey."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_client import render
from sekisho_client.commands import catalogue, plural
from sekisho_client.render import Screen, clean, moment, pad, width
from tests.client.terminal import Terminal

NOW = 1_795_150_991.0  # 2026-11-20T05:03:11Z


def screen(
    *, terminal: bool = True, language: str = "en", as_json: bool = False
) -> tuple[Screen, io.StringIO]:
    out = Terminal() if terminal else io.StringIO()
    return Screen(out, io.StringIO(), language=language, as_json=as_json, catalogue=catalogue()), out


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("玩具", 4), ("ｱｲ", 2), ("が", 2), ("ガ", 2), ("é", 1), ("", 0)]
)
def test_width(text: str, columns: int) -> None:
    assert width(text) == columns


@given(st.text(max_size=20), st.integers(0, 40))
def test_padding_reaches_the_width_and_never_cuts(text: str, columns: int) -> None:
    assert width(pad(text, columns)) == max(columns, width(text))
    assert pad(text, columns).startswith(text)
    assert pad(text, columns, right=True).endswith(text)


@given(st.text())
def test_cleaning_leaves_no_control_character(text: str) -> None:
    assert not any(ord(one) < 32 and one not in "\t\n" for one in clean(text))
    assert "\x9b" not in clean(text)
    assert len(clean(text)) == len(text)


@pytest.mark.parametrize(
    ("text", "english", "japanese"),
    [
        ("2026-11-20T05:02:41Z", "30 s ago", "30秒前"),
        ("2026-11-20T04:34:11.500Z", "28 min ago", "28分前"),
        ("2026-11-19T06:03:11Z", "23 h ago", "23時間前"),
    ],
)
def test_ages(text: str, english: str, japanese: str) -> None:
    assert moment(text, language="en", long=False, now_seconds=NOW) == english
    assert moment(text, language="ja", long=False, now_seconds=NOW) == japanese


def test_dates_carry_their_zone_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert moment("2026-11-20T05:03:11Z", language="en", long=True) == "2026-11-20 14:03:11 JST"
        assert moment("2026-11-20T05:03:11Z", language="ja", long=True) == "2026年11月20日 14:03:11 JST"
        assert moment("2026-11-01T05:03:11Z", language="en", long=False, now_seconds=NOW) == "1 Nov 14:03"
        assert moment("2027-02-18T05:03:11Z", language="en", long=False, now_seconds=NOW) == "18 Feb 2027"
        assert moment("2025-02-18T05:03:11Z", language="ja", long=False, now_seconds=NOW) == "2025年2月18日"
        assert moment("2026-11-01T05:03:11Z", language="ja", long=False, now_seconds=NOW) == "11月1日 14:03"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_object_with_everything_in_it() -> None:
    shown, out = screen()
    shown.members(
        {
            "id": "x",
            "name": "",
            "stand_in": True,
            "labels": ["a", "b"],
            "cpus": 1234,
            "facts": {"country": "JP"},
            "members": [{"id": "1", "name": "p"}, {"id": "22", "name": "q"}],
            "roles": [],
        }
    )
    lines = out.getvalue().splitlines()
    assert "stand-in  yes" in lines
    assert "labels    a, b" in lines
    assert "CPUs      1,234" in lines
    assert "name      -" in lines
    assert "roles     -" in lines
    assert lines[-3:] == ["ID  NAME", "1   p", "22  q"]
    assert "facts:" in lines


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_400_000_000, "12.4 GB"), (10**18, "1000.0 PB")],
)
def test_sizes(count: int, text: str) -> None:
    assert render.size(count) == text


def test_sizes_are_for_people_only() -> None:
    for terminal, text in ((True, "4.1 kB"), (False, "4096")):
        shown, out = screen(terminal=terminal)
        shown.table([{"size_bytes": 4096}], ("size_bytes",))
        assert out.getvalue().splitlines()[1].strip() == text


def test_headings_are_in_the_language() -> None:
    shown, out = screen(language="ja")
    shown.table([{"name": "x", "state": "running"}], ("name", "state"))
    assert out.getvalue() == "名前  状態\nx     running\n"


def test_off_a_terminal_moments_are_whole_and_tabs_separate() -> None:
    shown, out = screen(terminal=False)
    shown.table(
        [{"name": "a\tb\nc", "created_at": "2026-11-20T05:03:11Z", "cpus": 1000}],
        ("name", "created_at", "cpus"),
    )
    assert out.getvalue() == "name\tcreated\tCPUs\na b c\t2026-11-20T05:03:11Z\t1000\n"


def test_nothing_but_json_when_json_is_asked_for() -> None:
    shown, out = screen(as_json=True)
    shown.line("✓", "done")
    shown.hint("sekisho jobs")
    shown.answer({"items": [{"name": "玩具\x1b"}], "next": None}, ("name",))
    assert json.loads(out.getvalue()) == {"items": [{"name": "玩具\x1b"}], "next": None}
    assert "\x1b" not in out.getvalue()


def test_colour_only_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    shown, out = screen()
    shown.line("✓", "done")
    assert out.getvalue() == "\x1b[32m✓\x1b[0m done\n"
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            shown, out = screen()
            shown.line("✓", "done")
            assert out.getvalue() == "✓ done\n"
    assert screen(terminal=False)[0].terminal is False


def test_marks_are_of_fixed_width() -> None:
    assert all(width(mark) == 1 for mark in render._MARKS)


@pytest.mark.parametrize(
    ("noun", "many"),
    [
        ("job", "jobs"),
        ("person", "people"),
        ("access", "access"),
        ("policy", "policies"),
        ("key", "keys"),
        ("data", "data"),
    ],
)
def test_plurals(noun: str, many: str) -> None:
    assert plural(noun) == many


@pytest.mark.parametrize(("language", "reason"), [("en", "It is full."), ("ja", "満杯です。")])
def test_of_two_languages_one_is_shown(language: str, reason: str) -> None:
    shown, out = screen(language=language)
    shown.answer(
        {
            "sentence": "It is full.",
            "sentence_ja": "満杯です。",
            "sites": [{"name": "a", "why": "It is full.", "why_ja": "満杯です。"}],
            "sentences": [{"rule": "C01", "en": "It is full.", "ja": "満杯です。"}],
        },
        (),
    )
    assert out.getvalue().count(reason) == 3
    assert ("満杯" in out.getvalue()) == (language == "ja")
    assert ("full" in out.getvalue()) == (language == "en")


def test_why_groups_the_sites() -> None:
    from sekisho_client.verbs import why

    shown, _ = screen()
    site = {"decision": "allow", "rules": ["P1"], "chosen": False, "why": "", "why_ja": ""}
    lines = why.groups(
        shown,
        [
            site | {"name": "tokyo", "chosen": True},
            site | {"name": "osaka", "why": "Full."},
            site | {"name": "us-west", "decision": "deny", "rules": ["C01"], "why": "Data stays in JP."},
            site
            | {"name": "us-east", "decision": "deny", "rules": ["C01", "C02"], "why": "Data stays in JP."},
        ],
    )
    assert lines == [
        "  Chosen   tokyo",
        "  Allowed  osaka             Full.",
        "  Denied   us-west  C01      Data stays in JP.",
        "           us-east  C01 C02  Data stays in JP.",
    ]
    assert why.groups(shown, []) == []
