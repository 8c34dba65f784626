"""What a machine that runs payloads has: bubblewrap, control groups, canary listeners, a thread that starts processes.

The local engine owns one for all its tasks; the wrapper inside another engine's job owns one for its single task.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from sekisho_agent import accelerators, seccomp, wall
from sekisho_agent.bubblewrap import find_bubblewrap
from sekisho_agent.engines.contract import Task
from sekisho_agent.engines.keeping import hindrance
from sekisho_agent.engines.local_run import LocalRun, Surroundings
from sekisho_agent.errors import EngineError
from sekisho_agent.interpreter import base_interpreter, image_interpreter
from sekisho_agent.limits import ControlGroups, hold
from sekisho_agent.listeners import Listeners
from sekisho_agent.relay import Relay
from sekisho_agent.shortpaths import remove_stale_folders
from sekisho_wire.messages import REASON_ENGINE_FULL, REASON_WALL_MISSING, WALL_PEERS, Limits

log = structlog.get_logger(__name__)

WALL_NONE = "none"
SHIELDED = ("/bin/sh", "-c", 'trap "" TERM INT HUP; exec "$@"', "sh")
"""A scheduler or service manager that ends a job signals all its processes at once. Bubblewrap must not be the first
to go: PID 1 inside gives the payload its grace.
"""
USERS_FOLDER = Path("/run/sekisho-payload-users")
"""Root's: one lock file for each user id that a payload has."""
SMALLEST = Limits(
    cpus=1,
    memory_bytes=1,
    processes=1,
    wall_s=1,
    output_bytes=1,
    log_bytes=1,
    tmp_bytes=1,
)


class LocalHost:
    """The machine, ready to wall payloads in. Shared by the threads of its owner, which closes it."""

    def __init__(self, unpack_folder: Path) -> None:
        """`unpack_folder` takes a bubblewrap where none is installed."""
        remove_stale_folders()
        self._bubblewrap = find_bubblewrap(unpack_folder)
        self._groups = ControlGroups.discover()
        self._calls = seccomp.find(os.uname().machine)
        self._listeners = Listeners()
        self._gang_hindrance: str | None = None
        # The parent-death signal follows the thread that started a process: this one lives as long as the host.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="process-starter")

    @property
    def wall_name(self) -> str:
        """What reports call the wall; `none` without a working bubblewrap."""
        return self._bubblewrap.name if self._bubblewrap else WALL_NONE

    @property
    def mechanisms(self) -> dict[str, str]:
        """By which mechanism this machine holds each limit."""
        return hold(SMALLEST, self._groups.controllers).mechanisms | {"seccomp": self._calls.mechanism}

    @property
    def gang_hindrance(self) -> str:
        """Why a wall of this machine cannot be joined to others; empty where it can. Tried once, when first asked."""
        if self._bubblewrap is None:
            return "no wall"
        if self._gang_hindrance is None:
            self._gang_hindrance = hindrance(self._bubblewrap.path, self._start_process)
            if self._gang_hindrance:
                log.warning("peers.unavailable", why=self._gang_hindrance)
        return self._gang_hindrance

    def admit(self, task: Task, relay: Relay | None = None) -> LocalRun:
        """The run of a task, under a user of its own; it has not begun. EngineError without a wall or a free user.

        A node of a gang comes with its relay, which is the run's from then on.
        """
        wrapping = self._bubblewrap
        if wrapping is None:
            raise EngineError(REASON_WALL_MISSING, "this machine has no working bubblewrap")
        if (task.nodes > 1) != (relay is not None) or (relay is not None and self.gang_hindrance):
            raise EngineError(REASON_WALL_MISSING, f"no overlay here: {self.gang_hindrance or 'no relay'}")
        wall.check_mounts(task.mounts)
        held = contextlib.ExitStack()
        try:
            return LocalRun(task, self._surroundings(task, relay, wrapping.path, held))
        except BaseException:
            held.close()
            raise

    def _surroundings(
        self, task: Task, relay: Relay | None, bubblewrap: Path, held: contextlib.ExitStack
    ) -> Surroundings:
        """What is the run's until it has ended: its user and its GPUs, which `held` lets go of."""
        as_root = os.geteuid() == 0
        folder = task.image.folder
        interpreter = image_interpreter(folder) if folder else base_interpreter()
        lent = accelerators.lend(task.gpus, os.environ)
        held.callback(lent.release)
        user = PayloadUser(as_root=as_root)
        held.callback(user.release)
        if as_root:
            _give(task, user.uid)
        plan = wall.WallPlan(
            bubblewrap=bubblewrap,
            interpreter=interpreter,
            image=folder,
            image_writable=task.image_writable,
            mounts=task.mounts,
            tmp_bytes=task.limits.tmp_bytes,
            payload_uid=user.uid,
            as_root=as_root,
            node=relay.node if relay else None,
            devices=lent.files,
        )
        return Surroundings(
            wall_name=self.wall_name + (WALL_PEERS if relay else ""),
            listeners=self._listeners,
            groups=self._groups,
            calls=self._calls,
            start_process=self._start_process,
            plan=plan,
            release=held.close,
            relay=relay,
            accelerators=lent,
        )

    def close(self) -> None:
        """Let go of listeners and threads; call when nothing runs any more."""
        self._listeners.close()
        self._starter.shutdown(wait=False)

    def _start_process(self, command: list[str], descriptors: tuple[int, ...]) -> subprocess.Popen[bytes]:
        return self._starter.submit(_popen, command, descriptors).result()


class PayloadUser:
    """A user id that no other payload of this machine has, whichever agent or job started it.

    As root each id is held by a lock on a file, which goes with its process. A plain user has one id outside, and its
    payloads are kept apart by their namespaces alone.
    """

    def __init__(self, *, as_root: bool) -> None:
        """EngineError `engine.full` when every id is taken."""
        self._lock = -1
        self.uid = wall.PAYLOAD_UID_FIRST
        if not as_root:
            return
        USERS_FOLDER.mkdir(mode=0o700, exist_ok=True)
        for slot in range(wall.PAYLOAD_UIDS):
            lock = os.open(
                USERS_FOLDER / str(slot), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            self._lock, self.uid = lock, wall.PAYLOAD_UID_FIRST + slot
            return
        raise EngineError(REASON_ENGINE_FULL, "no free user id for another payload")

    def release(self) -> None:
        """Nothing of the payload is left: another may have its id."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _popen(command: list[str], descriptors: tuple[int, ...]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 (a fixed program; the shell's text is constant, the command its arguments)
        [*SHIELDED, *command],
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={},
    )


def _give(task: Task, uid: int) -> None:
    """Make the payload's user the owner of what it may write, restored files included; links are not followed."""
    writable = [mount.source for mount in task.mounts if mount.writable]
    if task.image_writable and task.image.folder is not None:
        writable.append(task.image.folder)
    for top in writable:
        os.chown(top, uid, uid)
        for _, folders, files, descriptor in os.fwalk(top, follow_symlinks=False):
            for name in (*folders, *files):
                os.chown(name, uid, uid, dir_fd=descriptor, follow_symlinks=False)
