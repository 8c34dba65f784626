"""A job file resolved: names turned into digests, durations into seconds, labels joined. What attempts run from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sekisho.charter import Labels, join
from sekisho.compute import jobfile, rules, tables_keepsakes
from sekisho.compute.errors import FILE_INVALID, KEY_NEEDED, UNKNOWN_IMAGE, UNKNOWN_SECRET
from sekisho.compute.jobfile import JobFile
from sekisho.compute.placement import Need
from sekisho.data import ArtefactView, DatasetView, find_artefact, own_key, ready_dataset
from sekisho.kernel.errors import NotFoundError, SekishoError
from sekisho.kernel.tx import Tx
from sekisho_wire.keying import SEALED_LEVEL
from sekisho_wire.messages import HealthPlan, ObjectRef
from sekisho_wire.problems import Text

SPEC_BYTES_MAX = 200_000
"""What an order may weigh: with its tickets, and escaped twice, it still fits into one sealed answer."""

ARRAY_BYTES_MAX = 20_000_000
GRACE_SECONDS = 10


class Input(msgspec.Struct, frozen=True):
    """One input: where it appears, what it is, whose label the job inherits, and under which key it lies."""

    mount: str
    source: str
    object: str
    kind: str
    size_bytes: int
    key: str = ""
    key_version: int = 0
    envelope: str = ""
    site: str = ""
    """The one site where its bytes lie; empty for what came in here, from where every site gets it."""


class Output(msgspec.Struct, frozen=True):
    """One output folder."""

    mount: str
    name: str


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an attempt needs, fixed when the job was submitted.

    `setup_workdir`: whether the build that runs `setup` may see the workdir. It has a way out to package hosts, so only
    a public workdir goes near it; with any other the commands run without one.
    """

    run: str
    envs: dict[str, str]
    secrets: list[str]
    inputs: list[Input]
    outputs: list[Output]
    image: str
    lock: str
    lock_bytes: int
    need: Need
    disk_bytes: int
    workdir: ObjectRef | None
    checkpoint: dict[str, Any]
    egress: str | list[str]
    sites: list[str]
    operator: str
    setup: str = ""
    setup_workdir: bool = False
    size: int = 0
    """How many jobs an array or service has; 0 for what is neither."""
    parallel: int = 0
    drain_s: int = 0
    """What a service's replica may take to finish what it began; 0 for what is none."""
    health: HealthPlan | None = None
    workdir_id: str = ""
    """The artefact that the workdir is; its bytes came in under this name."""
    key: str = ""
    """Under which key everything rests that an attempt leaves behind; empty where no input lies under one."""

    @property
    def grace_s(self) -> int:
        """Seconds between TERM and KILL when the payload is to end."""
        return max(int(self.checkpoint.get("grace_s", 0 if self.drain_s else GRACE_SECONDS)), self.drain_s)


class Resolved(msgspec.Struct, frozen=True):
    """A job file with what it refers to, and the label it inherits."""

    file: JobFile
    spec: JobSpec
    label: Labels
    joined: Sequence[tuple[str, Labels]] = ()
    """What the label is the join of, each part by its name."""


class Asker(msgspec.Struct, frozen=True):
    """In whose name references are resolved: organisation, the workdir sent along, and the ids of the asker's teams."""

    owner: str
    workdir: str = ""
    teams: frozenset[str] = frozenset()


def resolve(tx: Tx, text: str, asker: Asker) -> Resolved:
    """Read a job file and look everything up that it names.

    Problems: `compute.file.*`, `compute.image.unknown`, `compute.secret.unknown`, `compute.key_needed`,
    `data.not_ready`, `not_found` for an input or workdir.
    """
    file = jobfile.parse(text)
    own = file.charter.level
    labels = [
        Labels(level=own, labels=frozenset(), residency=frozenset({"any"}), owners=frozenset({asker.owner}))
    ]
    inputs = [_input(tx, mount, asker.owner, labels) for mount in file.data if mount.source]
    workdir = _workdir(tx, asker)
    if workdir is not None:
        labels.append(_label(workdir))
    keys = [
        *((label.level, item.key) for label, item in zip(labels[1:], inputs, strict=False)),
        *([(workdir.level, workdir.key)] if workdir else []),
    ]
    if file.charter.residency is not None:
        narrowed = Labels(
            level=0, labels=frozenset(), residency=frozenset(file.charter.residency), owners=frozenset()
        )
        labels.append(narrowed)
    lock, lock_bytes = _image(tx, file.resources.image, asker.owner)
    for name in file.secrets:
        if tables_keepsakes.secret_value(tx, asker.owner, name, asker.teams) is None:
            raise SekishoError(UNKNOWN_SECRET, name=name)
    spec = JobSpec(
        run=file.run,
        envs={name: str(value) for name, value in file.envs.items()},
        secrets=file.secrets,
        inputs=inputs,
        outputs=[Output(mount.mount, mount.target) for mount in file.data if mount.target],
        image=file.resources.image,
        lock=lock,
        lock_bytes=lock_bytes,
        need=_need(file),
        disk_bytes=file.resources.disk << 30,
        workdir=_tree(workdir) if workdir is not None else None,
        workdir_id=workdir.id if workdir is not None else "",
        checkpoint=_checkpoint(file),
        egress=file.charter.egress,
        sites=file.charter.sites or [],
        operator=file.charter.operator,
        setup=file.setup,
        setup_workdir=bool(file.setup) and workdir is not None and _is_public(workdir),
        health=_health(file),
        key=rules.joined_key(keys) or _wished_key(tx, file.charter.key, asker.owner),
        **_members(file),
    )
    label = join(labels)
    if label.level >= SEALED_LEVEL and not spec.key and (spec.outputs or spec.checkpoint):
        raise SekishoError(KEY_NEEDED, level=label.level)
    _check_size(spec, text)
    names = ["owner", *(item.source for item in inputs)]
    names += ["workdir"] if workdir is not None else []
    names += ["job"] if file.charter.residency is not None else []
    return Resolved(file, spec, label, [*zip(names, labels, strict=True)])


def _wished_key(tx: Tx, key: str, owner: str) -> str:
    """The id of the key that the job file names; `not_found` for one that is not the asker's organisation's."""
    return own_key(tx, key, owner).id if key else ""


def _check_size(spec: JobSpec, text: str) -> None:
    """Each member of an array keeps the whole file, so that it stands alone."""
    resolved = len(msgspec.json.encode(spec))
    what: Text | None = None
    if resolved > SPEC_BYTES_MAX:
        limit = SPEC_BYTES_MAX
        what = Text(f"longer than {limit} bytes once resolved", f"解決後の大きさが{limit}バイトを超えます")
    elif spec.size * (resolved + len(text.encode())) > ARRAY_BYTES_MAX:
        limit = ARRAY_BYTES_MAX
        what = Text(
            f"longer than {limit} bytes in all {spec.size} jobs of the array",
            f"配列の{spec.size}件を合わせた大きさが{limit}バイトを超えます",
        )
    if what is not None:
        raise SekishoError(FILE_INVALID, line=1, column=1, field="file", texts={"what": what})


def _input(tx: Tx, mount: jobfile.Mount, owner: str, labels: list[Labels]) -> Input:
    if mount.source.startswith("art_"):
        artefact = _own(find_artefact(tx, mount.source), owner)
        labels.append(_label(artefact))
        return _under_key(mount, artefact, artefact.object_kind)
    dataset = ready_dataset(tx, mount.source, owner)
    labels.append(
        Labels(
            level=dataset.level,
            labels=frozenset(dataset.labels),
            residency=frozenset(dataset.residency),
            owners=frozenset({dataset.owner}),
        )
    )
    return _under_key(mount, dataset, "tree")


def _under_key(mount: jobfile.Mount, found: ArtefactView | DatasetView, kind: str) -> Input:
    return Input(
        mount.mount,
        found.id,
        found.object,
        kind,
        found.size_bytes,
        key=found.key,
        key_version=found.key_version,
        envelope=found.envelope,
    )


def _own(found: ArtefactView, owner: str) -> ArtefactView:
    """What belongs to another organisation looks like what does not exist, as everywhere."""
    if found.owner != owner:
        raise NotFoundError(id=found.id)
    return found


def _workdir(tx: Tx, asker: Asker) -> ArtefactView | None:
    if not asker.workdir:
        return None
    artefact = _own(find_artefact(tx, asker.workdir), asker.owner)
    if artefact.kind != "workdir":
        raise NotFoundError(id=asker.workdir)
    return artefact


def _tree(artefact: ArtefactView) -> ObjectRef:
    return ObjectRef(object=artefact.object, kind="tree", size_bytes=artefact.size_bytes, source="control")


def _is_public(artefact: ArtefactView) -> bool:
    """Level 0 that no label and no residency restricts."""
    return artefact.level == 0 and not artefact.labels and "any" in artefact.residency


def _label(artefact: ArtefactView) -> Labels:
    return Labels(
        level=artefact.level,
        labels=frozenset(artefact.labels),
        residency=frozenset(artefact.residency),
        owners=frozenset(artefact.owners),
    )


def _image(tx: Tx, image: str, owner: str) -> tuple[str, int]:
    if not image:
        return "", 0
    lock = tables_keepsakes.find_image(tx, owner, image)
    if lock is None:
        raise SekishoError(UNKNOWN_IMAGE, image=image)
    return lock


def _need(file: JobFile) -> Need:
    gpu_type, gpus = jobfile.accelerators(file.resources.accelerators)
    return Need(
        cpus=file.resources.cpus,
        memory_bytes=jobfile.memory_bytes(file.resources.memory),
        gpus=gpus,
        gpu_type=gpu_type,
        seconds=jobfile.seconds(file.time_limit),
        yen_max=file.budget.max_yen if file.budget else 0,
        deadline_ms=jobfile.deadline_ms(file.deadline),
        nodes=file.num_nodes,
        asked=file.service is not None and file.service.health is not None,
    )


def _members(file: JobFile) -> dict[str, int]:
    """How many jobs this file makes, and how they run beside each other."""
    if file.array is not None:
        return {"size": file.array.size, "parallel": file.array.parallel}
    if file.service is not None:
        count = file.service.replicas
        return {"size": count, "parallel": count, "drain_s": jobfile.seconds(file.service.drain)}
    return {}


def _health(file: JobFile) -> HealthPlan | None:
    health = file.service.health if file.service else None
    if health is None:
        return None
    return HealthPlan(
        run=health.run,
        every_s=jobfile.seconds(health.every),
        after_s=jobfile.seconds(health.after),
        failures=health.failures,
    )


def _checkpoint(file: JobFile) -> dict[str, Any]:
    if file.checkpoint is None:
        return {}
    return {
        "path": file.checkpoint.path,
        "every_s": max(1, jobfile.seconds(file.checkpoint.every)),
        "grace_s": min(20, jobfile.seconds(file.checkpoint.grace)),
    }
