"""The walled tasks that make images: fetching locked wheels, and running a job's `setup`.

Both are tasks of level 0 of their own: no data, no secret and no variable of any job is near, and the egress proxy
knows only the hosts that the caller gives. A build that fails, or whose caller gives up, leaves nothing running.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from sekisho_agent import clock, environment, wheels
from sekisho_agent.config import ImageConfig
from sekisho_agent.engines.contract import Image, ImageProgress, Observation, Phase, Setup, Task
from sekisho_agent.errors import EngineError, ImageError
from sekisho_agent.interpreter import Interpreter
from sekisho_agent.wall import Mount
from sekisho_wire.messages import IMAGE_SYSTEM, REASON_CANCELLED, REASON_FINISHED, Limits

LEASE_SECONDS: Final = 3600.0
START_SECONDS_MAX: Final = 60.0
END_SECONDS_MAX: Final = 30.0
LOG_BYTES_MAX: Final = 1 << 20
LOG_TAIL_BYTES: Final = 3000
PROCESSES: Final = 512
INDEX_OPTIONS: Final = ("--default-index", "--index-url", "-i")
INDEX_VARIABLES: Final = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
COMMON: Final = {
    "HOME": "/home",
    "LANG": "C.UTF-8",
    "UV_NO_CONFIG": "1",
    "UV_NO_CACHE": "1",
    "UV_LINK_MODE": "copy",
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_CONCURRENT_DOWNLOADS": "4",
    "PIP_NO_CACHE_DIR": "1",
    "PIP_NO_INPUT": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
PIP: Final = '#!/bin/sh\nexec /tools/uv pip "$@"\n'
FETCH: Final = (
    'set -eu; /tools/uv -q venv --relocatable -p "$PYTHON" /build/image; '
    "exec /tools/uv pip install --no-progress --no-deps --only-binary :all: "
    "--python /build/image/bin/python -r /in/pylock.toml"
)


class Runner(Protocol):
    """The part of an engine that a build needs."""

    def submit(self, task: Task) -> None:
        """Start a walled task."""
        ...

    def observe(
        self, attempt: str, *, known: Phase | None = None, timeout_seconds: float = 0.0
    ) -> Observation:
        """Watch a task until it is in another phase than `known`, or the time is over."""
        ...

    def cancel(self, attempt: str, reason: str, grace_seconds: float) -> None:
        """End a task: TERM, then KILL after the grace."""
        ...

    def logs(self, attempt: str, offset: int, size_bytes_max: int) -> bytes:
        """Read what it said."""
        ...

    def forget(self, attempt: str) -> None:
        """Drop what is remembered of an ended task."""
        ...


class Builder:
    """Runs builds in folders that the caller makes (mode 0755, one per build) and removes."""

    def __init__(self, runner: Runner, settings: ImageConfig) -> None:
        self._runner = runner
        self._settings = settings

    def fetch(
        self,
        resolved: wheels.ResolvedWheels,
        interpreter: Interpreter,
        *,
        work: Path,
        progress: ImageProgress,
    ) -> Path:
        """A new environment below `work` with these wheels in it; ImageError `image.build_failed`."""
        inputs, out = work / "in", work / "out"
        for folder in (inputs, out):
            folder.mkdir(mode=0o755)
        (inputs / "pylock.toml").write_text(resolved.pylock, encoding="utf-8")
        task = self._task(
            work,
            argv=("/bin/sh", "-c", FETCH),
            env={"PATH": "/usr/bin:/bin", "PYTHON": str(interpreter.executable)},
            cwd="/build",
            mounts=(Mount(source=inputs, inside="/in"), Mount(source=out, inside="/build", writable=True)),
            egress=tuple(resolved.hosts),
        )
        self._run(task, out, progress, code="image.build_failed")
        return out / "image"

    def run_setup(
        self, setup: Setup, hosts: list[str], *, image: Path, work: Path, progress: ImageProgress
    ) -> None:
        """Run a job's commands with `image` writable at /image; ImageError `image.setup_failed` with the log's end."""
        inputs = work / "in"
        inputs.mkdir(mode=0o755)
        (inputs / "setup").write_text(setup.text, encoding="utf-8")
        (inputs / "pip").write_text(PIP, encoding="utf-8")
        (inputs / "pip").chmod(0o755)
        mounts = [Mount(source=inputs / name, inside=f"/tools/{name}") for name in ("setup", "pip")]
        if setup.workdir is not None:
            mounts.append(Mount(source=setup.workdir, inside="/work"))
        task = self._task(
            work,
            argv=("/bin/sh", "-eu", "/tools/setup"),
            env={
                "PATH": "/image/bin:/tools:/usr/bin:/bin",
                "VIRTUAL_ENV": "/image",
                **index_variables(self._settings.index_arguments),
            },
            cwd="/work" if setup.workdir is not None else "/home",
            mounts=tuple(mounts),
            egress=tuple(hosts),
            image=image,
        )
        self._run(task, image, progress, code="image.setup_failed")

    def _task(
        self,
        work: Path,
        *,
        argv: tuple[str, ...],
        env: dict[str, str],
        cwd: str,
        mounts: tuple[Mount, ...],
        egress: tuple[str, ...],
        image: Path | None = None,
    ) -> Task:
        settings = self._settings
        tools = [Mount(source=wheels.find_uv(settings.uv), inside="/tools/uv")]
        certificates = wheels.certificates_file()
        trusted: dict[str, str] = {}
        if certificates.is_file():
            trusted = dict.fromkeys(("SSL_CERT_FILE", "PIP_CERT"), "/tools/certificates.pem")
            tools.append(Mount(source=certificates.resolve(), inside="/tools/certificates.pem"))
        return Task(
            attempt=f"build-{work.name.removeprefix('.build-')}",
            level=0,
            argv=argv,
            env={**COMMON, **trusted, **env},
            cwd=cwd,
            image=Image(name=IMAGE_SYSTEM, digest="", folder=image),
            image_writable=image is not None,
            mounts=(*mounts, *tools),
            limits=Limits(
                cpus=max(1, len(os.sched_getaffinity(0))),
                memory_bytes=4 << 30,
                processes=PROCESSES,
                wall_s=settings.build_seconds_max,
                output_bytes=settings.build_bytes_max,
                log_bytes=LOG_BYTES_MAX,
                tmp_bytes=2 << 30,
                grace_s=1,
            ),
            folder=work,
            lease_deadline=clock.monotonic() + settings.build_seconds_max + LEASE_SECONDS,
            egress=egress,
            egress_private=True,
        )

    def _run(self, task: Task, out: Path, progress: ImageProgress, *, code: str) -> None:
        """Watch the build to its end; says how much is there about once a second."""
        attempt = task.attempt
        self._runner.submit(task)
        try:
            seen = self._runner.observe(attempt, known="starting", timeout_seconds=START_SECONDS_MAX)
            while seen.end is None:
                progress(f"unpacked {environment.size_bytes(out)} bytes")
                seen = self._runner.observe(attempt, known="running", timeout_seconds=1.0)
            if seen.end.reason != REASON_FINISHED:
                content = self._runner.logs(attempt, 0, LOG_BYTES_MAX)[-LOG_TAIL_BYTES:]
                tail = content.decode(errors="replace").strip()
                raise ImageError(code, f"{seen.end.reason} {seen.end.detail}: {tail}")
        finally:
            self._end(attempt)

    def _end(self, attempt: str) -> None:
        """Nothing of the build runs on, whatever made its caller give up; EngineError where it cannot be ended."""
        self._runner.cancel(attempt, REASON_CANCELLED, 0)
        deadline = clock.monotonic() + END_SECONDS_MAX
        phase: Phase = "starting"
        while phase != "ended":
            if clock.monotonic() > deadline:
                raise EngineError("image.build_stuck", "a build that was ended is still running")
            phase = self._runner.observe(attempt, known=phase, timeout_seconds=1.0).phase
        self._runner.forget(attempt)


def index_variables(arguments: list[str]) -> dict[str, str]:
    """The machine's package index for programs inside, out of uv's arguments or else the agent's environment.

    An index whose address carries a name or password is not told to a job's commands: they could keep it.
    """
    found = _option(arguments) or next(
        (os.environ[name] for name in INDEX_VARIABLES if os.environ.get(name)), ""
    )
    try:
        parts = urlsplit(found)
    except ValueError:
        return {}
    if not parts.netloc or "@" in parts.netloc or parts.query:
        return {}
    return {
        "UV_INDEX_URL": found,
        "PIP_INDEX_URL": found,
    }  # an index that the commands name goes before these


def _option(arguments: list[str]) -> str:
    for number, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in INDEX_OPTIONS:
            return value if equals else next(iter(arguments[number + 1 :]), "")
    return ""
