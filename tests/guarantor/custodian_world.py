"""A custodian over a file of keys or a token, and a control plane that orders of it; the clock is the test's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sekisho_guarantor.custodian import Custodian
from sekisho_guarantor.journal import JOURNAL_FILE, Journal, create_journal
from sekisho_guarantor.keystore import DevelopmentStore, KeyStore
from sekisho_guarantor.state import make_key_file, read_key
from sekisho_verify.canonical import to_base64url
from sekisho_wire.custody import KeyCustodian, Opened, Order, check_release, open_opening, open_release
from sekisho_wire.envelope import EnvelopeKey, Header, envelope_key, new_data_key, new_header
from tests.wire.custody_world import KEY, NAME, NOW_MS, Asker

KEY_FILE = "custodian.pem"


class CustodyHouse:
    """One custodian with its folder. `reopen` is a restart: only what is on disk is known."""

    def __init__(self, folder: Path, *, store: KeyStore | None = None, asker: Asker | None = None) -> None:
        self.folder = folder
        self.asker = asker or Asker()
        self.now_ms = NOW_MS
        self._store = store
        if not folder.exists():
            folder.mkdir(mode=0o700)
            key = make_key_file(folder / KEY_FILE)
            public = key.public_key().public_bytes_raw()
            create_journal(folder / JOURNAL_FILE, key.sign, public, time_ms=NOW_MS, name=NAME)
        self.open()

    def open(self, key: Ed25519PrivateKey | None = None) -> None:
        """Take the folder."""
        key = key or read_key(self.folder, KEY_FILE)
        self.journal = Journal(self.folder / JOURNAL_FILE, key.sign, key.public_key().public_bytes_raw())
        self.store = self._store or DevelopmentStore(self.folder)
        self.custodian = Custodian(
            self.asker.trusted(),
            key,
            country="JP",
            store=self.store,
            journal=self.journal,
            now_ms=lambda: self.now_ms,
        )

    def reopen(self) -> None:
        """As after a restart."""
        self.journal.close()
        self.open()

    @property
    def contract(self) -> KeyCustodian:
        """The same, as the contract has it: the types agree."""
        return self.custodian

    def object(self, *, key: str = KEY) -> tuple[Header, EnvelopeKey]:
        """The header of a new object and its envelope key."""
        data_key = new_data_key()
        head = new_header("file", self.custodian.wrap(key, data_key))
        return head, envelope_key(head, data_key)

    def order(self, *headers: Header, **changes: Any) -> Order:
        """An order for these objects."""
        return self.asker.order(headers, **changes)

    def release(self, order: Order, *headers: Header) -> Opened:
        """What the agent gets."""
        sealed = self.custodian.release(self.asker.ask(order, headers))
        release = check_release(sealed, self.custodian.public, order)
        return open_release(release, order, self.asker.one_time)

    def open_own(self, head: Header) -> EnvelopeKey:
        """What the key's owner gets, without an order."""
        one_time = X25519PrivateKey.generate()
        recipient = to_base64url(one_time.public_key().public_bytes_raw())
        sealed = self.contract.open(head, recipient, by="owner")
        return open_opening(sealed, self.custodian.public, head, one_time)


@contextlib.contextmanager
def custody(folder: Path, *, store: KeyStore | None = None) -> Iterator[CustodyHouse]:
    """A custodian with one key for the length of the block."""
    house = CustodyHouse(folder, store=store)
    house.custodian.create(KEY)
    try:
        yield house
    finally:
        house.journal.close()
