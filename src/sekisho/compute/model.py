"""What can be asked of compute: jobs, their attempts, the queue, and what sites' agents report."""

from __future__ import annotations

import enum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from sekisho.identity import AgentView
from sekisho.kernel.command import Command, Kind, command
from sekisho_wire.egress import EgressReport
from sekisho_wire.messages import Capabilities, Capacity, Envelope

Cursor = Annotated[str, Meta(max_length=64)]
Limit = Annotated[int, Meta(ge=1, le=200)]
Count = Annotated[int, Meta(ge=0, lt=2**53)]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}\Z")]
JOB_FILE_BYTES_MAX = 262_144
GROUPS = frozenset({"array", "service"})
"""Kinds of jobs that are only their members."""


class JobState(enum.StrEnum):
    """Where a job stands; drawn in this capability's README."""

    WAITING = "waiting"
    STAGING = "staging"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Nothing changes any more."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


class AttemptState(enum.StrEnum):
    """Where one try at one site stands; drawn in this capability's README."""

    OFFERED = "offered"
    STAGING = "staging"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    LOST = "lost"

    @property
    def ended(self) -> bool:
        """Nothing changes any more; a message under its token is fenced."""
        return self in {
            AttemptState.SUCCEEDED,
            AttemptState.FAILED,
            AttemptState.CANCELLED,
            AttemptState.REFUSED,
            AttemptState.LOST,
        }


class SiteChoice(msgspec.Struct, frozen=True):
    """What was decided about one site: allowed or denied by the charter, under which rules, chosen or not."""

    site: str
    name: str
    country: str
    decision: str
    rules: list[str]
    chosen: bool
    why: str = ""
    why_ja: str = ""


class Observed(msgspec.Struct, frozen=True):
    """What a listener outside heard of an attempt's canaries: `open`, `closed` or `unproven` by protocol."""

    listener: str
    known: bool
    results: dict[str, str]


class AttemptView(msgspec.Struct, frozen=True):
    """One try of a job at one site.

    `wall`, `canaries`, `limits` and `egress` are what the site's agent said (grade D). `observed` is what listeners
    outside have signed: grade M where the listener is `known` here.
    """

    id: str
    job: str
    number: int
    site: str
    site_name: str
    agent: str
    token: int
    state: AttemptState
    reason: str
    detail: str
    exit_status: int | None
    wall: str
    canaries: dict[str, str]
    limits: dict[str, str]
    image: str
    usage: dict[str, int]
    offered_ms: int
    started_ms: int
    ended_ms: int
    record_id: str
    egress: EgressReport | None = None
    observed: list[Observed] = []


class JobView(msgspec.Struct, frozen=True):
    """A job as people and programs see it.

    A member of an array names it in `array` and has its number there in `index`. The progress of an array is how many
    of its members are in which state.
    """

    id: str
    name: str
    team: str
    owner: str
    submitter: str
    kind: str
    array: str
    index: int | None
    level: int
    labels: list[str]
    residency: list[str]
    state: JobState
    reason: str
    site: str
    site_name: str
    attempts: int
    cancelling: bool
    progress: dict[str, Any]
    created_ms: int
    changed_ms: int
    ended_ms: int
    record_id: str


class JobPage(msgspec.Struct, frozen=True):
    """One page of jobs, newest first; `next` continues it."""

    items: list[JobView]
    next: str | None = None


class Event(msgspec.Struct, frozen=True):
    """One moment in a job's life, for the timeline."""

    time_ms: int
    what: str
    params: dict[str, str]
    record_id: str


class Member(msgspec.Struct, frozen=True):
    """One job of an array, in short."""

    index: int
    id: str
    name: str
    state: JobState
    reason: str
    site_name: str
    attempts: int
    progress: dict[str, Any]


class JobDetail(msgspec.Struct, frozen=True):
    """A job with its newest attempts, the sites of its last placement, timeline and file; an array with its members."""

    job: JobView
    members: list[Member]
    attempts: list[AttemptView]
    sites: list[SiteChoice]
    events: list[Event]
    file: str


class Explanation(msgspec.Struct, frozen=True):
    """Why a job is where it is, or is nowhere: one reason first, then every site."""

    job: JobView
    reason: str
    sentence: str
    sentence_ja: str
    sites: list[SiteChoice]


class LogText(msgspec.Struct, frozen=True):
    """A piece of a log from `offset`; `next` is where to go on, `ended` whether more can come."""

    text: str
    offset: int
    next: int
    ended: bool


class Plan(msgspec.Struct, frozen=True):
    """What would happen to a job file: its joined label, and what the charter says of every site."""

    name: str
    level: int
    labels: list[str]
    residency: list[str]
    sites: list[SiteChoice]


class SecretView(msgspec.Struct, frozen=True):
    """A secret by name; its value is never shown again."""

    name: str
    team: str
    changed_ms: int


class SecretPage(msgspec.Struct, frozen=True):
    """Every secret of the asker's organisation."""

    items: list[SecretView]
    next: str | None = None


class ImageView(msgspec.Struct, frozen=True):
    """A prepared environment: a name for one hashed lock file, which sites build from."""

    name: str
    lock: str
    owner: str
    created_ms: int


class ImagePage(msgspec.Struct, frozen=True):
    """Every image of the asker's organisation."""

    items: list[ImageView]
    next: str | None = None


JobFileText = Annotated[str, Meta(max_length=JOB_FILE_BYTES_MAX)]


@command("compute.job.submit", kind=Kind.RECORDED, resource="Job", groups=("use",), ja="ジョブを投入します。")
class SubmitJob(Command[JobView]):
    """Submit a job from the text of its job file."""

    file: JobFileText
    workdir: Annotated[str, Meta(max_length=64)] = ""


@command(
    "compute.job.place",
    kind=Kind.RECORDED,
    resource="Job",
    groups=("use", "processing"),
    ja="ジョブを拠点に配置します（配置の判断そのもので、直接は送れません）。",
)
class PlaceJob(Command[bool]):
    """Run a job at a site: the question every placement asks for each site; nobody sends it."""

    job: str


@command(
    "compute.job.plan",
    kind=Kind.READ,
    resource="Job",
    groups=("use",),
    ja="ジョブファイルの行き先を試算します。",
)
class PlanJob(Command[Plan]):
    """Tell what would happen to a job file, without submitting it."""

    file: JobFileText


@command("compute.job.show", kind=Kind.READ, resource="Job", groups=("view",), ja="ジョブを表示します。")
class ShowJob(Command[JobDetail]):
    """Show one job with its attempts and sites."""

    job: str


@command("compute.job.list", kind=Kind.READ, resource="Job", groups=("view",), ja="ジョブを一覧します。")
class ListJobs(Command[JobPage]):
    """List the jobs that you may see, newest first; an array or service is one row."""

    state: JobState | None = None
    mine: bool = False
    array: Annotated[str, Meta(max_length=64)] = ""
    cursor: Cursor = ""
    limit: Limit = 50


@command(
    "compute.job.explain",
    kind=Kind.READ,
    resource="Job",
    groups=("view",),
    ja="ジョブがなぜその状態かを説明します。",
)
class ExplainJob(Command[Explanation]):
    """Explain why a job is where it is, or why it waits."""

    job: str


@command(
    "compute.job.cancel", kind=Kind.RECORDED, resource="Job", groups=("use",), ja="ジョブを取り消します。"
)
class CancelJob(Command[JobView]):
    """Cancel a job, in any state."""

    job: str


@command("compute.log.read", kind=Kind.READ, resource="Job", groups=("view",), ja="ジョブのログを読みます。")
class ReadLog(Command[LogText]):
    """Read a job's log from an offset."""

    job: str
    attempt: Annotated[int, Meta(ge=0, le=10_000)] = 0
    offset: Count = 0


@command(
    "compute.secret.set", kind=Kind.RECORDED, resource="Secret", groups=("use",), ja="秘密情報を登録します。"
)
class SetSecret(Command[SecretView]):
    """Keep a secret for jobs of your organisation, or of one of your teams; attempts get it as a file."""

    name: Name
    value: Annotated[str, Meta(max_length=65_536)]
    team: Annotated[str, Meta(max_length=64)] = ""


@command(
    "compute.secret.list",
    kind=Kind.READ,
    resource="Secret",
    groups=("view",),
    ja="秘密情報の名前を一覧します。",
)
class ListSecrets(Command[SecretPage]):
    """List the names of your organisation's secrets."""


@command(
    "compute.secret.delete",
    kind=Kind.RECORDED,
    resource="Secret",
    groups=("use",),
    ja="秘密情報を削除します。",
)
class DeleteSecret(Command[bool]):
    """Delete a secret."""

    name: Name


@command(
    "compute.image.add",
    kind=Kind.RECORDED,
    resource="Image",
    groups=("use",),
    ja="実行環境をロックファイルから登録します。",
)
class AddImage(Command[ImageView]):
    """Register an environment from a requirements lock with hashes; sites build it apart from any data."""

    name: Name
    lock: Annotated[str, Meta(max_length=1_000_000)]


@command(
    "compute.image.list", kind=Kind.READ, resource="Image", groups=("view",), ja="実行環境を一覧します。"
)
class ListImages(Command[ImagePage]):
    """List your organisation's environments."""


@command(
    "compute.attempt.report",
    kind=Kind.RECORDED,
    resource="Attempt",
    principals=("Agent",),
    groups=("agents",),
    ja="拠点エージェントが試行の変化を報告します。",
)
class ReportAttempt(Command[bytes]):
    """Apply one sealed message of an agent's main lane; answers the sealed answer.

    Built only by the agents' door, after it opened `sealed` with `agent_key`.
    """

    envelope: Envelope
    sealed: str
    agent_key: str


@command(
    "compute.attempt.renew",
    kind=Kind.PLUMBING,
    resource="Attempt",
    principals=("Agent",),
    ja="拠点エージェントが試行の権利を更新します。",
)
class RenewAttempt(Command[bytes]):
    """Renew an attempt's lease; answers the sealed answer."""

    envelope: Envelope
    sealed: str


@command(
    "compute.attempt.progress",
    kind=Kind.PLUMBING,
    resource="Attempt",
    principals=("Agent",),
    ja="拠点エージェントが途中経過やログを送ります。",
)
class NoteProgress(Command[bytes]):
    """Keep the latest progress line or a piece of the log; answers the sealed answer."""

    envelope: Envelope
    sealed: str


@command(
    "compute.agent.find",
    kind=Kind.PLUMBING,
    resource="Agent",
    principals=("Anonymous",),
    rarely_writes=True,
    ja="拠点エージェントの公開鍵を調べます。",
)
class FindAgent(Command[AgentView | None]):
    """Find the agent that a sealed message claims to be from, to open it with its key."""

    agent: Annotated[str, Meta(max_length=64)]


@command(
    "compute.order.wait",
    kind=Kind.READ,
    resource="Site",
    principals=("Agent",),
    groups=("agents",),
    ja="拠点エージェントへの指示があるかを調べます。",
)
class OrdersWaiting(Command[bool]):
    """Whether an order waits for this agent."""


@command(
    "compute.order.poll",
    kind=Kind.PLUMBING,
    resource="Site",
    principals=("Agent",),
    ja="拠点エージェントが指示を受け取ります。",
)
class PollOrders(Command[list[str]]):
    """Take the orders for this agent's site, each sealed; nothing of any other site is among them."""

    free: Capacity
    capabilities: Capabilities
