"""The job file: SkyPilot's field names for what both know, plus kind, data, charter, checkpoint, deadline, budget.

Unknown fields are refused with line and column, never ignored: a misspelt `residency` must not run anywhere.
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, Literal, TypeAlias, dataclass_transform

import msgspec
import yaml
from msgspec import Meta, field

from sekisho.compute.errors import FILE_INVALID, FILE_MALFORMED, FILE_UNKNOWN_FIELD
from sekisho.kernel.clock import parse_rfc3339
from sekisho.kernel.errors import SekishoError
from sekisho_wire.messages import GRACE_SECONDS_MAX, NODES_MAX, OUTPUTS_MAX, EnvironmentName, MountPath

DEPTH_MAX = 12
YAML_NODES_MAX = 5_000
ARRAY_MAX = 1_000
LARGEST = 2**53
"""Whole numbers stay below it: evidence and both databases hold no larger one."""
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_UNITS_BYTES = {
    "": 1 << 30,
    "gb": 10**9,
    "gib": 1 << 30,
    "mb": 10**6,
    "mib": 1 << 20,
    "tb": 10**12,
    "tib": 1 << 40,
}
_DURATION = re.compile(r"(\d{1,6})([smhd])")
_MEMORY = re.compile(r"(\d{1,9})\s*((?i:[mgt]i?b)?)\+?")
_ACCELERATORS = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,31})(?::(\d{1,4}))?")
_WHERE = re.compile(r" - at `(?:key` in `)?(.+)`$")
_UNKNOWN = re.compile(r"unknown field `(.+?)`")
_STANDARD = "tag:yaml.org,2002:"
_SCALARS = frozenset({"null", "bool", "int", "float", "str"})

Plain: TypeAlias = Any
"""What YAML gives: text, numbers, booleans, lists, objects, nothing."""
Duration = Annotated[str, Meta(pattern=r"^\d{1,6}[smhd]\Z")]
Short = Annotated[str, Meta(max_length=128)]
JobName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}\Z")]
Country = Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z")]


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A section of the file."""


class Resources(_Part):
    """What one node needs. `accelerators` as `H100:8`; `memory` in GB, or with a unit; `image` by its name."""

    accelerators: Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,31}(:\d{1,4})?)?\Z")] = ""
    cpus: Annotated[int, Meta(ge=1, le=4096)] = 1
    memory: (
        Annotated[int, Meta(ge=1, le=1_000_000)]
        | Annotated[str, Meta(pattern=r"^\d{1,9}\s*(?i:[mgt]i?b)?\+?\Z")]
    ) = 2
    image: Short = ""
    disk: Annotated[int, Meta(ge=1, le=1_000_000)] = 8


class Mount(_Part):
    """One line of `data`: an input (`from`: a dataset or artefact) or an output (`to`: a name), and its mount."""

    mount: MountPath
    source: Short = field(default="", name="from")
    target: Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,62})?\Z")] = field(
        default="", name="to"
    )


class Wishes(_Part):
    """What the job narrows by itself; the charter may be stricter, never laxer.

    `level` raises the level above what the inputs bring; it never lowers it.
    """

    level: Annotated[int, Meta(ge=0, le=5)] = 0
    residency: Annotated[list[Country], Meta(min_length=1, max_length=64)] | None = None
    operator: Literal["any", "domestic"] = "any"
    sites: Annotated[list[Short], Meta(min_length=1, max_length=64)] | None = None
    egress: Literal["none"] | Annotated[list[Short], Meta(min_length=1, max_length=64)] = "none"


class Checkpoint(_Part):
    """Training checkpoints: where, how often at most, and how long the payload may take to save at the end."""

    path: MountPath = "/ckpt"
    every: Duration = "60s"
    grace: Duration = "10s"


class Budget(_Part):
    """What the job may cost at most, in whole yen."""

    max_yen: Annotated[int, Meta(ge=1, lt=2**53)]


class Array(_Part):
    """How many jobs of `kind: array` there are, and how many of them may be under way at once."""

    size: Annotated[int, Meta(ge=1, le=ARRAY_MAX)]
    parallel: Annotated[int, Meta(ge=1, le=ARRAY_MAX)] = ARRAY_MAX


class Health(_Part):
    """Shell text whose status 0 says that a replica is well; `failures` other answers in a row end it."""

    run: Annotated[str, Meta(min_length=1, max_length=4096)]
    every: Duration = "10s"
    after: Duration = "10s"
    failures: Annotated[int, Meta(ge=1, le=100)] = 3


class Service(_Part):
    """What `kind: service` keeps running: how many replicas, and how long each may take to finish what it began."""

    replicas: Annotated[int, Meta(ge=1, le=ARRAY_MAX)] = 1
    drain: Duration = "10s"
    health: Health | None = None


class JobFile(_Part):
    """A whole job file.

    `resources` are those of one node; the nodes of a job start together or not at all. An array is `size` jobs of this
    file, told apart by SEKISHO_ARRAY_INDEX. A service is as many as it has replicas, each begun again whenever it ends,
    until the service is cancelled.

    `setup` is shell text run once per image, workdir and text, before `run` and apart from it: in a build of level 0
    that sees no data, no secret, no variable of `envs`, and the workdir only when that is public (level 0, no label,
    any residency).
    What it installs into /image is what `run` gets, read-only.
    """

    name: JobName
    run: Annotated[str, Meta(min_length=1, max_length=100_000)]
    kind: Literal["batch", "array", "service"] = "batch"
    array: Array | None = None
    service: Service | None = None
    team: Short = ""
    resources: Resources = Resources()
    num_nodes: Annotated[int, Meta(ge=1, le=NODES_MAX)] = 1
    setup: Annotated[str, Meta(max_length=100_000)] = ""
    workdir: Annotated[str, Meta(max_length=4096)] = ""
    envs: Annotated[
        dict[EnvironmentName, Annotated[str, Meta(max_length=4096)] | int], Meta(max_length=256)
    ] = {}
    secrets: Annotated[list[Short], Meta(max_length=64)] = field(default_factory=list)
    data: Annotated[list[Mount], Meta(max_length=64)] = field(default_factory=list)
    charter: Wishes = Wishes()
    checkpoint: Checkpoint | None = None
    time_limit: Duration = "1h"
    deadline: Annotated[str, Meta(max_length=40)] = ""
    budget: Budget | None = None


class _Marks:
    """Where each value stands in the text, by msgspec's path spelling."""

    def __init__(self) -> None:
        self._at: dict[str, tuple[int, int]] = {"$": (1, 1)}
        self.nodes = 0

    def note(self, path: str, mark: yaml.Mark) -> None:
        self._at[path] = (mark.line + 1, mark.column + 1)

    def find(self, path: str) -> tuple[int, int]:
        """Line and column of a path, or of the nearest enclosing one."""
        while path and path not in self._at:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._at.get(path, (1, 1))


class _Loader(yaml.SafeLoader):
    """Stops while it reads, not afterwards, when a file is too deep or too long."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = 0
        self._depth = 0

    # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._nodes += 1
        self._depth += 1
        if self._depth > DEPTH_MAX + 1 or self._nodes > 2 * YAML_NODES_MAX:
            raise yaml.MarkedYAMLError(
                problem="too deep or too long", problem_mark=self.peek_event().start_mark
            )
        try:
            node: yaml.Node | None = super().compose_node(parent, index)
        finally:
            self._depth -= 1
        return node


def parse(text: str) -> JobFile:
    """The job file in `text`; problems `compute.file.*` with line and column for everything else."""
    marks = _Marks()
    value = _load(text, marks)
    try:
        job = msgspec.convert(value, JobFile, strict=True)
    except msgspec.ValidationError as error:
        raise _explain(str(error), marks) from error
    _check(job, marks)
    return job


def _check(job: JobFile, marks: _Marks) -> None:
    """What types alone do not say: each fault at its own line."""
    faults = _mount_faults(job.data) | _kind_faults(job)
    if not 0 < memory_bytes(job.resources.memory) < LARGEST:
        faults["$.resources.memory"] = "needs at least 1 MB, and less than 8 PiB"
    if seconds(job.time_limit) == 0:
        faults["$.time_limit"] = "needs at least 1s"
    if len(set(job.secrets)) < len(job.secrets):
        faults["$.secrets"] = "names a secret twice"
    try:
        deadline_ms(job.deadline)
    except ValueError:
        faults["$.deadline"] = "needs a moment with its zone, such as 2026-12-20T00:00:00+09:00"
    if faults:
        raise _invalid(*next(iter(faults.items())), marks)


def _kind_faults(job: JobFile) -> dict[str, str]:
    faults: dict[str, str] = {}
    for kind, part in (("array", job.array), ("service", job.service)):
        if (job.kind == kind) != (part is not None):
            faults[f"$.{kind}" if part else "$.kind"] = f"needs both kind: {kind} and a section {kind}"
    if job.service is None:
        return faults
    if seconds(job.service.drain) > GRACE_SECONDS_MAX:
        faults["$.service.drain"] = f"may be {GRACE_SECONDS_MAX}s at most"
    health = job.service.health
    for name, text in (("every", health.every), ("after", health.after)) if health else ():
        if seconds(text) == 0:
            faults[f"$.service.health.{name}"] = "needs at least 1s"
    return faults


def _mount_faults(data: list[Mount]) -> dict[str, str]:
    faults: dict[str, str] = {}
    mounts = [mount.mount for mount in data]
    for number, mount in enumerate(data):
        if bool(mount.source) == bool(mount.target):
            faults[f"$.data[{number}]"] = "needs either from or to"
        elif mount.mount in mounts[:number]:
            faults[f"$.data[{number}].mount"] = "another line is mounted there"
        elif mount.target and mount.target in [other.target for other in data[:number]]:
            faults[f"$.data[{number}].to"] = "another output has this name"
    if sum(1 for mount in data if mount.target) > OUTPUTS_MAX:
        faults["$.data"] = f"has more than {OUTPUTS_MAX} outputs"
    return faults


def seconds(text: str) -> int:
    """`48h` as seconds; the pattern was checked when the file was read."""
    match = _DURATION.fullmatch(text)
    return int(match[1]) * _UNITS_S[match[2]] if match else 0


def memory_bytes(value: int | str) -> int:
    """SkyPilot's `memory` in bytes: a bare number is GiB, `16+` means at least 16."""
    match = _MEMORY.fullmatch(str(value))
    return int(match[1]) * _UNITS_BYTES.get(match[2].lower(), 1 << 30) if match else 0


def accelerators(text: str) -> tuple[str, int]:
    """`H100:8` as type and count; nothing as an empty type and 0."""
    match = _ACCELERATORS.fullmatch(text)
    return (match[1], int(match[2] or 1)) if match else ("", 0)


def deadline_ms(text: str) -> int:
    """Milliseconds since the epoch; 0 for no deadline; ValueError for what is no moment with a zone."""
    return parse_rfc3339(text) if text else 0


def _load(text: str, marks: _Marks) -> Plain:
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            raise _malformed((1, 1), "the file is empty")
        return _value(node, "$", marks, 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise _malformed(where, error.problem or "not YAML") from error
    except yaml.YAMLError as error:
        raise _malformed((1, 1), "not YAML text") from error


def _value(node: yaml.Node, path: str, marks: _Marks, depth: int) -> Plain:
    """The plain value of a node, its place noted on the way; no aliases, no tags of Python's."""
    marks.note(path, node.start_mark)
    marks.nodes += 1
    where = (node.start_mark.line + 1, node.start_mark.column + 1)
    if depth > DEPTH_MAX or marks.nodes > YAML_NODES_MAX:
        raise _malformed(where, "too deep or too long")
    if isinstance(node, yaml.CollectionNode) and node.tag not in {_STANDARD + "map", _STANDARD + "seq"}:
        raise _malformed(where, f"no value of type {node.tag[:60]} is taken")
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, marks, depth)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, f"{path}[{number}]", marks, depth + 1) for number, item in enumerate(node.value)]
    return _scalar(node, where)


def _scalar(node: yaml.Node, where: tuple[int, int]) -> Plain:
    """Text, whole number, yes or no, nothing; what looks like a date stays the text it is."""
    tag, text = node.tag.removeprefix(_STANDARD), str(node.value)
    _check_text(text, where)
    if tag in {"str", "timestamp"}:
        return text
    if tag not in _SCALARS:
        raise _malformed(where, f"no value of type {node.tag[:60]} is taken")
    if tag in {"int", "float"} and ":" in text:
        # YAML 1.1 would read it in base 60, which costs more than the square of its length.
        return text
    try:
        value = yaml.SafeLoader("").construct_object(node)  # type: ignore[no-untyped-call] - PyYAML is untyped here
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise _malformed(where, f"not a value of type {tag}") from error
    if isinstance(value, int) and abs(value) >= LARGEST:
        raise _malformed(where, "the number is too large")
    return value if value is None or isinstance(value, (int, float)) else text


def _check_text(text: str, where: tuple[int, int]) -> None:
    """Escapes can spell what neither UTF-8 nor every database holds."""
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise _malformed(where, "a character that no text holds")


def _mapping(node: yaml.MappingNode, path: str, marks: _Marks, depth: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, item in node.value:
        where = (key.start_mark.line + 1, key.start_mark.column + 1)
        if not isinstance(key, yaml.ScalarNode):
            raise _malformed(where, "a field needs a plain name")
        _check_text(key.value, where)
        if key.value in result:
            raise _malformed(where, f"field {key.value} stands twice")
        result[key.value] = _value(item, f"{path}.{key.value}", marks, depth + 1)
        marks.note(f"{path}.{key.value}", key.start_mark)
    return result


def _malformed(where: tuple[int, int], what: str) -> SekishoError:
    return SekishoError(FILE_MALFORMED, line=where[0], column=where[1], what=what)


def _explain(message: str, marks: _Marks) -> SekishoError:
    """Turn msgspec's message into one with line and column, and a guess for a misspelt field."""
    found = _WHERE.search(message)
    path = found[1] if found else "$"
    unknown = _UNKNOWN.search(message)
    if unknown:
        line, column = marks.find(f"{path}.{unknown[1]}")
        guess = difflib.get_close_matches(unknown[1], _fields(path), n=1, cutoff=0.0)
        return SekishoError(
            FILE_UNKNOWN_FIELD,
            line=line,
            column=column,
            field=unknown[1],
            guess=guess[0],
        )
    return _invalid(path, _WHERE.sub("", message), marks)


def _invalid(path: str, what: str, marks: _Marks) -> SekishoError:
    line, column = marks.find(path)
    return SekishoError(
        FILE_INVALID,
        line=line,
        column=column,
        field=path.removeprefix("$.") if path != "$" else "file",
        what=what,
    )


def _fields(path: str) -> list[str]:
    sections: dict[str, type[msgspec.Struct]] = {
        "$": JobFile,
        "$.resources": Resources,
        "$.charter": Wishes,
        "$.checkpoint": Checkpoint,
        "$.array": Array,
        "$.service": Service,
        "$.service.health": Health,
        "$.budget": Budget,
    }
    section = Mount if path.startswith("$.data[") else sections.get(path, JobFile)
    return [item.encode_name for item in msgspec.structs.fields(section)]
