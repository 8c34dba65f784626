"""The log of a container: followed while it runs, replaced by the container's own copy when it has ended.

What is followed is for people to read meanwhile. It may break off, begin anew or have its odd bytes replaced on the
way, so the copy in the artefact is the truth; where there is none, what was followed is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from sekisho_agent.engines import websocket
from sekisho_agent.engines.log import PayloadLog, Scalar
from sekisho_agent.errors import EngineError

AGAIN_SECONDS: Final = 2.0
HEAD_BYTES: Final = 4096
CHUNK_BYTES: Final = 1 << 20

log = structlog.get_logger(__name__)


class Repeats:
    """Leaves out what a stream says again after it was opened anew; pure."""

    def __init__(self) -> None:
        self._head = b""
        self._received = 0
        self._skip = 0
        self._waiting: bytes | None = None

    def opened(self) -> None:
        """A new stream begins: perhaps from the start, perhaps where the last one ended."""
        self._waiting = b"" if self._received else None

    def fresh(self, content: bytes) -> bytes:
        """The part of what came that was not there before."""
        if self._waiting is not None:
            self._waiting += content
            if len(self._waiting) < len(self._head) and self._head.startswith(self._waiting):
                return b""
            content, self._waiting = self._waiting, None
            self._skip = self._received if content.startswith(self._head) else 0
        left_out = min(self._skip, len(content))
        self._skip -= left_out
        content = content[left_out:]
        self._received += len(content)
        self._head += content[: HEAD_BYTES - len(self._head)]
        return content


class TaskLog:
    """One task's log file. `follow` runs a thread; everything else is called by the project's."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        path.unlink(missing_ok=True)
        self._path = path
        self._bytes_max = bytes_max
        self._kept = PayloadLog(path, bytes_max)
        self._stopping = threading.Event()
        self._settled = False
        self._thread: threading.Thread | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """Bytes kept and bytes dropped."""
        return self._kept.kept_bytes, self._kept.dropped_bytes

    @property
    def progress(self) -> tuple[dict[str, Scalar], int]:
        """The latest progress line, and how many there were."""
        return self._kept.progress, self._kept.progress_lines

    def follow(self, ask: Callable[[], tuple[str, str]], ca_file: str) -> None:
        """Begin to follow, once; `ask` gives address and token."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, args=(ask, ca_file), name="log", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Follow no longer; the task may go on."""
        self._stopping.set()

    def settle(self, copy: Path | None, total_bytes: int) -> None:
        """The task has ended; `copy` is the container's own, of `total_bytes` that the payload said. Once only."""
        if self._settled:
            return
        self._settled = True
        self.stop()
        if self._thread is not None:
            self._thread.join()
        self._kept.close()
        if copy is None or not copy.exists():
            return
        fresh_path = self._path.with_name("log.new")
        fresh_path.unlink(missing_ok=True)
        fresh = PayloadLog(fresh_path, self._bytes_max)
        with copy.open("rb") as file:
            while content := file.read(CHUNK_BYTES):
                fresh.write(content)
        fresh.dropped_bytes = max(fresh.dropped_bytes, total_bytes - fresh.kept_bytes)
        if fresh.progress_lines < self._kept.progress_lines:
            fresh.progress, fresh.progress_lines = self._kept.progress, self._kept.progress_lines
        fresh.close()
        fresh_path.replace(self._path)
        self._kept = fresh

    def _follow(self, ask: Callable[[], tuple[str, str]], ca_file: str) -> None:
        repeats = Repeats()
        while not self._stopping.is_set():
            try:
                address, token = ask()
                repeats.opened()
                for content in websocket.read(address, token, ca_file=ca_file):
                    self._kept.write(repeats.fresh(content))
                    if self._stopping.is_set():
                        return
            except EngineError as error:
                log.info("engine.log_broken", engine="dok", detail=error.detail)
            self._stopping.wait(AGAIN_SECONDS)
