"""Has one authority stamp the log's checkpoints, one in each interval. One object and one thread per authority."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Protocol

from sekisho.kernel.clock import Clock
from sekisho.kernel.errors import SekishoError, UnavailableError
from sekisho.kernel.facts import SYSTEM
from sekisho.kernel.telemetry import logger
from sekisho.ledger.errors import STAMP_WRONG
from sekisho.ledger.model_time import KeepStamp, OfferHead
from sekisho.ledger.offering import Perform
from sekisho.ledger.timestamps import TimeAuthority
from sekisho_verify.timestamp import TOKEN_BYTES_MAX, make_request

ANSWER_SECONDS = 5.0
PAUSE_SECONDS = (5.0, 600.0)
"""After a first failure, and at most."""
LOOK_SECONDS = 1.0
"""How often a log that has nothing new to stamp is looked at."""
MEDIA = "application/timestamp-query"

_OK = 200
_NONCE_BITS = 63


class Post(Protocol):
    """The door to the network."""

    def __call__(
        self, url: str, data: bytes, *, seconds: float, bytes_max: int, media: str
    ) -> tuple[int, bytes]:
        """Status and body of the answer; UnavailableError where there is none in time."""
        ...


class Stamping:
    """One authority's rounds. Owned by one thread."""

    def __init__(
        self, authority: TimeAuthority, *, perform: Perform, post: Post, clock: Clock, interval_ms: int
    ) -> None:
        """`interval_ms` is how often a checkpoint is stamped."""
        self._authority = authority
        self._perform = perform
        self._post = post
        self._clock = clock
        self._interval_ms = interval_ms
        self._failures = 0
        self._log = logger("timestamp")

    def step(self) -> float:
        """One round; answers how many seconds to wait before the next."""
        try:
            stamped = self._round()
        except (UnavailableError, SekishoError) as error:
            if not isinstance(error, UnavailableError) and error.problem is not STAMP_WRONG:
                raise
            self._failures += 1
            say: Callable[..., object] = self._log.warning
            if error.problem is STAMP_WRONG:
                say = self._log.error
            say("stamp_refused", authority=self._authority.name, code=error.code, why=str(error))
            first, most = PAUSE_SECONDS
            return min(most, first * 2 ** min(self._failures - 1, 16))
        self._failures = 0
        if not stamped:
            return LOOK_SECONDS
        return (self._interval_ms - self._clock.now_ms() % self._interval_ms) / 1000

    def _round(self) -> bool:
        """Whether the authority has stamped a head of this interval now; False while there is nothing to stamp."""
        now = self._clock.now_ms()
        name = self._authority.name
        head = self._perform(SYSTEM, OfferHead(authority=name, since_ms=now - now % self._interval_ms))
        if head.size < 0:
            return False
        nonce = secrets.randbits(_NONCE_BITS)
        status, answer = self._post(
            self._authority.url,
            make_request(head.digest, nonce),
            seconds=ANSWER_SECONDS,
            bytes_max=TOKEN_BYTES_MAX,
            media=MEDIA,
        )
        if status != _OK:
            raise SekishoError(STAMP_WRONG, authority=name, what=f"HTTP {status}")
        return self._perform(SYSTEM, KeepStamp(authority=name, size=head.size, nonce=nonce, answer=answer))
