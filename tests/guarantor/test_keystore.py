"""The development store: keys in a file, which says what it is and refuses to be read by others."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from sekisho_guarantor.errors import GuarantorError
from sekisho_guarantor.keystore import KEYS_FILE, DevelopmentStore
from tests.guarantor.custodian_world import CustodyHouse, custody
from tests.wire.custody_world import KEY


@pytest.fixture
def house(tmp_path: Path) -> Iterator[CustodyHouse]:
    with custody(tmp_path / "custodian") as opened:
        yield opened


def test_the_development_store_says_what_it_is(house: CustodyHouse) -> None:
    facts = house.custodian.facts(KEY)
    assert (facts.custody, facts.exportable) == ("development", True)
    assert "DEVELOPMENT" in facts.store
    assert (house.folder / KEYS_FILE).stat().st_mode & 0o777 == 0o600


def test_a_development_store_that_others_may_read_or_that_is_broken_is_refused(house: CustodyHouse) -> None:
    path = house.folder / KEYS_FILE
    path.chmod(0o640)
    with pytest.raises(GuarantorError) as caught:
        DevelopmentStore(house.folder)
    assert caught.value.code == "guarantor.key_exposed"
    path.chmod(0o600)
    path.write_bytes(b"noise")
    with pytest.raises(GuarantorError) as caught:
        DevelopmentStore(house.folder)
    assert caught.value.code == "custodian.store_unusable"


def test_a_development_store_that_cannot_write_changes_nothing(
    house: CustodyHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("sekisho_guarantor.keystore.replace_file", full)
    with pytest.raises(GuarantorError) as caught:
        house.custodian.rotate(KEY)
    assert caught.value.code == "custody.store_failed"
    assert house.custodian.facts(KEY).newest == 1
