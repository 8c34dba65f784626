"""T5 and T7 of the sovereignty tests: every doubt is a no, and one bundle per job is checked offline."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sekisho.kernel.clock import SystemClock, rfc3339
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import SYSTEM, Decision, Entity, Ref, Request
from sekisho.sites import ReportCapabilities
from sekisho_client.client import Client
from sekisho_client.refusals import ProblemError
from tests.journeys.world import NOTHING, House, export, house, until, verify

AT_HOME = NOTHING + "charter: {residency: [JP]}\n"
PLACE = "compute.job.place"


class Shifted:
    """The machine's clock, some time later."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self.shift_ms = 0

    def now_ms(self) -> int:
        return self._clock.now_ms() + self.shift_ms


@pytest.fixture
def clock() -> Shifted:
    return Shifted()


@pytest.fixture
def served(tmp_path: Path, db_url: str, clock: Shifted) -> Iterator[House]:
    with house(tmp_path, db_url, clock=clock) as opened:
        yield opened


@pytest.fixture
def laboratory(served: House) -> str:
    return served.organisation("Laboratory")


@pytest.fixture
def engineer(served: House, laboratory: str) -> Client:
    return served.account("engineer", laboratory, "engineer")


def _walled(house: House, name: str, operator: str, country: str) -> str:
    """A site whose agent said that it builds a wall; answers its id."""
    site = house.site(name, operator, country)
    assert house.control.gate.perform(SYSTEM, ReportCapabilities(site=site, wall="bubblewrap"))
    return site


def _question(house: House, laboratory: str, site: str, **changes: Any) -> Request:
    """The question a placement round asks, about an ordinary job that a site in Japan may run."""
    attributes = {
        "owner": Ref("Org", laboratory),
        "level": 1,
        "labels": frozenset[str](),
        "residency": frozenset({"JP"}),
    }
    context = {
        "site": Ref("Site", site),
        "key": Ref("Key", f"platform-{site}"),
        "egress": "none",
        "egress_attested": False,
    }
    principal = Entity(
        Ref("Service", "svc_" + "1" * 26),
        {"org": Ref("Org", laboratory), "roles": frozenset({"engineer"})},
    )
    context |= changes.get("context", {})
    attributes |= changes.get("attributes", {})
    for name in changes.get("without", ()):
        context.pop(name, None)
        attributes.pop(name, None)
    return Request(
        principal=changes.get("principal", principal),
        action=changes.get("action", PLACE),
        resource=Entity(Ref("Job", "job_" + "1" * 26), attributes),
        context=context,
        now_ms=house.control.clock.now_ms(),
    )


def _decide(house: House, request: Request) -> tuple[Decision, str]:
    """The answer and its first sentence."""
    engine = house.control.engine
    decision = house.control.database.read(lambda tx: engine.decide(tx, request))
    sentences = house.control.database.read(lambda tx: engine.explain(tx, request, decision))
    return decision, sentences[0].en if sentences else ""


DOUBTS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown site": ({"context": {"site": Ref("Site", "site_" + "0" * 26)}}, "closed:Site"),
    "unknown key": ({"context": {"key": Ref("Key", "nowhere")}}, "closed:Key"),
    "unknown owner": ({"attributes": {"owner": Ref("Org", "org_" + "0" * 26)}}, "closed:Org"),
    "unknown action": ({"action": "compute.job.teleport"}, "closed:Action"),
    "no level": ({"without": ("level",)}, "malformed"),
    "no residency": ({"without": ("residency",)}, "malformed"),
    "no labels": ({"without": ("labels",)}, "malformed"),
    "no site": ({"without": ("site",)}, "malformed"),
    "no key": ({"without": ("key",)}, "malformed"),
    "no egress": ({"without": ("egress",)}, "malformed"),
    "level of another type": ({"attributes": {"level": "1"}}, "malformed"),
    "an attribute nobody knows": ({"attributes": {"blessed": True}}, "malformed"),
    "a key where a site belongs": ({"context": {"site": Ref("Key", "nowhere")}}, "closed:Key"),
}


def test_t5_every_doubt_is_a_no(served: House, laboratory: str) -> None:
    site = _walled(served, "tokyo", laboratory, "JP")
    assert _decide(served, _question(served, laboratory, site))[0].allowed
    for doubt, (changes, rule) in DOUBTS.items():
        decision, sentence = _decide(served, _question(served, laboratory, site, **changes))
        assert (doubt, decision.allowed, decision.rules) == (doubt, False, (rule,))
        assert sentence, doubt


def test_t5_a_site_without_a_country_is_nowhere(served: House, laboratory: str) -> None:
    site = _walled(served, "somewhere", laboratory, "ZZ")
    decision, _ = _decide(served, _question(served, laboratory, site))
    assert (decision.allowed, decision.rules) == (False, ("C01-residency",))


def test_t5_a_site_whose_wall_nobody_reported_has_none(served: House, laboratory: str) -> None:
    site = served.site("tokyo", laboratory, "JP")
    decision, _ = _decide(served, _question(served, laboratory, site))
    assert (decision.allowed, decision.rules) == (False, ("C09-wall",))


def test_t5_without_a_proof_of_place_nothing_confidential_is_placed(served: House, laboratory: str) -> None:
    site = _walled(served, "tokyo", laboratory, "JP")
    decision, _ = _decide(served, _question(served, laboratory, site, attributes={"level": 2}))
    assert not decision.allowed
    assert "C02-location-proof" in decision.rules


def test_t5_an_expired_fact_no_longer_counts(
    served: House, laboratory: str, engineer: Client, clock: Shifted
) -> None:
    """Where the site is was stated until a moment; after it the site is nowhere."""
    site = _walled(served, "tokyo", laboratory, "JP")
    operator = served.account("operator", laboratory, "site_operator")
    until_ms = clock.now_ms() + 3_600_000
    stated = {"value": "JP", "grade": "D", "expires_at": rfc3339(until_ms)}
    operator.call("sites.fact.state", site=site, name="country", fact=stated)
    assert _decide(served, _question(served, laboratory, site))[0].allowed
    clock.shift_ms = 3_600_001
    decision, _ = _decide(served, _question(served, laboratory, site))
    assert (decision.allowed, decision.rules) == (False, ("C01-residency",))
    job = engineer.call("compute.job.submit", file=AT_HOME)["id"]
    until(lambda: bool(engineer.call("compute.job.explain", job=job)["sites"]), what="the round")
    assert [item["decision"] for item in engineer.call("compute.job.explain", job=job)["sites"]] == ["deny"]


def test_t5_while_the_ledger_is_away_nothing_happens(served: House, engineer: Client) -> None:
    table = "ledger_bodies"
    before = served.check()
    served.control.database.script(f"alter table {table} rename to {table}_away;", lambda _tx: None)
    try:
        with pytest.raises(ProblemError) as refused:
            engineer.call("compute.job.submit", file=AT_HOME)
        assert refused.value.details["status"] >= 500
        assert table not in str(refused.value.details)
        assert list(engineer.pages("compute.job.list")) == []
    finally:
        served.control.database.script(f"alter table {table}_away rename to {table};", lambda _tx: None)
    job = engineer.call("compute.job.submit", file=AT_HOME)["id"]
    assert [item["id"] for item in engineer.pages("compute.job.list")] == [job]
    after = served.check()
    assert after.findings == []
    assert after.records > before.records


def test_t5_while_the_database_is_away_nobody_is_let_in(served: House, engineer: Client) -> None:
    served.control.database.close()
    with pytest.raises(ProblemError) as refused:
        engineer.call("compute.job.list")
    assert refused.value.details["status"] >= 500
    with pytest.raises(SekishoError):
        served.control.sign_in.authenticate("anything", "127.0.0.1")


def test_t7_one_bundle_per_job_is_checked_offline(
    served: House, laboratory: str, engineer: Client, tmp_path: Path
) -> None:
    """Charter, decision, rules, place in the log; what does not exist yet prints *absent*; any flipped bit fails."""
    served.site("tokyo", laboratory, "JP")
    job = engineer.call("compute.job.submit", file=AT_HOME)["id"]
    until(lambda: bool(engineer.call("compute.job.explain", job=job)["sites"]), what="the round")
    engineer.call("compute.job.cancel", job=job)
    until(lambda: served.closed(job), what="the end of the stream")
    content = export(engineer, job, tmp_path / "job.zip")
    trust = served.control.folders.trust

    verdict = verify(tmp_path / "job.zip", trust)

    assert verdict.status == 0, verdict.answer
    states = {line["code"]: line["state"] for line in verdict.answer["lines"]}
    for part in ("records.count", "digests.match", "checkpoint.signed", "inclusion.all", "decision.allow"):
        assert states[part] == "ok"
    for part in ("absent.transcript", "absent.attestation", "absent.key_release", "absent.operator_sessions"):
        assert states[part] == "absent"
    charters = {line["fields"].get("charter") for line in verdict.answer["lines"]} - {None}
    assert charters == {served.active_charter()}
    chance = random.Random(7)
    for position in chance.sample(range(len(content)), 12):
        damaged = bytearray(content)
        damaged[position] ^= 1 << chance.randrange(8)
        (tmp_path / "damaged.zip").write_bytes(damaged)
        assert verify(tmp_path / "damaged.zip", trust).status not in {0, 21}, position
    assert msgspec.json.decode(trust.read_bytes())["origin"] == verdict.answer["checkpoint"]["origin"]
