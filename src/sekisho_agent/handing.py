"""Hands over what an approved export asks for: an object of this site's own store, sent under the order's ticket.

The control plane asked only after everybody agreed; it repeats the order until all bytes are there, so what breaks off
is begun again with the next one.
"""

from __future__ import annotations

import threading

import structlog

from sekisho_agent.client import ControlClient
from sekisho_agent.errors import AgentError
from sekisho_agent.folders import read_tree
from sekisho_wire.messages import ObjectRef
from sekisho_wire.objects import ObjectError, ObjectsByDigest
from sekisho_wire.trees import MANIFEST_BYTES_MAX

log = structlog.get_logger(__name__)


class HandOvers:
    """One thread for each object that is being sent; an order for one under way changes nothing."""

    def __init__(self, client: ControlClient, store: ObjectsByDigest) -> None:
        """Both are the agent's own; `stop` of the client ends what is under way."""
        self._client = client
        self._store = store
        self._lock = threading.Lock()
        self._under_way: set[str] = set()

    def begin(self, wanted: ObjectRef) -> None:
        """Send it in a thread of its own."""
        with self._lock:
            if wanted.object in self._under_way:
                return
            self._under_way.add(wanted.object)
        threading.Thread(target=self._hand_over, args=(wanted,), name="hand-over", daemon=True).start()

    def _hand_over(self, wanted: ObjectRef) -> None:
        try:
            sent = self.send(wanted)
            log.info("export.sent", object=wanted.object, objects=sent)
        except (AgentError, ObjectError, OSError) as error:
            log.warning("export.not_sent", object=wanted.object, error=type(error).__name__)
        finally:
            with self._lock:
                self._under_way.discard(wanted.object)

    def send(self, wanted: ObjectRef) -> int:
        """Send the object, of a tree first the manifest, which opens its ticket for the files; answers how many."""
        if wanted.kind == "file":
            self._send(wanted.object, wanted.ticket, wanted.size_bytes)
            return 1
        manifest = self._store.get_bytes(wanted.object, size_bytes_max=MANIFEST_BYTES_MAX)
        self._send(wanted.object, wanted.ticket, len(manifest))
        sizes = {file.digest: file.size_bytes for file in read_tree(self._store, wanted.object)}
        for digest, size_bytes in sizes.items():
            self._send(digest, wanted.ticket, size_bytes)
        return 1 + len(sizes)

    def _send(self, digest: str, ticket: str, size_bytes: int) -> None:
        self._client.upload(digest, ticket, content=self._store.stream(digest), size_bytes=size_bytes)
