"""Encryption on this side: a folder becomes one envelope, whose data key the owner's custodian wraps.

The data key is made here, goes to the custodian over TLS to be wrapped, and nowhere else: the control plane gets
ciphertext, and the digest of a header that says who can open it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from sekisho_client.refusals import Refused
from sekisho_client.settings import check_url
from sekisho_client.transfer import CHUNK_BYTES, Local
from sekisho_verify import canonical
from sekisho_verify.errors import CanonicalError
from sekisho_wire import trees
from sekisho_wire.custody import WRAP_PATH
from sekisho_wire.envelope import EnvelopeError, Wrapped, encrypt_stream, new_data_key, new_header
from sekisho_wire.packing import SEALED_NAME, Packer, Reading, Source

KIND = "tree"
TOKEN_VARIABLE = "SEKISHO_CUSTODIAN_TOKEN"  # noqa: S105 - a variable's name
TIMEOUT_SECONDS = 20.0
_OK = 200
_ANSWER_BYTES_MAX = 4096
_OTHERS = 0o077


class Sealed(NamedTuple):
    """What is sent instead of the folder, and the fields that name who can open it."""

    local: Local
    named: Mapping[str, Any]


def token(file: str) -> str:
    """The custodian's token, from a file that only its owner can read or from the environment; Refused without one."""
    if not file:
        found = os.environ.get(TOKEN_VARIABLE, "")
    else:
        try:
            path = Path(file)
            if stat.S_IMODE(path.stat().st_mode) & _OTHERS:
                raise Refused("config.exposed", path=file, hint=f"chmod 600 {file}")
            found = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Refused("input.no_file", path=file) from error
    if not found:
        raise Refused("key.no_token")
    return found


def warning(name: str, language: str) -> str:
    """What everybody who encrypts under a development key is told."""
    if language == "ja":
        return (
            f"!! 鍵{name}は開発用です。鍵はファイルにあり、保管者のディスクを読める人からは何も守りません。"
        )
    return f"!! Key {name} is for development: it lies in a file and protects nothing from who can read that disk."


@contextlib.contextmanager
def sealed(local: Local, key: Mapping[str, Any], custodian_token: str) -> Iterator[Sealed]:
    """The encrypted tree of a scanned folder; its file is removed at the end of the block.

    Needs as much room as the folder has, below the temporary folder (TMPDIR). Refused `key.custodian` where nobody
    wraps the data key, `input.tree` where a file changed since it was scanned.
    """
    data_key = new_data_key()
    header = new_header(KIND, wrap(str(key["address"]), custodian_token, str(key["name"]), data_key))
    packer = Packer(
        Source(file.path, file.mode, _chunks(path))
        for file, path in zip(local.files, local.paths, strict=True)
    )
    with tempfile.TemporaryDirectory(prefix="sekisho-") as folder:
        path = Path(folder) / SEALED_NAME
        with path.open("wb") as target:
            encrypt_stream(Reading(packer.stream()), target, header, data_key)
        if trees.encode_tree(packer.files) != local.manifest:
            raise Refused("input.tree", path=str(local.paths[0].parent), what="changed while it was read")
        digest = hashlib.sha256()
        for chunk in _chunks(path):
            digest.update(chunk)
        found = f"sha256:{digest.hexdigest()}"
        file = trees.TreeFile(SEALED_NAME, path.stat().st_size, found, trees.MODE_PLAIN)
        manifest = trees.encode_tree([file])
        stored = Local(manifest, canonical.digest(manifest), [file], [path])
        yield Sealed(
            stored,
            {"key": key["id"], "key_version": header.wrapped.key_version, "envelope": header.digest()},
        )


def wrap(url: str, custodian_token: str, key: str, data_key: bytes) -> Wrapped:
    """The data key as the custodian wrapped it; Refused `key.custodian` for everything else."""
    body = canonical.encode({"key": key, "data_key": canonical.to_base64url(data_key)})
    headers = {"authorization": f"Bearer {custodian_token}", "content-type": "application/json"}
    address = check_url(url)
    try:
        with httpx2.Client(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
            response = client.post(address + WRAP_PATH, content=body, headers=headers)
    except httpx2.HTTPError as error:
        raise Refused("key.custodian", url=address, what=type(error).__name__) from error
    if response.status_code != _OK or len(response.content) > _ANSWER_BYTES_MAX:
        raise Refused("key.custodian", url=address, what=_code(response))
    try:
        found = canonical.decode_object(response.content)
        wrapped = Wrapped(
            str(found["key"]),
            int(str(found["key_version"])),
            str(found["wrap"]),
            canonical.from_base64url(str(found["wrapped"])),
        )
        new_header(KIND, wrapped)
    except (CanonicalError, EnvelopeError, KeyError, ValueError) as error:
        raise Refused("key.custodian", url=address, what="an answer that is none") from error
    if wrapped.key != key:
        raise Refused("key.custodian", url=address, what="an answer about another key")
    return wrapped


def _code(response: httpx2.Response) -> str:
    """The problem's code, where the answer is one."""
    try:
        problem = canonical.decode_relaxed(response.content)
    except CanonicalError:
        return f"status {response.status_code}"
    code = problem.get("code") if isinstance(problem, dict) else None
    return str(code)[:80] if code else f"status {response.status_code}"


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            yield chunk
