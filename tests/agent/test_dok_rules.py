"""What DOK's answers mean, and when a task must end: by table."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sekisho_agent.engines import dok_rules, websocket
from sekisho_agent.engines.dok_bootstrap import Told
from sekisho_agent.engines.dok_log import Repeats
from sekisho_agent.engines.dok_rules import Seen, View
from sekisho_agent.errors import EngineError

SEEN = Seen(
    id="1",
    status="done",
    tags=(),
    created="",
    image="i",
    plan="p",
    limit_seconds=600,
    public=False,
    artefact=True,
    said="said",
)
VIEW = View(lease_left=30, queued_age=0, queue_max=100, running_age=None, limit_seconds=50)


@pytest.mark.parametrize(
    ("status", "told", "reason", "exit_status"),
    [
        ("done", Told(), "finished", 0),
        ("done", Told(status=3), "failed", 3),
        ("done", None, "output.unreadable", None),
        ("done", Told(limit=True, status=-9), "job.time_limit", -9),
        ("error", Told(status=3), "failed", 3),
        ("error", Told(status=-11), "failed", -11),
        ("error", Told(), "engine.ended", 0),
        ("error", None, "engine.ended", None),
        ("error", Told(limit=True, status=143), "job.time_limit", 143),
        ("error", Told(broken="no inputs"), "stage.failed", None),
        ("aborted", None, "engine.ended", None),
        ("canceled", None, "engine.cancelled", None),
    ],
)
def test_ends(status: str, told: Told | None, reason: str, exit_status: int | None) -> None:
    seen = msgspec.structs.replace(SEEN, status=status)
    end = dok_rules.end(seen, told, cancelled="", ran_seconds=10)
    assert (end.reason, end.exit_status) == (reason, exit_status)


@pytest.mark.parametrize("status", ["canceled", "aborted", "error"])
def test_an_end_that_we_asked_for_has_our_reason(status: str) -> None:
    seen = msgspec.structs.replace(SEEN, status=status)
    assert dok_rules.end(seen, None, cancelled="lease.lost", ran_seconds=10).reason == "lease.lost"


def test_a_task_that_was_done_before_our_cancel_came_is_done() -> None:
    assert dok_rules.end(SEEN, Told(), cancelled="lease.lost", ran_seconds=10).reason == "finished"


@pytest.mark.parametrize(("ran", "reason"), [(599.0, "engine.ended"), (600.0, "job.time_limit")])
def test_what_the_service_breaks_off_at_its_limit_was_out_of_time(ran: float, reason: str) -> None:
    seen = msgspec.structs.replace(SEEN, status="aborted")
    assert dok_rules.end(seen, None, cancelled="", ran_seconds=ran).reason == reason


@pytest.mark.parametrize(
    ("changes", "order"),
    [
        ({}, ""),
        ({"lease_left": 0}, "lease.lost"),
        ({"lease_left": 0, "cancel": "job.cancelled"}, "job.cancelled"),
        ({"queued_age": 101}, "engine.queue_too_long"),
        ({"queued_age": 101, "running_age": 1}, ""),
        ({"running_age": 50 + dok_rules.OVERDUE_SECONDS}, ""),
        ({"running_age": 51 + dok_rules.OVERDUE_SECONDS}, "job.time_limit"),
    ],
)
def test_orders(changes: dict[str, Any], order: str) -> None:
    assert dok_rules.order(msgspec.structs.replace(VIEW, **changes)) == order


@pytest.mark.parametrize(
    "answered",
    [
        None,
        [],
        {"id": 1, "status": "done"},
        {"id": "1", "status": "resting"},
        {"id": "1", "status": "done", "tags": [1]},
        {"id": "1", "status": "done", "containers": [{"image": 1}]},
        {"id": "1", "status": "done", "execution_time_limit_sec": "600"},
    ],
)
def test_an_answer_that_is_no_task_concludes_nothing(answered: object) -> None:
    with pytest.raises(EngineError) as caught:
        dok_rules.read_task(answered)
    assert caught.value.code == "engine.unavailable"


@pytest.mark.parametrize(
    "opened", [{"http_uri": "x"}, {"containers": [{"http": {"port": 1}}]}, {"containers": [{"ssh": {}}]}]
)
def test_a_task_that_the_public_may_reach_is_seen(opened: dict[str, Any]) -> None:
    assert dok_rules.read_task({"id": "1", "status": "waiting", **opened}).public
    assert not dok_rules.read_task({"id": "1", "status": "waiting"}).public


# --- the log on its way


def frames(*chunks: bytes) -> list[tuple[int, bytes]]:
    reader = websocket.FrameReader()
    return [(frame.opcode, frame.payload) for chunk in chunks for frame in reader.feed(chunk)]


def test_frames_are_cut_wherever_they_were_split() -> None:
    long = b"\x82\x7e\x01\x00" + b"x" * 256
    whole = b"\x81\x02hi" + long + b"\x01\x01a" + b"\x80\x01b" + b"\x89\x00"
    expected = [(1, b"hi"), (2, b"x" * 256), (1, b"a"), (0, b"b"), (9, b"")]
    assert frames(whole) == expected
    assert frames(*(whole[place : place + 1] for place in range(len(whole)))) == expected
    assert frames(b"\x82\x7f" + (70_000).to_bytes(8, "big") + b"y" * 70_000) == [(2, b"y" * 70_000)]


@pytest.mark.parametrize(
    "sent",
    [
        b"\x81\x82mask..",
        b"\xc1\x00",
        b"\x82\x7f" + (1 << 40).to_bytes(8, "big"),
        b"\x89\x7e\x01\x00",
    ],
)
def test_frames_that_no_server_may_send(sent: bytes) -> None:
    with pytest.raises(EngineError) as caught:
        frames(sent)
    assert caught.value.code == "engine.unavailable"


def test_a_client_masks_what_it_sends() -> None:
    sent = websocket.encode(websocket.PONG, b"there?")
    mask, masked = sent[2:6], sent[6:]
    assert sent[:2] == b"\x8a\x86"
    assert bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked)) == b"there?"


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([b"one\n", b"two\n"], [b"one\ntwo\nthree\n"], b"one\ntwo\nthree\n"),
        ([b"one\ntwo\n"], [b"on", b"e\n", b"two\nth", b"ree\n"], b"one\ntwo\nthree\n"),
        ([b"one\n"], [b"two\n"], b"one\ntwo\n"),
        ([], [b"one\n"], b"one\n"),
        ([b"x" * 9000], [b"x" * 9000 + b"y"], b"x" * 9000 + b"y"),
        ([b"one\n"], [b"on", b"ly\n"], b"one\nonly\n"),
    ],
)
def test_a_stream_that_begins_again_repeats_nothing(
    first: list[bytes], second: list[bytes], expected: bytes
) -> None:
    repeats = Repeats()
    repeats.opened()
    got = b"".join(map(repeats.fresh, first))
    repeats.opened()
    assert got + b"".join(map(repeats.fresh, second)) == expected
