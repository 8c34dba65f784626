"""SkyPilot tasks: most of their fields are ours by name, in more spellings."""

from __future__ import annotations

import re
from typing import Any, Final

from sekisho_client.imports.draft import Draft

PLACES: Final = frozenset(
    {"cloud", "region", "zone", "infra", "instance_type", "any_of", "ordered", "use_spot", "cluster_name"}
)
NEUTRAL: Final = {"use_spot": False, "disk_tier": None, "autostop": False, "num_nodes": 1}
SERVICE_REASONS: Final = {
    "readiness_probe": "probe",
    "ports": "port",
    "load_balancing_policy": "port",
    "tls": "port",
}
COUNT: Final = re.compile(r"(\d{1,6})(?:\.0)?\+?")
SIZE: Final = re.compile(r"(\d{1,9})(?:\.0)?\s*((?i:[gmt]i?b?)?)\+?")
OF_GANGS: Final = frozenset({"SKYPILOT_NODE_RANK", "SKYPILOT_NUM_NODES", "SKYPILOT_NODE_IPS"})
"""Set by the site on every node of a gang, under the same names."""
VARIABLE: Final = re.compile(r"\$\{?(SKYPILOT_\w+)")


def translate(task: dict[str, Any], draft: Draft, *, image: str) -> str:
    """Fill the draft from a task; answers the shell text to run."""
    if "name" in task:
        draft.name(task.pop("name"), "name")
    run, setup = task.pop("run", ""), task.pop("setup", "")
    for name, text in (("run", run), ("setup", setup)):
        if not isinstance(text, str) and text is not None:
            draft.refuse(name, "value")
    _nodes(task.pop("num_nodes", 1), draft)
    _workdir(task.pop("workdir", None), draft)
    if setup:
        draft.fields["setup"] = str(setup)
    _variables(task.pop("envs", None), draft)
    _secrets(task.pop("secrets", None), draft)
    _resources(task.pop("resources", None), draft, image=image)
    for name in ("file_mounts", "storage_mounts", "volumes"):
        for target in _keys(task.pop(name, None)):
            draft.refuse(f"{name}.{target}", "data")
    if "service" in task:
        _service(task.pop("service"), draft)
    for name in task:
        draft.refuse(str(name))
    text = run if isinstance(run, str) else ""
    for used in untold_variables(str(setup or "")):
        draft.refuse(f"setup: ${used}", "setup")
    _own_variables(text, draft)
    return text


def _keys(value: object) -> list[str]:
    if isinstance(value, dict):
        return [str(key) for key in value]
    return ["0"] if value else []


def _nodes(value: object, draft: Draft) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        draft.refuse("num_nodes", "value")
    else:
        draft.nodes(value, "num_nodes")


def _service(value: object, draft: Draft) -> None:
    """A fixed number of replicas; what watches over them, or leads to them, has no equivalent."""
    if not isinstance(value, dict):
        draft.refuse("service", "value")
        return
    given = dict(value)
    replicas, policy = given.pop("replicas", None), given.pop("replica_policy", None)
    if policy is not None:
        replicas = _fixed_replicas(policy, draft) if replicas is None else "both"
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        draft.refuse("service.replicas", "missing" if replicas is None else "value")
    else:
        draft.service(replicas, "service.replicas")
        draft.note(
            "service: the replicas are kept running; no address leads to them from outside",
            "service：レプリカの実行を保ちます。外部から届く待受先はありません",
        )
    for name in given:
        draft.refuse(f"service.{name}", SERVICE_REASONS.get(str(name), "unknown"))


def _fixed_replicas(policy: object, draft: Draft) -> object:
    """The number of replicas of a policy that never changes it."""
    given = dict(policy) if isinstance(policy, dict) else {"": policy}
    least = given.pop("min_replicas", None)
    most = given.pop("max_replicas", None)
    if most is not None and most != least:
        draft.refuse("service.replica_policy.max_replicas", "scaling")
    for name in given:
        draft.refuse(f"service.replica_policy.{name}".rstrip("."), "scaling" if name else "value")
    return least


def _workdir(value: object, draft: Draft) -> None:
    if isinstance(value, str) and value:
        draft.fields["workdir"] = value
    elif value is not None:
        draft.refuse("workdir", "value")


def _variables(value: object, draft: Draft) -> None:
    if value is not None and not isinstance(value, dict):
        draft.refuse("envs", "value")
        return
    for name, content in (value or {}).items():
        draft.variable(str(name), content, f"envs.{name}")


def _secrets(value: object, draft: Draft) -> None:
    """A task lists its secrets with no value; a value in the file is refused."""
    if value is not None and not isinstance(value, dict):
        draft.refuse("secrets", "value")
        return
    for name, content in (value or {}).items():
        if content is None:
            draft.secret(str(name), f"secrets.{name}")
        else:
            draft.refuse(f"secrets.{name}", "secret")


def _resources(value: object, draft: Draft, *, image: str) -> None:
    if value is not None and not isinstance(value, dict):
        draft.refuse("resources", "value")
        return
    given = dict(value or {})
    _accelerators(given.pop("accelerators", None), draft)
    _cpus(given.pop("cpus", None), draft)
    _memory(given.pop("memory", None), draft)
    _disk(given.pop("disk_size", None), draft)
    container = given.pop("image_id", None)
    if image:
        draft.resources["image"] = image
    elif container is not None:
        draft.refuse("resources.image_id", "image")
    for name, content in given.items():
        if name in NEUTRAL and (content == NEUTRAL[name] or content is None):
            continue
        why = "place" if name in PLACES else "port" if name == "ports" else "unknown"
        draft.refuse(f"resources.{name}", why)


def _cpus(value: object, draft: Draft) -> None:
    if value is None:
        return
    match = COUNT.fullmatch(str(value))
    if match is None or not int(match[1]):
        draft.refuse("resources.cpus", "value")
    else:
        draft.cpus(int(match[1]), "resources.cpus")


def _memory(value: object, draft: Draft) -> None:
    if value is None:
        return
    match = SIZE.fullmatch(str(value))
    if match is None or not int(match[1]):
        draft.refuse("resources.memory", "value")
    else:
        unit = match[2]
        draft.resources["memory"] = f"{int(match[1])}{_unit(unit)}" if unit else int(match[1])


def _unit(text: str) -> str:
    letter = text[0].upper()
    return f"{letter}iB" if "i" in text.lower() or len(text) == 1 else f"{letter}B"


def _accelerators(value: object, draft: Draft) -> None:
    """`H100:8`, `{H100: 8}`, or nothing; a choice of several is refused, because ours is one type."""
    if isinstance(value, dict) and len(value) == 1:
        ((kind, count),) = value.items()
        value = f"{kind}:{count}" if count is not None else str(kind)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None:
        return
    kind, _, count = str(value).strip().partition(":")
    whole = re.fullmatch(r"(\d{1,4})(?:\.0)?", count or "1")
    if not isinstance(value, str) or whole is None:
        draft.refuse("resources.accelerators", "value")
        return
    draft.accelerators(kind, int(whole[1]), "resources.accelerators")


def _disk(value: object, draft: Draft) -> None:
    if value is None:
        return
    match = re.fullmatch(r"(\d{1,6})\s*(?:[Gg]i?[Bb]?)?\+?", str(value))
    if match is None or not int(match[1]):
        draft.refuse("resources.disk_size", "value")
    else:
        draft.resources["disk"] = int(match[1])


def untold_variables(text: str) -> list[str]:
    """What a text expects to be told by SkyPilot, and does not set by itself."""
    return sorted(name for name in set(VARIABLE.findall(text)) if f"export {name}=" not in text)


def _own_variables(text: str, draft: Draft) -> None:
    """What SkyPilot tells a task about its nodes; what the site of a gang tells too is left to it."""
    gang = "num_nodes" in draft.fields
    gpus = str(draft.resources.get("accelerators", ":0")).rpartition(":")[2]
    known = {
        "SKYPILOT_NODE_RANK": "0",
        "SKYPILOT_NUM_NODES": "1",
        "SKYPILOT_NODE_IPS": "127.0.0.1",
        "SKYPILOT_NUM_GPUS_PER_NODE": gpus,
        "SKYPILOT_TASK_ID": '"$SEKISHO_JOB"',
    }
    for used in untold_variables(text):
        if gang and used in OF_GANGS:
            continue
        if used in known:
            draft.export(used, known[used])
        else:
            draft.refuse(f"${used}")
