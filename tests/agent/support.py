"""Helpers for the agent's tests: an agent as a process of its own, offers with small limits, bounded waiting."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sekisho_agent.config import AgentConfig
from sekisho_wire.messages import Limits, Offer, OutputMount
from tests.agent.control import ControlPlane
from tests.support import components

SOURCE = Path(__file__).parents[2] / "src"
NOBODY = 65534
LIMITS = Limits(
    cpus=1,
    memory_bytes=512 << 20,
    processes=64,
    wall_s=60,
    output_bytes=8 << 20,
    log_bytes=256 << 10,
    tmp_bytes=8 << 20,
    grace_s=2,
)


def make_offer(run: str, **changes: Any) -> Offer:
    """A batch of shell text on the host's own image with one output folder, and small limits."""
    offer = Offer(
        job="job_" + "0" * 26,
        job_name="test",
        level=1,
        image="system",
        limits=LIMITS,
        lease_s=60,
        run=run,
        outputs=[OutputMount(name="out", mount="/out")],
    )
    return msgspec.structs.replace(offer, **changes)


def make_config(control_url: str, folder: Path, **changes: Any) -> AgentConfig:
    return AgentConfig(control_url=control_url, state_dir=str(folder), **changes)


def until(condition: Callable[[], bool], *, seconds: float = 10.0, what: str = "the condition") -> None:
    """Wait for a condition that nobody announces."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {seconds} s")
        time.sleep(0.005)


def processes_with(mark: str) -> list[int]:
    """Processes of this machine whose command line holds a mark."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in line:
                found.append(int(entry.name))
    return found


def plain_python() -> str:
    """A Python that user nobody may run and that takes our packages, or the test ends."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        if _anybody_may_run(Path(candidate)) and _version(candidate) == sys.version_info[:2]:
            return candidate
    components.missing(
        "a Python for plain users",
        f"a Python {sys.version_info.major}.{sys.version_info.minor} outside private folders",
    )
    raise AssertionError("unreachable")


def _anybody_may_run(path: Path) -> bool:
    real = path.resolve()
    folders = [real.parent, *real.parent.parents]
    return real.exists() and all(folder.stat().st_mode & stat.S_IXOTH for folder in folders)


def _version(python: str) -> tuple[int, int]:
    code = "import sys; print(sys.version_info.major, sys.version_info.minor)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    major, minor = done.stdout.split()
    return int(major), int(minor)


class AgentProcess:
    """`sekisho-agent run` as a child; as root of these tests also as user nobody."""

    def __init__(self, config: AgentConfig, folder: Path, *, plain: bool = False) -> None:
        self.folder = folder
        self.plain = plain and os.geteuid() == 0
        self._config_file = folder / "agent.toml"
        lines = [f'control_url = "{config.control_url}"', f'state_dir = "{config.state_dir}"']
        lines += [f'engine = "{config.engine}"']
        if config.location is not None:
            lines += [f"location = {_toml(msgspec.to_builtins(config.location))}"]
        if config.dok is not None:
            lines += [f"dok = {_toml(msgspec.to_builtins(config.dok))}"]
        lines += ["[capacity]", f"attempts = {config.capacity.attempts}"]
        if config.slurm is not None:
            lines += ["[slurm]", *(f"{name} = {value!r}" for name, value in _set(config.slurm).items())]
        self._config_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def register(self, control: ControlPlane) -> None:
        self._run("register", "--name", "tokyo", text=control.code()).check_returncode()

    def _run(self, *arguments: str, text: str) -> subprocess.CompletedProcess[bytes]:
        environment = {**self._environment(), "SEKISHO_REGISTRATION_CODE": text}
        return subprocess.run(
            [*self._command(), *arguments, "--config", str(self._config_file)],
            env=environment,
            check=False,
            timeout=60,
        )

    def start(self) -> None:
        with (self.folder / "agent.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command(), "run", "--config", str(self._config_file)],
                env=self._environment(),
                stderr=log,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """As a power cut would: nothing is said, nothing is cleaned up."""
        self.signal(signal.SIGKILL)
        self._wait()

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self._wait()

    def _wait(self) -> int:
        assert self._process is not None
        status = self._process.wait(timeout=60)
        self._process = None
        return status

    def close(self) -> None:
        if self._process is not None:
            self.kill()

    def _command(self) -> list[str]:
        python = plain_python() if self.plain else sys.executable
        switch = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if self.plain else []
        return [*switch, python, "-m", "sekisho_agent"]

    def _environment(self) -> dict[str, str]:
        packages = sysconfig.get_path("purelib")
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{SOURCE}:{packages}",
            "TMPDIR": str(self.folder),
            "HOME": str(self.folder),
        }


def _toml(value: object) -> str:
    """A value as TOML writes it inline."""
    match value:
        case dict():
            return (
                "{" + ", ".join(f"{json.dumps(name)} = {_toml(item)}" for name, item in value.items()) + "}"
            )
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case _:
            return json.dumps(value)


def _set(config: msgspec.Struct) -> dict[str, str | int]:
    return {name: value for name, value in msgspec.to_builtins(config).items() if value != ""}


@contextmanager
def agent_process(
    control: ControlPlane, *, plain: bool = False, attempts: int = 2, **settings: Any
) -> Iterator[AgentProcess]:
    """A registered, running agent with a short folder of its own (sockets need short paths)."""
    with tempfile.TemporaryDirectory(prefix="skt-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        config = msgspec.convert(
            {
                "control_url": control.url,
                "state_dir": str(folder / "state"),
                "capacity": {"attempts": attempts, "cpus": 8},
                **settings,
            },
            AgentConfig,
        )
        agent = AgentProcess(config, folder, plain=plain)
        if agent.plain:
            shutil.chown(folder, NOBODY, NOBODY)
        agent.register(control)
        agent.start()
        try:
            yield agent
        except BaseException:
            sys.stderr.write((folder / "agent.log").read_text(encoding="utf-8", errors="replace"))
            raise
        finally:
            agent.close()


def needs_bubblewrap() -> None:
    """End the test where nothing can be walled in."""
    if shutil.which("bwrap") is None:
        components.missing("bubblewrap", "apt-get install bubblewrap")
    probe = ["bwrap", "--unshare-all", "--ro-bind", "/usr", "/usr", "--ro-bind", "/lib", "/lib"]
    probe += ["--ro-bind-try", "/lib64", "/lib64", "/usr/bin/true"]
    if subprocess.run(probe, check=False, capture_output=True).returncode:
        components.missing("bubblewrap", "a kernel that lets bubblewrap make namespaces")


wall_mark = pytest.mark.wall
