"""Images: virtual environments built from a hashed requirements file, kept by digest.

Two steps. First uv asks the machine's package index, outside any wall, which wheels the locked hashes stand for: no
package is downloaded and no package's code runs. Then the wheels are fetched and unpacked behind a wall, through an
egress proxy that knows only the hosts of those wheels; source packages are refused, so no package's code runs there
either. Data of a job is never near.

The digest covers the lock file, the interpreter's version, the platform, and every file of the environment except what
differs between two builds of the same thing (compiled bytecode, install records, activation scripts, `pyvenv.cfg` and
the interpreter's links). It does not cover the host's /usr or the base interpreter.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from sekisho_agent import clock, wheels
from sekisho_agent.config import AgentConfig
from sekisho_agent.engines.contract import Image, ImageProgress, Observation, Phase, Task
from sekisho_agent.errors import ImageError
from sekisho_agent.folders import hash_file
from sekisho_agent.interpreter import Interpreter, base_interpreter, image_python_version
from sekisho_agent.state import replace_file
from sekisho_agent.wall import Mount
from sekisho_verify import canonical
from sekisho_wire.messages import REASON_FINISHED, Limits
from sekisho_wire.trees import DIGEST

SYSTEM_IMAGE: Final = "system"
LEASE_SECONDS: Final = 3600.0
START_SECONDS_MAX: Final = 60.0
LOG_TAIL_BYTES: Final = 4000
UNSTABLE_SUFFIXES: Final = (".pyc",)
UNSTABLE_NAMES: Final = frozenset(
    {
        "CACHEDIR.TAG",
        "INSTALLER",
        "RECORD",
        "REQUESTED",
        "direct_url.json",
        "pyvenv.cfg",
        "uv_cache.json",
        ".gitignore",
        ".lock",
    },
)
UNSTABLE_SCRIPTS: Final = ("activate", "deactivate", "pydoc", "python")


class Runner(Protocol):
    """The part of an engine that a build needs."""

    def submit(self, task: Task) -> None:
        """Start a walled task."""
        ...

    def observe(
        self, attempt: str, *, known: Phase | None = None, timeout_seconds: float = 0.0
    ) -> Observation:
        """Watch it."""
        ...

    def logs(self, attempt: str, offset: int, size_bytes_max: int) -> bytes:
        """Read what it said."""
        ...

    def forget(self, attempt: str) -> None:
        """Drop it."""
        ...


class ImageShelf:
    """The site's images, below `images/` of the state folder: `<hex>/` by digest, `lock-<hex>` from lock to digest."""

    def __init__(self, runner: Runner, config: AgentConfig) -> None:
        self._runner = runner
        self._config = config
        self._folder = config.state_folder / "images"
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)

    def find(self, name: str) -> Image:
        """An image by digest, by configured name, or `system` (the host's /usr and nothing else)."""
        if name == SYSTEM_IMAGE:
            return Image(name=name, digest="", folder=None)
        digest = self._config.images.names.get(name, name)
        folder = self._folder / digest.removeprefix(canonical.DIGEST_PREFIX)
        if DIGEST.fullmatch(digest) is None or not folder.is_dir():
            raise ImageError("image.unknown", "no image of this digest or name at this site")
        return Image(name=name, digest=digest, folder=folder)

    def build(self, lock_file: Path, progress: ImageProgress) -> Image:
        """The image of a lock file. The same lock on the same interpreter is built once.

        ImageError: `image.lock` for a file without hashes, `image.host_not_listed`, `image.build_failed`.
        """
        interpreter = base_interpreter()
        mark = self._folder / f"lock-{_recipe(lock_file, interpreter)}"
        with contextlib.suppress(OSError, ImageError):
            return self.find(mark.read_text(encoding="ascii").strip())
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".build-") as name:
            work = Path(name)
            work.chmod(0o755)
            built = self._build(lock_file, interpreter, work=work, progress=progress)
            digest = image_digest(built, lock_file)
            target = self._folder / digest.removeprefix(canonical.DIGEST_PREFIX)
            if not target.exists():
                _own(built)
                built.rename(target)
        replace_file(mark, digest.encode() + b"\n")
        progress("done")
        return self.find(digest)

    def _build(
        self, lock_file: Path, interpreter: Interpreter, *, work: Path, progress: ImageProgress
    ) -> Path:
        settings = self._config.images
        uv = wheels.find_uv(settings.uv)
        progress("resolving")
        resolved = wheels.resolve(
            lock_file, uv, python=interpreter.executable, arguments=settings.index_arguments
        )
        wheels.check_hosts(resolved, settings.registry_hosts)
        inputs, out = work / "in", work / "out"
        inputs.mkdir(mode=0o755)
        out.mkdir(mode=0o755)
        (inputs / "pylock.toml").write_text(resolved.pylock, encoding="utf-8")
        task = self._task(interpreter, uv, work=work, hosts=resolved.hosts)
        progress("fetching")
        self._runner.submit(task)
        self._wait(task.attempt, out, progress)
        return out / "image"

    def _task(self, interpreter: Interpreter, uv: Path, *, work: Path, hosts: list[str]) -> Task:
        settings = self._config.images
        python = str(interpreter.executable)
        script = (
            'set -eu; "$UV" -q venv --relocatable -p "$PYTHON" /build/image; '
            'exec "$UV" pip install --no-progress --no-cache --no-deps --only-binary :all: --link-mode copy '
            "--python /build/image/bin/python -r /in/pylock.toml"
        )
        certificates = wheels.certificates_file()
        mounts = [
            Mount(source=work / "in", inside="/in"),
            Mount(source=uv, inside="/tools/uv"),
            Mount(source=work / "out", inside="/build", writable=True),
        ]
        if certificates.is_file():
            mounts.append(Mount(source=certificates.resolve(), inside="/tools/certificates.pem"))
        return Task(
            attempt=f"build-{work.name.removeprefix('.build-')}",
            level=0,
            argv=("/bin/sh", "-c", script),
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": "/home",
                "UV": "/tools/uv",
                "PYTHON": python,
                "UV_NO_CONFIG": "1",
                "UV_PYTHON_DOWNLOADS": "never",
                "UV_CONCURRENT_DOWNLOADS": "4",
                "SSL_CERT_FILE": "/tools/certificates.pem",
            },
            cwd="/build",
            image=Image(name=SYSTEM_IMAGE, digest="", folder=None),
            mounts=tuple(mounts),
            limits=Limits(
                cpus=max(1, len(os.sched_getaffinity(0))),
                memory_bytes=4 << 30,
                processes=64,
                wall_s=settings.build_seconds_max,
                output_bytes=settings.build_bytes_max,
                log_bytes=1 << 20,
                tmp_bytes=2 << 30,
                grace_s=1,
            ),
            folder=work,
            lease_deadline=clock.monotonic() + settings.build_seconds_max + LEASE_SECONDS,
            egress=tuple(hosts),
            egress_private=True,
        )

    def _wait(self, attempt: str, out: Path, progress: ImageProgress) -> None:
        """Watch the build to its end; says how much is unpacked about once a second."""
        try:
            self._runner.observe(attempt, known="starting", timeout_seconds=START_SECONDS_MAX)
            while True:
                seen = self._runner.observe(attempt, known="running", timeout_seconds=1.0)
                if seen.end is not None:
                    break
                progress(f"unpacked {_size_bytes(out)} bytes")
            if seen.end.reason != REASON_FINISHED:
                tail = (
                    self._runner.logs(attempt, 0, 1 << 20)[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
                )
                raise ImageError("image.build_failed", f"{seen.end.reason} {seen.end.detail}: {tail}")
        finally:
            self._runner.forget(attempt)


def image_digest(image: Path, lock_file: Path) -> str:
    """The digest that names an environment; equal for two builds of one lock on equal interpreters."""
    rows = [
        [path, *hash_file(image / path), _executable(image / path)] for path in sorted(_stable_files(image))
    ]
    return canonical.digest(
        canonical.encode(
            {
                "v": 1,
                "lock": canonical.digest(lock_file.read_bytes()),
                "python": image_python_version(image),
                "implementation": sys.implementation.name,
                "platform": sysconfig.get_platform(),
                "files": rows,
            },
        ),
    )


def _stable_files(image: Path) -> Iterator[str]:
    for base, folders, names in os.walk(image):
        folders[:] = [name for name in folders if name != "__pycache__"]
        in_scripts = Path(base) == image / "bin"
        for name in names:
            path = Path(base, name)
            unstable = name in UNSTABLE_NAMES or name.endswith(UNSTABLE_SUFFIXES)
            if unstable or (in_scripts and name.startswith(UNSTABLE_SCRIPTS)):
                continue
            if path.is_symlink():
                raise ImageError("image.link", f"a link in the environment: {name}")
            yield path.relative_to(image).as_posix()


def _executable(path: Path) -> bool:
    return os.access(path, os.X_OK)


def _recipe(lock_file: Path, interpreter: Interpreter) -> str:
    """Names a build before it is made: the lock and the interpreter it is built on."""
    try:
        lock = lock_file.read_bytes()
        stamp = interpreter.executable.stat()
    except OSError as error:
        raise ImageError("image.lock", f"the lock file cannot be read: {error.strerror}") from error
    value = [canonical.digest(lock), str(interpreter.executable), str(stamp.st_mtime_ns), stamp.st_size]
    return canonical.digest(canonical.encode(value)).removeprefix(canonical.DIGEST_PREFIX)


def _own(folder: Path) -> None:
    """Take the environment from the user that built it, so that no later payload of that user owns its files."""
    if os.geteuid() != 0:
        return
    shutil.chown(folder, 0, 0)
    for base, folders, names in os.walk(folder):
        for name in (*folders, *names):
            os.chown(Path(base, name), 0, 0, follow_symlinks=False)


def _size_bytes(folder: Path) -> int:
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(Path(base, name)).st_size
    return total
