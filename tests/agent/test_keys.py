"""Data keys on their whole way: gate, checkpoint, a custodian in a process of its own, an object that opens."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sekisho.data import StopKey
from sekisho_agent.errors import AgentError, StoreError, UnreachableError
from sekisho_agent.keys import CUSTODIAN_TRIES, KeyRefusedError, Keys
from sekisho_agent.sealed_trees import seal_tree
from sekisho_wire.custody import RELEASE_PATH, Order, read_signed
from sekisho_wire.keying import KeyGranted
from sekisho_wire.messages import Body
from tests.agent.ward import TEXT, Ward, ward_in
from tests.guarantor.custodian_process import manage
from tests.support.custodians import KEY


@pytest.fixture
def ward(tmp_path: Path, db_url: str) -> Iterator[Ward]:
    with ward_in(tmp_path, db_url) as found:
        yield found


def test_an_object_opens_and_what_is_left_behind_is_sealed(ward: Ward) -> None:
    assert ward.open("inputs") == TEXT
    assert ward.line.pending == 1, "the order left under a checkpoint only"
    found = seal_tree(
        ward.store,
        ward.folder / "inputs",
        ward.folder / "scratch",
        keys=ward.line.keys(),
        size_bytes_max=1 << 20,
    )
    assert found.envelope.startswith("sha256:")
    stored = b"".join(path.read_bytes() for path in (ward.folder / "store").rglob("*") if path.is_file())
    assert b"patient" not in stored
    assert len({question.recipient for question in ward.line.asked}) == 2, "a one-time key for each question"
    records = ward.world.records(action="data.key.release")
    assert [record["outcome"] for record in records if "order" in record["detail"]] == ["done", "done"]
    assert ward.world.check().findings == []


def test_an_order_opens_once_and_a_lost_answer_is_asked_for_anew(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is lost between release and use opens nothing later; the next question has its own order."""
    post, lost = Keys._post, list[bytes]()

    def loses_one(keys: Keys, url: str, data: bytes, **limits: Any) -> tuple[int, bytes]:
        answer = post(keys, url, data, **limits)
        if not lost:
            lost.append(data)
            raise UnreachableError("agent.unreachable", "the answer was lost")
        return answer

    monkeypatch.setattr(Keys, "_post", loses_one)
    assert ward.open("inputs") == TEXT
    assert len({question.recipient for question in ward.line.asked}) == 2
    status, again = post(
        ward.line.keys(), ward.keeper.url + RELEASE_PATH, lost[0], seconds=10.0, bytes_max=1 << 20
    )
    assert (status >= 400, b"custody.order_used" in again) == (True, True)


def test_a_stopped_key_ends_it_with_the_reason_at_either_end(ward: Ward) -> None:
    assert manage(ward.keeper.config, "stop", KEY) == 0
    with pytest.raises(KeyRefusedError) as caught:
        ward.open("one")
    assert (caught.value.code, "custody.key_stopped" in caught.value.detail) == ("key.custodian", True)
    ward.world.perform(ward.world.engineer, StopKey(key=KEY))
    with pytest.raises(KeyRefusedError) as caught:
        ward.open("two")
    assert caught.value.code == "key.stopped"


def test_a_custodian_that_is_gone_ends_it_and_what_came_is_no_plaintext(ward: Ward) -> None:
    os.kill(ward.keeper.process, signal.SIGKILL)
    with pytest.raises(KeyRefusedError) as caught:
        ward.open("inputs")
    assert caught.value.code == "key.custodian"
    assert list((ward.folder / "inputs").iterdir()) == []


def test_a_custodian_that_lies_is_asked_again_and_never_believed(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers nonsense, then the answer to another order; each time the next question is a new one."""
    post, earlier = Keys._post, list[tuple[int, bytes]]()

    def lies(keys: Keys, url: str, data: bytes, **limits: Any) -> tuple[int, bytes]:
        answer = post(keys, url, data, **limits)
        earlier.append(answer)
        return (200, b"nonsense") if len(earlier) == 1 else earlier[0]

    monkeypatch.setattr(Keys, "_post", lies)
    with pytest.raises(KeyRefusedError) as caught:
        ward.open("inputs")
    assert (caught.value.code, "custody.foreign" in caught.value.detail) == ("key.custodian", True)
    assert len({question.recipient for question in ward.line.asked}) == CUSTODIAN_TRIES
    assert list((ward.folder / "inputs").iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"agent": "agt_" + "1" * 26},
        {"attempt": "att_" + "1" * 26},
        {"token": 7},
        {"recipient": "A" * 43},
        {"headers": [], "make": 1},
        {"headers": ["sha256:" + "0" * 64]},
        {"make": 1},
        {"key": "somebody-elses"},
        {"key_version": 2},
    ],
    ids="-".join,
)
def test_an_order_that_was_not_asked_for_is_not_handed_in(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """The control plane signs an order for something else: a question that this agent never asked."""
    send, handed = ward.line.send, list[bytes]()
    seals = ward.world.control.seals

    def lies(body: Body, attempt: str, token: int, *, wanted: Callable[[], bool]) -> Body:
        answer = send(body, attempt, token, wanted=wanted)
        if not isinstance(answer, KeyGranted):
            return answer
        order = read_signed(answer.order.encode(), ward.line.control_key, Order)
        other = msgspec.structs.replace(order, **changes)
        return msgspec.structs.replace(answer, order=seals.sealed(other).decode())

    def hands_in(_keys: Keys, _url: str, data: bytes, **_limits: Any) -> tuple[int, bytes]:
        handed.append(data)
        return 500, b""

    monkeypatch.setattr(ward.line, "send", lies)
    monkeypatch.setattr(Keys, "_post", hands_in)
    with pytest.raises(KeyRefusedError) as caught:
        ward.open("inputs")
    assert (caught.value.code, "custody.foreign" in caught.value.detail) == ("key.custodian", True)
    assert handed == []
    assert len(ward.line.asked) >= CUSTODIAN_TRIES, "each time another question"


def test_a_custodian_that_hangs_is_not_waited_for(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho_agent.keys.CUSTODIAN_SECONDS", 0.2)
    os.kill(ward.keeper.process, signal.SIGSTOP)
    try:
        with pytest.raises(KeyRefusedError) as caught:
            ward.open("inputs")
    finally:
        os.kill(ward.keeper.process, signal.SIGCONT)
    assert caught.value.code == "key.custodian"


def test_a_custodian_that_the_site_does_not_pin_is_not_asked(ward: Ward) -> None:
    """The control plane names a custodian and its key; where the site pins some, that word counts for nothing."""
    honest = ward.line.keys()
    custodian = "custodian.example.invalid"
    for pinned, opens in (
        ({"another": "A" * 43}, False),
        ({custodian: "A" * 43}, False),
        ({custodian: ward.keeper.public_key}, True),
    ):
        keys = Keys(ward.line, honest._attempt, check=lambda: None, custodians=pinned, permit_private=True)
        if opens:
            assert len(keys.make()[1]) == 32
            continue
        with pytest.raises(KeyRefusedError) as caught:
            keys.make()
        assert caught.value.code == "key.custodian"


def test_a_custodian_inside_the_sites_networks_is_asked_only_where_the_site_permits_it(ward: Ward) -> None:
    """Whoever registers a key names its address, and would have the agent knock at any door of the site."""
    keys = Keys(ward.line, ward.line.keys()._attempt, check=lambda: None)
    with pytest.raises(KeyRefusedError) as caught:
        ward.open("inputs", keys)
    assert (caught.value.code, "custody.address" in caught.value.detail) == ("key.custodian", True)


def test_a_decision_that_no_checkpoint_covers_is_given_up(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sekisho_agent.keys.CHECKPOINT_SECONDS_MAX", 0.3)
    monkeypatch.setattr(ward.world, "seal_log", lambda: None)
    with pytest.raises(KeyRefusedError) as caught:
        ward.open("inputs")
    assert caught.value.code == "key.unconfirmed"


def test_an_attempt_that_is_to_stop_asks_for_nothing(ward: Ward) -> None:
    def stop() -> None:
        raise AgentError("lease.lost", "over")

    with pytest.raises(AgentError, match=r"lease\.lost"):
        ward.open("inputs", ward.line.keys(stop))
    assert ward.line.asked == []


def test_bytes_that_were_changed_are_refused(ward: Ward) -> None:
    digest = next(
        path
        for path in (ward.folder / "store" / "objects").rglob("*")
        if path.is_file() and path.read_bytes()[:8] == b"sekienv2"
    )
    content = bytearray(digest.read_bytes())
    content[-1] ^= 1
    digest.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        ward.open("inputs")
    assert caught.value.code == "envelope.forged"
