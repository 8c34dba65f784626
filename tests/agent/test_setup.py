"""An offer with `setup`, from the control plane to the payload that runs on what it made."""

from __future__ import annotations

import os

import msgspec
import pytest

from sekisho_agent import wheels
from sekisho_agent.errors import EngineError
from sekisho_agent.preparation import check_offer
from sekisho_wire.messages import DataMount, Ended, ObjectRef, Offer, Started
from sekisho_wire.trees import TreeFile, encode_tree
from tests.agent.control import ControlPlane
from tests.agent.packages import needs_builds
from tests.agent.support import AgentProcess, make_offer, processes_with

pytestmark = pytest.mark.wall

BUILD_SECONDS = 60.0
REFERENCE = ObjectRef(object="sha256:" + "0" * 64, kind="tree", size_bytes=1)


@pytest.fixture
def uv_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent of these tests, plain users' too, finds the uv that these tests have."""
    needs_builds()
    monkeypatch.setenv("PATH", f"{wheels.find_uv('').parent}:{os.environ['PATH']}")


@pytest.fixture
def agent(uv_on_path: None, agent: AgentProcess) -> AgentProcess:
    return agent


def with_workdir(control: ControlPlane, offer: Offer, *, seen: bool) -> Offer:
    """An offer whose workdir holds one file, `name`."""
    content = b"sekisho\n"
    files = [TreeFile(path="name", size_bytes=len(content), digest=control.store(content), mode=0o644)]
    tree, ticket = control.store(encode_tree(files)), control.ticket()
    workdir = ObjectRef(object=tree, kind="tree", size_bytes=len(content), source="control", ticket=ticket)
    return msgspec.structs.replace(offer, workdir=workdir, setup_workdir=seen)


def test_the_payload_runs_on_what_setup_made(control: ControlPlane, agent: AgentProcess) -> None:
    setup = (
        "printf '#!/bin/sh\\necho hello \"$(cat /image/name)\"\\n' > /image/bin/hello; chmod +x /image/bin/hello;"
        "cp /work/name /image/name; ls / /run/secrets > /image/seen; env >> /image/seen"
    )
    control.secrets["hub-token"] = b"correct horse"
    text = b"some data"
    data = DataMount(
        mount="/data/text",
        object=control.store(text),
        kind="file",
        size_bytes=len(text),
        source="control",
        ticket=control.ticket(),
    )
    offer = make_offer(
        "hello; cat /image/seen > /out/seen; touch /image/new && echo writable; cat /data/text",
        setup=setup,
        data=[data],
        secrets=["hub-token"],
        env={"WORD": "outspoken"},
    )
    attempt = control.offer(with_workdir(control, offer, seen=True))
    started = control.wait_for(Started, attempt, seconds=BUILD_SECONDS)
    ended = control.wait_for(Ended, attempt)
    assert started.image.startswith("sha256:")
    assert "open" not in started.canaries.values()
    assert ended.exit_status == 0, ended.detail
    log = control.log_text(attempt)
    assert log.startswith(b"hello sekisho\n")
    assert log.endswith(b"some data")
    assert b"writable" not in log
    seen = agent_file(agent, started.image, "seen")
    assert "work" in seen
    for hidden in ("data", "hub-token", "outspoken", "SEKISHO"):
        assert hidden not in seen
    again = control.offer(with_workdir(control, make_offer("hello", setup=setup), seen=True))
    assert control.wait_for(Started, again).image == started.image, "made once"


def test_a_workdir_that_is_not_public_is_not_near_the_build(
    control: ControlPlane, agent: AgentProcess
) -> None:
    offer = make_offer("cat name; cat /image/pwd", setup="! test -e /work; pwd > /image/pwd")
    attempt = control.offer(with_workdir(control, offer, seen=False))
    assert control.wait_for(Ended, attempt, seconds=BUILD_SECONDS).reason == "finished"
    assert control.log_text(attempt) == b"sekisho\n/home\n"


def test_a_setup_that_fails_is_told_and_no_payload_runs(control: ControlPlane, agent: AgentProcess) -> None:
    attempt = control.offer(make_offer("echo ran", setup="echo 'no such package' >&2; exit 4"))
    ended = control.wait_for(Ended, attempt, seconds=BUILD_SECONDS)
    assert ended.reason == "stage.failed"
    assert "no such package [image.setup_failed]" in ended.detail
    assert "Started" not in control.kinds(attempt)


def test_a_cancel_ends_a_setup(control: ControlPlane, agent: AgentProcess) -> None:
    attempt = control.offer(make_offer("echo ran", setup="sleep 86397"))
    control.until(lambda: bool(processes_with("86397")), seconds=BUILD_SECONDS, what="the setup running")
    control.cancel(attempt, grace_s=0)
    assert control.wait_for(Ended, attempt).reason == "job.cancelled"
    assert not processes_with("86397")


@pytest.mark.parametrize(
    "changes",
    [
        {"setup_workdir": True},
        {"setup_workdir": True, "workdir": REFERENCE},
        {"setup_workdir": True, "setup": "true"},
        {"setup": "a\0b"},
    ],
)
def test_offers_that_contradict_themselves(changes: dict[str, object]) -> None:
    with pytest.raises(EngineError) as caught:
        check_offer(make_offer("true", **changes))
    assert caught.value.code == "offer.malformed"


def agent_file(agent: AgentProcess, image: str, name: str) -> str:
    """A file of an image on the agent's shelf."""
    return (agent.folder / "state" / "images" / image.removeprefix("sha256:") / name).read_text()
