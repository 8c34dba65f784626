"""Bytes under tickets: folders become trees of objects, sent and fetched file by file, each checked by its digest.

What the server already has is not sent again: it answers at once, whatever the size.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sekisho_client.client import Client
from sekisho_client.refusals import Refused
from sekisho_wire import trees

CHUNK_BYTES = 1 << 20
SKIPPED = frozenset({".git", "__pycache__", ".DS_Store", ".venv"})
"""Names that are never part of a dataset or working folder."""

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


class Local(NamedTuple):
    """A folder or file as a tree: its manifest, the manifest's digest, and where each file lies here."""

    manifest: bytes
    digest: str
    files: Sequence[trees.TreeFile]
    paths: Sequence[Path]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return trees.size_of(self.files)


def scan(source: Path, progress: Progress) -> Local:
    """Hash a folder, or one file, into a tree. Links and odd names are refused by name, never followed or dropped."""
    paths = sorted(_walk(source)) if source.is_dir() else [source]
    if not paths or not source.exists():
        raise Refused("input.no_file", path=str(source))
    root = source if source.is_dir() else source.parent
    total, done = sum(path.lstat().st_size for path in paths), 0
    files: list[trees.TreeFile] = []
    for path in paths:
        size_bytes, digest = _hash(path)
        mode = trees.MODE_EXECUTABLE if os.access(path, os.X_OK) else trees.MODE_PLAIN
        files.append(trees.TreeFile(path.relative_to(root).as_posix(), size_bytes, digest, mode))
        done += size_bytes
        progress(done, total)
    try:
        manifest = trees.encode_tree(files)
    except trees.TreeError as error:
        raise Refused("input.tree", path=str(source), what=error.detail) from error
    return Local(manifest, "sha256:" + hashlib.sha256(manifest).hexdigest(), files, paths)


def send(client: Client, local: Local, ticket: str, progress: Progress) -> None:
    """Send the manifest, then every file that it names, once each."""
    client.put_object(local.digest, ticket, local.manifest)
    done, sent = 0, set()
    for file, path in zip(local.files, local.paths, strict=True):
        if file.digest not in sent:
            client.put_object(file.digest, ticket, _chunks(path))
            sent.add(file.digest)
        done += file.size_bytes
        progress(done, local.size_bytes)


def resume(client: Client, ticket: Mapping[str, Any], target: Path) -> int:
    """Write what a ticket opens below a folder, or as the one file in it; what lies there whole is not fetched again.

    Answers the bytes. Every byte is checked against its digest, what was there before too.
    """
    files, key = listed(client, ticket), str(ticket["ticket"])
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        path = target / file.path
        if path.is_symlink() or not path.is_file() or _hash(path) != (file.size_bytes, file.digest):
            _write(client, file, key, target)
    return trees.size_of(files)


def listed(client: Client, ticket: Mapping[str, Any]) -> list[trees.TreeFile]:
    """The files that a ticket opens; an object that is no tree is one file, called `object`."""
    digest = str(ticket["object"])
    if ticket["object_kind"] == "file":
        return [trees.TreeFile("object", int(ticket["size_bytes"]), digest, trees.MODE_PLAIN)]
    return _files(client, digest, str(ticket["ticket"]))


def _files(client: Client, digest: str, ticket: str) -> list[trees.TreeFile]:
    """The files that a manifest names, once it is known to be the one that was asked for."""
    manifest = b"".join(client.get_object(digest, ticket))
    if "sha256:" + hashlib.sha256(manifest).hexdigest() != digest:
        raise Refused("input.tree", path=digest, what="the server sent another manifest")
    try:
        return trees.decode_tree(manifest)
    except trees.TreeError as error:
        raise Refused("input.tree", path=digest, what=error.detail) from error


def _write(client: Client, file: trees.TreeFile, ticket: str, folder: Path) -> None:
    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.incoming")
    digest = hashlib.sha256()
    try:
        with draft.open("wb") as opened:
            for chunk in client.get_object(file.digest, ticket):
                digest.update(chunk)
                opened.write(chunk)
        if "sha256:" + digest.hexdigest() != file.digest:
            raise Refused("input.tree", path=file.path, what="the bytes are not those of its digest")
        draft.chmod(file.mode)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _walk(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name in SKIPPED:
            continue
        path = Path(entry.path)
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            raise Refused("input.tree", path=str(path), what="neither a file nor a folder")
        if entry.is_dir():
            yield from _walk(path)
        else:
            yield path


def _hash(path: Path) -> tuple[int, str]:
    digest, size_bytes = hashlib.sha256(), 0
    for chunk in _chunks(path):
        digest.update(chunk)
        size_bytes += len(chunk)
    return size_bytes, "sha256:" + digest.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            yield chunk
