"""A stand-in for a Kubernetes API server with Kueue: checks every object against the published schemas, runs pods.

What it enforces is Kubernetes' own: the schemas of the release that `kubernetes-validate` brings (strict: no unknown
field), names by RFC 1123, conflicts, bearer tokens, suspension, deadlines, grace at deletion. What it only plays is
Kueue: one queue with a number of GPUs, first come first served. A pod is a process of this machine.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate
from typing_extensions import override

VERSION = "1.37"
TOKEN = "stand-in-token"
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
PATH = re.compile(r"/apis?/((?:[a-z0-9.-]+/)?v\w+)/namespaces/([a-z0-9-]+)/(\w+)(?:/([a-z0-9-]+))?")
KINDS = {
    "jobs": "batch/v1",
    "networkpolicies": "networking.k8s.io/v1",
    "workloads": "kueue.x-k8s.io/v1beta1",
    "pods": "v1",
}
QUEUE = "kueue.x-k8s.io/queue-name"
LABEL = "sekisho.io/attempt"


class RefusalError(Exception):
    """An answer other than 2xx."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": reason,
            "message": message,
            "code": code,
        }


class Cluster:
    """The objects, the queue and the pods. Everything under one lock."""

    def __init__(self, *, gpus: int = 8) -> None:
        self.gpus = gpus
        self.lock = threading.RLock()
        self.objects: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in KINDS}
        self.pods: dict[str, list[subprocess.Popen[bytes]]] = {}
        self.starts: list[str] = []
        self.fault = ""
        self.asked = 0
        self._closing = threading.Event()
        self._server = _Server(self)
        self._threads = [
            threading.Thread(target=self._server.serve_forever, daemon=True),
            threading.Thread(target=self._control, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._threads[1].join()
        for pod in (pod for pods in self.pods.values() for pod in pods):
            pod.kill()
            pod.wait()

    def job(self, name: str) -> dict[str, Any]:
        with self.lock:
            return self.objects["jobs"][name]

    def preempt(self, name: str) -> None:
        """Kueue takes an admitted Job out again; it may be admitted a second time later."""
        with self.lock:
            job, workload = self.objects["jobs"][name], self.objects["workloads"][name]
            _set(
                workload,
                "Evicted",
                "True",
                reason="Preempted",
                message="to accommodate a workload of higher priority",
            )
            _set(workload, "Admitted", "False", reason="NoReservation", message="evicted")
            job["spec"]["suspend"] = True
            job["status"]["active"] = 0
        self._end_pods(name)

    # --- the API

    def create(self, plural: str, made: dict[str, Any]) -> dict[str, Any]:
        try:
            kubernetes_validate.validate(made, VERSION, strict=True)
        except Exception as error:
            raise RefusalError(422, "Invalid", str(error)[:300]) from error
        metadata = made["metadata"]
        name = str(metadata.get("name", ""))
        if NAME.fullmatch(name) is None:
            raise RefusalError(422, "Invalid", f"{name!r} is no RFC 1123 label")
        with self.lock:
            if name in self.objects[plural]:
                raise RefusalError(409, "AlreadyExists", f'{plural} "{name}" already exists')
            metadata["uid"] = str(uuid.uuid4())
            metadata["creationTimestamp"] = datetime.datetime.now(datetime.UTC).isoformat()
            made["status"] = dict[str, Any]()
            self.objects[plural][name] = made
            if plural == "jobs" and QUEUE in metadata.get("labels", {}):
                if not made["spec"].get("suspend"):
                    raise RefusalError(422, "Invalid", "a Job with a queue must be made suspended")
                self._enqueue(made)
        return made

    def _enqueue(self, job: dict[str, Any]) -> None:
        name = job["metadata"]["name"]
        workload: dict[str, Any] = {
            "apiVersion": KINDS["workloads"],
            "kind": "Workload",
            "metadata": {
                "name": name,
                "ownerReferences": [{"kind": "Job", "name": name, "uid": job["metadata"]["uid"]}],
            },
            "status": {},
        }
        _set(
            workload,
            "QuotaReserved",
            "False",
            reason="Pending",
            message="couldn't assign flavors: insufficient quota",
        )
        self.objects["workloads"][name] = workload

    def get(self, plural: str, name: str) -> dict[str, Any]:
        with self.lock:
            if name not in self.objects[plural]:
                raise RefusalError(404, "NotFound", f'{plural} "{name}" not found')
            return self.objects[plural][name]

    def listed(self, plural: str, query: dict[str, list[str]]) -> dict[str, Any]:
        """A page, in order of name; the cursor is the last name."""
        selector, limit = query.get("labelSelector", [""])[0], int(query.get("limit", ["500"])[0])
        after = query.get("continue", [""])[0]
        with self.lock:
            names = sorted(
                name
                for name, item in self.objects[plural].items()
                if name > after and (not selector or selector in item["metadata"].get("labels", {}))
            )
            items = [self.objects[plural][name] for name in names[: min(limit, 2)]]
        more = names[min(limit, 2) :]
        following = {"continue": items[-1]["metadata"]["name"]} if more else {}
        return {"kind": "List", "apiVersion": KINDS[plural], "metadata": following, "items": items}

    def delete(self, plural: str, name: str) -> dict[str, Any]:
        found = self.get(plural, name)
        if plural != "jobs":
            with self.lock:
                del self.objects[plural][name]
            return {"kind": "Status", "status": "Success"}
        with self.lock:
            found["metadata"]["deletionTimestamp"] = datetime.datetime.now(datetime.UTC).isoformat()
        threading.Thread(target=self._remove, args=(name,), daemon=True).start()
        return found

    def _remove(self, name: str) -> None:
        self._end_pods(name)
        with self.lock:
            for pod in [pod for pod in self.objects["pods"] if pod.startswith(f"{name}-")]:
                del self.objects["pods"][pod]
            self.objects["jobs"].pop(name, None)
            self.objects["workloads"].pop(name, None)

    def _end_pods(self, name: str) -> None:
        pods = self.pods.get(name, [])
        grace = self.job(name)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        for pod in pods:
            pod.terminate()
        over = time.monotonic() + grace
        for pod in pods:
            try:
                pod.wait(max(0.0, over - time.monotonic()))
            except subprocess.TimeoutExpired:
                pod.kill()
                pod.wait()

    # --- controllers

    def _control(self) -> None:
        while not self._closing.wait(0.05):
            with self.lock:
                for name, job in list(self.objects["jobs"].items()):
                    self._admit(name, job)
                    self._run(name, job)

    def _admit(self, name: str, job: dict[str, Any]) -> None:
        workload = self.objects["workloads"].get(name)
        if workload is None or not job["spec"]["suspend"] or "deletionTimestamp" in job["metadata"]:
            return
        if self._used() + _gpus(job) <= self.gpus:
            _set(workload, "QuotaReserved", "True", reason="QuotaReserved")
            _set(workload, "Admitted", "True", reason="Admitted")
            job["spec"]["suspend"] = False

    def _used(self) -> int:
        return sum(
            _gpus(job)
            for job in self.objects["jobs"].values()
            if not job["spec"]["suspend"] and not job["status"].get("conditions")
        )

    def _run(self, name: str, job: dict[str, Any]) -> None:
        status, pods = job["status"], self.pods.get(name, [])
        if status.get("conditions") or "deletionTimestamp" in job["metadata"]:
            return
        returned = [pod.poll() for pod in pods]
        if None not in returned and not status.get("active"):
            if not job["spec"]["suspend"]:
                self._start(name, job)
            return
        if not status.get("active"):
            return
        status["active"] = status["ready"] = returned.count(None)
        failed = any(returned)
        if failed:
            _set(
                job,
                "Failed",
                "True",
                reason="BackoffLimitExceeded",
                message="Job has reached the specified backoff limit",
            )
            threading.Thread(target=self._end_pods, args=(name,), daemon=True).start()
        elif None not in returned:
            _set(job, "Complete", "True", reason="CompletionsReached")

    def _start(self, name: str, job: dict[str, Any]) -> None:
        """A pod without a policy around it, or a wrong one, would be a mistake of ours."""
        policy = self.objects["networkpolicies"].get(name, {})
        if not _fits(policy.get("spec"), job):
            _set(job, "Failed", "True", reason="PodFailurePolicy", message="no fitting NetworkPolicy")
            return
        count = _pods(job)
        self.pods[name] = [self._pod(job, index) for index in range(count)]
        self.starts.append(name)
        job["status"] |= {"active": count, "ready": count}

    def _pod(self, job: dict[str, Any], index: int) -> subprocess.Popen[bytes]:
        """A process that is told what a container would be; each pod has an address of this machine's loopback."""
        job_name, template = job["metadata"]["name"], job["spec"]["template"]
        pod: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{job_name}-{index}-{uuid.uuid4().hex[:5]}",
                "labels": template["metadata"]["labels"],
                "ownerReferences": [{"kind": "Job", "name": job_name, "uid": job["metadata"]["uid"]}],
            },
            "status": {"phase": "Running", "podIP": f"127.0.1.{index + 1}"},
        }
        self.objects["pods"][pod["metadata"]["name"]] = pod
        container = template["spec"]["containers"][0]
        environment = {"PATH": "/usr/bin:/bin"}
        if job["spec"].get("completionMode") == "Indexed":
            environment["JOB_COMPLETION_INDEX"] = str(index)
        for variable in container.get("env", []):
            first, second = variable["valueFrom"]["fieldRef"]["fieldPath"].split(".")
            environment[variable["name"]] = pod[first][second]
        return subprocess.Popen(
            container["command"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def _pods(job: dict[str, Any]) -> int:
    """How many run at once: all of them, in the jobs that we make."""
    count = job["spec"]["parallelism"]
    assert count == job["spec"]["completions"]
    return int(count)


def _fits(policy: dict[str, Any] | None, job: dict[str, Any]) -> bool:
    """Whether pods of this job reach each other, if there are several, and nobody else."""
    labels = {"matchLabels": job["spec"]["template"]["metadata"]["labels"]}
    each_other = {"from": [{"podSelector": labels}]}, {"to": [{"podSelector": labels}]}
    wanted: dict[str, Any] = {"podSelector": labels, "policyTypes": ["Ingress", "Egress"]}
    if _pods(job) > 1:
        tcp = {"ports": [{"protocol": "TCP"}]}
        wanted |= {"ingress": [each_other[0] | tcp], "egress": [each_other[1] | tcp]}
    return policy == wanted


def _gpus(job: dict[str, Any]) -> int:
    container = job["spec"]["template"]["spec"]["containers"][0]
    return _pods(job) * int(container["resources"]["limits"].get("nvidia.com/gpu", "0"))


def _set(thing: dict[str, Any], kind: str, state: str, *, reason: str, message: str = "") -> None:
    conditions = thing["status"].setdefault("conditions", [])
    conditions[:] = [condition for condition in conditions if condition["type"] != kind]
    conditions.append({"type": kind, "status": state, "reason": reason, "message": message})


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def cluster(self) -> Cluster:
        assert isinstance(self.server, _Server)
        return self.server.cluster

    @override
    def log_message(self, format: str, *args: object) -> None:
        del format, args

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        cluster = self.cluster
        cluster.asked += 1
        try:
            status, body = 200, self._do(method, content)
        except RefusalError as refusal:
            status, body = refusal.code, refusal.status
        encoded = json.dumps(body).encode()
        match cluster.fault:
            case "error":
                status, encoded = 500, b"<html>upstream went away</html>"
            case "wrong":
                encoded = b'{"items": {"not": "a list"}, "metadata": 7}'
            case "late":
                time.sleep(0.5)
            case "nothing":
                self.close_connection = True
                return
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(encoded)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(encoded)

    def _do(self, method: str, content: bytes) -> dict[str, Any]:
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            raise RefusalError(401, "Unauthorized", "Unauthorized")
        parts = urlsplit(self.path)
        match = PATH.fullmatch(parts.path)
        if match is None or KINDS.get(match[3]) != match[1] or match[2] != "lab":
            raise RefusalError(404, "NotFound", "the server could not find the requested resource")
        plural, name = match[3], match[4] or ""
        cluster = self.cluster
        if method == "POST":
            return cluster.create(plural, json.loads(content))
        if method == "DELETE":
            return cluster.delete(plural, name)
        return cluster.get(plural, name) if name else cluster.listed(plural, parse_qs(parts.query))


@contextlib.contextmanager
def running(*, gpus: int = 8) -> Iterator[Cluster]:
    """A cluster for the length of the block."""
    cluster = Cluster(gpus=gpus)
    try:
        yield cluster
    finally:
        cluster.close()
