"""A container of the stand-in for DOK: a process of this machine in a bubblewrap root over a scratch folder."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Container:
    """A task's process, its scratch root and what it has printed."""

    def __init__(self, task: dict[str, Any], folder: Path, extra: list[str]) -> None:
        self.folder = folder
        self.artefact = folder / "root/opt/artifact"
        self.printed = folder / "printed"
        self.artefact.mkdir(parents=True)
        for name in ("usr", "proc", "dev", "tmp"):
            (folder / "root" / name).mkdir()
        for name in ("bin", "sbin", "lib", "lib64"):
            (folder / "root" / name).symlink_to(f"usr/{name}")
        made = task["containers"][0]
        inside = {"PATH": "/usr/local/bin:/usr/bin:/bin", **made["environment"]}
        inside |= {"SAKURA_TASK_ID": task["id"], "SAKURA_ARTIFACT_DIR": "/opt/artifact"}
        wall = ["bwrap", "--unshare-pid", "--unshare-ipc", "--die-with-parent", "--new-session"]
        wall += ["--bind", str(folder / "root"), "/", "--ro-bind", "/usr", "/usr"]
        wall += ["--proc", "/proc", "--dev", "/dev", "--clearenv", *extra]
        wall += [part for name, value in inside.items() for part in ("--setenv", name, value)]
        with self.printed.open("wb") as printed:
            self.process = subprocess.Popen(
                [*wall, *made["entrypoint"], *made["command"]],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
            )

    def packed(self) -> bytes:
        """The artefact as the service hands it out."""
        kept = io.BytesIO()
        with tarfile.open(fileobj=kept, mode="w:gz") as archive:
            archive.add(self.artefact, arcname="artifact")
        return kept.getvalue()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def packed(files: dict[str, bytes], *, changes: Callable[[tarfile.TarFile], None] | None = None) -> bytes:
    """A tar.gz of these files, for artefacts that no container of ours would leave."""
    kept = io.BytesIO()
    with tarfile.open(fileobj=kept, mode="w:gz", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        if changes is not None:
            changes(archive)
    return kept.getvalue()
