"""What control plane and site agent say to each other: one frozen struct per message, told apart by `kind`.

Every message travels in an `Envelope` that names agent, lane, sequence number, time, attempt and fencing token; so a
body never repeats them. Only what has a canonical form may occur: text, whole numbers, booleans, lists and objects.
An optional field that is absent is left out, never null. A measured quantity that is not whole travels as decimal text.

Over HTTP, all POST under the control plane's base URL, sealed unless said otherwise:
`/agent/v1/register` (plain JSON in, sealed answer), `/agent/v1/poll`, `/agent/v1/message` (lanes main and lease),
`/agent/v1/log`; and GET and PUT `/agent/v1/objects/{digest}` with `Authorization: Bearer <ticket>`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sekisho_wire.egress import EgressReport
from sekisho_wire.keying import EnvelopeDigest, KeyAnswer, WantKey
from sekisho_wire.registration import (  # noqa: F401 - part of what an agent and the control plane say
    RegistrationCode,
    parse_registration_code,
)

PROTOCOL_VERSION = 1
SEALED_MEDIA_TYPE = "application/vnd.sekisho.sealed"
POLL_SECONDS_MAX = 25
GRACE_SECONDS_MAX = 20
LOG_CHUNK_BYTES_MAX = 65_536
SEALED_BYTES_MAX = 1 << 20
ORDERS_MAX = 64
OUTPUTS_MAX = 16
NODES_MAX = 1024

LANE_MAIN = "main"
LANE_LEASE = "lease"
LANE_LOG = "log"
LANE_POLL = "poll"
LANE_ORDER = "order"
LANE_REGISTER = "register"
SEQUENCED_LANES = (LANE_MAIN, LANE_LEASE, LANE_LOG)

REASON_FINISHED = "finished"
REASON_FAILED = "failed"
REASON_CANCELLED = "job.cancelled"
REASON_TIME_LIMIT = "job.time_limit"
REASON_OUT_OF_MEMORY = "job.out_of_memory"
REASON_OUTPUT_TOO_LARGE = "output.too_large"
REASON_OUTPUT_UNREADABLE = "output.unreadable"
REASON_UNHEALTHY = "service.unhealthy"
REASON_LEASE_LOST = "lease.lost"
REASON_FENCED = "attempt.fenced"
REASON_CANARY_OPEN = "wall.canary_open"
REASON_CANARY_UNPROVEN = "wall.canary_unproven"
REASON_CANARY_BROKEN = "wall.canary_broken"
REASON_WALL_MISSING = "wall.missing"
REASON_WALL_BROKEN = "wall.broken"
REASON_AGENT_RESTARTED = "agent.restarted"
REASON_AGENT_STOPPED = "agent.stopped"
REASON_STAGING_FAILED = "stage.failed"
REASON_ENGINE_FULL = "engine.full"
REASON_ENGINE_REFUSED = "engine.refused"
REASON_ENGINE_UNAVAILABLE = "engine.unavailable"
REASON_ENGINE_ENDED = "engine.ended"
REASON_ENGINE_CANCELLED = "engine.cancelled"
REASON_ENGINE_PREEMPTED = "engine.preempted"
REASON_ENGINE_REQUEUED = "engine.requeued"
REASON_ENGINE_NODE_FAILED = "engine.node_failed"
REASON_ENGINE_GONE = "engine.gone"
REASON_ENGINE_QUEUE = "engine.queue_too_long"
REASON_PEERS_MISSING = "peers.missing"
REASON_PEERS_LOST = "peers.lost"
REASON_PEERS_FOREIGN = "peers.foreign_node"

WALL_PEERS = " + peers"
"""What the wall's name ends in where an overlay joins the nodes of one attempt, and nothing else, inside it."""

IMAGE_SYSTEM = "system"
"""The image of a job that names none: the host's own /usr and nothing else."""

CANARY_ROUTES = (
    "tcp_loopback",
    "tcp_host",
    "udp",
    "dns",
    "unix_abstract",
    "unix_path",
    "raw",
    "proxy_unlisted",
)

DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}\Z"
Count = Annotated[int, Meta(ge=0, lt=2**53)]
Positive = Annotated[int, Meta(ge=1, lt=2**53)]
Digest = Annotated[str, Meta(pattern=DIGEST_PATTERN)]
ShortText = Annotated[str, Meta(max_length=256)]
MediumText = Annotated[str, Meta(max_length=4096)]
LongText = Annotated[str, Meta(max_length=262_144)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")]
MountPath = Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9_][A-Za-z0-9._-]*)+\Z", max_length=512)]
AttemptId = Annotated[str, Meta(pattern=r"^att_[0-9a-hjkmnp-tv-z]{26}\Z")]
AgentId = Annotated[str, Meta(pattern=r"^agt_[0-9a-hjkmnp-tv-z]{26}\Z")]
EnvironmentName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}\Z")]
CanaryResult = Literal["closed", "open", "unproven"]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A piece of a message; unknown fields are refused, defaults are left out of the bytes."""


class ObjectRef(Part, frozen=True):
    """A stored object: a file, or a tree whose manifest (`sekisho_wire.trees`) has this digest.

    `source` says where the agent gets it: the site's own store, or the control plane with `ticket`, which for a tree
    opens the manifest and every file that it names. `size_bytes` of a tree is the sum over its files.
    """

    object: Digest
    kind: Literal["file", "tree"]
    size_bytes: Count
    source: Literal["control", "local"] = "local"
    ticket: MediumText = ""


class DataMount(Part, frozen=True):
    """An input, mounted read-only at `mount`; a file appears under its own mount path."""

    mount: MountPath
    object: Digest
    kind: Literal["file", "tree"]
    size_bytes: Count
    source: Literal["control", "local"] = "local"
    ticket: MediumText = ""

    def reference(self) -> ObjectRef:
        """The same object without the place it is mounted at."""
        return ObjectRef(
            object=self.object,
            kind=self.kind,
            size_bytes=self.size_bytes,
            source=self.source,
            ticket=self.ticket,
        )


class OutputMount(Part, frozen=True):
    """A folder that the payload writes; collected as one tree. `upload` sends it to the control plane as well."""

    name: Name
    mount: MountPath
    upload: bool = False


class Limits(Part, frozen=True):
    """What the payload may use. The agent reports by which mechanism each one is held, or that none holds it."""

    cpus: Positive
    memory_bytes: Positive
    processes: Positive
    wall_s: Positive
    output_bytes: Positive
    log_bytes: Positive
    tmp_bytes: Positive
    grace_s: Annotated[int, Meta(ge=0, le=GRACE_SECONDS_MAX)] = 10


class CheckpointPlan(Part, frozen=True):
    """Where the payload renames complete training checkpoints to, and how often at most they are registered."""

    path: MountPath = "/ckpt"
    every_s: Positive = 60
    grace_s: Annotated[int, Meta(ge=0, le=GRACE_SECONDS_MAX)] = 10
    upload: bool = False


class HealthPlan(Part, frozen=True):
    """Shell text that the payload's user runs inside the wall to tell whether a service is well: status 0 means yes.

    First `after_s` after the start, then every `every_s`; after so many `failures` in a row the payload is ended.
    """

    run: Annotated[str, Meta(min_length=1, max_length=4096)]
    every_s: Positive = 10
    after_s: Positive = 10
    failures: Positive = 3


class EgressAllow(Part, frozen=True):
    """The destinations, as `host:port`, that the egress proxy lets the payload reach."""

    allow: Annotated[list[Annotated[str, Meta(max_length=300)]], Meta(min_length=1, max_length=256)]


class Capacity(Part, frozen=True):
    """What is free at the site now."""

    attempts: Count
    cpus: Count
    memory_bytes: Count
    disk_bytes: Count = 0
    gpus: Count = 0
    gpu_type: ShortText = ""


class Capabilities(Part, frozen=True):
    """What the site's engine can hold: its wall (`none` where nothing walls a payload in) and limit mechanisms.

    `nodes` is the largest gang it starts; 1 for an engine that starts none. `holds_leases`: whether a payload ends with
    its lease even while no agent is there to end it. `asks_health`: whether a service is asked inside whether it is
    well; an agent that does not say so could not read such an offer.
    """

    engine: Name
    wall: ShortText
    limits: dict[ShortText, ShortText]
    nodes: Annotated[int, Meta(ge=1, le=NODES_MAX)] = 1
    holds_leases: bool = True
    asks_health: bool = False


class OutputReport(Part, frozen=True):
    """One collected output tree; `refused` names the links, pipes and odd names that were not followed."""

    name: Name
    object: Digest
    size_bytes: Count
    refused: list[ShortText] = []
    envelope: EnvelopeDigest = ""


class LogReport(Part, frozen=True):
    """The attempt's log as the site keeps it: bytes kept, bytes dropped over the cap, digest of what was kept."""

    bytes: Count
    dropped: Count
    digest: Digest
    envelope: EnvelopeDigest = ""


# --- from the agent


class AgentBody(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind"
):
    """Root of what an agent says."""


class Poll(AgentBody, frozen=True, tag="poll"):
    """Lane poll, seq 0: asks for orders and waits for them. Answer: `Orders` with the same nonce."""

    wait_s: Annotated[int, Meta(ge=0, le=POLL_SECONDS_MAX)]
    nonce: Annotated[str, Meta(min_length=16, max_length=64)]
    free: Capacity
    capabilities: Capabilities
    running: list[tuple[AttemptId, Count]] = []


class Accept(AgentBody, frozen=True, tag="accept"):
    """The agent takes the offer; its lease counts from when this message was sent."""


class Refused(AgentBody, frozen=True, tag="refused"):
    """The agent does not take the offer; nothing was started. `detail` is one English sentence without secrets."""

    reason: ShortText
    detail: MediumText = ""


class Staged(AgentBody, frozen=True, tag="staged"):
    """Image, data, workdir and checkpoint lie at the site; `size_bytes` were fetched for it."""

    size_bytes: Count = 0


class Started(AgentBody, frozen=True, tag="started"):
    """The payload runs: behind which wall, with which canaries and limit mechanisms, from which image."""

    canaries: dict[ShortText, CanaryResult]
    wall: ShortText
    limits: dict[ShortText, ShortText]
    image: ShortText
    image_excludes: ShortText = "host /usr"


class Progress(AgentBody, frozen=True, tag="progress"):
    """The latest progress line of the payload; numbers that are not whole are decimal text."""

    line: dict[ShortText, str | int | bool]


class CheckpointSaved(AgentBody, frozen=True, tag="checkpoint"):
    """A training checkpoint was stored as a tree."""

    object: Digest
    size_bytes: Count
    envelope: EnvelopeDigest = ""


class Ended(AgentBody, frozen=True, tag="ended"):
    """The attempt is over. `exit_status` is absent when nothing ran, negative for a signal.

    `seconds` and `cpu_s` are rounded up to whole seconds. `observed` is what listeners outside have signed.
    """

    reason: ShortText
    detail: MediumText = ""
    exit_status: Annotated[int, Meta(ge=-255, le=255)] | None = None
    seconds: Count = 0
    cpu_s: Count = 0
    max_rss_bytes: Count = 0
    oom_kills: Count = 0
    outputs: list[OutputReport] = []
    log: LogReport | None = None
    canaries: dict[ShortText, CanaryResult] = {}
    egress: EgressReport | None = None
    observed: Annotated[list[MediumText], Meta(max_length=4)] = []


class Renew(AgentBody, frozen=True, tag="renew"):
    """Lane lease: the agent still holds the attempt. Answer: `Lease`, or problem `attempt.fenced`."""


class LogChunk(AgentBody, frozen=True, tag="log"):
    """Lane log: bytes of the attempt's log from `offset`; `text` is base64url without padding."""

    offset: Count
    text: Annotated[str, Meta(max_length=LOG_CHUNK_BYTES_MAX * 4 // 3 + 4)]


class WantSecret(AgentBody, frozen=True, tag="secret"):
    """Asks for one secret that the offer names. Answer: `SecretValue`."""

    name: Name


class WantTicket(AgentBody, frozen=True, tag="ticket"):
    """Asks to be let through to one object at the control plane. Answer: `Ticket`."""

    want: Literal["get", "put"]
    object: Digest
    size_bytes: Count


# --- from the control plane


class ControlBody(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind"
):
    """Root of what the control plane says."""


class Registered(ControlBody, frozen=True, tag="registered"):
    """The agent's identity; the answer to a registration."""

    agent: AgentId
    site: ShortText
    name: ShortText


class Ok(ControlBody, frozen=True, tag="ok"):
    """The message is recorded."""


class Lease(ControlBody, frozen=True, tag="lease"):
    """The lease holds `lease_s` from when the renewal was sent; with `cancel` the payload is to be ended.

    `reason` says why where nobody asked for it, such as a key that was stopped.
    """

    lease_s: Positive
    cancel: bool = False
    reason: ShortText = ""
    grace_s: Annotated[int, Meta(ge=0, le=GRACE_SECONDS_MAX)] = 10


class Orders(ControlBody, frozen=True, tag="orders"):
    """Sealed orders (lane order, each with its own growing seq) as text; the answer to a poll."""

    nonce: ShortText
    orders: Annotated[list[str], Meta(max_length=ORDERS_MAX)] = []


class SecretValue(ControlBody, frozen=True, tag="secret_value"):
    """A secret as base64url without padding; kept in memory only."""

    name: Name
    value: Annotated[str, Meta(max_length=131_072)]


class Ticket(ControlBody, frozen=True, tag="ticket_granted"):
    """Short-lived permission for one object."""

    ticket: MediumText


class Offer(ControlBody, frozen=True, tag="offer"):
    """One attempt to run. Attempt id and fencing token are the envelope's.

    `image` is an image digest, or a name from the agent's configuration; with `image_lock` the agent builds the image
    from that hashed requirements file if it does not have it. Exactly one of `argv` and `run` is given.

    `setup` is shell text that extends the image in a build of level 0, apart from data, secrets and `env`; only with
    `setup_workdir`, which the control plane sets for a public workdir, does that build see the workdir, read-only.

    Objects in `sealed` are ciphertext (`sekisho_wire.packing`), opened with `WantKey`; unless `seal` is none, nothing
    that the payload leaves behind rests outside the attempt's folder before it is encrypted the same way.

    `limits` and `gpus` are those of one node; with more than one of `nodes` all of them start together, or none does.
    """

    job: ShortText
    job_name: ShortText
    level: Annotated[int, Meta(ge=0, le=4)]
    image: ShortText
    limits: Limits
    lease_s: Positive
    labels: list[ShortText] = []
    argv: Annotated[list[MediumText], Meta(max_length=1024)] = []
    run: LongText = ""
    env: dict[EnvironmentName, MediumText] = {}
    secrets: Annotated[list[Name], Meta(max_length=64)] = []
    data: Annotated[list[DataMount], Meta(max_length=64)] = []
    outputs: Annotated[list[OutputMount], Meta(max_length=OUTPUTS_MAX)] = []
    image_lock: ObjectRef | None = None
    setup: LongText = ""
    setup_workdir: bool = False
    workdir: ObjectRef | None = None
    checkpoint: CheckpointPlan | None = None
    resume: ObjectRef | None = None
    egress: Literal["none"] | EgressAllow = "none"
    gpus: Count = 0
    gpu_type: ShortText = ""
    nodes: Annotated[int, Meta(ge=1, le=NODES_MAX)] = 1
    health: HealthPlan | None = None
    sealed: Annotated[list[Digest], Meta(max_length=128)] = []
    seal: Literal["none", "stays", "leaves"] = "none"


class Cancel(ControlBody, frozen=True, tag="cancel"):
    """Ends the attempt that the envelope names."""

    grace_s: Annotated[int, Meta(ge=0, le=GRACE_SECONDS_MAX)] = 10


class HandOver(ControlBody, frozen=True, tag="hand_over"):
    """Asks for an object that lies at the site; it is sent under the ticket. The envelope names no attempt."""

    wanted: ObjectRef


FromAgent = (
    Poll
    | Accept
    | Refused
    | Staged
    | Started
    | Progress
    | CheckpointSaved
    | Ended
    | Renew
    | LogChunk
    | WantSecret
    | WantTicket
    | WantKey
)
FromControl = Registered | Ok | Lease | Orders | SecretValue | Ticket | Offer | Cancel | HandOver | KeyAnswer
Body = FromAgent | FromControl


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is signed. `time` is RFC 3339 UTC with milliseconds; `attempt` is empty and `token` 0 where none applies.

    An answer names agent, lane and seq of the message it answers; an order has lane `order` and a seq of its own.
    """

    agent: Annotated[str, Meta(max_length=64)]
    lane: ShortText
    seq: Count
    time: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")]
    attempt: Annotated[str, Meta(max_length=64)]
    token: Count
    body: Body


class RegisterRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Plain JSON body of a registration: the one-time code, a name, the agent's Ed25519 key (base64url), versions."""

    code: Annotated[str, Meta(max_length=512)]
    name: Name
    public_key: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]
    version: ShortText
    protocol: Count
