"""What can be asked of the charter: draft, activate, list, show, try, compare."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from sekisho.charter.changes import Change
from sekisho.kernel.command import Command, Kind, command
from sekisho.kernel.facts import Sentence

State: TypeAlias = Literal["draft", "active", "retired"]


class Version(msgspec.Struct, frozen=True):
    """One charter version without its texts. Times are RFC 3339; empty where it has not come to that."""

    id: str
    digest: str
    state: State
    drafted_by: str
    drafted: str
    activated: str = ""
    retired: str = ""


class VersionPage(msgspec.Struct, frozen=True):
    """Versions, newest first; `next` continues the list and is None at its end."""

    items: tuple[Version, ...]
    next: str | None


class VersionText(msgspec.Struct, frozen=True):
    """One version with its Cedar policies, and its schema in Cedar's JSON form."""

    version: Version
    policies: str
    schema: str
    outdated: bool
    """The schema is not the one this program would write: newer commands are denied under this version."""


class Drafted(msgspec.Struct, frozen=True):
    """A version that passed every check, and what would change against the one in force."""

    version: str
    digest: str
    policies: int
    visited: int
    """How many regions of the domain the leak search looked at."""
    changes: tuple[Change, ...]
    changes_complete: bool


class Activated(msgspec.Struct, frozen=True):
    """The version now in force, and the one it replaced (empty for the first)."""

    version: str
    digest: str
    replaced: str


class Difference(msgspec.Struct, frozen=True):
    """Which requests two versions answer differently."""

    before: str
    after: str
    changes: tuple[Change, ...]
    complete: bool


class EntityInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entity to try with. Without attributes a known organisation, site or key stands as it is on record.

    Attributes are JSON: references as the id's text, moments as RFC 3339, sets as arrays.
    """

    type: str
    id: str
    attributes: dict[str, Any] | None = None
    parents: tuple[str, ...] = ()


class Trial(msgspec.Struct, frozen=True):
    """What the charter would say, the rules that decide, and why not."""

    allowed: bool
    rules: tuple[str, ...]
    sentences: tuple[Sentence, ...]
    charter: str


@command(
    "charter.version.draft",
    kind=Kind.RECORDED,
    resource="Charter",
    principals=("User",),
    groups=("govern",),
    ja="憲章の版を作成し、検査します。まだ有効にはなりません。",
)
class DraftVersion(Command[Drafted]):
    """Check a charter's text and keep it as a draft, under the commands this program has."""

    policies: str = ""
    """Cedar text; empty takes the text of the version in force, as after an upgrade of the program."""


@command(
    "charter.version.activate",
    kind=Kind.RECORDED,
    resource="Charter",
    principals=("User",),
    groups=("govern",),
    two_people=True,
    changes_facts=True,
    ja="憲章の版を有効にします（2人の承認が必要です）。",
)
class ActivateVersion(Command[Activated]):
    """Put a version in force; two people are needed."""

    version: str


@command(
    "charter.version.list",
    kind=Kind.READ,
    resource="Charter",
    groups=("view",),
    ja="憲章の版を一覧します。",
)
class ListVersions(Command[VersionPage]):
    """List the charter's versions, newest first."""

    cursor: str = ""
    limit: int = 50


@command(
    "charter.version.show",
    kind=Kind.READ,
    resource="Charter",
    groups=("view",),
    ja="憲章の版の本文を表示します。",
)
class ShowVersion(Command[VersionText]):
    """Show a version's text; without an id, the one in force."""

    version: str = ""


@command(
    "charter.version.diff",
    kind=Kind.READ,
    resource="Charter",
    groups=("view",),
    ja="2つの版で判断が変わる要求を表示します。",
)
class DiffVersions(Command[Difference]):
    """Show which requests two versions answer differently."""

    after: str
    before: str = ""
    """Empty: the version in force."""


@command(
    "charter.request.try",
    kind=Kind.READ,
    resource="Charter",
    groups=("view",),
    ja="仮の要求を憲章に照らして試します。",
)
class TryRequest(Command[Trial]):
    """Try a hypothetical request against a version of the charter; nothing happens."""

    action: str
    resource: EntityInput
    context: dict[str, Any] = msgspec.field(default_factory=dict)
    principal: EntityInput | None = None
    """None: whoever asks."""
    version: str = ""
    """Empty: the version in force."""
    at: str = ""
    """RFC 3339; empty: now."""
