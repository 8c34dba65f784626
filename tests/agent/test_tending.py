"""How the wrappers of a gang are brought together, without a scheduler: the files are real, the wrappers are played."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from sekisho_agent import wrapper
from sekisho_agent.engines import gangs, verdicts
from sekisho_agent.engines.contract import EndReport
from sekisho_agent.engines.handoff import Handoff, State
from sekisho_agent.engines.local_gang import lay_out
from sekisho_agent.engines.tending import Tended, handoffs
from sekisho_agent.engines.verdicts import NativeJob, View, judge
from tests.agent.gang_suite import gang_task

JOB = NativeJob("running", said="RUNNING", nodes={"n1": "", "n2": ""})
UP = [State(node=f"n{rank + 1}", host="127.0.0.1", port=4000 + rank) for rank in range(2)]


@pytest.fixture
def tended(tmp_path: Path) -> Tended:
    """A gang of two whose parts were handed over and begun."""
    task = gang_task(tmp_path, "true")
    lay_out(task)
    for rank, handoff in enumerate(handoffs(task)):
        handoff.give(msgspec.structs.replace(gangs.rank_task(task, rank), gang_key=b"k" * 32))
        handoff.claim()
    found = Tended(task, "7", 60)
    found.look(JOB)
    return found


def introductions(tended: Tended) -> list[list[tuple[str, int]]]:
    return [one.handoff.introduced() for one in tended.wrappers]


def orders(tended: Tended) -> list[str]:
    return [one.handoff.ordered().cancel for one in tended.wrappers]


def test_all_are_introduced_once_all_are_up(tended: Tended) -> None:
    tended.hear([UP[0], None])
    assert introductions(tended) == [[], []]
    tended.hear([UP[0], UP[1]])
    assert introductions(tended) == [[("127.0.0.1", 4000), ("127.0.0.1", 4001)]] * 2
    tended.judge()
    assert (orders(tended), tended.end) == (["", ""], None)


def test_nobody_is_introduced_before_the_scheduler_has_said_where_the_job_is(tended: Tended) -> None:
    tended.look(NativeJob("running", said="RUNNING"))
    tended.hear(list(UP))
    assert introductions(tended) == [[], []]


@pytest.mark.parametrize(
    "nodes",
    [{"n1": ""}, {"n1": "", "n3": ""}, {"n1": "", "n2": "10.0.0.2"}, {"n1": "10.0.0.1", "n2": "127.0.0.1"}],
)
def test_a_machine_that_the_scheduler_did_not_give_ends_the_gang(
    tended: Tended, nodes: dict[str, str]
) -> None:
    tended.look(NativeJob("running", said="RUNNING", nodes=nodes))
    tended.hear(list(UP))
    tended.judge()
    assert introductions(tended) == [[], []]
    assert orders(tended) == ["peers.foreign_node"] * 2


def test_the_first_bad_end_is_told_to_the_others_and_stays(tended: Tended) -> None:
    failed = EndReport(reason="failed", exit_status=3)
    tended.hear([UP[0], msgspec.structs.replace(UP[1], phase="ended", end=failed)])
    tended.judge()
    assert orders(tended) == ["failed", ""]
    assert tended.observation().phase == "starting"
    ended = EndReport(reason="failed", exit_status=-15)
    tended.hear([msgspec.structs.replace(UP[0], phase="ended", end=ended), None])
    tended.judge()
    assert tended.end is not None
    assert (tended.end.exit_status, tended.end.detail) == (3, "node 1")
    assert tended.observation().phase == "ended"


def test_a_node_that_ended_well_is_told_nothing(tended: Tended) -> None:
    well = EndReport(reason="finished", exit_status=0)
    tended.hear([msgspec.structs.replace(UP[0], phase="ended", end=well), UP[1]])
    tended.judge()
    assert (orders(tended), tended.end) == (["", ""], None)


def test_a_node_that_never_comes_up_ends_the_gang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "TOGETHER_SECONDS_MAX", 0.0)
    task = gang_task(tmp_path, "true")
    lay_out(task)
    first, _ = handoffs(task)
    for rank, handoff in enumerate(handoffs(task)):
        handoff.give(gangs.rank_task(task, rank))
    waiting = Tended(task, "7", 60)
    waiting.look(JOB)
    waiting.judge()
    assert orders(waiting) == ["", ""]
    first.claim()
    waiting.judge()
    waiting.judge()
    assert orders(waiting) == ["peers.missing", "peers.missing"]
    waiting.judge()
    assert waiting.pressing, "the scheduler is told to end what never came up"


def test_waiting_for_the_others_has_an_end() -> None:
    view = View(job=JOB, claimed=False, alone_age=verdicts.TOGETHER_SECONDS_MAX + 1)
    assert judge(view).order == "peers.missing"
    assert judge(msgspec.structs.replace(view, claimed=True)).order == ""


def test_the_key_is_among_the_secrets_and_gone_once_it_was_taken(tmp_path: Path) -> None:
    task = gang_task(tmp_path, "true", secrets={"a": b"1"}, gang_key=b"\x07" * 32)
    handoff = Handoff(task.folder)
    handoff.give(task)
    assert handoff.given().gang_key == b""
    taken = handoff.take()
    assert (taken.gang_key, dict(taken.secrets)) == (b"\x07" * 32, {"a": b"1"})
    left = b"".join(path.read_bytes() for path in task.folder.rglob("*") if path.is_file())
    assert (b"\x07" * 32).hex().encode() not in left


@pytest.mark.parametrize("number", ["", "x", "2", "-1", "../0", "0/../.."])
def test_a_wrapper_that_is_no_node_of_the_gang_runs_nothing(
    tended: Tended, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    monkeypatch.setattr("sys.argv", ["wrapper", str(tended.task.folder), "SLURM_PROCID"])
    monkeypatch.setenv("SLURM_PROCID", number)
    assert wrapper.main() == 1
    monkeypatch.delenv("SLURM_PROCID")
    assert wrapper.main() == 1
    assert all(one.handoff.told() is None for one in tended.wrappers)


def test_a_wrapper_that_comes_a_second_time_runs_nothing(
    tended: Tended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["wrapper", str(tended.task.folder), "SLURM_PROCID"])
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert wrapper.main() == 1
    assert tended.wrappers[1].handoff.told() is None
