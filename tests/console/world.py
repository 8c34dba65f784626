"""A whole installation with something on every page: real gate, charter, ledger and server, agents played by us.

Agents speak through the gate as the agents' door would let them, with messages signed by their own keys, so that
bundles verify.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import httpx2
import msgspec
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho import console
from sekisho.app import Control, initialise, opened
from sekisho.charter import DraftVersion, default_policies
from sekisho.compute import (
    CancelJob,
    JobDetail,
    JobState,
    NoteProgress,
    PollOrders,
    ReportAttempt,
    ShowJob,
    SubmitJob,
)
from sekisho.data import AddDataset, SealDataset
from sekisho.http import build, serving
from sekisho.http.spelling import answer
from sekisho.identity import (
    CreateLink,
    CreateOrganisation,
    CreatePerson,
    GrantRole,
    InviteAgent,
    RegisterAgent,
)
from sekisho.kernel.clock import rfc3339
from sekisho.kernel.facts import ANONYMOUS, SYSTEM, Actor, Ref
from sekisho.server.service import application, started
from sekisho.sites import Accelerator, DrainSite, Fact, RegisterSite, SiteView
from sekisho_verify.canonical import from_base64url, to_base64url
from sekisho_verify.observation import Observation, write_observation
from sekisho_verify.sealed import seal
from sekisho_wire import messages
from sekisho_wire.egress import EgressReport, Held, Reached
from sekisho_wire.messages import AgentBody, Capabilities, Capacity, Envelope
from sekisho_wire.trees import MODE_PLAIN, TreeFile, encode_tree
from tests.journeys.world import House, founding, settings_in, until
from tests.support import custody, tree

FEDERATION = tree.ROOT / "examples" / "japan" / "federation.yaml"
EGRESS = EgressReport(
    "network namespace + proxy",
    [Reached("data.example.jp:443", 2, 3_000_000, 400_000_000, ["203.0.113.7"])],
    [Held("x.example:443", "not_listed", 3)],
    3,
)
LIMITS = {"memory": "cgroup", "processes": "rlimit", "wall clock": "polling"}
RUN_SECONDS = 72
HOSTILE = "<b>bold</b> & \"quoted\" <script>document.title='taken'</script>"
"""A log line that must stay text."""


def job_file(name: str, *, residency: str = "[JP]", more: str = "") -> str:
    """A job that every site of the federation could hold."""
    return f"name: {name}\nrun: python train.py\nresources:\n  cpus: 1\n  memory: 1\ncharter:\n  residency: {residency}\n{more}"


class Agent:
    """A site's agent, played by the test. Sequence numbers and signatures are real."""

    def __init__(self, house: House, site: SiteView, administrator: Actor) -> None:
        self._gate = house.control.gate
        self._clock = house.control.clock
        self._key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(site.name.encode()).digest())
        self.public = to_base64url(self._key.public_key().public_bytes_raw())
        code = self._gate.perform(administrator, InviteAgent(site=site.id)).code
        view = self._gate.perform(
            ANONYMOUS, RegisterAgent(code=code, name=f"agent-{site.name}", public_key=self.public)
        )
        self.actor = Actor(Ref("Agent", view.id))
        self.site = site
        self._seq = {"main": 0, "log": 0}
        self._offsets: dict[str, int] = {}

    def poll(self) -> None:
        """Say that the site lives, has room, and can build a wall."""
        free = Capacity(attempts=2, cpus=2, memory_bytes=4 << 30)
        can = Capabilities(engine="local", wall="bubblewrap", limits=LIMITS)
        self._gate.perform(self.actor, PollOrders(free=free, capabilities=can))

    def _envelope(self, lane: str, attempt: str, token: int, body: AgentBody) -> tuple[Envelope, str]:
        self._seq[lane] += 1
        envelope = Envelope(
            agent=self.actor.ref.id,
            lane=lane,
            seq=self._seq[lane],
            time=rfc3339(self._clock.now_ms()),
            attempt=attempt,
            token=token,
            body=body,  # type: ignore[arg-type] - the union of all bodies
        )
        content: dict[str, Any] = {
            "agent": envelope.agent,
            "lane": lane,
            "seq": envelope.seq,
            "time": envelope.time,
            "attempt": attempt,
            "token": token,
            "body": msgspec.to_builtins(body),
        }
        return envelope, seal(content, self._key.sign).decode()

    def report(self, detail: JobDetail, *bodies: AgentBody) -> None:
        """Messages of the main lane about a job's newest attempt."""
        attempt = detail.attempts[-1]
        for body in bodies:
            envelope, sealed = self._envelope("main", attempt.id, attempt.token, body)
            self._gate.perform(
                self.actor, ReportAttempt(envelope=envelope, sealed=sealed, agent_key=self.public)
            )

    def log(self, detail: JobDetail, text: str) -> None:
        """A piece of the newest attempt's log."""
        attempt = detail.attempts[-1]
        offset = self._offsets.get(attempt.id, 0)
        raw = text.encode()
        self._offsets[attempt.id] = offset + len(raw)
        chunk = messages.LogChunk(offset=offset, text=to_base64url(raw))
        envelope, sealed = self._envelope("log", attempt.id, attempt.token, chunk)
        self._gate.perform(self.actor, NoteProgress(envelope=envelope, sealed=sealed))

    def progress(self, detail: JobDetail, **line: str | int | bool) -> None:
        """The newest progress line."""
        attempt = detail.attempts[-1]
        envelope, sealed = self._envelope(
            "log", attempt.id, attempt.token, messages.Progress(line=dict(line))
        )
        self._gate.perform(self.actor, NoteProgress(envelope=envelope, sealed=sealed))


class People(NamedTuple):
    """Who uses the console here."""

    administrator: Actor
    engineer: Actor
    auditor: Actor
    stranger: Actor


class World:
    """The installation, its people, sites, agents and jobs."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.url = house.url
        self.gate = house.control.gate
        self.control = house.control
        first = Actor(Ref("User", house.genesis.administrators[0].account))
        self.organisation = house.genesis.organisation
        for role in ("engineer", "auditor", "compliance", "site_operator"):
            self.gate.perform(first, GrantRole(account=first.ref.id, role=role))
        self.people = People(
            first,
            self._person(first, "Example Engineer", "engineer"),
            self._person(first, "Example Auditor", "auditor"),
            self._outsider(first),
        )
        self.sites: dict[str, SiteView] = {}
        self.agents: dict[str, Agent] = {}
        self.jobs: dict[str, str] = {}

    @functools.cached_property
    def draft(self) -> str:
        """A draft under which nothing internal would be kept, so that recorded decisions would change."""
        forbid = 'forbid (principal, action in Action::"at_rest", resource) when { resource.level >= 1 };'
        text = f'{default_policies()}\n@id("C90-nothing-internal")\n@en("None.")\n@ja("なし。")\n{forbid}\n'
        drafted = self.gate.perform(self.people.administrator, DraftVersion(policies=text))
        return drafted.version

    def _person(self, by: Actor, name: str, *roles: str, organisation: str = "") -> Actor:
        command = CreatePerson(
            organisation=organisation or self.organisation, display_name=name, residence="JP"
        )
        person = self.gate.perform(by, command)
        for role in roles:
            self.gate.perform(by, GrantRole(account=person.id, role=role))  # type: ignore[arg-type] - literals above
        return Actor(Ref("User", person.id))

    def _outsider(self, by: Actor) -> Actor:
        """An engineer of another organisation, who may see nothing of the first."""
        other = CreateOrganisation(
            name="Another laboratory", jurisdiction="JP", parent_jurisdiction="JP", foreign_control_pct=0
        )
        return self._person(by, "Example Stranger", "engineer", organisation=self.gate.perform(by, other).id)

    def link(self, who: Actor) -> str:
        """A one-time sign-in link's path."""
        made = self.gate.perform(SYSTEM, CreateLink(account=who.ref.id))
        return f"/signin/{made.secret}"

    def federate(self) -> None:
        """Register the example's federation; agents answer for three of its sites, one is drained."""
        described = yaml.safe_load(FEDERATION.read_text())
        by = self.people.administrator
        organisations = {item["name"]: self._organisation(by, item) for item in described["organisations"]}
        for item in described["sites"]:
            self.sites[item["name"]] = self._site(by, item, organisations[item["operator"]])
        for name in ("sakura-ishikari", "softbank-tomakomai", "us-west", "azure-tokyo"):
            self.agents[name] = Agent(self.house, self.sites[name], by)
        keeper = self._person(
            by, "Example Operator", "site_operator", organisation=self.sites["azure-tokyo"].operator
        )
        self.gate.perform(keeper, DrainSite(site="azure-tokyo"))
        self.poll()

    def _organisation(self, by: Actor, item: dict[str, Any]) -> str:
        values = {name: fact["value"] for name, fact in item["facts"].items()}
        return self.gate.perform(by, CreateOrganisation(name=item["name"], **values)).id

    def _site(self, by: Actor, item: dict[str, Any], operator: str) -> SiteView:
        command = RegisterSite(
            name=item["name"],
            operator=operator,
            country=Fact(**item["country"]),
            stand_in=item["stand_in"],
            cpus=item["cpus"],
            memory_bytes=item["memory_bytes"],
            yen_per_hour=item["yen_per_hour"],
            accelerators=[Accelerator(**one) for one in item["accelerators"]],
            facts={name: Fact(**fact) for name, fact in item["facts"].items()},
        )
        return self.gate.perform(by, command)

    def poll(self) -> None:
        """Every agent says that it lives."""
        for agent in self.agents.values():
            agent.poll()

    def submit(self, name: str, text: str = "", *, by: Actor | None = None) -> str:
        """Submit a job and remember it by name."""
        job = self.gate.perform(by or self.people.engineer, SubmitJob(file=text or job_file(name)))
        self.jobs[name] = job.id
        return job.id

    def detail(self, name: str) -> JobDetail:
        """A job as its engineer sees it."""
        return self.gate.perform(self.people.engineer, ShowJob(job=self.jobs[name]))

    def placed(self, name: str) -> Agent:
        """Wait until a job is placed; the agent of its site."""
        until(lambda: bool(self.detail(name).attempts), what=f"a place for {name}")
        site = self.detail(name).job.site_name
        return self.agents[site]

    def opening(self) -> tuple[AgentBody, ...]:
        """What an agent says until its payload runs."""
        canaries: dict[str, Any] = dict.fromkeys(messages.CANARY_ROUTES, "closed") | {"raw": "unproven"}
        started = messages.Started(canaries=canaries, wall="bubblewrap", limits=LIMITS, image="none")
        return messages.Accept(), messages.Staged(), started

    def run(self, name: str, text: str = "") -> Agent:
        """Submit, place and start a job."""
        self.submit(name, text)
        agent = self.placed(name)
        agent.report(self.detail(name), *self.opening())
        return agent

    def observed(self, name: str, agent: Agent) -> str:
        """What a listener that nobody here knows has signed of a job's newest attempt."""
        attempt, key = self.detail(name).attempts[-1], Ed25519PrivateKey.from_private_bytes(bytes(32))
        now_ms = int(time.time() * 1000)
        seen = Observation(
            listener="listener.example/one",
            key=key.public_key().public_bytes_raw(),
            agent=from_base64url(agent.public),
            attempt=attempt.id,
            token=attempt.token,
            opened_ms=now_ms,
            closed_ms=now_ms + RUN_SECONDS * 1000,
            outside=frozenset({"tcp", "udp"}),
            inside=frozenset(),
        )
        return to_base64url(write_observation(seen, key.sign))

    def finish(self, name: str, agent: Agent, *, status: int = 0) -> None:
        """End a job's newest attempt, with one output when it went well."""
        output = messages.OutputReport(
            name="model", object="sha256:" + hashlib.sha256(name.encode()).hexdigest(), size_bytes=12_400_000
        )
        ended = messages.Ended(
            reason="failed" if status else "finished",
            exit_status=status,
            seconds=RUN_SECONDS,
            cpu_s=70,
            max_rss_bytes=310_000_000,
            outputs=[] if status else [output],
            egress=EGRESS,
            observed=[self.observed(name, agent)],
        )
        agent.report(self.detail(name), ended)
        self.closed(name)

    def closed(self, name: str) -> None:
        """Wait until a job has ended."""
        until(lambda: self.detail(name).job.state.ended, what=f"the end of {name}")

    def dataset(self, name: str) -> str:
        """A dataset of one small file, sent through the store that the object door fills."""
        content = "関所の例文です。\n".encode()
        file = TreeFile("text.txt", len(content), "sha256:" + hashlib.sha256(content).hexdigest(), MODE_PLAIN)
        manifest = encode_tree([file])
        key = self.gate.perform(
            self.people.engineer, custody.registration(f"key-of-{name}", owner=self.organisation)
        )
        self.key = key.id
        command = AddDataset(
            key=key.id,
            key_version=key.version,
            envelope=custody.ENVELOPE,
            name=name,
            object="sha256:" + hashlib.sha256(manifest).hexdigest(),
            size_bytes=len(content),
            files=1,
            level=1,
            residency=["JP"],
            labels=["example"],
            licence="CC0-1.0",
        )
        upload = self.gate.perform(self.people.engineer, command)
        for piece in (manifest, content):
            address = f"{self.url}/objects/sha256:{hashlib.sha256(piece).hexdigest()}"
            with httpx2.Client(trust_env=False) as client:
                headers = {
                    "Authorization": f"Bearer {upload.ticket}",
                    "Content-Type": "application/octet-stream",
                }
                client.put(address, content=piece, headers=headers).raise_for_status()
        self.gate.perform(self.people.engineer, SealDataset(dataset=upload.id))
        return upload.id

    def populate(self) -> None:
        """Something on every page: jobs in each state, logs, outputs, a dataset."""
        self.federate()
        self.dataset("manual-pages")
        done = self.run("llm-small")
        done.log(self.detail("llm-small"), "step 1 loss 7.6\nstep 2 loss 3.5 日本語のログ\n" + HOSTILE + "\n")
        self.finish("llm-small", done)
        broken = self.run("broken")
        broken.log(self.detail("broken"), "Traceback (most recent call last):\nValueError: no such file\n")
        self.finish("broken", broken, status=1)
        gone = self.submit("unwanted", job_file("unwanted", residency="[FR]"))
        until(lambda: bool(self.detail("unwanted").sites), what="a round")
        self.gate.perform(self.people.engineer, CancelJob(job=gone))
        self.closed("unwanted")
        self.submit("nowhere", job_file("nowhere", residency="[FR]"))
        running = self.run("llm-running")
        running.log(self.detail("llm-running"), "step 1 loss 7.61\n")
        running.progress(self.detail("llm-running"), step=1, loss="7.61")
        elsewhere = "  sites: [softbank-tomakomai]\n"
        array = job_file("sweep", more=f"{elsewhere}kind: array\narray: {{size: 3, parallel: 1}}\n")
        self.submit("sweep", array)
        until(lambda: self.detail("sweep").job.state is JobState.RUNNING, what="the array's first job")
        until(lambda: self.detail("nowhere").job.reason == "CharterForbids", what="the round over nowhere")
        assert self.detail("llm-running").job.state is JobState.RUNNING


@contextlib.contextmanager
def world(folder: Path, *, lease_seconds: int = 3600) -> Iterator[World]:
    """A served installation without content. The lease is long: nobody renews it while a browser is looked at."""
    settings = settings_in(folder, "", lease_seconds=lease_seconds)
    genesis = initialise(settings, founding())
    with (
        opened(settings) as control,
        started(control),
        serving(application(control)) as listener,
        contextlib.ExitStack() as stack,
    ):
        yield World(House(control, genesis, listener.url, stack))


@contextlib.contextmanager
def served(control: Control, **changes: Any) -> Iterator[str]:
    """The console once more over the same installation, with some of its parts replaced; answers its address."""
    parts = console.Parts(
        gate=control.gate,
        sign_in=control.sign_in,
        clock=control.clock,
        drawing=console.Drawing(),
        spell=answer,
    )
    pages = console.routes(msgspec.structs.replace(parts, **changes))
    app = build(
        control.gate, control.sign_in.authenticate, ready=control.ready, clock=control.clock, mounts=pages
    )
    with serving(app) as listener:
        yield listener.url


class Visitor:
    """A browser without eyes: keeps cookies, fills forms in, follows nothing by itself."""

    opened: ClassVar[list[Visitor]] = []
    """Closed by a fixture after each test, also after one that failed half way."""

    def __init__(self, url: str, **headers: str) -> None:
        self.opened.append(self)
        self.client = httpx2.Client(base_url=url, trust_env=False, headers=headers, timeout=30)

    def get(self, path: str, **headers: str) -> httpx2.Response:
        """A page."""
        return self.client.get(path, headers=headers)

    def token(self, path: str = "/verify") -> str:
        """The form token of a page."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.get(path).text)
        assert found
        return found[1]

    def post(self, path: str, *, page: str = "/verify", **fields: str) -> httpx2.Response:
        """A form, with the token of `page`."""
        return self.client.post(path, data={"csrf": self.token(page), **fields})

    def enter(self, link: str) -> Visitor:
        """Sign in with a one-time link."""
        response = self.post(link, page=link)
        assert response.status_code == 303, response.text
        return self

    def close(self) -> None:
        """Let go of the connections."""
        self.client.close()
