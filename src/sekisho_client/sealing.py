"""Encryption on this side: a folder becomes one envelope, whose data key the owner's custodian wraps.

`sekisho_client.opening` is the way back.

The data key is made here, goes to the custodian over TLS to be wrapped, and nowhere else: the control plane gets
ciphertext, and the digest of a header that says who can open it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import stat
import tempfile
import time
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
from sekisho_wire.envelope import (
    TREE,
    EnvelopeError,
    Wrapped,
    encrypt_stream,
    envelope_key,
    new_data_key,
    new_header,
)
from sekisho_wire.packing import SEALED_NAME, Packer, Reading, Source

TOKEN_VARIABLE = "SEKISHO_CUSTODIAN_TOKEN"  # noqa: S105 - a variable's name
TIMEOUT_SECONDS = 20.0
ANSWER_SECONDS = 60.0
"""How long a whole answer may take, however it dribbles."""
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


class Custodian(NamedTuple):
    """Whom this side asks about its keys, and with what: both are its own choice, never the server's."""

    address: str
    token: str


def address_of(key: Mapping[str, Any], custodian: Custodian) -> str:
    """Where the token goes: the address that this side chose, if the key is registered there.

    Refused `key.unpinned` where it chose none, `key.elsewhere` where it chose another one: a control plane that lies
    about the address would be handed token and data key.
    """
    registered, named = check_url(str(key["address"])), custodian.address.rstrip("/")
    if not (registered.isascii() and registered.isprintable()):
        raise Refused("client.address", url=repr(registered))
    if not named:
        accept = f"sekisho config set custodian {shlex.quote(registered)}"
        raise Refused("key.unpinned", hint=accept, url=registered, accept=accept)
    if named != registered:
        raise Refused("key.elsewhere", url=registered, named=named)
    return named


def warning(name: str, language: str) -> str:
    """What everybody who encrypts under a development key is told."""
    if language == "ja":
        return (
            f"!! 鍵{name}は開発用です。鍵はファイルにあり、保管者のディスクを読める人からは何も守りません。"
        )
    return f"!! Key {name} is for development: it lies in a file and protects nothing from who can read that disk."


@contextlib.contextmanager
def sealed(local: Local, key: Mapping[str, Any], custodian: Custodian) -> Iterator[Sealed]:
    """The encrypted tree of a scanned folder; its file is removed at the end of the block.

    Needs as much room as the folder has, below the temporary folder (TMPDIR). Refused `key.custodian` where nobody
    wraps the data key, `input.tree` where a file changed since it was scanned, and as `address_of`.
    """
    data_key = new_data_key()
    header = new_header(TREE, wrap(address_of(key, custodian), custodian.token, str(key["name"]), data_key))
    packer = Packer(
        Source(file.path, file.mode, _chunks(path))
        for file, path in zip(local.files, local.paths, strict=True)
    )
    with tempfile.TemporaryDirectory(prefix="sekisho-") as folder:
        path = Path(folder) / SEALED_NAME
        with path.open("wb") as target:
            encrypt_stream(Reading(packer.stream()), target, header, envelope_key(header, data_key))
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
    asked = {"key": key, "data_key": canonical.to_base64url(data_key)}
    address = check_url(url)
    answer = ask(address, custodian_token, WRAP_PATH, asked, bytes_max=_ANSWER_BYTES_MAX)
    try:
        found = canonical.decode_object(answer)
        wrapped = Wrapped(
            str(found["key"]),
            int(str(found["key_version"])),
            str(found["wrap"]),
            canonical.from_base64url(str(found["wrapped"])),
        )
        new_header(TREE, wrapped)
    except (CanonicalError, EnvelopeError, KeyError, ValueError) as error:
        raise Refused("key.custodian", url=address, what="an answer that is none") from error
    if wrapped.key != key:
        raise Refused("key.custodian", url=address, what="an answer about another key")
    return wrapped


def ask(address: str, custodian_token: str, path: str, body: Mapping[str, str], *, bytes_max: int) -> bytes:
    """The custodian's answer, whole, in time and within so many bytes; Refused `key.custodian` for everything else."""
    headers = {"authorization": f"Bearer {custodian_token}", "content-type": "application/json"}
    until, answer = time.monotonic() + ANSWER_SECONDS, bytearray()
    try:
        with (
            httpx2.Client(timeout=TIMEOUT_SECONDS, trust_env=False) as client,
            client.stream(
                "POST", address + path, content=canonical.encode(body), headers=headers
            ) as response,
        ):
            for chunk in response.iter_bytes():
                answer += chunk
                if len(answer) > bytes_max or time.monotonic() > until:
                    raise Refused("key.custodian", url=address, what="an answer without an end")
    except (httpx2.HTTPError, UnicodeError) as error:
        raise Refused("key.custodian", url=address, what=type(error).__name__) from error
    if response.status_code != _OK:
        raise Refused("key.custodian", url=address, what=_code(response.status_code, bytes(answer)))
    return bytes(answer)


def _code(status: int, answer: bytes) -> str:
    """The problem's code, where the answer is one."""
    try:
        problem = canonical.decode_relaxed(answer)
    except CanonicalError:
        return f"status {status}"
    code = problem.get("code") if isinstance(problem, dict) else None
    return str(code)[:80] if code else f"status {status}"


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            yield chunk
