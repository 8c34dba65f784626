"""What can be wrong with evidence, and the exit code each kind of wrong has.

Every exception that leaves this package is a `VerifyError`: callers that read hostile bytes need one
`except`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class Exit(IntEnum):
    """Exit codes of `sekisho-verify`. The lowest failing code wins; all failures are printed."""

    HOLDS = 0
    USAGE = 2
    MALFORMED = 10
    DIGEST = 11
    SIGNATURE = 12
    INCLUSION = 13
    CONSISTENCY = 14
    COMPLETENESS = 15
    PLACE = 16
    DECISION = 17
    KEY = 18
    EGRESS = 19
    DEMAND = 20
    UNTRUSTED = 21
    ATTESTATION = 22
    PROOF = 23


class VerifyError(Exception):
    """Evidence that cannot be accepted.

    `code` is stable and dotted, `detail` is one English sentence without secrets, `where` names the member or
    field it was found in (empty when the caller knows), `exit_code` is the kind of failure.
    """

    exit_code: Exit = Exit.MALFORMED

    def __init__(self, code: str, detail: str, *, where: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.where = where

    def at(self, where: str) -> Self:
        """The same error, its place put in front of the one a deeper caller has named."""
        self.where = f"{where} {self.where}".rstrip()
        return self

    def explain(self) -> str:
        """Place, sentence and code on one line."""
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.detail} [{self.code}]"


class CanonicalError(VerifyError):
    """A value or bytes outside the canonical form."""


class ArchiveError(VerifyError):
    """A zip that is not the one canonical zip of its members."""


class ChecksumError(VerifyError):
    """Bytes that differ from the checksum or digest written for them."""

    exit_code = Exit.DIGEST


class NoteError(VerifyError):
    """A signed note, key or checkpoint that cannot be read."""


class SignatureError(VerifyError):
    """A signature that does not hold, or one whose key is not known."""

    exit_code = Exit.SIGNATURE


class RecordError(VerifyError):
    """A record body, log entry or sealed message of the wrong shape."""


class BundleError(VerifyError):
    """A bundle whose members do not belong together."""


class TrustError(VerifyError):
    """A trust file that cannot be read; the fault is the caller's, not the bundle's."""

    exit_code = Exit.USAGE


class MerkleError(VerifyError):
    """A tree asked for something it cannot have: an index past its size, a tile of the wrong width."""


class InclusionError(VerifyError):
    """An entry that is not in the tree at the place claimed."""

    exit_code = Exit.INCLUSION


class ConsistencyError(VerifyError):
    """Two tree heads of which the later does not extend the earlier."""

    exit_code = Exit.CONSISTENCY
