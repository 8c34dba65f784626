"""The ledger as the gate sees it: a record's body and its place in the queue, inside the command's transaction."""

from __future__ import annotations

import functools
import hashlib
import secrets
from collections.abc import Mapping

import msgspec

from sekisho.kernel.clock import parse_rfc3339
from sekisho.kernel.errors import InvalidInputError, SekishoError
from sekisho.kernel.evidence import Draft
from sekisho.kernel.tx import Tx
from sekisho.ledger import rules, tables
from sekisho.ledger.errors import STREAM_CLOSED, WRONG_DIGEST


class Ledger:
    """Writes records. Holds the stream key and nothing that a transaction could leave behind.

    One for the process, shared by all threads. Order, tree and signature come later, from the sequencer.
    """

    def __init__(self, stream_key: bytes) -> None:
        """`stream_key` makes stream names into pseudonyms; every control plane of one log has the same."""
        self._pseudonym = functools.lru_cache(maxsize=65_536)(functools.partial(rules.pseudonym, stream_key))

    def pseudonym(self, stream: str) -> str:
        """The 64 hexadecimal digits under which a stream stands in the log."""
        return self._pseudonym(stream)

    def append(self, tx: Tx, *drafts: Draft) -> None:
        """Store the records, in this order; one for a stream that has ended goes to its actor's own stream instead.

        InvalidInputError for what no record may hold; then the command must not take effect either.
        """
        if len(drafts) == 1:
            self._append_one(tx, drafts[0])
            return
        closed = tables.closed_streams_among(tx, sorted({self._pseudonym(draft.stream) for draft in drafts}))
        rows: list[dict[str, str | bytes]] = []
        for draft in drafts:
            stream = self._pseudonym(draft.stream)
            if closed.get(stream, draft.id) != draft.id:
                # Rare: what is gathered goes first, so that the order stays the caller's.
                tables.put_many(tx, rows)
                rows = []
                self._append_one(tx, draft)
                continue
            body = rules.encode_body(draft, stream=stream, salt=secrets.token_bytes(rules.SALT_BYTES))
            digest = hashlib.sha256(body).digest()
            rows.append({"id": draft.id, "stream": stream, "digest": digest, "body": body})
        tables.put_many(tx, rows)

    def _append_one(self, tx: Tx, draft: Draft) -> None:
        for name in (draft.stream, draft.actor):
            stream = self._pseudonym(name)
            body = rules.encode_body(draft, stream=stream, salt=secrets.token_bytes(rules.SALT_BYTES))
            digest = hashlib.sha256(body).digest()
            if tables.put_in_outbox(tx, record=draft.id, stream=stream, digest=digest):
                tables.put_body(tx, draft.id, body)
                return
        raise SekishoError(STREAM_CLOSED)

    def known(self, tx: Tx, record_id: str) -> bool:
        """Whether the record was committed, erased or not."""
        return tables.body(tx, record_id) is not None or tables.erased_claims(tx, record_id) is not None

    def keep_facts(self, tx: Tx, bodies: Mapping[str, bytes]) -> None:
        """Keep request slices by the digests that decisions name as `facts`; `ledger.wrong_digest` unless they fit."""
        for digest, body in bodies.items():
            _check(digest, body)
        tables.keep_many(tx, "facts", bodies)

    def keep_charter(self, tx: Tx, digest: str, body: bytes) -> None:
        """Keep a charter's canonical form, which bundles carry; `ledger.wrong_digest` as above."""
        _keep(tx, "charters", digest, body)

    def keep_file(self, tx: Tx, digest: str, body: bytes) -> None:
        """Keep an evidence file that a record names in `detail.files`; `ledger.wrong_digest` as above."""
        _keep(tx, "files", digest, body)


def read_file(tx: Tx, digest: str) -> bytes | None:
    """An evidence file that was kept, by its digest."""
    return tables.kept(tx, "files", digest)


def under_checkpoint(tx: Tx, record_id: str) -> bool:
    """Whether a signed checkpoint covers the record: what leaves the house because of it may leave now."""
    entry = tables.entry(tx, record_id)
    return entry is not None and entry.log_index < tables.covered_size(tx)


def newest_time_ms(tx: Tx) -> int | None:
    """The moment of the newest record; None before the first. A clock that is behind it has gone backwards."""
    body = tables.newest_body(tx)
    return parse_rfc3339(msgspec.json.decode(body)["time"]) if body else None


def _keep(tx: Tx, kind: str, digest: str, body: bytes) -> None:
    _check(digest, body)
    tables.keep(tx, kind, digest, body)


def _check(digest: str, body: bytes) -> None:
    if digest != rules.DIGEST_PREFIX + hashlib.sha256(body).hexdigest():
        raise InvalidInputError(WRONG_DIGEST, digest=digest[:80])
