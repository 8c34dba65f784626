"""The agent's errors: each carries a stable dotted code that ends up in a message or on a terminal."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Final

from sekisho_wire.objects import ObjectError

LASTING: Final = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.EINVAL,
        errno.ENXIO,
        errno.EACCES,
        errno.EPERM,
    }
)
"""What the system will say of a file again: there is none, it is of another kind, or it is not ours."""


def passes(error: OSError) -> bool:
    """Whether a file that could not be read may be read later, as where too many are open or a file server is away."""
    return error.errno not in LASTING


class AgentError(Exception):
    """Something the agent cannot do.

    `code` is stable, `detail` one English sentence. Neither may hold a secret, a ticket or a registration code.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{detail} [{code}]")
        self.code = code
        self.detail = detail


class ConfigError(AgentError):
    """The configuration file is wrong; nothing was started."""


class StateError(AgentError):
    """The state folder is missing, damaged or held by another process."""


class StoreError(AgentError):
    """The site's object store failed, or bytes do not have the digest they are stored under."""


class UnreachableError(AgentError):
    """No verifiable answer from the control plane; nothing is known about the message's effect."""


class ProblemError(AgentError):
    """The control plane refused a message; `status` is the HTTP status, `code` the problem's code."""

    def __init__(self, code: str, detail: str, *, status: int) -> None:
        super().__init__(code, detail)
        self.status = status


class EngineError(AgentError):
    """The engine cannot do what was asked."""


class ImageError(AgentError):
    """An image cannot be built or does not have the digest it was asked for by."""


class AttemptStoppedError(AgentError):
    """The attempt is to end before its payload runs; `code` is the reason that will be reported."""


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Turns what the object store says into StoreError, code and sentence unchanged; also a decorator."""
    try:
        yield
    except ObjectError as error:
        raise StoreError(error.code, error.detail) from error
