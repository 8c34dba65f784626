"""A witness's folder: made once, owned by one process, and never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho_guarantor.errors import GuarantorError
from sekisho_guarantor.state import HEADS_FILE, KEY_FILE, WitnessState, read_key
from tests.guarantor.world import House


def _code(refused: pytest.ExceptionInfo[GuarantorError]) -> str:
    return refused.value.code


def test_the_folder_is_its_owners_alone(house: House) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in house.folder.iterdir()}
    assert modes == {KEY_FILE: 0o600, HEADS_FILE: 0o600, "lock": 0o600}


def test_a_witness_is_made_once(house: House) -> None:
    before = (house.folder / KEY_FILE).read_bytes()
    with pytest.raises(GuarantorError) as refused:
        WitnessState.create(house.folder)
    assert _code(refused) == "guarantor.key_exists"
    assert (house.folder / KEY_FILE).read_bytes() == before


def test_two_processes_cannot_have_one_folder(house: House) -> None:
    with pytest.raises(GuarantorError) as refused:
        WitnessState.open(house.folder)
    assert _code(refused) == "guarantor.state_locked"


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"{",
        b'{"v":2,"heads":[]}',
        b'{"v":1,"heads":[{"origin":"a","size":1,"root":"AAAA","note":""}]}',
        b'{"v":1,"heads":[{"origin":"a","size":-1,"root":"' + b"A" * 43 + b'","note":""}]}',
        b'{"v":1,"heads":[],"more":1}',
    ],
)
def test_without_a_readable_memory_it_does_not_start(house: House, content: bytes | None) -> None:
    house.state.close()
    file = house.folder / HEADS_FILE
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with pytest.raises(GuarantorError) as refused:
        WitnessState.open(house.folder)
    assert _code(refused) == "guarantor.state_unreadable"
    file.write_bytes(b'{"v":1,"heads":[]}')
    house.open()


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(GuarantorError) as refused:
        WitnessState.open(tmp_path / "nowhere")
    assert _code(refused) == "guarantor.state_unreadable"


def test_a_key_that_others_may_read_is_refused(house: House) -> None:
    (house.folder / KEY_FILE).chmod(0o640)
    with pytest.raises(GuarantorError) as refused:
        read_key(house.folder)
    assert _code(refused) == "guarantor.key_exposed"


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN PRIVATE KEY-----\n"])
def test_a_key_that_is_none_is_refused(house: House, content: bytes | None) -> None:
    file = house.folder / KEY_FILE
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with pytest.raises(GuarantorError) as refused:
        read_key(house.folder)
    assert _code(refused) == "guarantor.key_unreadable"
