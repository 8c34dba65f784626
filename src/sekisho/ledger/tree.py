"""Roots and proofs from the tiles in the database, behind one cache.

The cache belongs to `Tree` and is filled only from read-only snapshots: what a write transaction sees may be
rolled back, and a cached hash of it would spoil every later proof. `TileTree` holds its own lock while it trims;
the transaction in use is per thread.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from sekisho.kernel.errors import SekishoError
from sekisho.kernel.tx import Tx
from sekisho.ledger import tables
from sekisho.ledger.errors import TREE_DAMAGED
from sekisho_verify.errors import MerkleError
from sekisho_verify.tiles import Tile, TileTree


class Tree:
    """The log's tree for readers; one for the process."""

    def __init__(self) -> None:
        """Start with an empty cache."""
        self._transaction = threading.local()
        self._tiles = TileTree(self._read)

    @contextlib.contextmanager
    def at(self, tx: Tx) -> Iterator[TileTree]:
        """Proofs inside a read-only transaction; `ledger.tree_damaged` where a tile is missing or too short."""
        before = getattr(self._transaction, "tx", None)
        self._transaction.tx = tx
        try:
            yield self._tiles
        except MerkleError as error:
            raise SekishoError(TREE_DAMAGED, place=error.detail) from error
        finally:
            self._transaction.tx = before

    def _read(self, tile: Tile) -> bytes:
        return tables.tile(self._transaction.tx, tile.level, tile.index)
