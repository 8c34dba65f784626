"""What crosses the shared folder between agent and wrapper: a listener's canaries in, the egress report out."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import BinaryIO

import msgspec
import pytest

from sekisho_agent.canaries import Target
from sekisho_agent.engines.contract import EndReport, Observation, Watch
from sekisho_agent.engines.dok_run import Run
from sekisho_agent.engines.gangs import merge, rank_task
from sekisho_agent.engines.handoff import Handoff, State
from sekisho_agent.errors import EngineError
from sekisho_wire.egress import ADDRESSES_MAX, REFUSED_MAX, EgressReport, Held, Reached
from tests.agent.engine_suite import make_task
from tests.agent.support import LIMITS

TARGET: Target = {"address": ["203.0.113.20", 7620], "nonce": "a" * 24}
REPORT = EgressReport(
    "network namespace + proxy",
    [Reached("data.example.jp:443", 2, 300, 4000, ["203.0.113.7"])],
    [Held("x.example:443", "not_listed", 3)],
    3,
)


def test_a_listeners_canaries_reach_the_wrapper(tmp_path: Path) -> None:
    watch = Watch(outside={"listener_tcp": TARGET}, inside={"listener_udp": TARGET})
    task = make_task(tmp_path, "true", watch=watch)
    handoff = Handoff(task.folder)
    handoff.give(task)
    assert handoff.take().watch == watch
    plain = make_task(tmp_path, "true", limits={"cpus": LIMITS.cpus})
    Handoff(plain.folder).give(plain)
    assert Handoff(plain.folder).take().watch is None


def test_each_node_of_a_gang_has_canaries_of_its_own(tmp_path: Path) -> None:
    """One node's canary that arrives says nothing of another's path."""
    watches = [
        Watch({"listener_tcp": {"address": ["203.0.113.20", 7620], "nonce": f"{rank}" * 24}}, {})
        for rank in range(3)
    ]
    whole = Watch(watches[0].outside, watches[0].inside, tuple(watches[1:]))
    task = make_task(tmp_path, "true", nodes=3, watch=whole)
    Handoff(task.folder).give(task)
    given = Handoff(task.folder).given()
    assert [rank_task(given, rank).watch for rank in range(3)] == watches
    assert rank_task(msgspec.structs.replace(task, watch=None), 1).watch is None


@pytest.mark.parametrize(
    ("number", "code"),
    [
        *((number, "engine.unavailable") for number in (errno.EMFILE, errno.EIO, errno.ESTALE, errno.ENOMEM)),
        *((number, "engine.handoff") for number in (errno.ENOENT, errno.ELOOP, errno.EACCES)),
    ],
)
def test_a_task_that_cannot_be_read_now_is_not_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    task = make_task(tmp_path, "true")
    handoff = Handoff(task.folder)
    handoff.give(task)

    def fails(_path: Path) -> BinaryIO:
        raise OSError(number, "on a bad day")

    with monkeypatch.context() as bad_day:
        bad_day.setattr("sekisho_agent.engines.handoff.open_plain", fails)
        with pytest.raises(EngineError) as caught:
            handoff.given()
        assert caught.value.code == code
        if code == "engine.unavailable":
            with pytest.raises(EngineError, match=code):
                Run.left_behind(task.folder, 0.0)
        else:
            assert Run.left_behind(task.folder, 0.0) is None
    assert handoff.given().attempt == task.attempt


def test_the_egress_report_comes_back(tmp_path: Path) -> None:
    handoff = Handoff(tmp_path)
    handoff.folder.mkdir()
    end = EndReport(reason="finished", egress=REPORT)
    handoff.tell(State(phase="ended", end=end))
    told = handoff.told()
    assert told is not None
    assert told.end == end


def ended(report: EgressReport | None) -> Observation:
    return Observation(phase="ended", end=EndReport(reason="finished", egress=report))


def out_of(*reports: EgressReport | None) -> EgressReport | None:
    end = merge([ended(report) for report in reports], ()).end
    assert end is not None
    return end.egress


def test_what_went_out_of_a_gang_is_the_sum_of_its_nodes() -> None:
    other = EgressReport(
        "network namespace + proxy",
        [
            Reached("a.example:443", 1, 1, 1, ["203.0.113.9"]),
            Reached("data.example.jp:443", 1, 2, 3, ["203.0.113.8"]),
        ],
        [Held("x.example:443", "not_listed", 1)],
        5,
    )
    assert out_of(REPORT, other) == EgressReport(
        "network namespace + proxy",
        [
            Reached("a.example:443", 1, 1, 1, ["203.0.113.9"]),
            Reached("data.example.jp:443", 3, 302, 4003, ["203.0.113.7", "203.0.113.8"]),
        ],
        [Held("x.example:443", "not_listed", 4)],
        8,
    )
    assert out_of(REPORT, None) is None, "of one node nothing is known"


def test_a_gangs_report_stays_bounded() -> None:
    many = [
        EgressReport(
            "m",
            [Reached("a.example:443", 1, 0, 0, [f"203.0.113.{node}"])],
            [Held(f"{node}-{number}.example:443", "not_listed", 1) for number in range(REFUSED_MAX)],
            REFUSED_MAX,
        )
        for node in range(2 * ADDRESSES_MAX)
    ]
    found = out_of(*many)
    assert found is not None
    assert (len(found.refused), found.refused_count) == (REFUSED_MAX, REFUSED_MAX * 2 * ADDRESSES_MAX)
    assert len(found.reached[0].addresses) == ADDRESSES_MAX
