"""A custodian's configuration: what keys are kept in, whose orders are obeyed, who of its owner's people may what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sekisho_guarantor.answers import Listening
from sekisho_guarantor.config import check_listening, is_loopback, read_config
from sekisho_guarantor.custodian_errors import AGENTS_MISSING, DEVELOPMENT_REFUSED, QUORUM_MISSING
from sekisho_guarantor.errors import CONFIG_INVALID, GuarantorError
from sekisho_verify.errors import VerifyError
from sekisho_verify.trust import Trust, parse_trust
from sekisho_wire.custody import OrganisationId
from sekisho_wire.custody_checks import Trusted
from sekisho_wire.signing import SealError, decode_public_key

May = Literal["wrap", "open", "stop", "manage"]
"""Wrap new data keys; open what lies under a key; stop and resume it; all of that, and create, rotate and destroy."""


class StoreConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where keys are kept: a PKCS#11 token (its library, label and the file of its PIN, mode 0600), or a file."""

    kind: Literal["pkcs11", "development"]
    module: str = ""
    token: str = ""
    pin_file: str = ""


class AgentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A site's agent that may ask: its id, and its public key (base64url) as its provider handed it out."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    key: str


class PersonConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody with a token: a name for the journal, the digest of the token, what it may."""

    name: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
    token: Annotated[str, Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]
    may: Annotated[list[May], Meta(min_length=1)]


class CustodianConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings. `name` stands in every order and answer; `country` is where the store is (ISO 3166-1).

    `owner` is the id of the organisation that the keys belong to, as the control plane knows it: nobody else can have
    them registered or released.
    `trust` is the log's trust file and `orders` the control plane's public key (base64url), both as the owner was
    handed them, not as a running control plane says. With `agents` named, only they get keys, and each must have asked
    itself. A development store may go without them and without witnesses; any other may not.
    """

    name: Annotated[str, Meta(pattern=r"\A[!-~]{1,255}\Z")]
    owner: OrganisationId
    country: Annotated[str, Meta(pattern=r"\A[A-Z]{2}\Z")]
    state: str
    store: StoreConfig
    trust: str
    orders: str
    agents: Annotated[list[AgentConfig], Meta(max_length=10_000)] = []
    people: Annotated[list[PersonConfig], Meta(max_length=1000)] = []
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 7630
    certificate: str = ""
    key: str = ""
    behind_proxy: bool = False
    log_form: Literal["json", "text"] = "json"

    @property
    def folder(self) -> Path:
        """Signing key, owner's token, journal."""
        return Path(self.state)

    def for_owner(self) -> Listening:
        """Where the owner's verbs are answered: on this machine alone, at any free port, under the same certificate."""
        return msgspec.structs.replace(self, host="127.0.0.1", port=0)

    def trusted(self) -> Trusted:
        """Whom it believes; GuarantorError names the setting that is none."""
        try:
            orders = decode_public_key(self.orders).public_bytes_raw()
            agents = {agent.id: decode_public_key(agent.key).public_bytes_raw() for agent in self.agents}
        except SealError as error:
            raise GuarantorError(CONFIG_INVALID, name="orders or agents", what=error.detail) from error
        if len(agents) != len(self.agents):
            raise GuarantorError(CONFIG_INVALID, name="agents", what="the same id twice")
        return Trusted(self.name, self.owner, self._log(), orders, agents)

    def _log(self) -> Trust:
        try:
            return parse_trust(Path(self.trust).read_bytes())
        except OSError as error:
            raise GuarantorError(CONFIG_INVALID, name="trust", what=error.strerror or "unreadable") from error
        except VerifyError as error:
            raise GuarantorError(CONFIG_INVALID, name="trust", what=error.explain()) from error


def load_config(path: Path) -> CustodianConfig:
    """Read and check a configuration; GuarantorError says what is wrong with it."""
    config = read_config(path, CustodianConfig)
    check_listening(config, behind_proxy=config.behind_proxy)
    store = config.store
    if store.kind == "development" and (config.behind_proxy or not is_loopback(config.host)):
        raise GuarantorError(DEVELOPMENT_REFUSED)
    given = [bool(text) for text in (store.module, store.token, store.pin_file)]
    if given != [store.kind == "pkcs11"] * 3:
        raise GuarantorError(
            CONFIG_INVALID, name="store", what="module, token and pin_file belong to kind pkcs11"
        )
    _check_trusted(config.trusted(), store.kind)
    return config


def _check_trusted(trusted: Trusted, store: str) -> None:
    """A key that protects something is released to agents that its owner knows, under a log that others have seen.

    A development key protects nothing, so that things can be tried out with neither.
    """
    if store == "development":
        return
    if not trusted.agents:
        raise GuarantorError(AGENTS_MISSING)
    if trusted.log.quorum < 1:
        raise GuarantorError(QUORUM_MISSING)
