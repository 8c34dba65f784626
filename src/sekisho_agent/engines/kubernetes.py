"""Kubernetes, with Kueue where it is: each attempt is a Job of one pod that runs the wrapper, a gang one of several.

With a queue the Job is made suspended and Kueue admits it; why it waits is the word of its Workload's conditions. A
NetworkPolicy without any rule stands around the pod, beside the wall that the wrapper builds inside it; that of a gang
lets its own pods reach each other and nobody else. The pods of a gang are an Indexed Job's: the index is the node's
number, and the agent lists them to learn their addresses. The attempt's folder comes as a claim that agent and pods
share, at the same path. Sources: the published API of v1, batch/v1, networking.k8s.io/v1 and kueue.x-k8s.io/v1beta1.

Verified against a stand-in that checks every object against the published schemas and runs the pods' commands; not
against a real Kueue or a managed cluster.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import msgspec

import sekisho_agent
from sekisho_agent.config import KubernetesConfig
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
    REASON_ENGINE_REFUSED,
    REASON_ENGINE_UNAVAILABLE,
    REASON_TIME_LIMIT,
    REASON_WALL_BROKEN,
    Capacity,
)

NOT_FOUND, CONFLICT, FORBIDDEN, INVALID, TOO_LARGE = 404, 409, 403, 422, 413
SERVER_ERROR: Final = 500
ATTEMPT_LABEL: Final = "sekisho.io/attempt"
QUEUE_LABEL: Final = "kueue.x-k8s.io/queue-name"
TIME_MARGIN_SECONDS: Final = 120
KEPT_SECONDS: Final = 3600
VOLUME: Final = "sekisho"
RANK_VARIABLE: Final = "JOB_COMPLETION_INDEX"
PLACE: Final = [
    {"name": "SEKISHO_NODE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    {"name": "SEKISHO_NODE_ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
]
PAGE: Final = 500
PAGES_MAX: Final = 200
"""A list is no longer than that, whatever its service says: else nothing would come after it."""
FINISHED: Final = frozenset({"Complete", "Failed", "SuccessCriteriaMet", "FailureTarget"})


class Kubernetes:
    """Implements `wrapped.Native`. Shared by all threads; a job's native id is its name in the namespace."""

    name = "kubernetes"

    def __init__(self, config: KubernetesConfig, capacity: Capacity) -> None:
        """`capacity` is what the operator lets us use: counting a cluster needs rights that an agent need not have."""
        self._config = config
        self._capacity = capacity
        self._rest = Rest(config.url, ca_file=config.ca_file)
        self._pods: dict[str, dict[str, str]] = {}

    @property
    def queue_seconds_max(self) -> float:
        """As configured."""
        return self._config.queue_seconds_max

    def total(self) -> Capacity:
        """As configured."""
        return self._capacity

    def submit(self, task: Task) -> str:
        """The policy first, so that no pod is ever without it; a Job that is there already is this attempt's own."""
        name = native_name(task.attempt)
        for path, made in (
            ("networking.k8s.io/v1/{}/networkpolicies", _policy(name, task.nodes)),
            ("batch/v1/{}/jobs", self._job(task, name)),
        ):
            answer = self._ask("POST", path, body=made)
            if answer.failed and answer.status != CONFLICT:
                raise _refusal(answer)
        return name

    def find(self, attempt: str) -> str:
        """The Job of the attempt's own name."""
        name = native_name(attempt)
        answer = self._ask("GET", f"batch/v1/{{}}/jobs/{quote(name)}")
        if answer.status == NOT_FOUND:
            return ""
        if answer.failed:
            raise _refusal(answer)
        return name

    def look(self, ids: list[str]) -> dict[str, NativeJob]:
        """One list of our Jobs, and one of the Workloads that Kueue made for them."""
        jobs = self._list("batch/v1/{}/jobs")
        workloads = self._list("kueue.x-k8s.io/v1beta1/{}/workloads") if self._config.queue else []
        owners = {_owner(workload): workload for workload in workloads}
        wanted = set(ids)
        found: dict[str, NativeJob] = {}
        for job in jobs:
            metadata = _object(job.get("metadata"))
            name = str(metadata.get("name", ""))
            if name in wanted:
                uid = str(metadata.get("uid", ""))
                seen = _native(job, owners.get(uid))
                found[name] = msgspec.structs.replace(seen, nodes=self._nodes(job, uid, seen))
        present = {str(_object(job.get("metadata")).get("uid", "")) for job in jobs}
        self._pods = {uid: pods for uid, pods in self._pods.items() if uid in present}
        return found

    def _nodes(self, job: dict[str, Any], uid: str, seen: NativeJob) -> dict[str, str]:
        """Names and addresses of a gang's pods, asked for until all of them have one."""
        count = _object(job.get("spec")).get("completions")
        if not isinstance(count, int) or count == 1 or seen.phase != "running":
            return {}
        if len(self._pods.get(uid, {})) < count:
            self._pods[uid] = {
                str(_object(pod.get("metadata")).get("name")): str(_object(pod.get("status"))["podIP"])
                for pod in self._list("v1/{}/pods")
                if _owner(pod) == uid and _object(pod.get("status")).get("podIP")
            }
        return self._pods[uid] if len(self._pods[uid]) == count else {}

    def cancel(self, native: str) -> None:
        """Delete the Job with its pods, then the policy that stood around them."""
        self._delete("batch/v1/{}/jobs", native)
        self.clean(native)

    def clean(self, native: str) -> None:
        """The policy; the Job itself is removed an hour after its end, so that its operators can look at it."""
        self._delete("networking.k8s.io/v1/{}/networkpolicies", native)

    def _delete(self, path: str, native: str) -> None:
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}
        answer = self._ask("DELETE", f"{path}/{quote(native)}", body=body)
        if answer.failed and answer.status != NOT_FOUND:
            raise _refusal(answer)

    def close(self) -> None:
        """Let go of the connections."""
        self._rest.close()

    def _list(self, path: str) -> list[dict[str, Any]]:
        """Every page of what carries our label."""
        found: list[dict[str, Any]] = []
        following = ""
        for _ in range(PAGES_MAX):
            selector = f"?labelSelector={quote(ATTEMPT_LABEL)}&limit={PAGE}"
            more = f"&continue={quote(following)}" if following else ""
            unlabelled = "kueue" in path  # Workloads are Kueue's own objects
            query = f"?limit={PAGE}{more}" if unlabelled else selector + more
            answer = self._ask("GET", path + query)
            if answer.status == NOT_FOUND and unlabelled:
                return found
            if answer.failed:
                raise _refusal(answer)
            items = answer.body.get("items")
            if not isinstance(items, list):
                raise EngineError(REASON_ENGINE_UNAVAILABLE, "a list without items")
            found += [item for item in items if isinstance(item, dict)]
            following = str(_object(answer.body.get("metadata")).get("continue") or "")
            if not following:
                return found
        raise EngineError(REASON_ENGINE_UNAVAILABLE, "a list without end")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        group, _, rest = path.partition("/{}/")
        root = "apis" if "/" in group else "api"
        address = f"/{root}/{group}/namespaces/{quote(self._config.namespace)}/{rest}"
        token = read_credential(self._config.token_file)
        return self._rest.ask(method, address, headers={"Authorization": f"Bearer {token}"}, body=body)

    def _job(self, task: Task, name: str) -> dict[str, Any]:
        limits, config = task.limits, self._config
        labels = {ATTEMPT_LABEL: name}
        margin = TIME_MARGIN_SECONDS + (START_SECONDS_MAX if task.nodes > 1 else 0)
        seconds = limits.wall_s + limits.grace_s + margin
        resources = {"cpu": str(limits.cpus), "memory": str(limits.memory_bytes)}
        if task.gpus:
            resources[config.gpu_resource] = str(task.gpus)
        selector = {config.gpu_label: task.gpu_type} if task.gpus and config.gpu_label else {}
        pod: dict[str, Any] = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": limits.grace_s + 5,
            "containers": [
                {
                    "name": "task",
                    "image": config.image,
                    "command": _command(config.python, task),
                    **({"env": PLACE} if task.nodes > 1 else {}),
                    "resources": {"requests": resources, "limits": resources},
                    "volumeMounts": [{"name": VOLUME, "mountPath": config.shared}],
                }
            ],
            "volumes": [{"name": VOLUME, "persistentVolumeClaim": {"claimName": config.claim}}],
            **({"nodeSelector": selector} if selector else {}),
            **({"serviceAccountName": config.service_account} if config.service_account else {}),
            **({"runtimeClassName": config.runtime_class} if config.runtime_class else {}),
        }
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": name,
                "labels": labels | ({QUEUE_LABEL: config.queue} if config.queue else {}),
            },
            "spec": {
                "suspend": bool(config.queue),
                "backoffLimit": 0,
                "completions": task.nodes,
                "parallelism": task.nodes,
                **({"completionMode": "Indexed"} if task.nodes > 1 else {}),
                "activeDeadlineSeconds": seconds,
                "ttlSecondsAfterFinished": KEPT_SECONDS,
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }


def native_name(attempt: str) -> str:
    """The attempt's id as a name that Kubernetes takes (RFC 1123)."""
    return attempt.replace("_", "-")


def _policy(name: str, nodes: int) -> dict[str, Any]:
    """No traffic in or out, but between the pods of a gang: the egress proxy of a job that has one is refused here."""
    selector = {"matchLabels": {ATTEMPT_LABEL: name}}
    each_other = [{"podSelector": selector}]
    tcp = [{"protocol": "TCP"}]
    rules = {"ingress": [{"from": each_other, "ports": tcp}], "egress": [{"to": each_other, "ports": tcp}]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "labels": {ATTEMPT_LABEL: name}},
        "spec": {
            "podSelector": selector,
            "policyTypes": ["Ingress", "Egress"],
            **(rules if nodes > 1 else {}),
        },
    }


def _command(python: str, task: Task) -> list[str]:
    """No shell, and nothing of the job's: what it runs is in the task's file."""
    home = str(next(iter(sekisho_agent.__path__))).rpartition("/")[0]
    start = (
        f"import sys; sys.path.insert(0, {home!r}); from sekisho_agent.wrapper import main; sys.exit(main())"
    )
    return [python, "-I", "-c", start, str(task.folder), *([RANK_VARIABLE] if task.nodes > 1 else [])]


def _native(job: dict[str, Any], workload: dict[str, Any] | None) -> NativeJob:
    """The Job's conditions, and while it waits those of its Workload."""
    status, spec = _object(job.get("status")), _object(job.get("spec"))
    restarts = _restarts(workload)
    conditions = _conditions(job)
    for kind in ("Failed", "FailureTarget"):
        if kind in conditions:
            reason, said = conditions[kind]
            ours, sure = _failed(reason)
            return NativeJob("gone", reason=ours, said=said or reason, restarts=restarts, sure=sure)
    if conditions.keys() & FINISHED:
        return NativeJob("gone", reason=REASON_WALL_BROKEN, said="Complete", restarts=restarts)
    if "deletionTimestamp" in _object(job.get("metadata")):
        return NativeJob("running", said="Terminating", restarts=restarts)
    active = status.get("active")
    if isinstance(active, int) and active > 0 and not spec.get("suspend"):
        ready = status.get("ready")
        return NativeJob(
            "running" if ready else "queued", said="Active" if ready else "Pending", restarts=restarts
        )
    return NativeJob("queued", said=_waiting(workload), restarts=restarts)


def _failed(reason: str) -> tuple[str, bool]:
    """Our reason, and whether the pod is surely gone."""
    match reason:
        case "DeadlineExceeded":
            return REASON_TIME_LIMIT, True
        case "BackoffLimitExceeded" | "PodFailurePolicy":
            return REASON_WALL_BROKEN, True
        case "NodeLost" | "NodeShutdown":
            return REASON_ENGINE_NODE_FAILED, False
        case "Cancelled":
            return REASON_ENGINE_CANCELLED, True
        case _:
            return REASON_ENGINE_GONE, False


def _waiting(workload: dict[str, Any] | None) -> str:
    """Kueue's own word for why a Workload is not admitted."""
    if workload is None:
        return "Pending"
    conditions = _conditions(workload, state="False")
    for kind in ("QuotaReserved", "Admitted"):
        if kind in conditions:
            reason, said = conditions[kind]
            return (f"{reason}: {said}" if said else reason)[:200]
    return "Admitted" if "Admitted" in _conditions(workload) else "Pending"


def _restarts(workload: dict[str, Any] | None) -> int:
    """How often Kueue has taken the Job out after it was admitted."""
    if workload is None:
        return 0
    count = _object(_object(workload.get("status")).get("requeueState")).get("count")
    evicted = "Evicted" in _conditions(workload) or "Preempted" in _conditions(workload)
    return max(count if isinstance(count, int) else 0, int(evicted))


def _conditions(thing: dict[str, Any], *, state: str = "True") -> dict[str, tuple[str, str]]:
    """Reason and message of each condition in this state."""
    listed = _object(thing.get("status")).get("conditions")
    found: dict[str, tuple[str, str]] = {}
    for condition in listed if isinstance(listed, list) else []:
        if isinstance(condition, dict) and condition.get("status") == state:
            reason, said = str(condition.get("reason") or ""), str(condition.get("message") or "")
            found[str(condition.get("type"))] = reason, said[:200]
    return found


def _owner(workload: dict[str, Any]) -> str:
    references = _object(workload.get("metadata")).get("ownerReferences")
    owners = [_object(item) for item in references] if isinstance(references, list) else []
    return next((str(item.get("uid", "")) for item in owners if item.get("kind") == "Job"), "")


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _refusal(answer: Answer) -> EngineError:
    """Kubernetes' own sentence; a quota that is used up is a full engine, an object it does not take a refused one."""
    said = str(answer.body.get("message", ""))[:500]
    if answer.status == FORBIDDEN and "quota" in said:
        return EngineError(REASON_ENGINE_FULL, f"Kubernetes: {said}")
    if answer.status in {FORBIDDEN, INVALID, TOO_LARGE, SERVER_ERROR - 100}:
        return EngineError(REASON_ENGINE_REFUSED, f"Kubernetes: {said}")
    return EngineError(REASON_ENGINE_UNAVAILABLE, f"Kubernetes answered with status {answer.status}: {said}")
