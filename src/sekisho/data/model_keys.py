"""What can be asked about keys in their owners' custody: who holds them, whether they may be released, their end."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from sekisho.data.model import Limit, Name
from sekisho.kernel.command import Command, Kind, command
from sekisho_wire.custody import Custody
from sekisho_wire.messages import Envelope

KeyState = Literal["serving", "stopped", "destroyed"]
PublicKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]
"""An Ed25519 public key: 32 bytes as base64url without padding."""
Sealed = Annotated[str, Meta(max_length=200_000)]
"""What a custodian has signed (`sekisho_wire.custody`): a signature, a newline, canonical JSON."""
Address = Annotated[str, Meta(pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?\Z", max_length=500)]


class KeyView(msgspec.Struct, frozen=True):
    """A key that stays with its custodian, which calls it `name`. Everything in it is its custodian's word (grade D).

    `custodian` is an organisation, `custodian_name` what it signs as; it takes no order but under a checkpoint that
    `quorum` witnesses have cosigned. `stand_in` marks a development key, which protects nothing from whoever can read
    its custodian's disk. `version` is the newest that is left; `versions` are all that are, `destroyed` those that the
    custodian has signed away. Only when none is left the key is `destroyed`, and of an `exportable` one nobody can say
    that no copy is.
    """

    id: str
    name: str
    owner: str
    custodian: str
    custodian_name: str
    country: str
    custody: Custody
    exportable: bool
    address: str
    public_key: str
    version: int
    quorum: int
    state: KeyState
    stand_in: bool
    grade: Literal["D"]
    created_ms: int
    record_id: str
    versions: list[int] = []
    destroyed: list[int] = []


class KeyPage(msgspec.Struct, frozen=True):
    """One page of keys; `next` continues it."""

    items: list[KeyView]
    next: str | None = None


@command(
    "data.key.register",
    kind=Kind.RECORDED,
    resource="Key",
    groups=("use",),
    changes_facts=True,
    ja="保管者に預けた鍵を登録します（鍵そのものは管理側に渡りません）。",
)
class RegisterKey(Command[KeyView]):
    """Register a key that a custodian holds for your organisation; the key itself never comes here.

    `statement` is what the custodian says of the key, your organisation's, signed with `public_key`; `custodian` is the
    organisation that runs it, your own unless given.
    """

    name: Name
    address: Address
    public_key: PublicKey
    statement: Sealed
    custodian: Annotated[str, Meta(max_length=64)] = ""


@command("data.key.show", kind=Kind.READ, resource="Key", groups=("view",), ja="鍵の登録内容を表示します。")
class ShowKey(Command[KeyView]):
    """Show one key's registration, by id or name."""

    key: str


@command("data.key.list", kind=Kind.READ, resource="Key", groups=("view",), ja="鍵の登録を一覧します。")
class ListKeys(Command[KeyPage]):
    """List the keys that you may see."""

    cursor: str = ""
    limit: Limit = 50


@command(
    "data.key.stop",
    kind=Kind.RECORDED,
    resource="Key",
    groups=("use",),
    ja="鍵の引き渡しを止めます。使用中のジョブは理由とともに終了します。",
)
class StopKey(Command[KeyView]):
    """Stop releases of a key at once; jobs that use it end with that reason."""

    key: str


@command(
    "data.key.resume",
    kind=Kind.RECORDED,
    resource="Key",
    groups=("use",),
    ja="止めた鍵の引き渡しを再開します。",
)
class ResumeKey(Command[KeyView]):
    """Let a stopped key be released again."""

    key: str


@command(
    "data.key.rotate",
    kind=Kind.RECORDED,
    resource="Key",
    groups=("use",),
    ja="保管者が作った新しい版の鍵を記録します。以後の暗号化に使います。",
)
class RotateKey(Command[KeyView]):
    """Note that the custodian made a new version, from its signed facts; what is encrypted from now on uses it."""

    key: str
    statement: Sealed


@command(
    "data.key.destroy",
    kind=Kind.RECORDED,
    resource="Key",
    groups=("use",),
    ja="鍵またはその版の破棄を、保管者の署名つきの証拠とともに記録します。その下のデータは二度と読めません。",
)
class DestroyKey(Command[KeyView]):
    """Note what the custodian destroyed of a key, with its signed evidence; nothing under that can be read again."""

    key: str
    evidence: Sealed


@command(
    "data.key.release",
    kind=Kind.RECORDED,
    resource="Attempt",
    principals=("Agent",),
    groups=("agents",),
    ja="試行にデータ鍵を引き渡してよいかを、いまの憲章と証明で判断します。",
)
class ReleaseKey(Command[bytes]):
    """Decide whether an attempt may have a data key, as charter, proof and grant stand now; answers the sealed answer.

    Built only by the agents' door, after it opened `sealed` with `agent_key`.
    """

    envelope: Envelope
    sealed: str
    agent_key: str


@command(
    "data.key.confirm",
    kind=Kind.RECORDED,
    resource="Attempt",
    principals=("System",),
    groups=("system",),
    ja="実行中の試行が鍵を使い続けてよいかを判断し直します。",
)
class ConfirmRelease(Command[bool]):
    """Decide again whether a running attempt may keep what its keys opened."""

    attempt: str


OneKey: TypeAlias = ShowKey | StopKey | ResumeKey | RotateKey | DestroyKey
