"""One judgement of a site's place as one file, from which anybody can judge again.

Canonical JSON. `v` is 1, `kind` is `sekisho.location.proof`; `claim` is what the site says of itself, `landmarks` are
those that were known, `policy` what was demanded, `time_ms` when it was judged, `territory` the digest of the territory
file (which lies beside it), `transcripts` the sealed transcripts in base64url, in the order they came, and `verdict`
what they came to, in the shape of `location_text.document`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sekisho_verify import canonical
from sekisho_verify.errors import Exit, VerifyError
from sekisho_verify.location import (
    TRANSCRIPTS_MAX,
    Case,
    Claim,
    LocationVerdict,
    Policy,
    judge,
)
from sekisho_verify.location_packets import KEY_BYTES, NONCE_BYTES
from sekisho_verify.location_sphere import LATITUDE_UDEG_MAX, LONGITUDE_UDEG_MAX, Place
from sekisho_verify.location_territory import Territory
from sekisho_verify.location_text import document
from sekisho_verify.location_transcript import Landmark, describe_landmark, read_landmark
from sekisho_verify.record import is_digest

KIND = "sekisho.location.proof"
PROOF_BYTES_MAX = 8 << 20
LANDMARKS_MAX = 256

_TEXT_MAX = 255
_FIELDS = frozenset(
    {"v", "kind", "claim", "landmarks", "policy", "time_ms", "territory", "transcripts", "verdict"}
)
_CLAIM_FIELDS = frozenset({"site", "key", "latitude_udeg", "longitude_udeg"})
_POLICY_FIELDS = frozenset({"liars_max", "age_ms_max", "skew_ms_max", "rounds_min", "nonce"})


class ProofError(VerifyError):
    """A proof's file that cannot be read, or whose verdict is another one when it is judged again."""

    exit_code = Exit.PROOF


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof's file as read; nothing in it has been judged. `verdict` is the one that is recorded."""

    claim: Claim
    landmarks: tuple[Landmark, ...]
    policy: Policy
    time_ms: int
    territory: str
    transcripts: tuple[bytes, ...]
    verdict: Mapping[str, object]


def judged(transcripts: Sequence[bytes], case: Case) -> tuple[LocationVerdict, bytes]:
    """Judge, and write down what was judged with its verdict; LocationError as `judge`.

    ValueError for a case with sessions judged before: a file must say everything that its verdict rests on.
    """
    if case.seen:
        raise ValueError("sessions seen elsewhere are not part of a proof's file")
    verdict = judge(transcripts, case)
    claim, policy = case.claim, case.policy
    body: dict[str, object] = {
        "v": 1,
        "kind": KIND,
        "claim": {
            "site": claim.site,
            "key": canonical.to_base64url(claim.key),
            "latitude_udeg": claim.place.latitude_udeg,
            "longitude_udeg": claim.place.longitude_udeg,
        },
        "landmarks": [describe_landmark(landmark) for landmark in case.landmarks],
        "policy": {
            "liars_max": policy.liars_max,
            "age_ms_max": policy.age_ms_max,
            "skew_ms_max": policy.skew_ms_max,
            "rounds_min": policy.rounds_min,
            "nonce": canonical.to_base64url(policy.nonce),
        },
        "time_ms": case.now_ms,
        "territory": case.territory.digest,
        "transcripts": [canonical.to_base64url(data) for data in transcripts],
        "verdict": document(verdict),
    }
    return verdict, canonical.encode(body)


def read_proof(data: bytes) -> Proof:
    """A proof from the bytes of its file; VerifyError for anything else."""
    if len(data) > PROOF_BYTES_MAX:
        raise ProofError("proof.size", f"more than {PROOF_BYTES_MAX} bytes")
    body = canonical.decode_object(data)
    if body.keys() != _FIELDS or body["kind"] != KIND or type(body["v"]) is not int or body["v"] != 1:
        raise ProofError("proof.fields", "a field missing or unknown, or another version")
    territory, verdict = body["territory"], body["verdict"]
    if not isinstance(territory, str) or not is_digest(territory) or not isinstance(verdict, dict):
        raise ProofError("proof.fields", "no digest of a territory, or no verdict")
    return Proof(
        claim=_read_claim(body["claim"]),
        landmarks=tuple(map(read_landmark, _items(body["landmarks"], LANDMARKS_MAX))),
        policy=_read_policy(body["policy"]),
        time_ms=_whole(body["time_ms"]),
        territory=territory,
        transcripts=tuple(_bytes(item) for item in _items(body["transcripts"], TRANSCRIPTS_MAX)),
        verdict=verdict,
    )


def judge_again(
    proof: Proof,
    territory: Territory,
    landmarks: Sequence[Landmark] | None = None,
    policy: Policy | None = None,
) -> LocationVerdict:
    """What a proof comes to here and now, at the moment it was judged; with `landmarks`, on the word of those alone.

    With a `policy`, by that one instead of the proof's own.

    ProofError for another territory than the one named, and, where landmarks and policy are the proof's own, for a
    verdict that is not the recorded one.
    """
    if territory.digest != proof.territory:
        raise ProofError("proof.territory", "not the territory that the proof names")
    case = Case(
        claim=proof.claim,
        landmarks=proof.landmarks if landmarks is None else landmarks,
        territory=territory,
        now_ms=proof.time_ms,
        policy=proof.policy if policy is None else policy,
    )
    verdict = judge(proof.transcripts, case)
    if landmarks is None and policy is None and document(verdict) != proof.verdict:
        raise ProofError("proof.verdict", f"the recorded verdict is another; judged again: {verdict.code}")
    return verdict


def _read_claim(value: object) -> Claim:
    if not isinstance(value, dict) or value.keys() != _CLAIM_FIELDS:
        raise ProofError("proof.claim", "site, key and place are needed")
    site = value["site"]
    if not isinstance(site, str) or not 0 < len(site) <= _TEXT_MAX or not site.isprintable():
        raise ProofError("proof.claim", "a site's id of another shape")
    place = Place(
        _degrees(value["latitude_udeg"], LATITUDE_UDEG_MAX),
        _degrees(value["longitude_udeg"], LONGITUDE_UDEG_MAX),
    )
    return Claim(site, _bytes(value["key"], KEY_BYTES), place)


def _read_policy(value: object) -> Policy:
    if not isinstance(value, dict) or value.keys() != _POLICY_FIELDS:
        raise ProofError("proof.policy", "a field missing or unknown")
    return Policy(
        liars_max=_whole(value["liars_max"]),
        age_ms_max=_whole(value["age_ms_max"]),
        skew_ms_max=_whole(value["skew_ms_max"]),
        rounds_min=_whole(value["rounds_min"]),
        nonce=_bytes(value["nonce"], NONCE_BYTES) if value["nonce"] != "" else b"",
    )


def _items(value: object, limit: int) -> list[object]:
    if not isinstance(value, list) or len(value) > limit:
        raise ProofError("proof.list", f"a list of at most {limit} is needed")
    return value


def _bytes(value: object, length: int = 0) -> bytes:
    data = canonical.from_base64url(value) if isinstance(value, str) else b""
    if not data or (length and len(data) != length):
        raise ProofError("proof.bytes", "bytes of another length are needed")
    return data


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < canonical.INTEGER_LIMIT:
        raise ProofError("proof.number", "a whole number is needed")
    return value


def _degrees(value: object, limit: int) -> int:
    if type(value) is not int or not -limit <= value <= limit:
        raise ProofError("proof.place", "a point that is nowhere on the Earth")
    return value
