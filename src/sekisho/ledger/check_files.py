"""The published folder against the database."""

from __future__ import annotations

from pathlib import Path

from sekisho.kernel.errors import SekishoError
from sekisho.kernel.tx import Tx
from sekisho.ledger import files, sequencer, tables
from sekisho.ledger.keys import KeyFolder
from sekisho.ledger.notes import Notes
from sekisho.ledger.publish import CHECKPOINT
from sekisho_verify.checkpoint import parse_checkpoint, parse_key, parse_note, verify_log_lines
from sekisho_verify.errors import VerifyError


def run(tx: Tx, keys: KeyFolder, folder: Path, notes: Notes) -> None:
    """Every file that the published checkpoint needs, byte by byte."""
    head = folder / CHECKPOINT
    if not head.exists():
        return
    try:
        note = parse_note(head.read_bytes())
        verify_log_lines(note, map(parse_key, sequencer.log_keys(tx, keys)))
        size = parse_checkpoint(note.text).size
    except VerifyError as error:
        notes.find("published.checkpoint", CHECKPOINT, str(error))
        return
    if size > tables.tree(tx).size:
        notes.find("published.ahead", CHECKPOINT, f"{size} leaves")
        return
    for start in range(0, size, files.BATCH_LEAVES):
        _compare(tx, folder, (start, min(size, start + files.BATCH_LEAVES)), notes)


def _compare(tx: Tx, folder: Path, span: tuple[int, int], notes: Notes) -> None:
    try:
        for file in files.between(tx, *span):
            there = _published(folder, file.path, len(file.content))
            if there is None:
                notes.find("published.missing", file.path)
            elif there != file.content:
                notes.find("published.differs", file.path)
    except SekishoError:
        return  # the tree in the database is damaged, which the log's own check has found already


def _published(folder: Path, path: str, size_bytes: int) -> bytes | None:
    """What a reader gets: the file, or the beginning of the whole tile that replaced a partial one."""
    for name in (path, path.partition(".p/")[0]):
        file = folder / name
        if file.is_file():
            return file.read_bytes()[:size_bytes] if name != path else file.read_bytes()
    return None
