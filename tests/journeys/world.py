"""A whole installation for the journeys: made by `init`, served on loopback, with organisations and people in it.

In process, so that a test can look behind the door; the children of `processes.py` are the same thing from outside.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from sekisho import charter, identity
from sekisho.app import Control, initialise, opened
from sekisho.http import serving
from sekisho.kernel import config
from sekisho.kernel.clock import Clock
from sekisho.kernel.facts import SYSTEM
from sekisho.ledger import CheckLedger, CheckReport, Ledger
from sekisho.server.service import application, started
from sekisho_client.client import Client
from sekisho_client.verbs import evidence_export

ORIGIN = "example.invalid/journeys"
NOTHING = 'name: nothing\nrun: "true"\n'
"""A job that does nothing."""
_CLOSED = "select record_id from ledger_closures where stream = :stream"


class Verdict(NamedTuple):
    """The verifier's exit status and its JSON."""

    status: int
    answer: dict[str, Any]


def settings_in(
    folder: Path, db_url: str, *, origin: str = ORIGIN, lease_seconds: int = 60
) -> config.Settings:
    """Settings of an installation whose files are all below `folder`; a quick log, because tests wait for it."""
    return config.Settings(
        data=str(folder / "data"),
        server=config.Server(port=0),
        database=config.Database(url=db_url),
        ledger=config.Ledger(origin=origin, interval_ms=10),
        compute=config.Compute(lease_seconds=lease_seconds),
    )


def founding() -> identity.Begin:
    """An office in Japan with two administrators, under the charter that this program ships."""
    return identity.Begin(
        organisation=identity.NewOrganisation(
            name="Office", jurisdiction="JP", parent_jurisdiction="JP", foreign_control_pct=0
        ),
        administrators=[
            identity.NewPerson(display_name=name, residence="JP") for name in ("First", "Second")
        ],
        charter=charter.default_policies(),
    )


class House:
    """One installation that is being served. Owner of its clients: they are closed with it."""

    def __init__(
        self, control: Control, genesis: identity.Genesis, url: str, stack: contextlib.ExitStack
    ) -> None:
        self.control = control
        self.genesis = genesis
        self.url = url
        self._stack = stack
        self.administrator = self.client(genesis.administrators[0].token)

    def client(self, token: str) -> Client:
        """A client in somebody's name."""
        return self._stack.enter_context(Client(self.url, token, tries=1))

    def organisation(self, name: str, country: str = "JP", *, foreign_pct: int = 0) -> str:
        """Register an organisation; answers its id."""
        created = self.administrator.call(
            "identity.organisation.create",
            name=name,
            jurisdiction=country,
            parent_jurisdiction=country,
            foreign_control_pct=foreign_pct,
        )
        return str(created["id"])

    def token(self, name: str, organisation: str, *roles: str) -> str:
        """Create a service account with these roles; answers its token."""
        account = self.administrator.call("identity.service.create", name=name, organisation=organisation)[
            "id"
        ]
        for role in roles:
            self.administrator.call("identity.role.grant", account=account, role=role)
        created = self.administrator.call("identity.service.token.create", service=account, label="journey")
        return str(created["secret"])

    def account(self, name: str, organisation: str, *roles: str) -> Client:
        """A client of a new service account with these roles."""
        return self.client(self.token(name, organisation, *roles))

    def site(self, name: str, operator: str, country: str, **fields: Any) -> str:
        """Register a site that could run something; answers its id."""
        values: dict[str, Any] = {"cpus": 2, "memory_bytes": 4 << 30, "stand_in": True} | fields
        fact = {"value": country, "grade": "D"}
        return str(
            self.administrator.call(
                "sites.site.register", name=name, operator=operator, country=fact, **values
            )["id"]
        )

    def closed(self, job: str) -> bool:
        """Whether the job's evidence stream has its last record."""
        stream = Ledger(self.control.log_keys.stream_key).pseudonym(job)
        return bool(self.control.database.read(lambda tx: tx.all(_CLOSED, stream=stream)))

    def active_charter(self) -> str:
        """Digest of the charter in force."""
        active = self.control.database.read(self.control.engine.active)
        return active.digest if active else ""

    def check(self) -> CheckReport:
        """What `fsck` sees once every record has its place."""
        settle_log(self.control)
        return self.control.gate.perform(SYSTEM, CheckLedger())


def settle_log(control: Control) -> None:
    """Sequence, sign and publish until nothing waits."""
    while control.advance_log():
        pass


@contextlib.contextmanager
def house(folder: Path, db_url: str, *, clock: Clock | None = None, origin: str = ORIGIN) -> Iterator[House]:
    """A fresh installation, served with its loops for the length of the block."""
    settings = settings_in(folder, db_url, origin=origin)
    genesis = initialise(settings, founding(), clock=clock)
    with (
        opened(settings, clock=clock) as control,
        started(control),
        serving(application(control)) as listener,
        contextlib.ExitStack() as stack,
    ):
        yield House(control, genesis, listener.url, stack)


def export(client: Client, job: str, target: Path) -> bytes:
    """Ask for a job's bundle as the command line does, and answer its bytes."""
    evidence_export.export(client, job, target)
    return target.read_bytes()


def verify(bundle: Path, trust: Path) -> Verdict:
    """The verifier in a process of its own, which sees the two files and none of our environment."""
    command = [sys.executable, "-I", "-m", "sekisho_verify", str(bundle), "--trust", str(trust), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={}, timeout=120)
    return Verdict(done.returncode, msgspec.json.decode(done.stdout or "{}"))


def until(condition: Callable[[], bool], *, seconds: float = 20.0, what: str = "the condition") -> None:
    """Wait for something that nobody announces."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            message = f"{what} did not come true in {seconds} s"
            raise AssertionError(message)
        time.sleep(0.02)
