"""Keys in a token: made there, used there, never to be had, and gone when they are destroyed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pkcs11 import Attribute, KeyType, MechanismFlag
from pkcs11.exceptions import AttributeReadOnly, AttributeSensitive, KeyUnextractable
from pkcs11.mechanisms import Mechanism

from sekisho_guarantor.errors import GuarantorError
from sekisho_guarantor.keystore_pkcs11 import Pkcs11Store, _find
from sekisho_wire.envelope import new_data_key
from tests.guarantor.custodian_world import CustodyHouse, custody
from tests.support.softhsm import Token
from tests.wire.custody_world import KEY

_numbers = itertools.count()


@pytest.fixture
def store(token: Token) -> Iterator[Pkcs11Store]:
    opened = Pkcs11Store(token.module, token.label, token.pin_file)
    yield opened
    opened.close()


@pytest.fixture
def name(store: Pkcs11Store) -> str:
    """A key of this test's own: the token outlives it."""
    made = f"test-{next(_numbers)}/1"
    store.make(made)
    return made


def code_of(work: object) -> str:
    assert callable(work)
    with pytest.raises(GuarantorError) as caught:
        work()
    return caught.value.code


def test_what_a_key_wraps_it_opens(store: Pkcs11Store, name: str) -> None:
    data_key = new_data_key()
    wrapped = store.wrap(name, data_key)
    assert len(wrapped) == 40
    assert store.unwrap(name, wrapped) == data_key
    assert store.holds(name)


def test_reading_the_key_is_refused_in_every_way(store: Pkcs11Store, name: str) -> None:
    session = store._open() if store._session is None else store._session
    key = _find(session, name)
    assert key is not None
    for wanted in (Attribute.SENSITIVE, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE):
        assert key[wanted] is True
    assert key[Attribute.EXTRACTABLE] is False
    with pytest.raises(AttributeSensitive):
        key[Attribute.VALUE]
    wraps = MechanismFlag.WRAP | MechanismFlag.UNWRAP
    other: Any = session.generate_key(KeyType.AES, 256, capabilities=wraps)
    with pytest.raises(KeyUnextractable):
        other.wrap_key(key, mechanism=Mechanism.AES_KEY_WRAP)
    with pytest.raises(AttributeReadOnly):
        next(iter(session.get_objects({Attribute.LABEL: name})))[Attribute.EXTRACTABLE] = True


def test_another_keys_wrap_does_not_open(store: Pkcs11Store, name: str) -> None:
    other = f"test-{next(_numbers)}/1"
    store.make(other)
    wrapped = store.wrap(other, new_data_key())
    for data in (wrapped, bytes(40), b"", wrapped[:-8]):
        assert code_of(lambda data=data: store.unwrap(name, data)) == "custody.not_opened"
    assert code_of(lambda: store.wrap("unknown/1", new_data_key())) == "custody.not_opened"
    assert code_of(lambda: store.make(name)) == "custody.key_exists"


def test_what_a_destroyed_key_wrapped_never_opens_again(store: Pkcs11Store, name: str) -> None:
    wrapped = store.wrap(name, new_data_key())
    store.destroy(name)
    store.destroy(name)
    assert not store.holds(name)
    assert code_of(lambda: store.unwrap(name, wrapped)) == "custody.not_opened"
    store.make(name)
    assert code_of(lambda: store.unwrap(name, wrapped)) == "custody.not_opened"


# The library's own search complains while it is thrown away.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_session_that_broke_is_opened_again(store: Pkcs11Store, name: str) -> None:
    assert store._session is not None
    store._session.close()
    assert code_of(lambda: store.holds(name)) == "custody.store_failed"
    assert store.holds(name)


def test_a_token_that_makes_keys_which_could_leave_is_not_used(
    store: Pkcs11Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    loose = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
    monkeypatch.setattr("sekisho_guarantor.keystore_pkcs11._KEY", loose)
    made = f"test-{next(_numbers)}/1"
    assert code_of(lambda: store.make(made)) == "custody.store_failed"
    assert not store.holds(made)


def test_a_token_that_cannot_be_used_is_named(token: Token, tmp_path: Path) -> None:
    pin = tmp_path / "pin"
    pin.write_text("9999")
    pin.chmod(0o600)
    for module, label, file in (
        ("/nowhere/lib.so", token.label, token.pin_file),
        (token.module, "no such token", token.pin_file),
        (token.module, token.label, pin),
        (token.module, token.label, tmp_path / "missing"),
    ):
        assert code_of(lambda a=module, b=label, c=file: Pkcs11Store(a, b, c)) == "custodian.store_unusable"
    pin.chmod(0o644)
    assert code_of(lambda: Pkcs11Store(token.module, token.label, pin)) == "guarantor.key_exposed"


def test_a_custodian_over_a_token_holds_its_keys_as_the_charter_wants_them(
    store: Pkcs11Store, tmp_path: Path
) -> None:
    with custody(tmp_path / "custodian", store=store) as house:
        _whole_life(house)


def _whole_life(house: CustodyHouse) -> None:
    facts = house.custodian.facts(KEY)
    assert (facts.custody, facts.exportable, facts.country) == ("customer-hsm", False, "JP")
    assert "SoftHSM" in facts.store
    head, data_key = house.object()
    assert house.release(house.order(head), head).keys == [data_key]
    assert house.open_own(head) == data_key
    house.custodian.destroy(KEY)
    with pytest.raises(GuarantorError) as caught:
        house.release(house.order(head), head)
    assert caught.value.code == "custody.version_unknown"
