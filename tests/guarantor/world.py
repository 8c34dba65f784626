"""A witness with its folder, and logs that show it checkpoints; the same keys and trees on every run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sekisho_guarantor.answers import Answer
from sekisho_guarantor.state import WitnessState, read_key
from sekisho_guarantor.witness import Witness
from sekisho_verify.checkpoint import (
    Checkpoint,
    Cosignature,
    SignedNote,
    VerifierKey,
    format_note,
    parse_note,
    sign_note,
    verify_note,
)
from sekisho_verify.merkle import EMPTY_ROOT, leaf_hash
from sekisho_verify.tiles import TileTree
from sekisho_wire.witnessing import encode_request, parse_size
from tests.verify.builders import ORIGIN, Signer, tile_tree

NAME = "witness.example/test"
NOW_S = 1_795_000_000
LOG = Signer.make(ORIGIN)


class GrowingLog:
    """A log of numbered leaves; `twist` makes the leaves from `fork` on those of another history."""

    def __init__(self, size: int = 0, *, fork: int | None = None, twist: str = "") -> None:
        self._fork = size if fork is None else fork
        self._twist = twist
        self.size = size

    def tree(self, size: int) -> TileTree:
        """The tree over the first leaves."""
        return tile_tree(
            [leaf_hash(b"%d%s" % (n, self._twist.encode() if n >= self._fork else b"")) for n in range(size)]
        )

    def root(self, size: int) -> bytes:
        """Root of the first leaves."""
        return self.tree(size).root(size) if size else EMPTY_ROOT

    def text(self, size: int) -> str:
        """What the log signs at a size."""
        return Checkpoint(ORIGIN, size, self.root(size)).text()

    def note(self, size: int, *, signer: Signer = LOG) -> bytes:
        """The signed checkpoint of a size."""
        text = self.text(size)
        return format_note(SignedNote(text, (sign_note(text, signer.key, signer.sign),)))

    def proof(self, first: int, second: int) -> list[bytes]:
        """Consistency from one size to another."""
        return self.tree(second).consistency_path(first, second) if 0 < first < second else []

    def request(self, old: int, size: int, *, signer: Signer = LOG) -> bytes:
        """An honest `add-checkpoint`."""
        return encode_request(old, self.proof(old, size), self.note(size, signer=signer))


class House:
    """One witness. `reopen` is a restart; the clock stands still."""

    def __init__(
        self, folder: Path, *, name: str = NAME, logs: Mapping[str, tuple[VerifierKey, ...]] | None = None
    ) -> None:
        self.folder = folder
        self._name = name
        self.logs = dict(logs or {ORIGIN: (LOG.key,)})
        self.now_s = NOW_S
        if not folder.exists():
            WitnessState.create(folder)
        self.open()

    def open(self) -> None:
        """Take the folder."""
        self.state = WitnessState.open(self.folder)
        key = read_key(self.folder)
        self.witness = Witness(key, self._name, logs=self.logs, state=self.state, now_s=lambda: self.now_s)

    def reopen(self) -> None:
        """As after a restart: only what is on disk is known."""
        self.state.close()
        self.open()

    @property
    def key(self) -> VerifierKey:
        """The witness's public key."""
        return self.witness.key

    def ask(self, body: bytes) -> Answer:
        """One request, in process."""
        return self.witness.add_checkpoint(body)

    def size(self) -> int:
        """How far the witness says it has come: what a log asks with an old size that cannot be right."""
        return self.state.seen(ORIGIN)[0]


@contextmanager
def witnessing(folder: Path) -> Iterator[House]:
    """A witness for the length of the block."""
    house = House(folder)
    try:
        yield house
    finally:
        house.state.close()


def cosignature(house: House, note: bytes, answer: Answer) -> Cosignature:
    """The verified cosignature in an answer, as an auditor's verifier accepts it."""
    assert answer.status == 200, answer
    (found,) = verify_note(parse_note(note + answer.body), log_keys=[LOG.key], witness_keys=[house.key])
    return found


def conflict(answer: Answer) -> int:
    """The size in a 409."""
    assert (answer.status, answer.media) == (409, "text/x.tlog.size"), answer
    return parse_size(answer.body)
