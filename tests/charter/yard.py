"""A small federation for tests of the charter: organisations, sites, keys, people, data, and commands of each group.

Builders return new entities, so that a test can change one fact of one thing.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from sekisho.charter import default_policies, schema_text
from sekisho.charter.compiled import Charter
from sekisho.charter.engine import CharterEngine
from sekisho.charter.model import ShowVersion
from sekisho.charter.schema import program_specs
from sekisho.charter.vocabulary import GROUP_BY_NAME
from sekisho.charter.worlds import World
from sekisho.kernel.command import Kind, Spec, spec_of
from sekisho.kernel.facts import Decision, Entity, Moment, Ref, Request, Value

NOW = 1_795_143_600_000  # 2026-11-20T03:00:00Z
MINUTE, HOUR = 60_000, 3_600_000
ANY_JP = frozenset({"JP"})


def spec(name: str, *groups: str, resource: str, principals: tuple[str, ...] = ("User", "Service")) -> Spec:
    """A command that exists only in a schema."""
    return msgspec.structs.replace(
        spec_of(ShowVersion),
        name=name,
        kind=Kind.RECORDED,
        groups=groups,
        resource=resource,
        principals=principals,
    )


COMMANDS = (
    spec("yard.job.place", "use", "processing", resource="Job"),
    spec("yard.job.show", "view", resource="Job"),
    spec("yard.attempt.show", "view", resource="Attempt"),
    spec("yard.data.store", "use", "at_rest", resource="Dataset"),
    spec("yard.data.replicate", "use", "replication", resource="Dataset"),
    spec("yard.model.ask", "inference", resource="Model"),
    spec("yard.artifact.export", "export", resource="Artifact", principals=("User",)),
    spec("yard.data.open", "operator_access", resource="Dataset", principals=("Operator",)),
    spec("yard.indicator.share", "share", resource="Indicator"),
    spec("yard.lab.start", "lab", resource="Lab", principals=("User",)),
    spec("yard.site.drain", "operate", resource="Site"),
    spec("yard.site.show", "view", resource="Site"),
    spec("yard.account.close", "administer", resource="Account"),
    spec("yard.account.rename", "self", resource="Account"),
    spec("yard.token.revoke", "self", resource="Token"),
    spec("yard.record.show", "audit", resource="Record"),
    spec("yard.work.do", "system", resource="Job", principals=("System",)),
    spec("yard.attempt.report", "agents", resource="Attempt", principals=("Agent",)),
    spec("yard.key.release", "agents", "at_rest", resource="Dataset", principals=("Agent",)),
    spec("yard.page.read", "public", resource="Ledger", principals=("Anonymous", "User")),
)


def every_command() -> tuple[Spec, ...]:
    """One command for each group, principal and resource that the vocabulary allows together."""
    return tuple(
        spec(
            f"every.{group.name}.{resource.lower()}",
            group.name,
            resource=resource,
            principals=group.principals,
        )
        for group in GROUP_BY_NAME.values()
        for resource in group.resources
    )


SCHEMA = schema_text((*program_specs(), *COMMANDS))
JAPAN = default_policies("japan")


def org(name: str, country: str = "JP", parent: str = "JP", votes: int = 0, **more: Value) -> Entity:
    """An organisation whose control is signed by a third party (grade S)."""
    facts: dict[str, Value] = {
        "jurisdiction": country,
        "parent_jurisdiction": parent,
        "foreign_control_pct": votes,
        "legal_exposure": frozenset(),
        "certs": frozenset(),
        "grades": {"jurisdiction": 1, "parent_jurisdiction": 1, "foreign_control_pct": 1},
    }
    return Entity(Ref("Org", name), facts | more)


def proof(**more: Value) -> Mapping[str, Value]:
    """Four landmarks, five minutes old, foreign soil excluded."""
    facts: dict[str, Value] = {
        "checked_at": Moment(NOW - 5 * MINUTE),
        "bound_km": 90,
        "foreign_margin_km": 110,
        "landmarks": 4,
        "bound_to_tee": True,
    }
    return facts | more


def site(name: str, country: str, operator: str, **more: Value) -> Entity:
    """A walled site with a fresh proof and an attestation of twenty minutes ago."""
    facts: dict[str, Value] = {
        "country": country,
        "operator": Ref("Org", operator),
        "proof": proof(),
        "tee": True,
        "tee_attested_at": Moment(NOW - 20 * MINUTE),
        "disconnected": False,
        "certs": frozenset(),
        "stand_in": False,
        "wall": "bubblewrap",
        "grades": {"country": 3, "operator": 1},
    }
    facts |= more
    if facts["tee"] is False:
        del facts["tee_attested_at"]
    return Entity(Ref("Site", name), facts)


def key(name: str, custodian: str, custody: str, *, exportable: bool = False, grade: int = 1) -> Entity:
    """A key held in Japan, by a third party's signature unless it is only declared."""
    facts: dict[str, Value] = {
        "country": "JP",
        "custodian": Ref("Org", custodian),
        "custody": custody,
        "exportable": exportable,
        "grade": grade,
    }
    return Entity(Ref("Key", name), facts)


def user(name: str, of: str, *roles: str, **more: Value) -> Entity:
    """A person who lives in Japan and signs in with a second factor."""
    facts: dict[str, Value] = {
        "org": Ref("Org", of),
        "roles": frozenset(roles),
        "residence": "JP",
        "mfa": True,
        "clearances": frozenset(),
    }
    return Entity(Ref("User", name), facts | more)


def data(kind: str, name: str, owner: str, level: int, **more: Value) -> Entity:
    """A job, dataset or artefact that may stay in Japan."""
    facts: dict[str, Value] = {
        "owner": Ref("Org", owner),
        "level": level,
        "labels": frozenset(),
        "residency": ANY_JP,
    }
    return Entity(Ref(kind, name), facts | more)


def job(**facts: Any) -> Entity:
    """A job of the ministry with facts of any kind, right or wrong."""
    return Entity(Ref("Job", "j"), {**data("Job", "j", "ministry", 2).attributes, **facts})


US = frozenset({"US-CLOUD-ACT", "US-FISA-702"})
ESI = frozenset({"jp-esi"})
SLOW = (
    *(org(name) for name in ("hospital", "ministry", "keyhouse", "npa")),
    org("maker", votes=8),
    org("north-gpu", votes=12, certs=frozenset({"ismap", "jp-esi-certified-operator"})),
    org("telco-ai", votes=31, certs=frozenset({"ismap"})),
    org("us-cloud-jp", parent="US", votes=100, legal_exposure=US, certs=frozenset({"ismap"})),
    org("seoul-dc", "KR", "KR", 100),
    org("us-partner", "US", "US", 100),
    org("own-word", grades={"jurisdiction": 0, "parent_jurisdiction": 0, "foreign_control_pct": 0}),
    site("ishikari-1", "JP", "north-gpu"),
    site("ishikari-vault", "JP", "north-gpu", disconnected=True),
    site("tokyo-stale", "JP", "telco-ai", proof=proof(checked_at=Moment(NOW - 50 * MINUTE))),
    site("tokyo-future", "JP", "telco-ai", proof=proof(checked_at=Moment(NOW + 1))),
    site("osaka-telco", "JP", "telco-ai", tee=False),
    site("fukuoka-wide", "JP", "telco-ai", proof=proof(bound_km=260, foreign_margin_km=-58)),
    site("fukuoka-few", "JP", "telco-ai", proof=proof(landmarks=2)),
    site("tokyo-us", "JP", "us-cloud-jp"),
    site("tokyo-us-notee", "JP", "us-cloud-jp", tee=False, proof=proof(bound_to_tee=False)),
    site("tokyo-us-future", "JP", "us-cloud-jp", tee_attested_at=Moment(NOW + 1)),
    site("seoul-1", "KR", "seoul-dc", proof=proof(foreign_margin_km=-80)),
    site("frankfurt-1", "DE", "us-cloud-jp", proof=proof(foreign_margin_km=-80)),
    site("tokyo-bare", "JP", "telco-ai", wall="none"),
    site("tokyo-own-word", "JP", "own-word"),
    key("k-keyhouse", "keyhouse", "customer-hsm"),
    key("k-north-hsm", "north-gpu", "provider-hsm"),
    key("k-us-hsm", "us-cloud-jp", "provider-hsm"),
    key("k-platform", "us-cloud-jp", "platform"),
    key("k-export", "keyhouse", "customer-hsm", exportable=True),
    key("k-own-word", "keyhouse", "customer-hsm", grade=0),
    user("rie", "maker"),
    user("sho", "keyhouse"),
    user("aya", "hospital", "engineer", "caller", "releaser"),
    user("ken", "maker", "engineer", "releaser"),
    user(
        "mio", "ministry", "engineer", "caller", "analyst", clearances=ESI, clearance_until=Moment(NOW + HOUR)
    ),
)
PEOPLE = {
    name: entity
    for entity in (
        *(one for one in SLOW if one.ref.type == "User"),
        user("jun", "ministry", "engineer", clearances=ESI, clearance_until=Moment(NOW)),
        user("lea", "maker", "learner"),
        user("nobody", "maker"),
        user("eng", "maker", "engineer"),
        *(
            Entity(Ref("Operator", name), {"employer": Ref("Org", employer), "residence": residence})
            for name, employer, residence in (
                ("op-jp", "us-cloud-jp", "JP"),
                ("op-us", "us-cloud-jp", "US"),
                ("op-other", "telco-ai", "JP"),
            )
        ),
    )
    for name in (entity.ref.id,)
}
CARE = frozenset({"personal", "special-care"})
THINGS = {
    entity.ref.id: entity
    for entity in (
        data("Job", "j-public", "maker", 0, residency=frozenset({"JP", "KR", "DE"})),
        data("Job", "j-anywhere", "maker", 0, residency=frozenset({"any"})),
        data("Job", "j-internal", "maker", 1),
        data("Job", "j-gov2", "ministry", 2),
        data("Job", "j-care", "hospital", 3, labels=CARE),
        data("Job", "j-esi", "ministry", 4, labels=frozenset({"key-economic-security"})),
        data("Job", "j-secret", "ministry", 5, labels=frozenset({"specially-designated-secret"})),
        data(
            "Dataset",
            "d-survey",
            "maker",
            2,
            labels=frozenset({"personal"}),
            residency=frozenset({"JP", "DE"}),
        ),
        data("Dataset", "d-internal", "maker", 1),
        data("Dataset", "d-care", "hospital", 3, labels=CARE),
        data("Dataset", "d-esi", "ministry", 4, labels=frozenset({"key-economic-security"})),
        data("Dataset", "d-secret", "ministry", 5, labels=frozenset({"specially-designated-secret"})),
        data("Artifact", "a-open", "maker", 0, residency=frozenset({"JP", "DE", "US"})),
        data("Artifact", "a-weights", "maker", 3, labels=frozenset({"trade-secret"})),
        data("Artifact", "a-esi", "maker", 4),
        data(
            "Artifact",
            "a-fefa",
            "maker",
            1,
            labels=frozenset({"export-controlled"}),
            residency=frozenset({"JP", "DE"}),
        ),
        *(
            Entity(Ref("Model", name), {"owner": Ref("Org", owner), "level": 2, "served_at": Ref("Site", at)})
            for name, owner, at in (
                ("m-care", "hospital", "ishikari-1"),
                ("m-gov", "hospital", "tokyo-stale"),
                ("m-care-us", "hospital", "tokyo-us-notee"),
            )
        ),
        *(
            Entity(
                Ref("Indicator", name),
                {"owner": Ref("Org", "ministry"), "tlp": tlp, "has_personal_data": personal},
            )
            for name, tlp, personal in (
                ("i-green", "green", False),
                ("i-amber", "amber", False),
                ("i-red", "red", False),
                ("i-pd", "green", True),
            )
        ),
        Entity(Ref("Lab", "lab-finetune"), {"level": 1, "data": "synthetic"}),
        Entity(Ref("Lab", "lab-real"), {"level": 2, "data": "real"}),
    )
}


def world(*changed: Entity) -> World:
    """The federation, with some entities in place of those of the same name."""
    return World(1, {entity.ref: entity for entity in (*SLOW, *changed)})


@functools.cache
def charter(policies: str = JAPAN) -> Charter:
    """A charter under the schema of this file."""
    return Charter(SCHEMA, policies)


class Bench:
    """A charter, a world and an engine that remembers."""

    def __init__(self, policies: str = JAPAN, changed: Iterable[Entity] = ()) -> None:
        self.charter = charter(policies)
        self.world = world(*changed)
        self.engine = CharterEngine([])

    def decide(self, request: Request, *, fresh: bool = False) -> Decision:
        return self.engine.decide_under(self.charter, self.world, request, fresh=fresh)

    def sentences(self, request: Request) -> tuple[tuple[str, str, str], ...]:
        """Rule, English and Japanese of each sentence of a denial."""
        decision = self.decide(request)
        assert not decision.allowed
        found = self.engine.explain_under(self.charter, self.world, request, decision)
        return tuple((one.rule, one.en, one.ja) for one in found)


def ask(who: str | Entity, action: str, what: str | Entity, **context: Value) -> Request:
    """A request at NOW; people and things by name."""
    return Request(
        principal=PEOPLE[who] if isinstance(who, str) else who,
        action=action,
        resource=THINGS[what] if isinstance(what, str) else what,
        context=context,
        now_ms=NOW,
    )


def at(where: str, with_key: str = "") -> dict[str, Value]:
    """The context of a place."""
    found: dict[str, Value] = {"site": Ref("Site", where)}
    if with_key:
        found["key"] = Ref("Key", with_key)
    return found


def place(
    who: str, what: str, where: str, with_key: str, *, egress: str = "none", attested: bool = True
) -> Request:
    return ask(who, "yard.job.place", what, **at(where, with_key), egress=egress, egress_attested=attested)


def store(who: str, what: str, where: str, with_key: str) -> Request:
    return ask(who, "yard.data.store", what, **at(where, with_key))


def replicate(who: str, what: str, where: str, basis: str) -> Request:
    return ask(who, "yard.data.replicate", what, **at(where, "k-keyhouse"), transfer_basis=basis)


def infer(what: str, where: str, level: int, *labels: str, **more: Value) -> Request:
    context: dict[str, Value] = {
        "level": level,
        "labels": frozenset(labels),
        "residency": ANY_JP,
        "purpose": "care",
        "consent": True,
        "prompt_logging": False,
    }
    return ask("aya", "yard.model.ask", what, **at(where), **(context | more))


def export(what: str, destination: str, *approvers: str, licence: bool = False) -> Request:
    names = {f"approver{number}": Ref("User", name) for number, name in enumerate(approvers, start=1)}
    return ask("ken", "yard.artifact.export", what, destination=destination, export_licence=licence, **names)


def enter(who: str, what: str, *, hours: int = 2, by: str = "aya", recorded: bool = True) -> Request:
    approval: dict[str, Value] = (
        {"approved_by": Ref("User", by), "approved_at": Moment(NOW - hours * HOUR)} if by else {}
    )
    return ask(who, "yard.data.open", what, **at("tokyo-us"), recorded=recorded, ticket="T-1", **approval)


def share(what: str, recipient: str, kind: str, *, agreement: bool) -> Request:
    return ask(
        "mio",
        "yard.indicator.share",
        what,
        recipient=Ref("Org", recipient),
        recipient_kind=kind,
        agreement=agreement,
    )


def lab(what: str, where: str, hours: int) -> Request:
    return ask("lea", "yard.lab.start", what, **at(where), gpu_hours_left=hours)
