"""The custodian: releases keys by order of a control plane whose log it believes, and journals each release.

It implements `sekisho_wire.custody.KeyCustodian` over any `KeyStore`. A key leaves only for an order that is signed,
recorded under a checkpoint of the trusted log, in time, and new; which of these fails is said by a stable code. The
key's owner alone needs no order: by its token it has one object's data key after the other, each in the journal. What
is answered is in the journal first, so an order answered once is refused after any crash. `stop` takes effect at once:
a release that has not been journaled when it returns never is, though the store may be busy with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho_guarantor.errors import GuarantorError
from sekisho_guarantor.journal import Entry, Event, Journal
from sekisho_guarantor.keystore import KeyStore
from sekisho_verify.canonical import digest, to_base64url
from sekisho_verify.checkpoint import Checkpoint
from sekisho_wire.custody import (
    Ask,
    Destruction,
    Facts,
    Opening,
    Order,
    Release,
    Version,
    seal_keys,
    seal_opening,
)
from sekisho_wire.custody_checks import Asked, Trusted, check_ask
from sekisho_wire.custody_problems import (
    CLOCK,
    HISTORY_DIFFERS,
    KEY_EXISTS,
    KEY_STOPPED,
    KEY_UNKNOWN,
    NOT_OPENED,
    ORDER_EXPIRED,
    ORDER_USED,
    VERSION_OLD,
    VERSION_UNKNOWN,
)
from sekisho_wire.envelope import (
    AES_KW,
    TREE,
    EnvelopeKey,
    Header,
    Wrapped,
    envelope_key,
    new_data_key,
    new_header,
)

CLOCK_MS_MAX = 60_000
"""How far the clock may fall behind the journal's last entry, and how long past its time an order is remembered."""
REMEMBERED = 10_000
"""Used orders that are remembered, at least, before those long past their time are let go; and sizes of the log."""

logger = structlog.get_logger("sekisho.custodian")


class _Key:
    """A key as the journal tells it: versions by number, those being destroyed, whether it is stopped."""

    def __init__(self) -> None:
        self.versions: dict[int, Version] = {}
        self.leaving: set[int] = set()
        self.stopped = False

    def usable(self) -> set[int]:
        """Versions that wrap and unwrap."""
        return {number for number, each in self.versions.items() if not each.destroyed_ms} - self.leaving


class Custodian:
    """Answers from any number of threads. `_lock` guards what is remembered, `_managing` changes to the store.

    The store is asked outside `_lock`, so that one that hangs holds up no `stop`.
    """

    def __init__(
        self,
        trusted: Trusted,
        key: Ed25519PrivateKey,
        *,
        country: str,
        store: KeyStore,
        journal: Journal,
        now_ms: Callable[[], int],
    ) -> None:
        """Replays the journal, and ends destructions that a crash interrupted."""
        self.name = trusted.name
        self.public = key.public_key().public_bytes_raw()
        self.store = store
        self._trusted = trusted
        self._sign = key.sign
        self._country = country
        self._journal = journal
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._managing = threading.Lock()
        self._keys: dict[str, _Key] = {}
        self._used: dict[str, int] = {}
        self._remembered_max = REMEMBERED
        self._underway: set[str] = set()
        self._seen: dict[int, str] = {}
        for entry in journal.replay():
            self._apply(entry)
        for name, each in self._keys.items():
            for version in sorted(each.leaving):
                self.destroy(name, version)

    # ------------------------------------------------------------------------------------------- for control planes
    def release(self, ask: Ask) -> bytes:
        """The sealed release of an order; CustodyError or GuarantorError, by a `custody.*` code, otherwise."""
        asked = check_ask(ask, self._trusted, self._now_ms())
        order = asked.order
        with self._lock:
            self._check_new(order, asked.checkpoint)
            self._underway.add(order.id)
        try:
            keys, made = self._unwrapped(asked)
            box = seal_keys(order, keys + [key for _, key in made])
            with self._lock:
                self._check_usable(order)
                entry = self._journaled(order, asked.checkpoint)
        finally:
            with self._lock:
                self._underway.discard(order.id)
        logger.info("released", order=order.id, key=order.key, attempt=order.attempt, number=entry.number)
        return Release(
            custodian=self.name,
            order=order.digest(),
            id=order.id,
            key=order.key,
            key_version=order.key_version,
            attempt=order.attempt,
            token=order.token,
            agent=order.agent,
            recipient=order.recipient,
            box=box,
            made=[to_base64url(header.data) for header, _ in made],
            number=entry.number,
            time_ms=entry.time_ms,
        ).sealed(self._sign)

    def facts(self, key: str) -> Facts:
        """What is known of a key."""
        with self._lock:
            found = self._found(key)
            return Facts(
                custodian=self.name,
                owner=self._trusted.owner,
                key=key,
                country=self._country,
                custody=self.store.custody,
                exportable=self.store.exportable,
                store=self.store.description,
                attestation="",
                quorum=self._trusted.log.quorum,
                stopped=found.stopped,
                versions=[found.versions[number] for number in sorted(found.versions)],
                time_ms=self._now_ms(),
            )

    def sealed_facts(self, key: str) -> bytes:
        """The same, signed."""
        return self.facts(key).sealed(self._sign)

    # --------------------------------------------------------------------------------------------- for the key's owner
    def wrap(self, key: str, data_key: bytes, *, by: str = "") -> Wrapped:
        """A data key under the newest version; `custody.version_unknown` where every one was destroyed."""
        with self._lock:
            version = max(self._found(key).usable(), default=0)
        if not version:
            raise GuarantorError(VERSION_UNKNOWN, key=key, version=0)
        wrapped = self.store.wrap(_name(key, version), data_key)
        self._append("wrapped", key=key, version=version, by=by)
        return Wrapped(key, version, AES_KW, wrapped)

    def open(self, header: Header, recipient: str, *, by: str) -> bytes:
        """As `KeyCustodian`, refused by the codes of a release; `stop` holds here as it does there."""
        wrapped = header.wrapped
        key, version = wrapped.key, wrapped.key_version
        with self._lock:
            self._check_clock()
            self._check_opens(key, version)
        box = seal_opening(header, self._envelope_key(header), recipient)
        with self._lock:
            self._check_opens(key, version)
            entry = self._journal.append(
                "opened",
                max(self._now_ms(), self._journal.time_ms),
                key=key,
                version=version,
                by=by,
                envelope=header.digest(),
                wrapped=digest(wrapped.data),
            )
        logger.info("opened", key=key, version=version, by=by, number=entry.number)
        return Opening(
            custodian=self.name,
            key=key,
            key_version=version,
            envelope=header.digest(),
            recipient=recipient,
            box=box,
            by=by,
            number=entry.number,
            time_ms=entry.time_ms,
        ).sealed(self._sign)

    def create(self, key: str, *, by: str = "") -> Facts:
        """As `KeyCustodian`; a store that has such a key already, unknown to the journal, keeps it and this fails."""
        with self._managing:
            if key in self._keys:
                raise GuarantorError(KEY_EXISTS, key=key)
            self.store.make(_name(key, 1))
            self._append("created", key=key, version=1, by=by)
        return self.facts(key)

    def rotate(self, key: str, *, by: str = "") -> Facts:
        """As `KeyCustodian`. A version left in the store by a crash was never used; its number is passed over."""
        with self._managing:
            with self._lock:
                version = max(self._found(key).versions) + 1
            while self.store.holds(_name(key, version)):
                version += 1
            self.store.make(_name(key, version))
            self._append("rotated", key=key, version=version, by=by)
        return self.facts(key)

    def destroy(self, key: str, version: int = 0, *, by: str = "") -> bytes:
        """As `KeyCustodian`. Begun in the journal, done in the store, ended in the journal: after a crash, taken up."""
        with self._managing:
            with self._lock:
                found = self._found(key)
                there = found.usable() | found.leaving
            versions = sorted(there if not version else there & {version})
            if not versions:
                raise GuarantorError(VERSION_UNKNOWN, key=key, version=version)
            for each in versions:
                self._append("destroying", key=key, version=each, by=by)
            for each in versions:
                self.store.destroy(_name(key, each))
            entries = [self._append("destroyed", key=key, version=each, by=by) for each in versions]
        return Destruction(
            custodian=self.name,
            key=key,
            versions=versions,
            custody=self.store.custody,
            exportable=self.store.exportable,
            number=entries[-1].number,
            time_ms=entries[-1].time_ms,
        ).sealed(self._sign)

    def stop(self, key: str, *, by: str = "") -> Facts:
        """As `KeyCustodian`."""
        self._append("stopped", key=key, by=by)
        return self.facts(key)

    def resume(self, key: str, *, by: str = "") -> Facts:
        """As `KeyCustodian`."""
        self._append("resumed", key=key, by=by)
        return self.facts(key)

    def keys(self) -> list[str]:
        """The keys there ever were, sorted."""
        with self._lock:
            return sorted(self._keys)

    # ------------------------------------------------------------------------------------------------------- inside
    def _check_new(self, order: Order, checkpoint: Checkpoint) -> None:
        """Under the lock: what the order's own bytes cannot say."""
        self._check_clock()
        if order.id in self._used or order.id in self._underway:
            raise GuarantorError(ORDER_USED)
        root = to_base64url(checkpoint.root)
        if self._seen.get(checkpoint.size, root) != root:
            logger.error("two_histories", size=checkpoint.size)
            raise GuarantorError(HISTORY_DIFFERS, size=checkpoint.size)
        self._check_usable(order)

    def _check_clock(self) -> None:
        if self._now_ms() < self._journal.time_ms - CLOCK_MS_MAX:
            raise GuarantorError(CLOCK)

    def _check_opens(self, key: str, version: int) -> set[int]:
        """Under the lock: whether this version may unwrap now; answers the versions that may."""
        found = self._found(key)
        if found.stopped:
            raise GuarantorError(KEY_STOPPED, key=key)
        usable = found.usable()
        if version not in usable:
            raise GuarantorError(VERSION_UNKNOWN, key=key, version=version)
        return usable

    def _check_usable(self, order: Order) -> None:
        """Under the lock, before the store is asked and again after it has answered."""
        if self._now_ms() > order.not_after_ms:
            raise GuarantorError(ORDER_EXPIRED)
        usable = self._check_opens(order.key, order.key_version)
        if order.make and order.key_version != max(usable):
            raise GuarantorError(VERSION_OLD, key=order.key, newest=max(usable))

    def _unwrapped(self, asked: Asked) -> tuple[list[EnvelopeKey], list[tuple[Header, EnvelopeKey]]]:
        """Every key of the order, and the new ones with the headers they are for."""
        order = asked.order
        keys = [self._envelope_key(header) for header in asked.headers]
        return keys, [self._made(order.key, order.key_version) for _ in range(order.make)]

    def _made(self, key: str, version: int) -> tuple[Header, EnvelopeKey]:
        """A new envelope's header and key."""
        data_key = new_data_key()
        wrapped = self.store.wrap(_name(key, version), data_key)
        header = new_header(TREE, Wrapped(key, version, AES_KW, wrapped))
        return header, envelope_key(header, data_key)

    def _envelope_key(self, header: Header) -> EnvelopeKey:
        """What a header gets; the data key itself goes no further, because it opens whatever lies under it."""
        wrapped = header.wrapped
        name = _name(wrapped.key, wrapped.key_version)
        if wrapped.algorithm != AES_KW:
            raise GuarantorError(NOT_OPENED, key=name)
        return envelope_key(header, self.store.unwrap(name, wrapped.data))

    def _journaled(self, order: Order, checkpoint: Checkpoint) -> Entry:
        entry = self._journal.append(
            "released",
            max(self._now_ms(), self._journal.time_ms),
            key=order.key,
            version=order.key_version,
            order=order.digest(),
            id=order.id,
            job=order.job,
            attempt=order.attempt,
            site=order.site,
            agent=order.agent,
            not_after_ms=order.not_after_ms,
            opened=len(order.headers),
            made=order.make,
            size=checkpoint.size,
            root=to_base64url(checkpoint.root),
        )
        self._apply(entry)
        return entry

    def _append(self, event: Event, *, key: str, version: int = 0, by: str) -> Entry:
        with self._lock:
            if event != "created":
                self._found(key)
            time_ms = max(self._now_ms(), self._journal.time_ms)
            fields: dict[str, Any] = {"key": key, "version": version, "by": by}
            entry = self._journal.append(event, time_ms, **fields)
            self._apply(entry)
        logger.info(event, key=key, version=version, by=by, number=entry.number)
        return entry

    def _apply(self, entry: Entry) -> None:
        """What an entry means, when it is written and when it is read again."""
        match entry.event:
            case "created" | "rotated":
                key = self._keys.setdefault(entry.key, _Key())
                key.versions[entry.version] = Version(entry.version, entry.time_ms)
            case "destroying":
                self._keys[entry.key].leaving.add(entry.version)
            case "destroyed":
                key = self._keys[entry.key]
                key.leaving.discard(entry.version)
                gone = msgspec.structs.replace(key.versions[entry.version], destroyed_ms=entry.time_ms)
                key.versions[entry.version] = gone
            case "stopped" | "resumed":
                self._keys[entry.key].stopped = entry.event == "stopped"
            case "released":
                self._remember(entry)
            case _:
                pass

    def _remember(self, entry: Entry) -> None:
        if len(self._used) > self._remembered_max:
            oldest = self._journal.time_ms - CLOCK_MS_MAX
            self._used = {order: until for order, until in self._used.items() if until >= oldest}
            self._remembered_max = max(REMEMBERED, 2 * len(self._used))
        self._used[entry.id] = entry.not_after_ms
        # Every size, because orders lie under older checkpoints too: a larger one must not hide that two differ.
        self._seen[entry.size] = entry.root
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def _found(self, key: str) -> _Key:
        found = self._keys.get(key)
        if found is None:
            raise GuarantorError(KEY_UNKNOWN, key=key)
        return found


def _name(key: str, version: int) -> str:
    """The key's name in the store."""
    return f"{key}/{version}"
