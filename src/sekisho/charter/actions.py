"""Handlers of the charter's commands, and what the wiring needs of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from importlib import resources
from typing import Any

import msgspec

from sekisho.charter import analysis, lint, replay, tables, trial
from sekisho.charter.changes import Changes, changes
from sekisho.charter.compiled import Charter, document
from sekisho.charter.engine import CharterEngine
from sekisho.charter.errors import DUPLICATE, LOCKED, CharterError
from sekisho.charter.lru import Lru
from sekisho.charter.model import (
    Activated,
    ActivateVersion,
    Difference,
    DiffVersions,
    Drafted,
    DraftVersion,
    ListVersions,
    ShowVersion,
    Trial,
    TryRequest,
    Version,
    VersionPage,
    VersionText,
)
from sekisho.charter.model_replay import Recorded, Replay, ReplayVersion
from sekisho.charter.schema import program_specs, schema_text
from sekisho.charter.search import Budget
from sekisho.kernel.clock import parse_rfc3339, rfc3339
from sekisho.kernel.command import Command
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.errors import InvalidInputError, NotFoundError
from sekisho.kernel.facts import Entity, Ref, Request, Target
from sekisho.kernel.tx import Row, Tx

PAGE_MAX = 200
_CHANGES_SECONDS = 20.0
REPLAY_SECONDS = 5.0
"""How long one page of a replay may take; it ends there, and the next begins where it ended."""
_PEOPLE_NEEDED = 2
_CHARTER = Entity(Ref("Charter", "charter"))

KeepCharter = Callable[[Tx, str, bytes], None]
"""Keeps a charter document by its digest, in the transaction that activates it: the ledger's."""

History = Callable[[Tx, int, int], list[Recorded]]
"""Recorded decisions before a place in the log, newest first, at most so many: the ledger's. 0 is the log's end."""


def _no_history(_tx: Tx, _before: int, _limit: int) -> list[Recorded]:
    return []


class Checked(msgspec.Struct, frozen=True):
    """A charter that passed every check, and how long the search was."""

    charter: Charter
    visited: int


def default_policies(name: str = "japan") -> str:
    """The text of a charter that this program ships with; FileNotFoundError for an unknown name."""
    return (
        resources.files("sekisho.charter").joinpath("charters", f"{name}.cedar").read_text(encoding="utf-8")
    )


class Office:
    """Handles the charter's commands. Made once by the wiring; remembers which texts passed."""

    def __init__(
        self,
        engine: CharterEngine,
        *,
        keep: KeepCharter | None = None,
        history: History = _no_history,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """`keep` is told of each charter as it comes into force; `seconds` bounds the analysis and replays."""
        self._engine = engine
        self._history = history
        self._keep = keep
        self._seconds = seconds
        self._passed: Lru[str, Checked] = Lru(16)
        self._compared: Lru[tuple[str, str], Changes] = Lru(64)

    def check(self, policies: str) -> Checked:
        """Parse, validate, lint and analyse a text under today's schema; CharterError names the first fault.

        Costs up to a minute of work the first time, so it is done before others wait for it.
        """
        charter = self._engine.compiled(schema_text(program_specs()), policies)
        passed = self._passed.get(charter.digest)
        if passed is None:
            lint.check(charter.policies)
            budget = Budget(self._seconds)
            analysis.check_leaks(charter, budget)
            analysis.check_governable(charter, budget)
            passed = Checked(charter, budget.visited)
            self._passed.put(charter.digest, passed)
        return passed

    def compare(self, before: Charter, after: Charter) -> Changes:
        """Which requests the two answer differently; remembered, because drafting asks twice."""
        key = (before.digest, after.digest)
        found = self._compared.get(key)
        if found is None:
            found = changes(before, after, Budget(self._seconds, seconds=_CHANGES_SECONDS))
            self._compared.put(key, found)
        return found

    def install(self, ctx: Ctx, policies: str) -> str:
        """Put the first charter in force, as part of another command; answers its digest.

        Identity's genesis calls this. ConflictError when there is a charter already.
        """
        ctx.expect(tables.active(ctx.tx) is None, "charter")
        checked = self.check(policies)
        self._insert(ctx, checked.charter, "active")
        self._kept(ctx.tx, checked.charter)
        return checked.charter.digest

    def draft(self, ctx: Ctx, command: DraftVersion) -> Drafted:
        """Keep a checked text as a draft and say what it would change."""
        row = tables.active(ctx.tx)
        checked = self.check(command.policies or (row["policies"] if row else ""))
        charter = checked.charter
        if (twin := tables.by_digest(ctx.tx, charter.digest)) is not None:
            raise CharterError(DUPLICATE, version=twin["id"])
        found = self.compare(self._compile(row), charter) if row else Changes((), complete=True, visited=0)
        version = self._insert(ctx, charter, "draft")
        ctx.detail(digest=charter.digest, policies=len(charter.policies))
        return Drafted(
            version, charter.digest, len(charter.policies), checked.visited, found.items, found.complete
        )

    def prepare_draft(self, tx: Tx, principal: Entity, command: DraftVersion) -> None:
        """Do the long check while others write, for those whom the charter lets draft.

        Asked with the time 0: a charter that lets people govern by the hour only loses the head start.
        """
        request = Request(
            principal=principal, action="charter.version.draft", resource=_CHARTER, context={}, now_ms=0
        )
        if self._engine.decide(tx, request).allowed:
            row = tables.active(tx)
            checked = self.check(command.policies or (row["policies"] if row else ""))
            if row:
                self.compare(self._compile(row), checked.charter)

    def activate(self, ctx: Ctx, command: ActivateVersion) -> Activated:
        """Swap the version in force; both people are in the record."""
        row = self._row(ctx.tx, command.version)
        ctx.expect(row["state"] != "active", command.version)
        charter = self._compile(row)
        self._check_people(ctx, charter)
        before = tables.active(ctx.tx)
        tables.retire_active(ctx.tx, ctx.now_ms)
        tables.activate(ctx.tx, row["id"], ctx.now_ms)
        self._kept(ctx.tx, charter)
        ctx.detail(digest=charter.digest, replaced=before["digest"] if before else "")
        return Activated(row["id"], charter.digest, before["id"] if before else "")

    def _check_people(self, ctx: Ctx, charter: Charter) -> None:
        """Refuse a charter under which too few of the people on record could bring in the next one."""
        world = self._engine.world(ctx.tx)
        people = [entity for entity in world.entities.values() if entity.ref.type == "User"]
        for action in analysis.GOVERNING if people else ():
            able = 0
            for person in people:
                request = Request(
                    principal=person, action=action, resource=_CHARTER, context={}, now_ms=ctx.now_ms
                )
                able += self._engine.decide_under(charter, world, request).allowed
                if able == _PEOPLE_NEEDED:
                    break
            if able < _PEOPLE_NEEDED:
                raise CharterError(LOCKED, action=action, needed=_PEOPLE_NEEDED)

    def list_versions(self, ctx: Ctx, command: ListVersions) -> VersionPage:
        """One page of versions."""
        if not 0 < command.limit <= PAGE_MAX:
            raise InvalidInputError(field="limit", what=f"between 1 and {PAGE_MAX}")
        rows = tables.page(ctx.tx, command.cursor, command.limit + 1)
        items = tuple(_version(row) for row in rows[: command.limit])
        return VersionPage(items, items[-1].id if len(rows) > command.limit else None)

    def show(self, ctx: Ctx, command: ShowVersion) -> VersionText:
        """One version with its texts."""
        row = self._row(ctx.tx, command.version)
        outdated = row["schema_text"] != schema_text(program_specs())
        return VersionText(_version(row), row["policies"], row["schema_text"], outdated)

    def diff(self, ctx: Ctx, command: DiffVersions) -> Difference:
        """What changes from one version to another."""
        rows = [self._row(ctx.tx, version) for version in (command.before, command.after)]
        found = self.compare(self._compile(rows[0]), self._compile(rows[1]))
        return Difference(rows[0]["id"], rows[1]["id"], found.items, found.complete)

    def attempt(self, ctx: Ctx, command: TryRequest) -> Trial:
        """Decide a made-up request; it goes into no record and opens nothing."""
        charter, world = self._compile(self._row(ctx.tx, command.version)), self._engine.world(ctx.tx)
        action = charter.shapes.actions.get(command.action)
        if action is None:
            raise InvalidInputError(field="action", what="not an action of this charter")
        try:
            now_ms = parse_rfc3339(command.at) if command.at else ctx.now_ms
        except ValueError as error:
            raise InvalidInputError(field="at", what="expected an RFC 3339 moment") from error
        principal = ctx.principal
        if command.principal is not None:
            principal = trial.entity(charter, world, command.principal, "principal")
        request = Request(
            principal=principal,
            action=command.action,
            resource=trial.entity(charter, world, command.resource, "resource"),
            context=trial.record(command.context, action.context, "context"),
            now_ms=now_ms,
        )
        decision = self._engine.decide_under(charter, world, request)
        sentences = () if decision.allowed else self._engine.explain_under(charter, world, request, decision)
        return Trial(decision.allowed, decision.rules, sentences, decision.charter)

    def replay(self, ctx: Ctx, command: ReplayVersion) -> Replay:
        """A stretch of the log under a version, until it is through or the time is over.

        Rows name no person, organisation or thing: whoever governs reads decisions of every tenant here.
        """
        row = self._row(ctx.tx, command.version)
        charter = self._compile(row)
        newest = self._history(ctx.tx, command.upto, 1)
        upto = newest[0].index + 1 if newest else 0
        found = self._history(ctx.tx, min(command.after or upto, upto), command.limit) if upto else []
        until = self._seconds() + REPLAY_SECONDS
        answers: list[tuple[Recorded, replay.Answer]] = []
        for recorded in found:
            answers.append((recorded, replay.again(charter, recorded)))
            if self._seconds() > until:
                break
        last = answers[-1][0].index if answers else 0
        counts = Counter(answer.verdict for _, answer in answers)
        return Replay(
            version=row["id"],
            digest=charter.digest,
            upto=upto,
            looked_at=len(answers),
            same=counts["same"],
            changed=counts["allowed"] + counts["denied"] + counts["rules"],
            missing=counts["missing"],
            erased=counts["erased"],
            unfit=counts["unfit"],
            nameless=counts["nameless"],
            altered=replay.gathered(answers),
            next=last or None,
        )

    def _insert(self, ctx: Ctx, charter: Charter, state: str) -> str:
        version = ctx.new_id("chv")
        tables.insert(
            ctx.tx,
            version=version,
            digest=charter.digest,
            policies=charter.policies_text,
            schema=charter.schema_text,
            state=state,
            drafted_by=ctx.actor.ref.id,
            drafted_ms=ctx.now_ms,
            activated_ms=ctx.now_ms if state == "active" else None,
        )
        return version

    def _kept(self, tx: Tx, charter: Charter) -> None:
        if self._keep is not None:
            self._keep(tx, charter.digest, document(charter.schema_text, charter.policies_text))

    def _row(self, tx: Tx, version: str) -> Row:
        row = tables.by_id(tx, version) if version else tables.active(tx)
        if row is None:
            raise NotFoundError(id=version or "charter")
        return row

    def _compile(self, row: Row) -> Charter:
        return self._engine.compiled(row["schema_text"], row["policies"])


def _version(row: Row) -> Version:
    times = [rfc3339(row[name]) if row[name] is not None else "" for name in ("activated_ms", "retired_ms")]
    return Version(
        row["id"], row["digest"], row["state"], row["drafted_by"], rfc3339(row["drafted_ms"]), *times
    )


def charter_target(_tx: Tx, principal: Entity, _command: Command[Any]) -> Target:
    """All of the charter's commands are about the one charter; evidence goes to the person's organisation."""
    own = principal.attributes.get("org")
    return Target(resource=_CHARTER, stream=own.id if isinstance(own, Ref) else principal.ref.id)


def _contention(_command: Command[Any]) -> str:
    return "charter"


def handlers(office: Office) -> tuple[Handler[Any], ...]:
    """One handler per command of `model.py`."""
    return (
        Handler(DraftVersion, charter_target, office.draft, _contention, office.prepare_draft),
        Handler(ActivateVersion, charter_target, office.activate, _contention),
        Handler(ListVersions, charter_target, office.list_versions),
        Handler(ShowVersion, charter_target, office.show),
        Handler(DiffVersions, charter_target, office.diff),
        Handler(TryRequest, charter_target, office.attempt),
        Handler(ReplayVersion, charter_target, office.replay),
    )


def charter_document(tx: Tx, digest: str) -> bytes | None:
    """The canonical document of any version by its digest, for bundles; None for a digest never drafted here."""
    row = tables.by_digest(tx, digest)
    return None if row is None else document(row["schema_text"], row["policies"])


class Drift(msgspec.Struct, frozen=True):
    """How the program's commands differ from those the charter in force was drafted under."""

    charter: str
    newer: tuple[str, ...]
    """Actions of this program that are denied until a version drafted today is in force."""
    gone: tuple[str, ...]


def drift(engine: CharterEngine, tx: Tx) -> Drift | None:
    """Compiles the charter in force again and compares; None before the first charter.

    CharterError when the stored text no longer validates: under this program nobody could draft it again.
    """
    charter = engine.active(tx)
    if charter is None:
        return None
    ours = engine.compiled(schema_text(program_specs()), charter.policies_text).shapes.actions
    theirs = charter.shapes.actions
    newer = tuple(sorted(name for name, action in ours.items() if theirs.get(name) != action))
    return Drift(charter.digest, newer, tuple(sorted(theirs.keys() - ours.keys())))
