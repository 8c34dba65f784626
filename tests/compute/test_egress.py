"""What last messages say of the way out: kept as evidence, held against the attempt, believed as far as it goes."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho.compute import AttemptView, read_listeners
from sekisho.kernel.config import Listener
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import Request
from sekisho.kernel.tx import Tx
from sekisho_verify import canonical
from sekisho_verify.observation import Observation, read_canaries_file, write_observation
from sekisho_wire.egress import EgressReport, Held, Reached
from sekisho_wire.messages import Ended, Envelope
from tests.compute.world import CLOSED, FINISHED, World, job_file

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
EVERY = frozenset({"tcp", "udp", "dns"})
REPORT = EgressReport(
    "network namespace + proxy",
    [Reached("data.example.jp:443", 2, 300, 4000, ["203.0.113.7"])],
    [Held("x.example:443", "not_listed", 3)],
    3,
)


def said(**changes: Any) -> Ended:
    """The end of a run of a minute, which takes no time here: reports say when they were closed."""
    return msgspec.structs.replace(FINISHED, canaries=CLOSED, **{"seconds": 60, **changes})


def report(world: World, order: Envelope, key: Ed25519PrivateKey = KEY, **changes: Any) -> str:
    now_ms = world.clock.now_ms()
    seen = Observation(
        listener="listener.example/one",
        key=key.public_key().public_bytes_raw(),
        agent=world.home.key.public_key().public_bytes_raw(),
        attempt=order.attempt,
        token=order.token,
        opened_ms=now_ms - 1000,
        closed_ms=now_ms + 60_000,
        outside=EVERY,
        inside=frozenset(),
    )
    moved = {f"{name}_ms": now_ms + changes.pop(name) for name in ("opened", "closed") if name in changes}
    return canonical.to_base64url(write_observation(seen._replace(**changes, **moved), key.sign))


class Allowed(NamedTuple):
    """As much of a decision as is asked for."""

    allowed: bool


def ended(
    world: World, *, heard: dict[str, Any] | None = None, text: str = "", **changes: Any
) -> tuple[str, Envelope, AttemptView]:
    """A job that ran; `heard` are changes of a listener's report that comes with its end."""
    job, order = world.running()
    observed = [text] if text else [] if heard is None else [report(world, order, **heard)]
    world.home.say(order, said(observed=observed, **changes))
    return job, order, world.show(job).attempts[0]


def files_of(world: World, job: str) -> dict[str, bytes]:
    """The evidence files that the job's records name, by name."""
    world.settle()
    named = [record["detail"].get("files", {}) for record in world.records(stream=job)]
    digests = {name: digest for files in named for name, digest in files.items()}

    def read(tx: Tx, digest: str) -> bytes:
        row = tx.one("select body from ledger_files where digest = :digest", digest=digest)
        return bytes(row["body"]) if row else b""

    return {
        name: world.control.database.read(lambda tx, digest=digest: read(tx, digest))
        for name, digest in digests.items()
    }


def test_an_agent_of_before_says_nothing_and_is_taken(world: World) -> None:
    _, _, attempt = ended(world)
    assert (attempt.state.value, attempt.egress, attempt.observed) == ("succeeded", None, [])


def test_a_report_is_kept_as_evidence_and_shown(world: World) -> None:
    job, order, attempt = ended(world, egress=REPORT)
    assert (attempt.state.value, attempt.egress) == ("succeeded", REPORT)
    body = canonical.decode_object(files_of(world, job)["egress.json"])
    assert body == {
        "v": 1,
        "attempt": order.attempt,
        "canaries": CLOSED,
        "egress": msgspec.to_builtins(REPORT),
    }
    assert world.check().findings == []


def test_what_a_listener_signed_is_kept_and_is_known_only_by_the_settings(world: World) -> None:
    job, order, attempt = ended(world, heard={})
    (seen,) = attempt.observed
    assert (seen.listener, seen.known) == ("listener.example/one", False)
    assert seen.results == dict.fromkeys(("tcp", "udp", "dns"), "closed")
    (kept,) = read_canaries_file(files_of(world, job)["canaries.json"])
    assert (kept.attempt, kept.key) == (order.attempt, PUBLIC)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"attempt": "att_" + "0" * 26}, "observation.foreign"),
        ({"token": 2}, "observation.foreign"),
        ({"agent": PUBLIC}, "observation.foreign_agent"),
        ({"opened_ms": 1}, "observation.time"),
        ({"closed_ms": 2**50}, "observation.time"),
        ({"closed_ms": 1}, "observation.shape"),
        ({"opened": 40_000}, "observation.cover"),
        ({"closed": 10_000}, "observation.cover"),
    ],
)
def test_a_report_of_something_else_is_recorded_as_refused(
    world: World, changes: dict[str, Any], code: str
) -> None:
    job, _, attempt = ended(world, heard=changes)
    assert (attempt.state.value, attempt.observed) == ("succeeded", [])
    last = world.records(stream=job, action="compute.attempt.report")[-1]["detail"]
    assert last["observed_refused"] == code
    assert "files" not in last


@pytest.mark.parametrize(
    "moved", [{"opened": 20_000}, {"closed": 35_000}, {"opened": -200_000}, {"closed": 200_000}]
)
def test_clocks_may_be_a_little_apart_and_a_longer_watch_covers_more(
    world: World, moved: dict[str, Any]
) -> None:
    assert len(ended(world, heard=moved)[2].observed) == 1


def test_what_was_heard_counts_whenever_it_was(world: World) -> None:
    """Only silence has to last: a report that was cut short hides nothing."""
    _, _, attempt = ended(world, heard={"closed": 0, "inside": frozenset({"dns"})})
    assert attempt.observed[0].results["dns"] == "open"


@pytest.mark.parametrize("text", ["!", "AAAA"])
def test_a_report_that_is_none_changes_nothing_else(world: World, text: str) -> None:
    job, _, attempt = ended(world, text=text, egress=REPORT)
    assert (attempt.state.value, attempt.egress) == ("succeeded", REPORT)
    assert world.records(stream=job, action="compute.attempt.report")[-1]["detail"]["observed_refused"]


@pytest.mark.parametrize(
    ("inside", "state"), [(frozenset({"udp"}), "failed"), (frozenset[str](), "succeeded")]
)
def test_nothing_comes_of_a_payload_that_a_listener_heard(
    world: World, monkeypatch: pytest.MonkeyPatch, inside: frozenset[str], state: str
) -> None:
    """The agent says that all was closed; a listener outside heard the canary. This charter bears no open way out."""
    job, order = world.running(job_file(more="data:\n  - {to: model, mount: /out}\n"))
    asked: list[str] = []

    def bears_no_open_way(_ctx: object, request: Request) -> Allowed:
        asked.append(str(request.context["egress"]))
        return Allowed(request.context["egress"] != "open")

    monkeypatch.setattr("sekisho.kernel.context.Ctx.decide", bears_no_open_way)
    world.home.say(order, said(observed=[report(world, order, inside=inside)]))
    monkeypatch.undo()
    attempt = world.show(job).attempts[0]
    assert attempt.state.value == state
    last = world.records(stream=job, action="compute.attempt.report")[-1]["detail"]
    if state == "failed":
        assert (attempt.reason, asked) == ("wall.canary_open", ["open"])
        assert (attempt.observed[0].results["udp"], last["outputs"]) == ("open", {})
    else:
        assert (attempt.reason, asked, list(last["outputs"])) == ("finished", [], ["model"])


def test_a_job_that_may_have_an_open_way_out_goes_on(world: World) -> None:
    _, _, attempt = ended(world, heard={"inside": frozenset({"udp"})})
    assert attempt.state.value == "succeeded"


def test_listeners_of_the_settings() -> None:
    text = canonical.to_base64url(PUBLIC)
    assert read_listeners([Listener(name="one", key=text)]) == {("one", PUBLIC)}
    for wrong in (
        [Listener(name="one", key="AA")],
        [Listener(name="one", key="!")],
        [Listener(name="a", key=text)] * 2,
    ):
        with pytest.raises(SekishoError) as caught:
            read_listeners(wrong)
        assert caught.value.problem.code == "config.invalid"
