"""A stream's bundle and the trust file that it is checked against."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import Entity
from sekisho.kernel.tx import Row, Tx
from sekisho.ledger import sequencer, tables, timestamps, witnesses
from sekisho.ledger.errors import NOT_COVERED, NOTHING_LOGGED, RECORD_ERASED
from sekisho.ledger.keys import KeyFolder
from sekisho.ledger.tables import Entry
from sekisho.ledger.timestamps import TimeAuthority
from sekisho.ledger.witnesses import Witness
from sekisho_verify.bundle import Consistency, Proof, assemble, write_bundle
from sekisho_verify.canonical import encode, to_base64url
from sekisho_verify.tiles import TileTree


class Subjects(Protocol):
    """Whoever owns the things that bundles are about. `app.py` plugs it in."""

    def subject(self, tx: Tx, kind: str, name: str, asker: Entity) -> Entity:
        """The thing with the attributes that the charter judges, by id or by a name that the asker may use.

        NotFoundError when there is none.
        """
        ...


def build(
    tx: Tx,
    tree: TileTree,
    *,
    stream: str,
    subject: str,
    cosigners: Sequence[Witness] = (),
    authorities: Sequence[TimeAuthority] = (),
    seen_size: int = 0,
) -> bytes:
    """The canonical zip of one stream under a checkpoint, and of nothing that its records do not name.

    The checkpoint is the newest, or an earlier one that holds all of the stream too and that more witnesses cosigned,
    or as many and an authority stamped.
    `stream` is the pseudonym, `subject` only names it in errors. With `seen_size` a consistency proof from that
    size is added. Raises `ledger.nothing_logged`, and `ledger.record_erased` where a body is gone.
    """
    newest = covering(tx)
    entries = tables.entries_of(tx, stream, below=newest["size"])
    if not entries:
        raise SekishoError(NOTHING_LOGGED, id=subject)
    needed = max(entries[-1].log_index + 1, seen_size if seen_size <= newest["size"] else 0)
    head = timestamps.best_head(tx, newest, cosigners, authorities, at_least=needed)
    bodies = [_body(tx, entry) for entry in entries]
    named = [msgspec.json.decode(body) for body in bodies]
    members = assemble(
        checkpoint=witnesses.cosigned_note(tx, head, cosigners),
        records=bodies,
        proofs=[
            Proof(entry.log_index, entry.stream_seq, tree.inclusion_path(entry.log_index, head["size"]))
            for entry in entries
        ],
        charters=_kept(tx, "charters", (record["charter"] for record in named)),
        facts=_kept(tx, "facts", (record["facts"] for record in named)),
        files=_kept(tx, "files", (name for record in named for name in _files(record["detail"]))),
        consistency=_consistency(tree, seen_size, head["size"]),
        timestamps=timestamps.tokens_of(tx, head, authorities),
    )
    return write_bundle(members)


def trust_file(
    tx: Tx,
    keys: KeyFolder,
    cosigners: Iterable[Witness] = (),
    authorities: Iterable[TimeAuthority] = (),
) -> bytes:
    """The trust file of this log as canonical JSON: every key that has signed for it, its witnesses and authorities.

    How many of them must have cosigned is the auditor's to say, so the quorum is 0.
    """
    body: dict[str, object] = {
        "v": 1,
        "origin": keys.origin,
        "keys": list(sequencer.log_keys(tx, keys)),
        "witnesses": [witness.key.vkey for witness in cosigners],
        "quorum": 0,
    }
    stamping = [
        {"name": one.name, "certificates": list(map(to_base64url, one.authority.certificates))}
        for one in authorities
    ]
    # Left out where there is none, so that verifiers of before can read it.
    return encode({**body, "authorities": stamping} if stamping else body)


def covering(tx: Tx) -> Row:
    """The newest checkpoint's row; `ledger.not_covered` before the first."""
    head = tables.latest_checkpoint(tx)
    if head is None:
        raise SekishoError(NOT_COVERED, seconds=1)
    return head


def _body(tx: Tx, entry: Entry) -> bytes:
    body = tables.body(tx, entry.id)
    if body is None:
        raise SekishoError(RECORD_ERASED, id=entry.id)
    return body


def _kept(tx: Tx, kind: str, digests: Iterable[str]) -> list[bytes]:
    """Each named content once. One that was never kept is left out, and the verifier says what is missing."""
    found = (tables.kept(tx, kind, digest) for digest in sorted(set(digests)))
    return [content for content in found if content is not None]


def _files(detail: Mapping[str, Any]) -> list[str]:
    files = detail.get("files", {})
    return [name for name in files.values() if isinstance(name, str)] if isinstance(files, dict) else []


def _consistency(tree: TileTree, seen_size: int, size: int) -> Consistency | None:
    if not 0 < seen_size <= size:
        return None
    return Consistency(seen_size, tree.consistency_path(seen_size, size))
