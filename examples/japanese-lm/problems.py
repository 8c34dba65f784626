"""The one way in which making the text fails, and the one way in which it reports."""

from __future__ import annotations

import json
import sys
from typing import Literal

BAD_INPUT = 2
UNREACHABLE = 7


class CorpusError(Exception):
    """The text cannot be made; nothing was written. `code` is stable and dotted, `status` is the exit status."""

    def __init__(self, code: str, message: str, *, status: int = BAD_INPUT) -> None:
        """Keep the parts; `message` is one sentence that names the input at fault."""
        super().__init__(f"{message}  [{code}]")
        self.code = code
        self.message = message
        self.status = status


class Progress:
    """Lines about what is being done: JSON objects on standard output, or sentences on standard error."""

    def __init__(self, form: Literal["json", "text"]) -> None:
        """Choose the form; a program that follows asks for `json`."""
        self._json = form == "json"

    def say(self, event: str, **fields: object) -> None:
        """Report one event at once, so that a reader never waits for a buffer."""
        if self._json:
            sys.stdout.write(json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n")
            sys.stdout.flush()
            return
        sys.stderr.write(event + "".join(f"  {name} {value}" for name, value in fields.items()) + "\n")
        sys.stderr.flush()
