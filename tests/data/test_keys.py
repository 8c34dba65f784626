"""Keys that stay with their custodians: what is believed of them, who may stop them, how they end."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.data import DestroyKey, KeyView, ListKeys, ResumeKey, RotateKey, ShowKey, StopKey, rules
from sekisho.data.actions_keys import register_real
from sekisho.data.rules import CONFIRM_MS, FRESH_MS, confirm_due, lease_refusal, refusal
from sekisho.kernel.errors import DeniedError, NotFoundError, SekishoError
from sekisho.kernel.facts import Entity, Ref
from sekisho.kernel.tx import Tx
from tests.data.test_actions import put_artefact
from tests.data.world import World
from tests.support import custody

KEY = KeyView(
    id="key_1",
    name="hospital",
    owner="org_a",
    custodian="org_a",
    custodian_name=custody.NAME,
    country="JP",
    custody="development",
    exportable=True,
    address="https://custodian.example.invalid",
    public_key=custody.PUBLIC,
    version=1,
    quorum=0,
    state="serving",
    stand_in=True,
    grade="D",
    created_ms=1,
    record_id="rec_1",
    versions=[1],
)


def code_of(call: Callable[[], Any]) -> str:
    """The code of the problem that a call ends in."""
    with pytest.raises(SekishoError) as caught:
        call()
    return caught.value.code


@pytest.mark.parametrize(
    ("level", "named", "refused"),
    [
        (0, ("", 0, ""), False),
        (0, ("key_1", 1, "sha256:1"), False),
        (1, ("key_1", 1, "sha256:1"), False),
        (1, ("", 0, ""), True),
        (0, ("key_1", 0, "sha256:1"), True),
        (0, ("", 1, ""), True),
        (2, ("key_1", 1, ""), True),
    ],
)
def test_from_level_one_on_everything_names_who_can_open_it(
    level: int, named: tuple[str, int, str], *, refused: bool
) -> None:
    if refused:
        assert code_of(lambda: rules.check_sealing(level, *named)) == "data.key_needed"
    else:
        rules.check_sealing(level, *named)


def test_only_a_key_that_serves_encrypts_and_only_under_a_version_it_has() -> None:
    rules.check_serving(KEY, 1)
    assert code_of(lambda: rules.check_serving(KEY, 2)) == "data.key_version"
    assert code_of(lambda: rules.check_serving(KEY, 0)) == "data.key_version"
    for state in ("stopped", "destroyed"):
        stopped = msgspec.structs.replace(KEY, state=state)
        assert code_of(lambda key=stopped: rules.check_serving(key, 1)) == "data.key_state"


@given(st.integers(-5, 20))
def test_versions_only_grow(version: int) -> None:
    key = msgspec.structs.replace(KEY, version=7)
    if version > 7:
        rules.check_rotation(key, version)
    else:
        assert code_of(lambda: rules.check_rotation(key, version)) == "data.key_version"
    gone = msgspec.structs.replace(KEY, state="destroyed")
    assert code_of(lambda: rules.check_rotation(gone, version)) == "data.key_state"


@pytest.mark.parametrize(
    ("sealed", "code"),
    [
        (custody.facts(key="other"), "data.key_evidence"),
        (custody.facts().replace("hospital", "hospitaL"), "data.key_evidence"),
        (custody.destruction(), "data.key_evidence"),
        ("nothing", "data.key_evidence"),
        (custody.facts(versions=[]), "data.key_evidence"),
        (custody.facts(exportable=False), "data.key_custody"),
        (custody.facts(owner="org_" + "1" * 26), "data.key_owner"),
        (custody.facts(owner="somebody"), "data.key_evidence"),
    ],
)
def test_a_statement_that_is_not_the_custodians_is_refused(sealed: str, code: str) -> None:
    assert code_of(lambda: rules.read_facts(sealed, custody.PUBLIC, "hospital", custody.OWNER)) == code


def test_a_statement_is_believed_with_or_without_the_line_feed_of_a_file() -> None:
    for sealed in (custody.facts(), custody.facts() + "\n"):
        assert rules.read_facts(sealed, custody.PUBLIC, "hospital", custody.OWNER) == custody.FACTS
    odd = "A" * 42
    code = code_of(lambda: rules.read_facts(custody.facts(), odd, "hospital", custody.OWNER))
    assert code == "data.key_evidence"


@pytest.mark.parametrize(
    ("url", "tried", "production"),
    [
        ("https://keys.example.jp:7620", True, True),
        ("https://8.8.8.8/custody", True, True),
        ("https://[2001:4860:4860::8888]:7620", True, True),
        ("http://keys.example.jp", False, False),
        ("http://8.8.8.8", False, False),
        ("http://127.0.0.1:7620", True, False),
        ("https://127.0.0.1:7620", True, False),
        ("https://[::1]", True, False),
        ("https://[::ffff:127.0.0.1]", True, False),
        ("http://localhost:7620", True, False),
        ("https://keys.localhost", True, False),
        ("https://10.1.2.3", True, False),
        ("http://10.1.2.3", False, False),
        ("https://192.168.0.9", True, False),
        ("https://[fd00::1]", True, False),
        ("https://169.254.169.254", False, False),
        ("https://[fe80::1]", False, False),
        ("https://[::ffff:169.254.169.254]", False, False),
        ("https://0.0.0.0", False, False),
        ("https://224.0.0.1", False, False),
        ("https://127.1", False, False),
        ("https://2130706433", False, False),
        ("https://0x7f000001", False, False),
        ("https://localhost.", False, False),
        ("https://[::1", False, False),
    ],
)
def test_no_tenant_sends_agents_to_an_address_of_their_own_networks(
    url: str, *, tried: bool, production: bool
) -> None:
    for allowed, kind in ((tried, False), (production, True)):
        if allowed:
            rules.check_address(url, production=kind)
        else:
            assert code_of(lambda kind=kind: rules.check_address(url, production=kind)) == "data.key_address"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"custodian": "another.example.invalid"}, "data.key_evidence"),
        ({"versions": [2]}, "data.key_evidence"),
        ({"key": "other"}, "data.key_evidence"),
    ],
)
def test_evidence_of_another_key_or_custodian_destroys_nothing(changes: dict[str, Any], code: str) -> None:
    assert code_of(lambda: rules.check_destruction(custody.destruction(**changes), KEY)) == code
    gone = msgspec.structs.replace(KEY, state="destroyed")
    assert code_of(lambda: rules.check_destruction(custody.destruction(), gone)) == "data.key_state"
    assert rules.check_destruction(custody.destruction(), KEY).versions == [1]


@pytest.mark.parametrize(
    ("state", "decided", "allowed", "expected"),
    [
        ("serving", [], True, ""),
        ("stopped", [], True, "key.stopped"),
        ("destroyed", [], True, "key.destroyed"),
        ("stopped", ["C02-location-proof"], False, "key.stopped"),
        ("serving", ["C02-location-proof"], False, "key.proof_stale"),
        ("serving", ["C04-key-custody", "C02-location-proof-rest"], False, "key.proof_stale"),
        ("serving", ["C04-key-custody"], False, "key.refused"),
        ("serving", [], False, "key.refused"),
    ],
)
def test_why_a_key_is_not_released(state: Any, decided: list[str], expected: str, *, allowed: bool) -> None:
    key = msgspec.structs.replace(KEY, state=state)
    assert refusal(key, 1, decided, allowed=allowed) == expected
    assert refusal(None, 1, decided, allowed=allowed) == "key.destroyed"
    gone = msgspec.structs.replace(key, versions=[2], destroyed=[1])
    assert refusal(gone, 1, decided, allowed=allowed) == "key.destroyed"
    assert refusal(gone, 2, decided, allowed=allowed) == expected


HELD = st.lists(
    st.tuples(
        st.integers(1, 3 * FRESH_MS),
        st.sampled_from(["", "", "key.refused", "key.stopped"]),
        st.sampled_from(["serving", "serving", "stopped", "destroyed"]),
    ),
    max_size=3,
)


@given(st.integers(0, 4), HELD)
def test_a_lease_never_outlives_what_any_of_its_keys_rests_on(level: int, held: Any) -> None:
    now_ms = 3 * FRESH_MS
    found = lease_refusal(level, held, now_ms)
    alone = [lease_refusal(level, [one], now_ms) for one in held]
    assert bool(found) is any(alone)
    assert not found or found in alone
    assert found == lease_refusal(level, held[::-1], now_ms)
    for decided_ms, reason, state in held:
        if reason or state != "serving":
            assert found not in {"", "key.unconfirmed"}
        elif found in {"", "key.unconfirmed"} and level >= 2 and now_ms - decided_ms > FRESH_MS:
            assert found == "key.unconfirmed"
    assert lease_refusal(level, [], now_ms) == ""


@given(st.integers(0, 4), st.integers(0, 3 * FRESH_MS))
def test_a_decision_is_taken_again_while_there_is_time_for_another_try(level: int, age_ms: int) -> None:
    assert confirm_due(level, 1, 1 + age_ms) is (level >= 2 and age_ms >= CONFIRM_MS)
    assert CONFIRM_MS * 2 < FRESH_MS


def test_who_stops_it_names_the_reason() -> None:
    assert lease_refusal(1, [(1, "", "serving"), (1, "", "stopped")], 2) == "key.stopped"
    assert lease_refusal(1, [(1, "", "stopped"), (1, "", "destroyed")], 2) == "key.destroyed"
    assert lease_refusal(2, [(2, "", "stopped"), (1, "key.refused", "serving")], 2) == "key.refused"


def test_a_key_is_registered_stopped_resumed_rotated_and_destroyed(world: World) -> None:
    key = world.key()
    assert (key.name, key.version, key.state, key.stand_in, key.grade) == (
        "hospital",
        1,
        "serving",
        True,
        "D",
    )
    again = custody.registration(owner=world.office)
    assert code_of(lambda: world.perform(world.engineer, again)) == "data.key_taken"
    assert world.perform(world.engineer, ShowKey(key=key.id)) == key
    assert world.perform(world.engineer, ListKeys()).items == [key]
    assert world.perform(world.stranger, ListKeys()).items == []
    with pytest.raises(NotFoundError):
        world.perform(world.stranger, StopKey(key=key.id))
    assert world.perform(world.engineer, StopKey(key="hospital")).state == "stopped"
    assert code_of(lambda: world.perform(world.engineer, StopKey(key="hospital"))) == "conflict"
    assert code_of(lambda: world.add("corpus")) == "data.key_state"
    assert world.perform(world.engineer, ResumeKey(key="hospital")).state == "serving"
    statement = custody.rotated(2, owner=world.office)
    assert world.perform(world.engineer, RotateKey(key="hospital", statement=statement)).version == 2
    world.add("corpus")
    gone = world.perform(
        world.engineer, DestroyKey(key="hospital", evidence=custody.destruction(versions=[1, 2]))
    )
    assert gone.state == "destroyed"
    (record,) = world.records(action="data.key.destroy")
    assert record["detail"]["evidence"] == custody.destruction(versions=[1, 2])
    assert (record["detail"]["versions"], record["detail"]["remaining"]) == ([1, 2], [])
    assert record["detail"]["exportable"], "of a development key others may have a copy"
    assert world.check().findings == []


def test_nobody_registers_a_key_that_its_custodian_keeps_for_another_organisation(world: World) -> None:
    """Facts are public. Who could register them would decide by its own grants who gets the key."""
    theirs = custody.facts(owner=world.laboratory)
    stolen = custody.registration(owner=world.office, statement=theirs)
    assert code_of(lambda: world.perform(world.engineer, stolen)) == "data.key_owner"
    assert world.perform(world.stranger, stolen).owner == world.laboratory
    mine = world.key()
    moved = RotateKey(key=mine.id, statement=custody.rotated(2, owner=world.laboratory))
    assert code_of(lambda: world.perform(world.engineer, moved)) == "data.key_owner"
    assert world.perform(world.engineer, ShowKey(key=mine.id)).version == 1


def test_a_key_at_an_address_of_nobodys_is_not_registered(world: World) -> None:
    inside = custody.registration(owner=world.office, address="https://169.254.169.254/latest")
    assert code_of(lambda: world.perform(world.engineer, inside)) == "data.key_address"


def destroyed(world: World, versions: list[int]) -> KeyView:
    """The key, once the custodian's evidence for these versions was handed in."""
    return world.perform(
        world.engineer, DestroyKey(key="hospital", evidence=custody.destruction(versions=versions))
    )


def test_what_the_charter_reads_of_a_key_is_declared_whatever_it_says_of_itself() -> None:
    """Its registrant names the custodian, and the public key under which the custodian's statement holds."""
    said = msgspec.structs.replace(KEY, custody="customer-hsm", exportable=False, custodian="org_b")
    assert rules.key_entity(said).attributes["grade"] == 0


@pytest.mark.parametrize("first", [1, 2])
def test_a_key_with_a_version_left_is_not_called_destroyed(world: World, first: int) -> None:
    """Neither when an old version goes, nor when the newest does: objects under the other can still be opened."""
    key, last = world.key(), 3 - first
    statement = custody.rotated(2, owner=world.office)
    world.perform(world.engineer, RotateKey(key="hospital", statement=statement))
    partly = destroyed(world, [first])
    assert (partly.state, partly.versions, partly.destroyed) == ("serving", [last], [first])
    assert partly.version == last
    (record,) = world.records(action="data.key.destroy")
    assert (record["detail"]["versions"], record["detail"]["remaining"]) == ([first], [last])
    sealed = {"key": key.id, "envelope": custody.ENVELOPE}
    assert code_of(lambda: world.add("under-none", key_version=first, **sealed)) == "data.key_version"
    world.add("under-the-other", key_version=last, **sealed)
    assert code_of(lambda: destroyed(world, [first])) == "data.key_evidence"
    earlier = RotateKey(key="hospital", statement=custody.rotated(2, owner=world.office))
    assert code_of(lambda: world.perform(world.engineer, earlier)) == "data.key_version"
    gone = destroyed(world, [last])
    assert (gone.state, gone.versions, gone.destroyed) == ("destroyed", [], [1, 2])
    assert world.check().findings == []


def test_a_statement_of_before_brings_no_destroyed_version_back(world: World) -> None:
    world.key()
    world.perform(world.engineer, RotateKey(key="hospital", statement=custody.rotated(2, owner=world.office)))
    destroyed(world, [1])
    after = world.perform(
        world.engineer, RotateKey(key="hospital", statement=custody.rotated(3, owner=world.office))
    )
    assert (after.version, after.versions, after.destroyed) == (3, [2, 3], [1])


def test_of_a_key_of_before_versions_were_kept_every_one_may_be_left(world: World) -> None:
    key = world.key()

    def work(tx: Tx) -> None:
        with tx.claimed_by("rec_of_a_test"):
            tx.run(
                "update data_keys set version = 3, versions = null, destroyed = null, record_id = :record_id"
            )

    world.database.write(work)
    assert world.perform(world.engineer, ShowKey(key=key.id)).versions == [1, 2, 3]
    assert destroyed(world, [3]).state == "serving"
    assert destroyed(world, [1, 2]).state == "destroyed"


def test_data_names_its_key_and_another_organisations_key_is_none(world: World) -> None:
    foreign = world.key("theirs", by=world.stranger)
    with pytest.raises(NotFoundError):
        world.add("corpus", key=foreign.id, key_version=1, envelope=custody.ENVELOPE)
    dataset = world.dataset("corpus")
    assert (dataset.key, dataset.key_version, dataset.envelope) == (world.key().id, 1, custody.ENVELOPE)
    assert code_of(lambda: world.add("bare", key="", level=1)) == "data.key_needed"


def test_an_object_is_not_added_again_as_less_than_it_is(world: World) -> None:
    """One ciphertext has one key: a second dataset of it would have its bytes opened behind weaker walls."""
    world.dataset("corpus", level=1, labels=["personal"], residency=["JP", "US"])
    again = {"key": world.key().id, "key_version": 1, "envelope": custody.ENVELOPE}
    assert (
        code_of(lambda: world.add("public", level=0, labels=["personal"], **again)) == "data.envelope_level"
    )
    weaker: list[dict[str, Any]] = [
        {"labels": []},
        {"labels": ["press"]},
        {"labels": ["personal"], "residency": ["any"]},
        {"labels": ["personal"], "residency": ["DE", "JP"]},
    ]
    for label in weaker:
        assert code_of(lambda label=label: world.add("wider", **again, **label)) == "data.envelope_label"
        folder = functools.partial(world.workdir, level=1, **again, **({"residency": ["JP"]} | label))
        assert code_of(folder) == "data.envelope_label"
    world.add("the-same", labels=["personal", "press"], **again)


def test_an_object_of_two_owners_does_not_become_one_owners_alone(world: World) -> None:
    """As if a job over data of two organisations had left the same object behind."""
    world.add("corpus")
    put_artefact(world, envelope=custody.ENVELOPE, owners=[world.office, world.laboratory])
    again = {"key": world.key().id, "key_version": 1, "envelope": custody.ENVELOPE}
    assert code_of(lambda: world.add("mine", **again)) == "data.envelope_label"


def test_a_development_key_is_no_custody_from_level_two_on_and_none_at_all_in_production(
    world: World,
) -> None:
    with pytest.raises(DeniedError) as caught:
        world.add("patients", level=2)
    assert "C04-key-custody" in caught.value.rules or "C02-location-proof-rest" in caught.value.rules
    ctx: Any = SimpleNamespace(principal=Entity(Ref("User", "u"), {"org": Ref("Org", custody.OWNER)}))
    here = custody.registration(owner=custody.OWNER, address="https://127.0.0.1")
    assert code_of(lambda: register_real(ctx, here)) == "data.key_address"
    said = custody.registration(owner=custody.OWNER)
    assert code_of(lambda: register_real(ctx, said)) == "data.key_stand_in"


def test_a_custodian_that_is_no_organisation_is_refused(world: World) -> None:
    with pytest.raises(DeniedError) as caught:
        world.perform(world.engineer, custody.registration(owner=world.office, custodian="org_" + "0" * 26))
    assert caught.value.rules == ("closed:Org",)
