"""One project of DOK over its REST interface: what is asked, and answers that can be relied on.

Traps, from its document: paths end in a slash; there is no idempotency key, so a task is found by its tag; DELETE
removes the record and is no cancel; nobody but a person may agree to the terms of service.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Final
from urllib.parse import urlsplit

from sekisho_agent.config import DokConfig, DokProject
from sekisho_agent.engines import dok_rules
from sekisho_agent.engines.dok_rules import TAG, Seen
from sekisho_agent.engines.rest import Answer, Rest, read_credential
from sekisho_agent.errors import EngineError
from sekisho_wire.messages import REASON_ENGINE_REFUSED, REASON_ENGINE_UNAVAILABLE

UNAUTHORIZED, FORBIDDEN, NOT_FOUND, TIMEOUT, TOO_MANY, SERVER_ERROR = 401, 403, 404, 408, 429, 500
UNDECIDED: Final = frozenset({UNAUTHORIZED, TIMEOUT, TOO_MANY})
"""Refusals of the asking, not of what was asked."""
PAGE_SIZE: Final = 100
PAGES_MAX: Final = 200
TASK_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
SAID_LETTERS_MAX: Final = 500


class DokService:
    """Shared by the threads of one project. EngineError `engine.unavailable` from every method: nothing is known."""

    def __init__(self, config: DokConfig, project: DokProject) -> None:
        parts = urlsplit(config.url)
        self._base = parts.path.rstrip("/")
        self._project = project
        self._rest = Rest(f"{parts.scheme}://{parts.netloc}", ca_file=config.ca_file)

    def trouble(self) -> str:
        """Why this project can run nothing until a person has done something; empty when it can."""
        answer = self._ask("GET", "/auth/")
        if answer.status in {UNAUTHORIZED, FORBIDDEN}:
            return f"the service refuses the credential of project {self._project.name}"
        if answer.failed:
            raise _unavailable(answer)
        account = answer.body.get("account")
        if not isinstance(account, dict) or "tos_agreed_at" not in account:
            raise EngineError(REASON_ENGINE_UNAVAILABLE, "an answer that describes no account")
        if not account["tos_agreed_at"]:
            return f"the terms of service are not agreed to for project {self._project.name}: a person must do that"
        return ""

    def tasks(self) -> list[Seen]:
        """Every task that the service has a record of, oldest first; a list that changed while it was read is none.

        EngineError `engine.refused`, with what a person must do, when the project may not even look.
        """
        found: dict[str, Seen] = {}
        page, pages, counts = 0, 1, set[int]()
        while page < pages:
            page += 1
            answer = self._ask("GET", f"/tasks/?page={page}&page_size={PAGE_SIZE}")
            if answer.status in {UNAUTHORIZED, FORBIDDEN}:
                raise EngineError(REASON_ENGINE_REFUSED, self.trouble() or "the service shows no tasks")
            meta, results = answer.body.get("meta"), answer.body.get("results")
            if answer.failed or not isinstance(meta, dict) or not isinstance(results, list):
                raise _unavailable(answer)
            pages = _whole(meta.get("total_pages"))
            counts.add(_whole(meta.get("count")))
            found |= {seen.id: seen for seen in map(dok_rules.read_task, results)}
            if pages > PAGES_MAX:
                raise EngineError(
                    REASON_ENGINE_UNAVAILABLE, "too many records to look through: delete old ones"
                )
        if counts != {len(found)}:
            raise EngineError(REASON_ENGINE_UNAVAILABLE, "the list of tasks changed while it was read")
        return sorted(found.values(), key=lambda seen: (seen.created, seen.id))

    def create(self, asked: dict[str, Any]) -> Seen:
        """Make a task. EngineError `engine.refused`: none was made; `engine.unavailable`: one may have been."""
        answer = self._ask("POST", "/tasks/", asked)
        if answer.status in UNDECIDED or answer.status >= SERVER_ERROR:
            raise _unavailable(answer)
        if answer.failed:
            raise EngineError(
                REASON_ENGINE_REFUSED, self.trouble() or f"DOK refused the task: {_said(answer)}"
            )
        seen = dok_rules.read_task(answer.body)
        if not set(asked["tags"]) <= set(seen.tags):
            raise EngineError(REASON_ENGINE_UNAVAILABLE, "an answer about another task")
        return _named(seen)

    def get(self, native: str) -> Seen | None:
        """The task; None when the service does not know it."""
        answer = self._ask("GET", f"/tasks/{native}/")
        if answer.status == NOT_FOUND:
            return None
        if answer.failed:
            raise _unavailable(answer)
        seen = dok_rules.read_task(answer.body)
        if seen.id != native:
            raise EngineError(REASON_ENGINE_UNAVAILABLE, "an answer about another task")
        return seen

    def cancel(self, native: str) -> bool:
        """Whether the service takes the cancel; one that is over, or not known, cannot be cancelled."""
        answer = self._ask("POST", f"/tasks/{native}/cancel/")
        if answer.status in {FORBIDDEN, NOT_FOUND}:
            return False
        if answer.failed:
            raise _unavailable(answer)
        return True

    def stream(self, native: str) -> tuple[str, str]:
        """Address and token of the running container's output."""
        answer = self._ask("GET", f"/tasks/{native}/containers/0/stream/")
        address, token = answer.body.get("url"), answer.body.get("token")
        if (
            answer.failed
            or not isinstance(address, str)
            or not isinstance(token, str)
            or not token.isprintable()
        ):
            raise _unavailable(answer)
        return address, token

    def download(self, native: str) -> str:
        """The signed address of what the task left; it is a secret."""
        answer = self._ask("GET", f"/tasks/{native}/download/output/")
        address = answer.body.get("url")
        if answer.failed or not isinstance(address, str):
            raise _unavailable(answer)
        return address

    def close(self) -> None:
        """Let go of the connections."""
        self._rest.close()

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        credential = read_credential(self._project.credential_file)
        basic = base64.b64encode(credential.encode()).decode()
        headers = {"authorization": f"Basic {basic}", "accept": "application/json"}
        return self._rest.ask(method, self._base + path, headers=headers, body=body, bare_refusals=True)


def attempt_tag(attempt: str) -> str:
    """What our task is found by."""
    return TAG + attempt


def _named(seen: Seen) -> Seen:
    if TASK_ID.fullmatch(seen.id) is None:
        raise EngineError(REASON_ENGINE_UNAVAILABLE, "a task whose id is none")
    return seen


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise EngineError(REASON_ENGINE_UNAVAILABLE, "a list without its size")
    return value


def _said(answer: Answer) -> str:
    """The service's own words, for a person."""
    return f"status {answer.status} {answer.body}"[:SAID_LETTERS_MAX]


def _unavailable(answer: Answer) -> EngineError:
    return EngineError(REASON_ENGINE_UNAVAILABLE, f"DOK answered with status {answer.status}")
