"""Kubernetes Jobs, and JobSets of one kind of Job: pods with one container that runs to its end.

The pods of a Job start when there is room: they are the jobs of an array. The pods of a JobSet start together: they are
the nodes of one job.
"""

from __future__ import annotations

from typing import Any, Final

from sekisho_client.imports import jobsets, pods
from sekisho_client.imports.draft import Draft
from sekisho_client.imports.jobsets import count
from sekisho_client.imports.objects import mapping, metadata, rest
from sekisho_client.imports.roles import Roles

JOB: Final = ("batch/v1", "Job")
JOBSET: Final = ("jobset.x-k8s.io", "JobSet")
MODES: Final = ("NonIndexed", "Indexed")
SECONDS_MAX: Final = 10**8
JOB_KNOWN: Final = {
    "parallelism",
    "completions",
    "completionMode",
    "backoffLimit",
    "suspend",
    "activeDeadlineSeconds",
    "template",
}


def translate(document: dict[str, Any], draft: Draft, *, image: str, gpu_type: str) -> str:
    """Fill the draft from a Job or JobSet; answers the shell text to run."""
    group, kind = str(document.get("apiVersion", "")), str(document.get("kind", ""))
    jobset = (group.partition("/")[0], kind) == JOBSET
    if not jobset and (group, kind) != JOB:
        draft.refuse(f"{group} {kind}")
        return ""
    if jobset:
        found = jobsets.read(document, draft)
        spec = found.job
        roles = jobsets.roles(found, _nodes(spec, found, draft))
        if spec.get("completionMode") == "NonIndexed":
            roles = roles._replace(index="")
    else:
        spec = mapping(document.get("spec"), "spec", draft)
        roles = _array(spec, draft)
    metadata(document.get("metadata"), "metadata", draft, named=True)
    rest(document, {"apiVersion", "kind", "metadata", "spec", "status"}, "", draft)
    _job(spec, draft)
    template = mapping(spec.get("template"), "spec.template", draft)
    metadata(template.get("metadata"), "template.metadata", draft, named=False)
    rest(template, {"metadata", "spec"}, "template.", draft)
    pod = mapping(template.get("spec"), "template.spec", draft)
    return pods.pod(pod, draft, roles, image=image, gpu_type=gpu_type)


def _nodes(spec: dict[str, Any], found: jobsets.Set, draft: Draft) -> int:
    """The pods of one Job of a set, all of which run at once."""
    completions, parallelism = _counts(spec, draft)
    indexed = spec.get("completionMode", "Indexed") == "Indexed"
    if not completions and parallelism > 1:
        draft.refuse("spec.completions" if indexed else "spec.parallelism", "missing" if indexed else "queue")
    each = completions or 1
    if each != (parallelism or 1) and completions:
        draft.refuse("spec.parallelism", "alike")
    nodes = found.replicas * each
    draft.nodes(nodes, "replicatedJobs.replicas" if found.replicas > 1 else "spec.completions")
    if nodes > 1:
        draft.note(
            f"{nodes} nodes: the pods of a JobSet start together",
            f"{nodes}ノード：JobSetのPodは同時に始まります",
        )
    if nodes > 1 and found.named:
        draft.note(
            "network: the nodes are named node-0, node-1 and so on",
            "network：ノード名はnode-0、node-1などです",
        )
    return each


def _array(spec: dict[str, Any], draft: Draft) -> Roles:
    """The pods of a Job by themselves: as many at once as there is room for."""
    completions, parallelism = _counts(spec, draft)
    indexed = spec.get("completionMode") == "Indexed"
    if indexed and not completions:
        draft.refuse("spec.completions", "missing")
    elif not completions and parallelism > 1:
        draft.refuse("spec.parallelism", "queue")
    if completions <= 1:
        return Roles(index="0" if indexed else "")
    draft.array(completions, parallelism or 1, "spec.completions")
    if not indexed:
        draft.note(
            "completions: the jobs are told apart here, by SEKISHO_ARRAY_INDEX",
            "completions：ここでは各ジョブがSEKISHO_ARRAY_INDEXで区別されます",
        )
    if spec.get("activeDeadlineSeconds") is not None:
        draft.note(
            "activeDeadlineSeconds: holds for each job of the array",
            "activeDeadlineSeconds：配列の各ジョブに適用されます",
        )
    return Roles(index='"$SEKISHO_ARRAY_INDEX"' if indexed else "", several=True)


def _counts(spec: dict[str, Any], draft: Draft) -> tuple[int, int]:
    """Completions and parallelism; 0 where there is none."""
    if spec.get("completionMode", "NonIndexed") not in MODES:
        draft.refuse("spec.completionMode", "value")
    completions = count(spec.get("completions"), "spec.completions", draft)
    return completions, count(spec.get("parallelism"), "spec.parallelism", draft)


def _job(spec: dict[str, Any], draft: Draft) -> None:
    if "backoffLimit" in spec:
        draft.note(
            "backoffLimit: what fails by itself is not run again",
            "backoffLimit：ジョブ自身の失敗は再実行しません",
        )
    if spec.get("suspend"):
        draft.note("suspend: the queue is ours", "suspend：待ち行列はこちらで管理します")
    seconds = spec.get("activeDeadlineSeconds")
    if seconds is not None:
        if isinstance(seconds, int) and not isinstance(seconds, bool) and 0 < seconds < SECONDS_MAX:
            draft.time_limit(seconds, "spec.activeDeadlineSeconds")
        else:
            draft.refuse("spec.activeDeadlineSeconds", "value")
    rest(spec, JOB_KNOWN, "spec.", draft)
