"""What the agent and a job of another engine tell each other, through the attempt's folder that both machines see.

Below `<attempt>/handoff/`: `task.json` and `secrets.json` (from the agent, once), `claim` (made by the job, and only
once: a job that the engine starts a second time finds it and ends), `state.json` (from the job) and `orders.json`
(from the agent), each replaced whole.

Leases are counted without a common clock. The job asks by writing a growing number; the agent answers that number with
the seconds that are left. The job counts them from when it asked, so that no delay of the file system makes a lease
longer than it is.

A gang has all of these once for each node, below `<attempt>/ranks/<number>/handoff/`; the task of the whole of it lies
in `<attempt>/handoff/`. A node's job tells where its relay listens; once all have, and the scheduler has confirmed the
machines, the agent writes all addresses to each node's `peers.json`. The key with which the nodes know each other is
among the secrets.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from sekisho_agent.engines.contract import EndReport, Phase, Task, WallReport
from sekisho_agent.errors import EngineError, passes
from sekisho_wire.messages import REASON_ENGINE_UNAVAILABLE

FOLDER: Final = "handoff"
TASK, SECRETS, CLAIM, STATE, ORDERS = "task.json", "secrets.json", "claim", "state.json", "orders.json"
PEERS: Final = "peers.json"
GANG_KEY: Final = "/gang"
"""Among the secrets, where no name of a secret can be."""
FILE_BYTES_MAX: Final = 16 << 20


class State(msgspec.Struct, frozen=True):
    """The job as it sees itself. `asks` is the newest number that wants an answer.

    Of a gang's node, `node` is the machine in its scheduler's words, `host` and `port` where its relay listens.
    """

    phase: Phase = "starting"
    asks: int = 0
    machine: str = ""
    wall: WallReport | None = None
    end: EndReport | None = None
    progress: dict[str, str | int | bool] = {}
    progress_lines: int = 0
    log_bytes: int = 0
    log_dropped_bytes: int = 0
    healthy: bool | None = None
    node: str = ""
    host: str = ""
    port: int = 0


class Orders(msgspec.Struct, frozen=True):
    """What the agent wants: the lease left when it answered `answers`, and why the job is to end, if it is."""

    answers: int = 0
    lease_seconds: float = 0.0
    cancel: str = ""
    grace_seconds: float = 0.0


class Handoff:
    """One attempt's files. Each is written by one side only."""

    def __init__(self, attempt_folder: Path) -> None:
        self.folder = attempt_folder / FOLDER

    def give(self, task: Task) -> None:
        """The agent's first word; secrets apart, because the job removes them as soon as it has read them.

        EngineError `engine.handoff` where the shared folder takes nothing.
        """
        secrets = {name: value.hex() for name, value in task.secrets.items()}
        secrets |= {GANG_KEY: task.gang_key.hex()} if task.gang_key else {}
        plain = msgspec.structs.replace(task, secrets={}, lease_deadline=0.0, gang_key=b"")
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._write(SECRETS, msgspec.json.encode(secrets))
            self._write(TASK, msgspec.json.encode(plain, enc_hook=_encode_path))
        except OSError as error:
            self.forget_secrets()
            raise EngineError(
                "engine.handoff", f"the task cannot be written: {type(error).__name__}"
            ) from error

    def given(self) -> Task:
        """The task without its secrets.

        EngineError `engine.unavailable` when it cannot be read now, `engine.handoff` when it never can.
        """
        try:
            return msgspec.json.decode(self._read(TASK), type=Task, dec_hook=_decode_path)
        except (OSError, ValueError) as error:
            later = isinstance(error, OSError) and passes(error)
            code = REASON_ENGINE_UNAVAILABLE if later else "engine.handoff"
            raise EngineError(code, f"the task cannot be read: {type(error).__name__}") from error

    def take(self) -> Task:
        """The task with its secrets, which are no longer on the disk afterwards. EngineError as `given`."""
        task = self.given()
        try:
            secrets = msgspec.json.decode(self._read(SECRETS), type=dict[str, str])
            (self.folder / SECRETS).unlink(missing_ok=True)
            known = {name: bytes.fromhex(value) for name, value in secrets.items()}
        except (OSError, ValueError) as error:
            raise EngineError("engine.handoff", f"no secrets to take: {type(error).__name__}") from error
        gang_key = known.pop(GANG_KEY, b"")
        return msgspec.structs.replace(task, secrets=known, gang_key=gang_key)

    def claim(self) -> bool:
        """Whether this is the first start of the task; the same on every file system that has O_EXCL."""
        try:
            os.close(os.open(self.folder / CLAIM, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return False
        return True

    def claimed(self) -> bool:
        """Whether a job has begun with the task."""
        return (self.folder / CLAIM).exists()

    def tell(self, state: State) -> None:
        """The job's word."""
        self._write(STATE, msgspec.json.encode(state))

    def told(self) -> State | None:
        """What the job said last; None before its first word, and for what is not its word."""
        try:
            return msgspec.json.decode(self._read(STATE), type=State)
        except (OSError, ValueError):
            return None

    def order(self, orders: Orders) -> None:
        """The agent's word."""
        self._write(ORDERS, msgspec.json.encode(orders))

    def ordered(self) -> Orders:
        """What the agent said last."""
        try:
            return msgspec.json.decode(self._read(ORDERS), type=Orders)
        except (OSError, ValueError):
            return Orders()

    def introduce(self, addresses: Sequence[tuple[str, int]]) -> None:
        """Where the relays of all nodes listen, by number."""
        self._write(PEERS, msgspec.json.encode(list(addresses)))

    def introduced(self) -> list[tuple[str, int]]:
        """What `introduce` has said; empty before."""
        try:
            return msgspec.json.decode(self._read(PEERS), type=list[tuple[str, int]])
        except (OSError, ValueError):
            return []

    def forget_secrets(self) -> None:
        """For a task that no job will take any more."""
        (self.folder / SECRETS).unlink(missing_ok=True)

    def _write(self, name: str, content: bytes) -> None:
        """Whole or not at all for whoever reads; not synced, because a machine that stops has lost the job as well."""
        temporary = self.folder / f".{name}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        temporary.replace(self.folder / name)

    def _read(self, name: str) -> bytes:
        with open_plain(self.folder / name) as file:
            return file.read(FILE_BYTES_MAX)


def open_plain(path: Path) -> BinaryIO:
    """A regular file, opened for reading; OSError for a link, and for a pipe instead of waiting for its other end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no regular file")
    return os.fdopen(descriptor, "rb")


def _encode_path(value: object) -> str:
    return str(value)


def _decode_path(kind: type[Path], value: str) -> Path:
    return kind(value)
