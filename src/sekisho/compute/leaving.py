"""What may pass between here and an attempt's site: the charter's answer, asked anew before anything leaves."""

from __future__ import annotations

import msgspec

from sekisho.compute.candidates import job_entity, judge, key_ref
from sekisho.compute.jobs import entity_of, spec_of_row
from sekisho.compute.submitters import submitter_of
from sekisho.data import AddWorkdir
from sekisho.identity import find_agent
from sekisho.kernel.command import spec_of
from sekisho.kernel.context import Ctx
from sekisho.kernel.facts import Decision, Entity, Principals, Ref, Request
from sekisho.kernel.tx import Row
from sekisho.sites import CONTROL_SITE, SiteView, answered_by, find_site

PLACE_LEVEL = 2
"""From here up what an agent gets rests on a proof of place, which holds for the agent that answered alone."""
LEVEL_STAYS = 2
"""Logs, outputs and training checkpoints of jobs at this level or above stay at the site, whatever the charter says."""


def is_placed(ctx: Ctx, agent: str, site: SiteView, level: int) -> bool:
    """Whether an agent, by id, is the one of its site whose place was shown. Before an offer, a key and a start."""
    if level < PLACE_LEVEL:
        return True
    found = find_agent(ctx.tx, agent)
    return found is not None and answered_by(site, found.public_key, ctx.now_ms)


def may_run(ctx: Ctx, principals: Principals, job: Row, *, site: SiteView, agent: str) -> bool:
    """Whether a placed job may still run at a site, by this agent: charter, facts and submitter may have changed."""
    if not is_placed(ctx, agent, site, job["level"]):
        return False
    submitter = submitter_of(ctx.tx, principals, job["submitter"])
    if submitter is None:
        return False
    judged = judge(ctx, submitter, entity_of(job), spec=spec_of_row(job), sites=[site])
    return any(item.decision.allowed for item in judged)


def may_leave(ctx: Ctx, principals: Principals, job: Row) -> bool:
    """Whether logs, outputs and training checkpoints of a job may rest at the control plane's own site.

    Asked as if the submitter brought a file with the job's joined label here, and asked anew each time: facts about
    this site may have changed since the offer.
    """
    submitter = submitter_of(ctx.tx, principals, job["submitter"])
    if job["level"] >= LEVEL_STAYS or submitter is None:
        return False
    here = find_site(ctx.tx, CONTROL_SITE)
    return resting(ctx, submitter, job, site=here.id, key=spec_of_row(job).key).allowed


def resting(ctx: Ctx, submitter: Entity, job: Row, *, site: str, key: str) -> Decision:
    """Whether what a job reads or leaves behind may lie at a site under a key, as if its submitter brought it there."""
    labelled = job_entity(
        job["id"],
        owner=job["owner"],
        level=job["level"],
        labels=msgspec.json.decode(job["labels"]),
        residency=msgspec.json.decode(job["residency"]),
    )
    asked = Request(
        principal=submitter,
        action=spec_of(AddWorkdir).name,
        resource=msgspec.structs.replace(labelled, ref=Ref("Artifact", job["id"])),
        context={"site": Ref("Site", site), "key": key_ref(key, site)},
        now_ms=ctx.now_ms,
    )
    return ctx.decide(asked)
