"""What may be said of a site, and how it becomes an entity the charter can ask about. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from sekisho.kernel.errors import InvalidInputError, SekishoError
from sekisho.kernel.facts import Entity, Moment, Ref, Value
from sekisho.sites import proofs
from sekisho.sites.errors import ACCELERATOR_TWICE, UNKNOWN_FACT, WRONG_TYPE
from sekisho.sites.model import Accelerator, Fact, FactValue, SiteView
from sekisho_wire.locating import host_and_port
from sekisho_wire.signing import SealError, decode_public_key

GRADES = {"D": 0, "S": 1, "A": 2, "M": 3}
"""Order of grades as the charter compares them."""

FACTS: dict[str, type] = {
    "country": str,
    "place": str,
    "latitude-e6": int,
    "longitude-e6": int,
    "power-watts": int,
    "disconnected": bool,
    "certificates": list,
    "tee": bool,
    proofs.ADDRESS: str,
}
"""Every fact a site can have, and the type of its value. `-e6` are millionths of a degree."""

_DECLARED_ONLY = Fact(value="")


def check_fact(name: str, value: FactValue) -> None:
    """Raise `sites.fact_unknown` or `sites.fact_type` for what the charter could not read."""
    expected = FACTS.get(name)
    if expected is None:
        raise SekishoError(UNKNOWN_FACT, name=name, known=", ".join(FACTS))
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise SekishoError(WRONG_TYPE, name=name, expected=expected.__name__)
    if name == proofs.ADDRESS:
        try:
            host_and_port(str(value))
        except ValueError as error:
            raise SekishoError(WRONG_TYPE, name=name, expected="host:port") from error


def check_key(public_key: str) -> None:
    """Raise `input.invalid` for text that is no Ed25519 public key, or another spelling of one."""
    try:
        decode_public_key(public_key)
    except SealError as error:
        raise InvalidInputError(field="public_key", what="not an Ed25519 key in base64url") from error


def check_address(address: str) -> None:
    """Raise `input.invalid` for what no datagram can be sent to; empty for who does not answer."""
    try:
        if address:
            host_and_port(address)
    except ValueError as error:
        raise InvalidInputError(field="address", what="an address is host:port") from error


def check_accelerators(accelerators: Iterable[Accelerator]) -> None:
    """Raise `sites.accelerator_twice`: one type is one line with one count."""
    types = [item.type for item in accelerators]
    for kind in types:
        if types.count(kind) > 1:
            raise SekishoError(ACCELERATOR_TWICE, type=kind)


def unplaced(operator: str) -> SiteView:
    """A site nothing is known of but its operator: what is asked about before one exists, or for all at once."""
    return SiteView(
        id="all",
        name="",
        operator=operator,
        engine="",
        state="",
        stand_in=False,
        control=False,
        cpus=0,
        memory_bytes=0,
        yen_per_hour=0,
        accelerators=[],
        facts={},
        wall="unknown",
        nodes=1,
        holds_leases=True,
        asks_health=False,
        away_seconds=0,
        heard_ms=0,
        record_id="",
    )


def standing(site: SiteView, now_ms: int) -> SiteView:
    """The site without facts that are over."""
    facts = {
        name: fact for name, fact in site.facts.items() if not fact.expires_ms or fact.expires_ms > now_ms
    }
    return site if len(facts) == len(site.facts) else msgspec.structs.replace(site, facts=facts)


def site_entity(site: SiteView) -> Entity:
    """The site as the charter sees it; an unstated fact counts as the worst.

    What a stand-in attested, or anybody typed in, is no attestation: it gives no `tee_attested_at`.
    """
    facts = site.facts
    certificates = _value(facts, "certificates", [])
    attributes: dict[str, Value] = {
        "country": str(_value(facts, "country", "")),
        "operator": Ref("Org", site.operator),
        "proof": _proof(facts),
        "tee": bool(_value(facts, "tee", default=False)),
        "disconnected": bool(_value(facts, "disconnected", default=False)),
        "certs": frozenset(certificates) if isinstance(certificates, list) else frozenset(),
        "stand_in": site.stand_in,
        "wall": site.wall,
        "grades": {
            "country": GRADES[facts.get("country", _DECLARED_ONLY).grade],
            "operator": GRADES["D"],
        },
    }
    attested = facts.get("tee-attested-at", _DECLARED_ONLY)
    if GRADES[attested.grade] >= GRADES["A"] and isinstance(attested.value, int):
        attributes["tee_attested_at"] = Moment(attested.value)
    return Entity(Ref("Site", site.id), attributes)


def platform_key(site: SiteView) -> Entity:
    """The key a provider encrypts with by itself: better than none on its disks, no custody towards the provider."""
    entity = site_entity(site)
    return Entity(
        platform_key_ref(site.id),
        {
            "country": entity.attributes["country"],
            "custodian": Ref("Org", site.operator),
            "custody": "platform",
            "exportable": True,
            "grade": GRADES["D"],
        },
    )


def platform_key_ref(site: str) -> Ref:
    """Names the platform key of a site."""
    return Ref("Key", f"platform-{site}")


def _proof(facts: Mapping[str, Fact]) -> dict[str, Value]:
    """The proof of place that holds; where none does, one so old and poor that no rule takes it."""
    standing = facts.get(proofs.PLACE_PROOF)
    return {
        "checked_at": Moment(standing.observed_ms if standing else 0),
        **proofs.figures(standing),
        "bound_to_tee": proofs.binding(facts) == proofs.BOUND,
    }


def _value(facts: Mapping[str, Fact], name: str, default: FactValue) -> FactValue:
    return facts[name].value if name in facts else default
