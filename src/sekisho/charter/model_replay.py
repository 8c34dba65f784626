"""What can be asked of a draft before it is activated: which recorded decisions would have come out otherwise."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sekisho.kernel.command import Command, Kind, command

Verdict = Literal["same", "allowed", "denied", "rules", "missing", "erased", "unfit", "nameless"]
"""What a charter says of a recorded decision: the same; now `allowed` or `denied`; as before but by other `rules`.

The others could not be asked again: its facts are `missing`, its record is `erased`, what was written down does not
fit the charter's schema (`unfit`), or the charter looks at a name that was not written down (`nameless`).
"""
REPLAYED_MAX = 500


class Recorded(msgspec.Struct, frozen=True):
    """One decision as the ledger has it. `facts` is the body that the record names, None where there is none."""

    index: int
    id: str
    time_ms: int
    action: str
    allowed: bool
    rules: tuple[str, ...]
    charter: str
    facts_digest: str
    facts: bytes | None
    erased: bool = False


class Altered(msgspec.Struct, frozen=True):
    """Recorded decisions of one action and site that would change in the same way; `records` names a few of them."""

    verdict: Verdict
    action: str
    site: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    count: int
    records: tuple[str, ...]


class Replay(msgspec.Struct, frozen=True):
    """A stretch of the log, newest first, asked again under one version.

    The log had `upto` records when the run began, of which this page `looked_at` so many: `same`, `changed` and the
    four numbers after them add up to that. `next` continues further back, and is None at the log's beginning. The
    same version and `upto` come to the same sums, however the pages fall.
    """

    version: str
    digest: str
    upto: int
    looked_at: int
    same: int
    changed: int
    missing: int
    erased: int
    unfit: int
    nameless: int
    altered: tuple[Altered, ...]
    next: int | None


@command(
    "charter.version.replay",
    kind=Kind.READ,
    resource="Charter",
    principals=("User",),
    groups=("govern",),
    ja="記録された判断を、ある版の憲章の下でやり直し、変わるものを示します。何も変更しません。",
)
class ReplayVersion(Command[Replay]):
    """Ask recorded decisions again under a version and show which would change; nothing happens."""

    version: str
    upto: Annotated[int, Meta(ge=0, lt=2**53)] = 0
    """Only records before this place in the log; 0: every record there is now."""
    after: Annotated[int, Meta(ge=0, lt=2**53)] = 0
    """Where the last page ended (its `next`); 0: begin with the newest."""
    limit: Annotated[int, Meta(ge=1, le=REPLAYED_MAX)] = REPLAYED_MAX
