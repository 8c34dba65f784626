"""An installation whose sites can be measured: a made-up map in force, three landmarks of two organisations, an agent.

Sessions are held without a network; the clock moves when told.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sekisho import identity
from sekisho.kernel.facts import Actor, Ref
from sekisho.kernel.proposals import ApproveProposal, Proposed
from sekisho.sites import (
    AddLandmark,
    AddProof,
    AddTerritory,
    Fact,
    ListLandmarks,
    ListTasks,
    ProofView,
    RequestProof,
    SetTerritory,
    ShowProof,
    SiteView,
    StateFact,
    proofs,
)
from sekisho_verify import canonical
from sekisho_verify.location_sphere import Place
from sekisho_verify.location_transcript import Landmark
from sekisho_wire.locating import Task
from sekisho_wire.messages import parse_registration_code
from tests.sites.world import World
from tests.verify.places import Held, public_of, territory_body

LANDMARKS = {"north": "university", "south": "exchange", "east": "exchange"}
MIDDLE = {"latitude-e6": Fact(value=32_000_000), "longitude-e6": Fact(value=132_000_000)}
ADDRESS = "192.0.2.7:7700"


def territory_text(**changes: Any) -> str:
    """The made-up map as the text of a file."""
    return canonical.encode(territory_body(**changes)).decode()


def text_of(name: str) -> str:
    """A public key in base64url."""
    return canonical.to_base64url(public_of(name))


class Yard:
    """A world with landmarks and a map in force, and one place in it that can be measured.

    The agent's key is the one of the name `agent`.
    """

    def __init__(self, world: World, place: SiteView | None = None, *, agent: str = "agent") -> None:
        self.world = world
        self.agent = agent
        self.second = Actor(Ref("User", world.genesis.administrators[1].account))
        self.organisations = {name: world.organisation(name) for name in dict.fromkeys(LANDMARKS.values())}
        self.carriers = {
            name: world.account(f"{name}-service", whose, "landmark")
            for name, whose in self.organisations.items()
        }
        for name, whose in LANDMARKS.items():
            self.landmark(name, whose)
        self.put_in_force(territory_text())
        self.place = place or self._bare()
        self.operator = self.place.operator
        self.keeper = world.account("keeper", self.operator, "site_operator")
        for name, fact in {**MIDDLE, "location-address": Fact(value=ADDRESS)}.items():
            world.perform(self.keeper, StateFact(site=self.place.id, name=name, fact=fact))

    def _bare(self) -> SiteView:
        site = self.world.site("ishikari", self.world.organisation("Operator"))
        self.register(self.agent, site)
        return site

    def landmark(self, name: str, whose: str, **changes: Any) -> None:
        """Register a landmark in the middle of the home island."""
        values: dict[str, Any] = {
            "latitude_udeg": 32_000_000,
            "longitude_udeg": 132_000_000,
            "public_key": text_of(name),
        }
        self.world.perform(
            self.world.administrator,
            AddLandmark(name=name, organisation=self.organisations[whose], **(values | changes)),
        )

    def stand_at(self, place: Place) -> None:
        """Move the site and every landmark, as they are declared."""
        udeg = {"latitude_udeg": place.latitude_udeg, "longitude_udeg": place.longitude_udeg}
        for name, whose in LANDMARKS.items():
            self.landmark(name, whose, **udeg)
        for name, value in zip(MIDDLE, place, strict=True):
            self.world.perform(self.keeper, StateFact(site=self.place.id, name=name, fact=Fact(value=value)))

    def register(self, name: str, site: SiteView) -> str:
        """An agent with the key of this name; its id."""
        code = self.world.perform(self.world.administrator, identity.InviteAgent(site=site.id)).code
        assert parse_registration_code(code) is not None
        command = identity.RegisterAgent(code=code, name=name, public_key=text_of(name))
        return self.world.perform(Actor(Ref("Anonymous", "anonymous"), via="none"), command).id

    def put_in_force(self, text: str) -> str:
        """Add a version of the territory file and have two people put it in force; its digest."""
        digest = self.world.perform(self.world.administrator, AddTerritory(territory=text)).digest
        proposed: Any = self.world.perform(self.world.administrator, SetTerritory(digest=digest))
        assert isinstance(proposed, Proposed)
        self.world.perform(self.second, ApproveProposal(proposal=proposed.proposal))
        return digest

    def ask(self) -> str:
        """Have the site measured; the request's id."""
        return self.world.perform(self.keeper, RequestProof(site=self.place.id)).request

    def tasks(self, landmark: str) -> list[Task]:
        """What a landmark is to do."""
        return self.world.perform(self.carriers[LANDMARKS[landmark]], ListTasks(landmark=landmark))

    def task(self, landmark: str, target: str = "") -> Task:
        """The one thing that it is to do about a target, the site where none is named."""
        (task,) = [task for task in self.tasks(landmark) if task.target == (target or self.place.id)]
        return task

    def held(self, landmark: str, task: Task, **changes: Any) -> Held:
        """The session that a landmark would hold now for a task."""
        held = Held(
            site_key=self.agent,
            landmark=landmark,
            organisation=self.organisations[LANDMARKS[landmark]],
            site=task.target,
            nonce=canonical.from_base64url(task.nonce),
            at_ms=self.world.clock.now_ms() - 5000,
        )
        return replace(held, **changes)

    def known(self) -> list[Landmark]:
        """The landmarks as an auditor who trusts them knows them."""
        return [proofs.known(each) for each in self.world.perform(self.world.administrator, ListLandmarks())]

    def hand_in(self, landmark: str, *data: bytes, task: Task) -> ProofView:
        """Post transcripts as a landmark's service does."""
        command = AddProof(
            site=task.target,
            request=task.request,
            transcripts=[canonical.to_base64url(each) for each in data],
        )
        return self.world.perform(self.carriers[LANDMARKS[landmark]], command)

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
        return self.world.perform(self.world.administrator, ShowProof(site=self.place.id))

    def later(self, milliseconds: int) -> None:
        """Let time pass."""
        self.world.clock.advance(milliseconds)
