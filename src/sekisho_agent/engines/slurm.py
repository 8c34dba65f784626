"""Slurm over its REST daemon (slurmrestd with JSON web tokens), from 22.05 on.

Two spellings of the interface exist: until v0.0.39 numbers and states are plain, from v0.0.40 on numbers carry whether
they are set, states are lists, the environment is a list, and generic resources are `tres_per_node`. The newest that
both sides know is used. Sources: the OpenAPI documents that the daemon serves.

Traps, each seen on a real one: a wrong token may be answered with status 500 and text; an error may stand beside the
id of a job that was queued all the same; the same job id runs again after a requeue (`restart_cnt` tells); a controller
that lost its state gives ids out a second time (the name tells); what a job printed before our wrapper began is in
`native.log` of its folder; `srun` takes neither CPUs per task nor anything else of how long to wait from its job.
"""

from __future__ import annotations

import math
import re
import shlex
import sys
import threading
from pathlib import Path
from typing import Any, Final

import msgspec

import sekisho_agent
from sekisho_agent import clock
from sekisho_agent.config import SlurmConfig
from sekisho_agent.engines import hostlist
from sekisho_agent.engines.contract import Task
from sekisho_agent.engines.rest import Answer, Rest, read_credential
from sekisho_agent.engines.verdicts import NativeJob
from sekisho_agent.errors import EngineError
from sekisho_agent.peers import START_SECONDS_MAX
from sekisho_wire.messages import (
    REASON_ENGINE_CANCELLED,
    REASON_ENGINE_FULL,
    REASON_ENGINE_GONE,
    REASON_ENGINE_NODE_FAILED,
    REASON_ENGINE_PREEMPTED,
    REASON_ENGINE_REFUSED,
    REASON_ENGINE_UNAVAILABLE,
    REASON_OUT_OF_MEMORY,
    REASON_TIME_LIMIT,
    REASON_WALL_BROKEN,
    Capacity,
)

VERSION: Final = re.compile(r"/slurm/v0\.0\.([0-9]{1,4})/job/submit")
NEWEST_KNOWN: Final = 44
REQUEUE_READ_SINCE: Final = 39
SET_NUMBERS_SINCE: Final = 40
MEBIBYTE: Final = 1 << 20
TIME_MARGIN_SECONDS: Final = 120
CAPACITY_SECONDS: Final = 20.0
ONE_BY_ONE_MAX: Final = 16
COUNT_MAX: Final = (1 << 32) - 2
"""Slurm's own numbers have 32 bits, of which the last two values say `infinite` and `not set`."""
SUM_MAX: Final = (1 << 53) - 1
COMMUNICATION_ERRORS_MAX: Final = 2000
INVALID_JOB: Final = 2017
NOT_FOUND: Final = 404
RANK_VARIABLE: Final = "SLURM_PROCID"
GPU: Final = re.compile(r"gpu(?::([A-Za-z][\w.-]*))?:([0-9]{1,6})")
UNUSABLE_NODES: Final = frozenset({"DOWN", "DRAIN", "FAIL", "FUTURE", "NOT_RESPONDING", "UNKNOWN"})

RUNNING: Final = frozenset(
    {"RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STAGE_OUT", "SIGNALING", "STOPPED"}
)
QUEUED: Final = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESIZING"})
GONE: Final = {
    "COMPLETED": (REASON_WALL_BROKEN, True),
    "FAILED": (REASON_WALL_BROKEN, True),
    "CANCELLED": (REASON_ENGINE_CANCELLED, True),
    "TIMEOUT": (REASON_TIME_LIMIT, True),
    "DEADLINE": (REASON_ENGINE_CANCELLED, True),
    "PREEMPTED": (REASON_ENGINE_PREEMPTED, True),
    "OUT_OF_MEMORY": (REASON_OUT_OF_MEMORY, True),
    "NODE_FAIL": (REASON_ENGINE_NODE_FAILED, False),
    "BOOT_FAIL": (REASON_ENGINE_NODE_FAILED, True),
    "REVOKED": (REASON_ENGINE_CANCELLED, True),
}
"""Final states: our reason, and whether Slurm has seen every process end."""


class Slurm:
    """Implements `wrapped.Native`. Shared by all threads."""

    name = "slurm"

    def __init__(self, config: SlurmConfig) -> None:
        self._config = config
        self._rest = Rest(config.url, ca_file=config.ca_file)
        self._guard = threading.Lock()
        self._version = 0
        self._total: tuple[float, Capacity] | None = None
        self._gpu_names: dict[str, str] = {}

    @property
    def queue_seconds_max(self) -> float:
        """As configured."""
        return self._config.queue_seconds_max

    def total(self) -> Capacity:
        """The partition's usable nodes; asked again after a while."""
        with self._guard:
            if self._total is None or clock.monotonic() >= self._total[0]:
                found = self._count(self._ask("GET", "nodes").body.get("nodes"))
                kept = (
                    CAPACITY_SECONDS if found.cpus else 0.0
                )  # a controller that just came back knows no node yet
                self._total = clock.monotonic() + kept, found
            return self._total[1]

    def submit(self, task: Task) -> str:
        """Queue the wrapper under the attempt's name, with a time limit in any case."""
        job = self._job(task)
        script = _script(task, self._config.srun)
        version = self._negotiated()
        body = (
            {"job": {**job, "script": script}}
            if version >= SET_NUMBERS_SINCE
            else {"script": script, "job": job}
        )
        answer = self._ask("POST", "job/submit", body, queued=True)
        native = _whole(answer.body.get("job_id"))
        if not native:
            raise _refusal(answer)
        return str(native)

    def find(self, attempt: str) -> str:
        """Jobs carry the attempt as their name."""
        found = [
            job
            for job in _objects(self._ask("GET", "jobs").body.get("jobs"))
            if job.get("name") == attempt and job.get("user_name", self._config.user) == self._config.user
        ]
        return str(max((_whole(job.get("job_id")) for job in found), default=0) or "")

    def look(self, ids: list[str]) -> dict[str, NativeJob]:
        """One by one while they are few: Slurm's list is of everybody's jobs."""
        if len(ids) > ONE_BY_ONE_MAX:
            jobs = _objects(self._ask("GET", "jobs").body.get("jobs"))
        else:
            answers = [
                self._ask("GET", f"job/{native}", unknown=True) for native in ids if native.isdecimal()
            ]
            jobs = [job for answer in answers for job in _objects(answer.body.get("jobs"))]
        wanted = set(ids)
        numbered = [(str(_whole(job.get("job_id"))), job) for job in jobs]
        return {
            native: msgspec.structs.replace(_native(job), attempt=str(job.get("name") or ""))
            for native, job in numbered
            if native in wanted
        }

    def cancel(self, native: str) -> None:
        """TERM, then KILL after Slurm's own wait."""
        if native.isdecimal():
            self._ask("DELETE", f"job/{native}", unknown=True)

    def clean(self, native: str) -> None:
        """Slurm forgets its jobs by itself."""

    def close(self) -> None:
        """Let go of the connections."""
        self._rest.close()

    def _job(self, task: Task) -> dict[str, Any]:
        """The job's description; what the operator configured goes through as it is."""
        numbers = self._negotiated() >= SET_NUMBERS_SINCE
        limits = task.limits
        margin = TIME_MARGIN_SECONDS + (START_SECONDS_MAX if task.nodes > 1 else 0)
        minutes = math.ceil((limits.wall_s + limits.grace_s + margin) / 60)
        memory = math.ceil(limits.memory_bytes / MEBIBYTE)
        output = str(task.folder / "native.log")
        passed = {
            "account": self._config.account,
            "partition": self._config.partition,
            "qos": self._config.qos,
            "constraints": self._config.constraint,
            "reservation": self._config.reservation,
        }
        environment = {"PATH": "/usr/bin:/bin"}
        job: dict[str, Any] = {
            "name": task.attempt,
            **_nodes(task.nodes, numbers=numbers),
            "cpus_per_task": limits.cpus,
            "memory_per_node": _number(memory) if numbers else memory,
            "time_limit": _number(minutes) if numbers else minutes,
            "current_working_directory": str(task.folder),
            "standard_output": output,
            "standard_error": output,
            "environment": [f"{name}={value}" for name, value in environment.items()]
            if numbers
            else environment,
            **_once(self._negotiated()),
            **{name: value for name, value in passed.items() if value},
        }
        if task.gpus:
            kind = f":{self._gpu_name(task.gpu_type)}" if task.gpu_type else ""
            job |= (
                {"tres_per_node": f"gres/gpu{kind}:{task.gpus}"}
                if numbers
                else {"gres": f"gpu{kind}:{task.gpus}"}
            )
        return job

    def _gpu_name(self, kind: str) -> str:
        """The site's own spelling of a type: Slurm tells `h100` from `H100`."""
        self.total()
        return self._gpu_names.get(kind.lower(), kind)

    def _negotiated(self) -> int:
        """The newest version that both know; asked once, and again after the daemon has refused it."""
        if not self._version:
            answer = self._rest.ask("GET", "/openapi/v3", headers=self._headers())
            paths = answer.body.get("paths")
            found = [VERSION.fullmatch(path) for path in paths] if isinstance(paths, dict) else []
            versions = [int(match[1]) for match in found if match]
            known = [version for version in versions if version <= NEWEST_KNOWN]
            if not versions:
                raise EngineError(
                    REASON_ENGINE_UNAVAILABLE, f"no Slurm interface answers (status {answer.status})"
                )
            self._version = max(known) if known else min(versions)
        return self._version

    def _headers(self) -> dict[str, str]:
        token = read_credential(self._config.token_file)
        return {"X-SLURM-USER-NAME": self._config.user, "X-SLURM-USER-TOKEN": token}

    def _ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        unknown: bool = False,
        queued: bool = False,
    ) -> Answer:
        """`unknown` accepts that Slurm does not know the job any more, `queued` that it has doubts but took the job."""
        answer = self._rest.ask(
            method, f"/slurm/v0.0.{self._negotiated()}/{path}", headers=self._headers(), body=body
        )
        errors = _objects(answer.body.get("errors"))
        if (not answer.failed and not errors) or (queued and _whole(answer.body.get("job_id"))):
            return answer
        if unknown and any(error.get("error_number") == INVALID_JOB for error in errors):
            return Answer(answer.status, {})
        if answer.status == NOT_FOUND:
            self._version = 0
        raise _refusal(answer)

    def _count(self, nodes: object) -> Capacity:
        cpus = memory = gpus = 0
        kinds: set[str] = set()
        for node in _objects(nodes):
            partitions, states = _words(node.get("partitions")), _words(node.get("state"))
            states |= _words(node.get("state_flags"))
            ours = not self._config.partition or self._config.partition in partitions
            if not ours or {state.upper() for state in states} & UNUSABLE_NODES:
                continue
            cpus += _whole(node.get("cpus"))
            memory += _whole(node.get("real_memory")) * MEBIBYTE
            for kind, count in GPU.findall(str(node.get("gres", ""))):
                gpus += int(count)
                kinds.add(kind)
        self._gpu_names = {kind.lower(): kind for kind in kinds}
        kind = kinds.pop() if len(kinds) == 1 else ""
        cpus, memory, gpus = (min(count, SUM_MAX) for count in (cpus, memory, gpus))
        return Capacity(attempts=0, cpus=cpus, memory_bytes=memory, gpus=gpus, gpu_type=kind.upper()[:64])


def _once(version: int) -> dict[str, bool]:
    """That Slurm shall not start the job again: until v0.0.38 every value of `requeue` is read as yes."""
    return {"no_requeue": True} if version < REQUEUE_READ_SINCE else {"requeue": False}


def _nodes(count: int, *, numbers: bool) -> dict[str, Any]:
    """As many nodes as the gang has, one task on each."""
    if count == 1:
        return {"tasks": 1}
    asked: dict[str, Any] = (
        {"minimum_nodes": count, "maximum_nodes": count} if numbers else {"nodes": [count, count]}
    )
    return {"tasks": count, "tasks_per_node": 1, **asked}


def _script(task: Task, srun: str) -> str:
    """Nothing of the job is in it: what a shell or Slurm could read as its own is in the task's file instead.

    On several nodes `srun` starts the wrappers. It does not end them all because one has ended: our agent does that,
    with the grace that the job asks for.
    """
    home = str(Path(sekisho_agent.__file__).parents[1])
    start = (
        f"import sys; sys.path.insert(0, {home!r}); from sekisho_agent.wrapper import main; sys.exit(main())"
    )
    command = [sys.executable, "-I", "-c", start, str(task.folder)]
    if task.nodes > 1:
        count, cpus = f"--nodes={task.nodes}", f"--cpus-per-task={task.limits.cpus}"
        launch = [srun, count, f"--ntasks={task.nodes}", "--ntasks-per-node=1", cpus]
        command = [*launch, "--kill-on-bad-exit=0", "--wait=0", *command, RANK_VARIABLE]
    return f"#!/bin/sh\nexec {shlex.join(command)}\n"


def _native(job: dict[str, Any]) -> NativeJob:
    states = _words(job.get("job_state"))
    said = " ".join(sorted(states))
    why = str(job.get("state_reason") or "")[:200]
    said = why if why and why != "None" else said
    restarts = _whole(job.get("restart_cnt"))
    if states & QUEUED:
        return NativeJob("queued", said=said, restarts=restarts)
    if states & RUNNING:
        nodes = dict.fromkeys(hostlist.expand(str(job.get("nodes") or "")), "")
        return NativeJob("running", said=said, restarts=restarts, nodes=nodes)
    for state in sorted(states & set(GONE)):
        reason, sure = GONE[state]
        return NativeJob("gone", reason=reason, said=state, restarts=restarts, sure=sure)
    return NativeJob("gone", reason=REASON_ENGINE_GONE, said=said[:200], restarts=restarts, sure=False)


def _refusal(answer: Answer) -> EngineError:
    """What Slurm refused, by its numbers: below 2000 they speak of the connection, above of the request."""
    errors = _objects(answer.body.get("errors"))
    text = "; ".join(str(error.get("error") or error.get("description") or "") for error in errors)[:500]
    numbers = [_whole(error.get("error_number") or error.get("error_code")) for error in errors]
    if not any(number >= COMMUNICATION_ERRORS_MAX for number in numbers):
        return EngineError(REASON_ENGINE_UNAVAILABLE, f"Slurm answered with status {answer.status}: {text}")
    full = "policy" in text.lower() or "limit" in text.lower()
    return EngineError(REASON_ENGINE_FULL if full else REASON_ENGINE_REFUSED, f"Slurm: {text}")


def _number(value: int) -> dict[str, Any]:
    return {"set": True, "infinite": False, "number": value}


def _whole(value: object) -> int:
    """A count in either spelling; 0 for what is none."""
    if isinstance(value, dict):
        value = value.get("number") if value.get("set") else 0
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < COUNT_MAX else 0


def _words(value: object) -> set[str]:
    """A state in either spelling: one word, or a list of them."""
    if isinstance(value, str):
        return set(re.split(r"[+, ]", value))
    return {word for word in value if isinstance(word, str)} if isinstance(value, list) else set()


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
