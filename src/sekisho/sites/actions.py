"""Handlers of sites."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, TypeAlias

from sekisho.kernel.clock import Clock
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import Entity, Ref, Target
from sekisho.kernel.tx import Tx
from sekisho.sites import actions_location, proofs, rules, tables, territories
from sekisho.sites.actions_location import LocationActions, again_later, find_site
from sekisho.sites.errors import NAME_TAKEN, STAND_IN
from sekisho.sites.model import (
    DrainSite,
    ExpireFact,
    Fact,
    ListSites,
    RegisterSite,
    ReportCapabilities,
    ResumeSite,
    ShowSite,
    SitePage,
    SiteView,
    StateFact,
)

OneSite: TypeAlias = ExpireFact | StateFact | DrainSite | ResumeSite | ShowSite | ReportCapabilities

CONTROL_SITE = "control"
"""Name of the control plane's own site: data that passes here is judged like anywhere else."""


class SiteEntities:
    """Sites and their platform keys, as the charter's slowly changing entities."""

    def __init__(self, clock: Clock) -> None:
        """`clock` tells which facts are over."""
        self._clock = clock

    def entities(self, tx: Tx) -> Iterable[Entity]:
        """One Site and one Key entity a site, of facts that still hold."""
        now_ms = self._clock.now_ms()
        for view in tables.every(tx):
            site = rules.standing(view, now_ms)
            yield rules.site_entity(site)
            yield rules.platform_key(site)


def next_expiry(tx: Tx, now_ms: int) -> int | None:
    """When the next fact about a site will be over; None while none will."""
    return tables.next_expiry(tx, now_ms)


def entity_of_site(tx: Tx, site: str) -> Entity:
    """A site, by id or name, as the charter sees it; for whoever asks about something at a site."""
    return rules.site_entity(find_site(tx, site))


def away_seconds(tx: Tx, site: str) -> int:
    """How long the agent of a site, by id, may be out of touch while its work goes on; 0 for one always there."""
    return tables.away_seconds(tx, site)


def all_sites(tx: Tx) -> list[SiteView]:
    """Every site, for placement and for pages that then filter by the charter."""
    return tables.every(tx)


def _register_target(tx: Tx, principal: Entity, command: RegisterSite) -> Target:
    del tx, principal
    return Target(resource=rules.site_entity(rules.unplaced(command.operator)), stream=command.operator)


def _site_target(tx: Tx, principal: Entity, command: OneSite) -> Target:
    del principal
    site = find_site(tx, command.site)
    return Target(resource=rules.site_entity(site), stream=site.id)


def _list_target(tx: Tx, principal: Entity, command: ListSites) -> Target:
    del tx, command
    org = principal.attributes.get("org")
    owner = org.id if isinstance(org, Ref) else ""
    return Target(resource=rules.site_entity(rules.unplaced(owner)), stream=owner)


def found_control_site(ctx: Ctx, *, operator: str, country: str) -> None:
    """Register the control plane's own place inside genesis; its country is declared (D) like any other's."""
    site = ctx.new_id("site")
    command = RegisterSite(
        name=CONTROL_SITE, operator=operator, country=Fact(value=country), engine="control"
    )
    tables.insert_site(ctx.tx, site, command, control=True)
    _put(ctx, site, "country", command.country)


def register_real(ctx: Ctx, command: RegisterSite) -> SiteView:
    """Add the site, unless it only stands in for one; problem `sites.stand_in`. For production."""
    if command.stand_in:
        raise SekishoError(STAND_IN)
    return register(ctx, command)


def register(ctx: Ctx, command: RegisterSite) -> SiteView:
    """Add the site with every fact as its source stated it."""
    if tables.named(ctx.tx, command.name):
        raise SekishoError(NAME_TAKEN, name=command.name)
    rules.check_accelerators(command.accelerators)
    site = ctx.new_id("site")
    tables.insert_site(ctx.tx, site, command, control=False)
    for name, fact in {**command.facts, "country": command.country}.items():
        _put(ctx, site, name, fact)
    ctx.detail(site=site, name=command.name, stand_in=command.stand_in)
    return find_site(ctx.tx, site)


def state_fact(ctx: Ctx, command: StateFact) -> SiteView:
    """Replace what was stated before; the earlier statement stays in the ledger."""
    site = find_site(ctx.tx, command.site)
    _put(ctx, site.id, command.name, command.fact)
    return find_site(ctx.tx, site.id)


def _put(ctx: Ctx, site: str, name: str, fact: Fact) -> None:
    """Only D may be typed in: better grades come with a proof, which has its own command."""
    rules.check_fact(name, fact.value)
    declared = Fact(
        value=fact.value,
        grade="D",
        issuer=ctx.actor.ref.id,
        observed_ms=ctx.now_ms,
        expires_ms=fact.expires_ms,
        source=fact.source,
    )
    tables.put_fact(ctx.tx, site, name, declared)
    if name in {proofs.ADDRESS, *proofs.PLACE}:
        again_later(ctx, site, 0, 1000)
    if fact.expires_ms:
        ctx.later(ExpireFact(site=site, name=name), delay_ms=max(0, fact.expires_ms - ctx.now_ms))


def expire_fact(ctx: Ctx, command: ExpireFact) -> bool:
    """Remove a fact whose time is over, so that expiry moves the facts version like any other change."""
    return tables.drop_expired(ctx.tx, command.site, command.name, ctx.now_ms) == 1


def drain(ctx: Ctx, command: DrainSite) -> SiteView:
    """Running attempts go on; nothing new is placed."""
    site = find_site(ctx.tx, command.site)
    tables.set_state(ctx.tx, site.id, "draining")
    return find_site(ctx.tx, site.id)


def resume(ctx: Ctx, command: ResumeSite) -> SiteView:
    """Take new work again."""
    site = find_site(ctx.tx, command.site)
    tables.set_state(ctx.tx, site.id, "serving")
    return find_site(ctx.tx, site.id)


def show(ctx: Ctx, command: ShowSite) -> SiteView:
    """One site with every fact that is stated of it."""
    return find_site(ctx.tx, command.site)


def list_sites(ctx: Ctx, command: ListSites) -> SitePage:
    """Exactly the sites for which the charter allows showing."""
    items, following = ctx.page(
        functools.partial(tables.page, ctx.tx),
        start=command.cursor,
        limit=command.limit,
        key=lambda site: site.name,
        seen=lambda site: ctx.allows(ShowSite, rules.site_entity(site)),
    )
    return SitePage(items, following)


def report_capabilities(ctx: Ctx, command: ReportCapabilities) -> bool:
    """Whether what the site can do changed."""
    site = find_site(ctx.tx, command.site).id
    return tables.set_capabilities(ctx.tx, site, command) == 1


def handlers(location: LocationActions, *, production: bool) -> tuple[Handler[Any], ...]:
    """Every command of sites. In production no stand-in becomes one."""
    return (
        Handler(RegisterSite, _register_target, register_real if production else register),
        Handler(StateFact, _site_target, state_fact),
        Handler(ExpireFact, _site_target, expire_fact),
        Handler(DrainSite, _site_target, drain),
        Handler(ResumeSite, _site_target, resume),
        Handler(ShowSite, _site_target, show),
        Handler(ListSites, _list_target, list_sites),
        Handler(ReportCapabilities, _site_target, report_capabilities),
        *actions_location.handlers(location),
        *territories.handlers(location.territories),
    )
