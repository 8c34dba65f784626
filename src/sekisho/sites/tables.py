"""SQL of sites."""

from __future__ import annotations

import msgspec

from sekisho.kernel.tx import Row, Tx
from sekisho.sites.model import Accelerator, Fact, RegisterSite, ReportCapabilities, SiteView

_SITES = (
    "select s.*, coalesce((select at_ms from kernel_heartbeats where subject = 'site:' || s.id), 0) as heard_ms"
    " from sites_sites s"
)
"""Not as a join: looked up one by one, no round is in the way of agents that no site of it is about."""
_STATED = (
    "select site, name, value, grade, issuer, observed_ms, expires_ms, source, null as type, 0 as count,"
    " 0 as yen_per_hour from sites_facts where (:only = '' or site = :only)"
    " union all select site, type, '', '', '', 0, 0, '', type, count, yen_per_hour from sites_accelerators"
    " where (:only = '' or site = :only) order by site, name"
)
"""What is stated of all sites or of one: facts, and accelerators under their `type`."""


def insert_site(tx: Tx, site_id: str, command: RegisterSite, *, control: bool) -> None:
    """Add the site with its accelerators."""
    tx.run(
        "insert into sites_sites (id, name, operator, engine, state, stand_in, control, cpus, memory_bytes,"
        " yen_per_hour, away_seconds, wall, record_id) values (:id, :name, :operator, :engine, 'serving', :stand_in,"
        " :control, :cpus, :memory_bytes, :yen_per_hour, :away_seconds, 'unknown', :record_id)",
        id=site_id,
        name=command.name,
        operator=command.operator,
        engine=command.engine,
        stand_in=int(command.stand_in),
        control=int(control),
        cpus=command.cpus,
        memory_bytes=command.memory_bytes,
        yen_per_hour=command.yen_per_hour,
        away_seconds=command.away_seconds or None,
    )
    for accelerator in command.accelerators:
        tx.run(
            "insert into sites_accelerators (site, type, count, yen_per_hour, record_id)"
            " values (:site, :type, :count, :yen, :record_id)",
            site=site_id,
            type=accelerator.type,
            count=accelerator.count,
            yen=accelerator.yen_per_hour,
        )


def put_fact(tx: Tx, site: str, name: str, fact: Fact) -> None:
    """State a fact, in place of what was stated before."""
    tx.run(
        "insert into sites_facts (site, name, value, grade, issuer, observed_ms, expires_ms, source, record_id)"
        " values (:site, :name, :value, :grade, :issuer, :observed, :expires, :source, :record_id)"
        " on conflict (site, name) do update set value = :value, grade = :grade, issuer = :issuer,"
        " observed_ms = :observed, expires_ms = :expires, source = :source, record_id = :record_id",
        site=site,
        name=name,
        value=msgspec.json.encode(fact.value).decode(),
        grade=fact.grade,
        issuer=fact.issuer,
        observed=fact.observed_ms,
        expires=fact.expires_ms,
        source=fact.source,
    )


def drop_expired(tx: Tx, site: str, name: str, now_ms: int) -> int:
    """Remove a fact unless it was stated again with a later end."""
    return tx.run(
        "delete from sites_facts where site = :site and name = :name and expires_ms > 0 and expires_ms <= :now",
        site=site,
        name=name,
        now=now_ms,
    )


def drop_fact(tx: Tx, site: str, name: str) -> None:
    """Take a fact back."""
    tx.run("delete from sites_facts where site = :site and name = :name", site=site, name=name)


def set_state(tx: Tx, site: str, state: str) -> None:
    """Serving or draining."""
    tx.run(
        "update sites_sites set state = :state, record_id = :record_id where id = :id", id=site, state=state
    )


def set_capabilities(tx: Tx, site: str, said: ReportCapabilities) -> int:
    """Note what the site's agent says it can do; 0 when it said so before."""
    return tx.run(
        "update sites_sites set wall = :wall, nodes = :nodes, holds_leases = :holds, asks_health = :asks,"
        " record_id = :record_id where id = :id and (wall <> :wall or coalesce(nodes, 1) <> :nodes"
        " or coalesce(holds_leases, 1) <> :holds or coalesce(asks_health, 0) <> :asks)",
        id=site,
        wall=said.wall,
        nodes=said.nodes,
        holds=int(said.holds_leases),
        asks=int(said.asks_health),
    )


def find(tx: Tx, site: str) -> SiteView | None:
    """One site by id or name."""
    rows = tx.all(f"{_SITES} where s.id = :site or s.name = :site", site=site)
    return views(tx, rows)[0] if rows else None


def away_seconds(tx: Tx, site: str) -> int:
    """How long the agent of a site, by id, may be out of touch."""
    row = tx.one("select away_seconds from sites_sites where id = :site", site=site)
    return (row["away_seconds"] or 0) if row else 0


def named(tx: Tx, name: str) -> bool:
    """Whether a site has this name."""
    return tx.one("select id from sites_sites where name = :name", name=name) is not None


def page(tx: Tx, after: str, limit: int) -> list[SiteView]:
    """Sites by name, after a name."""
    rows = tx.all(f"{_SITES} where s.name > :after order by s.name limit :limit", after=after, limit=limit)
    return views(tx, rows)


def every(tx: Tx) -> list[SiteView]:
    """All sites; there are tens of them, not thousands."""
    return views(tx, tx.all(f"{_SITES} order by s.name"))


def views(tx: Tx, rows: list[Row]) -> list[SiteView]:
    """Rows of `_SITES` with their accelerators and facts; of one site without a look at those of others."""
    only = rows[0]["id"] if len(rows) == 1 else ""
    accelerators: dict[str, list[Accelerator]] = {}
    facts: dict[str, dict[str, Fact]] = {}
    for row in tx.all(_STATED, only=only):
        if row["type"] is None:
            facts.setdefault(row["site"], {})[row["name"]] = _fact(row)
        else:
            found = Accelerator(row["type"], row["count"], row["yen_per_hour"])
            accelerators.setdefault(row["site"], []).append(found)
    return [_view(row, accelerators, facts) for row in rows]


def _fact(row: Row) -> Fact:
    return Fact(
        value=msgspec.json.decode(row["value"]),
        grade=row["grade"],
        issuer=row["issuer"],
        observed_ms=row["observed_ms"],
        expires_ms=row["expires_ms"],
        source=row["source"],
    )


def _view(
    row: Row, accelerators: dict[str, list[Accelerator]], facts: dict[str, dict[str, Fact]]
) -> SiteView:
    return SiteView(
        id=row["id"],
        name=row["name"],
        operator=row["operator"],
        engine=row["engine"],
        state=row["state"],
        stand_in=bool(row["stand_in"]),
        control=bool(row["control"]),
        cpus=row["cpus"],
        memory_bytes=row["memory_bytes"],
        yen_per_hour=row["yen_per_hour"],
        accelerators=accelerators.get(row["id"], []),
        facts=facts.get(row["id"], {}),
        wall=row["wall"],
        nodes=row["nodes"] or 1,
        holds_leases=row["holds_leases"] != 0,
        asks_health=row["asks_health"] == 1,
        away_seconds=row["away_seconds"] or 0,
        heard_ms=row["heard_ms"],
        record_id=row["record_id"],
    )


def next_expiry(tx: Tx, now_ms: int) -> int | None:
    """The earliest end of a fact after a moment."""
    row = tx.one("select min(expires_ms) as end_ms from sites_facts where expires_ms > :now", now=now_ms)
    return row["end_ms"] if row else None
