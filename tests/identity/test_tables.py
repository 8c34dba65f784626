"""SQL of identity on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from sekisho.identity import rules, tables, tables_access
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.tx import Tx
from tests.identity.conftest import House

ResultT = TypeVar("ResultT")
RECORD = "rec_test"


def write(house: House, work: Callable[[Tx], ResultT]) -> tuple[ResultT, list[tuple[str, str, str]]]:
    """Run under one record; answers the result and the effects it left."""

    def claimed(tx: Tx) -> tuple[ResultT, list[tuple[str, str, str]]]:
        with tx.claimed_by(RECORD):
            result = work(tx)
        return result, tx.effects(RECORD)

    return house.database.write(claimed)


@pytest.fixture
def organisation(empty: House) -> str:
    write(empty, lambda tx: tables.insert_organisation(tx, "org_a", "A", 1))
    return "org_a"


def account(tx: Tx, name: str, kind: str = "User") -> None:
    tables.insert_account(tx, name, (kind, "org_a", 1))
    if kind == "User":
        tables.insert_person(tx, name, "N", "")


def fact(value: Any, expires_ms: int = 0) -> rules.Fact:
    return rules.Fact(value, "D", "usr_x", "source", 5, expires_ms)


@pytest.mark.usefixtures("organisation")
@pytest.mark.parametrize("value", ["JP", "", 0, 2**52, True, False, [], ["a", "b"], "日本\U000e0100"])
def test_a_fact_reads_back_as_it_was_written(empty: House, value: Any) -> None:
    write(empty, lambda tx: tables.put_fact(tx, "org_a", "name", ("Org", fact(value, 9))))
    found = empty.database.read(lambda tx: tables.facts(tx, "org_a"))
    assert found == {"name": fact(value, 9)}
    assert type(found["name"].value) is type(value)


@pytest.mark.usefixtures("organisation")
def test_equal_facts_have_different_digests(empty: House) -> None:
    _, one = write(empty, lambda tx: tables.put_fact(tx, "org_a", "residence", ("User", fact("JP"))))
    _, two = write(empty, lambda tx: tables.put_fact(tx, "org_a", "residence", ("User", fact("JP"))))
    assert one[0][:2] == two[0][:2]
    assert one[0][2] != two[0][2]


@pytest.mark.usefixtures("organisation")
@pytest.mark.parametrize(("now_ms", "left"), [(99, 1), (100, 0), (101, 0)])
def test_a_fact_goes_at_its_end_and_not_before(empty: House, now_ms: int, left: int) -> None:
    write(empty, lambda tx: tables.put_fact(tx, "org_a", "x", ("Org", fact("v", 100))))
    write(empty, lambda tx: tables.put_fact(tx, "org_a", "for_ever", ("Org", fact("v"))))
    subject_type, _ = write(empty, lambda tx: tables.drop_expired_fact(tx, "org_a", "x", now_ms))
    assert subject_type == ("" if left else "Org")
    assert write(empty, lambda tx: tables.drop_expired_fact(tx, "org_a", "for_ever", now_ms))[0] == ""
    assert len(empty.database.read(lambda tx: tables.facts(tx, "org_a"))) == 1 + left


@pytest.mark.usefixtures("organisation")
def test_roles_of_several_origins_are_one_role(empty: House) -> None:
    def give(tx: Tx) -> None:
        account(tx, "usr_a")
        for origin in ("hand", "https://idp", "hand"):
            tables.add_role(tx, "usr_a", "engineer", (origin, 1))
        tables.add_role(tx, "usr_a", "analyst", ("hand", 1))

    write(empty, give)
    read = empty.database.read
    assert read(lambda tx: tables.roles(tx, "usr_a")) == ["analyst", "engineer"]
    assert read(lambda tx: tables.roles(tx, "usr_a", "https://idp")) == ["engineer"]
    assert write(empty, lambda tx: tables.remove_role(tx, "usr_a", "engineer", "https://idp"))[0] == 1
    assert read(lambda tx: tables.roles(tx, "usr_a")) == ["analyst", "engineer"]
    assert write(empty, lambda tx: tables.remove_role(tx, "usr_a", "engineer"))[0] == 1
    assert read(lambda tx: tables.roles(tx, "usr_a")) == ["analyst"]


@pytest.mark.usefixtures("organisation")
def test_people_are_paged_by_account(empty: House) -> None:
    write(empty, lambda tx: [account(tx, f"usr_{n}") for n in range(5)])
    write(empty, lambda tx: account(tx, "svc_1", "Service"))
    pages = [
        [row["id"] for row in empty.database.read(lambda tx, a=after: tables.people(tx, "org_a", a, 2))]
        for after in ("", "usr_1", "usr_3", "usr_4")
    ]
    assert pages == [["usr_0", "usr_1"], ["usr_2", "usr_3"], ["usr_4"], []]


@pytest.mark.usefixtures("organisation")
def test_erasure_claims_every_row_it_removes(empty: House) -> None:
    def fill(tx: Tx) -> None:
        account(tx, "usr_a")
        tables.put_fact(tx, "usr_a", "residence", ("User", fact("JP")))
        tables.add_role(tx, "usr_a", "engineer", ("hand", 1))
        tables.insert_team(tx, "team_a", "org_a", ("T", 1))
        tables.add_member(tx, "team_a", "usr_a")
        tables_access.insert_login(tx, "https://idp", "s", "usr_a")
        tables_access.insert_token(tx, token("tok_a", "usr_a"))

    write(empty, fill)
    _, effects = write(empty, lambda tx: tables.erase_person(tx, "usr_a"))
    deleted = {table for table, _, digest in effects if digest == "deleted"}
    assert deleted == {
        "identity_people",
        "identity_facts",
        "identity_roles",
        "identity_members",
        "identity_logins",
        "identity_tokens",
    }
    assert [table for table, _, digest in effects if digest != "deleted"] == ["identity_accounts"]


def token(name: str, holder: str, **changes: Any) -> tables_access.TokenRow:
    given: dict[str, Any] = {
        "id": name,
        "account": holder,
        "purpose": "pat",
        "label": "l",
        "digest": "0" * 64,
        "scopes": ("a", "b.c"),
        "created_ms": 1,
        "expires_ms": 100,
    }
    return tables_access.TokenRow(**(given | changes))


@pytest.mark.usefixtures("organisation")
def test_a_token_row_comes_with_its_account(empty: House) -> None:
    write(empty, lambda tx: account(tx, "usr_a"))
    write(empty, lambda tx: tables_access.insert_token(tx, token("tok_a", "usr_a")))
    row = empty.database.read(lambda tx: tables_access.token(tx, "tok_a"))
    assert row is not None
    assert (row["kind"], row["organisation"], row["state"], row["revoked_ms"]) == (
        "User",
        "org_a",
        "active",
        None,
    )
    assert tables_access.scopes_of(row) == ["a", "b.c"]
    write(empty, lambda tx: tables_access.revoke_token(tx, "tok_a", 7))
    _, effects = write(empty, lambda tx: tables_access.revoke_token(tx, "tok_a", 9))
    assert effects == []
    row = empty.database.read(lambda tx: tables_access.token(tx, "tok_a"))
    assert row is not None
    assert row["revoked_ms"] == 7


@pytest.mark.usefixtures("organisation")
def test_old_tokens_and_links(empty: House) -> None:
    month = rules.KEPT_EXPIRED_MS

    def fill(tx: Tx) -> None:
        account(tx, "usr_a")
        tables_access.insert_token(tx, token("tok_1", "usr_a"))
        tables_access.insert_token(tx, token("tok_2", "usr_a", purpose="lnk"))
        tables_access.insert_token(tx, token("tok_3", "usr_a", expires_ms=month + 200))

    write(empty, fill)

    def old(now_ms: int) -> list[str]:
        return [row["id"] for row in empty.database.read(lambda tx: tables_access.old_tokens(tx, now_ms, 10))]

    assert old(99) == []
    assert old(100) == ["tok_2"]
    assert old(month + 100) == ["tok_1", "tok_2"]


def test_failures_fill_a_window_and_stay_there(empty: House) -> None:
    def fail(now_ms: int) -> tuple[int, int]:
        empty.database.write(lambda tx: tables_access.count_failure(tx, "s", now_ms))
        return empty.database.read(lambda tx: tables_access.failures(tx, "s"))

    assert empty.database.read(lambda tx: tables_access.failures(tx, "s")) == (0, 0)
    assert fail(1000) == (1, 1000)
    assert [fail(2000) for _ in range(rules.FAILURES_MAX + 3)][-1] == (rules.FAILURES_MAX, 1000)
    assert fail(1000 + rules.FAILURE_WINDOW_MS) == (1, 1000 + rules.FAILURE_WINDOW_MS)


def test_sessions_come_and_go(empty: House) -> None:
    def run(work: Callable[[Tx], ResultT]) -> ResultT:
        return empty.database.write(work)

    run(lambda tx: tables_access.insert_session(tx, "d1", "usr_a", ("csrf", 1, 100)))
    run(lambda tx: tables_access.insert_session(tx, "d2", "usr_a", ("csrf", 1, 200)))
    run(lambda tx: tables_access.insert_session(tx, "d3", "tok_a", ("csrf", 1, 200)))
    assert run(lambda tx: tables_access.change_session(tx, "d1", "ja", "")) == 1
    assert run(lambda tx: tables_access.change_session(tx, "d1", "", "dark")) == 1
    assert run(lambda tx: tables_access.change_session(tx, "none", "ja", "")) == 0
    row = run(lambda tx: tables_access.session(tx, "d1"))
    assert row is not None
    assert (row["language"], row["theme"]) == ("ja", "dark")
    run(lambda tx: tables_access.drop_old_plumbing(tx, 100))
    assert run(lambda tx: tables_access.session(tx, "d1")) is None
    run(lambda tx: tables_access.drop_sessions(tx, "usr_a"))
    assert run(lambda tx: tables_access.session(tx, "d2")) is None
    assert run(lambda tx: tables_access.drop_session(tx, "d3")) == 1
    assert run(lambda tx: tables_access.drop_session(tx, "d3")) == 0


@pytest.mark.usefixtures("organisation")
def test_names_are_found_for_pages_and_gone_after_erasure(empty: House) -> None:
    write(empty, lambda tx: [account(tx, name) for name in ("usr_a", "usr_b")])
    write(empty, lambda tx: tables.update_person(tx, "usr_a", "青木", ""))
    write(empty, lambda tx: tables.erase_person(tx, "usr_b"))
    found = empty.database.read(lambda tx: tables.names_of(tx, ["usr_a", "usr_b", "usr_c"]))
    assert found == {"usr_a": "青木"}


@pytest.mark.usefixtures("organisation")
def test_joining_is_noted_once(empty: House) -> None:
    write(empty, lambda tx: account(tx, "usr_a"))
    write(empty, lambda tx: tables.set_joined(tx, "usr_a", 5))
    _, effects = write(empty, lambda tx: tables.set_joined(tx, "usr_a", 6))
    assert effects == []
    row = empty.database.read(lambda tx: tables.person(tx, "usr_a"))
    assert row is not None
    assert row["joined_ms"] == 5


@pytest.mark.usefixtures("organisation")
def test_an_account_needs_its_organisation(empty: House) -> None:
    with pytest.raises(Exception, match=r"(?i)foreign key") as error:
        write(empty, lambda tx: tables.insert_account(tx, "usr_a", ("User", "org_none", 1)))
    assert not isinstance(error.value, SekishoError)
