"""What the HTTP edge adds: a question over a kept connection against the sum of its two bare parts, in turns.

The parts are the same question to the gate in this process, and the same bytes answered by a bare Starlette
application on a listener of the same kind. Beyond them the edge finds the actor of a token, decodes, spells the answer
and writes its log line. A body that waits for the acknowledgement of its head (40 ms) shows here, and nowhere in
benchmarks that call the gate.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.harness import KINDS, Goal, durable, goal, paired, report
from sekisho import identity
from sekisho.app import Control, initialise, opened
from sekisho.http import serving
from sekisho.kernel import config
from sekisho.kernel.facts import Actor
from sekisho.server.service import application
from tests.journeys.world import founding

EACH, ROUNDS = 20, 15
_GIVEN = ("name", "jurisdiction", "parent_jurisdiction", "foreign_control_pct")


@contextmanager
def installed(url: str, folder: Path) -> Iterator[tuple[Control, str]]:
    """A fresh installation without background work, and an administrator's token."""
    settings = config.Settings(data=str(folder), database=config.Database(url=url))
    genesis = initialise(settings, founding())
    with opened(settings) as control:
        yield control, genesis.administrators[0].token


class Bare:
    """Answers every request with the same bytes, after its body is read."""

    def __init__(self, stack: ExitStack) -> None:
        self.body = b""
        app = Starlette(routes=[Route("/", self._answer, methods=["GET", "POST"])])
        self._url = stack.enter_context(serving(app)).url
        self._client = stack.enter_context(httpx2.Client(trust_env=False))

    async def _answer(self, request: Request) -> Response:
        await request.body()
        return Response(self.body, media_type="application/json")

    def ask(self, content: bytes | None) -> None:
        """One request with this body, none for a question."""
        self._client.request("GET" if content is None else "POST", self._url, content=content)


class Whole:
    """The installation behind its real edge, asked over one kept connection."""

    def __init__(self, control: Control, token: str, stack: ExitStack) -> None:
        self.control = control
        self.actor: Actor = control.sign_in.authenticate(token, "127.0.0.1")
        url = stack.enter_context(serving(application(control))).url
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._client = stack.enter_context(httpx2.Client(base_url=url, headers=headers, trust_env=False))
        self._numbers = itertools.count()

    def read(self) -> bytes:
        """The list of organisations over HTTP."""
        return self._client.get("/v1/organisations").raise_for_status().content

    def read_inside(self) -> None:
        """The same of the gate."""
        self.control.gate.perform(self.actor, identity.ListOrganisations())

    def write(self) -> bytes:
        """A new organisation over HTTP, under an idempotency key."""
        asked = self._organisation()
        content = msgspec.json.encode({name: getattr(asked, name) for name in _GIVEN})
        name = f"bench-{next(self._numbers)}"
        answer = self._client.post("/v1/organisations", content=content, headers={"idempotency-key": name})
        return answer.raise_for_status().content

    def write_inside(self) -> None:
        """The same of the gate."""
        name = f"bench-{next(self._numbers)}"
        self.control.gate.perform(self.actor, self._organisation(), idempotency_key=name)

    def _organisation(self) -> identity.CreateOrganisation:
        return identity.CreateOrganisation(
            name=f"Organisation {next(self._numbers)}",
            jurisdiction="JP",
            parent_jurisdiction="JP",
            foreign_control_pct=0,
        )


def ratio(
    bare: Bare, content: bytes | None, inside: Callable[[], object], whole: Callable[[], bytes]
) -> tuple[float, float]:
    """Median of whole over the sum of its parts, and milliseconds of the whole."""
    bare.body = whole()

    def parts() -> None:
        for _ in range(EACH):
            inside()
            bare.ask(content)

    def wholes() -> None:
        for _ in range(EACH):
            whole()

    pair = paired(parts, wholes, rounds=ROUNDS)
    return pair.ratio, pair.second_seconds / EACH * 1000


def database_goals(kind: str, figures: dict[str, float]) -> list[Goal]:
    """A question's and a command's ratio on one database."""
    with ExitStack() as stack:
        (url,) = stack.enter_context(durable(kind))
        folder = Path(stack.enter_context(TemporaryDirectory()))
        control, token = stack.enter_context(installed(url, folder))
        whole, bare = Whole(control, token, stack), Bare(stack)
        goals: list[Goal] = []
        for name, content, inside, outside in (
            ("question", None, whole.read_inside, whole.read),
            ("command", b"x" * 120, whole.write_inside, whole.write),
        ):
            found, milliseconds = ratio(bare, content, inside, outside)
            goals.append(goal(f"{kind}_{name}_of_its_parts", found, "<=", 2.0))
            figures[f"{kind}_{name}_ms"] = milliseconds
        return goals


def main() -> int:
    """All goals of the edge."""
    figures: dict[str, float] = {}
    work = functools.partial(database_goals, figures=figures)
    return report("http", [each for kind in KINDS for each in work(kind)], figures)


if __name__ == "__main__":
    sys.exit(main())
