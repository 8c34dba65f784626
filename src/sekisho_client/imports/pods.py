"""The one container of a pod: what it runs, what it is told, what it needs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sekisho_client.imports.draft import Draft
from sekisho_client.imports.objects import items, mapping, rest
from sekisho_client.imports.roles import Roles
from sekisho_client.imports.told import Told

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


class _Needs(NamedTuple):
    """What the command line said, and which pods there are."""

    roles: Roles
    image: str
    gpu_type: str


def pod(given: dict[str, Any], draft: Draft, roles: Roles, *, image: str, gpu_type: str) -> str:
    """Fill the draft from a pod; answers the shell text to run."""
    containers = given.get("containers")
    if not isinstance(containers, list) or len(containers) != 1 or not isinstance(containers[0], dict):
        draft.refuse("containers", "several" if isinstance(containers, list) and containers else "missing")
        return "true"
    if given.get("restartPolicy", "Never") not in ("Never", "OnFailure"):
        draft.refuse("restartPolicy", "value")
    scratch = _volumes(given.get("volumes"), draft)
    reasons = {"nodeSelector": "place", "affinity": "place", "tolerations": "place", "nodeName": "place"}
    for name in given:
        if name not in {"containers", "restartPolicy", "volumes", "terminationGracePeriodSeconds"}:
            draft.refuse(name, reasons.get(name, "unknown"))
    if "terminationGracePeriodSeconds" in given:
        draft.note(
            "terminationGracePeriodSeconds: name a checkpoint with its grace",
            "terminationGracePeriodSeconds：checkpointのgraceで指定してください",
        )
    return _container(containers[0], draft, scratch, _Needs(roles, image, gpu_type))


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


def _container(container: dict[str, Any], draft: Draft, scratch: dict[str, str], needs: _Needs) -> str:
    if "name" not in draft.fields and container.get("name"):
        draft.name(container["name"], "containers.name")
    if needs.image:
        draft.resources["image"] = needs.image
    elif container.get("image"):
        draft.refuse("containers.image", "image")
    told = Told(draft, needs.roles)
    for variable in items(container.get("env"), "containers.env", draft):
        told.take(variable)
    for mount in items(container.get("volumeMounts"), "containers.volumeMounts", draft):
        _mounted(mount, scratch, draft)
    _resources(container.get("resources"), draft, gpu_type=needs.gpu_type)
    if container.get("workingDir") not in (None, "/work"):
        draft.refuse("containers.workingDir")
    known = CONTAINER_KNOWN | ({"ports"} if needs.roles.several and needs.roles.stem else set())
    if "ports" in known:
        _ports(container.get("ports"), draft)
    rest(container, known, "containers.", draft)
    return told.commands(_words(container, draft))


def _ports(value: object, draft: Draft) -> None:
    """Which ports a node's program listens on is told to nobody: every node reaches all of every other."""
    for port in items(value, "containers.ports", draft):
        rest(port, {"containerPort", "name", "protocol"}, "containers.ports.", draft)
        draft.note(
            f"port {port.get('containerPort')}: the nodes reach each other on every port",
            f"ポート{port.get('containerPort')}：ノード間ではすべてのポートに届きます",
        )


def _mounted(mount: dict[str, Any], scratch: dict[str, str], draft: Draft) -> None:
    """Only folders of the pod's own, where the wall has such a folder too."""
    name, target = str(mount.get("name", "")), str(mount.get("mountPath", ""))
    if name not in scratch:
        draft.refuse(f"volumeMounts.{name}", "data")
    elif not f"{target}/".startswith(("/tmp/", "/dev/shm/")):  # noqa: S108 - inside the wall
        draft.refuse(f"volumeMounts.{target}", "data")


def _words(container: dict[str, Any], draft: Draft) -> list[str]:
    """The command and its arguments."""
    if not container.get("command"):
        draft.refuse("containers.command", "missing")
    words: list[str] = []
    for where in ("command", "args"):
        value = container.get(where) or []
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            draft.refuse(f"containers.{where}", "value")
        elif where == "args" and any("$(" in word for word in value):
            draft.refuse("containers.args: $(VARIABLE)", "value")
        else:
            words += value
    return words


def _resources(value: object, draft: Draft, *, gpu_type: str) -> None:
    """The larger of request and limit: the wall holds the payload to one number."""
    given = mapping(value or {}, "containers.resources", draft)
    rest(given, {"requests", "limits"}, "resources.", draft)
    asked = {
        name: amount
        for where in ("requests", "limits")
        for name, amount in mapping(given.get(where) or {}, f"resources.{where}", draft).items()
    }
    takers: dict[str, Callable[[int], None]] = {
        "cpu": lambda whole: draft.cpus(max(1, whole), "resources.cpu"),
        "memory": lambda whole: draft.memory(max(1, -(-whole // (1 << 20))), "resources.memory"),
        "ephemeral-storage": lambda whole: draft.disk(
            max(1, -(-whole // 10**9)), "resources.ephemeral-storage"
        ),
    }
    for name, text in asked.items():
        amount = _quantity(str(text))
        if amount is None:
            draft.refuse(f"resources.{name}", "value")
        elif name in takers:
            takers[name](-int(-amount // 1))
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
