"""What a landmark does for a control plane and sites that are strangers: none of them ends or holds up the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from sekisho_guarantor import landmark_follow
from sekisho_guarantor.errors import GuarantorError
from sekisho_guarantor.landmark_errors import CONTROL_REFUSED, CONTROL_SILENT
from sekisho_guarantor.landmark_follow import WORKERS, Follower
from sekisho_guarantor.landmark_session import Target
from sekisho_verify import canonical
from sekisho_wire.locating import Task
from tests.verify.places import public_of

PATIENCE = 20.0
BODY: dict[str, Any] = {
    "kind": "site",
    "public_key": canonical.to_base64url(public_of("agent")),
    "address": "127.0.0.1:9",
    "nonce": canonical.to_base64url(bytes(32)),
    "seconds": 30,
}


def task(target: str, request: str = "", **changes: Any) -> dict[str, Any]:
    return BODY | {"target": target, "request": request or f"prq_{target}"} | changes


class Control:
    """Answers one list of tasks after the other, the last one for ever; refuses transcripts as it is told."""

    def __init__(self, *polls: list[Any]) -> None:
        self.polls = [*polls]
        self.refusals: list[GuarantorError] = []
        self.handed_in: list[str] = []
        self.stopping = threading.Event()
        self.enough: Callable[[], bool] = lambda: False

    def tasks(self) -> list[msgspec.Raw]:
        if self.enough():
            self.stopping.set()
        found = self.polls.pop(0) if len(self.polls) > 1 else self.polls[0]
        return [msgspec.Raw(msgspec.json.encode(each)) for each in found]

    def hand_in(self, task: Task, transcript: bytes) -> str:
        assert transcript == task.target.encode()
        if self.refusals:
            raise self.refusals.pop()
        self.handed_in.append(task.request)
        return "code"


class Run:
    """One follower until its control plane has had enough."""

    def __init__(self, control: Control, measure: Callable[[Target, bytes], bytes] | None = None) -> None:
        self.control = control
        self.told: list[GuarantorError] = []
        self.said: list[dict[str, str]] = []
        self.measured: list[str] = []
        self._inner = measure or (lambda target, _nonce: target.site.encode())

    def until(self, enough: Callable[[], bool]) -> Run:
        self.control.enough = enough
        clock = threading.Timer(PATIENCE, self.control.stopping.set)
        clock.start()
        Follower(self.control, self._measure, self.told.append, self.said.append).run(
            self.control.stopping, 0.01
        )
        clock.cancel()
        assert enough(), "it hung"
        return self

    def _measure(self, target: Target, nonce: bytes) -> bytes:
        self.measured.append(target.site)
        return self._inner(target, nonce)

    @property
    def codes(self) -> list[str]:
        return [error.code for error in self.told]


WRONG: dict[str, Any] = {
    "nothing": {},
    "text": "no task",
    "way out of the folder": task("../../../etc/cron.d/x"),
    "empty label": task("a", address="a..b:1"),
    "no port": task("b", address="127.0.0.1:99999"),
    "long label": task("c", address=f"{'x' * 64}:1"),
    "no point": task("d", public_key="_" * 43),
    "short nonce": task("e", nonce="short"),
    "another spelling": task("g", nonce="_" * 43),
    "negative": task("f", seconds=-1),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_task_that_is_none_ends_no_other_and_is_said_once(name: str) -> None:
    wrong = WRONG[name]
    control = Control([wrong, task("good")], [wrong], [wrong], [wrong])
    run = Run(control).until(lambda: len(control.polls) == 1 and control.handed_in == ["prq_good"])
    assert run.codes == ["landmark.task_wrong"]
    assert run.measured == ["good"], "nobody was sent anything because of it"


def test_what_breaks_a_session_breaks_no_other() -> None:
    def measure(target: Target, _nonce: bytes) -> bytes:
        if target.site == "bad":
            raise UnicodeError("label empty or too long")
        return target.site.encode()

    control = Control([task("bad"), task("one"), task("two")])
    run = Run(control, measure)
    run.until(lambda: len(control.handed_in) == 2 and bool(run.told))
    assert sorted(control.handed_in) == ["prq_one", "prq_two"]
    assert run.codes == ["landmark.session_broken"]
    assert run.measured.count("bad") == 1


def test_sites_that_never_answer_hold_nobody_up() -> None:
    """All workers but one are held until everybody else was measured: one after the other, nobody would be."""
    others = threading.Event()

    def measure(target: Target, _nonce: bytes) -> bytes:
        if target.site.startswith("slow"):
            others.wait(PATIENCE)
            return b""
        return target.site.encode()

    slow = [task(f"slow{number}") for number in range(WORKERS - 1)]
    good = [task(f"good{number}") for number in range(30)]
    control = Control([*slow, *good])

    def enough() -> bool:
        if len(control.handed_in) == len(good):
            others.set()
        return others.is_set()

    Run(control, measure).until(enough)
    assert sorted(control.handed_in) == sorted(each["request"] for each in good)


def test_who_failed_comes_after_those_who_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landmark_follow, "WORKERS", 1)
    first = [task(f"silent{number}") for number in range(3)]
    again = [task(f"silent{number}", f"prq_again{number}") for number in range(3)]
    control = Control(first)
    run = Run(control, lambda target, _nonce: target.site.encode() if target.site == "good" else b"")

    def enough() -> bool:
        if len(run.measured) == len(first):
            control.polls = [[*again, task("good")]]
        return len(run.measured) == len([*first, *again]) + 1

    run.until(enough)
    assert sorted(run.measured[:3]) == ["silent0", "silent1", "silent2"]
    assert run.measured[3] == "good", "the control plane named it last"


def test_a_site_is_measured_once_at_a_time_and_each_request_once() -> None:
    guard, inside, most = threading.Lock(), [0], [0]

    def measure(target: Target, _nonce: bytes) -> bytes:
        with guard:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        threading.Event().wait(0.02)
        with guard:
            inside[0] -= 1
        return target.site.encode()

    control = Control([task("same", f"prq_{number}") for number in range(5)])
    run = Run(control, measure).until(lambda: len(control.handed_in) == 5)
    assert most == [1]
    assert sorted(control.handed_in) == [f"prq_{number}" for number in range(5)]
    assert len(run.measured) == 5
    assert run.said[0] == {"request": control.handed_in[0], "code": "code"}


@pytest.mark.parametrize(
    ("refusal", "times"),
    [
        (GuarantorError(CONTROL_REFUSED, status=409, reason="sites.proof_over"), 1),
        (GuarantorError(CONTROL_REFUSED, status=503, reason="busy"), 2),
        (GuarantorError(CONTROL_REFUSED, status=429, reason="busy"), 2),
        (GuarantorError(CONTROL_SILENT, what="ConnectError"), 2),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_refusal_is_final_and_an_absence_is_not(refusal: GuarantorError, times: int) -> None:
    control = Control([task("good")], [task("good")], [task("good"), task("last")])
    control.refusals = [refusal]
    run = Run(control).until(lambda: len(control.handed_in) == times)
    assert run.measured.count("good") == times
    assert run.codes == [refusal.code]


def test_no_more_is_remembered_than_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landmark_follow, "REMEMBERED", 2)
    kept: dict[str, int] = {}
    for name in ("a", "b", "a", "c"):
        landmark_follow._remember(kept, name, 1)
    assert [*kept] == ["a", "c"]
