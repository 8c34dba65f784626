"""Logs that sites sent, one file an attempt under the control plane's own folder."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from sekisho.kernel.ids import is_id

READ_BYTES_MAX = 256 << 10
LENGTH_BYTES_MAX = 16 << 20
"""The agent caps what it sends as well; this holds when it does not."""


class LogFiles:
    """Bytes at offsets. Writing a piece twice changes nothing, so a repeated transaction is harmless."""

    def __init__(self, folder: Path) -> None:
        """Owns `folder`; nobody else writes there."""
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, attempt: str, offset: int, content: bytes) -> None:
        """Put bytes at an offset; what would grow past the cap is dropped."""
        if offset + len(content) > LENGTH_BYTES_MAX:
            return
        descriptor = os.open(self._file(attempt), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, content, offset)
        finally:
            os.close(descriptor)

    def read(self, attempt: str, offset: int, *, final: bool) -> tuple[bytes, int]:
        """At most `READ_BYTES_MAX` from an offset, ending on a whole UTF-8 character, and the present length.

        A `final` log gets no more bytes: the beginning of a character at its very end is handed out as it is.
        """
        try:
            with self._file(attempt).open("rb") as file:
                length = os.fstat(file.fileno()).st_size
                if offset >= length:
                    return b"", length
                file.seek(offset)
                content = file.read(READ_BYTES_MAX)
        except FileNotFoundError:
            return b"", 0
        last = final and offset + len(content) >= length
        return content if last else _whole_characters(content), length

    def _file(self, attempt: str) -> Path:
        if not is_id(attempt, "att"):
            raise ValueError(attempt)
        return self._folder / f"{attempt}.log"


def _whole_characters(content: bytes) -> bytes:
    """Drop the beginning of a character whose rest is in the next piece; bytes that are not UTF-8 pass."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    decoder.decode(content)
    pending = len(decoder.getstate()[0])
    return content[: len(content) - pending]
