"""An attempt's way out as its last message tells it: kept as evidence, held against the attempt, shown to people.

What the agent counted is its own word. What a listener outside has signed comes through the agent as well, yet the
agent cannot change it: a report counts if it is over this very attempt, token and agent, and its silence only if it
lasted from the start of the run to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from sekisho.compute.model import Observed
from sekisho.kernel.config import INVALID, Listener
from sekisho.kernel.context import Ctx
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.tx import Row, Tx
from sekisho_verify import canonical
from sekisho_verify.errors import RecordError, VerifyError
from sekisho_verify.observation import Observation, read_observation, write_canaries
from sekisho_wire.messages import Ended

EGRESS_FILE = "egress.json"
CANARIES_FILE = "canaries.json"
SKEW_MS = 300_000
"""How far a listener's clock may be from ours."""
COVER_SKEW_MS = 30_000
"""The same where silence is to cover a run: a longer allowance would be as long as many a run. A start that was told
later than this, by a site that was out of touch, leaves the report aside.
"""

KeepFile = Callable[[Tx, str, bytes], None]
Known = Collection[tuple[str, bytes]]


class EgressNotes:
    """Takes what last messages say; `known` are the listeners of the settings."""

    def __init__(self, keep_file: KeepFile, known: Known) -> None:
        self._keep_file = keep_file
        self._known = known

    def take(self, ctx: Ctx, row: Row, body: Ended, agent_key: str) -> dict[str, Any]:
        """What the attempt's row is to hold; the files are kept and named by the record."""
        changes, files = dict[str, Any](), dict[str, str]()
        if body.egress is not None:
            changes["egress"] = body.egress
            files[EGRESS_FILE] = self._keep(ctx, _report(row, body))
        sealed: list[bytes] = []
        shown: list[Observed] = []
        refused: list[str] = []
        for text in body.observed:
            try:
                report = canonical.from_base64url(text)
                seen = read_observation(report)
                _check(ctx, row, seen, agent_key)
                _check_silence(row, seen, body)
            except VerifyError as error:
                refused.append(error.code)
                continue
            sealed.append(report)
            known = (seen.listener, seen.key) in self._known
            shown.append(Observed(listener=seen.listener, known=known, results=seen.results))
        if sealed:
            changes["observed"] = shown
            files[CANARIES_FILE] = self._keep(ctx, write_canaries(sealed))
        if files:
            ctx.detail(files=files)
        if refused:
            ctx.detail(observed_refused=", ".join(refused))
        return changes

    def _keep(self, ctx: Ctx, data: bytes) -> str:
        digest = canonical.digest(data)
        self._keep_file(ctx.tx, digest, data)
        return digest


def was_heard(changes: dict[str, Any]) -> bool:
    """Whether any listener heard a canary from inside the wall."""
    return any("open" in seen.results.values() for seen in changes.get("observed", []))


def read_listeners(settings: Collection[Listener]) -> frozenset[tuple[str, bytes]]:
    """Names and keys of the settings; `config.invalid` where a key is none, or there twice."""
    found: dict[bytes, str] = {}
    for item in settings:
        try:
            key = canonical.from_base64url(item.key)
        except VerifyError as error:
            raise SekishoError(
                INVALID, name="compute.listeners", what=f"{item.name}: {error.detail}"
            ) from error
        if len(key) != 32 or key in found:  # noqa: PLR2004 - an Ed25519 key
            what = f"{item.name}: a key that is not 32 bytes, or there twice"
            raise SekishoError(INVALID, name="compute.listeners", what=what)
        found[key] = item.name
    return frozenset((name, key) for key, name in found.items())


def _report(row: Row, body: Ended) -> bytes:
    return canonical.encode(
        {
            "v": 1,
            "attempt": row["id"],
            "canaries": dict(body.canaries),
            "egress": msgspec.to_builtins(body.egress),
        }
    )


def _check(ctx: Ctx, row: Row, seen: Observation, agent_key: str) -> None:
    """A report of another attempt, of an earlier token, by way of another agent, or of another time is none of this."""
    if (seen.attempt, seen.token) != (row["id"], row["token"]):
        raise RecordError("observation.foreign", "of another attempt or token")
    if canonical.to_base64url(seen.agent) != agent_key:
        raise RecordError("observation.foreign_agent", "by way of another agent")
    if seen.opened_ms < row["offered_ms"] - SKEW_MS or seen.closed_ms > ctx.now_ms + SKEW_MS:
        raise RecordError("observation.time", "not of the attempt's time")


def _check_silence(row: Row, seen: Observation, body: Ended) -> None:
    """That nothing was heard counts where somebody listened while the payload ran; `seconds` are rounded up."""
    start_ms = row["started_ms"]
    if not start_ms or seen.inside:
        return
    end_ms = start_ms + max(0, body.seconds - 1) * 1000
    if not seen.covers(start_ms, end_ms, skew_ms=COVER_SKEW_MS):
        raise RecordError("observation.cover", "not of the whole run")
