from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sekisho.kernel.errors import SekishoError
from sekisho.ledger import KeyFolder
from sekisho_verify.checkpoint import parse_key, verify_signature
from sekisho_verify.errors import NoteError
from tests.ledger.world import ORIGIN


def _code(folder: Path) -> str:
    with pytest.raises(SekishoError) as caught:
        KeyFolder(folder, ORIGIN)
    return caught.value.code


def test_a_new_folder_signs_under_its_origin(tmp_path: Path) -> None:
    keys = KeyFolder.create(tmp_path / "keys", ORIGIN)
    key = parse_key(keys.first)
    assert key.name == ORIGIN
    verify_signature(key.public, keys.sign(keys.first, b"text"), b"text")
    again = KeyFolder(tmp_path / "keys", ORIGIN)
    assert (again.first, again.stream_key) == (keys.first, keys.stream_key)


def test_nobody_else_can_read_the_keys(tmp_path: Path) -> None:
    keys = KeyFolder.create(tmp_path / "keys", ORIGIN)
    keys.add()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    for name in ("log-0001.pem", "stream.key"):
        (tmp_path / "keys" / name).chmod(0o640)
        assert _code(tmp_path / "keys") == "ledger.key_exposed"
        (tmp_path / "keys" / name).chmod(0o600)


def test_an_added_key_is_found_by_a_folder_that_was_open(tmp_path: Path) -> None:
    keys = KeyFolder.create(tmp_path / "keys", ORIGIN)
    added = KeyFolder(tmp_path / "keys", ORIGIN).add()
    assert keys.holds(added)
    assert keys.first != added
    assert not keys.holds(added.replace(ORIGIN, "elsewhere"))
    with pytest.raises(SekishoError) as caught:
        keys.sign("elsewhere+00000000+AAAA", b"")
    assert caught.value.code == "ledger.key_missing"
    assert "AAAA" not in str(caught.value)


def test_a_folder_that_holds_anything_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "note").touch()
    with pytest.raises(SekishoError) as caught:
        KeyFolder.create(tmp_path / "keys", ORIGIN)
    assert caught.value.code == "ledger.key_exists"
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["note"]


def test_an_origin_that_no_checkpoint_can_carry(tmp_path: Path) -> None:
    with pytest.raises(NoteError):
        KeyFolder.create(tmp_path / "keys", "two words")
    assert not (tmp_path / "keys").exists()


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    assert _code(folder) == "ledger.key_missing"
    KeyFolder.create(folder, ORIGIN)
    pem = folder / "log-0001.pem"
    good = pem.read_bytes()
    foreign = generate_private_key(SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    for content in (b"", good[:-40], foreign):
        pem.write_bytes(content)
        assert _code(folder) == "ledger.key_unreadable"
    pem.write_bytes(good)
    (folder / "stream.key").write_bytes(b"short")
    assert _code(folder) == "ledger.key_unreadable"
    (folder / "stream.key").unlink()
    assert _code(folder) == "ledger.key_missing"
    (folder / "stream.key").mkdir()
    assert _code(folder) == "ledger.key_unreadable"
