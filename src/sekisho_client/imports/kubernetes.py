"""Kubernetes Jobs, and JobSets of one Job: one pod with one container that runs to its end."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any, Final

from sekisho_client.imports.draft import Draft, duration

JOB: Final = ("batch/v1", "Job")
JOBSET: Final = ("jobset.x-k8s.io", "JobSet")
QUANTITY: Final = re.compile(r"(\d{1,12})(?:\.(\d{1,6}))?(m|k|Ki|M|Mi|G|Gi|T|Ti)?")
UNIT: Final = {
    "": 1,
    "k": 10**3,
    "Ki": 1 << 10,
    "M": 10**6,
    "Mi": 1 << 20,
    "G": 10**9,
    "Gi": 1 << 30,
    "T": 10**12,
    "Ti": 1 << 40,
}
GPUS: Final = frozenset({"nvidia.com/gpu", "amd.com/gpu"})
SHELLS: Final = frozenset({"sh", "bash"})
SHELL_OPTIONS: Final = frozenset({"-c", "-ec", "-ce", "-lc", "-exc"})
CONTAINER_KNOWN: Final = {
    "name",
    "image",
    "imagePullPolicy",
    "command",
    "args",
    "env",
    "volumeMounts",
    "resources",
    "workingDir",
}
MANAGED: Final = frozenset(
    {"creationTimestamp", "uid", "resourceVersion", "generation", "managedFields", "status"}
)


def translate(document: dict[str, Any], draft: Draft, *, image: str, gpu_type: str) -> str:
    """Fill the draft from a Job or JobSet; answers the shell text to run."""
    group, kind = str(document.get("apiVersion", "")), str(document.get("kind", ""))
    job = document
    if (group.partition("/")[0], kind) == JOBSET:
        job = _only_job(document, draft)
    elif (group, kind) != JOB:
        draft.refuse(f"{group} {kind}")
        return ""
    _metadata(document.get("metadata"), "metadata", draft, named=True)
    _rest(document, {"apiVersion", "kind", "metadata", "spec", "status"}, "", draft)
    spec = _object(job.get("spec"), "spec", draft)
    _job(spec, draft)
    template = _object(spec.get("template"), "spec.template", draft)
    _metadata(template.get("metadata"), "template.metadata", draft, named=False)
    _rest(template, {"metadata", "spec"}, "template.", draft)
    pod = _object(template.get("spec"), "template.spec", draft)
    return _pod(pod, draft, image=image, gpu_type=gpu_type)


def _object(value: object, where: str, draft: Draft) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    draft.refuse(where, "missing" if value is None else "value")
    return {}


def _rest(value: dict[str, Any], known: set[str], prefix: str, draft: Draft) -> None:
    """Every field that nobody looked at is refused by its name."""
    for name in value:
        if name not in known and name not in MANAGED:
            draft.refuse(f"{prefix}{name}")


def _only_job(document: dict[str, Any], draft: Draft) -> dict[str, Any]:
    spec = _object(document.get("spec"), "spec", draft)
    _rest(spec, {"replicatedJobs"}, "spec.", draft)
    jobs = spec.get("replicatedJobs")
    if not isinstance(jobs, list) or len(jobs) != 1 or not isinstance(jobs[0], dict):
        draft.refuse("spec.replicatedJobs", "nodes")
        return {"spec": {"template": {"spec": {"containers": [{"command": ["true"]}]}}}}
    (only,) = jobs
    if only.get("replicas", 1) != 1:
        draft.refuse("replicatedJobs.replicas", "nodes")
    _rest(only, {"name", "replicas", "template"}, "replicatedJobs.", draft)
    return _object(only.get("template"), "replicatedJobs.template", draft)


def _metadata(value: object, where: str, draft: Draft, *, named: bool) -> None:
    metadata = value if isinstance(value, dict) else {}
    name = metadata.get("name") or str(metadata.get("generateName", "")).rstrip("-")
    if named and name:
        draft.name(name, f"{where}.name")
    known = {"name", "generateName", "namespace"} if named else set[str]()
    if named and "namespace" in metadata:
        draft.note("namespace: jobs belong to teams here", "namespace：ここではジョブはチームに属します")
    for field in ("labels", "annotations"):
        for key in metadata.get(field) or {}:
            if str(key).startswith("app"):
                continue
            draft.refuse(f"{where}.{field}.{key}", "site" if "kueue" in str(key) else "unknown")
    _rest(metadata, known | {"labels", "annotations"}, f"{where}.", draft)


def _job(spec: dict[str, Any], draft: Draft) -> None:
    for field in ("parallelism", "completions"):
        if spec.get(field, 1) not in {1, None}:
            draft.refuse(f"spec.{field}", "array")
    if spec.get("completionMode", "NonIndexed") != "NonIndexed":
        draft.refuse("spec.completionMode", "array")
    if "backoffLimit" in spec:
        draft.note(
            "backoffLimit: what fails by itself is not run again",
            "backoffLimit：ジョブ自身の失敗は再実行しません",
        )
    if spec.get("suspend"):
        draft.note("suspend: the queue is ours", "suspend：待ち行列はこちらで管理します")
    seconds = spec.get("activeDeadlineSeconds")
    if seconds is not None:
        if isinstance(seconds, int) and 0 < seconds < 10**8:
            draft.fields["time_limit"] = duration(seconds)
        else:
            draft.refuse("spec.activeDeadlineSeconds", "value")
    known = {
        "parallelism",
        "completions",
        "completionMode",
        "backoffLimit",
        "suspend",
        "activeDeadlineSeconds",
        "template",
    }
    _rest(spec, known, "spec.", draft)


def _pod(pod: dict[str, Any], draft: Draft, *, image: str, gpu_type: str) -> str:
    containers = pod.get("containers")
    if not isinstance(containers, list) or len(containers) != 1 or not isinstance(containers[0], dict):
        draft.refuse("containers", "several" if isinstance(containers, list) and containers else "missing")
        return "true"
    if pod.get("restartPolicy", "Never") not in {"Never", "OnFailure"}:
        draft.refuse("restartPolicy", "value")
    scratch = _volumes(pod.get("volumes"), draft)
    reasons = {"nodeSelector": "place", "affinity": "place", "tolerations": "place", "nodeName": "place"}
    for name in pod:
        if name not in {"containers", "restartPolicy", "volumes", "terminationGracePeriodSeconds"}:
            draft.refuse(name, reasons.get(name, "unknown"))
    if "terminationGracePeriodSeconds" in pod:
        draft.note(
            "terminationGracePeriodSeconds: name a checkpoint with its grace",
            "terminationGracePeriodSeconds：checkpointのgraceで指定してください",
        )
    return _container(containers[0], draft, scratch, image=image, gpu_type=gpu_type)


def _volumes(value: object, draft: Draft) -> dict[str, str]:
    """Empty folders of a pod's own are the wall's /tmp; everything else is data."""
    scratch: dict[str, str] = {}
    for volume in value if isinstance(value, list) else []:
        name = str(volume.get("name", "")) if isinstance(volume, dict) else ""
        if isinstance(volume, dict) and "emptyDir" in volume:
            scratch[name] = f"/tmp/{name}"  # noqa: S108 - inside the wall
        else:
            draft.refuse(f"volumes.{name}", "data")
    return scratch


def _container(
    container: dict[str, Any], draft: Draft, scratch: dict[str, str], *, image: str, gpu_type: str
) -> str:
    if "name" not in draft.fields and container.get("name"):
        draft.name(container["name"], "containers.name")
    if image:
        draft.resources["image"] = image
    elif container.get("image"):
        draft.refuse("containers.image", "image")
    for variable in container.get("env") or []:
        _variable(variable if isinstance(variable, dict) else {}, draft)
    for mount in container.get("volumeMounts") or []:
        _mounted(mount if isinstance(mount, dict) else {}, scratch, draft)
    _resources(container.get("resources"), draft, gpu_type=gpu_type)
    if container.get("workingDir") not in {None, "/work"}:
        draft.refuse("containers.workingDir")
    _rest(container, CONTAINER_KNOWN, "containers.", draft)
    return _commands(container, draft)


def _mounted(mount: dict[str, Any], scratch: dict[str, str], draft: Draft) -> None:
    """Only folders of the pod's own, where the wall has such a folder too."""
    name, target = str(mount.get("name", "")), str(mount.get("mountPath", ""))
    if name not in scratch:
        draft.refuse(f"volumeMounts.{name}", "data")
    elif not f"{target}/".startswith(("/tmp/", "/dev/shm/")):  # noqa: S108 - inside the wall
        draft.refuse(f"volumeMounts.{target}", "data")


def _commands(container: dict[str, Any], draft: Draft) -> str:
    """A shell's own text as it stands, anything else as one quoted line."""
    if not container.get("command"):
        draft.refuse("containers.command", "missing")
    words = [
        *_words(container.get("command"), "command", draft),
        *_words(container.get("args"), "args", draft),
    ]
    match words:
        case [shell, option, text] if shell.rpartition("/")[2] in SHELLS and option in SHELL_OPTIONS:
            return ("set -e\n" if "e" in option else "") + text
        case _:
            return shlex.join(words)


def _variable(variable: dict[str, Any], draft: Draft) -> None:
    name = str(variable.get("name", ""))
    source = variable.get("valueFrom")
    if source is None:
        draft.variable(name, variable.get("value", ""), f"env.{name}")
    elif isinstance(source, dict) and set(source) == {"secretKeyRef"}:
        draft.secret(name, f"env.{name}")
        draft.note(f"secret {name}: sekisho secret set {name}", f"秘密{name}：sekisho secret set {name}")
    else:
        draft.refuse(f"env.{name}")


def _words(value: object, where: str, draft: Draft) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        draft.refuse(f"containers.{where}", "value")
        return []
    if any("$(" in word for word in value) and where == "args":
        draft.refuse("containers.args: $(VARIABLE)", "value")
    return list(value)


def _resources(value: object, draft: Draft, *, gpu_type: str) -> None:
    """The larger of request and limit: the wall holds the payload to one number."""
    given = value if isinstance(value, dict) else {}
    _rest(given, {"requests", "limits"}, "resources.", draft)
    asked = {**(given.get("requests") or {}), **(given.get("limits") or {})}
    takers: dict[str, Callable[[float], None]] = {
        "cpu": lambda amount: draft.resources.update(cpus=max(1, -int(-amount // 1))),
        "memory": lambda amount: draft.resources.update(memory=f"{max(1, -int(-amount // (1 << 20)))}MiB"),
        "ephemeral-storage": lambda amount: draft.resources.update(disk=max(1, -int(-amount // 10**9))),
    }
    for name, text in asked.items():
        amount = _quantity(str(text))
        if amount is None:
            draft.refuse(f"resources.{name}", "value")
        elif name in takers:
            takers[name](amount)
        elif name in GPUS and gpu_type:
            draft.accelerators(gpu_type, int(amount), f"resources.{name}")
        elif name in GPUS:
            draft.refuse(f"resources.{name}: the type of GPU (--gpu H100)", "missing")
        else:
            draft.refuse(f"resources.{name}")


def _quantity(text: str) -> float | None:
    match = QUANTITY.fullmatch(text)
    if match is None:
        return None
    number = float(f"{match[1]}.{match[2] or 0}")
    return number / 1000 if match[3] == "m" else number * UNIT[match[3] or ""]
