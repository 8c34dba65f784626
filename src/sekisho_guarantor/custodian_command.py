"""The verbs of `sekisho-guarantor custodian`: init and run work on the folder, the others ask the one that runs."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from sekisho_guarantor import caller
from sekisho_guarantor.clock import now_ms
from sekisho_guarantor.custodian import Custodian
from sekisho_guarantor.custodian_config import CustodianConfig, PersonConfig
from sekisho_guarantor.custodian_door import CustodianProgram
from sekisho_guarantor.custodian_errors import NOT_RUNNING, PKCS11_MISSING
from sekisho_guarantor.errors import KEY_EXISTS, STATE_UNREADABLE, GuarantorError
from sekisho_guarantor.journal import JOURNAL_FILE, Journal, create_journal
from sekisho_guarantor.keystore import DevelopmentStore, KeyStore
from sekisho_guarantor.state import lock_folder, make_key_file, read_key, read_private
from sekisho_guarantor.texts import SAYS
from sekisho_verify import canonical
from sekisho_wire.custody import FACTS_PATH, MANAGE_PATH
from sekisho_wire.durable import replace_file
from sekisho_wire.problems import Language

KEY_FILE: Final = "custodian.pem"
TOKEN_FILE: Final = "owner.token"  # noqa: S105 - a file's name
ADDRESS_FILE: Final = "address"
OWNER: Final = "owner"
ASKING: Final = ("create", "rotate", "destroy", "stop", "resume", "show")
"""Verbs that ask the running custodian."""


class Running:
    """An open custodian: its program for the door, and what to let go of."""

    def __init__(self, config: CustodianConfig, begins: Callable[[], None]) -> None:
        """Take the folder and the store; GuarantorError where that cannot be.

        `begins` is called when nothing of the folder is missing, so that a refused start leaves the process as it was.
        """
        self._folder = config.folder
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, lock_folder(self._folder))
            key = read_key(self._folder, KEY_FILE)
            owner = PersonConfig(OWNER, canonical.digest(_owner_token(self._folder).encode()), ["manage"])
            store = open_store(config)
            undo.callback(store.close)
            journal = Journal(self._folder / JOURNAL_FILE, key.sign, key.public_key().public_bytes_raw())
            undo.callback(journal.close)
            begins()
            self.custodian = Custodian(
                config.trusted(), key, country=config.country, store=store, journal=journal, now_ms=now_ms
            )
            self.program = CustodianProgram(self.custodian, [owner, *config.people])
            self._closing = undo.pop_all()

    def answers_at(self, url: str) -> None:
        """Let the other verbs find it."""
        replace_file(self._folder / ADDRESS_FILE, url.encode())

    def close(self) -> None:
        """Let another process have the folder."""
        (self._folder / ADDRESS_FILE).unlink(missing_ok=True)
        self._closing.close()


def init(config: CustodianConfig, options: Namespace, language: Language) -> int:
    """Make a new custodian's signing key, owner's token and journal, and print what others must know."""
    folder = config.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any((folder / name).exists() for name in (KEY_FILE, JOURNAL_FILE)):
        raise GuarantorError(KEY_EXISTS, folder=str(folder))
    open_store(config).close()
    key = make_key_file(folder / KEY_FILE)
    public = key.public_key().public_bytes_raw()
    replace_file(folder / TOKEN_FILE, secrets.token_urlsafe(32).encode())
    create_journal(folder / JOURNAL_FILE, key.sign, public, time_ms=now_ms(), name=config.name)
    shout(config, language)
    known = {"name": config.name, "key": canonical.to_base64url(public), "store": config.store.kind}
    said = SAYS["custodian.made"].render(language, {"folder": folder, "key": known["key"]})
    print(json.dumps(known) if options.json else said)
    return 0


def ask(config: CustodianConfig, options: Namespace, language: Language) -> int:
    """One verb of the owner, at the custodian that runs; the signed answer goes to standard output."""
    folder = config.folder
    shout(config, language)
    try:
        url = read_private(folder / ADDRESS_FILE).decode()
    except OSError as error:
        raise GuarantorError(NOT_RUNNING, url=f"{config.host}:{config.port}") from error
    if options.verb == "show":
        body, path = {"key": options.key}, FACTS_PATH
    else:
        version = getattr(options, "version", 0)
        body, path = {"verb": options.verb, "key": options.key, "version": version}, MANAGE_PATH
    answer = caller.call(url, config.certificate, path, msgspec.json.encode(body), token=_owner_token(folder))
    # Signature and all: what is printed can be kept as evidence and checked later.
    print(answer.decode())
    return 0


def open_store(config: CustodianConfig) -> KeyStore:
    """Where the keys are, opened."""
    store = config.store
    if store.kind == "development":
        return DevelopmentStore(config.folder)
    try:
        from sekisho_guarantor.keystore_pkcs11 import Pkcs11Store  # noqa: PLC0415 - an extra, and slow to load
    except ImportError as error:
        raise GuarantorError(PKCS11_MISSING) from error
    return Pkcs11Store(store.module, store.token, Path(store.pin_file))


def shout(config: CustodianConfig, language: Language) -> None:
    """Where keys are not protected, say so on standard error, every time."""
    if config.store.kind == "development":
        sys.stderr.write(f"!!! {SAYS['custodian.development'].render(language, {})}\n")


def _owner_token(folder: Path) -> str:
    try:
        return read_private(folder / TOKEN_FILE).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise GuarantorError(STATE_UNREADABLE, name=TOKEN_FILE) from error
