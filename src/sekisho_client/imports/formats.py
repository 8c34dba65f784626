"""Which system a file was written for, and its translation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from sekisho_client.imports import kubernetes, sbatch, skypilot
from sekisho_client.imports.draft import Draft
from sekisho_client.refusals import Refused

OURS_ALONE: Final = frozenset(
    {"kind", "array", "team", "data", "charter", "checkpoint", "time_limit", "deadline", "budget"}
)
"""Fields that no SkyPilot task has: a file with one of them is ours."""
TEXT_BYTES_MAX: Final = 1 << 20
DEPTH_MAX: Final = 40
LOOSE: Final = (yaml.YAMLError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What PyYAML raises for what is no YAML, or says `!!int` and is none."""
BASE_60: Final = re.compile(r"[-+0-9:._]{200,}")
"""YAML 1.1 reads `1:30` in base 60, which costs more than the square of its length."""


class Translated(NamedTuple):
    """A job file's text, from which system it came (nothing for one of ours), and what its owner should know."""

    text: str
    system: str = ""
    notes: tuple[tuple[str, str], ...] = ()


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, so that a person can read them."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _block)


def translate(text: str, path: str, *, image: str = "", gpu: str = "") -> Translated:
    """A file of any known system as a job file of ours; one of ours comes back as it is.

    `image` and `gpu` name what other systems do not: an image of ours, a type of GPU. Refused `run.import` names what
    has no equivalent.
    """
    if len(text.encode("utf-8", "surrogatepass")) > TEXT_BYTES_MAX:
        raise Refused("run.import", path=path, names="size", why="at most 1 MiB", why_ja="1 MiBまでです")
    draft = Draft(path)
    stem = Path(path).name.partition(".")[0] or "job"
    if text.startswith("#!") or any(line.startswith("#SBATCH") for line in text.splitlines()):
        run = sbatch.translate(text, draft)
        if image:
            draft.resources["image"] = image
        return _finished(draft, run, "Slurm", stem)
    document = _document(text, draft)
    if document is None:
        return Translated(text)
    if "apiVersion" in document:
        run = kubernetes.translate(document, draft, image=image, gpu_type=gpu)
        return _finished(draft, run, "Kubernetes", stem)
    if OURS_ALONE & set(document) or not _is_skypilot(document, image):
        return Translated(text)
    run = skypilot.translate(dict(document), draft, image=image)
    return _finished(draft, run, "SkyPilot", stem)


def _finished(draft: Draft, run: str, system: str, stem: str) -> Translated:
    if "name" not in draft.fields:
        draft.name(stem, "name")
        draft.notes = [note for note in draft.notes if not note[0].startswith("name: ")]
    fields = draft.finish(run)
    text = yaml.dump(fields, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    return Translated(text, system, tuple(draft.notes))


def _document(text: str, draft: Draft) -> dict[str, Any] | None:
    """The file's one mapping; None for what is no YAML mapping, which the server explains with line and column."""
    try:
        depth = _depth(text)
        documents = [found for found in yaml.safe_load_all(text) if found is not None] if depth else []
    except LOOSE:
        return None
    if len(documents) > 1:
        draft.refuse(f"{len(documents)} documents", "several")
        draft.finish("true")
    found = documents[0] if documents else None
    return found if isinstance(found, dict) else None


def _depth(text: str) -> bool:
    """Whether the text may be loaded: not too deep, no alias (they make a small file huge), no number without end."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            return False
        if isinstance(event, yaml.ScalarEvent) and BASE_60.fullmatch(event.value):
            return False
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH_MAX:
            return False
    return True


def _is_skypilot(document: dict[str, Any], image: str) -> bool:
    """Whether a task needs translation: a plain one in our spelling is a job file as it stands."""
    resources = document.get("resources")
    given = resources if isinstance(resources, dict) else {}
    number = document.get("num_nodes", 1)
    nodes = number if isinstance(number, int) and not isinstance(number, bool) else 0
    plain = (
        {"name", "run"}
        <= set(document)
        <= {"name", "run", "setup", "workdir", "envs", "secrets", "resources", "num_nodes"}
        and not isinstance(document.get("secrets"), dict)
        and set(given) <= {"accelerators", "cpus", "memory", "image", "disk"}
        and isinstance(given.get("accelerators", ""), str)
        and isinstance(given.get("cpus", 1), int)
        and (resources is None or isinstance(resources, dict))
        and nodes >= 1
        and not set(skypilot.untold_variables(str(document.get("run"))))
        - (skypilot.OF_GANGS if nodes > 1 else set())
        and not skypilot.untold_variables(str(document.get("setup")))
        and str(document["name"]) == str(document["name"]).lower()
        and not image
    )
    known = {"run", "setup", "name", "resources", "file_mounts", "num_nodes", "service", "envs", "workdir"}
    return not plain and bool(known & set(document))
