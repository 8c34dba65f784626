"""What a location proof demands, and what it comes to as a fact about a site. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sekisho.sites.model import Fact, SiteView
from sekisho.sites.model_location import LandmarkFinding, LandmarkView, Told
from sekisho_verify import canonical
from sekisho_verify.location import COUNTS, NOT_SHOWN, REFUSED, Claim, LocationVerdict, Policy
from sekisho_verify.location_proof import Proof
from sekisho_verify.location_sphere import LATITUDE_UDEG_MAX, LONGITUDE_UDEG_MAX, Place, distance_km
from sekisho_verify.location_text import NOT_PROVEN, finding_sentence, summary
from sekisho_verify.location_transcript import Landmark

PLACE_PROOF = "location-proof"
"""Name of the fact that a standing proof is; nobody can state it."""
PLACE_KEY = "location-key"
"""Name of the fact beside it: the key of the agent that answered. Of a site with several, no other is where it says."""
ADDRESS = "location-address"
LIARS_MAX = 1
"""f: how many organisations may lie; landmarks of one more must each exclude all foreign land."""
AGE_MS_MAX = 15 * 60 * 1000
SKEW_MS_MAX = 30 * 1000
ROUNDS_MIN = 20
ASK_MS_MIN, ASK_MS_MAX = 5 * 60 * 1000, 10 * 60 * 1000
"""A site is measured again at a random time in between: two tries before a proof is over."""
RETRY_MS_MIN, RETRY_MS_MAX = 45 * 1000, 90 * 1000
HAND_INS_MAX = 16
"""How often an organisation may hand in transcripts of one request, for each landmark that it runs."""
OPEN_MS = 60 * 1000
"""How long landmarks may take to hand in what was asked for."""
PLACE = ("latitude-e6", "longitude-e6")
BOUND, UNBOUND = "A", "D"
"""How it is known that the key which answers is where jobs run: by attested hardware, or by the site's own word."""
ATTESTED_KEY = "tee-key"

_METRES_PER_KM = 1000


def policy(nonce: str) -> Policy:
    """What is demanded of every proof, for the request with this nonce (base64url)."""
    return Policy(
        liars_max=LIARS_MAX,
        age_ms_max=AGE_MS_MAX,
        skew_ms_max=SKEW_MS_MAX,
        rounds_min=ROUNDS_MIN,
        nonce=canonical.from_base64url(nonce),
    )


def place_of(site: SiteView) -> Place | None:
    """The place a site declares; None where it declares none that is on the Earth."""
    stated = [site.facts[name].value for name in PLACE if name in site.facts]
    match stated:
        case [int(north), int(east)] if abs(north) <= LATITUDE_UDEG_MAX and abs(east) <= LONGITUDE_UDEG_MAX:
            return Place(north, east)
    return None


def claim(site: str, public_key: str, place: Place) -> Claim:
    """What a site says of itself; `public_key` in base64url."""
    return Claim(site, canonical.from_base64url(public_key), place)


def known(landmark: LandmarkView) -> Landmark:
    """A landmark as transcripts must name it."""
    return Landmark(
        landmark.name,
        landmark.organisation,
        canonical.from_base64url(landmark.public_key),
        Place(landmark.latitude_udeg, landmark.longitude_udeg),
    )


def counting(landmarks: Iterable[LandmarkView]) -> list[Landmark]:
    """Those whose word counts: nobody has shown that they are not where they say."""
    return [known(each) for each in landmarks if not each.contradicted_by]


def is_attested(site: SiteView, key: bytes, now_ms: int) -> bool:
    """Whether hardware at the site vouches for the agent's key (32 bytes), which signs for the session's key."""
    fact = site.facts.get(ATTESTED_KEY)
    return (
        fact is not None
        and fact.grade == BOUND
        and fact.expires_ms > now_ms
        and fact.value == canonical.digest(key)
    )


def answered_by(site: SiteView, public_key: str, now_ms: int) -> bool:
    """Whether what is known of a site's place holds for its agent with this key (base64url).

    A proof holds for the agent that answered; where none stands, attested hardware speaks for the one whose key it
    holds. Of a site of which neither is known nothing is said here: whether it needs a proof is the charter's question.
    """
    if standing_file(site, now_ms):
        key = site.facts.get(PLACE_KEY)
        return key is not None and key.value == public_key
    attested = site.facts.get(ATTESTED_KEY)
    if attested is None or attested.grade != BOUND or attested.expires_ms <= now_ms:
        return True
    return attested.value == canonical.digest(canonical.from_base64url(public_key))


def fact_of(verdict: LocationVerdict, started_ms: Mapping[str, int], file: str, *, bound: bool) -> Fact:
    """An accepted verdict as a fact of grade M; it is as old as the oldest session that counts.

    `started_ms` says by session when it began, `file` is the digest of the proof's file, `bound` whether hardware
    vouched for the key that answered. Kilometres are rounded against the site.
    """
    counted = [finding for finding in verdict.findings if finding.state == COUNTS]
    checked_ms = min(started_ms[finding.session] for finding in counted)
    return Fact(
        value={
            "bound_km": -int(-verdict.bound_km // 1),
            "foreign_margin_km": int(verdict.margin_km // 1),
            "landmarks": len(verdict.landmarks),
            "organisations": len(verdict.organisations),
            "bound_to_tee": int(bound),
        },
        grade="M",
        issuer=", ".join(verdict.organisations)[:300],
        observed_ms=checked_ms,
        expires_ms=checked_ms + AGE_MS_MAX,
        source=file,
    )


def replaces(new: Fact, standing: Fact | None, now_ms: int) -> bool:
    """Whether a proof takes the place of the one that stands: never one by fewer landmarks while that holds.

    Nor an older one by as many. By more it may be as much older as a request is open: who began first may answer last.
    """
    if standing is None or standing.expires_ms <= now_ms:
        return True
    more = _figure(new, "landmarks") - _figure(standing, "landmarks")
    older_ms = standing.observed_ms - new.observed_ms
    return older_ms <= (OPEN_MS if more > 0 else 0) and more >= 0


def standing_file(site: SiteView, now_ms: int) -> str:
    """Digest of the file of the proof that a site's place rests on now; empty where none holds."""
    fact = site.facts.get(PLACE_PROOF)
    return fact.source if fact is not None and fact.expires_ms > now_ms else ""


def figures(standing: Fact | None) -> dict[str, int]:
    """The figures of a standing proof; zeros without one, and where fewer organisations than needed counted."""
    names = ("bound_km", "foreign_margin_km", "landmarks")
    if standing is None or _figure(standing, "organisations") <= LIARS_MAX:
        return dict.fromkeys(names, 0)
    return {name: _figure(standing, name) for name in names}


def binding(facts: Mapping[str, Fact]) -> str:
    """The grade of the bond between the key that answered and the machine where jobs run.

    `facts` are those that hold now: hardware that has come to vouch for another key, or for none, binds nothing more.
    """
    standing, key, attested = (facts.get(name) for name in (PLACE_PROOF, PLACE_KEY, ATTESTED_KEY))
    if standing is None or key is None or attested is None or not _figure(standing, "bound_to_tee"):
        return UNBOUND
    vouched = canonical.digest(canonical.from_base64url(str(key.value)))
    return BOUND if attested.grade == BOUND and attested.value == vouched else UNBOUND


def usable(proof: Proof) -> list[bytes]:
    """The transcripts of a proof that were not refused."""
    return [data for data, _ in _taken(proof)]


def carried(proof: Proof) -> list[bytes]:
    """Those of them that are judged together with later ones: the newest of each landmark.

    So one landmark, however much it hands in, takes nobody else's room.
    """
    newest = {landmark: data for data, landmark in _taken(proof)}
    return [data for data, landmark in _taken(proof) if newest[landmark] is data]


def _taken(proof: Proof) -> list[tuple[bytes, str]]:
    """Transcripts that were not refused, with their landmark's name, which was checked with them."""
    found = zip(proof.transcripts, findings(proof.verdict), strict=True)
    return [(data, finding["landmark"]) for data, finding in found if finding["state"] != REFUSED]


def hand_ins_max(landmarks: Iterable[LandmarkView], organisation: str) -> int:
    """How often an organisation may hand in for one request; one that carries others' transcripts counts as one."""
    return HAND_INS_MAX * max(1, sum(1 for each in landmarks if each.organisation == organisation))


def findings(verdict: Mapping[str, object]) -> Sequence[Mapping[str, Any]]:
    """The findings in a recorded verdict, which we wrote ourselves."""
    found = verdict["findings"]
    return found if isinstance(found, list) else []


def finding_view(body: Mapping[str, Any]) -> LandmarkFinding:
    """One finding of a recorded verdict, for people."""
    names = (
        "landmark",
        "organisation",
        "state",
        "rounds",
        "rtt_ns",
        "bound_m",
        "margin_m",
        "foreign_m",
        "foreign",
    )
    told = Told(body["code"], finding_sentence(body, "en"), finding_sentence(body, "ja"))
    return LandmarkFinding(**{name: body[name] for name in names}, told=told)


def summary_of(verdict: Mapping[str, object]) -> Told:
    """A recorded verdict in one sentence."""
    return Told(str(verdict["code"]), summary(verdict, "en"), summary(verdict, "ja"))


def not_shown() -> list[Told]:
    """What no such proof can show, whatever its figures."""
    return [Told(code, *NOT_PROVEN[code]) for code in NOT_SHOWN]


def contradicted(pairs: Iterable[tuple[LandmarkView, LandmarkView]]) -> dict[str, list[str]]:
    """Which landmarks are not where they say, from pairs in which an answer came sooner than light could bring it.

    One of each pair lies or was moved, and nothing tells which: the one that more organisations contradict goes first,
    and where it is as many, both go. Answers organisations by the landmark's name.
    """
    left = {frozenset({one.name, other.name}) for one, other in pairs if one.name != other.name}
    whose = {each.name: each.organisation for pair in pairs for each in pair}
    found: dict[str, list[str]] = {}
    while left:
        against = {
            name: sorted({whose[other] for pair in left if name in pair for other in pair - {name}})
            for name in frozenset().union(*left)
        }
        most = max(len(by) for by in against.values())
        worst = {name: by for name, by in against.items() if len(by) == most}
        found |= worst
        left = {pair for pair in left if not pair & worst.keys()}
    return found


def apart_km(one: LandmarkView, other: LandmarkView) -> float:
    """A lower bound of the distance between two landmarks' declared places."""
    return distance_km(known(one).place, known(other).place)


def _figure(fact: Fact, name: str) -> int:
    return fact.value.get(name, 0) if isinstance(fact.value, dict) else 0
