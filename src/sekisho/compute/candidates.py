"""What the charter says of every site for one job: the list behind placement, `plan`, `why` and the job's page."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from sekisho.charter import Candidate, Wishes, narrow, stores_jp
from sekisho.compute import rules
from sekisho.compute.model import PlaceJob, SiteChoice
from sekisho.compute.spec import JobSpec
from sekisho.data import labelled
from sekisho.identity import find_organisation_entity
from sekisho.kernel.command import spec_of
from sekisho.kernel.context import Ctx
from sekisho.kernel.facts import Decision, Entity, Ref, Request
from sekisho.kernel.tx import Tx
from sekisho.ledger import read_file
from sekisho.sites import ProofViews, SiteView, platform_key_ref, site_entity

PROOFS = ProofViews(read_file)
_PLACE = "C02"
"""The family of rules that demand a proof of place; their refusals name the landmarks that failed."""


class Judged(msgspec.Struct, frozen=True):
    """One site and the charter's answer for it."""

    site: SiteView
    decision: Decision
    sentence: str = ""
    sentence_ja: str = ""

    def choice(self, chosen: str) -> SiteChoice:
        """As it stands in evidence and on pages."""
        country = self.site.facts.get("country")
        return SiteChoice(
            site=self.site.id,
            name=self.site.name,
            country=str(country.value) if country else "",
            decision="allow" if self.decision.allowed else "deny",
            rules=list(self.decision.rules),
            chosen=self.site.id == chosen,
            why=self.sentence,
            why_ja=self.sentence_ja,
        )


def key_ref(key: str, site: str) -> Ref:
    """The owner's key by its id, or the platform key of a site where there is none."""
    return Ref("Key", key) if key else platform_key_ref(site)


def job_entity(job: str, *, owner: str, level: int, labels: list[str], residency: list[str]) -> Entity:
    """The job as the charter sees it."""
    return labelled("Job", job, owner=owner, level=level, labels=labels, residency=residency)


def judge(ctx: Ctx, submitter: Entity, job: Entity, *, spec: JobSpec, sites: list[SiteView]) -> list[Judged]:
    """Ask the charter for each site where engines run; the control plane's own site runs none."""
    return [_judge_one(ctx, submitter, job, spec=spec, site=site) for site in sites if not site.control]


def placing(ctx: Ctx, submitter: Entity, job: Entity, *, site: str, egress: str, key: str = "") -> Request:
    """The question behind every placement: whether this submitter's job may run at this site with this way out.

    Without a `key` of its owner's, what lies there is under the site's own.
    """
    return Request(
        principal=submitter,
        action=spec_of(PlaceJob).name,
        resource=job,
        context={
            "site": Ref("Site", site),
            "key": key_ref(key, site),
            "egress": egress,
            "egress_attested": False,
        },
        now_ms=ctx.now_ms,
    )


def way_out(tx: Tx, wall: str, spec: JobSpec, canaries: Collection[str] = ()) -> str:
    """The job's way out behind a wall, in the charter's word."""
    stores = stores_jp(tx) if isinstance(spec.egress, list) else ()
    return rules.egress_word(wall, spec.egress, canaries, stores_jp=stores)


def _judge_one(ctx: Ctx, submitter: Entity, job: Entity, *, spec: JobSpec, site: SiteView) -> Judged:
    egress = way_out(ctx.tx, site.wall, spec)
    request = placing(ctx, submitter, job, site=site.id, egress=egress, key=spec.key)
    decision = ctx.decide(request)
    if decision.allowed:
        return _wished(ctx, site, decision, spec)
    sentences = ctx.explain(request, decision)
    if not sentences:
        return Judged(site, decision)
    english, japanese = (_named(text, job, site) for text in (sentences[0].en, sentences[0].ja))
    failures = PROOFS.failures(ctx.tx, site, ctx.now_ms) if sentences[0].rule.startswith(_PLACE) else None
    if failures is not None:
        english, japanese = f"{english} {failures.en}", f"{japanese} {failures.ja}"
    return Judged(site, decision, english, japanese)


def _named(sentence: str, job: Entity, site: SiteView) -> str:
    """The charter knows ids only; people read the site's name, and the job is the one in front of them."""
    return sentence.replace(site.id, site.name).replace(
        job.ref.id, "this job" if sentence.isascii() else "このジョブ"
    )


def _wished(ctx: Ctx, site: SiteView, decision: Decision, spec: JobSpec) -> Judged:
    """The job's own wishes narrow what the charter allows; each has a rule name of its own in evidence.

    So does where its inputs lie: a site that was never sent one could only find it in its store, whoever's it is there.
    """
    if spec.sites and site.name not in spec.sites and site.id not in spec.sites:
        return _narrowed(
            site,
            decision,
            "job:sites",
            f"The job itself asks for {', '.join(spec.sites)} only.",
            f"ジョブ自身が{'、'.join(spec.sites)}のみを指定しています。",
        )
    if any(item.site not in {"", site.id} for item in spec.inputs):
        return _narrowed(
            site,
            decision,
            "job:inputs",
            "An input of the job lies at another site and did not leave it.",
            "入力の一つが他の拠点にあり、そこから出ていません。",
        )
    if spec.operator != "domestic":
        return Judged(site, decision)
    wishes = Wishes(jurisdictions=frozenset({str(site_entity(site).attributes["country"])}))
    operator = find_organisation_entity(ctx.tx, site.operator, ctx.now_ms)
    candidate = Candidate(site_entity(site), operator, way_out(ctx.tx, site.wall, spec))
    if any(narrow([candidate], wishes).values()):
        return _narrowed(
            site,
            decision,
            "job:operator",
            "The job itself asks for an operator under the law of the site's own country only.",
            "ジョブ自身が、拠点の国の法だけに服する運用者を指定しています。",
        )
    return Judged(site, decision)


def _narrowed(site: SiteView, decision: Decision, rule: str, *sentences: str) -> Judged:
    """Allowed by the charter and still not wanted: sentences in English and Japanese."""
    english, japanese = sentences
    return Judged(site, msgspec.structs.replace(decision, allowed=False, rules=(rule,)), english, japanese)
