"""Where a site is, judged by how long light had: pure, replayable, and never on the word of one organisation.

A holder of the session's key answered an unpredictable challenge within an RTT, so it was within RTT * c / 2 of the
landmark: 149.896 km for each millisecond, with c in vacuum, because there are lines faster than glass fibre. Nothing is
taken off for processing: that is a claim, and a claim would make the disc smaller.

A landmark counts when its disc alone holds no foreign land. Landmarks of at least f + 1 organisations must count, so
that f lying organisations cannot make a place up. Discs are never intersected: one lie (a shorter RTT) would empty any
intersection of foreign land.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sekisho_verify import canonical
from sekisho_verify.errors import Exit, VerifyError
from sekisho_verify.location_packets import KEY_BYTES, NONCE_BYTES
from sekisho_verify.location_sphere import Place, distance_km
from sekisho_verify.location_territory import Territory
from sekisho_verify.location_transcript import Landmark, Transcript, read_transcript

KM_PER_NS = 299_792.458 / 2 / 1_000_000_000
"""How far the answering key can be for each nanosecond of RTT: half of c."""

COUNTS, TOO_FAR, REFUSED = "counts", "too_far", "refused"
ACCEPTED = "location.accepted"
TOO_FEW = "location.too_few_organisations"
CLAIM_FOREIGN = "location.claim_foreign"
CLAIM_NOT_HOME = "location.claim_not_home"

TRANSCRIPTS_MAX = 64

NOT_SHOWN = (
    "key_extracted",
    "job_elsewhere",
    "plaintext_forwarded",
    "moved_since",
    "accelerators_far",
    "landmarks_collude",
    "delay_added",
    "sea_and_air",
)
"""What no such proof can show, whatever its figures; sentences in `location_text`."""


class LocationError(VerifyError):
    """A transcript that says nothing about this site, now; its code starts with `location.`."""

    exit_code = Exit.PLACE


@dataclass(frozen=True, slots=True)
class Claim:
    """What a site says of itself: its id, the 32 raw bytes of its agent's key, and where it stands (grade D)."""

    site: str
    key: bytes
    place: Place


@dataclass(frozen=True, slots=True)
class Policy:
    """How much is demanded.

    `liars_max` is f: how many organisations may lie. `age_ms_max` is how old a transcript may be at the moment it is
    judged, `skew_ms_max` how far the clocks of landmark, site and judge may differ, `rounds_min` how many rounds must
    count. `nonce` (32 bytes) is what was asked with; empty accepts transcripts nobody asked for.
    """

    liars_max: int = 1
    age_ms_max: int = 15 * 60 * 1000
    skew_ms_max: int = 30 * 1000
    rounds_min: int = 20
    nonce: bytes = b""


FLOOR = Policy()
"""The least that a proof must have been judged by: whoever wrote the bundle may have demanded more, never less."""


def weaker(policy: Policy, floor: Policy = FLOOR) -> list[str]:
    """The fields in which a policy demands less than another. Without a nonce nothing was asked at all."""
    names = [name for name in ("age_ms_max", "skew_ms_max") if getattr(policy, name) > getattr(floor, name)]
    names += [name for name in ("liars_max", "rounds_min") if getattr(policy, name) < getattr(floor, name)]
    return names if policy.nonce else [*names, "nonce"]


def stricter(one: Policy, other: Policy) -> Policy:
    """What both demand; the nonce is the first one's."""
    return Policy(
        liars_max=max(one.liars_max, other.liars_max),
        age_ms_max=min(one.age_ms_max, other.age_ms_max),
        skew_ms_max=min(one.skew_ms_max, other.skew_ms_max),
        rounds_min=max(one.rounds_min, other.rounds_min),
        nonce=one.nonce,
    )


@dataclass(frozen=True, slots=True)
class Finding:
    """What one transcript comes to.

    `state` is `counts`, `too_far` or `refused`, `code` says why. `bound_km` is the radius of the disc, `foreign_km` a
    lower bound of the way to the nearest foreign land, which is `foreign`; both are zero in what was refused.
    """

    number: int
    state: str
    code: str
    detail: str = ""
    landmark: str = ""
    organisation: str = ""
    session: str = ""
    rtt_ns: int = 0
    rounds: int = 0
    bound_km: float = 0.0
    foreign_km: float = 0.0
    foreign: str = ""

    @property
    def margin_km(self) -> float:
        """What is left between the disc and foreign land; zero or less excludes nothing."""
        return self.foreign_km - self.bound_km


@dataclass(frozen=True, slots=True)
class LocationVerdict:
    """The verdict over all transcripts about one site.

    `code` is `location.accepted` or the reason of the refusal; `organisations` are those whose landmarks count;
    `disputed` says how the territory counted what is disputed.
    """

    site: str
    code: str
    findings: tuple[Finding, ...]
    organisations: tuple[str, ...]
    needed: int
    territory: str
    disputed: Mapping[str, str]
    time_ms: int
    not_shown: tuple[str, ...] = NOT_SHOWN

    @property
    def accepted(self) -> bool:
        """Whether the key answered from outside all foreign land, by enough organisations' measurements."""
        return self.code == ACCEPTED

    @property
    def landmarks(self) -> tuple[str, ...]:
        """Names of the landmarks that count, each once, sorted."""
        return tuple(sorted({f.landmark for f in self.findings if f.state == COUNTS}))

    @property
    def bound_km(self) -> float:
        """The largest disc that counts: the most that may be said about every honest landmark; 0 if none counts."""
        return max((f.bound_km for f in self.findings if f.state == COUNTS), default=0.0)

    @property
    def margin_km(self) -> float:
        """The smallest margin among those that count; 0 if none counts."""
        return min((f.margin_km for f in self.findings if f.state == COUNTS), default=0.0)


@dataclass(frozen=True, slots=True)
class Case:
    """What transcripts are judged against: landmarks as they are known, and sessions that were judged before."""

    claim: Claim
    landmarks: Sequence[Landmark]
    territory: Territory
    now_ms: int
    policy: Policy = Policy()
    seen: Collection[bytes] = frozenset()


def judge(transcripts: Sequence[bytes], case: Case) -> LocationVerdict:
    """The verdict; a transcript that fails becomes a refused finding and never raises.

    LocationError only where the question itself is wrong: two landmarks with one key, too many transcripts, a policy
    that demands nothing.
    """
    _check_case(transcripts, case)
    seen = set(case.seen)
    findings = [_find(number, data, case, seen) for number, data in enumerate(transcripts)]
    organisations = sorted({f.organisation for f in findings if f.state == COUNTS})
    code = _claim_code(case)
    if not code:
        code = ACCEPTED if len(organisations) > case.policy.liars_max else TOO_FEW
    return LocationVerdict(
        site=case.claim.site,
        code=code,
        findings=tuple(findings),
        organisations=tuple(organisations),
        needed=case.policy.liars_max + 1,
        territory=case.territory.digest,
        disputed={area.code: area.counts_as for area in case.territory.disputed},
        time_ms=case.now_ms,
    )


def bound_km(rtt_ns: int) -> float:
    """The farthest an answer can have come from, in km."""
    return rtt_ns * KM_PER_NS


def _check_case(transcripts: Sequence[bytes], case: Case) -> None:
    if len(transcripts) > TRANSCRIPTS_MAX:
        raise LocationError("location.transcripts", f"more than {TRANSCRIPTS_MAX} transcripts")
    for values in ({lm.key for lm in case.landmarks}, {lm.name for lm in case.landmarks}):
        if len(values) != len(case.landmarks):
            raise LocationError("location.landmarks", "two landmarks with the same key or name")
    policy = case.policy
    if policy.liars_max < 1 or policy.rounds_min < 1 or policy.age_ms_max < 1 or policy.skew_ms_max < 0:
        raise LocationError(
            "location.policy", "a policy that demands less than two organisations or no round"
        )
    if len(policy.nonce) not in {0, NONCE_BYTES} or len(case.claim.key) != KEY_BYTES:
        raise LocationError("location.policy", "a nonce or key of the wrong length")


def _claim_code(case: Case) -> str:
    """Why the place a site claims cannot be home, or nothing."""
    if case.territory.nearest_home(case.claim.place).distance_km > 0:
        return CLAIM_NOT_HOME
    if case.territory.nearest_foreign(case.claim.place).distance_km <= 0:
        return CLAIM_FOREIGN
    return ""


def _find(number: int, data: bytes, case: Case, seen: set[bytes]) -> Finding:
    known = {landmark.key: landmark for landmark in case.landmarks}
    found = Finding(number, REFUSED, "")
    try:
        transcript = read_transcript(data, known.__contains__)
        landmark, session = known[transcript.landmark.key], transcript.session
        found = replace(
            found,
            landmark=landmark.name,
            organisation=landmark.organisation,
            session=canonical.to_base64url(session.id),
            rtt_ns=session.rtt_ns_min,
            rounds=len(session.rounds),
        )
        _check_parties(transcript, case, landmark)
        _check_time(transcript, case)
        # Only now: nobody can use up the session of another by a transcript of it that does not hold.
        if session.id in seen:
            raise LocationError("location.replayed", "a session that was judged before")
        seen.add(session.id)
        radius = bound_km(session.rtt_ns_min)
        apart = distance_km(landmark.place, case.claim.place)
        if radius < apart:
            raise LocationError(
                "location.too_fast",
                f"answered in {session.rtt_ns_min} ns, sooner than light crosses the {apart:.1f} km to the place claimed",
            )
    except VerifyError as error:
        return replace(found, code=error.code, detail=error.detail)
    nearest = case.territory.nearest_foreign(landmark.place)
    measured = replace(
        found, bound_km=radius, foreign_km=nearest.distance_km, foreign=nearest.area, state=TOO_FAR
    )
    if measured.margin_km > 0:
        return replace(measured, state=COUNTS, code="location.excludes_foreign")
    return replace(measured, code="location.reaches_foreign")


def _check_parties(transcript: Transcript, case: Case, landmark: Landmark) -> None:
    session, policy = transcript.session, case.policy
    if transcript.site_key != case.claim.key or session.site_id != case.claim.site:
        raise LocationError("location.other_site", "a transcript about another site")
    if policy.nonce and transcript.nonce != policy.nonce:
        raise LocationError("location.other_nonce", "not an answer to what was asked")
    if transcript.landmark != landmark:
        raise LocationError(
            "location.landmark_moved", "the landmark says other things of itself than are known"
        )
    if len(session.rounds) < policy.rounds_min:
        raise LocationError(
            "location.too_few_rounds", f"{len(session.rounds)} rounds where {policy.rounds_min} are demanded"
        )


def _check_time(transcript: Transcript, case: Case) -> None:
    """The landmark's clock against the site's, at both ends of the session, and against the judge's."""
    session, policy = transcript.session, case.policy
    early = abs(transcript.welcomed_ms - session.started_ms)
    late = abs(session.closed_ms - session.ended_ms)
    if max(early, late) > policy.skew_ms_max:
        raise LocationError("location.clock", "the clocks of landmark and site differ by too much")
    if session.ended_ms > case.now_ms + policy.skew_ms_max:
        raise LocationError("location.future", "a transcript from the future")
    if session.started_ms < case.now_ms - policy.age_ms_max:
        raise LocationError("location.old", "a transcript that is too old")
