"""An export, end to end: asked for on the command line, approved by two organisations, sent by its site, fetched."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from sekisho import identity
from sekisho.data import ArtefactView, tables
from sekisho.kernel.facts import SYSTEM, Actor, Ref
from sekisho.kernel.ids import new_id
from sekisho.kernel.proposals import ApproveProposal, Proposed
from sekisho.kernel.tx import Tx
from sekisho_agent import registration
from sekisho_agent.client import ControlClient
from sekisho_agent.handing import HandOvers
from sekisho_agent.state import AgentState
from sekisho_client import cli, sealing, transfer
from sekisho_client.sealing import Sealed
from sekisho_client.transfer import Local
from sekisho_wire.messages import Capabilities, Capacity, HandOver, Poll
from sekisho_wire.objects import ObjectsByDigest
from tests.journeys.world import House, house, until
from tests.support.custodians import KEY, custodian_of

POLL = Poll(
    wait_s=0,
    nonce="0" * 32,
    free=Capacity(attempts=0, cpus=0, memory_bytes=0),
    capabilities=Capabilities(engine="local", wall="bubblewrap", limits={}),
)


class Person:
    """A releaser with a second factor, and their token."""

    def __init__(self, served: House, name: str, organisation: str) -> None:
        gate = served.control.gate
        admitted = identity.AdmitLogin(
            issuer="https://id.example", subject=name, organisation=organisation, display_name=name, mfa=True
        )
        self.id = gate.perform(SYSTEM, admitted)
        first, second = (Actor(Ref("User", one.account)) for one in served.genesis.administrators)
        proposed: Any = gate.perform(first, identity.GrantApprover(person=self.id, role="releaser"))
        gate.perform(second, ApproveProposal(proposal=proposed.proposal))
        assert isinstance(proposed, Proposed)
        made = gate.perform(Actor(Ref("User", self.id)), identity.CreateToken(label="journey"))
        self.token = made.secret
        self.client = served.client(made.secret)

    def approve(self, proposal: str) -> Any:
        (seen,) = [one for one in self.client.call("kernel.proposal.list")["items"] if one["id"] == proposal]
        return self.client.call("kernel.proposal.approve", proposal=proposal, binding=seen["binding"])


def _as_it_is(local: Local) -> AbstractContextManager[Sealed]:
    return nullcontext(Sealed(local, {}))


class Site:
    """A registered agent with a store that holds one artefact of level 2, and nothing of it at the control plane."""

    def __init__(
        self,
        served: House,
        folder: Path,
        owner: str,
        *,
        sealed: Callable[[Local], AbstractContextManager[Sealed]] = _as_it_is,
    ) -> None:
        self.id = served.site("tokyo", owner, "JP")
        code = served.administrator.call("identity.agent.invite", site=self.id)["code"]
        self.state = AgentState.open(folder / "agent")
        known = registration.register(self.state, served.url, code_text=code, name="tokyo")
        self.client = ControlClient(served.url, known, self.state)
        self.store = ObjectsByDigest.open(f"file://{folder}/store", folder / "scratch")
        (folder / "model" / "deep").mkdir(parents=True)
        (folder / "model" / "weights").write_bytes(b"w" * 100_000)
        (folder / "model" / "deep" / "config").write_bytes(b"{}")
        with sealed(transfer.scan(folder / "model", lambda *_: None)) as (self.tree, named):
            for file, path in zip(self.tree.files, self.tree.paths, strict=True):
                self.store.put_file(path, file.digest)
        self.store.put_bytes(self.tree.manifest)
        now_ms = served.control.clock.now_ms()
        artefact = ArtefactView(
            id=new_id("art", now_ms),
            name="model",
            kind="output",
            owner=owner,
            owners=[owner],
            level=2,
            labels=[],
            residency=["JP"],
            object=self.tree.digest,
            object_kind="tree",
            size_bytes=self.tree.size_bytes,
            job="",
            attempt="",
            created_ms=now_ms,
            copies=[],
            record_id="",
            **named,
        )

        def work(tx: Tx) -> None:
            with tx.claimed_by(new_id("rec", now_ms)):
                tables.insert_artefact(tx, artefact, self.id)
                tables.put_copy(tx, artefact.object, self.id, now_ms)

        served.control.database.write(work)
        self.artefact = artefact.id

    def orders(self) -> list[HandOver]:
        return [one.body for one in self.client.poll(POLL) if isinstance(one.body, HandOver)]

    def close(self) -> None:
        self.client.close()
        self.state.close()


@pytest.fixture
def served(tmp_path: Path, db_url: str) -> Iterator[House]:
    with house(tmp_path, db_url) as opened:
        yield opened


@pytest.fixture
def sekisho(
    served: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """The command line in somebody's name; answers exit status and what it printed as JSON."""
    monkeypatch.setenv("SEKISHO_CONFIG", str(tmp_path / "client.json"))
    monkeypatch.setenv("SEKISHO_URL", served.url)

    def run(person: Person | str, *words: str) -> tuple[int, Any]:
        monkeypatch.setenv("SEKISHO_TOKEN", person if isinstance(person, str) else person.token)
        capsys.readouterr()
        status = cli.main([*words, "--json"])
        captured = capsys.readouterr()
        lines = [line for line in (captured.out + captured.err).splitlines() if line.startswith("{")]
        return status, json.loads(lines[-1])

    return run


def test_an_artefact_that_lies_at_a_site_arrives_at_whoever_asked(
    served: House, tmp_path: Path, sekisho: Any
) -> None:
    office, laboratory = served.organisation("Office two"), served.organisation("Laboratory")
    asks, own = Person(served, "asks", office), Person(served, "own", office)
    other = Person(served, "other", laboratory)
    site = Site(served, tmp_path, office)
    status, problem = sekisho(asks, "artefact", "fetch", site.artefact)
    assert (status, problem["code"]) == (3, "charter.denied"), "a releaser is no engineer"
    words = (
        "artefact",
        "export",
        site.artefact,
        "--to",
        "JP",
        "--reason",
        "journal",
        "--detach",
        "--approver",
    )
    status, problem = sekisho(asks, *words, f"{own.id},{asks.id}")
    assert (status, problem["code"]) == (3, "charter.denied")
    status, proposed = sekisho(asks, *words, f"{own.id},{other.id}")
    assert (status, proposed["waiting"]) == (0, [own.id, other.id])
    proposal = proposed["proposal"]
    target = tmp_path / "fetched"
    fetch = ("release", "fetch", proposal, "--folder", str(target), "--timeout", "1")
    status, waiting = sekisho(asks, *fetch)
    assert (status, waiting.get("approved")) == (8, []), waiting
    assert own.approve(proposal)["waiting"] == [other.id]
    assert site.orders() == []
    other.approve(proposal)
    show = served.client(asks.token)
    until(lambda: show.call("data.release.show", release=proposal)["state"] == "waiting", what="a checkpoint")
    (order,) = site.orders()
    assert HandOvers(site.client, site.store).send(order.wanted) == 3
    status, done = sekisho(asks, *fetch)
    assert (status, done["object"], done["size_bytes"]) == (0, site.tree.digest, 100_002)
    assert (target / "weights").read_bytes() == b"w" * 100_000
    (target / "deep" / "config").write_bytes(b"damaged")
    assert sekisho(asks, *fetch)[0] == 0
    assert (target / "deep" / "config").read_bytes() == b"{}"
    assert sekisho(other, *fetch)[1]["code"] == "not_found"
    site.close()


def test_a_sealed_export_is_opened_by_whoever_holds_the_owners_token(
    served: House, tmp_path: Path, sekisho: Any
) -> None:
    """The one who asked is a releaser, who may run nothing and add nothing."""
    office, laboratory = served.organisation("Office two"), served.organisation("Laboratory")
    asks, own = Person(served, "asks", office), Person(served, "own", office)
    other = Person(served, "other", laboratory)
    engineer = served.account("engineer", office, "engineer")
    with custodian_of(served, tmp_path / "custodian", office) as keeper:
        registered = engineer.call(
            "data.key.register",
            name=KEY,
            address=keeper.url,
            public_key=keeper.public_key,
            statement=keeper.facts.decode(),
        )
        own_keys = sealing.Custodian(keeper.url, sealing.token(str(keeper.token_file)))
        site = Site(
            served, tmp_path, office, sealed=lambda local: sealing.sealed(local, registered, own_keys)
        )
        approvers, target = f"{own.id},{other.id}", tmp_path / "fetched"
        words = ("artefact", "export", site.artefact, "--to", "JP", "--reason", "journal", "--detach")
        proposal = sekisho(asks, *words, "--approver", approvers)[1]["proposal"]
        own.approve(proposal)
        other.approve(proposal)
        show = served.client(asks.token)
        until(
            lambda: show.call("data.release.show", release=proposal)["state"] == "waiting",
            what="a checkpoint",
        )
        (order,) = site.orders()
        HandOvers(site.client, site.store).send(order.wanted)
        fetch = ("release", "fetch", proposal, "--folder", str(target), "--timeout", "1")
        status, problem = sekisho(asks, *fetch)
        assert (status, problem["code"], target.exists()) == (2, "key.no_token", False)
        assert sekisho(asks, "config", "set", "custodian", keeper.url)[0] == 0
        status, done = sekisho(asks, *fetch, "--token-file", str(keeper.token_file))
        assert (status, done["object"], done["size_bytes"], done["key"]) == (
            0,
            site.tree.digest,
            100_002,
            KEY,
        )
        assert (target / "deep" / "config").read_bytes() == b"{}"
        status, problem = sekisho(asks, *fetch, "--token-file", str(keeper.token_file))
        assert (status, problem["code"]) == (2, "input.exists")
    site.close()


def test_a_draft_is_tried_on_the_command_line(served: House, sekisho: Any) -> None:
    served.organisation("Another")
    text = served.administrator.call("charter.version.show")["policies"]
    stricter = text.replace('@id("P05-administrator")', '@id("P05-someone")')
    draft = served.administrator.call("charter.version.draft", policies=stricter)["version"]
    token = served.genesis.administrators[0].token
    until(lambda: sekisho(token, "charter", "test", draft)[1]["looked_at"] > 2, what="records in the log")
    status, found = sekisho(token, "charter", "test", draft)
    assert status == 0
    row = next(row for row in found["altered"] if row["action"] == "identity.organisation.create")
    assert (row["verdict"], row["after"]) == ("rules", ["P05-someone"])
    again = sekisho(token, "charter", "test", draft, "--upto", str(found["upto"]))[1]
    assert again == found
    assert sekisho(token, "charter", "test", draft, "--records", "1")[1]["looked_at"] == 1
    assert sekisho(token, "charter", "test", draft, "--records", "0")[0] == 2
