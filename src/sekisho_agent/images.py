"""Images: virtual environments built from a hashed requirements file, kept by digest; and what `setup` makes of them.

Two steps. First uv asks the machine's package index, outside any wall, which wheels the locked hashes stand for: no
package is downloaded and no package's code runs. Then the wheels are fetched and unpacked behind a wall, through an
egress proxy that knows only the hosts of those wheels; source packages are refused, so no package's code runs there
either. Data of a job is never near.

A job's `setup` is a further build: its commands get a copy of the image to write, the package hosts, its workdir where
that is public, and nothing else. What they leave is an image like any other.

The digest covers the lock file or the commands, the interpreter's version, the platform, and every file of the
environment except what `environment` says. It does not cover the host's /usr or the base interpreter.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from sekisho_agent import wheels
from sekisho_agent.builds import Builder, Runner
from sekisho_agent.config import AgentConfig
from sekisho_agent.engines.contract import Image, ImageProgress, Setup
from sekisho_agent.environment import image_digest, settle, skeleton
from sekisho_agent.errors import ImageError
from sekisho_agent.folders import remove_tree
from sekisho_agent.interpreter import Interpreter, base_interpreter
from sekisho_verify import canonical
from sekisho_wire.durable import replace_file
from sekisho_wire.messages import IMAGE_SYSTEM
from sekisho_wire.trees import DIGEST

BUILD_PREFIX: Final = ".build-"


class Built(msgspec.Struct, frozen=True):
    """A finished environment, what it was made from (as digests by name), and the package hosts it came from."""

    folder: Path
    source: dict[str, str]
    hosts: list[str]


class ImageShelf:
    """The site's images, below `images/` of the state folder.

    `<hex>/` by digest; `lock-<hex>` and `setup-<hex>` from recipe to digest; `hosts-<hex>` from digest to the hosts its
    wheels came from. One build per recipe at a time; the shelf belongs to one process.
    """

    def __init__(self, runner: Runner, config: AgentConfig) -> None:
        self._config = config
        self._builder = Builder(runner, config.images)
        self._guard = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}
        self._folder = config.state_folder / "images"
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        for left in self._folder.glob(f"{BUILD_PREFIX}*"):
            remove_tree(left)

    def find(self, name: str) -> Image:
        """An image by digest, by configured name, or `system` (the host's /usr and nothing else)."""
        if name == IMAGE_SYSTEM:
            return Image(name=name, digest="", folder=None)
        digest = self._config.images.names.get(name, name)
        folder = self._folder / _hex(digest)
        if DIGEST.fullmatch(digest) is None or not folder.is_dir():
            raise ImageError("image.unknown", "no image of this digest or name at this site")
        return Image(name=name, digest=digest, folder=folder)

    def build(self, lock_file: Path, progress: ImageProgress) -> Image:
        """The image of a lock file. The same lock on the same interpreter is built once.

        ImageError: `image.lock` for a file without hashes, `image.host_not_listed`, `image.build_failed`.
        """
        interpreter = base_interpreter()
        try:
            lock = canonical.digest(lock_file.read_bytes())
            stamp = interpreter.executable.stat()
        except OSError as error:
            raise ImageError("image.lock", f"the lock file cannot be read: {error.strerror}") from error
        recipe = _recipe([lock, str(interpreter.executable), str(stamp.st_mtime_ns), stamp.st_size])

        def make(work: Path) -> Built:
            resolved = self._resolve(lock_file, interpreter, progress)
            progress("fetching")
            folder = self._builder.fetch(resolved, interpreter, work=work, progress=progress)
            settle(folder)
            return Built(folder=folder, source={"lock": lock}, hosts=resolved.hosts)

        return self._once(f"lock-{recipe}", make, progress)

    def extend(self, base: Image, setup: Setup, progress: ImageProgress) -> Image:
        """The image that a job's commands make of `base`; of `system`, they begin with an empty environment.

        The same commands on the same base and workdir run once. They reach the operator's `registry_hosts`; where none
        are listed, the hosts that the base's wheels came from. ImageError: `image.setup_failed` with the end of what
        the commands said, `image.interpreter_changed`, `image.link`, `image.file`.
        """
        if base.folder is None:
            base = self._empty(progress)
        commands = canonical.digest(setup.text.encode())
        source = {"base": base.digest, "setup": commands, "workdir": setup.workdir_digest}

        def make(work: Path) -> Built:
            folder = work / "image"
            progress("copying")
            hosts = self._config.images.registry_hosts or self._hosts(base)
            before = _copy(base, folder)
            progress("setting up")
            self._builder.run_setup(setup, hosts, image=folder, work=work, progress=progress)
            settle(folder)
            if skeleton(folder) != before:
                raise ImageError("image.interpreter_changed", "setup replaced the environment's interpreter")
            return Built(folder=folder, source=source, hosts=hosts)

        return self._once(f"setup-{_recipe(list(source.values()))}", make, progress)

    def _empty(self, progress: ImageProgress) -> Image:
        """An environment without packages."""
        lock_file = self._folder / "empty.lock"
        lock_file.write_bytes(b"")
        return self.build(lock_file, progress)

    def _resolve(
        self, lock_file: Path, interpreter: Interpreter, progress: ImageProgress
    ) -> wheels.ResolvedWheels:
        settings = self._config.images
        uv = wheels.find_uv(settings.uv)
        progress("resolving")
        resolved = wheels.resolve(
            lock_file, uv, python=interpreter.executable, arguments=settings.index_arguments
        )
        wheels.check_hosts(resolved, settings.registry_hosts)
        return resolved

    def _once(self, recipe: str, make: Callable[[Path], Built], progress: ImageProgress) -> Image:
        """What the recipe's mark leads to, or what `make` leaves in a folder of its own."""
        mark = self._folder / recipe
        with self._turn(recipe, progress):
            with contextlib.suppress(OSError, ImageError):
                return self.find(mark.read_text(encoding="ascii").strip())
            work = Path(tempfile.mkdtemp(dir=self._folder, prefix=BUILD_PREFIX))
            try:
                work.chmod(0o755)
                digest = self._keep(make(work))
            finally:
                remove_tree(work)
            replace_file(mark, digest.encode() + b"\n")
        progress("done")
        return self.find(digest)

    def _keep(self, built: Built) -> str:
        """Put an environment on the shelf under its digest; another recipe may have led to the same one."""
        digest = image_digest(built.folder, built.source)
        replace_file(self._folder / f"hosts-{_hex(digest)}", json.dumps(built.hosts).encode())
        target = self._folder / _hex(digest)
        try:
            built.folder.rename(target)
        except OSError as error:
            if not target.is_dir():
                raise ImageError("image.not_kept", f"the image cannot be kept: {error.strerror}") from error
        return digest

    def _hosts(self, image: Image) -> list[str]:
        try:
            return msgspec.json.decode(
                (self._folder / f"hosts-{_hex(image.digest)}").read_bytes(), type=list[str]
            )
        except (OSError, msgspec.DecodeError):
            return []

    @contextlib.contextmanager
    def _turn(self, recipe: str, progress: ImageProgress) -> Iterator[None]:
        """Whoever comes second waits for the first; `progress` may raise to end the wait."""
        with self._guard:
            turn = self._turns.setdefault(recipe, threading.Lock())
        while not turn.acquire(timeout=1.0):
            progress("waiting for the same build")
        try:
            yield
        finally:
            turn.release()


def _copy(base: Image, target: Path) -> dict[str, str]:
    """A copy of the base to be written to; gives the skeleton that must be left as it is."""
    if base.folder is None:
        raise ImageError("image.unknown", "the base image has no environment")
    try:
        shutil.copytree(base.folder, target, symlinks=True)
        return skeleton(target)
    except OSError as error:
        raise ImageError("image.not_copied", f"the base image cannot be copied: {error.strerror}") from error


def _recipe(parts: Sequence[str | int]) -> str:
    """Names a build before it is made."""
    return _hex(canonical.digest(canonical.encode(list(parts))))


def _hex(digest: str) -> str:
    return digest.removeprefix(canonical.DIGEST_PREFIX)
