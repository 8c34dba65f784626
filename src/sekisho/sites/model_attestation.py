"""What can be asked about hardware: whose word counts, and what a site's machine answers."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sekisho.kernel.command import Command, Kind, command
from sekisho.sites.model import Country, Name

STAND_IN_SOURCE = "SOFTWARE STAND-IN, no hardware"
"""Source of every fact that a software verifier attested."""

VerifierKind = Literal["azure", "intel", "nvidia", "software"]
Algorithm = Literal["EdDSA", "ES256", "ES384", "PS256", "PS384", "RS256"]
Url = Annotated[str, Meta(max_length=255, pattern=r"^[!-~]*\Z")]
TokenText = Annotated[str, Meta(max_length=64 * 1024)]
BundleText = Annotated[str, Meta(max_length=1024 * 1024)]


class VerifierKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key that a verifier signs with: its id, its one algorithm, and itself as PEM (public key or certificate)."""

    kid: Annotated[str, Meta(pattern=r"^[!-~]{1,255}\Z")]
    alg: Algorithm
    key: Annotated[str, Meta(max_length=16 * 1024)]


class VerifierView(msgspec.Struct, frozen=True):
    """A verifier in force. `keys` are PEM public keys; `stand_in` attests nothing; `admitted` is by its country."""

    name: str
    kind: str
    issuer: str
    country: str
    jku: str
    keys: list[VerifierKey]
    stand_in: bool
    admitted: bool
    record_id: str


class VerifierPage(msgspec.Struct, frozen=True):
    """Every verifier, by name; there are a handful."""

    items: list[VerifierView]
    next: str | None = None


class Challenge(msgspec.Struct, frozen=True):
    """What a site's machine has to put into its quote, beside the digest of its session key."""

    site: str
    nonce: str
    expires_ms: int


class AttestationView(msgspec.Struct, frozen=True):
    """What was found out. `stand_in` says that SOFTWARE signed it and no hardware attested anything.

    `grade` is A where `measurement` is one that the setting `sites.measurements` names, else D: its own word.
    `key` is the digest of the session key; `gpus` are the models of GPUs that answered for the same key.
    """

    site: str
    tee: str
    grade: str
    stand_in: bool
    measurement: str
    key: str
    gpus: list[str]
    verifier: str
    verifier_country: str
    issued_ms: int
    expires_ms: int
    file: str
    record_id: str


@command(
    "sites.verifier.add",
    kind=Kind.RECORDED,
    resource="Site",
    groups=("govern",),
    ja="機器の証明を判断してよい検証者を加えます。",
)
class AddVerifier(Command[VerifierView]):
    """Let a verifier's word on hardware count.

    Its keys are taken as given, from a source you trust; nobody is asked for them, now or later. `jku` is the address
    that its tokens may carry; it is compared and never opened.
    """

    name: Name
    kind: VerifierKind
    issuer: Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[!-~]+\Z")]
    country: Country
    keys: Annotated[list[VerifierKey], Meta(min_length=1, max_length=32)]
    jku: Url = ""


@command(
    "sites.verifier.remove",
    kind=Kind.RECORDED,
    resource="Site",
    groups=("govern",),
    changes_facts=True,
    ja="検証者を取り除きます。その証明による事実もすべて失われます。",
)
class RemoveVerifier(Command[VerifierView]):
    """Stop believing a verifier; what it attested is gone at once."""

    name: Name


@command("sites.verifier.list", kind=Kind.READ, resource="Site", groups=("view",), ja="検証者を一覧します。")
class ListVerifiers(Command[VerifierPage]):
    """List the verifiers whose word on hardware counts."""


@command(
    "sites.attestation.challenge",
    kind=Kind.RECORDED,
    resource="Site",
    groups=("operate",),
    ja="拠点の機器が証明に含める番号を発行します。",
)
class ChallengeSite(Command[Challenge]):
    """Ask a site for an attestation of its hardware; the number is good once, for ten minutes."""

    site: str


@command(
    "sites.attestation.add",
    kind=Kind.RECORDED,
    resource="Site",
    groups=("operate",),
    changes_facts=True,
    ja="拠点の機器の証明を確かめ、事実として記録します。",
)
class AddAttestation(Command[AttestationView]):
    """Bring a verifier's token about a site's machine, made for the number that was asked.

    `token` is the machine's, `gpu` NVIDIA's bundle for its GPUs. Nobody outside is asked to verify either.
    """

    site: str
    token: TokenText
    gpu: BundleText = ""
