"""Tokens, links, sessions, rate limits: through the gate and the face that the edge and console use."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho import identity
from sekisho.identity import rules
from sekisho.kernel import denials
from sekisho.kernel.errors import InvalidInputError, NotFoundError, SekishoError
from sekisho.kernel.facts import ANONYMOUS, SYSTEM, Actor
from tests.identity.conftest import House
from tests.support import toy

HERE = "192.0.2.1"
SOME = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refused(code: str, attempt: Callable[[], Any]) -> SekishoError:
    with pytest.raises(SekishoError) as error:
        attempt()
    assert error.value.code == code
    return error.value


# --------------------------------------------------------------------------------------------------- tokens
def test_a_token_is_shown_once_and_kept_as_a_hash(house: House) -> None:
    made = house.token(house.administrator())
    assert rules.parse_token(made.secret)
    secret = made.secret.rpartition("_")[2] if "_" not in made.secret[-43:] else made.secret[-43:]
    assert house.sign_in.authenticate(made.secret, HERE).ref == house.administrator().ref
    for needle in (made.secret, secret, house.first_token(), house.first_token(1)[-43:]):
        assert needle not in house.everything()
        assert needle not in house.records()
    assert house.rows("select digest from identity_tokens where id = :id", id=made.id) == [
        {"digest": rules.digest(made.secret)}
    ]


@SOME
@given(
    label=st.text("abcdefg ", min_size=1).filter(str.strip),
    scopes=st.lists(st.sampled_from(["toy", "toy.thing", "identity"]), max_size=3),
)
def test_no_token_is_ever_stored_in_clear(house: House, label: str, scopes: list[str]) -> None:
    made = house.perform(house.administrator(), identity.CreateToken(label=label, scopes=tuple(scopes)))
    assert house.sign_in.authenticate(made.secret, HERE).ref == house.administrator().ref
    assert made.secret[-43:] not in house.everything()


def test_not_even_where_answers_to_repeats_are_kept(house: House) -> None:
    made = house.perform(house.administrator(), identity.CreateToken(label="x"), idempotency_key="k1")
    assert made.secret[-43:] not in house.everything()


def test_who_was_here_this_minute_needs_no_writer(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    made = house.token(house.administrator())
    session = house.sign_in.open_with_token(made.secret, HERE).secret
    writes: list[object] = []

    def write(work: Callable[..., Any], **options: Any) -> object:
        writes.append(work)
        return original(work, **options)

    original = house.database.write
    monkeypatch.setattr(house.database, "write", write)
    for _ in range(3):
        house.sign_in.authenticate(made.secret, HERE)
        house.sign_in.session(session)
    assert writes == []

    house.clock.advance(rules.TOUCH_MS)
    for _ in range(3):
        house.sign_in.authenticate(made.secret, HERE)
        house.sign_in.session(session)
    assert len(writes) == 2, "each is seen again once a minute"
    refused("auth.required", lambda: house.sign_in.authenticate("sekisho_pat_nonsense", HERE))
    assert len(writes) == 3, "a wrong token is counted"


def test_a_token_ends_at_its_time(house: House) -> None:
    made = house.token(house.administrator(), expires_ms=house.clock.now_ms() + 5000)
    house.clock.advance(4999)
    house.sign_in.authenticate(made.secret, HERE)
    house.clock.advance(1)
    error = refused("auth.expired", lambda: house.sign_in.authenticate(made.secret, HERE))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(error.params["time"]))


@pytest.mark.parametrize("delta", [-1, 0, 367 * rules.DAY_MS])
def test_a_token_cannot_end_before_it_begins_or_live_for_years(house: House, delta: int) -> None:
    with pytest.raises(InvalidInputError):
        house.token(house.administrator(), expires_ms=house.clock.now_ms() + delta)


def test_a_narrowed_token_does_no_more(house: House) -> None:
    made = house.token(house.administrator(), scopes=("toy.thing.put",))
    actor = house.sign_in.authenticate(made.secret, HERE)
    house.perform(actor, toy.PutThing(id="t1"))
    refused("auth.scope", lambda: house.perform(actor, toy.DropThing(id="t1")))
    refused("auth.scope", lambda: house.perform(actor, identity.CreateToken(label="wider")))


@pytest.mark.parametrize("scopes", [(), ("toy",), ("identity",), ("identity.token", "toy")])
def test_a_narrowed_token_makes_no_wider_one(house: House, scopes: tuple[str, ...]) -> None:
    made = house.token(house.administrator(), scopes=("identity.token", "toy.thing"))
    actor = house.sign_in.authenticate(made.secret, HERE)
    refused("auth.scope", lambda: house.perform(actor, identity.CreateToken(label="x", scopes=scopes)))
    narrow = house.perform(actor, identity.CreateToken(label="x", scopes=("toy.thing.show",)))
    assert house.sign_in.authenticate(narrow.secret, HERE).scopes == frozenset({"toy.thing.show"})


def test_a_revoked_token_is_refused_at_once_and_like_an_unknown_one(house: House) -> None:
    ann = house.administrator()
    made = house.token(ann)
    opened = house.sign_in.open_with_token(made.secret, HERE)
    view = house.perform(ann, identity.RevokeToken(token=made.id))
    assert view.revoked_ms == house.clock.now_ms()
    first = refused("auth.required", lambda: house.sign_in.authenticate(made.secret, HERE))
    other = refused("auth.required", lambda: house.sign_in.authenticate("sekisho_pat_nonsense", HERE))
    assert str(first) == str(other)
    refused("auth.required", lambda: house.sign_in.session(opened.secret))
    house.clock.advance(1)
    assert house.perform(ann, identity.RevokeToken(token=made.id)).revoked_ms == view.revoked_ms


def test_tokens_of_others_are_not_there_unless_one_administers(house: House) -> None:
    person = house.person()
    made = house.token(person)
    with pytest.raises(NotFoundError):
        house.perform(house.administrator(), identity.RevokeToken(token=made.id))
    assert [one.id for one in house.perform(person, identity.ListTokens()).items] == [made.id]
    assert made.id not in [
        one.id for one in house.perform(house.administrator(), identity.ListTokens()).items
    ]
    house.perform(house.administrator(), identity.WithdrawToken(token=made.id))
    refused("auth.required", lambda: house.sign_in.authenticate(made.secret, HERE))


def test_last_use_is_noted_to_the_minute(house: House) -> None:
    ann = house.administrator()
    made = house.token(ann)
    start_ms = house.clock.now_ms()

    def used_ms() -> int:
        return next(
            one.used_ms for one in house.perform(ann, identity.ListTokens()).items if one.id == made.id
        )

    assert used_ms() == 0
    house.sign_in.authenticate(made.secret, HERE)
    assert used_ms() == start_ms
    house.clock.advance(59_999)
    house.sign_in.authenticate(made.secret, HERE)
    assert used_ms() == start_ms
    house.clock.advance(1)
    house.sign_in.authenticate(made.secret, HERE)
    assert used_ms() == start_ms + 60_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "sekisho_pat_",
        "Bearer abc",
        "sekisho_pat_" + "0" * 26 + "_" + "A" * 43,
        "\x00",
        "あ" * 600,
        "\ud800",
    ],
)
def test_what_is_no_token_is_refused(house: House, text: str) -> None:
    with pytest.raises(SekishoError) as error:
        house.sign_in.authenticate(text, HERE)
    assert error.value.code in {"auth.required", "input.invalid"}
    assert not text or text not in str(error.value)


def test_a_token_with_one_character_changed_is_refused(house: House) -> None:
    secret = house.first_token()
    for position in range(0, len(secret), 7):
        changed = secret[:position] + ("b" if secret[position] == "a" else "a") + secret[position + 1 :]
        refused_codes = {"auth.required", "auth.rate_limited"}
        with pytest.raises(SekishoError) as error:
            house.sign_in.authenticate(changed, f"192.0.2.{position}")
        assert error.value.code in refused_codes


def test_sign_in_itself_leaves_no_record(house: House) -> None:
    before = len(house.recorder.drafts)
    house.sign_in.authenticate(house.first_token(), HERE)
    opened = house.sign_in.open_with_token(house.first_token(), HERE)
    house.sign_in.session(opened.secret)
    refused("auth.required", lambda: house.sign_in.authenticate("nonsense", HERE))
    refused("auth.link_spent", lambda: house.sign_in.open_with_link("nonsense", HERE))
    house.sign_in.close(opened.secret)
    assert len(house.recorder.drafts) == before


# ------------------------------------------------------------------------------------------------ rate limit
def test_a_source_that_guesses_has_to_wait_and_others_do_not(house: House) -> None:
    for _ in range(rules.FAILURES_MAX):
        refused("auth.required", lambda: house.sign_in.authenticate("guess", HERE))
    error = refused("auth.rate_limited", lambda: house.sign_in.authenticate("guess", HERE))
    assert error.params["seconds"] == rules.FAILURE_WINDOW_MS // 1000
    refused("auth.rate_limited", lambda: house.sign_in.open_with_token("guess", HERE))
    refused("auth.rate_limited", lambda: house.sign_in.open_with_link("x", HERE))
    refused("auth.required", lambda: house.sign_in.authenticate("guess", "192.0.2.2"))
    house.clock.advance(rules.FAILURE_WINDOW_MS)
    refused("auth.required", lambda: house.sign_in.authenticate("guess", HERE))


def test_a_good_token_works_while_its_neighbours_guess(house: House) -> None:
    for _ in range(rules.FAILURES_MAX):
        refused("auth.required", lambda: house.sign_in.authenticate("guess", HERE))
    assert house.sign_in.authenticate(house.first_token(), HERE).ref == house.administrator().ref
    assert house.sign_in.open_with_token(house.first_token(), HERE).secret
    refused("auth.rate_limited", lambda: house.sign_in.authenticate("guess", HERE))  # and is no fresh start


def test_addresses_of_one_ipv6_site_share_their_window(house: House) -> None:
    for number in range(rules.FAILURES_MAX):
        refused("auth.required", lambda n=number: house.sign_in.authenticate("guess", f"2001:db8::{n}"))
    refused("auth.rate_limited", lambda: house.sign_in.authenticate("guess", "2001:db8::ffff"))
    refused("auth.required", lambda: house.sign_in.authenticate("guess", "2001:db8:0:1::1"))


def test_waiting_is_not_prolonged_by_trying(house: House) -> None:
    for _ in range(rules.FAILURES_MAX):
        refused("auth.required", lambda: house.sign_in.authenticate("guess", HERE))
    house.clock.advance(rules.FAILURE_WINDOW_MS - 1)
    refused("auth.rate_limited", lambda: house.sign_in.authenticate("guess", HERE))
    house.clock.advance(1)
    refused("auth.required", lambda: house.sign_in.authenticate("guess", HERE))


def test_an_expired_token_is_no_guess(house: House) -> None:
    made = house.token(house.administrator(), expires_ms=house.clock.now_ms() + 1)
    house.clock.advance(1)
    for _ in range(rules.FAILURES_MAX + 5):
        refused("auth.expired", lambda: house.sign_in.authenticate(made.secret, HERE))
    refused("auth.required", lambda: house.sign_in.authenticate("guess", HERE))


def test_guessed_links_count_too(house: House) -> None:
    for _ in range(rules.FAILURES_MAX):
        refused("auth.link_spent", lambda: house.sign_in.open_with_link("guess", HERE))
    refused("auth.rate_limited", lambda: house.sign_in.open_with_link("guess", HERE))


# --------------------------------------------------------------------------------------------------- sessions
def test_a_session_is_new_each_time_and_stored_as_a_hash(house: House) -> None:
    one = house.sign_in.open_with_token(house.first_token(), HERE)
    two = house.sign_in.open_with_token(house.first_token(), HERE)
    assert len({one.secret, two.secret, one.csrf, two.csrf}) == 4
    assert one.secret not in house.everything()
    view = house.sign_in.session(one.secret)
    assert (view.actor.ref, view.actor.via) == (house.administrator().ref, "session")
    refused("auth.required", lambda: house.sign_in.session("brought-along-by-the-browser"))


def test_a_session_slides_with_use_and_ends_when_idle(house: House) -> None:
    opened = house.sign_in.open_with_token(house.first_token(), HERE)
    for _ in range(5):
        house.clock.advance(rules.SESSION_IDLE_MS - 1)
        house.sign_in.session(opened.secret)
    house.clock.advance(rules.SESSION_IDLE_MS)
    refused("auth.required", lambda: house.sign_in.session(opened.secret))


def test_a_session_does_not_slide_for_ever(house: House) -> None:
    opened = house.sign_in.open_with_token(house.first_token(), HERE)
    start_ms = house.clock.now_ms()
    while house.clock.now_ms() - start_ms < rules.SESSION_MS_MAX - 3600_000:
        house.clock.advance(3600_000)
        house.sign_in.session(opened.secret)
    house.clock.advance(3600_000)
    refused("auth.required", lambda: house.sign_in.session(opened.secret))


def test_a_session_is_worth_no_more_than_its_token(house: House) -> None:
    end_ms = house.clock.now_ms() + 3 * 3600_000
    made = house.token(house.administrator(), scopes=("toy",), expires_ms=end_ms)
    opened = house.sign_in.open_with_token(made.secret, HERE)
    house.clock.advance(3600_000)
    view = house.sign_in.session(opened.secret)
    assert view.actor.scopes == frozenset({"toy"})
    assert view.expires_ms == end_ms
    refused("auth.scope", lambda: house.perform(view.actor, identity.CreateLink()))
    house.clock.advance(2 * 3600_000)
    refused("auth.required", lambda: house.sign_in.session(opened.secret))


def test_signing_out_ends_this_session_only(house: House) -> None:
    one = house.sign_in.open_with_token(house.first_token(), HERE)
    two = house.sign_in.open_with_token(house.first_token(), HERE)
    house.sign_in.close(one.secret)
    house.sign_in.close(one.secret)
    refused("auth.required", lambda: house.sign_in.session(one.secret))
    house.sign_in.session(two.secret)


def test_language_and_theme_are_kept(house: House) -> None:
    opened = house.sign_in.open_with_token(house.first_token(), HERE)
    house.sign_in.change(opened.secret, language="ja")
    house.sign_in.change(opened.secret, theme="dark")
    view = house.sign_in.session(opened.secret)
    assert (view.language, view.theme) == ("ja", "dark")
    refused("input.invalid", lambda: house.sign_in.change(opened.secret, language="<script>"))


def test_a_form_belongs_to_its_session(house: House) -> None:
    one = house.sign_in.open_with_token(house.first_token(), HERE)
    two = house.sign_in.open_with_token(house.first_token(), HERE)
    view = house.sign_in.session(one.secret)
    identity.check_form(view, one.csrf)
    for given_ in ("", two.csrf, one.csrf[:-1], one.csrf + "x", "日本"):
        refused("auth.csrf", lambda g=given_: identity.check_form(view, g))


def test_the_sign_in_form_belongs_to_its_visitor(house: House) -> None:
    from sekisho.identity import oidc

    now_ms = house.clock.now_ms()
    mine, other = identity.new_visit(now_ms), identity.new_visit(now_ms)
    form = oidc.derive(mine, "form")
    identity.check_visitor_form(mine, form, now_ms)
    for visit, given_, at_ms in (
        (mine, oidc.derive(other, "form"), now_ms),
        (other, form, now_ms),
        (mine, form, now_ms + oidc.VISIT_MS_MAX + 1),
        (mine, form, now_ms - 1),
        ("", "", now_ms),
        ("1", oidc.derive("1", "form"), now_ms),
        (mine, oidc.derive(mine, "state"), now_ms),
    ):
        refused("auth.csrf", lambda v=visit, g=given_, t=at_ms: identity.check_visitor_form(v, g, t))


# ------------------------------------------------------------------------------------------------------ links
def test_a_link_signs_in_once(house: House) -> None:
    ann = house.administrator()
    link = house.perform(ann, identity.CreateLink())
    assert link.secret not in house.everything()
    opened = house.sign_in.open_with_link(link.secret, HERE)
    assert house.sign_in.session(opened.secret).actor == Actor(ann.ref, via="session")
    refused("auth.link_spent", lambda: house.sign_in.open_with_link(link.secret, HERE))
    assert house.recorder.last.action == "identity.link.redeem"


def test_a_link_lives_ten_minutes(house: House) -> None:
    link = house.perform(house.administrator(), identity.CreateLink())
    house.clock.advance(rules.LINK_MS)
    refused("auth.link_spent", lambda: house.sign_in.open_with_link(link.secret, HERE))


def test_a_link_is_no_token_and_a_token_is_no_link(house: House) -> None:
    link = house.perform(house.administrator(), identity.CreateLink())
    refused("auth.required", lambda: house.sign_in.authenticate(link.secret, HERE))
    refused("auth.required", lambda: house.sign_in.authenticate(link.secret.replace("lnk", "pat"), HERE))
    refused("auth.link_spent", lambda: house.sign_in.open_with_link(house.first_token(), HERE))
    house.sign_in.open_with_link(link.secret, HERE)


def test_links_are_for_oneself_except_those_of_the_machine(house: House) -> None:
    person = house.person()
    with pytest.raises(NotFoundError):
        house.perform(person, identity.CreateLink(account=house.administrator().ref.id))
    link = house.perform(SYSTEM, identity.CreateLink(account=person.ref.id))
    assert house.sign_in.open_with_link(link.secret, HERE).account == person.ref.id
    with pytest.raises(NotFoundError):
        house.perform(SYSTEM, identity.CreateLink(account=house.service().ref.id))


def test_an_invitation_works_only_before_the_first_sign_in(house: House) -> None:
    ann, person = house.administrator(), house.person()
    link = house.perform(ann, identity.InvitePerson(person=person.ref.id))
    house.clock.advance(rules.LINK_MS)
    house.sign_in.open_with_link(link.secret, HERE)
    refused(
        "identity.already_joined", lambda: house.perform(ann, identity.InvitePerson(person=person.ref.id))
    )


def test_a_link_of_somebody_disabled_is_spent(house: House) -> None:
    person = house.person()
    link = house.perform(person, identity.CreateLink())
    house.perform(house.administrator(), identity.DisablePerson(person=person.ref.id))
    refused("auth.link_spent", lambda: house.sign_in.open_with_link(link.secret, HERE))


# ------------------------------------------------------------------------------------------------- clearing away
def test_what_is_over_is_cleared_away_each_in_its_own_stream(house: House) -> None:
    ann = house.administrator()
    house.perform(ann, identity.CreateLink())
    made = house.token(ann, expires_ms=house.clock.now_ms() + 1)
    house.sign_in.open_with_token(house.first_token(), HERE)
    refused("auth.required", lambda: house.sign_in.authenticate("guess", HERE))
    house.perform(ann, identity.InviteAgent(site="site_home"))
    house.clock.advance(rules.DAY_MS)
    assert house.perform(SYSTEM, identity.RemoveExpired()) == 2
    assert house.rows("select * from kernel_sessions") == []
    assert house.rows("select * from kernel_logins") == []
    assert house.rows("select * from identity_invitations") == []
    assert house.rows("select id from identity_tokens where id = :id", id=made.id) != []
    gone = [d for d in house.recorder.drafts.values() if d.action == "identity.expired.remove" and d.effects]
    assert [draft.stream for draft in gone] == [house.organisation] * 2
    before = len(house.recorder.drafts)
    assert house.perform(SYSTEM, identity.RemoveExpired()) == 0
    assert len(house.recorder.drafts) == before
    house.clock.advance(40 * rules.DAY_MS)
    assert house.perform(SYSTEM, identity.RemoveExpired()) == 1


def test_answers_and_denials_of_yesterday_are_cleared_away(house: House) -> None:
    ann, person = house.administrator(), house.person()

    def leave(key: str) -> None:
        house.perform(ann, identity.CreateLink(), idempotency_key=key)
        house.world.database.write(
            lambda tx: denials.note(tx, (person, key, ()), record_id="rec_x", now_ms=house.clock.now_ms())
        )

    leave("old")
    house.clock.advance(1)
    leave("new")
    house.clock.advance(rules.DAY_MS - 1)
    house.perform(SYSTEM, identity.RemoveExpired())
    assert house.rows("select key from kernel_idempotency") == [{"key": "new"}]
    assert house.rows("select action from kernel_denials") == [{"action": "new"}]


# ------------------------------------------------------------------------------------------------------- doors
@pytest.mark.parametrize(
    "command",
    [
        identity.ShowMe(),
        identity.CreateToken(label="x"),
        identity.ListPeople(),
        identity.GrantRole(account="usr_x", role="engineer"),
        identity.CreateLink(),
        identity.StartSession(),
    ],
)
def test_nobody_does_anything_before_signing_in(house: House, command: Any) -> None:
    refused("auth.required", lambda: house.perform(ANONYMOUS, command))


def test_people_cannot_act_as_the_system(house: House) -> None:
    for command in (
        identity.RemoveExpired(),
        identity.ExpireFact(subject=house.organisation, name="jurisdiction"),
        identity.AdmitLogin(issuer="x", subject="y", organisation=house.organisation, display_name="z"),
    ):
        with pytest.raises(NotFoundError):
            house.perform(house.administrator(), command)
