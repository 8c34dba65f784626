"""Shows the log's checkpoints to one witness and brings its cosignatures home.

One object and one thread per witness, so that one that is slow, away or wrong holds up neither the log nor the others.
All show the same checkpoint at about the same time, the newest one signed before the last full interval: so one
checkpoint gets the cosignatures of all, though a new one is signed ten times a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from prometheus_client import Counter

from sekisho.kernel.clock import Clock
from sekisho.kernel.command import Command
from sekisho.kernel.errors import SekishoError, UnavailableError
from sekisho.kernel.facts import SYSTEM, Actor
from sekisho.kernel.telemetry import logger
from sekisho.ledger.errors import (
    COSIGNATURE_WRONG,
    WITNESS_AHEAD,
    WITNESS_AWAY,
    WITNESS_DIFFERS,
    WITNESS_FORGOT,
    WITNESS_REFUSES,
    WITNESS_WRONG,
)
from sekisho.ledger.model import KeepCosignature, NoteWitness, Offer, OfferCheckpoint
from sekisho.ledger.witnesses import LOUD, Witness
from sekisho_verify.errors import NoteError
from sekisho_wire.problems import Problem
from sekisho_wire.witnessing import ANSWER_BYTES_MAX, PATH, encode_request, parse_size

ANSWER_SECONDS = 5.0
PAUSE_SECONDS_MAX = 60.0
TRIES = 3
"""Requests in one round: a witness whose size we do not know answers 409 once, or twice where it moves meanwhile."""

_COSIGNED, _CONFLICT, _UNPROVEN = 200, 409, 422


ResultT = TypeVar("ResultT")


class _FoundError(Exception):
    """Something is wrong with the witness, about a size (or, where it refuses, an HTTP status)."""

    def __init__(self, problem: Problem, size: int) -> None:
        super().__init__(problem.code)
        self.problem = problem
        self.size = size


class Post(Protocol):
    """The door to the network."""

    def __call__(self, url: str, data: bytes, *, seconds: float, bytes_max: int) -> tuple[int, bytes]:
        """Status and body of the answer; UnavailableError where there is none in time."""
        ...


class Perform(Protocol):
    """The gate: `Gate.perform`, without what a background thread never gives."""

    def __call__(self, actor: Actor, command: Command[ResultT], /) -> ResultT:
        """The command's answer."""
        ...


def figures() -> Counter:
    """Answers of witnesses by what they were; registered by whoever shows metrics."""
    return Counter(
        "sekisho_witness_answers",
        "Checkpoints offered to witnesses, by what came of it: cosigned, or the code of what is wrong.",
        ("witness", "result"),
        registry=None,
    )


class Offering:
    """One witness's rounds. Owned by one thread."""

    def __init__(
        self,
        witness: Witness,
        *,
        perform: Perform,
        post: Post,
        publish: Callable[[], object],
        clock: Clock,
        interval_ms: int,
        answers: Counter,
    ) -> None:
        """`publish` brings the published checkpoint up to date after a cosignature was kept."""
        self._witness = witness
        self._vkey = witness.key.vkey
        self._perform = perform
        self._post = post
        self._publish = publish
        self._clock = clock
        self._interval_ms = interval_ms
        self._answers = answers
        self._failures = 0
        self._log = logger("witness")

    def step(self) -> float:
        """One round; answers how many seconds to wait before the next."""
        try:
            self._round()
        except _FoundError as found:
            self._tell(found)
            self._failures += 1
            return min(PAUSE_SECONDS_MAX, self._interval_ms / 1000 * 2 ** min(self._failures, 16))
        self._failures = 0
        return (self._interval_ms - self._clock.now_ms() % self._interval_ms) / 1000

    def _round(self) -> None:
        """Show what is next until it is cosigned, from whatever size the witness says it has."""
        now = self._clock.now_ms()
        before = now - now % self._interval_ms
        offer = self._ask(before, -1)
        for _ in range(TRIES):
            if offer.size < 0:
                return
            status, answer = self._show(offer)
            if status == _COSIGNED:
                self._keep(offer, answer)
                return
            if status == _UNPROVEN:
                raise _FoundError(WITNESS_DIFFERS, offer.seen)
            if status != _CONFLICT:
                raise _FoundError(WITNESS_REFUSES, status)
            offer = self._again(offer, answer, before)

    def _again(self, shown: Offer, answer: bytes, before_ms: int) -> Offer:
        """The same from the size in a 409, if that is a size this log can have shown."""
        try:
            said = parse_size(answer)
        except NoteError as error:
            raise _FoundError(WITNESS_WRONG, shown.size) from error
        if said == shown.seen:
            raise _FoundError(WITNESS_DIFFERS, said)
        offer = self._ask(before_ms, said)
        if said > offer.signed:
            raise _FoundError(WITNESS_AHEAD, said)
        if said < shown.cosigned:
            # Its cosignatures from now on are true again; that it could be made to forget has to be known.
            self._tell(_FoundError(WITNESS_FORGOT, said))
        return offer

    def _ask(self, before_ms: int, seen: int) -> Offer:
        return self._perform(SYSTEM, OfferCheckpoint(vkey=self._vkey, before_ms=before_ms, seen=seen))

    def _show(self, offer: Offer) -> tuple[int, bytes]:
        body = encode_request(offer.seen, offer.proof, offer.note)
        url = self._witness.url + PATH
        try:
            return self._post(url, body, seconds=ANSWER_SECONDS, bytes_max=ANSWER_BYTES_MAX)
        except UnavailableError as error:
            raise _FoundError(WITNESS_AWAY, offer.size) from error

    def _keep(self, offer: Offer, answer: bytes) -> None:
        try:
            self._perform(SYSTEM, KeepCosignature(vkey=self._vkey, size=offer.size, answer=answer))
        except SekishoError as error:
            if error.problem is not COSIGNATURE_WRONG:
                raise
            raise _FoundError(WITNESS_WRONG, offer.size) from error
        self._answers.labels(self._witness.name, "cosigned").inc()
        self._publish()

    def _tell(self, found: _FoundError) -> None:
        """Count, keep, log: an error for what a person has to look into, and once what is only a nuisance."""
        name, code, size = self._witness.name, found.problem.code, found.size
        self._answers.labels(name, code).inc()
        news = self._perform(SYSTEM, NoteWitness(vkey=self._vkey, finding=code, size=size))
        if found.problem in LOUD:
            self._log.error("witness_finding", witness=name, code=code, size=size)
        elif news:
            self._log.warning("witness_finding", witness=name, code=code, size=size)
