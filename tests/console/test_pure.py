"""What pages are made of, without a page: shapes of numbers, forms, logs, looks, the sketch of Japan."""

from __future__ import annotations

import itertools
import re
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.console import complaints, forms, japan, logs, look, shapes, submit
from sekisho.kernel.errors import SekishoError
from sekisho.sites import Fact, LandmarkFinding, LandmarkView, SiteView, Told
from sekisho_wire.problems import Language

EN, JA = Language.EN, Language.JA
AT = 1_795_150_991_123
"""2026-11-20 05:03:11.123 UTC."""


@pytest.mark.parametrize(
    ("language", "expected"), [(EN, "2026-11-20 14:03:11 JST"), (JA, "2026年11月20日 14:03:11")]
)
def test_moments_are_shown_in_japans_time(language: Language, expected: str) -> None:
    assert shapes.moment(AT, language) == expected
    assert shapes.machine(AT) == "2026-11-20T05:03:11Z"


@pytest.mark.parametrize(
    ("span_ms", "english", "japanese"),
    [
        (500, "now", "今"),
        (59_999, "59 s ago", "59秒前"),
        (29 * 60_000, "29 min ago", "29分前"),
        (3 * 3_600_000, "3 h ago", "3時間前"),
        (24 * 3_600_000, "19 Nov 14:03", "11月19日 14:03"),
    ],
)
def test_ages(span_ms: int, english: str, japanese: str) -> None:
    assert shapes.ago(AT - span_ms, AT, EN) == english
    assert shapes.ago(AT - span_ms, AT, JA) == japanese


@pytest.mark.parametrize(
    ("span_ms", "english", "japanese"),
    [
        (0, "0 s", "0秒"),
        (72_000, "1 min 12 s", "1分12秒"),
        (4_320_000, "1 h 12 min", "1時間12分"),
        (90_000_000, "1 d 1 h", "1日1時間"),
    ],
)
def test_spans(span_ms: int, english: str, japanese: str) -> None:
    assert shapes.span(span_ms, EN) == english
    assert shapes.span(span_ms, JA) == japanese


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_400_000_000, "12.4 GB"), (300_000_000, "300 MB")],
)
def test_sizes(size: int, expected: str) -> None:
    assert shapes.size(size) == expected


@given(st.integers(0, 2**53))
def test_every_size_has_a_unit(size: int) -> None:
    assert re.fullmatch(r"\d+(\.\d)? ([kMGTPE]?B)", shapes.size(size))


@given(st.text())
def test_after_signing_in_one_stays_here(wish: str) -> None:
    path = forms.safe_path(wish)
    assert path.startswith("/")
    assert not path.startswith(("//", "/\\"))


@pytest.mark.parametrize(
    "wish",
    [
        "https://example.org/",
        "//example.org",
        "/\\example.org",
        "javascript:alert(1)",
        "",
        "/a\nb",
        "/" + "a" * 3000,
    ],
)
def test_a_wish_to_go_elsewhere_is_not_followed(wish: str) -> None:
    assert forms.safe_path(wish) == "/"


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}", fullmatch=True),
        st.text(st.characters(exclude_characters="\0", codec="utf-8")),
        max_size=8,
    )
)
def test_a_form_comes_back_as_it_was_sent(fields: dict[str, str]) -> None:
    expected = {name: value.replace("\r\n", "\n") for name, value in fields.items()}
    assert forms.parse(urlencode(fields).encode(), forms.MEDIA) == expected


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (b"a=1", "application/json"),
        (b"a=1", "multipart/form-data; boundary=x"),
        (b"a=%FF", forms.MEDIA),
        ("a=関".encode(), forms.MEDIA),
        (b"a=1&a=2", forms.MEDIA),
        (b"a=%00", forms.MEDIA),
        (b"a", forms.MEDIA),
        ("&".join(f"f{n}=1" for n in range(21)).encode(), forms.MEDIA),
    ],
)
def test_what_is_not_exactly_a_form_is_refused(body: bytes, media: str) -> None:
    with pytest.raises(SekishoError) as caught:
        forms.parse(body, media)
    assert caught.value.problem is complaints.UNREADABLE_FORM


def test_a_largest_job_file_fits_its_form() -> None:
    assert len(quote("関" * (262_144 // 3))) <= submit.BODY_BYTES


@pytest.mark.parametrize("given_token", ["", "x", "a" * 43])
def test_a_form_of_another_browser_is_refused(given_token: str) -> None:
    with pytest.raises(SekishoError) as caught:
        forms.check_visitor(forms.new_visitor(), given_token)
    assert caught.value.code == "auth.csrf"


def test_an_empty_cookie_fits_no_form() -> None:
    with pytest.raises(SekishoError):
        forms.check_visitor("", "")


@pytest.mark.parametrize(
    ("query", "cookie", "accept", "expected"),
    [
        ({}, "", "", (EN, "auto")),
        ({}, "", "ja,en;q=0.8", (JA, "auto")),
        ({}, "", "fr, ja;q=0.3, en;q=0.7", (EN, "auto")),
        ({}, "", "ja;q=x, en", (EN, "auto")),
        ({}, "ja.dark", "en", (JA, "dark")),
        ({"lang": "en"}, "ja.dark", "ja", (EN, "dark")),
        ({"lang": "tlh"}, "xx.neon", "ja", (JA, "auto")),
    ],
)
def test_language_and_theme(
    query: dict[str, str], cookie: str, accept: str, expected: tuple[Language, str]
) -> None:
    found = look.choose(query, cookie, accept)
    assert (found.language, found.theme) == expected


def test_a_session_wins_over_the_cookie_and_not_over_the_address() -> None:
    assert look.with_session(look.Look(EN, "light"), "ja", "dark") == look.Look(JA, "dark")
    assert look.with_session(look.Look(EN, "light", pinned=True), "ja", "").language is EN


LINES = st.lists(st.text(st.characters(exclude_characters="\n\r", codec="utf-8"), max_size=30), max_size=20)


@given(LINES, st.lists(st.integers(0, 700), max_size=8))
def test_a_log_read_while_it_grows_has_the_lines_of_the_log_read_at_once(
    lines: list[str], cuts: list[int]
) -> None:
    raw = "".join(line + "\n" for line in lines).encode()
    found: list[str] = []
    offset = 0
    for end in [*sorted(cut for cut in cuts if cut < len(raw)), len(raw)]:
        new = logs.whole_lines(raw[offset:end].decode(errors="ignore"), offset, ended=False)
        found += [line for line, _ in new]
        offset = new[-1][1] if new else offset
    assert found == lines
    assert offset == len(raw)


@given(LINES, st.integers(0, 19))
def test_a_log_goes_on_after_any_line(lines: list[str], after: int) -> None:
    raw = "".join(line + "\n" for line in lines)
    whole = logs.whole_lines(raw, 0, ended=True)
    if after < len(whole):
        offset = whole[after][1]
        rest = logs.whole_lines(raw.encode()[offset:].decode(), offset, ended=True)
        assert rest == whole[after + 1 :]


def test_an_unfinished_line_waits_until_the_log_ends() -> None:
    assert logs.whole_lines("whole\nhalf", 0, ended=False) == [("whole", 6)]
    assert logs.whole_lines("whole\nhalf", 0, ended=True) == [("whole", 6), ("half", 10)]
    assert len(logs.whole_lines("x" * (logs.LINE_LENGTH_MAX + 1), 0, ended=False)) == 1


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "1-1-1", "１-1", "999999-1", "1-" + "9" * 16])
def test_a_place_that_is_none_is_the_beginning(text: str) -> None:
    assert logs.parse_place(text) == logs.Place()


def test_a_place_comes_back() -> None:
    assert logs.parse_place(str(logs.Place(2, 1024))) == logs.Place(2, 1024)


def test_the_excerpt_points_at_the_column() -> None:
    found = submit.excerpt("a: 1\nb: 2\nbad: x\nd: 4\ne: 5\nf: 6", 3, 6)
    assert [line.number for line in found] == [1, 2, 3, 4, 5]
    wrong = next(line for line in found if line.wrong)
    shown = f"{wrong.number}  {wrong.text}"
    assert shown[wrong.pointer.index("^")] == "x"


@given(st.text(max_size=200), st.integers(1, 50), st.integers(1, 500))
def test_an_excerpt_can_be_made_of_anything(text: str, line: int, column: int) -> None:
    for one in submit.excerpt(text, line, column):
        assert "\t" not in one.text


def _site(name: str, north: float | None = None, east: float | None = None, *, shown_ms: int = 0) -> SiteView:
    facts = {"country": Fact(value="JP")}
    if shown_ms:
        facts["location-proof"] = Fact(value={"landmarks": 3}, grade="M", expires_ms=shown_ms)
    if north is not None and east is not None:
        facts |= {
            "latitude-e6": Fact(value=round(north * 1e6)),
            "longitude-e6": Fact(value=round(east * 1e6)),
        }
    return SiteView(
        id=name,
        name=name,
        operator="org",
        engine="local",
        state="serving",
        stand_in=True,
        control=False,
        cpus=1,
        memory_bytes=1,
        yen_per_hour=1,
        accelerators=[],
        facts=facts,
        wall="none",
        nodes=1,
        holds_leases=True,
        asks_health=False,
        away_seconds=0,
        heard_ms=AT,
        record_id="",
    )


def test_known_places_lie_where_mercator_puts_them() -> None:
    assert japan.position(46, 122) == (0, 0)
    x, y = japan.position(43.17, 141.32)
    assert (x, y) == pytest.approx((386.4, 79.5), abs=0.5)
    assert japan.position(34.69, 135.5) == pytest.approx((270.0, 298.0), abs=0.5)


def test_only_a_measured_place_is_a_filled_pin() -> None:
    drawn = japan.draw(
        [
            _site("a", 43, 141, shown_ms=AT + 1),
            _site("b", 35, 139, shown_ms=AT),
            _site("c"),
            _site("d", 37.8, -122.4),
        ],
        AT,
    )
    assert [(pin.name, pin.measured) for pin in drawn.pins] == [("a", True), ("b", False)]
    assert drawn.elsewhere == "d"


def test_a_disc_is_as_wide_as_its_kilometres_where_it_stands() -> None:
    fukuoka = LandmarkView("f-1", "org", "key", 33_590_200, 130_401_700, "", [], "")
    away = LandmarkView("moved", "org", "key", 33_590_200, 130_401_700, "", ["other"], "")
    told = Told("location.excludes_foreign", "", "")
    finding = LandmarkFinding("f-1", "org", "counts", 24, 1_000_000, 149_897, 52_000, 202_000, "KR", told)
    drawn = japan.draw([], AT, [fukuoka, away], [finding])
    assert [(post.name, post.trusted) for post in drawn.posts] == [("f-1", True), ("moved", False)]
    (disc,) = drawn.discs
    _, north = japan.position(33.5902 + 149.897 / 111.195, 130.4017)
    assert disc.y - north == pytest.approx(disc.radius, rel=0.02)
    assert japan.draw([], AT, [away], [finding]).discs == (), "a finding of a landmark that is forgotten"


@given(st.lists(st.tuples(st.floats(24.5, 45.5), st.floats(123, 146)), max_size=8))
def test_labels_never_lie_on_each_other(places: list[tuple[float, float]]) -> None:
    pins = japan.draw([_site(f"s{n}", *place) for n, place in enumerate(places)], AT).pins
    for column in {pin.text_x for pin in pins}:
        rows = sorted(pin.text_y for pin in pins if pin.text_x == column)
        assert all(after - before >= 44 for before, after in itertools.pairwise(rows))


@pytest.mark.parametrize("bad", [("x", 1), (2**60, 1), (True, 1)])
def test_a_place_that_is_no_place_is_left_out(bad: tuple[object, object]) -> None:
    site = _site("odd", 35, 139)
    facts = dict(site.facts) | {"latitude-e6": Fact(value=bad[0])}  # type: ignore[arg-type] - odd on purpose
    import msgspec

    assert japan.draw([msgspec.structs.replace(site, facts=facts)], AT).pins == ()
