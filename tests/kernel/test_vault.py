"""Keys only their owner can read; secrets that open under their own name only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.kernel.errors import SekishoError
from sekisho.kernel.vault import KEY_BYTES, SecretBox, Vault


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "keys")


def refused(vault: Vault, name: str) -> str:
    with pytest.raises(SekishoError) as caught:
        vault.read(name)
    assert caught.value.params == {"name": name}
    return caught.value.code


def test_a_key_is_made_once_for_its_owner_alone(vault: Vault, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        key = vault.create("a.key")
    finally:
        os.umask(old)
    assert len(key) == KEY_BYTES
    assert vault.create("a.key") == key
    assert vault.read("a.key") == key
    assert vault.create("b.key") != key
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "keys" / "a.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o610, 0o777])
def test_a_key_that_others_could_touch_is_refused(vault: Vault, tmp_path: Path, mode: int) -> None:
    vault.create("a.key")
    (tmp_path / "keys" / "a.key").chmod(mode)
    assert refused(vault, "a.key") == "vault.exposed"
    with pytest.raises(SekishoError):
        vault.create("a.key")


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_of_its_owner_alone_is_read(vault: Vault, tmp_path: Path, mode: int) -> None:
    key = vault.create("a.key")
    (tmp_path / "keys" / "a.key").chmod(mode)
    assert vault.read("a.key") == key


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_a_key_that_is_not_whole_is_refused(vault: Vault, tmp_path: Path, content: bytes) -> None:
    vault.create("a.key")
    (tmp_path / "keys" / "a.key").write_bytes(content)
    assert refused(vault, "a.key") == "vault.broken"
    with pytest.raises(SekishoError):
        vault.create("a.key")
    assert (tmp_path / "keys" / "a.key").read_bytes() == content, "a broken key is never replaced by itself"


def test_a_key_that_is_not_there_is_refused(vault: Vault, tmp_path: Path) -> None:
    assert refused(vault, "a.key") == "vault.broken"
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "keys" / "b.key").mkdir(mode=0o700)
    assert refused(vault, "b.key") == "vault.broken"


def test_a_signing_key_is_the_same_each_time(vault: Vault) -> None:
    vault.create("a.key")
    one, two = (vault.signing_key("a.key").public_key().public_bytes_raw() for _ in range(2))
    assert one == two


BOX = SecretBox(b"k" * KEY_BYTES)


def not_opened(box: SecretBox, sealed: bytes, name: str) -> None:
    with pytest.raises(SekishoError) as caught:
        box.open(sealed, name)
    assert (caught.value.code, caught.value.params) == ("vault.broken", {"name": "secrets"})


@given(value=st.binary(), name=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_what_is_sealed_opens_under_its_name(value: bytes, name: str) -> None:
    sealed = BOX.seal(value, name)
    assert BOX.open(sealed, name) == value
    assert BOX.seal(value, name) != sealed
    assert len(value) < 8 or value not in sealed
    not_opened(BOX, sealed, name + "x")
    not_opened(SecretBox(b"o" * KEY_BYTES), sealed, name)


@given(value=st.binary(max_size=40), position=st.integers(0, 200), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_noticed(value: bytes, position: int, bit: int) -> None:
    sealed = bytearray(BOX.seal(value, "a"))
    sealed[position % len(sealed)] ^= 1 << bit
    not_opened(BOX, bytes(sealed), "a")


@given(st.binary(max_size=60))
def test_bytes_that_nobody_sealed_do_not_open(sealed: bytes) -> None:
    not_opened(BOX, sealed, "a")
