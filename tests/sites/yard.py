"""An installation whose sites can be measured: a made-up map in force, three landmarks of two organisations, an agent.

Sessions are held without a network; the clock moves when told.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho import identity
from sekisho.kernel.facts import Actor, Ref
from sekisho.kernel.proposals import ApproveProposal, Proposed
from sekisho.sites import (
    AddLandmark,
    AddProof,
    AddTerritory,
    Fact,
    ListTasks,
    ProofView,
    RequestProof,
    SetTerritory,
    ShowProof,
    SiteView,
)
from sekisho_verify import canonical
from sekisho_wire.locating import Task
from sekisho_wire.messages import parse_registration_code
from tests.sites.world import World
from tests.verify.places import Held, key_of, public_of, territory_body

LANDMARKS = {"north": "university", "south": "exchange", "east": "exchange"}
MIDDLE = {"latitude-e6": Fact(value=32_000_000), "longitude-e6": Fact(value=132_000_000)}
ADDRESS = "192.0.2.7:7700"


def territory_text(**changes: Any) -> str:
    """The made-up map as the text of a file."""
    return canonical.encode(territory_body(**changes)).decode()


def text_of(name: str) -> str:
    """A public key in base64url."""
    return canonical.to_base64url(public_of(name))


class Yard(World):
    """`site` declares the middle of the home island, and its agent has the key of "agent"."""

    def __init__(self, folder: Path, db_url: str) -> None:
        super().__init__(folder, db_url)
        self.second = Actor(Ref("User", self.genesis.administrators[1].account))
        self.organisations = {name: self.organisation(name) for name in dict.fromkeys(LANDMARKS.values())}
        self.carriers = {
            name: self.account(f"{name}-service", whose, "landmark")
            for name, whose in self.organisations.items()
        }
        for name, whose in LANDMARKS.items():
            self.landmark(name, whose)
        self.put_in_force(territory_text())
        self.operator = self.organisation("Operator")
        self.keeper = self.account("keeper", self.operator, "site_operator")
        facts = {**MIDDLE, "location-address": Fact(value=ADDRESS)}
        self.place = self.site("ishikari", self.operator, facts=facts)
        self.register("agent", self.place)

    def landmark(self, name: str, whose: str, **changes: Any) -> None:
        """Register a landmark in the middle of the home island."""
        values = {"latitude_udeg": 32_000_000, "longitude_udeg": 132_000_000, "public_key": text_of(name)}
        self.perform(
            self.administrator,
            AddLandmark(name=name, organisation=self.organisations[whose], **(values | changes)),
        )

    def register(self, name: str, site: SiteView) -> str:
        """An agent with the key of this name; its id."""
        code = self.perform(self.administrator, identity.InviteAgent(site=site.id)).code
        assert parse_registration_code(code) is not None
        command = identity.RegisterAgent(code=code, name=name, public_key=text_of(name))
        return self.perform(Actor(Ref("Anonymous", "anonymous"), via="none"), command).id

    def put_in_force(self, text: str) -> str:
        """Add a version of the territory file and have two people put it in force; its digest."""
        digest = self.perform(self.administrator, AddTerritory(territory=text)).digest
        proposed: Any = self.perform(self.administrator, SetTerritory(digest=digest))
        assert isinstance(proposed, Proposed)
        self.perform(self.second, ApproveProposal(proposal=proposed.proposal))
        return digest

    def ask(self) -> str:
        """Have the site measured; the request's id."""
        return self.perform(self.keeper, RequestProof(site=self.place.id)).request

    def tasks(self, landmark: str) -> list[Task]:
        """What a landmark is to do."""
        return self.perform(self.carriers[LANDMARKS[landmark]], ListTasks(landmark=landmark))

    def task(self, landmark: str, target: str = "") -> Task:
        """The one thing that it is to do about a target, the site where none is named."""
        (task,) = [task for task in self.tasks(landmark) if task.target == (target or self.place.id)]
        return task

    def held(self, landmark: str, task: Task, **changes: Any) -> Held:
        """The session that a landmark would hold now for a task."""
        held = Held(
            landmark=landmark,
            organisation=self.organisations[LANDMARKS[landmark]],
            site=task.target,
            nonce=canonical.from_base64url(task.nonce),
            at_ms=self.clock.now_ms() - 5000,
        )
        return replace(held, **changes)

    def hand_in(self, landmark: str, *data: bytes, task: Task) -> ProofView:
        """Post transcripts as a landmark's service does."""
        command = AddProof(
            site=task.target,
            request=task.request,
            transcripts=[canonical.to_base64url(each) for each in data],
        )
        return self.perform(self.carriers[LANDMARKS[landmark]], command)

    def measure(self, landmark: str, **changes: Any) -> ProofView:
        """Do what a landmark is to do about the site."""
        task = self.task(landmark)
        return self.hand_in(landmark, self.held(landmark, task, **changes).write(), task=task)

    def prove(self, **changes: Any) -> ProofView:
        """Ask, and have all three landmarks answer."""
        self.ask()
        for landmark in LANDMARKS:
            self.measure(landmark, **changes)
        return self.shown()

    def shown(self) -> ProofView:
        """The proof as anybody with a role sees it."""
        return self.perform(self.administrator, ShowProof(site="ishikari"))

    def later(self, milliseconds: int) -> None:
        """Let time pass."""
        self.clock.advance(milliseconds)


def key(name: str) -> Ed25519PrivateKey:
    """The key of this name."""
    return key_of(name)
