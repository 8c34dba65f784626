"""The published log as values: which static files (C2SP tlog-tiles) a reader of the database must write next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sekisho.kernel.errors import SekishoError
from sekisho.kernel.tx import Tx
from sekisho.ledger import tables, witnesses
from sekisho.ledger.errors import NOT_COVERED, PUBLISHED_AHEAD, TREE_DAMAGED
from sekisho.ledger.model import TileBatch, TileFile
from sekisho.ledger.sequencer import leaf_data
from sekisho.ledger.witnesses import Witness
from sekisho_verify.merkle import HASH_BYTES
from sekisho_verify.tiles import TILE_WIDTH, Tile, encode_entries, tiles_between

BATCH_LEAVES = 64 * TILE_WIDTH


def batch(tx: Tx, size: int, cosigners: Sequence[Witness] = ()) -> TileBatch:
    """Files from a published `size` towards the newest checkpoint; the checkpoint itself with the last batch.

    It carries the lines of the witnesses that have cosigned it by now.

    `ledger.published_ahead` when more was published than the database has signed, `ledger.not_covered` before the
    first checkpoint.
    """
    head = tables.latest_checkpoint(tx)
    if head is None:
        raise SekishoError(NOT_COVERED, seconds=1)
    goal = head["size"]
    if size > goal:
        raise SekishoError(PUBLISHED_AHEAD, published=size, size=goal)
    end = min(goal, (size // TILE_WIDTH) * TILE_WIDTH + BATCH_LEAVES)
    last = end == goal
    checkpoint = witnesses.cosigned_note(tx, head, cosigners) if last else b""
    return TileBatch(size=end, files=list(between(tx, size, end)), checkpoint=checkpoint)


def between(tx: Tx, start: int, end: int) -> Iterator[TileFile]:
    """Every tile and entry bundle that a log of `end` leaves has and one of `start` leaves did not."""
    for tile in tiles_between(start, end):
        hashes = tables.tile(tx, tile.level, tile.index)[: tile.width * HASH_BYTES]
        if len(hashes) != tile.width * HASH_BYTES:
            raise SekishoError(TREE_DAMAGED, place=tile.path())
        yield TileFile(tile.path(), hashes)
        if tile.level == 0:
            yield TileFile(tile.entries_path(), _entries(tx, tile))


def _entries(tx: Tx, tile: Tile) -> bytes:
    first = tile.index * TILE_WIDTH
    entries = tables.entries_from(tx, first, tile.width)
    if [entry.log_index for entry in entries] != list(range(first, first + tile.width)):
        raise SekishoError(TREE_DAMAGED, place=tile.entries_path())
    return encode_entries(map(leaf_data, entries))
