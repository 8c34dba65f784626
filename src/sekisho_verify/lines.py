"""One line of a verdict, and the case that the checks share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

from sekisho_verify.bundle import Bundle
from sekisho_verify.canonical import DIGEST_PREFIX, decode_object, digest
from sekisho_verify.errors import CanonicalError, Exit, VerifyError
from sekisho_verify.sealed import AgentMessage, open_sealed, read_agent_message
from sekisho_verify.trust import Trust

OK, NOTE, ABSENT, FAILED = "ok", "note", "absent", "failed"
MEASURED, ATTESTED, SIGNED, DECLARED = "M", "A", "S", "D"
PROTECTED_LEVEL = 2
"""From here up a job needs a wall, and a proof of place for every site; a level that no record names counts as one."""

_no_fields: Mapping[str, str | int] = MappingProxyType({})


class Line(NamedTuple):
    """One statement: `part` is its heading, `code` its sentence, `fields` what the sentence names.

    `state` is ok, note, absent or failed; `grade` says how a fact is known and is empty for what was computed
    here; `by` names who says so, where the grade alone does not. `leaves_open` are codes of what this statement cannot
    show, whose sentences stand beside it in the same table.
    """

    part: str
    state: str
    code: str
    fields: Mapping[str, str | int] = _no_fields
    grade: str = ""
    exit_code: Exit = Exit.HOLDS
    by: str = ""
    leaves_open: tuple[str, ...] = ()


class Opened(NamedTuple):
    """An agent's message found in record `number`, its signature verified."""

    number: int
    message: AgentMessage


class Evidence(NamedTuple):
    """An evidence file that record `number` names; `data` is None where the bundle does not hold those very bytes."""

    number: int
    digest: str
    data: bytes | None

    @property
    def where(self) -> str:
        """Its place in the bundle, for lines that fail."""
        return f"records/{self.number:06}.json files/{self.digest.removeprefix(DIGEST_PREFIX)[:12]}"


class Case:
    """A bundle under examination, with what several checks need worked out once."""

    def __init__(self, bundle: Bundle, trust: Trust | None) -> None:
        self.bundle = bundle
        self.trust = trust
        self._bodies: dict[str, dict[str, object] | CanonicalError] = {}

    @cached_property
    def opened(self) -> tuple[list[Opened], list[VerifyError]]:
        """Agents' messages that could be opened, and why the others could not."""
        opened: list[Opened] = []
        errors: list[VerifyError] = []
        for number, detail in enumerate(self.bundle.details):
            if detail.message:
                try:
                    message = read_agent_message(open_sealed(detail.message, detail.agent_key))
                except VerifyError as error:
                    errors.append(error.at(f"records/{number:06}.json detail.message"))
                else:
                    opened.append(Opened(number, message))
        return opened, errors

    @cached_property
    def level(self) -> int:
        """The highest level any record names; -1 where none names one."""
        return max(detail.level for detail in self.bundle.details)

    @property
    def protected(self) -> bool:
        """Whether the data is of a level that needs a wall and a proof of place."""
        return self.level < 0 or self.level >= PROTECTED_LEVEL

    @cached_property
    def residency(self) -> frozenset[str] | None:
        """Countries that every record with a residency allows; None where none has one."""
        named = [detail.residency for detail in self.bundle.details if detail.residency is not None]
        return frozenset.intersection(*named) if named else None

    @cached_property
    def messages(self) -> Mapping[int, AgentMessage]:
        """The opened messages by the number of their record."""
        return {found.number: found.message for found in self.opened[0]}

    @cached_property
    def held(self) -> Mapping[str, bytes]:
        """Evidence files that are what their names say, by digest: each is hashed once, however often it is named."""
        return {name: data for name, data in self.bundle.files.items() if digest(data) == name}

    def evidence(self, name: str) -> Sequence[Evidence]:
        """Evidence files of one name (such as `attestation.json`), in the order of the records that name them."""
        return self._evidence.get(name, ())

    def body(self, found: Evidence) -> dict[str, object]:
        """The canonical JSON object in an evidence file that is there; CanonicalError for anything else.

        Decoded once, however many records name it, so that no reader may change it.
        """
        if found.digest not in self._bodies:
            try:
                self._bodies[found.digest] = decode_object(found.data or b"")
            except CanonicalError as error:
                self._bodies[found.digest] = error
        body = self._bodies[found.digest]
        if isinstance(body, CanonicalError):
            raise CanonicalError(body.code, body.detail)
        return body

    @cached_property
    def _evidence(self) -> Mapping[str, list[Evidence]]:
        found: dict[str, list[Evidence]] = {}
        for number, detail in enumerate(self.bundle.details):
            for name, claimed in detail.files.items():
                found.setdefault(name, []).append(Evidence(number, claimed, self.held.get(claimed)))
        return found


def once(lines: Iterable[Line]) -> list[Line]:
    """Each different line once, at its first place."""
    return list({(*line[:3], *sorted(line.fields.items()), *line[4:]): line for line in lines}.values())


def failed(part: str, error: VerifyError) -> Line:
    """The line for a check that raised."""
    fields = {"reason": error.code, "detail": error.detail, "where": error.where}
    return Line(part, FAILED, f"failed.{error.exit_code.name.lower()}", fields, exit_code=error.exit_code)
