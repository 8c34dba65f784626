"""The job file: SkyPilot's field names for what both know, plus kind, data, charter, checkpoint, deadline, budget.

Unknown fields are refused with line and column, never ignored: a misspelt `residency` must not run anywhere.
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Literal, dataclass_transform, get_args, get_origin

import msgspec
from msgspec import Meta, field

from sekisho.compute.errors import FILE_INVALID, FILE_UNKNOWN_FIELD
from sekisho.compute.marked_yaml import LARGEST, Marks, load
from sekisho.kernel.clock import parse_rfc3339
from sekisho.kernel.errors import SekishoError
from sekisho_wire.complaints import in_words
from sekisho_wire.messages import GRACE_SECONDS_MAX, NODES_MAX, OUTPUTS_MAX, EnvironmentName, MountPath
from sekisho_wire.problems import Text

ARRAY_MAX = 1_000
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
Duration = Annotated[str, Meta(pattern=r"^\d{1,6}[smhd]\Z")]
Short = Annotated[str, Meta(max_length=128)]
JobName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}\Z")]
Country = Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z")]
Accelerators = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,31}(:\d{1,4})?)?\Z")]
MemoryText = Annotated[str, Meta(pattern=r"^\d{1,9}\s*(?i:[mgt]i?b)?\+?\Z")]
OutputName = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,62})?\Z")]


_NEEDS: tuple[tuple[object, Text], ...] = (
    (
        Duration,
        Text("needs a number and a unit: 30s, 10m, 2h or 7d", "数値と単位が必要です（例：30s、10m、2h、7d）"),
    ),
    (
        JobName,
        Text(
            "needs 1 to 63 small letters, digits, dots, hyphens or underscores, a letter or digit first",
            "1〜63文字の英小文字・数字・「.」「-」「_」が必要です（先頭は英小文字か数字）",
        ),
    ),
    (
        Country,
        Text(
            "needs a country's two capital letters, such as JP", "国コード2文字（大文字）が必要です（例：JP）"
        ),
    ),
    (Accelerators, Text("needs a type and a count, such as H100:8", "種類と個数が必要です（例：H100:8）")),
    (
        MemoryText,
        Text(
            "needs gigabytes, or a number with a unit: 16, 512MB",
            "GB単位の数値、または単位付きの数値が必要です（例：16、512MB）",
        ),
    ),
    (
        OutputName,
        Text(
            "needs up to 63 letters, digits, dots, hyphens or underscores, a letter or digit first",
            "63文字までの英数字・「.」「-」「_」が必要です（先頭は英数字）",
        ),
    ),
    (
        MountPath,
        Text("needs an absolute path of plain names, such as /data", "絶対パスが必要です（例：/data）"),
    ),
    (
        EnvironmentName,
        Text(
            "a variable is named with letters, digits and underscores, no digit first",
            "変数名に使えるのは英字・数字・「_」です（先頭は数字以外）",
        ),
    ),
)
_FORMS = {
    meta.pattern: form
    for kind, form in _NEEDS
    for meta in get_args(kind)
    if isinstance(meta, Meta) and meta.pattern
}
"""What a value needs, in place of the pattern that it does not match."""
_A_SECOND = Text("needs at least 1s", "1秒以上が必要です")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A section of the file."""


class Resources(_Part):
    """What one node needs. `accelerators` as `H100:8`; `memory` in GB, or with a unit; `image` by its name."""

    accelerators: Accelerators = ""
    cpus: Annotated[int, Meta(ge=1, le=4096)] = 1
    memory: Annotated[int, Meta(ge=1, le=1_000_000)] | MemoryText = 2
    image: Short = ""
    disk: Annotated[int, Meta(ge=1, le=1_000_000)] = 8


class Mount(_Part):
    """One line of `data`: an input (`from`: a dataset or artefact) or an output (`to`: a name), and its mount."""

    mount: MountPath
    source: Short = field(default="", name="from")
    target: OutputName = field(default="", name="to")


class Wishes(_Part):
    """What the job narrows by itself; the charter may be stricter, never laxer.

    `level` raises the level above what the inputs bring; it never lowers it. `key` encrypts what the job leaves behind
    where no input brings a key of its own.
    """

    level: Annotated[int, Meta(ge=0, le=5)] = 0
    key: Short = ""
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


def parse(text: str) -> JobFile:
    """The job file in `text`; problems `compute.file.*` with line and column for everything else."""
    marks = Marks()
    value = load(text, marks)
    try:
        job = msgspec.convert(value, JobFile, strict=True)
    except msgspec.ValidationError as error:
        raise _explain(str(error), marks) from error
    _check(job, marks)
    return job


def _check(job: JobFile, marks: Marks) -> None:
    """What types alone do not say: each fault at its own line."""
    faults = _mount_faults(job.data) | _kind_faults(job)
    if not 0 < memory_bytes(job.resources.memory) < LARGEST:
        faults["$.resources.memory"] = Text(
            "needs at least 1 MB, and less than 8 PiB", "1 MB以上、8 PiB未満が必要です"
        )
    if seconds(job.time_limit) == 0:
        faults["$.time_limit"] = _A_SECOND
    if len(set(job.secrets)) < len(job.secrets):
        faults["$.secrets"] = Text("names a secret twice", "同じ秘密情報が2回あります")
    try:
        deadline_ms(job.deadline)
    except ValueError:
        faults["$.deadline"] = Text(
            "needs a moment with its zone, such as 2026-12-20T00:00:00+09:00",
            "時差付きの日時が必要です（例：2026-12-20T00:00:00+09:00）",
        )
    if faults:
        raise _invalid(*next(iter(faults.items())), marks)


def _kind_faults(job: JobFile) -> dict[str, Text]:
    faults: dict[str, Text] = {}
    for kind, part in (("array", job.array), ("service", job.service)):
        if (job.kind == kind) != (part is not None):
            faults[f"$.{kind}" if part else "$.kind"] = Text(
                f"needs both kind: {kind} and a section {kind}",
                f"kind: {kind}と項目{kind}の両方が必要です",
            )
    if job.service is None:
        return faults
    if seconds(job.service.drain) > GRACE_SECONDS_MAX:
        most = GRACE_SECONDS_MAX
        faults["$.service.drain"] = Text(f"may be {most}s at most", f"{most}秒までです")
    health = job.service.health
    for name, text in (("every", health.every), ("after", health.after)) if health else ():
        if seconds(text) == 0:
            faults[f"$.service.health.{name}"] = _A_SECOND
    return faults


def _mount_faults(data: list[Mount]) -> dict[str, Text]:
    faults: dict[str, Text] = {}
    mounts = [mount.mount for mount in data]
    for number, mount in enumerate(data):
        if bool(mount.source) == bool(mount.target):
            faults[f"$.data[{number}]"] = Text("needs either from or to", "fromとtoのどちらか一方が必要です")
        elif mount.mount in mounts[:number]:
            faults[f"$.data[{number}].mount"] = Text(
                "another line is mounted there", "同じ場所を使う行がほかにあります"
            )
        elif mount.target and mount.target in [other.target for other in data[:number]]:
            faults[f"$.data[{number}].to"] = Text("another output has this name", "同じ名前の出力があります")
    if sum(1 for mount in data if mount.target) > OUTPUTS_MAX:
        faults["$.data"] = Text(
            f"has more than {OUTPUTS_MAX} outputs", f"出力が{OUTPUTS_MAX}個を超えています"
        )
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


def _explain(message: str, marks: Marks) -> SekishoError:
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
    return _invalid(path, _what(_WHERE.sub("", message), path), marks)


def _what(message: str, path: str) -> Text:
    """What a value needs, or which choices there are, instead of how msgspec checks it."""
    for pattern, form in _FORMS.items():
        if message.endswith(f" matching regex {pattern!r}"):
            return form
    if message.startswith("Invalid enum value"):
        field = {item.encode_name: item.type for item in _items(path.rpartition(".")[0])}
        choices = ", ".join(_choices(field.get(path.rpartition(".")[2])))
        return Text(f"needs one of: {choices}", f"次のいずれかが必要です：{choices}")
    return in_words(message)


def _choices(kind: object) -> list[str]:
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    return [choice for part in get_args(kind) for choice in _choices(part)]


def _invalid(path: str, what: Text, marks: Marks) -> SekishoError:
    line, column = marks.find(path)
    return SekishoError(
        FILE_INVALID,
        line=line,
        column=column,
        field=path.removeprefix("$.") if path != "$" else "file",
        texts={"what": what},
    )


def _fields(path: str) -> list[str]:
    return [item.encode_name for item in _items(path)]


def _items(path: str) -> tuple[msgspec.structs.FieldInfo, ...]:
    """The fields of the section at a path."""
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
    return msgspec.structs.fields(section)
