"""The tree built again, leaf by leaf, next to the stored tiles and the signed heads."""

from __future__ import annotations

from sekisho.kernel.tx import Row, Tx
from sekisho.ledger import sequencer, tables, tables_check
from sekisho.ledger.keys import KeyFolder
from sekisho.ledger.notes import Notes
from sekisho_verify.checkpoint import Checkpoint, parse_checkpoint, parse_key, parse_note, verify_note
from sekisho_verify.errors import VerifyError
from sekisho_verify.merkle import EMPTY_ROOT, Frontier
from sekisho_verify.tiles import TILE_WIDTH


class TreeCheck:
    """Fed with every leaf in order, then finished. Holds one tile per level and one page of signed heads."""

    def __init__(self, tx: Tx, keys: KeyFolder, notes: Notes) -> None:
        """Start at the empty tree."""
        self._tx, self._notes = tx, notes
        self._keys = [parse_key(vkey) for vkey in sequencer.log_keys(tx, keys)]
        self._origin = keys.origin
        self._edge = Frontier()
        self._open: dict[int, list[bytes]] = {}
        self._done: dict[int, int] = {}
        self._heads = tables_check.checkpoints(tx)
        self._check_heads()

    def leaf(self, node: bytes) -> None:
        """Append one leaf hash."""
        self._append(0, node)
        for level, _, above in self._edge.extend([node]):
            self._append(level, above)
        self._check_heads()

    def finish(self) -> None:
        """Compare the tiles that are begun, and the state that the sequencer continues from."""
        for level, nodes in self._open.items():
            if nodes:
                self._compare(level, nodes)
        for head in self._heads:
            self._notes.find("checkpoint.ahead", f"size {head['size']}", f"the log has {self._edge.size}")
        tree, stored = tables.tree(self._tx), tables_check.count_tiles(self._tx)
        if (tree.size, tree.root or EMPTY_ROOT) != (self._edge.size, self._edge.root()):
            self._notes.find(
                "tree.root", f"size {tree.size}", f"the entries make a tree of {self._edge.size}"
            )
        if tree.edge != b"".join(self._edge.hashes()):
            self._notes.find("tree.edge", f"size {tree.size}")
        if stored != self._notes.counted("tiles"):
            self._notes.find(
                "tile.extra", f"{stored} tiles", f"the entries make {self._notes.counted('tiles')}"
            )

    def _append(self, level: int, node: bytes) -> None:
        nodes = self._open.setdefault(level, [])
        nodes.append(node)
        if len(nodes) == TILE_WIDTH:
            self._compare(level, nodes)
            nodes.clear()

    def _compare(self, level: int, nodes: list[bytes]) -> None:
        index = self._done.get(level, 0)
        self._done[level] = index + 1
        self._notes.count("tiles")
        if tables.tile(self._tx, level, index) != b"".join(nodes):
            self._notes.find("tile.hashes", f"tile {level}/{index}")

    def _check_heads(self) -> None:
        """Signed heads of the present size: there is one at most."""
        while self._heads and self._heads[0]["size"] <= self._edge.size:
            self._check_head(self._heads.pop(0))

    def _check_head(self, head: Row) -> None:
        self._notes.count("checkpoints")
        place = f"size {head['size']}"
        signed = Checkpoint(self._origin, self._edge.size, self._edge.root())
        try:
            note = parse_note(bytes(head["note"]))
            verify_note(note, log_keys=self._keys)
            if parse_checkpoint(note.text) != signed or head["root"] != signed.root:
                self._notes.find("checkpoint.root", place)
        except VerifyError as error:
            self._notes.find("checkpoint.signature", place, str(error))
