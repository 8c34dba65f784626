"""The proofs of place in a bundle: each judged once, however many records rest on it, and what each record says of it.

A record rests on a proof of the site that it chose, where its attempt is, or that its release of a key is for. The key
that answered has to be the key of the agent that took the attempt: another key shows where something else is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from sekisho_verify import attestation_file
from sekisho_verify.canonical import decode_object, digest
from sekisho_verify.errors import CanonicalError, VerifyError
from sekisho_verify.lines import ATTESTED, Case, Evidence
from sekisho_verify.location import COUNTS, LocationVerdict, stricter, weaker
from sekisho_verify.location_proof import Proof, ProofError, judge_again, read_proof
from sekisho_verify.location_reach import Work
from sekisho_verify.location_territory import Territory, parse_territory
from sekisho_verify.location_transcript import read_transcript

FILE_NAME, TERRITORY_NAME = "location.json", "territory.json"
RELEASE_NAME = "key_release.json"


class Judged(NamedTuple):
    """A proof and what it comes to; `begun_ms` is when the oldest session that counts began, 0 where none does."""

    proof: Proof
    verdict: LocationVerdict
    begun_ms: int


class Rests(NamedTuple):
    """The sites and the attempts that one record speaks of."""

    sites: frozenset[str]
    attempts: frozenset[str]


class Places:
    """The proofs of one bundle."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._lands = {each.digest: each.data for each in case.evidence(TERRITORY_NAME)}
        self._territories: dict[str, Territory | None] = {}
        self._work = Work()
        self._orders: dict[str, Rests] = {}
        self._bonds: dict[str, frozenset[str]] = {}
        self._sites: dict[str, set[str]] = defaultdict(set)
        self.chosen: set[str] = set()
        for record, detail in zip(case.bundle.records, case.bundle.details, strict=True):
            here = {choice.site for choice in detail.sites if choice.chosen}
            self.chosen |= here
            attempt = record.detail.get("attempt")
            if isinstance(attempt, str) and here:
                self._sites[attempt] |= here
        self._keys: dict[str, set[bytes]] = defaultdict(set)
        self._unplaced: set[bytes] = set()
        for number, message in case.messages.items():
            if message.attempt:
                key = case.bundle.details[number].agent_key
                self._keys[message.attempt].add(key)
                if message.attempt not in self._sites:
                    self._unplaced.add(key)

    def judge(self, data: bytes) -> Judged | str:
        """A proof judged here: by its own policy, and by what the auditor demands where that is more.

        The digest of the map that it was judged on, where the bundle does not hold that map. A VerifyError for a proof
        that is none, whose recorded verdict is another, or whose policy asks for less than every proof has to show.
        """
        trust, proof = self._case.trust, read_proof(data)
        if trust and trust.territory and trust.territory != proof.territory:
            raise ProofError("proof.other_territory", "judged on another map than the trust file names")
        if less := weaker(proof.policy):
            raise ProofError("proof.weak_policy", f"judged by less than is demanded: {', '.join(less)}")
        if proof.territory not in self._lands:
            raise ProofError("proof.no_territory", "judged on a map that no record names")
        if self._lands[proof.territory] is None:
            return proof.territory
        territory = self._territory(proof.territory)
        verdict = judge_again(proof, territory)
        if trust and (trust.landmarks or weaker(proof.policy, trust.location)):
            policy = stricter(proof.policy, trust.location)
            verdict = judge_again(proof, territory, trust.landmarks or proof.landmarks, policy)
            proof = replace(proof, policy=policy)
        counted = [finding.number for finding in verdict.findings if finding.state == COUNTS]
        begun_ms = min((_begun_ms(proof.transcripts[number]) for number in counted), default=0)
        return Judged(proof, verdict, begun_ms)

    def rests(self, number: int) -> Rests:
        """What record `number` speaks of."""
        record, detail = self._case.bundle.records[number], self._case.bundle.details[number]
        sites = {choice.site for choice in detail.sites if choice.chosen}
        if detail.place:
            sites.add(detail.place.site)
        attempt = record.detail.get("attempt")
        attempts = {attempt} if isinstance(attempt, str) else set[str]()
        order = self._order(detail.files.get(RELEASE_NAME, ""))
        return Rests(order.sites | sites, order.attempts | attempts)

    def keys(self, rests: Rests) -> set[bytes]:
        """Keys of the agents that took these attempts; messages about an attempt that no record placed count too."""
        attempts = rests.attempts or {name for name, sites in self._sites.items() if sites & rests.sites}
        return self._unplaced.union(*(self._keys.get(name, set()) for name in attempts))

    def bound(self, judged: Judged) -> frozenset[str]:
        """What the attested hardware measured that vouches here, at the proof's site, for the key that answered."""
        return frozenset(self._attested.get((judged.verdict.site, digest(judged.proof.claim.key)), ()))

    @cached_property
    def _attested(self) -> Mapping[tuple[str, str], set[str]]:
        trusted = self._case.trust.verifiers if self._case.trust else ()
        measured: dict[tuple[str, str], set[str]] = defaultdict(set)
        for data in {
            each.digest: each.data for each in self._case.evidence(attestation_file.FILE_NAME)
        }.values():
            try:
                file = attestation_file.read_file(data or b"")
                found = file.judge(trusted or file.verifiers)
            except VerifyError:
                continue  # what is wrong with it stands under its own heading
            if found.grade == ATTESTED:
                measured[file.site, found.key].add(found.measurement)
        return measured

    def claims_bond(self, number: int, site: str) -> bool:
        """Whether the facts that record `number` was decided on say that hardware vouches for the site's key."""
        name = self._case.bundle.records[number].facts
        if name not in self._bonds:
            self._bonds[name] = _bonds(self._case.bundle.facts.get(name, b""))
        return site in self._bonds[name]

    def _territory(self, name: str) -> Territory:
        """Read once, whether it can be or not; all maps of a bundle share one bound of work."""
        if name not in self._territories:
            self._territories[name] = None
            self._territories[name] = parse_territory(self._lands[name] or b"", self._work)
        territory = self._territories[name]
        if territory is None:
            raise ProofError("proof.territory", "judged on a map that cannot be read")
        return territory

    def _order(self, name: str) -> Rests:
        """What the release order in an evidence file is for; nothing where it is none, which its own section says."""
        if name not in self._orders:
            try:
                order = decode_object(self._case.held.get(name, b"")).get("order")
            except CanonicalError:
                order = None
            fields: Mapping[str, object] = order if isinstance(order, dict) else {}
            self._orders[name] = Rests(_named(fields, "site"), _named(fields, "attempt"))
        return self._orders[name]


def used_by(found: Evidence, judged: Judged, places: Places) -> None:
    """ProofError unless the record that names a proof may rest on it, but for the time."""
    rests = places.rests(found.number)
    sites = rests.sites or places.chosen
    if sites and (judged.verdict.site not in sites or rests.sites - {judged.verdict.site}):
        raise ProofError("proof.other_site", f"about {judged.verdict.site}, which was not chosen here")
    if places.keys(rests) - {judged.proof.claim.key}:
        raise ProofError("proof.other_key", "the key that answered is not the key of the attempt's agent")
    if places.claims_bond(found.number, judged.verdict.site) and not places.bound(judged):
        raise ProofError("proof.unbound", "decided as if hardware vouched for the key, which none here does")
    if not judged.verdict.accepted:
        raise ProofError("proof.not_accepted", f"the place was not shown: {judged.verdict.code}")


def _begun_ms(data: bytes) -> int:
    return read_transcript(data, lambda _known: True).session.started_ms


def _bonds(data: bytes) -> frozenset[str]:
    """Ids of the sites whose proof, by these facts, hardware is bound to; none in facts of another shape."""
    try:
        entities = decode_object(data).get("entities")
    except CanonicalError:
        return frozenset()
    found: set[str] = set()
    for entity in entities if isinstance(entities, list) else ():
        match entity:
            case {"ref": {"type": "Site", "id": str(site)}, "attributes": {"proof": {"bound_to_tee": True}}}:
                found.add(site)
    return frozenset(found)


def _named(fields: Mapping[str, object], name: str) -> frozenset[str]:
    value = fields.get(name)
    return frozenset({value} if isinstance(value, str) and value else ())
