"""Asking a custodian, by somebody who does not trust it to be well: it may hang, lie, or answer twice.

The network is passed in, so that each program keeps its one door. What comes back is checked against the very order
that was sent; nothing of an answer is used before that.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

import msgspec

from sekisho_wire.custody import (
    ANSWER_BYTES_MAX,
    RELEASE_PATH,
    Ask,
    CustodyError,
    Order,
    Release,
    check_release,
)

ANSWER_SECONDS: Final = 10.0
ANSWERED_MAX: Final = 10_000
"""Answered orders that are remembered before those past their time are let go."""

_OK: Final = 200
_code = re.compile(r"[a-z][a-z_]{0,31}\.[a-z][a-z_.]{0,63}").fullmatch


class Post(Protocol):
    """The door to the network."""

    def __call__(self, url: str, data: bytes, *, seconds: float, bytes_max: int) -> tuple[int, bytes]:
        """Status and body of the answer, whole within so many seconds and bytes; one of `away` where there is none."""
        ...


class RefusedError(CustodyError):
    """The custodian said no. `reason` is its own code, checked for shape and nothing else; `status` is HTTP's."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__("custody.refused", f"the custodian refused: {reason}")
        self.reason = reason
        self.status = status


class _Said(msgspec.Struct):
    code: str = ""


class Asking:
    """The questions to one custodian. Remembers which orders were answered; owned by one thread."""

    def __init__(
        self,
        url: str,
        name: str,
        key: bytes,
        *,
        post: Post,
        away: tuple[type[Exception], ...] = (OSError,),
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        """`name` and 32 raw bytes of `key` are the custodian's, as its owner handed them out.

        `away` are the exceptions by which `post` says that no whole answer came in time.
        """
        self._url = url.rstrip("/")
        self._name = name
        self._key = key
        self._post = post
        self._away = away
        self._seconds = seconds
        self._answered: dict[str, int] = {}

    def release(self, ask: Ask, order: Order) -> tuple[Release, bytes]:
        """The release of an order, checked, and the sealed bytes for the agent, who checks them again.

        CustodyError: `custody.away` (no whole answer in time), `custody.refused` (a RefusedError), and what
        `check_release` and `accept` find.
        """
        if order.custodian != self._name:
            raise CustodyError("custody.other_custodian", "an order to another custodian")
        sealed = self._ask(RELEASE_PATH, msgspec.json.encode(ask))
        return self.accept(sealed, order), sealed

    def accept(self, sealed: bytes, order: Order) -> Release:
        """As `check_release`, and `custody.answered_twice` for any further answer, even the same one.

        A custodian answers an order once. Who gets a second answer has found one that forgets, or somebody between.
        """
        release = check_release(sealed, self._key, order)
        if release.order in self._answered:
            raise CustodyError("custody.answered_twice", "one order was answered twice")
        if len(self._answered) > ANSWERED_MAX:
            self._answered = {at: until for at, until in self._answered.items() if until >= order.issued_ms}
        self._answered[release.order] = order.not_after_ms
        return release

    def _ask(self, path: str, data: bytes) -> bytes:
        try:
            status, body = self._post(
                self._url + path, data, seconds=self._seconds, bytes_max=ANSWER_BYTES_MAX
            )
        except self._away as error:
            raise CustodyError("custody.away", "the custodian does not answer") from error
        if status != _OK:
            raise RefusedError(_reason(body), status)
        return body


def _reason(body: bytes) -> str:
    """The code in problem details; text of an unknown server is not passed on."""
    try:
        code = msgspec.json.decode(body, type=_Said).code
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "unknown"
    return code if _code(code) else "unknown"
