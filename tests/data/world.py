"""The installation of `tests.sites.world` with engineers, and files to add."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec
from typing_extensions import override

from sekisho import identity
from sekisho.data import AddDataset, AddWorkdir, DatasetView, KeyView, SealDataset, Upload, arrival
from sekisho.kernel.facts import SYSTEM, Actor, Ref
from sekisho.kernel.proposals import ApproveProposal, ListProposals, Proposal, Proposed
from sekisho_wire.trees import MODE_PLAIN, TreeFile, encode_tree, size_of
from tests.sites.world import World as SitesWorld
from tests.support import custody


def digest_of(content: bytes) -> str:
    """As objects are called."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Folder:
    """A folder's files as a tree: what a client sends."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.contents = list(files.values())
        self.files = [
            TreeFile(path, len(content), digest_of(content), MODE_PLAIN) for path, content in files.items()
        ]
        self.manifest = encode_tree(self.files)
        self.object = digest_of(self.manifest)
        self.size_bytes = size_of(self.files)


TEXT = Folder({"a.txt": b"a\n", "deep/er/b.txt": "関所\n".encode(), "empty": b""})


class World(SitesWorld):
    """Two organisations' engineers; `engineer` belongs to the office."""

    engineer: Actor
    laboratory: str
    stranger: Actor
    keys: dict[tuple[str, str], KeyView]
    sealed: int = 0

    @override
    def populate(self) -> None:
        self.keys = {}
        self.engineer = self.account("engineer", self.office, "engineer")
        self.laboratory = self.organisation("Laboratory")
        self.stranger = self.account("stranger", self.laboratory, "engineer")

    def key(self, name: str = "hospital", *, by: Actor | None = None, **said: Any) -> KeyView:
        """A key of somebody's organisation, registered when it is first asked for, as its custodian describes it."""
        actor = by or self.engineer
        if (actor.ref.id, name) not in self.keys:
            owner = self.perform(actor, identity.ShowMe()).organisation
            statement = custody.facts(key=name, owner=owner, **said)
            command = custody.registration(name, owner=owner, statement=statement)
            registered = self.perform(actor, command)
            self.keys[actor.ref.id, name] = registered
        return self.keys[actor.ref.id, name]

    def sealing(self, level: int, by: Actor | None = None) -> dict[str, Any]:
        """What names the key of something of a level, as a client that has encrypted it would.

        The first of all is the one object whose header these tests have.
        """
        if not level:
            return {}
        self.sealed += 1
        envelope = custody.ENVELOPE if self.sealed == 1 else digest_of(b"header %d" % self.sealed)
        return {"key": self.key(by=by).id, "key_version": 1, "envelope": envelope}

    def add(self, name: str, folder: Folder = TEXT, *, by: Actor | None = None, **fields: Any) -> Upload:
        """Announce a dataset; level 1, under a key, and residency Japan unless said otherwise."""
        values: dict[str, Any] = {
            **({} if "key" in fields else self.sealing(fields.get("level", 1), by)),
            "object": folder.object,
            "size_bytes": folder.size_bytes,
            "files": len(folder.files),
            "level": 1,
            "residency": ["JP"],
        }
        return self.perform(by or self.engineer, AddDataset(name=name, **(values | fields)))

    def send(self, folder: Folder = TEXT, *, into: str) -> None:
        """Put every byte where the object door puts it, for a dataset or workdir."""
        self.put((*folder.contents, folder.manifest), into=into)

    def put(self, contents: Iterable[bytes], *, into: str) -> None:
        """Some objects, as the door takes them in."""
        for content in contents:
            digest = self.control.objects.put_bytes(content)
            self.control.objects.note(arrival(into, digest), b"1")

    def dataset(
        self, name: str, folder: Folder = TEXT, *, by: Actor | None = None, **fields: Any
    ) -> DatasetView:
        """A dataset that is ready."""
        upload = self.add(name, folder, by=by, **fields)
        self.send(folder, into=upload.id)
        return self.perform(by or self.engineer, SealDataset(dataset=upload.id))

    def add_workdir_of(self, digest: str, size_bytes: int) -> str:
        """A working folder that names bytes nobody sends; its id."""
        return self.perform(self.engineer, AddWorkdir(object=digest, size_bytes=size_bytes)).id

    def workdir(self, folder: Folder = TEXT, *, by: Actor | None = None, **fields: Any) -> str:
        """A working folder's id, its bytes sent."""
        values = self.sealing(fields.get("level", 0), by) | fields
        command = AddWorkdir(object=folder.object, size_bytes=folder.size_bytes, **values)
        upload = self.perform(by or self.engineer, command)
        self.send(folder, into=upload.id)
        return upload.id

    def releaser(self, name: str, organisation: str, *, mfa: bool = True) -> Actor:
        """A person with a second factor who may ask for exports and approve them."""
        command = identity.AdmitLogin(
            issuer="https://id.example", subject=name, organisation=organisation, display_name=name, mfa=mfa
        )
        account = self.perform(SYSTEM, command)
        self.both(identity.GrantApprover(person=account, role="releaser"))
        return Actor(Ref("User", account))

    def both(self, command: Any) -> None:
        """One administrator proposes, the other approves."""
        second = Actor(Ref("User", self.genesis.administrators[1].account))
        self.perform(second, ApproveProposal(proposal=self.asked(self.administrator, command).proposal))

    def asked(self, actor: Actor, command: Any) -> Proposed:
        """The proposal that a command for several people becomes."""
        proposed: Any = self.perform(actor, command)
        assert isinstance(proposed, Proposed)
        return proposed

    def open_proposals(self, actor: Actor) -> dict[str, Proposal]:
        """What waits, as one person sees it."""
        return {one.id: one for one in self.perform(actor, ListProposals())}

    def approve(self, actor: Actor, proposal: str, **fields: str) -> Any:
        """Approve what this person reads there."""
        binding = fields.get("binding") or self.open_proposals(actor)[proposal].binding
        return msgspec.json.decode(self.perform(actor, ApproveProposal(proposal=proposal, binding=binding)))
