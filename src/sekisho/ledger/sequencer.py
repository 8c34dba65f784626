"""Order, tree and signature: what happens to records after their commit.

A batch is one transaction: lock the sequencer's row, give waiting records their places, extend the tiles, store
the tree. It is right at READ COMMITTED, because the lock comes first and everything read after it was committed
by whoever held the lock before; under SERIALIZABLE it is only tried again more often. Signing is a transaction of
its own, after that commit: a rolled-back batch was never signed, so no two signed trees of one size can differ.
"""

from __future__ import annotations

from collections.abc import Sequence

from sekisho.kernel.errors import SekishoError
from sekisho.kernel.tx import Tx
from sekisho.ledger import tables
from sekisho.ledger.errors import TREE_DAMAGED
from sekisho.ledger.keys import KeyFolder
from sekisho.ledger.model import Sequenced
from sekisho.ledger.tables import Entry
from sekisho_verify.checkpoint import Checkpoint, SignedNote, format_note, parse_key, sign_note
from sekisho_verify.merkle import EMPTY_ROOT, HASH_BYTES, TILE_HEIGHT, Frontier, leaf_hash
from sekisho_verify.tiles import TILE_WIDTH

BATCH_MAX = 256
"""Records placed in one transaction: commands that came meanwhile wait for it on SQLite, so it is kept short."""
LEASE_MS = 10_000


def sequence(tx: Tx, *, holder: str, now_ms: int, batch_max: int = BATCH_MAX) -> Sequenced:
    """Place one batch of waiting records. `ledger.tree_damaged`, and nothing placed, if the tree cannot go on."""
    if not tables.waiting(tx):
        return Sequenced(leads=True, taken=0, size=tables.tree(tx).size, more=False)
    tree = tables.hold_sequencer(tx, holder=holder, now_ms=now_ms, until_ms=now_ms + LEASE_MS)
    if tree is None:
        return Sequenced(leads=False, taken=0, size=tables.tree(tx).size, more=False)
    entries = tables.order_batch(tx, size=tree.size, limit=batch_max)
    if entries:
        edge = _edge(tree)
        extend(tx, edge, [leaf_hash(leaf_data(entry)) for entry in entries])
        tables.empty_outbox(tx, tree.size)
        tables.advance(tx, size=edge.size, root=edge.root(), edge=b"".join(edge.hashes()))
    size = tree.size + len(entries)
    return Sequenced(leads=True, taken=len(entries), size=size, more=len(entries) == batch_max)


def leaf_data(entry: Entry) -> bytes:
    """The bytes whose hash is the entry's leaf: what `sekisho_verify.record.encode_entry` writes, held so by a test.

    Written out because its checks of values that this package made cost as much as the hash.
    """
    record, stream, number = entry.digest.hex(), entry.stream, entry.stream_seq
    return f'{{"record_digest":"sha256:{record}","stream":"{stream}","stream_seq":{number},"v":1}}'.encode(
        "ascii"
    )


def sign(tx: Tx, *, keys: KeyFolder, now_ms: int) -> int:
    """Sign the committed tree unless that is done; answers its size. `ledger.tree_damaged` if it went backwards."""
    tree, vkey = tables.tree(tx), active_key(tx, keys)
    root = tree.root or EMPTY_ROOT
    latest = tables.latest_checkpoint(tx)
    if latest is not None and (
        latest["size"] > tree.size or (latest["size"] == tree.size and latest["root"] != root)
    ):
        raise SekishoError(TREE_DAMAGED, place="checkpoint")
    if latest is None or latest["size"] < tree.size or latest["vkey"] != vkey:
        text = Checkpoint(keys.origin, tree.size, root).text()
        line = sign_note(text, parse_key(vkey), lambda message: keys.sign(vkey, message))
        note = format_note(SignedNote(text, (line,)))
        tables.put_checkpoint(tx, size=tree.size, root=root, note=note, vkey=vkey, now_ms=now_ms)
    return tree.size


def active_key(tx: Tx, keys: KeyFolder) -> str:
    """The verifier key that signs now: the last rotation's, before any the folder's first."""
    changes = tables.key_changes(tx)
    return changes[-1]["vkey"] if changes else keys.first


def log_keys(tx: Tx, keys: KeyFolder) -> tuple[str, ...]:
    """Every key that has signed for this log, oldest first."""
    changes = tables.key_changes(tx)
    return (changes[0]["previous"] if changes else keys.first, *(change["vkey"] for change in changes))


def _edge(tree: tables.Tree) -> Frontier:
    hashes = [tree.edge[at : at + HASH_BYTES] for at in range(0, len(tree.edge), HASH_BYTES)]
    if len(hashes) != tree.size.bit_count() or len(tree.edge) % HASH_BYTES:
        raise SekishoError(TREE_DAMAGED, place="edge")
    return Frontier(tree.size, hashes)


def extend(tx: Tx, edge: Frontier, leaves: Sequence[bytes]) -> None:
    """Grow the edge and write every tile that changed."""
    start = edge.size
    nodes: dict[int, tuple[int, list[bytes]]] = {0: (start, list(leaves))}
    for level, index, node in edge.extend(leaves):
        nodes.setdefault(level, (index, []))[1].append(node)
    tiles: list[tuple[int, int, bytes]] = []
    for level, (first, hashes) in nodes.items():
        tiles += _tiles(tx, level, first, hashes)
    tables.put_tiles(tx, tiles)


def _tiles(tx: Tx, level: int, first: int, hashes: Sequence[bytes]) -> list[tuple[int, int, bytes]]:
    """The tiles of one level that new nodes from index `first` on fall into; the first one may have begun."""
    index, inside = first >> TILE_HEIGHT, first % TILE_WIDTH
    begun = tables.tile(tx, level, index) if inside else b""
    if len(begun) != inside * HASH_BYTES:
        raise SekishoError(TREE_DAMAGED, place=f"tile {level}/{index}")
    joined = begun + b"".join(hashes)
    step = TILE_WIDTH * HASH_BYTES
    return [
        (level, index + number, joined[at : at + step])
        for number, at in enumerate(range(0, len(joined), step))
    ]
