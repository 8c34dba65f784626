"""What DOK is asked for, what its answers mean, and when a task must be cancelled: pure.

Source: the service's published API document; its traps are named beside the constant or rule that minds them.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from sekisho_agent.config import DokConfig
from sekisho_agent.engines.contract import EndReport, Task
from sekisho_agent.engines.dok_bootstrap import CHUNK_LETTERS, SCRIPT, Told
from sekisho_agent.errors import ConfigError, EngineError, ImageError
from sekisho_agent.wall import check_mounts
from sekisho_wire.messages import (
    REASON_ENGINE_CANCELLED,
    REASON_ENGINE_ENDED,
    REASON_ENGINE_GONE,
    REASON_ENGINE_QUEUE,
    REASON_ENGINE_REFUSED,
    REASON_ENGINE_UNAVAILABLE,
    REASON_FAILED,
    REASON_FINISHED,
    REASON_LEASE_LOST,
    REASON_OUTPUT_UNREADABLE,
    REASON_STAGING_FAILED,
    REASON_TIME_LIMIT,
    REASON_WALL_MISSING,
)

REASON_INPUTS_TOO_LARGE: Final = "engine.inputs_too_large"
REASON_NO_SECRETS: Final = "engine.no_secrets"
REASON_ENVIRONMENT: Final = "engine.environment"

ARGUMENTS_LETTERS_MAX: Final = 40_000
"""Of the payload's own command line, beside the inputs: together they stay under what clients have seen taken."""
LIMIT_SECONDS_MIN: Final = 600
LIMIT_MARGIN_SECONDS: Final = 120
"""Beside the payload's limit and grace, for unpacking and packing; without any limit the service's own is 20 days."""
OVERDUE_SECONDS: Final = 60.0
"""Past limit and grace the bootstrap should have ended the payload; then the service is told."""
ENVIRONMENT_LETTERS_MAX: Final = 8191
RESERVED_NAMES: Final = "SAKURA_"
INLINE_LETTERS_MAX: Final = 150_000
TAG: Final = "sekisho:"
WALLED_LEVEL: Final = 2
DEFAULT_PATH: Final = "/usr/bin:/bin"
"""Of a payload without an image of ours: a container's image knows better where its programs are."""
REFERENCE: Final = re.compile(
    r"(?P<host>[a-z0-9.-]+(?::\d+)?)/[a-z0-9._/-]+(?::[\w.-]+)?@(?P<digest>sha256:[0-9a-f]{64})"
)
GIBIBYTE: Final = 1 << 30
TERMINAL: Final = frozenset({"error", "done", "aborted", "canceled"})
STATES: Final = TERMINAL | {"waiting", "running"}


class Plan(msgspec.Struct, frozen=True):
    """What one task of a plan gets, all of it to itself."""

    cpus: int
    memory_bytes: int
    gpus: int
    gpu_type: str


PLANS: Final = {
    "v100-32gb": Plan(cpus=3, memory_bytes=40 * GIBIBYTE, gpus=1, gpu_type="V100"),
    "h100-80gb": Plan(cpus=10, memory_bytes=192 * GIBIBYTE, gpus=1, gpu_type="H100"),
    "h100-8gpu-80gb": Plan(cpus=160, memory_bytes=1760 * GIBIBYTE, gpus=8, gpu_type="H100"),
}


class Seen(msgspec.Struct, frozen=True):
    """A task as the service shows it. `limit_seconds` is -1 where it says none."""

    id: str
    status: str
    tags: tuple[str, ...]
    created: str
    image: str
    plan: str
    limit_seconds: int
    public: bool
    artefact: bool
    said: str

    @property
    def over(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.status in TERMINAL


class Parcel(msgspec.Struct, frozen=True):
    """The inputs: in letters of base64, or behind an address. `digest` is SHA-256 in hexadecimal letters."""

    digest: str
    letters: str = ""
    address: str = ""


class View(msgspec.Struct, frozen=True):
    """What is known of a task, ages in seconds; `running_age` counts from when it was first seen to run."""

    lease_left: float
    queued_age: float
    queue_max: float
    running_age: float | None
    limit_seconds: int
    cancel: str = ""


def check_images(config: DokConfig) -> None:
    """ConfigError `config.invalid` unless every image is pinned by digest and from a registry that is listed."""
    for name, reference in config.images.items():
        match = REFERENCE.fullmatch(reference)
        if match is None:
            raise ConfigError("config.invalid", f"dok.images.{name} needs host/name@sha256:digest")
        if match["host"] not in config.registries:
            raise ConfigError("config.invalid", f"dok.images.{name} comes from a registry that is not listed")


def image_digest(config: DokConfig, name: str) -> str:
    """The digest, at its registry, of the image that a job may ask for by this name; ImageError `image.unknown`."""
    match = REFERENCE.fullmatch(config.images.get(name, ""))
    if match is None:
        raise ImageError("image.unknown", "no registry's image stands for this digest or name at this site")
    return match["digest"]


def check(task: Task, config: DokConfig) -> None:
    """EngineError for a task that cannot, or may not, run there; nothing has been sent then."""
    if task.level >= WALLED_LEVEL:
        raise EngineError(REASON_WALL_MISSING, f"level {task.level} needs a wall, and DOK has none of ours")
    if task.secrets:
        raise EngineError(
            REASON_NO_SECRETS, "no secret may be handed to a container whose ways out are not known"
        )
    if task.health:
        raise EngineError(
            REASON_ENGINE_REFUSED, "nobody of ours is inside to ask a service whether it is well"
        )
    plan = PLANS[config.plan]
    limits = task.limits
    if task.nodes != 1 or task.image_writable or task.gpus > plan.gpus:
        raise EngineError(REASON_ENGINE_REFUSED, "DOK runs one container of one plan, and builds none")
    if limits.cpus > plan.cpus or limits.memory_bytes > plan.memory_bytes:
        raise EngineError(REASON_ENGINE_REFUSED, f"the plan {config.plan} is smaller than the job")
    if task.gpu_type and not task.gpu_type.upper().startswith(plan.gpu_type):
        raise EngineError(REASON_ENGINE_REFUSED, f"the plan {config.plan} has no {task.gpu_type}")
    check_mounts(task.mounts)
    if any("\n" in mount.inside for mount in task.mounts):
        raise EngineError("wall.mount", "a line break in a path")
    if sum(len(argument.encode()) for argument in task.argv) > ARGUMENTS_LETTERS_MAX:
        raise EngineError(REASON_ENGINE_REFUSED, f"a command of more than {ARGUMENTS_LETTERS_MAX} bytes")
    image_digest(config, task.image.name)
    _check_environment(environment(task))


def environment(task: Task) -> dict[str, str]:
    """The payload's variables; the image keeps its own PATH unless the job names one."""
    return {name: value for name, value in task.env.items() if not (name == "PATH" and value == DEFAULT_PATH)}


def _check_environment(variables: dict[str, str]) -> None:
    letters = sum(len(name) + len(value) for name, value in variables.items())
    if letters > ENVIRONMENT_LETTERS_MAX:
        raise EngineError(
            REASON_ENVIRONMENT, f"DOK takes {ENVIRONMENT_LETTERS_MAX} letters of variables, not {letters}"
        )
    for name in variables:
        if name.upper().startswith(RESERVED_NAMES):
            raise EngineError(REASON_ENVIRONMENT, f"names that begin {RESERVED_NAMES} are the service's own")


def limit_seconds(task: Task) -> int:
    """The service's own limit: never under its least, never left out."""
    wanted = task.limits.wall_s + task.limits.grace_s + LIMIT_MARGIN_SECONDS
    return max(LIMIT_SECONDS_MIN, wanted)


def request(task: Task, config: DokConfig, parcel: Parcel) -> dict[str, Any]:
    """The body that makes the task. No public address, no shell from outside."""
    reference = config.images[task.image.name]
    match = REFERENCE.fullmatch(reference)
    host = match["host"] if match else ""
    letters = [
        parcel.letters[start : start + CHUNK_LETTERS]
        for start in range(0, len(parcel.letters), CHUNK_LETTERS)
    ]
    outputs = "".join(f"./{mount.inside.strip('/')}\n" for mount in task.mounts if mount.writable)
    limits = task.limits
    settings = [limits.wall_s, limits.grace_s, limits.log_bytes, task.cwd, parcel.digest, parcel.address]
    arguments = [*(str(setting) for setting in settings), str(len(letters)), outputs, *letters, *task.argv]
    return {
        "name": task.attempt,
        "tags": [TAG + task.attempt],
        "execution_time_limit_sec": limit_seconds(task),
        "containers": [
            {
                "image": reference,
                "registry": config.registries[host] or None,
                "plan": config.plan,
                "entrypoint": ["/bin/sh", "-c"],
                "command": [SCRIPT, "sekisho", *arguments],
                "environment": environment(task),
                "http": None,
                "ssh": None,
            }
        ],
    }


def read_task(answered: object) -> Seen:
    """A task of an answer; EngineError `engine.unavailable` when it is none: then nothing is concluded."""
    try:
        task = msgspec.convert(answered, _Task)
    except msgspec.ValidationError as error:
        raise EngineError(REASON_ENGINE_UNAVAILABLE, "an answer that describes no task") from error
    if task.status not in STATES:
        raise EngineError(REASON_ENGINE_UNAVAILABLE, f"a task in a state nobody knows: {task.status[:50]}")
    container = task.containers[0] if task.containers else _Container()
    return Seen(
        id=task.id,
        status=task.status,
        tags=tuple(task.tags),
        created=task.created_at,
        image=container.image,
        plan=container.plan,
        limit_seconds=-1 if task.execution_time_limit_sec is None else task.execution_time_limit_sec,
        public=task.http_uri is not None or container.http is not None or container.ssh is not None,
        artefact=task.artifact is not None,
        said=(task.error_message or "")[:500],
    )


def mismatch(seen: Seen, task: Task, config: DokConfig) -> str:
    """What the service made otherwise than asked; empty when it is the task we meant."""
    if seen.limit_seconds != limit_seconds(task):
        return "the service did not take the time limit"
    if (seen.image, seen.plan) != (config.images[task.image.name], config.plan):
        return "the service took another image or plan"
    return "the service opened the task to the public" if seen.public else ""


def order(view: View) -> str:
    """Why the task must be cancelled now; empty while it may go on. The first reason stays."""
    if view.cancel:
        return view.cancel
    if view.lease_left <= 0:
        return REASON_LEASE_LOST
    if view.running_age is None:
        return REASON_ENGINE_QUEUE if view.queued_age > view.queue_max else ""
    overdue = view.running_age > view.limit_seconds + OVERDUE_SECONDS
    return REASON_TIME_LIMIT if overdue else ""


def end(seen: Seen, told: Told | None, *, cancelled: str, ran_seconds: float) -> EndReport:
    """Why and how it ended. `cancelled` is our reason, once the service has taken our cancel."""
    reason, detail = _reason(seen, told)
    if seen.status == "aborted" and 0 < seen.limit_seconds <= ran_seconds:
        reason = REASON_TIME_LIMIT
    status = told.status if told is not None and not told.broken else None
    if cancelled and seen.status != "done":
        reason, detail = cancelled, seen.said
    return EndReport(
        reason=reason,
        detail=detail,
        exit_status=status,
        run_seconds=told.seconds if told is not None and told.seconds else ran_seconds,
        cpu_seconds=told.cpu_seconds if told is not None else 0.0,
    )


def _reason(seen: Seen, told: Told | None) -> tuple[str, str]:
    """The service's word first, the container's for what only it knows; where they differ, nothing was finished."""
    if told is not None and told.broken:
        return REASON_STAGING_FAILED, told.broken
    if told is not None and told.limit:
        return REASON_TIME_LIMIT, seen.said
    match seen.status, told:
        case "canceled", _:
            return REASON_ENGINE_CANCELLED, seen.said
        case "aborted", _:
            return REASON_ENGINE_ENDED, seen.said
        case "done", None:
            return REASON_OUTPUT_UNREADABLE, "the service kept nothing of the task"
        case "done", Told(status=0):
            return REASON_FINISHED, ""
        case "error", None | Told(status=0):
            return REASON_ENGINE_ENDED, seen.said
        case _:
            return REASON_FAILED, seen.said


def gone() -> EndReport:
    """The service no longer knows the task, and its time limit is over."""
    return EndReport(reason=REASON_ENGINE_GONE, detail="the service no longer knows the task")


class _Container(msgspec.Struct):
    image: str = ""
    plan: str = ""
    http: dict[str, Any] | None = None
    ssh: dict[str, Any] | None = None


class _Task(msgspec.Struct):
    id: str
    status: str
    tags: list[str] = []
    created_at: str = ""
    containers: list[_Container] = []
    http_uri: str | None = None
    artifact: dict[str, Any] | None = None
    error_message: str | None = None
    execution_time_limit_sec: int | None = None
