"""Decryption on this side: a sealed tree becomes a folder again, with a key that its custodian hands the owner.

The custodian is asked with the owner's token and a one-time key; the control plane, which has the ciphertext, has no
part in it. The folder appears under its name only when all of it has held.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sekisho_client.refusals import Refused
from sekisho_client.sealing import Custodian, address_of, ask
from sekisho_verify import canonical
from sekisho_verify.errors import CanonicalError
from sekisho_wire.custody import ANSWER_BYTES_MAX, OPEN_PATH, CustodyError, open_opening
from sekisho_wire.envelope import TREE, EnvelopeError, EnvelopeKey, Header, decrypt_stream, read_header
from sekisho_wire.packing import SEALED_NAME, Unpacker
from sekisho_wire.trees import TreeError

FETCHED: Final = "fetched"
OPENED: Final = "opened"
_PRIVATE: Final = 0o700


@contextlib.contextmanager
def draft(target: Path) -> Iterator[Path]:
    """A folder beside the target that only its owner can enter, gone at the end of the block.

    Beside it, because a folder is given its name in one step on one file system only.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.opening-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_free(target: Path) -> None:
    """Refused `input.exists` unless the target is missing or an empty folder, which it may take the place of."""
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise Refused("input.exists", path=str(target))


def opened(
    source: Path, target: Path, *, stored: Mapping[str, Any], key: Mapping[str, Any], custodian: Custodian
) -> int:
    """Open the sealed tree in the folder `source` as the folder `target`, mode 0700; answers the bytes of its files.

    `stored` is the artefact as the server describes it, `key` the key's registration. Refused `seal.forged` for bytes
    that are not what was sealed, `key.custodian` and `key.foreign` where no right answer came, `input.exists`.
    """
    folder = source.parent / OPENED
    folder.mkdir(mode=_PRIVATE)
    path = source / SEALED_NAME
    try:
        with path.open("rb", buffering=0) as file:
            header = read_header(file, kind=TREE)
            _check(header, stored, key)
            unpacker = Unpacker(folder, size_bytes_max=header.plaintext_bytes(path.stat().st_size))
            decrypt_stream(file, unpacker, header, envelope_key(header, key, custodian))
            size_bytes = unpacker.finish()
    except (EnvelopeError, TreeError) as error:
        raise Refused("seal.forged", what=error.code) from error
    check_free(target)
    try:
        # Takes the place of an empty folder, and of nothing else that came there meanwhile.
        folder.replace(target)
    except OSError as error:
        raise Refused("input.exists", path=str(target)) from error
    return size_bytes


def envelope_key(header: Header, key: Mapping[str, Any], custodian: Custodian) -> EnvelopeKey:
    """The key of one envelope, from this side's custodian, which must be the one the key is registered with."""
    address, one_time = address_of(key, custodian), X25519PrivateKey.generate()
    asked = {
        "header": canonical.to_base64url(header.data),
        "recipient": canonical.to_base64url(one_time.public_key().public_bytes_raw()),
    }
    answer = ask(address, custodian.token, OPEN_PATH, asked, bytes_max=ANSWER_BYTES_MAX)
    try:
        return open_opening(answer, canonical.from_base64url(str(key["public_key"])), header, one_time)
    except (CustodyError, CanonicalError) as error:
        raise Refused("key.foreign", url=address, what=error.code) from error


def _check(header: Header, stored: Mapping[str, Any], key: Mapping[str, Any]) -> None:
    """Before anybody is asked: it is the envelope on record, under the key it is said to be under."""
    if header.digest() != stored["envelope"] or header.wrapped.key != key["name"]:
        raise Refused("seal.forged", what="envelope.unexpected")
