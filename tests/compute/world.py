"""The installation of `tests.data.world` with two sites whose agents the test plays, through the real agents' door."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typing_extensions import override

from sekisho.compute import AttemptView, JobDetail, JobView, ShowJob, SubmitJob
from sekisho.http.agents import AgentDoor
from sekisho.identity import InviteAgent
from sekisho.kernel.clock import rfc3339
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import Actor
from sekisho.sites import SiteView
from sekisho_verify.canonical import to_base64url
from sekisho_wire import messages
from sekisho_wire.messages import Body, Capabilities, Capacity, Envelope
from sekisho_wire.signing import answers, decode_public_key, encode_public_key, open_sealed, seal
from tests.data.world import World as DataWorld
from tests.data.world import digest_of
from tests.sites.world import GIB

LIMITS = {"memory": "cgroup", "processes": "rlimit"}
CLOSED: dict[str, messages.CanaryResult] = dict.fromkeys(messages.CANARY_ROUTES, "closed")
MODEL = messages.OutputReport(name="model", object=digest_of(b"model"), size_bytes=12)
FINISHED = messages.Ended(reason="finished", exit_status=0, seconds=72, cpu_s=70, outputs=[MODEL])
FAILED = messages.Ended(reason="failed", exit_status=1, seconds=3)


def job_file(name: str = "a", more: str = "", *, residency: str = "[JP]") -> str:
    """A small job; `more` is further lines of the file."""
    return (
        f"name: {name}\nrun: python train.py\nresources: {{cpus: 1, memory: 1}}\n"
        f"charter:\n  residency: {residency}\n{more}"
    )


def started(**changes: Any) -> messages.Started:
    """The report of a payload behind a wall without a hole."""
    values: dict[str, Any] = {"canaries": CLOSED, "wall": "bubblewrap", "limits": LIMITS, "image": "none"}
    return messages.Started(**(values | changes))


def code_of(call: Callable[[], Any]) -> str:
    """The code of the problem that a call ends in."""
    with pytest.raises(SekishoError) as caught:
        call()
    return caught.value.code


class Agent:
    """A site's agent: its key, its lanes, and what it said last."""

    def __init__(self, world: World, site: SiteView, name: str = "") -> None:
        name = name or f"agent-{site.name}"
        self.site = site
        self.key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
        self._call(world)
        self.seq = {"main": 0, "lease": 0, "log": 0}
        code = world.perform(world.administrator, InviteAgent(site=site.id)).code
        asked = messages.RegisterRequest(
            code=code,
            name=name,
            public_key=encode_public_key(self.key.public_key()),
            version="1",
            protocol=messages.PROTOCOL_VERSION,
        )
        answer = open_sealed(self._control, bytes(self.door._register(msgspec.json.encode(asked)).body))
        assert isinstance(answer.body, messages.Registered)
        assert answer.body.site == site.id
        self.id = answer.body.agent

    def _call(self, world: World) -> None:
        self.door = AgentDoor(world.gate, world.control.seals, world.clock)
        self._control = decode_public_key(world.control.seals.public_key)
        self._clock = world.clock

    def moved(self, world: World) -> Agent:
        """The same agent at a copy of its installation."""
        twin = copy.copy(self)
        twin.seq = dict(self.seq)
        twin._call(world)
        return twin

    def envelope(
        self, lane: str, order: Envelope | AttemptView, body: Body, seq: int | None = None
    ) -> Envelope:
        """What would be sealed next; with `seq`, out of its turn."""
        if seq is None:
            self.seq[lane] = seq = self.seq.get(lane, 0) + 1
        attempt = order.attempt if isinstance(order, Envelope) else order.id
        return Envelope(
            agent=self.id,
            lane=lane,
            seq=seq,
            time=rfc3339(self._clock.now_ms()),
            attempt=attempt,
            token=order.token,
            body=body,
        )

    def deliver(self, sealed: bytes) -> Envelope:
        """The opened answer to bytes sent, which must name the message it answers."""
        answer = open_sealed(self._control, bytes(self.door._message(sealed).body))
        assert answers(open_sealed(self.key.public_key(), sealed), answer)
        return answer

    def say(self, order: Envelope | AttemptView, *bodies: Body, lane: str = "main") -> Body:
        """Messages about one attempt, one after the other; the last answer."""
        answer: Body = messages.Ok()
        for body in bodies:
            answer = self.deliver(seal(self.key, self.envelope(lane, order, body))).body
        return answer

    def renew(self, order: Envelope | AttemptView) -> messages.Lease:
        """Renew the lease."""
        answer = self.say(order, messages.Renew(), lane="lease")
        assert isinstance(answer, messages.Lease)
        return answer

    def log(self, order: Envelope | AttemptView, offset: int, content: bytes) -> Body:
        """A piece of the log."""
        return self.say(order, messages.LogChunk(offset=offset, text=to_base64url(content)), lane="log")

    def poll(self, *, wall: str = "bubblewrap", **more: Any) -> list[Envelope]:
        """Say that the site lives; the opened orders for it."""
        poll = messages.Poll(
            wait_s=0,
            nonce="n" * 16,
            free=Capacity(attempts=2, cpus=4, memory_bytes=8 * GIB),
            capabilities=Capabilities(
                engine="local", wall=wall, limits=LIMITS, **({"asks_health": True} | more)
            ),
        )
        nobody = Envelope(agent="", lane="", seq=0, time="", attempt="", token=0, body=poll)
        question, actor, _ = self.door._open(seal(self.key, self.envelope("poll", nobody, poll, 0)))
        return [
            open_sealed(self._control, order.encode()) for order in self.door._take(question, actor, poll)
        ]

    def offers(self) -> list[Envelope]:
        """The offers among the orders."""
        return [order for order in self.poll() if isinstance(order.body, messages.Offer)]


class World(DataWorld):
    """Ishikari in Japan, and us-west, which is cheaper; both answer."""

    home: Agent
    abroad: Agent

    @override
    def populate(self) -> None:
        super().populate()
        sakura = self.organisation("Sakura")
        other = self.organisation("US West", "US", foreign_pct=100)
        self.home = Agent(self, self.site("ishikari", sakura, yen_per_hour=20))
        self.abroad = Agent(self, self.site("us-west", other, "US", yen_per_hour=10))
        self.hear()

    def hear(self) -> None:
        """Every agent says that it lives, and what it said is noted."""
        for agent in (self.home, self.abroad):
            agent.poll()
        self.work()

    def submit(self, text: str | None = None, *, by: Actor | None = None, **fields: Any) -> JobView:
        """Submit a job."""
        return self.perform(by or self.engineer, SubmitJob(file=text or job_file(), **fields))

    def show(self, job: str, by: Actor | None = None) -> JobDetail:
        """A job as its engineer sees it."""
        return self.perform(by or self.engineer, ShowJob(job=job))

    def offered(self, text: str | None = None) -> tuple[str, Envelope]:
        """A job that was placed at home, and the order its agent got."""
        job = self.submit(text).id
        self.settle()
        (order,) = [offer for offer in self.home.offers() if isinstance(offer.body, messages.Offer)]
        return job, order

    def running(self, text: str | None = None) -> tuple[str, Envelope]:
        """A job that runs at home."""
        job, order = self.offered(text)
        self.home.say(order, messages.Accept(), messages.Staged(), started())
        return job, order

    def submitted(self, *more: str) -> str:
        """A job with further lines that was submitted and looked at by one round."""
        job = self.submit(job_file(more="".join(more))).id
        self.work()
        return job

    def reason(self, job: str) -> tuple[str, str]:
        """A job's state and why."""
        view = self.show(job).job
        return view.state.value, view.reason
