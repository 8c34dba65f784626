"""From an offer to a task: checks the offer, stages its inputs, fetches its secrets, lays out its folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from sekisho_agent.engines.contract import Image, Setup, Task
from sekisho_agent.errors import EngineError, ImageError
from sekisho_agent.site import Site
from sekisho_agent.staging import Stager
from sekisho_agent.wall import SECRETS_FOLDER_INSIDE, Mount, check_mounts
from sekisho_verify import canonical
from sekisho_wire.keying import SEALED_LEVEL
from sekisho_wire.messages import EgressAllow, Offer, SecretValue, WantSecret

WORK_INSIDE: Final = "/work"
SHELLS: Final = ("/usr/bin/bash", "/usr/bin/sh")


class Layout(msgspec.Struct, frozen=True):
    """Folders of one attempt on the host. `scratch` is never shown to the payload."""

    attempt: str
    token: int
    folder: Path

    @property
    def scratch(self) -> Path:
        """For copies in the making."""
        return self.folder / "scratch"

    @property
    def checkpoint(self) -> Path:
        """What the payload sees as its checkpoint folder."""
        return self.folder / "checkpoint"

    @property
    def workdir(self) -> Path:
        """What the payload sees as its workdir."""
        return self.folder / "inputs" / "work"

    def output(self, name: str) -> Path:
        """What the payload sees as the output of this name."""
        return self.folder / "outputs" / name


def check_offer(offer: Offer) -> None:
    """Refuse, with EngineError, an offer that contradicts itself before anything is fetched for it.

    `offer.unsealed` for one that would leave plaintext of protected data at the site: a control plane that lies, or has
    no key for the job, is not obeyed.
    """
    if bool(offer.argv) == bool(offer.run):
        raise EngineError("offer.malformed", "exactly one of argv and run is needed")
    names = [output.name for output in offer.outputs]
    if len(set(names)) != len(names) or len(set(offer.secrets)) != len(offer.secrets):
        raise EngineError("offer.malformed", "an output or secret is named twice")
    if offer.resume is not None and (offer.checkpoint is None or offer.resume.kind != "tree"):
        raise EngineError("offer.malformed", "a resume needs a checkpoint plan and a tree")
    if offer.workdir is not None and offer.workdir.kind != "tree":
        raise EngineError("offer.malformed", "a workdir is a tree")
    if offer.setup_workdir and (offer.workdir is None or not offer.setup):
        raise EngineError("offer.malformed", "setup_workdir needs both setup and a workdir")
    if any(
        "\0" in text for text in (*offer.argv, offer.run, offer.setup, *offer.env.values(), *_health(offer))
    ):
        raise EngineError("offer.malformed", "a NUL in argv, run, setup, env or health")
    if offer.seal == "none" and (offer.sealed or _leaves_more_than_a_log(offer)):
        raise EngineError(
            "offer.unsealed", "what it leaves behind has to be sealed, and the offer has no seal"
        )
    check_mounts(_mounts(offer, Layout(attempt="", token=0, folder=Path("/"))))


def log_rests(offer: Offer) -> bool:
    """Whether the log may be kept and sent as it is: not where it is to be sealed, or would have to be."""
    return offer.seal == "none" and offer.level < SEALED_LEVEL


def _leaves_more_than_a_log(offer: Offer) -> bool:
    """Of a level that has to be sealed; a log is dropped instead."""
    return offer.level >= SEALED_LEVEL and bool(offer.outputs or offer.checkpoint)


def prepare(
    offer: Offer,
    layout: Layout,
    site: Site,
    *,
    stager: Stager,
    lease_deadline: Callable[[], float],
) -> Task:
    """Everything in place for `Engine.submit`. Raises AgentError with nothing running."""
    for folder in (layout.scratch, layout.folder / "inputs", layout.folder / "outputs"):
        folder.mkdir(mode=0o700)
    if offer.workdir is not None:
        stager.place(offer.workdir, layout.workdir)
    image = _image(offer, layout, site, stager)
    for number, item in enumerate(offer.data):
        stager.place(item.reference(), layout.folder / "inputs" / str(number))
    if offer.resume is not None:
        stager.place(offer.resume, layout.checkpoint)
    elif offer.checkpoint is not None:
        layout.checkpoint.mkdir(mode=0o755)
    for output in offer.outputs:
        layout.output(output.name).mkdir(mode=0o755)
    return Task(
        attempt=layout.attempt,
        level=offer.level,
        argv=tuple(offer.argv) or (_shell(), "-c", offer.run),
        env=_environment(offer, image),
        cwd=WORK_INSIDE if offer.workdir is not None else "/home",
        image=image,
        mounts=_mounts(offer, layout),
        limits=offer.limits,
        folder=layout.folder,
        lease_deadline=lease_deadline(),
        secrets={name: _secret(name, layout, site) for name in offer.secrets},
        egress=tuple(offer.egress.allow) if isinstance(offer.egress, EgressAllow) else (),
        egress_private=site.config.egress_private,
        gpus=offer.gpus,
        gpu_type=offer.gpu_type,
        nodes=offer.nodes,
        health=offer.health,
    )


def _image(offer: Offer, layout: Layout, site: Site, stager: Stager) -> Image:
    """The image the payload runs from, built where the site lacks it. A stop of the attempt ends the build."""
    image = _base_image(offer, layout, site, stager)
    if not offer.setup:
        return image
    setup = Setup(text=offer.setup)
    if offer.setup_workdir and offer.workdir is not None:
        setup = Setup(text=offer.setup, workdir=layout.workdir, workdir_digest=offer.workdir.object)
    return site.engine.extend_image(image, setup, lambda _step: stager.check())


def _base_image(offer: Offer, layout: Layout, site: Site, stager: Stager) -> Image:
    try:
        return site.engine.find_image(offer.image)
    except ImageError:
        if offer.image_lock is None:
            raise
    lock_file = layout.scratch / "image.lock"
    stager.place(offer.image_lock, lock_file)
    image = site.engine.build_image(lock_file, lambda _step: stager.check())
    if offer.image.startswith(canonical.DIGEST_PREFIX) and image.digest != offer.image:
        raise ImageError(
            "image.digest_mismatch", "the image built from the lock has another digest than the offer says"
        )
    return image


def _mounts(offer: Offer, layout: Layout) -> tuple[Mount, ...]:
    inputs = layout.folder / "inputs"
    mounts = [Mount(source=inputs / str(number), inside=item.mount) for number, item in enumerate(offer.data)]
    if offer.workdir is not None:
        mounts.append(Mount(source=layout.workdir, inside=WORK_INSIDE))
    mounts += [
        Mount(source=layout.output(out.name), inside=out.mount, writable=True) for out in offer.outputs
    ]
    if offer.checkpoint is not None:
        mounts.append(Mount(source=layout.checkpoint, inside=offer.checkpoint.path, writable=True))
    return tuple(mounts)


def _environment(offer: Offer, image: Image) -> dict[str, str]:
    own = {
        "PATH": "/image/bin:/usr/bin:/bin" if image.folder else "/usr/bin:/bin",
        "HOME": "/home",
        "TMPDIR": "/tmp",  # noqa: S108 (the wall's own)
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "SEKISHO_JOB": offer.job,
        "SEKISHO_SECRETS": SECRETS_FOLDER_INSIDE,
    }
    if offer.checkpoint is not None:
        own["SEKISHO_CHECKPOINT"] = offer.checkpoint.path
    return {**own, **offer.env}


def _secret(name: str, layout: Layout, site: Site) -> bytes:
    answer = site.client.send(WantSecret(name=name), layout.attempt, layout.token)
    if not isinstance(answer, SecretValue) or answer.name != name:
        raise EngineError("secret.unavailable", f"the control plane gave no secret {name}")
    return canonical.from_base64url(answer.value)


def _health(offer: Offer) -> tuple[str, ...]:
    return (offer.health.run,) if offer.health else ()


def _shell() -> str:
    return next(shell for shell in SHELLS if Path(shell).exists())
