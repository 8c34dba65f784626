"""Holds a payload to its limits with what the machine has, and says by which mechanism each one is held.

Control groups v1 and v2 are found through mountinfo: on hybrid machines /sys/fs/cgroup itself is a plain tmpfs, where
creating and writing succeeds and limits nothing; so control files are opened, never created. The v2 part follows the
kernel's documentation and was not yet seen on a machine that delegates controllers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from sekisho_agent import clock
from sekisho_wire.messages import Limits

CPU_PERIOD_US: Final = 100_000
OWN_PROCESSES: Final = 4
OPEN_FILES_MAX: Final = 65_536
RELEASE_SECONDS_MAX: Final = 2.0
CONTROLLERS: Final = ("memory", "pids", "cpu")
LEAF: Final = "sekisho-agent"
GROUP_PREFIX: Final = "sekisho-run"


class ControlGroups:
    """The control groups below which this process may make its own; empty where the machine allows none.

    Made once, early, by the process that starts the payloads: under v2 it may move this process into a leaf.
    """

    def __init__(self, parents: Mapping[str, Path], *, unified: bool) -> None:
        self._parents = dict(parents)
        self._unified = unified

    @classmethod
    def discover(cls) -> ControlGroups:
        """Look at this process's own groups; never raises: what cannot be used is not there."""
        legacy, unified = _own_groups()
        if all(name in legacy for name in CONTROLLERS) or unified is None:
            usable = {
                name: legacy[name]
                for name in CONTROLLERS
                if name in legacy and os.access(legacy[name], os.W_OK)
            }
            found = cls(usable, unified=False)
        else:
            found = cls(dict.fromkeys(_enable(unified), unified), unified=True)
        found._remove_stale()
        return found

    @property
    def controllers(self) -> frozenset[str]:
        """Which of memory, pids and cpu can be limited."""
        return frozenset(self._parents)

    def make(self, name: str, limits: Limits) -> Group:
        """A group for one attempt of this process with its limits set; a controller that refuses is left out of it."""
        settings = _v2_settings(limits) if self._unified else _v1_settings(limits)
        held: dict[str, Path] = {}
        for controller, parent in self._parents.items():
            folder = parent / f"{GROUP_PREFIX}-{os.getpid()}-{name}"
            try:
                folder.mkdir(exist_ok=True)
                for file, value in settings[controller].items():
                    _write(folder / file, value)
            except OSError:
                if not self._unified:
                    _remove(folder)
                continue
            held[controller] = folder
        return Group(held)

    def _remove_stale(self) -> None:
        """Groups of agents that were killed; other agents may run on this machine, theirs are left alone."""
        for parent in set(self._parents.values()):
            for folder in parent.glob(f"{GROUP_PREFIX}-*-*"):
                if not Path("/proc", folder.name.split("-")[2]).exists():
                    _remove(folder)


class Group:
    """One attempt's control group (one folder per v1 controller, a single one under v2)."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = dict(folders)

    @property
    def controllers(self) -> frozenset[str]:
        """What this group really limits."""
        return frozenset(self._folders)

    def join(self, process_id: int) -> None:
        """Put a process, and all it starts from now on, under the limits. OSError when the kernel refuses."""
        for folder in set(self._folders.values()):
            _write(folder / "cgroup.procs", process_id)

    def oom_kills(self) -> int:
        """How many processes of the group the kernel killed for memory."""
        folder = self._folders.get("memory")
        for name in ("memory.oom_control", "memory.events"):
            path = folder / name if folder else None
            if path and path.exists():
                counts = dict(line.split() for line in path.read_text(encoding="ascii").splitlines())
                return int(counts.get("oom_kill", 0))
        return 0

    def release(self) -> None:
        """Remove the group; its dead processes may take a moment to leave it."""
        deadline = clock.monotonic() + RELEASE_SECONDS_MAX
        pending = set(self._folders.values())
        while pending and clock.monotonic() < deadline:
            pending = {folder for folder in pending if not _remove(folder)}
            if pending:
                time.sleep(0.01)


class Held(msgspec.Struct, frozen=True):
    """How one attempt is limited: mechanisms by limit name for the report, resource limits for PID 1 to set."""

    mechanisms: dict[str, str]
    rlimits: dict[str, int]


def hold(limits: Limits, controllers: frozenset[str]) -> Held:
    """Choose the mechanism of each limit.

    Without a memory group RLIMIT_DATA holds each process by itself, not their sum; without a cpu group nothing does.
    RLIMIT_NPROC counts the payload's user, which no other attempt has at the same time (as a plain user on kernels
    before 5.14 it counts all of the agent's processes).
    """
    mechanisms = {
        "memory_bytes": "cgroup" if "memory" in controllers else "rlimit",
        "cpus": "cgroup" if "cpu" in controllers else "none",
        "processes": "cgroup" if "pids" in controllers else "rlimit",
        "wall_s": "polling",
        "output_bytes": "polling",
        "log_bytes": "reader",
        "tmp_bytes": "tmpfs",
    }
    rlimits = {"CORE": 0, "NOFILE": OPEN_FILES_MAX, "FSIZE": max(limits.output_bytes, limits.tmp_bytes)}
    if mechanisms["memory_bytes"] == "rlimit":
        rlimits["DATA"] = limits.memory_bytes
    if mechanisms["processes"] == "rlimit":
        rlimits["NPROC"] = limits.processes
    return Held(mechanisms=mechanisms, rlimits=rlimits)


def _own_groups() -> tuple[dict[str, Path], Path | None]:
    """Our own group per v1 controller, and its v2 group."""
    mounts = dict(_mounts())
    legacy: dict[str, Path] = {}
    unified: Path | None = None
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        number, names, path = line.split(":", 2)
        for name in names.split(","):
            mounted = mounts.get(name)
            relative = os.path.relpath(path, mounted[1]) if mounted else ".."
            if mounted is None or relative.startswith(".."):
                continue
            if number == "0":
                unified = mounted[0] / relative
            else:
                legacy[name] = mounted[0] / relative
    return legacy, unified


def _mounts() -> Iterator[tuple[str, tuple[Path, str]]]:
    """Controller (empty for v2) to mount point and the group that is mounted there."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(" "), after.split(" ")[:3]
        if kind == "cgroup2":
            yield "", (Path(fields[4]), fields[3])
        elif kind == "cgroup":
            for name in options.split(","):
                yield name, (Path(fields[4]), fields[3])


def _enable(group: Path) -> list[str]:
    """Let children of a v2 group have the controllers; those that then can be limited.

    A group that holds processes may not hand controllers down, so when this process is alone in it, it moves to a leaf.
    """
    if group.name == LEAF:
        group = group.parent
    for name in CONTROLLERS:
        try:
            _write(group / "cgroup.subtree_control", f"+{name}")
        except OSError:
            if not _move_to_leaf(group):
                break
            _try_write(group / "cgroup.subtree_control", f"+{name}")
    enabled = _read(group / "cgroup.subtree_control").split()
    return [name for name in CONTROLLERS if name in enabled and os.access(group, os.W_OK)]


def _move_to_leaf(group: Path) -> bool:
    if _read(group / "cgroup.procs").split() != [str(os.getpid())]:
        return False
    try:
        (group / LEAF).mkdir(exist_ok=True)
        _write(group / LEAF / "cgroup.procs", os.getpid())
    except OSError:
        return False
    return True


def _v1_settings(limits: Limits) -> dict[str, dict[str, int | str]]:
    return {
        "memory": {"memory.limit_in_bytes": limits.memory_bytes},
        "pids": {"pids.max": limits.processes + OWN_PROCESSES},
        "cpu": {"cpu.cfs_period_us": CPU_PERIOD_US, "cpu.cfs_quota_us": limits.cpus * CPU_PERIOD_US},
    }


def _v2_settings(limits: Limits) -> dict[str, dict[str, int | str]]:
    return {
        "memory": {"memory.max": limits.memory_bytes, "memory.swap.max": 0},
        "pids": {"pids.max": limits.processes + OWN_PROCESSES},
        "cpu": {"cpu.max": f"{limits.cpus * CPU_PERIOD_US} {CPU_PERIOD_US}"},
    }


def _write(path: Path, value: int | str) -> None:
    with path.open("r+", encoding="ascii") as file:
        file.write(str(value))


def _try_write(path: Path, value: str) -> None:
    try:
        _write(path, value)
    except OSError:
        return


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def _remove(folder: Path) -> bool:
    """Whether the group is gone."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
