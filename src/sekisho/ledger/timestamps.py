"""Trusted time, seen from the log: which authorities, which head to have stamped, and what of their answers is kept.

Nothing is kept that was not verified here against the certificates in the settings. What is stamped is the text of a
signed head, so that it also covers every line that stands under it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

import msgspec

from sekisho.kernel.config import INVALID
from sekisho.kernel.config import TimeAuthority as Setting
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.tx import Row, Tx
from sekisho.ledger import tables, tables_time, tables_witness, witnesses
from sekisho.ledger.errors import NOT_COVERED, STAMP_WRONG
from sekisho.ledger.model_time import Unstamped
from sekisho.ledger.notes import Notes
from sekisho.ledger.witnesses import Witness
from sekisho_verify.checkpoint import parse_note
from sekisho_verify.errors import VerifyError
from sekisho_verify.timestamp import Authority, der_of, read_response, stamped_digest, verify_stamp

CLOCK_S_MAX = 300
"""How far an authority's clock and ours may differ."""


class TimeAuthority(msgspec.Struct, frozen=True):
    """One authority in force."""

    name: str
    url: str
    authority: Authority


def read_authorities(settings: Iterable[Setting]) -> tuple[TimeAuthority, ...]:
    """The authorities of the settings; `config.invalid` where two are one, or a certificate is none."""
    found: list[TimeAuthority] = []
    for item in settings:
        if not item.certificates or item.name in {one.name for one in found}:
            raise _wrong(item.name, "no certificate, or the same authority twice")
        try:
            held = tuple(der_of(Path(file).read_bytes()) for file in item.certificates)
        except OSError as error:
            raise _wrong(item.name, error.strerror or "a certificate cannot be read") from error
        except VerifyError as error:
            raise _wrong(item.name, error.detail) from error
        found.append(TimeAuthority(item.name, item.url, Authority(item.name, held)))
    return tuple(found)


def offer(tx: Tx, authority: str, *, since_ms: int, cosigners: Sequence[Witness]) -> Unstamped:
    """The head to stamp: one that another stamped in this interval, else the best cosigned one, else the newest."""
    own, newest = tables_time.newest_stamp(tx, authority), tables.latest_checkpoint(tx)
    if newest is None or not newest["size"] or (own is not None and own["time_s"] * 1000 >= since_ms):
        return Unstamped(-1)
    beside = tables_time.stamped_since(tx, since_ms // 1000)
    after = own["size"] + 1 if own else 0
    if after > newest["size"]:
        return Unstamped(-1)
    head = tables_witness.head_at(tx, beside["size"]) if beside else None
    head = head or witnesses.best_head(tx, newest, cosigners, at_least=after)
    return Unstamped(head["size"], _digest(head))


def keep(tx: Tx, authority: TimeAuthority, *, size: int, nonce: int, answer: bytes, now_ms: int) -> bool:
    """Keep a token that holds; `ledger.stamp_wrong` for anything else, and nothing is kept."""
    head = tables_witness.head_at(tx, size)
    if head is None:
        raise SekishoError(NOT_COVERED, seconds=1)
    try:
        token = read_response(answer)
        stamp = verify_stamp(token, _digest(head), [authority.authority])
    except VerifyError as error:
        raise SekishoError(STAMP_WRONG, authority=authority.name, what=error.detail) from error
    if stamp.nonce != nonce:
        raise SekishoError(STAMP_WRONG, authority=authority.name, what="it answers another request")
    if abs(stamp.time_s - now_ms // 1000) > CLOCK_S_MAX:
        raise SekishoError(STAMP_WRONG, authority=authority.name, what="its clock and ours differ")
    tables_time.insert_stamp(tx, size=size, authority=authority.name, token=token, time_s=stamp.time_s)
    return True


def best_head(
    tx: Tx, newest: Row, cosigners: Sequence[Witness], authorities: Sequence[TimeAuthority], *, at_least: int
) -> Row:
    """As `witnesses.best_head`; where as many witnesses cosigned several heads, a stamped one comes first."""
    known = {one.name for one in authorities}
    stamped = {row["size"] for row in tables_time.stamps_from(tx, at_least) if row["authority"] in known}
    best = witnesses.best_head(tx, newest, cosigners, at_least=at_least)
    if not stamped or best["size"] in stamped:
        return best
    keys = {witness.key.vkey for witness in cosigners}
    counts = Counter(
        row["size"] for row in tables_witness.cosignatures_from(tx, at_least) if row["vkey"] in keys
    )
    first = max(stamped, key=lambda size: (counts[size], size))
    return (tables_witness.head_at(tx, first) or best) if counts[first] >= counts[best["size"]] else best


def tokens_of(tx: Tx, head: Row, authorities: Sequence[TimeAuthority]) -> list[bytes]:
    """Tokens under a head by the authorities in force."""
    stamps = tables_time.stamps_at(tx, head["size"]) if authorities else {}
    return [stamps[one.name] for one in authorities if one.name in stamps]


def check(tx: Tx, notes: Notes) -> None:
    """Each kept token is over the head of its size."""
    for row in tables_time.every_stamp(tx):
        place = f"size {row['size']}"
        head = tables_witness.head_at(tx, row["size"])
        if head is None:
            notes.find("timestamp.no_head", place)
            continue
        try:
            same = stamped_digest(bytes(row["token"])) == _digest(head)
        except VerifyError as error:
            notes.find("timestamp.token", place, str(error))
            continue
        if not same:
            notes.find("timestamp.token", place, "over another head")


def _digest(head: Row) -> bytes:
    return sha256(parse_note(bytes(head["note"])).text.encode()).digest()


def _wrong(name: str, what: str) -> SekishoError:
    return SekishoError(INVALID, name="ledger.timestamps", what=f"{name}: {what}")
