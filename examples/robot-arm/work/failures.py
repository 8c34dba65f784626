"""The one way in which training refuses its input."""

from __future__ import annotations


class TrainError(Exception):
    """The run cannot go on with what it was given; `code` is stable and dotted, the message one sentence."""

    def __init__(self, code: str, message: str) -> None:
        """Keep both parts."""
        super().__init__(f"{message}  [{code}]")
        self.code = code
        self.message = message
