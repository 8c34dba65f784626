"""A house with its first two administrators, on the real identity and a charter that is a toy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import pytest

from sekisho import identity
from sekisho.identity import handlers
from sekisho.kernel import proposals
from sekisho.kernel.clock import ManualClock
from sekisho.kernel.command import Command
from sekisho.kernel.context import Ctx
from sekisho.kernel.db import open_database
from sekisho.kernel.errors import NotFoundError
from sekisho.kernel.facts import SYSTEM, Actor, Entity, Ref
from sekisho.kernel.tx import Tx
from tests.support import toy

ResultT = TypeVar("ResultT")

CONTROL_KEY = "A" * 43
SITE = "site_home"
CHARTER = "permit (principal, action, resource);"


class House:
    """The gate with identity behind it. `asked` keeps no secrets: tests read what they need from answers."""

    def __init__(self, url: str) -> None:
        self.clock = ManualClock(toy.START_MS)
        self.decider = toy.AllowAll()
        self.recorder = toy.Memory()
        self.principals = identity.IdentityPrincipals(self.clock)
        self.sites: dict[str, str] = {}
        self.charters: list[str] = []
        self.changed: list[str] = []
        self.database = open_database(url)
        self.world = toy.World(
            self.database,
            clock=self.clock,
            decider=self.decider,
            principals=self.principals,
            recorder=self.recorder,
            more=handlers(
                clock=self.clock,
                sites=self._site,
                control_key=CONTROL_KEY,
                install_charter=self._install,
                agents_changed=self._changed,
            ),
        )
        self.gate = self.world.gate
        self.sign_in = identity.SignIn(self.gate.perform)
        self.genesis: identity.Genesis | None = None

    def _site(self, tx: Tx, site: str, /) -> Entity:
        del tx
        if site not in self.sites:
            raise NotFoundError(id=site)
        return Entity(Ref("Site", site), {"operator": Ref("Org", self.sites[site])})

    def _changed(self, ctx: Ctx, site: str) -> None:
        del ctx
        self.changed.append(site)

    def _install(self, ctx: Ctx, text: str) -> None:
        if text == "broken":
            message = "this charter does not parse"
            raise ValueError(message)
        self.charters.append(text)
        ctx.detail(charter="installed")

    def perform(self, actor: Actor, command: Command[ResultT], **options: Any) -> ResultT:
        return self.gate.perform(actor, command, **options)

    def begin(self) -> identity.Genesis:
        self.genesis = self.perform(SYSTEM, first())
        self.sites[SITE] = self.genesis.organisation
        return self.genesis

    @property
    def organisation(self) -> str:
        assert self.genesis is not None
        return self.genesis.organisation

    def administrator(self, number: int = 0) -> Actor:
        assert self.genesis is not None
        return Actor(Ref("User", self.genesis.administrators[number].account))

    def first_token(self, number: int = 0) -> str:
        assert self.genesis is not None
        return self.genesis.administrators[number].token

    def person(self, name: str = "花子", **more: Any) -> Actor:
        made = self.perform(
            self.administrator(),
            identity.CreatePerson(organisation=self.organisation, display_name=name, **more),
        )
        return Actor(Ref("User", made.id))

    def joined(self, name: str = "花子", **more: Any) -> Actor:
        """A person who has signed in once."""
        person = self.person(name, **more)
        link = self.perform(self.administrator(), identity.InvitePerson(person=person.ref.id))
        self.sign_in.open_with_link(link.secret, "127.0.0.1")
        return person

    def grant_releaser(self, person: Actor) -> None:
        command = identity.GrantApprover(person=person.ref.id, role="releaser")
        proposed: Any = self.perform(self.administrator(0), command)
        self.perform(self.administrator(1), proposals.ApproveProposal(proposal=proposed.proposal))

    def service(self, name: str = "loader") -> Actor:
        made = self.perform(
            self.administrator(), identity.CreateService(organisation=self.organisation, name=name)
        )
        return Actor(Ref("Service", made.id))

    def token(self, actor: Actor, **more: Any) -> identity.NewToken:
        return self.perform(actor, identity.CreateToken(label="test", **more))

    def entity(self, actor: Actor) -> Entity | None:
        return self.database.read(lambda tx: self.principals.principal(tx, actor))

    def rows(self, sql: str, **params: Any) -> list[dict[str, Any]]:
        return self.world.rows(sql, **params)

    def everything(self) -> str:
        """Every value of every table as one text, to look for what must not be there."""
        if self.database.dialect == "sqlite":
            tables = [row["name"] for row in self.rows("select name from sqlite_master where type = 'table'")]
        else:
            found = self.rows(
                "select table_name from information_schema.tables where table_schema = 'public'"
            )
            tables = [row["table_name"] for row in found]
        assert len(tables) > 20
        return "\n".join(
            value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            for table in tables
            for row in self.rows(f"select * from {table}")
            for value in row.values()
        )

    def records(self) -> str:
        return "\n".join(repr(draft) for draft in self.recorder.drafts.values())


def first(**changes: Any) -> identity.Begin:
    given: dict[str, Any] = {
        "organisation": identity.NewOrganisation(
            name="国立計算機構",
            jurisdiction="JP",
            parent_jurisdiction="JP",
            foreign_control_pct=0,
            certs=("ismap",),
        ),
        "administrators": [
            identity.NewPerson(display_name="青木 愛子", email="aiko@example.jp", residence="JP"),
            identity.NewPerson(display_name="馬場 文", email="fumi@example.jp", residence="JP"),
        ],
        "charter": CHARTER,
    }
    return identity.Begin(**(given | changes))


@pytest.fixture
def empty(db_url: str) -> Iterator[House]:
    house = House(db_url)
    yield house
    house.database.close()


@pytest.fixture
def house(empty: House) -> House:
    empty.begin()
    return empty
