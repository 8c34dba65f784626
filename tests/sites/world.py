"""A whole control plane in process: real gate, charter, ledger and identity, with people and places in it.

Nothing runs by itself: the clock moves when told, background work is done when a test asks for it.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import msgspec

from sekisho import charter, identity
from sekisho.app import Control, initialise
from sekisho.kernel import config
from sekisho.kernel.clock import ManualClock
from sekisho.kernel.command import Command
from sekisho.kernel.facts import SYSTEM, Actor, Ref
from sekisho.kernel.tx import Row
from sekisho.ledger import CheckLedger, CheckReport, Ledger
from sekisho.sites import Fact, RegisterSite, SiteView
from tests.support.toy import START_MS
from tests.verify import tokens

ResultT = TypeVar("ResultT")
Role = Literal["analyst", "caller", "engineer", "landmark", "site_operator"]
"""What a program may be trusted with."""

GIB = 1 << 30


def founding(policies: str = "") -> identity.Begin:
    """An office in Japan with two administrators, under the charter that this program ships or one of a test's own."""
    people = [identity.NewPerson(display_name=name, residence="JP") for name in ("青木 愛子", "馬場 文")]
    return identity.Begin(
        organisation=identity.NewOrganisation(
            name="Office", jurisdiction="JP", parent_jurisdiction="JP", foreign_control_pct=0
        ),
        administrators=people,
        charter=policies or charter.default_policies(),
    )


class World:
    """One installation. Owner of its database: `close` when done."""

    POLICIES = ""
    """The charter that it begins with; empty: the one that this program ships."""
    MEASUREMENTS = (tokens.MEASURED,)
    """Machines that the settings know."""

    def __init__(self, folder: Path, db_url: str, like: Self | None = None) -> None:
        """Founded and peopled from nothing, or opened where `like`, closed by now, was copied to."""
        self.clock = ManualClock(START_MS)
        settings = config.Settings(
            data=str(folder / "data"),
            database=config.Database(url=db_url),
            sites=config.Sites(measurements=self.MEASUREMENTS),
        )
        begin = founding(self.POLICIES)
        self.genesis = like.genesis if like else initialise(settings, begin, clock=self.clock)
        self.control = Control(settings, clock=self.clock)
        self.database = self.control.database
        self.gate = self.control.gate
        self.office = self.genesis.organisation
        self.administrator = Actor(Ref("User", self.genesis.administrators[0].account))
        if like is None:
            self.populate()
        else:
            self._know(like)

    def populate(self) -> None:
        """Who and what is there from the start. Leaves only values and agents in attributes: copies know them too."""

    def _know(self, like: Self) -> None:
        """Take over what `like` calls its people and places, and which of its messages its agents sent."""
        for name in vars(like).keys() - vars(self).keys():
            value = getattr(like, name)
            setattr(self, name, value.moved(self) if hasattr(value, "moved") else copy.deepcopy(value))

    def close(self) -> None:
        self.control.close()

    def perform(self, actor: Actor, command: Command[ResultT], **options: Any) -> ResultT:
        return self.gate.perform(actor, command, **options)

    def organisation(self, name: str, country: str = "JP", *, foreign_pct: int = 0) -> str:
        """A new organisation's id."""
        command = identity.CreateOrganisation(
            name=name, jurisdiction=country, parent_jurisdiction=country, foreign_control_pct=foreign_pct
        )
        return self.perform(self.administrator, command).id

    def account(self, name: str, organisation: str, *roles: Role) -> Actor:
        """A service account with these roles."""
        made = self.perform(self.administrator, identity.CreateService(name=name, organisation=organisation))
        for role in roles:
            self.perform(self.administrator, identity.GrantRole(account=made.id, role=role))
        return Actor(Ref("Service", made.id))

    def person(self, name: str, organisation: str, *roles: Role) -> Actor:
        """A person of an organisation, who can be in teams."""
        account = self.perform(
            self.administrator, identity.CreatePerson(display_name=name, organisation=organisation)
        ).id
        for role in roles:
            self.perform(self.administrator, identity.GrantRole(account=account, role=role))
        return Actor(Ref("User", account))

    def site(self, name: str, operator: str, country: str = "JP", **fields: Any) -> SiteView:
        """Register a site that could run something."""
        values: dict[str, Any] = {"cpus": 4, "memory_bytes": 8 * GIB, "stand_in": True} | fields
        command = RegisterSite(name=name, operator=operator, country=Fact(value=country), **values)
        return self.perform(self.administrator, command)

    def work(self) -> int:
        """Do all background work that is due; answers how much there was."""
        done = 0
        while self.gate.do_work():
            done += 1
            assert done < 500, "work that never ends"
        return done

    def seal_log(self) -> None:
        """Bring every record under a checkpoint."""
        while self.control.advance_log():
            pass

    def settle(self) -> None:
        """Work, then checkpoint, as the two loops of a server would."""
        self.work()
        self.seal_log()

    def rows(self, sql: str, **params: Any) -> list[Row]:
        """Read past the gate, as only a test may."""
        return self.database.read(lambda tx: tx.all(sql, **params))

    def records(self, stream: str = "", action: str = "") -> list[dict[str, Any]]:
        """Bodies of the records in the log's order, of one stream and one action where they are named."""
        self.seal_log()
        pseudonym = Ledger(self.control.log_keys.stream_key).pseudonym(stream) if stream else ""
        bodies = [
            msgspec.json.decode(row["body"])
            for row in self.rows(
                "select b.body from ledger_entries e join ledger_bodies b on b.id = e.id order by e.log_index"
            )
        ]
        return [
            body
            for body in bodies
            if (not pseudonym or body["stream"] == pseudonym) and (not action or body["action"] == action)
        ]

    def check(self) -> CheckReport:
        """What `fsck` finds once every record has its place."""
        self.seal_log()
        return self.perform(SYSTEM, CheckLedger())

    def everything(self) -> str:
        """Every value of every table and every file of the data folder, to look for what must not be there."""
        sql = "select name from sqlite_master where type = 'table'"
        if self.database.dialect == "postgres":
            sql = "select table_name as name from information_schema.tables where table_schema = 'public'"
        tables = [row["name"] for row in self.rows(sql)]
        assert len(tables) > 20
        values = [
            value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            for table in tables
            for row in self.rows(f"select * from {table}")
            for value in row.values()
        ]
        files = [path.read_bytes().decode("utf-8", "replace") for path in self._files()]
        return "\n".join([*values, *files])

    def _files(self) -> list[Path]:
        return [path for path in sorted(self.control.folders.root.rglob("*")) if path.is_file()]
