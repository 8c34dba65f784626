"""A terminal as far as the client can tell: text that says it is one."""

from __future__ import annotations

import io


class Terminal(io.StringIO):
    """Collects what a person would see."""

    encoding = "utf-8"

    # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
    def isatty(self) -> bool:
        return True
