"""One line of a verdict, and the case that the checks share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

from sekisho_verify.bundle import Bundle
from sekisho_verify.errors import Exit, VerifyError
from sekisho_verify.sealed import AgentMessage, open_sealed, read_agent_message
from sekisho_verify.trust import Trust

OK, NOTE, ABSENT, FAILED = "ok", "note", "absent", "failed"
MEASURED, SIGNED, DECLARED = "M", "S", "D"

_no_fields: Mapping[str, str | int] = MappingProxyType({})


class Line(NamedTuple):
    """One statement: `part` is its heading, `code` its sentence, `fields` what the sentence names.

    `state` is ok, note, absent or failed; `grade` says how a fact is known and is empty for what was computed
    here.
    """

    part: str
    state: str
    code: str
    fields: Mapping[str, str | int] = _no_fields
    grade: str = ""
    exit_code: Exit = Exit.HOLDS


class Opened(NamedTuple):
    """An agent's message found in record `number`, its signature verified."""

    number: int
    message: AgentMessage


class Case:
    """A bundle under examination, with what several checks need worked out once."""

    def __init__(self, bundle: Bundle, trust: Trust | None) -> None:
        self.bundle = bundle
        self.trust = trust

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

    @cached_property
    def residency(self) -> frozenset[str] | None:
        """Countries that every record with a residency allows; None where none has one."""
        named = [detail.residency for detail in self.bundle.details if detail.residency is not None]
        return frozenset.intersection(*named) if named else None


def failed(part: str, error: VerifyError) -> Line:
    """The line for a check that raised."""
    fields = {"reason": error.code, "detail": error.detail, "where": error.where}
    return Line(part, FAILED, f"failed.{error.exit_code.name.lower()}", fields, exit_code=error.exit_code)
