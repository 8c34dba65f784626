"""Objects of Kubernetes: every field that nobody looked at is refused by its name."""

from __future__ import annotations

from typing import Any, Final

from sekisho_client.imports.draft import Draft

MANAGED: Final = frozenset(
    {"creationTimestamp", "uid", "resourceVersion", "generation", "managedFields", "status"}
)


def mapping(value: object, where: str, draft: Draft) -> dict[str, Any]:
    """An object; refused, and empty, when it is missing or something else."""
    if isinstance(value, dict):
        return value
    draft.refuse(where, "missing" if value is None else "value")
    return {}


def rest(value: dict[str, Any], known: set[str], prefix: str, draft: Draft) -> None:
    """Refuse what is not among the known fields; what a server adds by itself is no wish."""
    for name in value:
        if name not in known and name not in MANAGED:
            draft.refuse(f"{prefix}{name}")


def items(value: object, where: str, draft: Draft) -> list[dict[str, Any]]:
    """A list of objects; refused, and empty, when it is something else."""
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    draft.refuse(where, "value")
    return []


def metadata(value: object, where: str, draft: Draft, *, named: bool) -> None:
    """Name, labels and annotations; `named` where the name is the job's."""
    given = value if isinstance(value, dict) else {}
    name = given.get("name") or str(given.get("generateName", "")).rstrip("-")
    if named and name:
        draft.name(name, f"{where}.name")
    known = {"name", "generateName", "namespace"} if named else set[str]()
    if named and "namespace" in given:
        draft.note("namespace: jobs belong to teams here", "namespace：ここではジョブはチームに属します")
    for field in ("labels", "annotations"):
        for key in mapping(given.get(field) or {}, f"{where}.{field}", draft):
            if str(key).startswith("app"):
                continue
            draft.refuse(f"{where}.{field}.{key}", "site" if "kueue" in str(key) else "unknown")
    rest(given, known | {"labels", "annotations"}, f"{where}.", draft)
