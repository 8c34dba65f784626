"""The agents' door: opens seals, finds the agent, turns messages into commands, long-polls for orders.

Only what an enabled agent's key sealed becomes a command, so the gate's `Agent` actors are made here and nowhere
else. A poll waits on cheap reads and takes its orders in one short transaction; hundreds of waiting agents cost
hundreds of reads a second, no writes.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import anyio
import anyio.to_thread
import msgspec
from prometheus_client import Counter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sekisho.compute import (
    FindAgent,
    NoteProgress,
    OrdersWaiting,
    PollOrders,
    RenewAttempt,
    ReportAttempt,
    Seals,
)
from sekisho.data import ReleaseKey
from sekisho.http import envelope as request_envelope
from sekisho.http.edge import problem
from sekisho.http.errors import TIMEOUT, RefusedError
from sekisho.identity import RegisterAgent
from sekisho.kernel.clock import Clock, parse_rfc3339, rfc3339
from sekisho.kernel.command import Command
from sekisho.kernel.errors import BusyError, SekishoError
from sekisho.kernel.facts import ANONYMOUS, Actor, Ref
from sekisho.kernel.gate import Gate
from sekisho.kernel.ids import is_id
from sekisho_verify.errors import CanonicalError
from sekisho_wire import messages, problems
from sekisho_wire.keying import KeyGranted, KeyRefused
from sekisho_wire.messages import Envelope
from sekisho_wire.problems import Exit, Text
from sekisho_wire.signing import (
    CLOCK_SKEW_SECONDS_MAX,
    SealError,
    claimed_agent,
    decode_public_key,
    open_sealed,
)

ResultT = TypeVar("ResultT")

LOOK_SECONDS = 0.1
"""How often a waiting poll looks; each look is one read."""
POLLS_MAX = 512
BODY_SECONDS = 30
"""How long a message may take to arrive."""
THREADS = 16

UNKNOWN = problems.define(
    "agent.unknown",
    401,
    Exit.SIGN_IN,
    Text(
        "This message is not from an agent that may speak here.",
        "このメッセージは、登録された有効なエージェントのものではありません。",
    ),
)
OLD = problems.define(
    "agent.version_unsupported",
    409,
    Exit.USAGE,
    Text(
        "Protocol {found} is not served; update the agent to protocol {wanted}.",
        "プロトコル{found}には対応していません。エージェントをプロトコル{wanted}に更新してください。",
    ),
)
CLOCK = problems.define(
    "agent.clock",
    409,
    Exit.CONFLICT,
    Text(
        "The agent's clock differs by more than {seconds} s.",
        "エージェントの時計が{seconds}秒以上ずれています。",
    ),
)
SEAL = problems.define(
    "agent.seal",
    400,
    Exit.USAGE,
    Text("The sealed message cannot be opened: {what}", "封印されたメッセージを開けません：{what}"),
)


class AgentDoor:
    """Starlette endpoints for sites' agents. Owns nothing but its figures; one for each server process."""

    def __init__(self, gate: Gate, seals: Seals, clock: Clock) -> None:
        """`seals` signs the answers that no command makes: to registrations and polls."""
        self._gate = gate
        self._seals = seals
        self._clock = clock
        self.key_answers = Counter(
            "sekisho_key_answers",
            "Answers to attempts that asked for data keys: granted, pending, or the code of why not.",
            ("result",),
            registry=None,
        )
        """Registered by whoever shows metrics."""
        self._polls = 0
        self._limiter: anyio.CapacityLimiter | None = None

    def routes(self) -> Sequence[BaseRoute]:
        """Every path under `/agent/v1` that takes messages; objects have their own file."""
        return (
            Route("/agent/v1/register", self.register, methods=["POST"]),
            Route("/agent/v1/poll", self.poll, methods=["POST"]),
            Route("/agent/v1/message", self.message, methods=["POST"]),
            Route("/agent/v1/log", self.message, methods=["POST"]),
        )

    async def register(self, request: Request) -> Response:
        """Trade a one-time code for an identity."""
        request.scope[request_envelope.ROUTE] = "/agent/v1/register"
        try:
            body = await _body(request)
            return await self._thread(functools.partial(self._register, body))
        except SekishoError as error:
            return problem(request, error)

    async def message(self, request: Request) -> Response:
        """Apply one sealed message of the lanes main, lease and log."""
        request.scope[request_envelope.ROUTE] = request.url.path
        try:
            body = await _body(request)
            return await self._thread(functools.partial(self._message, body))
        except SekishoError as error:
            return problem(request, error)

    async def poll(self, request: Request) -> Response:
        """Wait until there is an order, at most as long as the agent asked."""
        request.scope[request_envelope.ROUTE] = "/agent/v1/poll"
        try:
            body = await _body(request)
            question, actor, _ = await self._thread(functools.partial(self._open, body))
            # Counted only now: whoever has no key must not take an agent's place.
            if self._polls >= POLLS_MAX:
                raise BusyError(seconds=5)
            self._polls += 1
            try:
                return await self._wait(request, question, actor)
            finally:
                self._polls -= 1
        except SekishoError as error:
            return problem(request, error)

    async def _wait(self, request: Request, question: Envelope, actor: Actor) -> Response:
        poll = question.body
        if not isinstance(poll, messages.Poll):
            raise SekishoError(SEAL, what="not a poll")
        take = functools.partial(self._take, question, actor, poll)
        orders = await self._thread(take)
        with anyio.move_on_after(poll.wait_s):
            while not orders and not await request.is_disconnected():
                await anyio.sleep(LOOK_SECONDS)
                if await self._thread(functools.partial(self._gate.perform, actor, OrdersWaiting())):
                    orders = await self._thread(take)
        body = messages.Orders(nonce=poll.nonce, orders=orders)
        return _sealed(self._seals.answer(question, body, self._clock.now_ms()))

    async def _thread(self, work: Callable[[], ResultT]) -> ResultT:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(THREADS)
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)

    def _take(self, question: Envelope, actor: Actor, poll: messages.Poll) -> list[str]:
        self._check_clock(question)
        return self._gate.perform(actor, PollOrders(free=poll.free, capabilities=poll.capabilities))

    def _register(self, body: bytes) -> Response:
        try:
            asked = msgspec.json.decode(body, type=messages.RegisterRequest)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise SekishoError(SEAL, what="not a registration") from error
        if asked.protocol != messages.PROTOCOL_VERSION:
            raise SekishoError(OLD, found=asked.protocol, wanted=messages.PROTOCOL_VERSION)
        agent = self._gate.perform(
            ANONYMOUS,
            RegisterAgent(code=asked.code, name=asked.name, public_key=asked.public_key),
            # An agent whose answer was lost asks again with the same code and key, and is the same agent.
            idempotency_key="register:" + hashlib.sha256(body).hexdigest(),
        )
        now_ms = self._clock.now_ms()
        question = Envelope(
            agent=agent.id,
            lane=messages.LANE_REGISTER,
            seq=0,
            time=rfc3339(now_ms),
            attempt="",
            token=0,
            body=messages.Ok(),
        )
        answer = messages.Registered(agent=agent.id, site=agent.site, name=agent.name)
        return _sealed(self._seals.answer(question, answer, now_ms))

    def _message(self, body: bytes) -> Response:
        envelope, actor, key = self._open(body)
        if envelope.lane not in messages.SEQUENCED_LANES:
            raise SekishoError(SEAL, what="not a lane of messages")
        if not is_id(envelope.attempt, "att"):
            raise SekishoError(SEAL, what="it names no attempt")
        sealed = body.decode()
        command: Command[bytes]
        if envelope.lane == messages.LANE_LEASE:
            command = RenewAttempt(envelope=envelope, sealed=sealed)
        elif isinstance(envelope.body, (messages.Progress, messages.LogChunk)):
            command = NoteProgress(envelope=envelope, sealed=sealed)
        elif isinstance(envelope.body, messages.WantKey):
            command = ReleaseKey(envelope=envelope, sealed=sealed, agent_key=key)
        else:
            command = ReportAttempt(envelope=envelope, sealed=sealed, agent_key=key)
        try:
            answer = self._gate.perform(actor, command)
            if isinstance(command, ReleaseKey):
                self._note_answer(answer)
            return _sealed(answer)
        except CanonicalError as error:
            # Text that is no base64, or names that evidence cannot hold: signed, and malformed all the same.
            raise SekishoError(SEAL, what=error.detail) from error

    def _note_answer(self, answer: bytes) -> None:
        """Counted here and not by the handler: only now it is durable, and a transaction may be tried again."""
        match open_sealed(decode_public_key(self._seals.public_key), answer).body:
            case KeyRefused(reason=result):
                pass
            case KeyGranted():
                result = "granted"
            case _:
                result = "pending"
        self.key_answers.labels(result).inc()

    def _open(self, body: bytes) -> tuple[Envelope, Actor, str]:
        """The opened envelope, its agent as an actor, and the key that sealed it."""
        try:
            claimed = claimed_agent(body)
            agent = self._gate.perform(ANONYMOUS, FindAgent(agent=claimed)) if is_id(claimed, "agt") else None
            if agent is None:
                raise SekishoError(UNKNOWN)
            envelope = open_sealed(decode_public_key(agent.public_key), body)
        except SealError as error:
            if error.code == "seal.signature":
                raise SekishoError(UNKNOWN) from error
            raise SekishoError(SEAL, what=error.detail) from error
        return envelope, Actor(Ref("Agent", agent.id), via="seal"), agent.public_key

    def _check_clock(self, envelope: Envelope) -> None:
        """Polls have no sequence, so an old one is told by its time."""
        difference_ms = abs(parse_rfc3339(envelope.time) - self._clock.now_ms())
        if difference_ms > CLOCK_SKEW_SECONDS_MAX * 1000:
            raise SekishoError(CLOCK, seconds=CLOCK_SKEW_SECONDS_MAX)


async def _body(request: Request) -> bytes:
    content = bytearray()
    try:
        with anyio.fail_after(BODY_SECONDS):
            async for chunk in request.stream():
                content += chunk
                if len(content) > messages.SEALED_BYTES_MAX:
                    limit = messages.SEALED_BYTES_MAX
                    raise SekishoError(problems.INPUT_TOO_LARGE, size=len(content), limit=limit)
    except TimeoutError:
        raise RefusedError(TIMEOUT, seconds=BODY_SECONDS) from None
    return bytes(content)


def _sealed(content: bytes) -> Response:
    return Response(content, media_type=messages.SEALED_MEDIA_TYPE)
