"""Brings an attempt's inputs to the site's store and from there into the attempt's folder, before anything is held."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from sekisho_agent.client import OBJECT_UNREACHABLE, ControlClient, backoff
from sekisho_agent.errors import StoreError, UnreachableError, store_errors
from sekisho_agent.folders import Collected, read_tree, restore
from sekisho_agent.keys import Keys
from sekisho_agent.sealed_trees import open_tree
from sekisho_wire.messages import ObjectRef, Ticket, WantTicket
from sekisho_wire.objects import ObjectsByDigest
from sekisho_wire.trees import MANIFEST_BYTES_MAX, size_of

FREE_BYTES_KEPT: Final = 256 << 20
FAILURES_MAX: Final = 20
"""How often a control plane may answer that it cannot now, some ninety seconds in all: then it is broken, not away."""


class Stager:
    """Moves objects for one attempt. `check` is asked between chunks and raises when the attempt is to stop.

    A control plane that is away is waited for, object by object: a site may be out of touch for hours. UnreachableError
    comes out only when the agent itself stops, StoreError when the control plane refuses or goes on failing.
    """

    def __init__(
        self,
        client: ControlClient,
        store: ObjectsByDigest,
        check: Callable[[], None],
        *,
        keys: Keys | None = None,
        sealed: Collection[str] = (),
    ) -> None:
        """Objects in `sealed` are ciphertext, which `keys` open."""
        self._client = client
        self._store = store
        self._keys = keys
        self._sealed = frozenset(sealed)
        self.check = check
        self.fetched_bytes = 0

    @store_errors()
    def place(self, reference: ObjectRef, target: Path) -> None:
        """Write an object to `target` (a file, or a folder that is made), fetching it first where it is not here.

        StoreError when it is missing, has other bytes or another size than the offer says, or does not fit on the disk.
        """
        free = shutil.disk_usage(target.parent).free
        if reference.size_bytes + FREE_BYTES_KEPT > free:
            raise StoreError(
                "stage.no_space", f"{reference.object} needs {reference.size_bytes} bytes, {free} are free"
            )
        if reference.source == "control":
            self._fetch(reference)
        if reference.object in self._sealed:
            self._open(reference, target)
            return
        if reference.kind == "file":
            size_bytes = self._store.get_file(reference.object, target, size_bytes_max=reference.size_bytes)
            target.chmod(0o644)
        else:
            target.mkdir()
            target.chmod(0o755)
            size_bytes = restore(
                self._store,
                reference.object,
                target,
                size_bytes_max=reference.size_bytes,
                check=self.check,
            )
        if size_bytes != reference.size_bytes:
            raise StoreError("object.size_mismatch", f"{reference.object} is not as long as the offer says")

    def _open(self, reference: ObjectRef, target: Path) -> None:
        """Decrypted into the attempt's own folder; what the store keeps stays as it is."""
        if self._keys is None or reference.kind != "tree":
            raise StoreError("envelope.shape", f"{reference.object} cannot be opened here")
        target.mkdir()
        target.chmod(0o755)
        open_tree(
            self._store,
            reference.object,
            target,
            keys=self._keys,
            size_bytes_max=reference.size_bytes,
            check=self.check,
        )

    @store_errors()
    def upload_tree(self, tree: Collected, *, attempt: str, token: int) -> None:
        """Send a collected tree to the control plane, its files before its manifest."""
        sizes = {file.digest: file.size_bytes for file in tree.files}
        manifest = self._store.get_bytes(tree.digest, size_bytes_max=MANIFEST_BYTES_MAX)
        for digest, size_bytes in {**sizes, tree.digest: len(manifest)}.items():
            want = WantTicket(want="put", object=digest, size_bytes=size_bytes)
            self._patiently(functools.partial(self._upload_one, want, attempt, token))

    def _upload_one(self, want: WantTicket, attempt: str, token: int) -> None:
        answer = self._client.send(want, attempt, token)
        if not isinstance(answer, Ticket):
            raise StoreError("object.no_ticket", f"the control plane gave no ticket for {want.object}")
        content = self._store.stream(want.object)
        self._client.upload(want.object, answer.ticket, content=content, size_bytes=want.size_bytes)

    def _patiently(self, work: Callable[[], None]) -> None:
        pauses, failures = backoff(), 0
        while True:
            self.check()
            try:
                return work()
            except UnreachableError as error:
                failures += error.code != OBJECT_UNREACHABLE
                if failures > FAILURES_MAX:
                    raise StoreError(error.code, error.detail) from error
                if not self._client.rest(pauses):
                    raise

    def _fetch(self, reference: ObjectRef) -> None:
        if reference.kind == "file":
            self._fetch_one(reference.object, reference.ticket, reference.size_bytes)
            return
        self._fetch_one(reference.object, reference.ticket, MANIFEST_BYTES_MAX)
        files = read_tree(self._store, reference.object)
        if size_of(files) != reference.size_bytes:
            raise StoreError("object.size_mismatch", f"{reference.object} is not as long as the offer says")
        for file in files:
            self._fetch_one(file.digest, reference.ticket, file.size_bytes)

    def _fetch_one(self, digest: str, ticket: str, size_bytes_max: int) -> None:
        def fetch() -> None:
            if not self._store.has(digest):
                chunks = self._checked(self._client.download(digest, ticket))
                self.fetched_bytes += self._store.put_stream(chunks, digest, size_bytes_max=size_bytes_max)

        self._patiently(fetch)

    def _checked(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.check()
            yield chunk
