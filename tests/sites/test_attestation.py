"""Attestation through the gate: who may speak of hardware, one answer to one question, and what rests on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from sekisho.app import Control, initialise
from sekisho.kernel import config
from sekisho.kernel.clock import ManualClock
from sekisho.kernel.errors import DeniedError, NotFoundError, SekishoError
from sekisho.kernel.facts import Actor, Moment, Ref
from sekisho.sites import (
    STAND_IN_SOURCE,
    AddAttestation,
    Admission,
    ChallengeSite,
    ListVerifiers,
    RemoveVerifier,
    ShowSite,
    SiteView,
    StateFact,
    VerifierKey,
    evidence_files,
    site_entity,
)
from sekisho.sites import Fact as SiteFact
from sekisho.sites.model_attestation import Algorithm, VerifierKind
from sekisho_verify import canonical
from sekisho_verify.attestation import judge
from sekisho_verify.attestation_claims import KINDS
from sekisho_verify.attestation_file import read_file
from sekisho_verify.attestation_jwt import ALGORITHMS
from tests.sites.verifiers import adding
from tests.sites.world import World, founding
from tests.support.toy import START_MS
from tests.verify import tokens
from tests.verify.tokens import Issuer

START_S = START_MS // 1000
TEE_FACTS = {"tee", "tee-attested-at", "tee-gpus", "tee-key", "tee-measurement"}


class Site:
    """A site with its keeper, and verifiers that count."""

    def __init__(self, world: World, *issuers: Issuer) -> None:
        self.world = world
        self.operator = world.organisation("Sakura")
        self.keeper = world.account("keeper", self.operator, "site_operator")
        self.id = world.site("ishikari", self.operator).id
        for issuer in issuers:
            world.perform(world.administrator, adding(issuer))

    def ask(self) -> bytes:
        asked = self.world.perform(self.keeper, ChallengeSite(site="ishikari"))
        self.nonce = canonical.from_base64url(asked.nonce)
        return self.nonce

    def token(self, shape: str = "azure-tdx", nonce: bytes | None = None, /, **changes: object) -> str:
        issuer, claims = tokens.SHAPES[shape]
        held = tokens.bound(self.ask() if nonce is None else nonce)
        header = {"jku": issuer.verifier.jku} if issuer.verifier.jku else None
        return issuer.token(claims(held) | self.times() | changes, header=header)

    def gpus(self) -> str:
        """Of the question that was asked last."""
        device = tokens.gpu(0, nonce=self.nonce) | self.times()
        return tokens.gpu_bundle(device, eat_nonce=device["eat_nonce"], **self.times())

    def times(self) -> dict[str, object]:
        now_s = self.world.clock.now_ms() // 1000
        return {"iat": now_s, "nbf": now_s, "exp": now_s + 3600}

    def add(self, token: str, gpu: str = "", actor: Actor | None = None) -> Any:
        return self.world.perform(actor or self.keeper, AddAttestation(site="ishikari", token=token, gpu=gpu))

    def view(self) -> SiteView:
        return self.world.perform(self.world.administrator, ShowSite(site="ishikari"))

    def refusal(self, token: str, gpu: str = "") -> str:
        """The problem's code; the refusal is recorded, and nothing has changed."""
        before = self.view()
        with pytest.raises(SekishoError) as caught:
            self.add(token, gpu)
        assert self.view() == before
        last = self.world.records(stream=self.id, action="sites.attestation.add")[-1]
        assert (last["outcome"], last["effects"], last["detail"]["code"]) == ("failed", [], caught.value.code)
        return caught.value.code


@pytest.mark.parametrize("shape", ["azure-tdx", "intel-2"])
def test_hardware_attested_to_a_known_verifier_becomes_facts_of_grade_a(world: World, shape: str) -> None:
    site = Site(world, tokens.AZURE, tokens.INTEL, tokens.NVIDIA)
    found = site.add(site.token(shape), site.gpus())
    issuer, _ = tokens.SHAPES[shape]
    assert (found.tee, found.grade, found.stand_in, found.key) == ("tdx", "A", False, tokens.KEY)
    assert found.gpus == ["GH100 A01 GSP BROM"]
    facts = site.view().facts
    assert {name for name, fact in facts.items() if fact.grade == "A"} == TEE_FACTS
    assert {facts[name].issuer for name in TEE_FACTS} == {issuer.verifier.name}
    assert {facts[name].expires_ms for name in TEE_FACTS} == {(START_S + 3600) * 1000}
    entity = site_entity(site.view())
    assert entity.attributes["tee"] is True
    assert entity.attributes["tee_attested_at"] == Moment(START_S * 1000)
    (record,) = world.records(stream=site.id, action="sites.attestation.add")
    assert record["detail"]["files"] == {"attestation.json": found.file}
    assert record["detail"]["verifier"] == f"{issuer.verifier.name} nvidia"
    (kept,) = world.rows("select body from ledger_files where digest = :digest", digest=found.file)
    file = read_file(bytes(kept["body"]))
    assert {one.name for one in file.verifiers} == {issuer.verifier.name, "nvidia"}, (
        "only who had a part in it"
    )
    assert file.judge(file.verifiers).key == tokens.KEY
    files = world.database.read(lambda tx: evidence_files(tx, site.id, START_MS))
    assert files == record["detail"]["files"]
    assert world.check().findings == []


def test_it_ends_with_its_token_and_leaves_a_record(world: World) -> None:
    site = Site(world, tokens.AZURE)
    site.add(site.token())
    version = world.rows("select version from kernel_facts")
    world.clock.advance(3_600_000 - 1 - START_MS % 1000)
    world.work()
    assert site.view().facts.keys() >= TEE_FACTS
    world.clock.advance(1)
    world.work()
    assert not site.view().facts.keys() & TEE_FACTS
    assert world.rows("select version from kernel_facts") != version
    assert len(world.records(stream=site.id, action="sites.fact.expire")) == len(TEE_FACTS)
    now_ms = world.clock.now_ms()
    assert world.database.read(lambda tx: evidence_files(tx, site.id, now_ms)) == {}
    assert world.database.read(lambda tx: evidence_files(tx, "site_none", now_ms)) == {}
    assert world.check().findings == []


def test_a_token_is_taken_out_of_a_file_that_ends_with_a_line_feed(world: World) -> None:
    site = Site(world, tokens.AZURE)
    site.add(site.token() + "\n")
    assert site.view().facts.keys() >= {"tee", "tee-key"}


def test_a_question_is_answered_once(world: World) -> None:
    site = Site(world, tokens.AZURE)
    assert site.refusal(site.token("azure-tdx", bytes(32))) == "sites.attestation_not_asked"
    token = site.token()
    site.add(token)
    assert site.refusal(token) == "sites.attestation_not_asked"
    old = site.token()
    site.ask()
    assert site.refusal(old) == "sites.attestation_nonce", "the newer question took its place"
    late = site.token(exp=START_S + 7200)
    world.clock.advance(600_000)
    assert site.refusal(late) == "sites.attestation_not_asked"


REFUSALS: list[tuple[dict[str, object], str]] = [
    ({"exp": START_S - 1}, "expired"),
    ({"iat": START_S + 120, "exp": START_S + 200}, "future"),
    ({"nbf": START_S + 120}, "future"),
    ({"iat": START_S - 300}, "old"),
    ({"exp": START_S + 10**6}, "lifetime"),
    ({"dbgstat": "enabled"}, "debug"),
    ({"attester_tcb_status": "Revoked"}, "claim"),
    ({"x-ms-runtime": {"sekisho": tokens.bound(bytes(32))}}, "nonce"),
    ({"iss": "https://elsewhere.example"}, "unknown_verifier"),
    ({"exp": "x"}, "malformed"),
]


def test_what_does_not_hold_is_refused_and_recorded(world: World) -> None:
    site = Site(world, tokens.AZURE)
    nonce = site.ask()
    for changes, reason in REFUSALS:
        assert site.refusal(site.token("azure-tdx", nonce, **changes)) == f"sites.attestation_{reason}"
    assert not site.view().facts.keys() & TEE_FACTS
    assert world.check().findings == []
    site.add(site.token("azure-tdx", nonce))


def test_a_forged_a_foreign_and_a_broken_token_are_refused(world: World) -> None:
    site = Site(world, tokens.AZURE, tokens.SOFTWARE)
    nonce = site.ask()
    token = site.token("azure-tdx", nonce)
    head, body, _ = token.split(".")
    assert site.refusal(f"{head}.{body}.{tokens.part(bytes(256))}") == "sites.attestation_signature"
    claims = tokens.azure_tdx(tokens.bound(nonce)) | site.times()
    stranger = Issuer.make("azure", "RS256", jku=tokens.AZURE.verifier.jku, number=1)
    assert site.refusal(stranger.token(claims)) == "sites.attestation_signature"
    assert site.refusal(tokens.SOFTWARE.token(claims)) == "sites.attestation_unknown_key"
    swapped = tokens.AZURE.token(claims, header={"alg": "HS256"})
    assert site.refusal(swapped) == "sites.attestation_algorithm"
    brought = tokens.AZURE.token(claims, header={"jwk": {"kty": "RSA"}})
    assert site.refusal(brought) == "sites.attestation_header"
    assert site.refusal("x") == "sites.attestation_malformed"
    assert site.refusal(token, site.gpus()) == "sites.attestation_unknown_verifier", (
        "NVIDIA is not configured"
    )
    site.add(token)


def test_gpus_that_answered_for_another_key_or_another_question_change_nothing(world: World) -> None:
    site = Site(world, tokens.AZURE, tokens.NVIDIA)
    other = "sha256:" + "0" * 64
    nonce = site.ask()
    honest = tokens.gpu(0, nonce=nonce)["eat_nonce"]
    wrong = (tokens.gpu(0, other, nonce), tokens.gpu(0, nonce=bytes(32)))
    for device in wrong:
        bundle = tokens.gpu_bundle(device | site.times(), eat_nonce=honest, **site.times())
        assert site.refusal(site.token("azure-tdx", nonce), bundle) == "sites.attestation_gpu_key"
    site.add(site.token("azure-tdx", nonce), site.gpus())


def test_software_stands_in_at_grade_d_and_shouts(world: World) -> None:
    site = Site(world, tokens.SOFTWARE)
    found = site.add(site.token("software"))
    assert (found.grade, found.stand_in) == ("D", True)
    facts = site.view().facts
    assert {facts[name].grade for name in TEE_FACTS} == {"D"}
    assert {facts[name].source for name in TEE_FACTS} == {STAND_IN_SOURCE}
    assert "tee_attested_at" not in site_entity(site.view()).attributes, "it is no attestation to the charter"


def test_a_machine_that_measured_what_nobody_named_is_its_own_word(world: World) -> None:
    """True hardware, a true signature, and a program of the site's own choice."""
    site = Site(world, tokens.AZURE)
    found = site.add(site.token("azure-tdx", None, tdx_mrtd="ab" * 48))
    assert (found.measurement, found.grade, found.stand_in) == ("ab" * 48, "D", False)
    assert {site.view().facts[name].grade for name in TEE_FACTS} == {"D"}
    assert "tee_attested_at" not in site_entity(site.view()).attributes
    (record,) = world.records(stream=site.id, action="sites.attestation.add")
    assert record["detail"]["grade"] == "D"
    assert site.add(site.token()).grade == "A"


@pytest.mark.parametrize(
    "issuer", [tokens.AZURE, tokens.NVIDIA, tokens.SOFTWARE], ids=lambda one: one.verifier.name
)
def test_what_a_removed_verifier_attested_is_gone_at_once(world: World, issuer: Issuer) -> None:
    kept = Site(world, tokens.AZURE, tokens.NVIDIA, tokens.SOFTWARE)
    software = issuer is tokens.SOFTWARE
    kept.add(kept.token("software" if software else "azure-tdx"), "" if software else kept.gpus())
    world.perform(world.administrator, RemoveVerifier(name=issuer.verifier.name))
    assert not kept.view().facts.keys() & TEE_FACTS
    (record,) = world.records(action="sites.verifier.remove")
    assert record["detail"]["sites"] == [kept.id]
    with pytest.raises(NotFoundError):
        world.perform(world.administrator, RemoveVerifier(name=issuer.verifier.name))
    assert world.check().findings == []


def test_a_verifier_abroad_counts_only_where_the_settings_name_its_country(world: World) -> None:
    foreign = Issuer.make("azure", "RS256", country="US")
    with pytest.raises(SekishoError) as caught:
        world.perform(world.administrator, adding(foreign))
    assert (caught.value.code, caught.value.params) == (
        "sites.verifier_abroad",
        {"country": "US", "admitted": "JP"},
    )
    assert world.perform(world.administrator, ListVerifiers()).items == []
    assert Admission(frozenset({"JP", "US"}), production=True).admits("azure", "US")
    assert not Admission(frozenset({"JP"}), production=False).admits("azure", "US")
    assert not Admission(frozenset({"JP"}), production=True).admits("software", "JP")


def test_no_machine_is_known_unless_the_settings_name_it() -> None:
    found = judge(tokens.token(), "", tokens.VERIFIERS, tokens.QUESTION)
    stand_in = judge(tokens.token("software"), "", tokens.VERIFIERS, tokens.QUESTION)
    measured = frozenset({tokens.MEASURED})
    assert config.Settings().sites.measurements == ()
    assert Admission(frozenset(), production=True).grade(found) == "D"
    assert Admission(frozenset(), production=True, measurements=measured).grade(found) == "A"
    assert Admission(frozenset(), production=False, measurements=measured).grade(stand_in) == "D"


def test_a_bad_verifier_changes_nothing(world: World) -> None:
    world.perform(world.administrator, adding(tokens.AZURE))
    keys = adding(tokens.AZURE).keys
    cases: list[tuple[dict[str, Any], str]] = [
        ({"kind": "intel", "issuer": "https://new.example"}, "sites.verifier_taken"),
        ({"name": "other"}, "sites.verifier_taken"),
        ({"name": "b", "issuer": "b", "keys": [VerifierKey("k", "RS256", "no key")]}, "sites.verifier_wrong"),
        ({"name": "b", "issuer": "b", "keys": [*keys, *keys]}, "sites.verifier_wrong"),
    ]
    for changes, code in cases:
        with pytest.raises(SekishoError) as caught:
            world.perform(world.administrator, adding(tokens.AZURE, **changes))
        assert caught.value.code == code
    assert len(world.perform(world.administrator, ListVerifiers()).items) == 1
    assert world.check().findings == []


def test_who_may_do_what(world: World) -> None:
    site = Site(world, tokens.AZURE)
    stranger = world.account("stranger", world.organisation("Other"), "site_operator")
    token = site.token()
    with pytest.raises(DeniedError):
        site.add(token, actor=stranger)
    for command in (adding(tokens.INTEL), RemoveVerifier(name="azure")):
        with pytest.raises(DeniedError):
            world.perform(site.keeper, command)
    with pytest.raises(DeniedError):
        world.perform(stranger, ChallengeSite(site="ishikari"))
    with pytest.raises(NotFoundError):
        world.perform(site.keeper, ChallengeSite(site="nowhere"))
    (shown,) = world.perform(site.keeper, ListVerifiers()).items
    assert (shown.name, shown.stand_in, shown.admitted) == ("azure", False, True)
    assert shown.keys[0].key.startswith("-----BEGIN PUBLIC KEY-----")
    site.add(token)


def test_nobody_types_in_what_only_hardware_says(world: World) -> None:
    site = Site(world)
    for name in sorted(TEE_FACTS - {"tee"}):
        with pytest.raises(SekishoError) as caught:
            world.perform(site.keeper, StateFact(site="ishikari", name=name, fact=SiteFact(value=1)))
        assert caught.value.code == "sites.fact_unknown"


def test_the_command_offers_what_the_verifier_knows() -> None:
    assert set(get_args(VerifierKind)) == set(KINDS)
    assert set(get_args(Algorithm)) == set(ALGORITHMS)


def test_production_refuses_stand_ins_and_the_settings_name_countries(tmp_path: Path) -> None:
    """The wiring: what the settings say reaches the rule."""
    settings = config.Settings(
        data=str(tmp_path / "data"),
        environment="production",
        sites=config.Sites(verifier_countries=("US",)),
    )
    clock = ManualClock(START_MS)
    genesis = initialise(settings, founding(), clock=clock)
    control = Control(settings, clock=clock)
    administrator = Actor(Ref("User", genesis.administrators[0].account))
    try:
        control.gate.perform(administrator, adding(Issuer.make("azure", "RS256", country="US")))
        for wrong, code in (
            (tokens.SOFTWARE, "sites.verifier_stand_in"),
            (Issuer.make("intel", "PS384", country="CN"), "sites.verifier_abroad"),
        ):
            with pytest.raises(SekishoError) as caught:
                control.gate.perform(administrator, adding(wrong))
            assert caught.value.code == code
    finally:
        control.close()
