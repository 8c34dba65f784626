"""A custodian's word for tests that need none of its work: facts and evidence, signed with a key of the test's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho.data import RegisterKey
from sekisho_verify.canonical import from_base64url, to_base64url
from sekisho_verify.trust import parse_trust
from sekisho_wire.custody import Ask, Destruction, Facts, Version
from sekisho_wire.custody_checks import Trusted
from sekisho_wire.envelope import AES_KW, Header, Wrapped, new_header
from sekisho_wire.keying import KeyGranted
from sekisho_wire.signing import encode_public_key

SIGNING = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = encode_public_key(SIGNING.public_key())
NAME = "custodian.example.invalid"
OWNER = "org_" + "0" * 26
HEADER = new_header("tree", Wrapped("hospital", 1, AES_KW, bytes(range(40))))
ENVELOPE = HEADER.digest()
"""An object's header, and how it is named; nobody here has its data key."""
FACTS = Facts(
    custodian=NAME,
    owner=OWNER,
    key="hospital",
    country="JP",
    custody="development",
    exportable=True,
    store="a test",
    attestation="",
    quorum=0,
    stopped=False,
    versions=[Version(version=1, created_ms=1)],
    time_ms=1,
)


def facts(**changes: Any) -> str:
    """What the custodian says of a key."""
    return msgspec.structs.replace(FACTS, **changes).sealed(SIGNING.sign).decode()


HSM: Mapping[str, Any] = {"custody": "customer-hsm", "exportable": False}
"""What it says otherwise of a key in a device."""


def trusted(owner: str, trust: str, orders: str, *, agents: Mapping[str, bytes] | None = None) -> Trusted:
    """What this custodian's owner wrote down about a control plane: its trust file, the key that signs orders."""
    return Trusted(NAME, owner, parse_trust(trust.encode()), from_base64url(orders), agents or {})


def ask_of(granted: KeyGranted, *headers: Header) -> Ask:
    """What an agent hands in, of what it was granted."""
    fields = msgspec.structs.asdict(granted)
    for name in ("url", "custodian_key"):
        del fields[name]
    return Ask(**fields, headers=[to_base64url(header.data) for header in headers])


def rotated(newest: int, **changes: Any) -> str:
    """What it says after so many versions."""
    versions = [Version(version=number, created_ms=number) for number in range(1, newest + 1)]
    return facts(versions=versions, **changes)


def destruction(**changes: Any) -> str:
    """Its evidence that a key is gone."""
    values: dict[str, Any] = {
        "custodian": NAME,
        "key": "hospital",
        "versions": [1],
        "custody": "development",
        "exportable": True,
        "number": 9,
        "time_ms": 2,
    }
    return Destruction(**(values | changes)).sealed(SIGNING.sign).decode()


def registration(name: str = "hospital", *, owner: str, **changes: Any) -> RegisterKey:
    """The command that registers a development key of an organisation."""
    values: dict[str, Any] = {
        "name": name,
        "address": "https://custodian.example.invalid",
        "public_key": PUBLIC,
        "statement": facts(key=name, owner=owner),
    }
    return RegisterKey(**(values | changes))
