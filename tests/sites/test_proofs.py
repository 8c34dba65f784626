"""For which agent of a site a proof holds, and when one takes another's place: pure."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sekisho.sites import Fact, SiteView, answered_by, proofs, rules
from sekisho_verify.canonical import digest, to_base64url

NOW_MS = 1_000_000
KEYS = [to_base64url(bytes([number]) * 32) for number in range(3)]
keys = st.sampled_from(KEYS)


def vouched(key: str) -> str:
    return digest(proofs.canonical.from_base64url(key))


def site(**facts: Fact) -> SiteView:
    named = {name.replace("_", "-"): fact for name, fact in facts.items()}
    return msgspec.structs.replace(rules.unplaced("org"), facts=named)


def proof(landmarks: int = 3, *, bound: int = 0, observed_ms: int = NOW_MS, left_ms: int = 1000) -> Fact:
    value = {"landmarks": landmarks, "organisations": 2, "bound_to_tee": bound}
    return Fact(value=value, grade="M", observed_ms=observed_ms, expires_ms=NOW_MS + left_ms, source="file")


def key_fact(key: str) -> Fact:
    return Fact(value=key, grade="M", expires_ms=NOW_MS + 1000)


def tee(key: str, *, left_ms: int = 1000, attested: bool = True) -> Fact:
    return Fact(value=vouched(key), grade="A" if attested else "D", expires_ms=NOW_MS + left_ms)


@given(keys, keys, keys)
def test_a_proof_holds_for_the_key_that_answered_whatever_hardware_says(
    answered: str, asks: str, attested: str
) -> None:
    found = site(location_proof=proof(), location_key=key_fact(answered), tee_key=tee(attested))
    assert answered_by(found, asks, NOW_MS) is (answered == asks)


@given(keys)
def test_a_proof_that_names_no_key_holds_for_nobody(asks: str) -> None:
    assert not answered_by(site(location_proof=proof()), asks, NOW_MS)


@given(keys, keys)
def test_without_a_proof_attested_hardware_speaks_for_its_own_key_alone(asks: str, attested: str) -> None:
    over: dict[str, Fact] = {"location_proof": proof(left_ms=0), "location_key": key_fact(attested)}
    none: dict[str, Fact] = {}
    for facts in (none, over):
        assert answered_by(site(tee_key=tee(attested), **facts), asks, NOW_MS) is (attested == asks)
        assert answered_by(site(tee_key=tee(attested, left_ms=0), **facts), asks, NOW_MS)
        assert answered_by(site(tee_key=tee(attested, attested=False), **facts), asks, NOW_MS)
    assert answered_by(site(), asks, NOW_MS)


@given(keys, keys, st.booleans(), st.integers(0, 1))
def test_a_proof_is_bound_for_as_long_as_hardware_vouches_for_the_same_key(
    answered: str, attested: str, hardware: bool, bound: int
) -> None:
    facts = {"location-proof": proof(bound=bound), "location-key": key_fact(answered)}
    assert proofs.binding(facts) == "D"
    with_tee = facts | {"tee-key": tee(attested, attested=hardware)}
    held = bool(bound) and hardware and answered == attested
    assert proofs.binding(with_tee) == ("A" if held else "D")
    assert proofs.binding({name: fact for name, fact in with_tee.items() if name != "location-key"}) == "D"
    assert proofs.binding({name: fact for name, fact in with_tee.items() if name != "location-proof"}) == "D"


def measured(landmarks: int, observed_ms: int) -> Fact:
    return proof(landmarks, observed_ms=observed_ms)


@given(st.integers(0, 5), st.integers(0, 5), st.integers(-120_000, 120_000))
def test_a_proof_gives_way_to_a_newer_one_by_as_many_or_one_of_its_own_minute_by_more(
    standing: int, new: int, later_ms: int
) -> None:
    found = proofs.replaces(measured(new, NOW_MS + later_ms), measured(standing, NOW_MS), NOW_MS)
    if new < standing:
        assert not found
    elif new == standing:
        assert found is (later_ms >= 0)
    else:
        assert found is (later_ms >= -proofs.OPEN_MS)
    assert proofs.replaces(measured(new, NOW_MS + later_ms), proof(standing, left_ms=0), NOW_MS)
    assert proofs.replaces(measured(new, NOW_MS + later_ms), None, NOW_MS)
