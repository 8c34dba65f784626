"""What may be said of a site, and what the charter is told where nothing was said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import Moment, Ref
from sekisho.sites import Accelerator, Fact, SiteView, rules

RIGHT: dict[str, Any] = {
    "country": "JP",
    "place": "石狩",
    "latitude-e6": 43_171_000,
    "longitude-e6": 141_315_000,
    "power-watts": 0,
    "location-address": "192.0.2.7:7700",
    "disconnected": True,
    "certificates": ["ismap"],
    "tee": False,
}
VALUES: list[Any] = ["JP", "", 0, 7, -1, True, False, ["ismap"], []]


def site(**facts: Fact) -> SiteView:
    """A site with these facts and nothing else known."""
    base = rules.unplaced("org_a")
    return SiteView(**{name: getattr(base, name) for name in base.__struct_fields__} | {"facts": facts})


def test_every_fact_has_a_right_value() -> None:
    assert set(RIGHT) == set(rules.FACTS)
    for name, value in RIGHT.items():
        rules.check_fact(name, value)


@pytest.mark.parametrize("name", sorted(RIGHT))
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_fact_of_another_type_is_refused(name: str, value: Any) -> None:
    if type(value) is rules.FACTS[name]:
        rules.check_fact(name, RIGHT[name] if name == "location-address" else value)
        return
    with pytest.raises(SekishoError) as caught:
        rules.check_fact(name, value)
    assert caught.value.code == "sites.fact_type"
    assert caught.value.params == {"name": name, "expected": rules.FACTS[name].__name__}


@pytest.mark.parametrize("address", ["", "JP", "a..b:1", "192.0.2.7:99999", "[::1]", "ホスト:1"])
def test_an_address_that_landmarks_could_not_use_is_never_stated(address: str) -> None:
    with pytest.raises(SekishoError) as caught:
        rules.check_fact("location-address", address)
    assert (caught.value.code, caught.value.params["expected"]) == ("sites.fact_type", "host:port")
    if address:
        with pytest.raises(SekishoError):
            rules.check_address(address)
    rules.check_address("")
    rules.check_address("[2001:db8::7]:7700")


@given(name=st.text().filter(lambda name: name not in rules.FACTS))
def test_an_unknown_fact_is_refused_and_the_known_ones_are_named(name: str) -> None:
    with pytest.raises(SekishoError) as caught:
        rules.check_fact(name, "JP")
    assert caught.value.code == "sites.fact_unknown"
    assert caught.value.params["known"] == ", ".join(rules.FACTS)


def test_yes_is_no_number() -> None:
    with pytest.raises(SekishoError):
        rules.check_fact("power-watts", True)  # noqa: FBT003 - the value of a fact


def test_one_type_of_accelerator_is_one_line() -> None:
    h100, b200 = Accelerator("H100", 8), Accelerator("B200", 8)
    rules.check_accelerators([h100, b200])
    rules.check_accelerators([])
    with pytest.raises(SekishoError) as caught:
        rules.check_accelerators([h100, b200, h100])
    assert (caught.value.code, caught.value.params) == ("sites.accelerator_twice", {"type": "H100"})


def test_what_is_not_stated_counts_as_the_worst() -> None:
    attributes = rules.site_entity(site()).attributes
    assert attributes["country"] == ""
    assert attributes["proof"] == {
        "checked_at": Moment(0),
        "bound_km": 0,
        "foreign_margin_km": 0,
        "landmarks": 0,
        "bound_to_tee": False,
    }
    assert (attributes["tee"], attributes["disconnected"], attributes["certs"]) == (False, False, frozenset())
    assert attributes["grades"] == {"country": 0, "operator": 0}
    assert attributes["wall"] == "unknown"
    assert "tee_attested_at" not in attributes


def test_what_is_stated_is_told() -> None:
    entity = rules.site_entity(
        site(
            country=Fact(value="JP", grade="S"),
            tee=Fact(value=True),
            disconnected=Fact(value=True),
            certificates=Fact(value=["ismap", "ismap"]),
        )
    )
    assert entity.ref == Ref("Site", "all")
    assert entity.attributes["country"] == "JP"
    assert entity.attributes["grades"] == {"country": 1, "operator": 0}
    assert entity.attributes["certs"] == frozenset({"ismap"})
    assert entity.attributes["tee"] is True
    assert entity.attributes["operator"] == Ref("Org", "org_a")


def test_grades_are_ordered_from_declared_to_measured() -> None:
    assert [grade for grade, _ in sorted(rules.GRADES.items(), key=lambda item: item[1])] == [
        "D",
        "S",
        "A",
        "M",
    ]


def test_a_platform_key_holds_nothing_back_from_the_operator() -> None:
    key = rules.platform_key(site(country=Fact(value="JP")))
    assert key.ref == rules.platform_key_ref("all")
    assert key.attributes == {
        "country": "JP",
        "custodian": Ref("Org", "org_a"),
        "custody": "platform",
        "exportable": True,
        "grade": 0,
    }
