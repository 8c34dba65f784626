"""SQL of compute on each database."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Callable
from typing import Any, cast

import pytest

from sekisho.compute import AttemptState, JobState, SiteChoice, tables, tables_keepsakes, views
from sekisho.kernel.ids import new_id
from sekisho.kernel.migrate import schema_files
from sekisho.kernel.tx import Row, Tx
from tests.compute.world import World

RECORD = new_id("rec", 1)
CHOICE = SiteChoice("site_a", "ishikari", "JP", "deny", ["C01"], chosen=False, why="no", why_ja="不可")


def write(world: World, work: Callable[[Tx], Any]) -> Any:
    def claimed(tx: Tx) -> Any:
        with tx.claimed_by(RECORD):
            return work(tx)

    return world.database.write(claimed)


def add_job(world: World, job: str, **changes: Any) -> None:
    values: dict[str, Any] = {
        "id": job,
        "name": "train",
        "team": "",
        "owner": "org_a",
        "submitter": "usr_a",
        "kind": "batch",
        "level": 1,
        "labels": ["personal"],
        "residency": ["JP"],
        "owners": ["org_a"],
        "file": "name: 関所\n",
        "spec": {"run": "x"},
        "now_ms": 5,
    }
    new = tables.NewJob(**(values | changes))
    write(world, lambda tx: tables.insert_job(tx, new))


def add_attempt(world: World, attempt: str, job: str, number: int = 1, **changes: Any) -> None:
    row = {
        "id": attempt,
        "job": job,
        "number": number,
        "site": "site_a",
        "token": number,
        "cpus": 1,
        "memory_bytes": 2**52,
        "gpus": 0,
        "gpu_type": "",
        "offer_record": "rec_x",
        "now": 7,
    }
    write(world, lambda tx: tables.insert_attempt(tx, row | changes))


def job_row(world: World, job: str, owner: str = "") -> Row | None:
    return world.database.read(lambda tx: tables.find_job(tx, job, owner))


def test_a_job_waits_as_it_was_submitted(world: World) -> None:
    add_job(world, "job_1")
    row = job_row(world, "job_1")
    assert row is not None
    view = views.job_view(row, {}, None)
    assert (view.state, view.reason, view.attempts, view.cancelling) == (JobState.WAITING, "", 0, False)
    assert (view.labels, view.residency, view.level) == (["personal"], ["JP"], 1)
    assert (view.created_ms, view.changed_ms, view.ended_ms) == (5, 5, 0)
    assert (view.record_id, view.progress, view.site_name) == (RECORD, {}, "")
    assert row["file"] == "name: 関所\n"
    assert views.job_view(row, {}, '{"step":7}').progress == {"step": 7}


def test_a_name_is_the_newest_job_of_that_name_in_one_organisation(world: World) -> None:
    for number in (1, 3, 2):
        add_job(world, f"job_{number}")
    add_job(world, "job_9", owner="org_b")
    add_job(world, "job_4", name="job_1")
    found = [
        job_row(world, "train", "org_a"),
        job_row(world, "train", "org_b"),
        job_row(world, "job_1", "org_a"),
    ]
    assert [row and row["id"] for row in found] == ["job_3", "job_9", "job_1"], "an id goes before a name"
    assert job_row(world, "train") is None


class Asked:
    """Takes statements and gives nothing, to look at how a database would go about them."""

    def __init__(self) -> None:
        self.statements: list[tuple[str, dict[str, Any]]] = []

    def all(self, sql: str, **params: Any) -> list[Row]:
        self.statements.append((sql, params))
        return []

    def one(self, sql: str, **params: Any) -> Row | None:
        self.statements.append((sql, params))
        return None


def test_no_question_about_one_job_or_array_reads_every_job() -> None:
    asked = Asked()
    tx = cast("Tx", asked)
    tables.find_job(tx, "job_1", "org_a")
    tables.members_of(tx, "job_1")
    tables.waiting_member(tx, "job_1")
    tables.members_to_cancel(tx, "job_1", -1, 1)
    tables.member_counts(tx, "job_1")
    tables.attempts_of(tx, "job_1", 1)
    tables.attempt_numbered(tx, "job_1", 0)
    tables.events_of(tx, "job_1", 1)
    tables.arrays_over(tx)
    for array in ("", "job_1"):
        tables.page_jobs(tx, "", 50, array=array)
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        for file in schema_files(["kernel", "compute"]):
            database.executescript(file.text.replace("{sequence}", "integer primary key"))
        for sql, params in asked.statements:
            plan = [row[3] for row in database.execute(f"explain query plan {sql}", params)]
            assert [step for step in plan if step.startswith("SCAN compute")] == [], sql
        (counts,) = [sql for sql, _ in asked.statements if "count(*)" in sql]
        plan = [row[3] for row in database.execute(f"explain query plan {counts}", {"array": "job_1"})]
        assert any("COVERING INDEX" in step for step in plan), "without the files of a thousand jobs"


def test_the_queue_is_in_order_and_can_be_gone_through(world: World) -> None:
    for number in (2, 1, 4, 3):
        add_job(world, f"job_{number}")
    write(world, lambda tx: tables.move_job(tx, "job_2", JobState.RUNNING, 9))
    cases: list[tuple[str, list[str]]] = [("", ["job_1", "job_3"]), ("job_3", ["job_4"]), ("job_4", [])]
    for after, expected in cases:
        rows = world.database.read(functools.partial(tables.waiting_jobs, after=after, limit=2, now_ms=0))
        assert [row["id"] for row in rows] == expected


@pytest.mark.parametrize("state", JobState)
def test_a_job_that_ends_has_an_end(world: World, state: JobState) -> None:
    add_job(world, "job_1")
    write(world, lambda tx: tables.move_job(tx, "job_1", state, 9, reason="r"))
    row = job_row(world, "job_1")
    assert row is not None
    assert (row["state"], row["reason"], row["changed_ms"]) == (state.value, "r", 9)
    assert row["ended_ms"] == (9 if state.ended else 0)


def test_placing_counts_attempts_and_keeps_what_was_found(world: World) -> None:
    add_job(world, "job_1")
    write(world, lambda tx: tables.keep_waiting(tx, "job_1", "CharterForbids", [CHOICE], now_ms=8))
    row = job_row(world, "job_1")
    assert row is not None
    assert (row["state"], row["reason"], views.site_choices(row)) == ("waiting", "CharterForbids", [CHOICE])
    write(world, lambda tx: tables.place_job(tx, "job_1", "site_a", [], now_ms=9))
    row = job_row(world, "job_1")
    assert row is not None
    assert (row["state"], row["reason"], row["site"], row["attempts"]) == ("staging", "", "site_a", 1)
    write(world, lambda tx: tables.mark_cancelling(tx, "job_1", 10))
    row = job_row(world, "job_1")
    assert row is not None
    assert (row["cancelling"], row["changed_ms"]) == (1, 10)


def test_pages_by_state_and_submitter(world: World) -> None:
    for number in range(1, 6):
        add_job(world, f"job_{number}", submitter="usr_b" if number % 2 else "usr_a")
    write(world, lambda tx: tables.move_job(tx, "job_5", JobState.FAILED, 9))

    def ids(before: str, limit: int, **only: str) -> list[str]:
        page = functools.partial(tables.page_jobs, before=before, limit=limit, **only)
        return [row["id"] for row in world.database.read(page)]

    assert ids("", 2) == ["job_5", "job_4"]
    assert ids("job_4", 9) == ["job_3", "job_2", "job_1"]
    assert ids("", 9, state="waiting", submitter="usr_b") == ["job_3", "job_1"]
    assert ids("", 9, state="failed") == ["job_5"]


def test_active_attempts_hold_room(world: World) -> None:
    for number, state in enumerate(AttemptState, 1):
        add_job(world, f"job_{number}")
        add_attempt(world, f"att_{number}", f"job_{number}", site="site_b" if number == 2 else "site_a")
        write(world, functools.partial(tables.move_attempt, attempt=f"att_{number}", state=state, now_ms=9))
    active = world.database.read(tables.active_attempts)
    assert {row["state"] for row in active} == {"offered", "staging", "starting", "running"}
    assert [row["id"] for row in world.database.read(lambda tx: tables.active_attempts(tx, "site_b"))] == [
        "att_2"
    ]
    one = world.database.read(lambda tx: tables.active_of_job(tx, "job_1"))
    assert one is not None
    assert world.database.read(lambda tx: tables.active_of_job(tx, "job_9")) is None


def test_an_attempt_carries_what_was_reported(world: World) -> None:
    add_job(world, "job_1")
    add_attempt(world, "att_1", "job_1")
    reported = {
        "wall": "bubblewrap",
        "canaries": {"udp": "closed"},
        "limits": {"memory": "none"},
        "agent": "agt_1",
    }
    write(world, lambda tx: tables.move_attempt(tx, "att_1", AttemptState.RUNNING, 11, **reported))
    ended = {"usage": {"seconds": 3}, "detail": "d", "exit_status": -9, "reason": "failed"}
    write(world, lambda tx: tables.move_attempt(tx, "att_1", AttemptState.FAILED, 12, **ended))
    row = world.database.read(lambda tx: tables.find_attempt(tx, "att_1"))
    assert row is not None
    view = views.attempt_view(row, {"site_a": "ishikari"})
    assert (view.canaries, view.limits, view.usage) == ({"udp": "closed"}, {"memory": "none"}, {"seconds": 3})
    assert (view.wall, view.agent, view.detail, view.exit_status) == ("bubblewrap", "agt_1", "d", -9)
    assert (view.offered_ms, view.started_ms, view.ended_ms) == (7, 11, 12)
    assert (view.site_name, view.state, row["memory_bytes"]) == ("ishikari", AttemptState.FAILED, 2**52)


def test_two_attempts_of_one_number_cannot_be(world: World) -> None:
    add_job(world, "job_1")
    add_attempt(world, "att_1", "job_1", 1)
    with pytest.raises(Exception, match=r"(?i)unique"):
        add_attempt(world, "att_2", "job_1", 1)
    add_attempt(world, "att_2", "job_1", 2)
    assert [row["id"] for row in world.database.read(lambda tx: tables.attempts_of(tx, "job_1", 9))] == [
        "att_1",
        "att_2",
    ]


def test_of_a_job_that_never_ends_the_newest_is_shown(world: World) -> None:
    add_job(world, "job_1")
    for number in (1, 2, 3):
        add_attempt(world, f"att_{number}", "job_1", number)
        write(world, functools.partial(tables.add_event, job="job_1", what=f"w{number}", now_ms=number))
    last = world.database.read(lambda tx: tables.attempts_of(tx, "job_1", 2))
    assert [row["id"] for row in last] == ["att_2", "att_3"]
    assert [one.what for one in world.database.read(lambda tx: tables.events_of(tx, "job_1", 2))] == [
        "w2",
        "w3",
    ]
    found = world.database.read(
        lambda tx: [tables.attempt_numbered(tx, "job_1", number) for number in (0, 1, 4)]
    )
    assert [row and row["id"] for row in found] == ["att_3", "att_1", None]


def test_a_timeline_is_numbered(world: World) -> None:
    add_job(world, "job_1")
    for what in ("accepted", "placed"):
        write(world, functools.partial(tables.add_event, job="job_1", what=what, now_ms=3, site="石狩"))
    events = world.database.read(lambda tx: tables.events_of(tx, "job_1", 9))
    assert [(event.what, event.time_ms, event.params) for event in events] == [
        ("accepted", 3, {"site": "石狩"}),
        ("placed", 3, {"site": "石狩"}),
    ]


def test_a_line_of_the_timeline_costs_the_same_however_many_there_are(world: World) -> None:
    """A replica that never stays up has more of them every minute: its next line reads the last one, not all."""
    add_job(world, "job_1")
    for what in ("a", "b", "c"):
        write(world, functools.partial(tables.add_event, job="job_1", what=what, now_ms=3))
    write(world, lambda tx: tx.run("delete from compute_events where job = 'job_1' and number < 3"))
    write(world, functools.partial(tables.add_event, job="job_1", what="d", now_ms=3))
    assert [event.what for event in world.database.read(lambda tx: tables.events_of(tx, "job_1", 10))] == [
        "c",
        "d",
    ]


def test_secrets_are_by_organisation_and_team(world: World) -> None:
    put = functools.partial(tables_keepsakes.put_secret, now_ms=1)
    write(world, lambda tx: put(tx, "org_a", ("s", "", b"\x00\xff")))
    write(world, lambda tx: put(tx, "org_a", ("t", "red", b"t")))
    cases = [
        (("org_a", "s", frozenset[str]()), b"\x00\xff"),
        (("org_a", "s", frozenset({"blue"})), b"\x00\xff"),
        (("org_a", "t", frozenset({"red"})), b"t"),
        (("org_a", "t", frozenset({"blue"})), None),
        (("org_a", "t", frozenset[str]()), None),
        (("org_b", "s", frozenset[str]()), None),
    ]
    for asked, value in cases:
        assert world.database.read(lambda tx, asked=asked: tables_keepsakes.secret_value(tx, *asked)) == value
    write(world, lambda tx: put(tx, "org_a", ("s", "red", b"2")))
    names = [
        (item.name, item.team)
        for item in world.database.read(lambda tx: tables_keepsakes.list_secrets(tx, "org_a"))
    ]
    assert names == [("s", "red"), ("t", "red")]
    assert write(world, lambda tx: tables_keepsakes.delete_secret(tx, "org_b", "s")) == 0
    assert write(world, lambda tx: tables_keepsakes.delete_secret(tx, "org_a", "s")) == 1


def test_an_image_points_at_its_newest_lock(world: World) -> None:
    for digest in ("sha256:1", "sha256:2"):
        write(
            world,
            functools.partial(
                tables_keepsakes.put_image, owner="org_a", name="jax", lock=(digest, 9), now_ms=4
            ),
        )
    assert world.database.read(lambda tx: tables_keepsakes.find_image(tx, "org_a", "jax")) == ("sha256:2", 9)
    assert world.database.read(lambda tx: tables_keepsakes.find_image(tx, "org_b", "jax")) is None
    (image,) = world.database.read(lambda tx: tables_keepsakes.list_images(tx, "org_a"))
    assert (image.name, image.lock, image.created_ms) == ("jax", "sha256:2", 4)
