"""A listener: it waits outside the sites for what must not come out of them, and signs what did and did not arrive.

An agent tells it in advance the digests of an attempt's nonces; nonces it is not told of are nobody's, and are neither
counted nor answered. Sessions live in this process: after a restart there is no report of what was open before, so
nothing is ever said of a time in which nobody listened.

What its word does not show: that a canary was sent from inside at all is the site's own word.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho_verify.errors import VerifyError
from sekisho_verify.observation import PROTOCOLS, WAYS, Observation, write_observation
from sekisho_wire.observing import (
    NONCE,
    OPEN,
    Asked,
    digests_by_node,
    nonce_digest,
    read_request,
    write_opened,
)

OUTSIDE, INSIDE = WAYS
SKEW_MS_MAX: Final = 300_000
"""How old or young a request may be: an older one is somebody's copy."""
OPEN_MAX: Final = 4096
OPEN_PER_AGENT_MAX: Final = 512
OPEN_MS_MAX: Final = 30 * 86_400_000
DONE_MS_MAX: Final = 3_600_000
"""How long a report is given again: an answer may be lost. Longer than a request stays fresh."""
DONE_MAX: Final = 4096
NONCES_READ_MAX: Final = 4
UNREADABLE, UNKNOWN_AGENT, STALE, TWICE, FULL, UNKNOWN = (
    "listener.request",
    "listener.unknown_agent",
    "listener.stale",
    "listener.opened_before",
    "listener.full",
    "listener.unknown_session",
)

log = structlog.get_logger("sekisho.listener")

Session = tuple[bytes, str, int]
"""An agent's key, an attempt, a token."""


class RefusedError(Exception):
    """A request that gets no answer but this code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class _Open:
    """What was told and what was heard: by digest the way and the node, then ways with nodes and protocols."""

    digests: dict[str, tuple[str, int]]
    nodes: int
    opened_ms: int
    heard: set[tuple[str, int, str]] = field(default_factory=set)

    def from_all(self, way: str) -> frozenset[str]:
        """Protocols over which every node was heard: one node's path says nothing of another's."""
        return frozenset(
            protocol
            for protocol in PROTOCOLS
            if all((way, node, protocol) in self.heard for node in range(self.nodes))
        )

    def from_any(self, way: str) -> frozenset[str]:
        """Protocols over which some node was heard."""
        return frozenset(protocol for heard_way, _, protocol in self.heard if heard_way == way)


class Listener:
    """Answers requests and hears messages, from any number of threads; no socket, so that every case can be tried."""

    def __init__(
        self, name: str, key: Ed25519PrivateKey, agents: Collection[bytes], now_ms: Callable[[], int]
    ) -> None:
        """`agents` are the raw keys that may ask."""
        self.name = name
        self._sign = key.sign
        self._public = key.public_key().public_bytes_raw()
        self._agents = frozenset(agents)
        self._now_ms = now_ms
        self._guard = threading.Lock()
        self._open: dict[Session, _Open] = {}
        self._sessions: dict[str, Session] = {}
        self._done: dict[Session, tuple[int, bytes]] = {}

    def answer(self, sealed: bytes) -> bytes:
        """The sealed answer to a request; RefusedError for one that gets none."""
        try:
            asked = read_request(sealed)
        except VerifyError as error:
            raise RefusedError(UNREADABLE) from error
        now_ms = self._now_ms()
        if asked.agent not in self._agents:
            raise RefusedError(UNKNOWN_AGENT)
        if abs(now_ms - asked.time_ms) > SKEW_MS_MAX:
            raise RefusedError(STALE)
        with self._guard:
            self._tidy(now_ms)
            answer = self._begin(asked, now_ms) if asked.kind == OPEN else self._end(asked, now_ms)
        log.info("answered", request=asked.kind.rpartition(".")[2], attempt=asked.attempt)
        return answer

    def hear(self, message: bytes, protocol: str) -> bool:
        """Whether a message carries a nonce that was told of; it is then noted under the protocol it came by."""
        known = False
        for number, found in enumerate(NONCE.finditer(message)):
            if number == NONCES_READ_MAX:
                break
            known |= self._note(nonce_digest(found[0]), protocol)
        return known

    def _note(self, digest: str, protocol: str) -> bool:
        with self._guard:
            session = self._sessions.get(digest)
            if session is None:
                return False
            opened = self._open[session]
            way, node = opened.digests[digest]
            if (way, node, protocol) not in opened.heard and way == INSIDE:
                log.warning("heard_from_inside", attempt=session[1], protocol=protocol)
            opened.heard.add((way, node, protocol))
            return True

    def _begin(self, asked: Asked, now_ms: int) -> bytes:
        """Under the lock. A nonce belongs to one session."""
        session = (asked.agent, asked.attempt, asked.token)
        nodes = digests_by_node(asked.expected)
        digests = {text: (way, node) for node, told in enumerate(nodes) for text, way in told.items()}
        if session in self._done or any(text in self._sessions for text in digests):
            raise RefusedError(TWICE)
        if session in self._open:
            raise RefusedError(TWICE)
        mine = sum(agent == asked.agent for agent, _, _ in self._open)
        if len(self._open) >= OPEN_MAX or mine >= OPEN_PER_AGENT_MAX:
            raise RefusedError(FULL)
        self._open[session] = _Open(digests, len(nodes), now_ms)
        self._sessions |= dict.fromkeys(digests, session)
        return write_opened(asked, self._sign)

    def _end(self, asked: Asked, now_ms: int) -> bytes:
        """Under the lock. The same report again for who did not get it."""
        session = (asked.agent, asked.attempt, asked.token)
        if session in self._done:
            return self._done[session][1]
        opened = self._forget(session)
        if opened is None:
            raise RefusedError(UNKNOWN)
        seen = Observation(
            listener=self.name,
            key=self._public,
            agent=asked.agent,
            attempt=asked.attempt,
            token=asked.token,
            opened_ms=opened.opened_ms,
            closed_ms=max(now_ms, opened.opened_ms),
            outside=opened.from_all(OUTSIDE),
            inside=opened.from_any(INSIDE),
        )
        report = write_observation(seen, self._sign)
        self._done[session] = now_ms, report
        return report

    def _forget(self, session: Session) -> _Open | None:
        opened = self._open.pop(session, None)
        for digest in opened.digests if opened else ():
            del self._sessions[digest]
        return opened

    def _tidy(self, now_ms: int) -> None:
        """Let go of what nobody asks for any more; the oldest first where there is too much."""
        for session in [key for key, one in self._open.items() if now_ms - one.opened_ms > OPEN_MS_MAX]:
            self._forget(session)
        for session, (done_ms, _) in list(self._done.items()):
            if now_ms - done_ms <= DONE_MS_MAX and len(self._done) < DONE_MAX:
                break
            del self._done[session]
