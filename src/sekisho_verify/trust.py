"""The trust file: whom an auditor believes. It never comes out of a bundle."""

from __future__ import annotations

from dataclasses import dataclass

from sekisho_verify.attestation import Verifier
from sekisho_verify.attestation_claims import is_measurement
from sekisho_verify.attestation_file import read_verifiers
from sekisho_verify.canonical import INTEGER_LIMIT, decode_relaxed, from_base64url
from sekisho_verify.checkpoint import COSIGNATURE_V1, ED25519, VerifierKey, check_name, parse_key
from sekisho_verify.errors import TrustError, VerifyError
from sekisho_verify.location import FLOOR, Policy, weaker
from sekisho_verify.location_transcript import Landmark, read_landmark
from sekisho_verify.merkle import HASH_BYTES
from sekisho_verify.record import is_digest
from sekisho_verify.timestamp import Authority, der_of

LEVEL_MAX = 5
_TRUST_BYTES_MAX = 2**20
_KEY_BYTES = 32
_REQUIRED = frozenset({"v", "origin", "keys", "witnesses", "quorum"})
_FIELDS = _REQUIRED | {
    "seen",
    "demand",
    "verifiers",
    "measurements",
    "authorities",
    "landmarks",
    "territory",
    "location",
    "listeners",
}
_FLAGS = ("closed", "consistency", "timestamp")
_LOCATION = ("liars_max", "age_ms_max", "skew_ms_max", "rounds_min")
_AUTHORITIES_MAX = 16
_BARS = ("max_level_without_place", "max_level_without_attestation", "max_level_without_observation")


@dataclass(frozen=True, slots=True)
class Seen:
    """A head of the log the auditor has verified before."""

    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Demand:
    """What must be shown beyond integrity.

    `closed` streams, `consistency` with what was seen, a `timestamp` by an authority of this file, a measured place for
    data above `max_level_without_place`, hardware attested to a verifier of this file above
    `max_level_without_attestation`, and a closed wall observed by a listener of this file above
    `max_level_without_observation` (5 demands none).
    """

    closed: bool = False
    consistency: bool = False
    max_level_without_place: int = LEVEL_MAX
    max_level_without_attestation: int = LEVEL_MAX
    timestamp: bool = False
    max_level_without_observation: int = LEVEL_MAX


@dataclass(frozen=True, slots=True)
class Trust:
    """Origin, keys of log, witnesses and verifiers of hardware, cosignatures needed, and demands of one auditor.

    Where `landmarks` are named, a place is shown by them alone; where `territory` (a digest) is, on that map alone.
    `location` is what proofs of place are judged by beside their own policy; never less than the verifier's own floor.
    `listeners` are names and raw public keys of those whose word on egress counts as observed.
    `measurements` are what the machines that this auditor knows measure at launch, in hexadecimal: true hardware that
    runs something else vouches for nothing.
    """

    origin: str
    keys: tuple[VerifierKey, ...]
    witnesses: tuple[VerifierKey, ...] = ()
    quorum: int = 0
    seen: Seen | None = None
    demand: Demand = Demand()
    verifiers: tuple[Verifier, ...] = ()
    authorities: tuple[Authority, ...] = ()
    landmarks: tuple[Landmark, ...] = ()
    territory: str = ""
    listeners: frozenset[tuple[str, bytes]] = frozenset()
    location: Policy = FLOOR
    measurements: frozenset[str] = frozenset()


def parse_trust(data: bytes) -> Trust:
    """A trust file from its JSON bytes; TrustError, naming the field, for anything unknown or off range."""
    if len(data) > _TRUST_BYTES_MAX:
        raise TrustError("trust.size", f"more than {_TRUST_BYTES_MAX} bytes")
    try:
        body = decode_relaxed(data)
    except VerifyError as error:
        raise TrustError("trust.json", error.detail) from error
    if not isinstance(body, dict) or not _REQUIRED <= body.keys() <= _FIELDS:
        raise TrustError("trust.fields", "a field missing or unknown")
    if type(body["v"]) is not int or body["v"] != 1:
        raise TrustError("trust.version", "a trust file of an unknown version", where="v")
    origin = _read_origin(body["origin"])
    keys = _read_keys(body["keys"], field="keys", kind=ED25519)
    if not keys or any(key.name != origin for key in keys):
        raise TrustError("trust.keys", "at least one key, each under the name of the origin", where="keys")
    witnesses = _read_keys(body["witnesses"], field="witnesses", kind=COSIGNATURE_V1)
    if len({key.name for key in witnesses}) != len(witnesses) or len(
        {key.public for key in witnesses}
    ) != len(witnesses):
        raise TrustError("trust.witnesses", "the same witness twice", where="witnesses")
    quorum = _read_count(body["quorum"], limit=len(witnesses), field="quorum")
    seen = _read_seen(body["seen"]) if "seen" in body else None
    demand = _read_demand(body.get("demand", {}))
    return Trust(
        origin,
        keys,
        witnesses,
        quorum,
        seen,
        demand,
        _read_verifiers(body.get("verifiers", [])),
        _read_authorities(body.get("authorities", [])),
        _read_landmarks(body.get("landmarks", [])),
        _read_territory(body.get("territory", "")),
        _read_listeners(body.get("listeners", [])),
        _read_location(body.get("location", {})),
        _read_measurements(body.get("measurements", [])),
    )


def _read_landmarks(value: object) -> tuple[Landmark, ...]:
    if not isinstance(value, list):
        raise TrustError("trust.landmarks", "a list of landmarks is needed", where="landmarks")
    try:
        landmarks = tuple(map(read_landmark, value))
    except VerifyError as error:
        raise TrustError("trust.landmarks", error.detail, where="landmarks") from error
    for values in ({each.name for each in landmarks}, {each.key for each in landmarks}):
        if len(values) != len(landmarks):
            raise TrustError("trust.landmarks", "the same landmark twice", where="landmarks")
    return landmarks


def _read_territory(value: object) -> str:
    if not isinstance(value, str) or (value and not is_digest(value)):
        raise TrustError("trust.territory", "a digest is needed", where="territory")
    return value


def _read_measurements(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) and is_measurement(one) for one in value):
        raise TrustError(
            "trust.measurements", "a list of measurements in hexadecimal is needed", where="measurements"
        )
    return frozenset(value)


def _read_location(value: object) -> Policy:
    if not isinstance(value, dict) or not value.keys() <= set(_LOCATION):
        raise TrustError("trust.location", "an unknown demand on proofs of place", where="location")
    liars, age_ms, skew_ms, rounds = (
        _read_count(value.get(name, getattr(FLOOR, name)), limit=INTEGER_LIMIT - 1, field=f"location.{name}")
        for name in _LOCATION
    )
    policy = Policy(liars, age_ms, skew_ms, rounds)
    if less := [name for name in weaker(policy) if name in _LOCATION]:
        raise TrustError(
            "trust.location", "less than is demanded of every proof", where=f"location.{less[0]}"
        )
    return policy


def _read_origin(value: object) -> str:
    if not isinstance(value, str):
        raise TrustError("trust.origin", "the origin is not text", where="origin")
    try:
        check_name(value)
    except VerifyError as error:
        raise TrustError("trust.origin", error.detail, where="origin") from error
    return value


def _read_keys(value: object, *, field: str, kind: int) -> tuple[VerifierKey, ...]:
    if not isinstance(value, list):
        raise TrustError("trust.keys", "a list of keys is needed", where=field)
    keys: list[VerifierKey] = []
    for text in value:
        try:
            key = parse_key(text if isinstance(text, str) else "")
        except VerifyError as error:
            raise TrustError(error.code, error.detail, where=field) from error
        if key.kind != kind or key in keys:
            raise TrustError("trust.key_kind", "a key of the wrong kind, or twice", where=field)
        keys.append(key)
    return tuple(keys)


def _read_verifiers(value: object) -> tuple[Verifier, ...]:
    try:
        return read_verifiers(value)
    except VerifyError as error:
        raise TrustError(error.code, error.detail, where="verifiers") from error


def _read_authorities(value: object) -> tuple[Authority, ...]:
    """`[{"name", "certificates": [base64url of the DER]}]`; their own certificates, or those of who issues them."""
    if not isinstance(value, list) or len(value) > _AUTHORITIES_MAX:
        raise TrustError("trust.authorities", "a list of authorities is needed", where="authorities")
    found: list[Authority] = []
    for item in value:
        if not isinstance(item, dict) or item.keys() != {"name", "certificates"}:
            raise TrustError("trust.authorities", "name and certificates are needed", where="authorities")
        name, texts = item["name"], item["certificates"]
        if not isinstance(name, str) or not name.isprintable() or not isinstance(texts, list) or not texts:
            raise TrustError("trust.authorities", "name and certificates are needed", where="authorities")
        try:
            held = tuple(der_of(from_base64url(text if isinstance(text, str) else "")) for text in texts)
        except VerifyError as error:
            raise TrustError(error.code, error.detail, where="authorities") from error
        if not name or name in {one.name for one in found}:
            raise TrustError(
                "trust.authorities", "the same authority twice, or without a name", where="authorities"
            )
        found.append(Authority(name, held))
    return tuple(found)


def _read_count(value: object, *, limit: int, field: str) -> int:
    if type(value) is not int or not 0 <= value <= limit:
        raise TrustError("trust.number", f"a whole number from 0 to {limit} is needed", where=field)
    return value


def _read_seen(value: object) -> Seen:
    if not isinstance(value, dict) or value.keys() != {"size", "root"} or not isinstance(value["root"], str):
        raise TrustError("trust.seen", "size and root are needed", where="seen")
    size = _read_count(value["size"], limit=INTEGER_LIMIT - 1, field="seen")
    try:
        root = from_base64url(value["root"])
    except VerifyError as error:
        raise TrustError("trust.seen", error.detail, where="seen") from error
    if len(root) != HASH_BYTES:
        raise TrustError("trust.seen", "a root has 32 bytes", where="seen")
    return Seen(size, root)


def _read_listeners(value: object) -> frozenset[tuple[str, bytes]]:
    if not isinstance(value, list):
        raise TrustError("trust.listeners", "a list of names and keys is needed", where="listeners")
    found: list[tuple[str, bytes]] = []
    for item in value:
        if not isinstance(item, dict) or item.keys() != {"name", "key"}:
            raise TrustError("trust.listeners", "name and key are needed", where="listeners")
        name, text = item["name"], item["key"]
        try:
            key = from_base64url(text) if isinstance(text, str) else b""
        except VerifyError as error:
            raise TrustError("trust.listeners", error.detail, where="listeners") from error
        if not isinstance(name, str) or not name or len(key) != _KEY_BYTES:
            raise TrustError("trust.listeners", "a name and a key of 32 bytes are needed", where="listeners")
        found.append((name, key))
    if len({key for _, key in found}) != len(found):
        raise TrustError("trust.listeners", "the same key twice", where="listeners")
    return frozenset(found)


def _read_demand(value: object) -> Demand:
    if not isinstance(value, dict) or not value.keys() <= {*_FLAGS, *_BARS}:
        raise TrustError("trust.demand", "an unknown demand", where="demand")
    for name in _FLAGS:
        if type(value.get(name, False)) is not bool:
            raise TrustError("trust.demand", "true or false is needed", where=f"demand.{name}")
    place, attestation, observation = (
        _read_count(value.get(name, LEVEL_MAX), limit=LEVEL_MAX, field=f"demand.{name}") for name in _BARS
    )
    closed, consistency, timestamp = (bool(value.get(name, False)) for name in _FLAGS)
    return Demand(closed, consistency, place, attestation, timestamp, observation)
