"""Why not: each rule has its sentence in both languages, and a missing permit says what is missing."""

from __future__ import annotations

import re

import msgspec
import pytest

from sekisho.charter import texts
from sekisho.charter.explain import cedar_text, unmet
from sekisho.charter.scene import Scene, listed, span_words
from sekisho.kernel.facts import Entity, Ref, Request
from sekisho_wire.problems import Language
from tests.charter import yard
from tests.charter.cases import CASES
from tests.charter.yard import ask, enter, export, infer, lab, place, replicate, share, store

BENCH = yard.Bench()
DENIED = [case[1] for case in CASES if case[2].startswith("-")]
SENTENCES = (
    (place("ken", "j-internal", "seoul-1", "k-platform"), "j-internal may stay in JP only; seoul-1 is in KR."),
    (infer("m-care", "tokyo-us", 2), "m-care answers from ishikari-1 only, not from tokyo-us."),
    (
        place("mio", "j-gov2", "tokyo-stale", "k-north-hsm"),
        "tokyo-stale's location proof is 50 min old; level 2 needs one of at most 15 min.",
    ),
    (
        place("mio", "j-gov2", "tokyo-future", "k-north-hsm"),
        "tokyo-future's location proof is dated in the future; it does not count.",
    ),
    (
        place("mio", "j-gov2", "fukuoka-few", "k-north-hsm"),
        "fukuoka-few's location proof rests on 2 landmarks; level 2 needs 3.",
    ),
    (
        place("mio", "j-gov2", "fukuoka-wide", "k-north-hsm"),
        "fukuoka-wide's location proof does not exclude foreign soil; level 2 needs that.",
    ),
    (
        place("aya", "j-care", "tokyo-us", "k-us-hsm"),
        ("us-cloud-jp can be compelled under foreign law (US-CLOUD-ACT, US-FISA-702, parent in US), and the key is not out of its reach."),
    ),
    (
        place("aya", "j-care", "tokyo-own-word", "k-keyhouse"),
        "Who controls own-word is only its own word (grade D); level 3 needs a third party's signature (S).",
    ),
    (
        store("ken", "d-survey", "osaka-telco", "k-platform"),
        "The key for d-survey is not held in a Japanese HSM (level 3: by someone other than the operator).",
    ),
    (
        infer("m-care", "ishikari-1", 3, "special-care", prompt_logging=True, consent=False, purpose="sales"),
        ("Special-care data needs a stated purpose, consent and no prompt log; missing: a stated purpose, consent, no prompt log."),
    ),
    (replicate("ken", "d-survey", "frankfurt-1", "none"), "No legal basis (APPI Art. 28) for a copy in DE."),
    (
        place("jun", "j-esi", "ishikari-1", "k-keyhouse"),
        ("Needs a cleared person, a certified operator and a disconnected site; missing: a cleared person, a disconnected site."),
    ),
    (
        place("mio", "j-secret", "ishikari-vault", "k-keyhouse"),
        "Specially designated secrets are never taken in.",
    ),
    (
        place("mio", "j-gov2", "ishikari-1", "k-north-hsm", egress="open"),
        "Level 2 never runs with open egress.",
    ),
    (
        place("mio", "j-gov2", "ishikari-1", "k-north-hsm", egress="allowlist"),
        "Level 2 leaves only to addresses of stores in Japan that the charter lists, not to names.",
    ),
    (
        place("aya", "j-care", "ishikari-1", "k-keyhouse", attested=False),
        "Level 3 needs an egress that ishikari-1's attestation covers.",
    ),
    (place("ken", "j-internal", "tokyo-bare", "k-keyhouse"), "Level 1 needs a wall; tokyo-bare has none."),
    (export("a-open", "KR"), "a-open may leave to DE, JP or US only, not to KR."),
    (export("a-esi", "JP", "rie", "sho"), "Level 4 is never exported."),
    (export("a-fefa", "DE"), "a-fefa is export-controlled and needs a licence for DE."),
    (
        export("a-weights", "JP", "rie", "ken"),
        "Export needs 2 approvers of different organisations, none of them you; has 1.",
    ),
    (enter("op-jp", "d-esi", by="mio"), "The operator's staff is never let in at level 4."),
    (enter("op-us", "d-care"), "op-us does not reside in Japan."),
    (enter("op-jp", "d-care", recorded=False), "Operator access needs a ticket and a recording."),
    (enter("op-jp", "d-care", by=""), "No approval younger than 4 h by the owner for op-jp."),
    (
        share("i-red", "npa", "national-authority", agreement=True),
        "npa is outside the circle of TLP:RED.",
    ),
    (
        share("i-pd", "us-partner", "private", agreement=True),
        "Indicators with personal data go to Japanese national authorities only, not to us-partner.",
    ),
    (
        lab("lab-real", "seoul-1", 0),
        ("Labs use no real data and end with their hours; this one uses real data, this one is above level 1, this site is abroad, no hours are left."),
    ),
    (place("ken", "j-gov2", "ishikari-1", "k-north-hsm"), "j-gov2 belongs to organisation ministry; you act for maker."),
    (place("nobody", "j-internal", "ishikari-1", "k-north-hsm"), "Needs the role engineer in organisation maker."),
    (enter("op-other", "d-care"), "Rule P15-operator-staff needs: context.site.operator == principal.employer"),
    (ask("nobody", "yard.job.show", "j-internal"), "Needs a role."),
    (
        place("mio", "j-gov2", "nowhere", "k-north-hsm"),
        "The request refers to something of type Site that does not exist.",
    ),
)  # fmt: skip


@pytest.mark.parametrize(("request_", "sentence"), SENTENCES, ids=[one[1][:40] for one in SENTENCES])
def test_a_denial_says_why(request_: Request, sentence: str) -> None:
    assert sentence in [english for _, english, _ in BENCH.sentences(request_)]


@pytest.mark.parametrize("request_", DENIED)
def test_every_denial_names_each_rule_in_both_languages_with_nothing_left_open(request_: Request) -> None:
    decision = BENCH.decide(request_)
    found = BENCH.sentences(request_)
    assert len(found) == len(decision.rules)
    if decision.rules != ("no-permit",):
        assert {rule for rule, _, _ in found} == set(decision.rules)
    for _, english, japanese in found:
        assert not re.search(r"[{}]", english + japanese)
        assert re.search(r"[\u3040-\u30ff]", japanese)
        assert japanese.endswith(("。", ")")) or "：" in japanese


def test_the_japanese_sentence_of_a_stale_proof() -> None:
    found = BENCH.sentences(place("mio", "j-gov2", "tokyo-stale", "k-north-hsm"))
    assert found[0][2] == "tokyo-staleの位置証明は50分前のものです。レベル2では15分以内の証明が必要です。"


def test_what_the_charter_cannot_lift_is_said_first() -> None:
    text = '@id("open") permit (principal, action, resource);'
    bench = yard.Bench(text)
    abroad = place("mio", "j-gov2", "seoul-1", "k-platform")
    assert bench.sentences(abroad)[0][1] == (
        "j-gov2 is level 2 and may stay in JP only; no charter can allow KR."
    )


def test_a_charter_s_own_sentences_are_used() -> None:
    text = (
        '@id("open") permit (principal, action, resource);'
        '@id("night") @en("{site} rests at night.") @ja("{site}は夜間休止です。")'
        ' forbid (principal, action in Action::"processing", resource);'
        '@id("dawn") forbid (principal, action in Action::"processing", resource);'
    )
    found = yard.Bench(text).sentences(place("ken", "j-internal", "ishikari-1", "k-north-hsm"))
    assert set(found) == {
        ("night", "ishikari-1 rests at night.", "ishikari-1は夜間休止です。"),
        ("dawn", "Rule dawn forbids this.", "条項dawnにより不許可です。"),
    }


@pytest.mark.parametrize(
    ("policies", "sentence"),
    [
        ("permit (principal is Service, action, resource);", "No rule permits yard.job.show to a User."),
        ("forbid (principal, action, resource) when { false };", "No rule permits yard.job.show to a User."),
        ("permit (principal, action, resource) when { principal is Service };", "No rule permits yard.job.show to a User."),
        (
            "permit (principal is User, action, resource) unless { principal.mfa } when { resource has owner };",
            "Rule x needs: !principal.mfa",
        ),
        (
            "permit (principal, action, resource is Job) when { resource.level + 1 > 7 };",
            "Rule x needs: (resource.level + 1) > 7",
        ),
        ('permit (principal is User, action, resource) when { principal.roles.contains("caller") };', "Needs the role caller."),
        (
            ('permit (principal == User::"other", action, resource);@id("y") permit (principal is User, action, resource) when { principal.mfa && principal.roles.contains("caller") };'),
            "Needs the role caller.",
        ),
    ],
)  # fmt: skip
def test_a_missing_permit_says_what_is_missing(policies: str, sentence: str) -> None:
    bench = yard.Bench(f'@id("x") {policies}')
    assert [one[1] for one in bench.sentences(ask("eng", "yard.job.show", "j-gov2"))] == [sentence]


def test_the_nearest_permit_comes_first() -> None:
    request = ask(yard.user("new", "maker", "x"), "yard.attempt.show", _attempt("maker"))
    nobody = msgspec.structs.replace(request, principal=yard.user("n", "telco-ai"))
    found = unmet(BENCH.charter, Scene(BENCH.world, nobody))
    assert [one.rule for one in found][:1] == ["P04-site-operator"]
    assert all(one.met < one.conditions for one in found)
    assert "P02-own-things" not in {one.rule for one in unmet(BENCH.charter, Scene(BENCH.world, request))}
    closed = ask("mio", "closed.action.name", "j-gov2")
    assert unmet(BENCH.charter, Scene(BENCH.world, closed)) == ()


def test_a_denial_says_what_each_permit_lacks() -> None:
    request = yard.place("nobody", "j-internal", "ishikari-1", "k-north-hsm")
    found = unmet(BENCH.charter, Scene(BENCH.world, request))
    assert [(one.rule, one.role, one.owner) for one in found] == [("P01-engineer", "engineer", "maker")]


def _attempt(owner: str) -> Entity:
    return Entity(Ref("Attempt", "a"), {"owner": Ref("Org", owner), "site": Ref("Site", "osaka-telco")})


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"resource": yard.job(labels="x")}, "Job.labels is a str, not strings"),
        ({"resource": yard.job(more="x")}, "Job.more is not in the schema"),
        ({"resource": Entity(Ref("Job", "j"), {"level": 1})}, "Job.labels is missing"),
        ({"resource": yard.job(owner=Ref("Site", "ishikari-1"))}, "Job.owner is a Site, not Org"),
        ({"resource": yard.job(level=True)}, "Job.level is a bool, not long"),
        ({"principal": Entity(Ref("Stranger", "s"), {"x": 1})}, "Stranger.x is not in the schema"),
        ({"context": {"site": Ref("Site", "ishikari-1")}}, "context.egress is missing"),
        ({"now_ms": 10**18}, "datetime"),
    ],
)  # fmt: skip
def test_a_request_that_does_not_fit_names_the_attribute(changes: dict[str, object], part: str) -> None:
    request = msgspec.structs.replace(place("mio", "j-gov2", "ishikari-1", "k-north-hsm"), **changes)
    rule, english, japanese = BENCH.sentences(request)[0]
    assert rule == "malformed"
    assert part in english
    assert part in japanese


def test_a_record_that_does_not_fit_names_its_field() -> None:
    proof = {name: value for name, value in yard.proof().items() if name != "landmarks"}
    bench = yard.Bench(changed=[yard.site("ishikari-1", "JP", "north-gpu", proof=proof)])
    sentence = bench.sentences(place("mio", "j-gov2", "ishikari-1", "k-north-hsm"))[0][1]
    assert "Site.proof.landmarks is missing" in sentence


def test_both_languages_have_the_same_placeholders() -> None:
    for key, text in {**texts.SENTENCES, **texts.WORDS}.items():
        assert sorted(re.findall(r"{\w+}", text.en)) == sorted(re.findall(r"{\w+}", text.ja)), key
        assert not re.search(r"[\u3040-\u30ff\u4e00-\u9fff][()!?,.:;]", text.ja), key


def test_times_and_lists_read_well() -> None:
    assert [span_words(ms, Language.EN) for ms in (-5, 999, 61_000, 7_200_000, 200_000_000)] == [
        "0 s",
        "0 s",
        "1 min",
        "2 h",
        "2 d",
    ]
    assert span_words(61_000, Language.JA) == "1分"
    assert listed(["a"], Language.EN, "or") == "a"
    assert listed(["a", "b", "c"], Language.EN, "or") == "a, b or c"
    assert listed(["a", "b", "c"], Language.JA, "or") == "a、bまたはc"
    assert listed([], Language.JA, "or") == ""


def test_a_condition_is_shown_as_cedar() -> None:
    form = b'{"==":{"left":{".":{"left":{"Var":"resource"},"attr":"level"}},"right":{"Value":2}}}'
    assert cedar_text(form) == "resource.level == 2"
