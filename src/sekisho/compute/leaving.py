"""What may pass between here and an attempt's site: the charter's answer, asked anew before anything leaves."""

from __future__ import annotations

import msgspec

from sekisho.compute.candidates import job_entity, judge
from sekisho.compute.jobs import entity_of, spec_of_row
from sekisho.compute.submitters import submitter_of
from sekisho.data import AddWorkdir
from sekisho.kernel.command import spec_of
from sekisho.kernel.context import Ctx
from sekisho.kernel.facts import Principals, Ref, Request
from sekisho.kernel.tx import Row
from sekisho.sites import CONTROL_SITE, SiteView, find_site, platform_key_ref

LEVEL_STAYS = 2
"""Logs, outputs and training checkpoints of jobs at this level or above stay at the site, whatever the charter says."""


def may_run(ctx: Ctx, principals: Principals, job: Row, site: SiteView) -> bool:
    """Whether a placed job may still run at a site: charter, facts and submitter may have changed since."""
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
    labelled = job_entity(
        job["id"],
        owner=job["owner"],
        level=job["level"],
        labels=msgspec.json.decode(job["labels"]),
        residency=msgspec.json.decode(job["residency"]),
    )
    here = find_site(ctx.tx, CONTROL_SITE)
    asked = Request(
        principal=submitter,
        action=spec_of(AddWorkdir).name,
        resource=msgspec.structs.replace(labelled, ref=Ref("Artifact", job["id"])),
        context={"site": Ref("Site", here.id), "key": platform_key_ref(here.id)},
        now_ms=ctx.now_ms,
    )
    return ctx.decide(asked).allowed
