"""Witnesses, seen from the log: who they are, what to show them, and what of their answers is kept.

Nothing is kept that was not verified here against the key in the settings. Lines of a witness that is no longer in the
settings stay in the database and are handed out no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from sekisho.kernel.clock import rfc3339
from sekisho.kernel.config import INVALID
from sekisho.kernel.config import Witness as Setting
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.tx import Row, Tx
from sekisho.ledger import rules, tables, tables_witness
from sekisho.ledger.errors import (
    COSIGNATURE_WRONG,
    NOT_COVERED,
    WITNESS_AHEAD,
    WITNESS_DIFFERS,
    WITNESS_FORGOT,
    WITNESS_UNKNOWN,
    WITNESS_WRONG,
)
from sekisho.ledger.model import Offer
from sekisho_verify.checkpoint import (
    COSIGNATURE_V1,
    Signature,
    SignedNote,
    VerifierKey,
    format_note,
    parse_key,
    parse_note,
    verify_cosignature,
)
from sekisho_verify.errors import VerifyError
from sekisho_verify.tiles import TileTree
from sekisho_wire.complaints import without_braces
from sekisho_wire.problems import Problem, Text, lookup
from sekisho_wire.witnessing import parse_signatures

COSIGNED_KEPT = 100
"""Heads kept with their cosignatures, the newest; older ones only where no newer head has as many."""
AHEAD_S_MAX = 300
"""How far a witness's clock may be ahead of ours."""
LOUD = frozenset({WITNESS_AHEAD, WITNESS_DIFFERS, WITNESS_FORGOT, WITNESS_WRONG})
"""Findings that point at two histories, or at a witness that cannot be believed."""


class Witness(msgspec.Struct, frozen=True):
    """One witness in force."""

    name: str
    url: str
    key: VerifierKey


class WitnessState(msgspec.Struct, frozen=True):
    """What is known of a witness; `finding` is None where all is well."""

    name: str
    size: int
    cosigned_ms: int
    finding: Problem | None = None
    finding_size: int = 0

    @property
    def seen(self) -> str:
        """What it has done last, in words for a table."""
        return f"cosigned {self.size} entries at {rfc3339(self.cosigned_ms)}" if self.cosigned_ms else "-"


def read_witnesses(settings: Iterable[Setting]) -> tuple[Witness, ...]:
    """The witnesses of the settings; `config.invalid` where two are one, or a key is not a witness's."""
    found: list[Witness] = []
    for item in settings:
        try:
            key = parse_key(item.vkey)
        except VerifyError as error:
            raise SekishoError(
                INVALID, name="ledger.witnesses", what=f"{item.name}: {error.detail}"
            ) from error
        if key.kind != COSIGNATURE_V1:
            raise _wrong(item, Text("not a witness's key", "立会人の鍵ではありません"))
        for other in found:
            if item.name == other.name or key.name == other.key.name or key.public == other.key.public:
                raise _wrong(item, Text("the same witness twice", "同じ立会人が2回あります"))
        found.append(Witness(item.name, item.url.rstrip("/"), key))
    return tuple(found)


def _wrong(item: Setting, what: Text) -> SekishoError:
    name = without_braces(item.name)
    placed = Text(f"{name}: {what.en}", f"{name}：{what.ja}")
    return SekishoError(INVALID, name="ledger.witnesses", texts={"what": placed})


def cosigned_note(tx: Tx, head: Row, witnesses: Sequence[Witness]) -> bytes:
    """A head's signed note with the lines of those witnesses in force that have cosigned it."""
    lines = tables_witness.lines_at(tx, head["size"]) if witnesses else {}
    own = [lines[witness.key.vkey] for witness in witnesses if witness.key.vkey in lines]
    return bytes(head["note"]) + "".join(own).encode()


def best_head(tx: Tx, newest: Row, witnesses: Sequence[Witness], *, at_least: int) -> Row:
    """The head of at least a size that most witnesses have cosigned, of those the greatest; else the newest."""
    known = {witness.key.vkey for witness in witnesses}
    rows = tables_witness.cosignatures_from(tx, at_least) if known else []
    counts = Counter(row["size"] for row in rows if row["vkey"] in known)
    if not counts:
        return newest
    best = max(counts, key=lambda size: (counts[size], size))
    return tables_witness.head_at(tx, best) or newest


def offer(tx: Tx, tree: TileTree, vkey: str, *, before_ms: int, seen: int) -> Offer:
    """What to show a witness; nothing where it has cosigned that already, or something newer."""
    head, known = tables_witness.head_before(tx, before_ms), tables_witness.witness(tx, vkey)
    signed, cosigned = tables.covered_size(tx), known["size"] if known else 0
    start = seen if seen >= 0 else cosigned
    idle = Offer(-1, start, cosigned, signed)
    if head is None or not head["size"] or head["size"] < start:
        return idle
    if vkey in tables_witness.lines_at(tx, head["size"]):
        return idle
    proof = tree.consistency_path(start, head["size"])
    return Offer(head["size"], start, cosigned, signed, bytes(head["note"]), proof)


def keep(tx: Tx, witness: Witness, *, size: int, answer: bytes, now_ms: int) -> bool:
    """Keep a cosignature that verifies; `ledger.cosignature_wrong` for anything else, and nothing is kept."""
    head = tables_witness.head_at(tx, size)
    if head is None:
        raise SekishoError(NOT_COVERED, seconds=1)
    text = parse_note(bytes(head["note"])).text
    line, time_s = _verified(witness.key, text, answer)
    if time_s > now_ms // 1000 + AHEAD_S_MAX:
        raise SekishoError(COSIGNATURE_WRONG)
    written = format_note(SignedNote(text, (line,))).decode().removeprefix(f"{text}\n")
    first = tables_witness.insert_cosignature(
        tx, size=size, vkey=witness.key.vkey, line=written, time_s=time_s
    )
    known = tables_witness.witness(tx, witness.key.vkey)
    if known is None or size >= known["size"] or known["finding"]:
        tables_witness.put_cosigned(tx, witness.key.vkey, size=size, now_ms=now_ms)
    rows = tables_witness.cosignatures_from(tx, 0)
    for stale in rules.stale_heads(Counter(row["size"] for row in rows), kept=COSIGNED_KEPT):
        tables_witness.drop_cosignatures(tx, stale)
    return first


def note_finding(tx: Tx, vkey: str, *, finding: str, size: int, now_ms: int) -> bool:
    """Keep a finding, unless a louder one stands; answers whether it is news."""
    known = tables_witness.witness(tx, vkey)
    stands = known["finding"] if known else ""
    if lookup(stands) in LOUD and lookup(finding) not in LOUD:
        return False
    tables_witness.put_finding(tx, vkey, finding=finding, size=size, now_ms=now_ms)
    return stands != finding


def witness_states(tx: Tx, witnesses: Iterable[Witness]) -> list[WitnessState]:
    """What is known of each witness in force; for `sekishod doctor`."""
    found: list[WitnessState] = []
    for witness in witnesses:
        row = tables_witness.witness(tx, witness.key.vkey)
        if row is None:
            found.append(WitnessState(witness.name, 0, 0))
        else:
            finding = lookup(row["finding"]) if row["finding"] else None
            found.append(
                WitnessState(witness.name, row["size"], row["cosigned_ms"], finding, row["finding_size"])
            )
    return found


def by_vkey(witnesses: Iterable[Witness], vkey: str) -> Witness:
    """The witness in force with this key; `ledger.witness_unknown`."""
    for witness in witnesses:
        if witness.key.vkey == vkey:
            return witness
    raise SekishoError(WITNESS_UNKNOWN)


def _verified(key: VerifierKey, text: str, answer: bytes) -> tuple[Signature, int]:
    """The first line by this key; lines by other keys are ignored, as C2SP says."""
    try:
        for line in parse_signatures(text, answer):
            if (line.name, line.key_id) == (key.name, key.key_id):
                return line, verify_cosignature(text, key, line.data)
    except VerifyError as error:
        raise SekishoError(COSIGNATURE_WRONG) from error
    raise SekishoError(COSIGNATURE_WRONG)
