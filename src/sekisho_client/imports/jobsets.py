"""JobSets of one kind of Job: their pods start together, and are the nodes of one job here."""

from __future__ import annotations

import shlex
from typing import Any, Final, NamedTuple

from sekisho_client.imports.draft import Draft
from sekisho_client.imports.objects import mapping, metadata, rest
from sekisho_client.imports.roles import HEAD, Roles

ALONE: Final = "127.0.0.1"
PREFIX: Final = "jobset.sigs.k8s.io"
EMPTY: Final[dict[str, Any]] = {"template": {"spec": {"containers": [{"command": ["true"]}]}}}
DEFAULTS: Final[dict[str, dict[str, tuple[object, ...]]]] = {
    "successPolicy": {"operator": ("All",), "targetReplicatedJobs": ([],)},
    "failurePolicy": {"maxRestarts": (0,), "rules": ([],)},
    "startupPolicy": {"startupPolicyOrder": ("AnyOrder", "InOrder")},
}
"""Values that change nothing where there is one kind of Job."""


class Set(NamedTuple):
    """The one Job's spec, how many such Jobs there are, and what its pods' names are made of."""

    job: dict[str, Any]
    replicas: int
    name: str
    kind: str
    subdomain: str
    namespace: str
    named: bool


def read(document: dict[str, Any], draft: Draft) -> Set:
    """A JobSet with everything around its Job looked at."""
    spec = mapping(document.get("spec"), "spec", draft)
    rest(spec, {"replicatedJobs", "network", "suspend", *DEFAULTS}, "spec.", draft)
    about = document.get("metadata")
    given = about if isinstance(about, dict) else {}
    name, namespace = str(given.get("name", "")), str(given.get("namespace", "default"))
    for policy, defaults in DEFAULTS.items():
        _default(spec.get(policy), policy, defaults, draft)
    if spec.get("suspend"):
        draft.note("suspend: the queue is ours", "suspend：待ち行列はこちらで管理します")
    network = _network(spec.get("network"), draft)
    subdomain = str(network.get("subdomain") or name)
    named = bool(network.get("enableDNSHostnames"))
    jobs = spec.get("replicatedJobs")
    if not isinstance(jobs, list) or len(jobs) != 1 or not isinstance(jobs[0], dict):
        draft.refuse("spec.replicatedJobs", "alike")
        return Set(EMPTY, 1, name, "", subdomain, namespace, named)
    (only,) = jobs
    rest(only, {"name", "replicas", "template"}, "replicatedJobs.", draft)
    template = mapping(only.get("template"), "replicatedJobs.template", draft)
    metadata(template.get("metadata"), "replicatedJobs.template.metadata", draft, named=False)
    rest(template, {"metadata", "spec"}, "replicatedJobs.template.", draft)
    job = mapping(template.get("spec"), "replicatedJobs.template.spec", draft)
    replicas = count(only.get("replicas"), "replicatedJobs.replicas", draft) or 1
    return Set(job, replicas, name, str(only.get("name", "")), subdomain, namespace, named)


def count(value: object, where: str, draft: Draft) -> int:
    """A whole number above 0; 0 where none is given, or a refusal."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        draft.refuse(where, "value")
        return 0
    return value


def roles(found: Set, pods: int) -> Roles:
    """What the pods are told: `replicas` Jobs of `pods` pods each, counted Job by Job."""
    nodes = found.replicas * pods
    rank = '"$NODE_RANK"' if nodes > 1 else "0"
    both = nodes > max(found.replicas, pods)
    index = f"$(($NODE_RANK / {pods}))" if both else rank if found.replicas > 1 else "0"
    told = {
        "jobset-name": shlex.quote(found.name),
        "replicatedjob-name": shlex.quote(found.kind),
        "replicatedjob-replicas": str(found.replicas),
        "global-replicas": str(found.replicas),
        "job-index": index,
        "job-global-index": index,
    }
    stem = f"{found.name}-{found.kind}-"
    first = f"{stem}0-0.{found.subdomain}"
    ends = ("", f".{found.namespace}", f".{found.namespace}.svc", f".{found.namespace}.svc.cluster.local")
    return Roles(
        index=f"$(($NODE_RANK % {pods}))" if both else rank if pods > 1 else "0",
        fields={f"{PREFIX}/{name}": text for name, text in told.items()},
        variables={"JOBSET_NAME": shlex.quote(found.name)},
        stem=stem if found.name and found.kind else "",
        kind=found.kind,
        first=tuple(first + end for end in ends),
        head=HEAD if nodes > 1 else ALONE,
        several=nodes > 1,
    )


def _default(value: object, policy: str, defaults: dict[str, tuple[object, ...]], draft: Draft) -> None:
    given = value if isinstance(value, dict) else {"": value} if value is not None else {}
    if any(field not in defaults or content not in defaults[field] for field, content in given.items()):
        draft.refuse(f"spec.{policy}")


def _network(value: object, draft: Draft) -> dict[str, Any]:
    """Names for the pods, which they have here under other names."""
    if value is None:
        return {}
    given = mapping(value, "spec.network", draft)
    rest(given, {"enableDNSHostnames", "subdomain", "publishNotReadyAddresses"}, "spec.network.", draft)
    return given
