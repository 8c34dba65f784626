"""Organisations, accounts, people, services, teams, roles and facts in the database."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

import msgspec

from sekisho.identity.rules import ADMINISTRATOR, Fact
from sekisho.kernel.tx import Row, Tx

_encoder = msgspec.json.Encoder(order="sorted")


def anything(tx: Tx) -> bool:
    """Whether this installation has any organisation, that is, whether genesis took place."""
    return tx.one("select id from identity_organisations limit 1") is not None


def insert_organisation(tx: Tx, organisation: str, name: str, now_ms: int) -> None:
    """Add an organisation; its facts follow with `put_fact`."""
    tx.run(
        "insert into identity_organisations (id, name, created_ms, record_id) values (:id, :name, :now, :record_id)",
        id=organisation,
        name=name,
        now=now_ms,
    )


def rename_organisation(tx: Tx, organisation: str, name: str) -> None:
    """Change the name that people read."""
    tx.run(
        "update identity_organisations set name = :name, record_id = :record_id where id = :id",
        id=organisation,
        name=name,
    )


def organisation(tx: Tx, organisation: str) -> Row | None:
    """One organisation's row."""
    return tx.one("select * from identity_organisations where id = :id", id=organisation)


def organisations(tx: Tx, after: str = "", limit: int = 1 << 31) -> list[Row]:
    """Organisations by id, after a given one."""
    return tx.all(
        "select * from identity_organisations where id > :after order by id limit :limit",
        after=after,
        limit=limit,
    )


def put_fact(tx: Tx, subject: str, name: str, about: tuple[str, Fact]) -> None:
    """State a fact, replacing what was stated before. `about` is the subject's type (`Org`, `User`) and the fact."""
    subject_type, fact = about
    tx.run(
        "insert into identity_facts (subject, name, subject_type, value, grade, issuer, source, observed_ms,"
        " expires_ms, salt, record_id) values (:subject, :name, :subject_type, :value, :grade, :issuer, :source,"
        " :observed, :expires, :salt, :record_id) on conflict (subject, name) do update set value = excluded.value,"
        " grade = excluded.grade, issuer = excluded.issuer, source = excluded.source,"
        " observed_ms = excluded.observed_ms, expires_ms = excluded.expires_ms, salt = excluded.salt,"
        " record_id = excluded.record_id",
        subject=subject,
        name=name,
        subject_type=subject_type,
        value=_encoder.encode(fact.value).decode(),
        grade=fact.grade,
        issuer=fact.issuer,
        source=fact.source,
        observed=fact.observed_ms,
        expires=fact.expires_ms or None,
        salt=secrets.token_hex(16),
    )


def drop_expired_fact(tx: Tx, subject: str, name: str, now_ms: int) -> str:
    """Remove a fact that is over; the subject's type, or nothing when it holds again or is gone."""
    row = tx.one(
        "delete from identity_facts where subject = :subject and name = :name and expires_ms <= :now",
        subject=subject,
        name=name,
        now=now_ms,
    )
    return row["subject_type"] if row else ""


def facts(tx: Tx, subject: str) -> dict[str, Fact]:
    """What is stated about one organisation or person, by name."""
    rows = tx.all("select * from identity_facts where subject = :subject", subject=subject)
    return {row["name"]: _fact(row) for row in rows}


def facts_of_each(tx: Tx, subjects: Sequence[str]) -> dict[str, dict[str, Fact]]:
    """Facts of these organisations or persons, by subject and name."""
    found: dict[str, dict[str, Fact]] = {subject: {} for subject in subjects}
    for row in tx.among("select * from identity_facts where subject in (:each)", subjects):
        found[row["subject"]][row["name"]] = _fact(row)
    return found


def facts_of_all(tx: Tx, subject_type: str) -> dict[str, dict[str, Fact]]:
    """Facts of every organisation (`Org`) or person (`User`), by subject and name."""
    found: dict[str, dict[str, Fact]] = {}
    for row in tx.all("select * from identity_facts where subject_type = :type", type=subject_type):
        found.setdefault(row["subject"], {})[row["name"]] = _fact(row)
    return found


def _fact(row: Row) -> Fact:
    return Fact(
        value=msgspec.json.decode(row["value"]),
        grade=row["grade"],
        issuer=row["issuer"],
        source=row["source"],
        observed_ms=row["observed_ms"],
        expires_ms=row["expires_ms"] or 0,
    )


def insert_account(tx: Tx, account: str, about: tuple[str, str, int]) -> None:
    """Add an active account; `about`: kind (`User`, `Service`, `Agent`), organisation, now."""
    kind, organisation, now_ms = about
    tx.run(
        "insert into identity_accounts (id, kind, organisation, state, created_ms, record_id)"
        " values (:id, :kind, :organisation, 'active', :now, :record_id)",
        id=account,
        kind=kind,
        organisation=organisation,
        now=now_ms,
    )


def account(tx: Tx, account: str) -> Row | None:
    """One account's row; its `record_id` is the version of the principal."""
    return tx.one("select * from identity_accounts where id = :id", id=account)


def set_state(tx: Tx, account: str, state: str) -> None:
    """Make an account `active`, `disabled` or `erased`."""
    tx.run(
        "update identity_accounts set state = :state, record_id = :record_id where id = :id",
        id=account,
        state=state,
    )


def touch(tx: Tx, account: str) -> None:
    """Give the principal a new version after its roles, teams or facts changed."""
    tx.run("update identity_accounts set record_id = :record_id where id = :id", id=account)


def insert_person(tx: Tx, account: str, display_name: str, email: str) -> None:
    """Keep a person's name and address beside their account."""
    tx.run(
        "insert into identity_people (account, display_name, email, salt, record_id)"
        " values (:account, :display_name, :email, :salt, :record_id)",
        account=account,
        display_name=display_name,
        email=email,
        salt=secrets.token_hex(16),
    )


def update_person(tx: Tx, account: str, display_name: str, email: str) -> None:
    """Replace a person's name and address."""
    tx.run(
        "update identity_people set display_name = :display_name, email = :email, salt = :salt,"
        " record_id = :record_id where account = :account",
        account=account,
        display_name=display_name,
        email=email,
        salt=secrets.token_hex(16),
    )


def set_joined(tx: Tx, account: str, now_ms: int) -> None:
    """Note a person's first sign-in; later ones change nothing."""
    tx.run(
        "update identity_people set joined_ms = :now, record_id = :record_id"
        " where account = :account and joined_ms is null",
        account=account,
        now=now_ms,
    )


_PERSON = (
    "select a.id, a.organisation, a.state, a.created_ms, p.display_name, p.email, p.joined_ms"
    " from identity_accounts a left join identity_people p on p.account = a.id where a.kind = 'User'"
)


def person(tx: Tx, account: str) -> Row | None:
    """A person's account with name and address (both NULL once erased)."""
    return tx.one(_PERSON + " and a.id = :id", id=account)


def people(tx: Tx, organisation: str, after: str, limit: int) -> list[Row]:
    """People of an organisation by account id."""
    return tx.all(
        _PERSON + " and a.organisation = :organisation and a.id > :after order by a.id limit :limit",
        organisation=organisation,
        after=after,
        limit=limit,
    )


def active_people_with(tx: Tx, role: str) -> list[Row]:
    """Accounts (id, organisation) of people who are active and hold a role."""
    return tx.all(
        "select distinct a.id, a.organisation from identity_accounts a"
        " join identity_roles r on r.account = a.id where r.role = :role and a.kind = 'User' and a.state = 'active'",
        role=role,
    )


def erase_person(tx: Tx, account: str) -> None:
    """Remove every row that says something about a person; the account stays as a bare pseudonym."""
    tx.run("delete from identity_people where account = :account", account=account)
    tx.run("delete from identity_facts where subject = :account", account=account)
    tx.run("delete from identity_logins where account = :account", account=account)
    tx.run("delete from identity_tokens where account = :account", account=account)
    tx.run("delete from identity_roles where account = :account", account=account)
    tx.run("delete from identity_members where account = :account", account=account)
    set_state(tx, account, "erased")


def insert_service(tx: Tx, account: str, name: str) -> None:
    """Name a service account."""
    tx.run(
        "insert into identity_services (account, name, record_id) values (:account, :name, :record_id)",
        account=account,
        name=name,
    )


_SERVICE = (
    "select a.id, a.organisation, a.state, a.created_ms, s.name from identity_accounts a"
    " join identity_services s on s.account = a.id"
)


def service(tx: Tx, account: str) -> Row | None:
    """A service account with its name."""
    return tx.one(_SERVICE + " where a.id = :id", id=account)


def services(tx: Tx, organisation: str, after: str, limit: int) -> list[Row]:
    """Service accounts of an organisation by id."""
    return tx.all(
        _SERVICE + " where a.organisation = :organisation and a.id > :after order by a.id limit :limit",
        organisation=organisation,
        after=after,
        limit=limit,
    )


def insert_team(tx: Tx, team: str, organisation: str, about: tuple[str, int]) -> None:
    """Add an empty team; `about` is its name and the time."""
    name, now_ms = about
    tx.run(
        "insert into identity_teams (id, organisation, name, created_ms, record_id)"
        " values (:id, :organisation, :name, :now, :record_id)",
        id=team,
        organisation=organisation,
        name=name,
        now=now_ms,
    )


def team(tx: Tx, team: str) -> Row | None:
    """One team's row."""
    return tx.one("select * from identity_teams where id = :id", id=team)


def team_id(tx: Tx, organisation: str, team: str) -> str:
    """The id of an organisation's team, given by id or name; nothing when there is none."""
    row = tx.one(
        "select id from identity_teams where organisation = :organisation and (id = :team or name = :team)",
        organisation=organisation,
        team=team,
    )
    return row["id"] if row else ""


def team_named(tx: Tx, organisation: str, name: str) -> bool:
    """Whether the organisation has a team of this name."""
    row = tx.one(
        "select id from identity_teams where organisation = :organisation and name = :name",
        organisation=organisation,
        name=name,
    )
    return row is not None


def teams(tx: Tx, organisation: str, after: str, limit: int) -> list[Row]:
    """Teams of an organisation by id."""
    return tx.all(
        "select * from identity_teams where organisation = :organisation and id > :after order by id limit :limit",
        organisation=organisation,
        after=after,
        limit=limit,
    )


def every_team(tx: Tx) -> list[Row]:
    """All teams (id, organisation), for the charter."""
    return tx.all("select id, organisation from identity_teams order by id")


def add_member(tx: Tx, team: str, account: str) -> None:
    """Put an account into a team; nothing happens to one that is in it already."""
    tx.run(
        "insert into identity_members (team, account, record_id) values (:team, :account, :record_id)"
        " on conflict (team, account) do nothing",
        team=team,
        account=account,
    )


def remove_member(tx: Tx, team: str, account: str) -> int:
    """Take an account out of a team; 0 when it was not in it."""
    return tx.run(
        "delete from identity_members where team = :team and account = :account", team=team, account=account
    )


def members(tx: Tx, team: str) -> list[str]:
    """Account ids of a team's members, sorted."""
    rows = tx.all("select account from identity_members where team = :team order by account", team=team)
    return [row["account"] for row in rows]


def teams_of(tx: Tx, account: str) -> list[str]:
    """Ids of the teams an account is in, sorted."""
    rows = tx.all("select team from identity_members where account = :account order by team", account=account)
    return [row["team"] for row in rows]


def add_role(tx: Tx, account: str, role: str, about: tuple[str, int]) -> None:
    """Give a role; `about` is its origin (`hand` or an issuer) and the time."""
    origin, now_ms = about
    tx.run(
        "insert into identity_roles (account, role, origin, granted_ms, record_id)"
        " values (:account, :role, :origin, :now, :record_id) on conflict (account, role, origin) do nothing",
        account=account,
        role=role,
        origin=origin,
        now=now_ms,
    )


def remove_role(tx: Tx, account: str, role: str, origin: str = "") -> int:
    """Take a role away, of one origin or of all; the number of grants removed."""
    return tx.run(
        "delete from identity_roles where account = :account and role = :role"
        " and (:origin = '' or origin = :origin)",
        account=account,
        role=role,
        origin=origin,
    )


def roles(tx: Tx, account: str, origin: str = "") -> list[str]:
    """Roles of an account, sorted, of one origin or of all."""
    rows = tx.all(
        "select distinct role from identity_roles where account = :account"
        " and (:origin = '' or origin = :origin) order by role",
        account=account,
        origin=origin,
    )
    return [row["role"] for row in rows]


def administrators(tx: Tx) -> list[str]:
    """Accounts of active people who may administer."""
    return [row["id"] for row in active_people_with(tx, ADMINISTRATOR)]


def names_of(tx: Tx, accounts: Iterable[str]) -> dict[str, str]:
    """Display names of some accounts, for pages that show who did something; erased ones are left out."""
    rows = [
        tx.one("select account, display_name from identity_people where account = :account", account=account)
        for account in accounts
    ]
    return {row["account"]: row["display_name"] for row in rows if row is not None}


def next_expiry(tx: Tx, now_ms: int) -> int | None:
    """The earliest end of a fact after a moment."""
    row = tx.one("select min(expires_ms) as end_ms from identity_facts where expires_ms > :now", now=now_ms)
    return row["end_ms"] if row else None
