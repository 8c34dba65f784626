"""What may be said of data, and how it becomes an entity the charter can ask about. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from sekisho.charter import FLOOR_LEVEL
from sekisho.data.errors import (
    APPROVER_ALONE,
    APPROVER_MISSING,
    APPROVER_REQUESTER,
    APPROVER_TWICE,
    APPROVER_UNKNOWN,
    ENVELOPE_LABEL,
    ENVELOPE_LEVEL,
    EXPORT_NEEDED,
    EXPORT_NEVER,
    EXPORT_PLACE,
    INCOMPLETE,
    KEY_ADDRESS,
    KEY_CUSTODY,
    KEY_EVIDENCE,
    KEY_NEEDED,
    KEY_OWNER,
    KEY_STATE,
    KEY_VERSION,
    LOWER_FLOOR,
    LOWER_NOT,
    RESIDENCY,
    TREE,
)
from sekisho.data.model import ArtefactView, DatasetView
from sekisho.data.model_keys import KeyState, KeyView
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import Entity, Ref
from sekisho_verify import canonical
from sekisho_verify.errors import CanonicalError
from sekisho_wire import trees
from sekisho_wire.custody import CustodyError, Destruction, Facts, read_signed

SignedT = TypeVar("SignedT", Facts, Destruction)
ANYWHERE = "any"
FETCH_LEVEL_MAX = 1
"""Up to here an artefact's only owner fetches it alone; above, it stays at its site until an export is approved."""
EXPORT_LEVEL_MAX = 3
NEVER_LABEL = "specially-designated-secret"
TWO_ORGANISATIONS_LEVEL = FLOOR_LEVEL
TWO_ORGANISATIONS = 2
LOWER_LEVEL_MAX = 3

KEY_LEVEL = 1
"""From here up nothing is stored that its owner's key did not encrypt first."""
DECLARED = 0
"""Grade D in the charter's numbers: whoever registers a key also names whose signature describes it."""
LEASE_LEVEL = 2
"""From here up an attempt's lease ends with the right to its keys."""
CONFIRM_MS = 300_000
"""How old a decision about a running attempt's keys is when it is taken again, well in time for `FRESH_MS`."""
FRESH_MS = 900_000
"""A quarter of an hour: as long as a proof of place is fresh."""

PROOF_STALE = "key.proof_stale"
STOPPED = "key.stopped"
DESTROYED = "key.destroyed"
REFUSED = "key.refused"
UNCONFIRMED = "key.unconfirmed"


def check_residency(residency: Iterable[str]) -> list[str]:
    """Sorted and without repeats; `any` beside a country would say two things at once and is refused."""
    countries = sorted(set(residency))
    if ANYWHERE in countries and len(countries) > 1:
        raise SekishoError(RESIDENCY)
    return countries


def check_tree(manifest: bytes, *, size_bytes: int, files: int) -> list[trees.TreeFile]:
    """The files of a manifest that is as large as its owner said; problem `data.tree` otherwise."""
    try:
        found = trees.decode_tree(manifest)
    except trees.TreeError as error:
        raise SekishoError(TREE, what=f"{error.code}: {error.detail}") from error
    if len(found) != files or trees.size_of(found) != size_bytes:
        raise SekishoError(TREE, what=f"{len(found)} files, {trees.size_of(found)} bytes")
    return found


def check_complete(files: list[trees.TreeFile], present: Callable[[str], bool]) -> None:
    """Raise `data.incomplete` with the first missing path unless every file's bytes arrived."""
    arrived = {digest: present(digest) for digest in {file.digest for file in files}}
    missing = [file.path for file in files if not arrived[file.digest]]
    if missing:
        raise SekishoError(INCOMPLETE, missing=len(missing), files=len(files), path=missing[0][:120])


def check_arrived(name: str, *, present: bool) -> None:
    """Raise `data.incomplete` for something of this name whose bytes did not come in, or not all of them."""
    if not present:
        raise SekishoError(INCOMPLETE, missing=1, files=1, path=name)


def check_complete_manifest(present: bool) -> None:  # noqa: FBT001 - the one thing that is asked
    """Raise `data.incomplete` when not even the manifest arrived."""
    check_arrived("(manifest)", present=present)


def check_fetch(level: int, owners: Iterable[str], owner: str) -> None:
    """Raise `data.export_needed` above the level that leaves without approvers, and where others have a say."""
    if level > FETCH_LEVEL_MAX or set(owners) - {owner}:
        raise SekishoError(EXPORT_NEEDED, level=level)


def check_export(artefact: ArtefactView, country: str) -> None:
    """Raise for what no approval lets out, whatever the charter says, and where the way leads out of its residency.

    `country` is where the control plane stands, through which the bytes pass.
    """
    if artefact.level > EXPORT_LEVEL_MAX or NEVER_LABEL in artefact.labels:
        raise SekishoError(EXPORT_NEVER)
    if ANYWHERE not in artefact.residency and country not in artefact.residency:
        raise SekishoError(EXPORT_PLACE, country=country)


def check_approvers(
    requester: str, approvers: Mapping[str, str], named: Sequence[str], owners: Iterable[str]
) -> None:
    """Raise unless all who are named are different people who can approve, and each owner has one of them.

    `approvers` maps those who exist and are active to their organisations.
    """
    if requester in named:
        raise SekishoError(APPROVER_REQUESTER)
    for number, person in enumerate(named):
        if person not in approvers or person in named[:number]:
            raise SekishoError(APPROVER_UNKNOWN, person=person)
    for owner in sorted(set(owners) - set(approvers.values())):
        raise SekishoError(APPROVER_MISSING, organisation=owner)


def check_organisations(level: int, approvers: Mapping[str, str], named: Sequence[str]) -> None:
    """Raise unless each approver is of another organisation, and at level 2 and above there are two of them."""
    seen: dict[str, str] = {}
    for person in named:
        other = seen.setdefault(approvers[person], person)
        if other != person:
            raise SekishoError(APPROVER_TWICE, person=other, other=person)
    if level >= TWO_ORGANISATIONS_LEVEL and len(seen) < TWO_ORGANISATIONS:
        raise SekishoError(APPROVER_ALONE, level=level)


def check_lower(level: int, wanted: int) -> None:
    """Raise unless `wanted` is lower, and no way round the floor that no charter lifts."""
    if wanted >= level:
        raise SekishoError(LOWER_NOT, level=level)
    if level > LOWER_LEVEL_MAX or wanted < FLOOR_LEVEL <= level:
        raise SekishoError(LOWER_FLOOR, level=level, wanted=wanted)


def as_json(values: Iterable[str]) -> str:
    """A list in a TEXT column; the one spelling that row digests rely on."""
    return msgspec.json.encode(list(values)).decode()


def dataset_entity(dataset: DatasetView) -> Entity:
    """The dataset as the charter sees it."""
    return labelled(
        "Dataset",
        dataset.id,
        owner=dataset.owner,
        level=dataset.level,
        labels=dataset.labels,
        residency=dataset.residency,
    )


def artefact_entity(artefact: ArtefactView) -> Entity:
    """The artefact as the charter sees it."""
    return labelled(
        "Artifact",
        artefact.id,
        owner=artefact.owner,
        level=artefact.level,
        labels=artefact.labels,
        residency=artefact.residency,
    )


def labelled(
    kind: str, name: str, *, owner: str, level: int, labels: Iterable[str], residency: Iterable[str]
) -> Entity:
    """An entity of a type that carries level, labels and residency (Dataset, Artifact, Job)."""
    return Entity(
        Ref(kind, name),
        {
            "owner": Ref("Org", owner),
            "level": level,
            "labels": frozenset(labels),
            "residency": frozenset(residency),
        },
    )


def check_sealing(level: int, key: str, version: int, envelope: str) -> None:
    """Raise `data.key_needed` unless the bytes come with everything that names who can open them."""
    named = (bool(key), version > 0, bool(envelope))
    if any(named) != all(named) or (level >= KEY_LEVEL and not all(named)):
        raise SekishoError(KEY_NEEDED, level=level)


class Known(msgspec.Struct, frozen=True):
    """What is said here of an encrypted object."""

    level: int
    labels: frozenset[str]
    residency: frozenset[str]
    owners: frozenset[str]


def check_envelope(
    known: Iterable[Known], owner: str, *, level: int, labels: Iterable[str], residency: Iterable[str]
) -> None:
    """Raise unless an encrypted object is called nothing less than whatever it is called here already.

    One ciphertext has one key: under a weaker label it would be opened where its own label forbids it.
    """
    for other in known:
        if level < other.level:
            raise SekishoError(ENVELOPE_LEVEL, level=other.level)
        wider = ANYWHERE not in other.residency and not other.residency.issuperset(residency)
        if wider or not other.labels.issubset(labels) or not other.owners.issubset({owner}):
            raise SekishoError(ENVELOPE_LABEL)


def check_serving(key: KeyView, version: int) -> None:
    """Raise unless something may be encrypted under this version of a key now."""
    if key.state != "serving":
        raise SekishoError(KEY_STATE, name=key.name, state=key.state)
    if version not in key.versions:
        raise SekishoError(KEY_VERSION, name=key.name, version=key.version, asked=version)


def check_rotation(key: KeyView, version: int) -> None:
    """Versions only grow; a key that is destroyed has no next one."""
    if key.state == "destroyed":
        raise SekishoError(KEY_STATE, name=key.name, state=key.state)
    if version <= max([key.version, *key.destroyed]):
        raise SekishoError(KEY_VERSION, name=key.name, version=key.version, asked=version)


def check_address(url: str, *, production: bool) -> None:
    """Raise `data.key_address` where agents are not to be sent, whatever a tenant registers.

    An address that means another machine at each site (loopback, private, link-local) is nobody's custodian; only where
    things are tried out, loopback and private networks are. What a name leads to is judged by the agent that calls it.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        raise SekishoError(KEY_ADDRESS, host="?") from error
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        here = host == "localhost" or host.endswith(".localhost")
        # 127.1 and 0x7f000001 are no addresses here, and some resolvers take them for one.
        fits = not _number(host.rpartition(".")[2]) and not (production and here)
    else:
        address = getattr(address, "ipv4_mapped", None) or address
        here = address.is_loopback
        odd = address.is_link_local or address.is_multicast or address.is_unspecified
        fits = not odd and (address.is_global or not production)
    if not fits or (parts.scheme != "https" and not here):
        raise SekishoError(KEY_ADDRESS, host=host or "?")


def read_facts(sealed: str, public_key: str, name: str, owner: str) -> Facts:
    """What a custodian says of its key of this name; problem `data.key_evidence` for anybody else's word.

    `data.key_owner` where it keeps the key for another organisation: facts are public, and who registers a key decides
    by its own grants who gets it.
    A file on a disk can be copied: a development key that is said not to be exportable is refused.
    """
    facts = _read(sealed, public_key, name, Facts)
    if facts.owner != owner:
        raise SekishoError(KEY_OWNER, name=name)
    if facts.custody == "development" and not facts.exportable:
        raise SekishoError(KEY_CUSTODY)
    if not facts.newest:
        raise SekishoError(KEY_EVIDENCE, name=name, what="no version is left")
    return facts


def live(facts: Facts) -> list[int]:
    """The versions that a custodian says are there."""
    return sorted(each.version for each in facts.versions if not each.destroyed_ms)


def check_destruction(sealed: str, key: KeyView) -> Destruction:
    """The custodian's own word that versions of the key are gone; `data.key_evidence` for anything less.

    Of one key, and of none that was thought gone already: evidence that is handed in again says nothing new.
    """
    if key.state == "destroyed":
        raise SekishoError(KEY_STATE, name=key.name, state=key.state)
    found = _read(sealed, key.public_key, key.name, Destruction)
    if found.custodian != key.custodian_name or not set(found.versions) & set(key.versions):
        raise SekishoError(
            KEY_EVIDENCE, name=key.name, what="of another custodian, or of no version that is left"
        )
    return found


_number = re.compile(r"[0-9]*|0x[0-9a-f]*").fullmatch


def _read(sealed: str, public_key: str, name: str, kind: type[SignedT]) -> SignedT:
    try:
        # Printed or kept in a file, it ends in a line feed that was not signed.
        found = read_signed(sealed.removesuffix("\n").encode(), canonical.from_base64url(public_key), kind)
    except (CustodyError, CanonicalError) as error:
        raise SekishoError(KEY_EVIDENCE, name=name, what=error.detail) from error
    if found.key != name:
        raise SekishoError(KEY_EVIDENCE, name=name, what=f"it is about {found.key}")
    return found


def refusal(key: KeyView | None, version: int, decided: Iterable[str], *, allowed: bool) -> str:
    """Why no data key under this version is released; empty when one is. `decided` are the rules that said no."""
    if key is None or key.state == "destroyed" or version in key.destroyed:
        return DESTROYED
    if key.state == "stopped":
        return STOPPED
    if allowed:
        return ""
    return PROOF_STALE if any(rule.startswith("C02") for rule in decided) else REFUSED


def lease_refusal(level: int, held: Sequence[tuple[int, str, KeyState]], now_ms: int) -> str:
    """Why an attempt that holds data keys loses its lease; empty while it keeps it.

    `held` says of each of its keys the moment and the reason of the newest decision, and the state: each has to bear
    the lease by itself, and the earliest refusal is named. A stop by the owner counts at any level; that nobody decided
    for a quarter of an hour, from level 2 on.
    """
    refused = [reason for _, reason, _ in sorted(held) if reason]
    found = {state for _, _, state in held} - {"serving"}
    if refused or found:
        return refused[0] if refused else DESTROYED if "destroyed" in found else STOPPED
    if level < LEASE_LEVEL or not held:
        return ""
    return UNCONFIRMED if now_ms - min(held)[0] > FRESH_MS else ""


def confirm_due(level: int, decided_ms: int, now_ms: int) -> bool:
    """Whether it is time to decide again about the keys of a running attempt."""
    return level >= LEASE_LEVEL and now_ms - decided_ms >= CONFIRM_MS


def key_entity(key: KeyView) -> Entity:
    """The key as the charter sees it."""
    return Entity(
        Ref("Key", key.id),
        {
            "owner": Ref("Org", key.owner),
            "country": key.country,
            "custodian": Ref("Org", key.custodian),
            "custody": key.custody,
            "exportable": key.exportable,
            "grade": DECLARED,
        },
    )
