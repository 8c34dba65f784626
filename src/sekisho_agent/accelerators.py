"""GPUs of this machine as device files: which there are, which are free, and what a payload's wall must show.

A payload sees the files of the GPUs that it was given and no others, so inside they are numbered from 0, whatever they
are called outside. What an engine has given its job already, through a control group or by number, is what is used.
Several agents and wrappers, also of several users, may share a machine, so each GPU is held by a lock on its device
file, which goes with its process; no user can be kept from it by a folder of another's.

Sources: the driver's device files as the NVIDIA and amdgpu kernel modules make them; `SLURM_JOB_GPUS` of sbatch(1).
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from sekisho_agent.errors import EngineError
from sekisho_agent.wall import Mount
from sekisho_wire.messages import REASON_ENGINE_FULL

DEVICES: Final = Path("/dev")
GIVEN_BY_ENGINE: Final = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
"""Numbers of device files, as the engine tells a job whose control group does not hide the others."""
VISIBLE: Final = {"nvidia": "CUDA_VISIBLE_DEVICES", "amd": "ROCR_VISIBLE_DEVICES"}
PASSED_ON: Final = (*VISIBLE.values(), "ZE_AFFINITY_MASK")
"""What an engine said of GPUs that have no device files here; the rest of its environment stays outside."""
ONE: Final = {"nvidia": re.compile(r"nvidia(\d{1,4})"), "amd": re.compile(r"dri/renderD(\d{1,4})")}
SHARED: Final = {
    "nvidia": ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-caps/*"),
    "amd": ("kfd",),
}
HELD: Final = "device_files"
NOT_HELD: Final = "none"


class Accelerator(msgspec.Struct, frozen=True):
    """One GPU: its maker's name, and the number in the name of its device file below the folder of devices."""

    maker: str
    number: int
    name: str


class Lent:
    """What one payload holds until it is released."""

    def __init__(self, files: tuple[Mount, ...], environment: Mapping[str, str], locks: list[int]) -> None:
        """`files` are shown to the payload below /dev, `environment` tells it their numbers."""
        self.files = files
        self.environment = environment
        self._locks = locks

    @property
    def mechanism(self) -> str:
        """How the payload is held to its GPUs, for its report."""
        return HELD if self.files else NOT_HELD

    def release(self) -> None:
        """Another payload may have them."""
        while self._locks:
            os.close(self._locks.pop())


NOTHING_LENT: Final = Lent((), {}, [])


def lend(count: int, given: Mapping[str, str], *, devices: Path = DEVICES) -> Lent:
    """As many GPUs as a task asks for; none, and `mechanism` says so, on a machine that has device files of none.

    `given` is the environment in which the engine started this process. EngineError `engine.full` when too few of them
    are free.
    """
    if not count:
        return NOTHING_LENT
    present = found(devices)
    if not present:
        return Lent((), {name: given[name] for name in PASSED_ON if name in given}, [])
    wanted = chosen(present, count, given)
    chosen_ones, locks = list[Accelerator](), list[int]()
    for one in wanted:
        lock = _locked(devices / one.name) if len(locks) < count else None
        if lock is not None:
            locks.append(lock)
            chosen_ones.append(one)
    if len(locks) < count:
        for lock in locks:
            os.close(lock)
        raise EngineError(REASON_ENGINE_FULL, f"{count} GPUs are asked for, {len(locks)} of them are free")
    maker = chosen_ones[0].maker
    shared = [
        path.relative_to(devices).as_posix()
        for pattern in SHARED[maker]
        for path in sorted(devices.glob(pattern))
        if _usable(path)
    ]
    files = tuple(
        Mount(source=devices / name, inside=f"/dev/{name}", writable=True)
        for name in (*(one.name for one in chosen_ones), *shared)
    )
    return Lent(files, {VISIBLE[maker]: ",".join(str(number) for number in range(count))}, locks)


def found(devices: Path) -> tuple[Accelerator, ...]:
    """Every GPU of one maker that this process may open, in order: a control group hides others by refusing them."""
    for maker, pattern in ONE.items():
        folder = devices / "dri" if maker == "amd" else devices
        names = [path.relative_to(devices).as_posix() for path in folder.glob("*")] if folder.is_dir() else []
        numbered = sorted((int(match[1]), name) for name in names if (match := pattern.fullmatch(name)))
        usable = [Accelerator(maker, number, name) for number, name in numbered if _usable(devices / name)]
        if usable:
            return tuple(usable)
    return ()


def chosen(present: Sequence[Accelerator], count: int, given: Mapping[str, str]) -> tuple[Accelerator, ...]:
    """Those to choose from: what the engine gave its job by number, or all that there are."""
    for name in GIVEN_BY_ENGINE:
        numbers = {
            int(part) for part in given.get(name, "").split(",") if part.isascii() and part.isdecimal()
        }
        named = tuple(one for one in present if one.number in numbers)
        if len(named) >= count:
            return named
    return tuple(present)


def _usable(path: Path) -> bool:
    """Whether this is a device that can be opened here."""
    try:
        os.close(_opened(path))
    except OSError:
        return False
    return True


def _opened(path: Path) -> int:
    """A device, opened; OSError for what is none, or is not for this process."""
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    if not stat.S_ISCHR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ENODEV, "no device")
    return descriptor


def _locked(path: Path) -> int | None:
    """The device with its lock, or None while somebody else has it."""
    try:
        lock = _opened(path)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock
