"""Stop it anywhere, then look: nothing half done, nothing acknowledged and lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sekisho.kernel.facts import SYSTEM
from sekisho.kernel.tx import Tx
from sekisho.ledger import EraseRecord, RotateKey, SequenceBatch, SignCheckpoint
from tests.ledger.world import World, draft, opened
from tests.support.databases import ROOT

KILLS = 20


class _StopError(Exception):
    """The process stops at this statement."""


@pytest.fixture
def stop_at(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Raise at the nth statement of all transactions of the world's database from now on; 0 for never.

    The database is known by its own map of keys: the installations of other tests, which may run in other threads
    of this process, are neither counted nor stopped.
    """
    left = [0]
    keys = world.database.read(lambda tx: tx.keys)
    assert world.database.write(lambda tx: tx.keys) is keys

    def counting(name: str) -> None:
        real = getattr(Tx, name)

        def counted(self: Tx, *arguments: Any) -> Any:
            if self.keys is keys:
                left[0] -= 1
                if left[0] == 0:
                    raise _StopError
            return real(self, *arguments)

        monkeypatch.setattr(Tx, name, counted)

    counting("_run")
    counting("run_many")

    def set_to(place: int) -> None:
        left[0] = place

    yield set_to
    left[0] = 0


def _bulk(world: World) -> None:
    records = [draft(number, stream=f"job_{number % 2}") for number in range(300)]
    world.database.write(lambda tx: world.ledger.append(tx, *records))


def _erase(world: World) -> None:
    world.put("job_e")
    record = world.rows("select min(id) as id from ledger_bodies")[0]["id"]
    world.together(EraseRecord(record=record, reason="test"))


STEPS: dict[str, Callable[[World], Any]] = {
    "put": lambda world: world.put("job_a", 1),
    "drop": lambda world: world.drop("job_a"),
    "bulk": _bulk,
    "sequence": lambda world: world.gate.perform(SYSTEM, SequenceBatch()),
    "sign": lambda world: world.gate.perform(SYSTEM, SignCheckpoint()),
    "close": lambda world: world.close("job_a"),
    "erase": _erase,
    "rotate": lambda world: world.together(RotateKey(vkey=world.keys.add(), reason="test")),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_stop_at_any_statement_leaves_nothing_half_done(
    world: World, stop_at: Callable[[int], None], step: str
) -> None:
    world.put("job_a")
    world.put("job_b")
    world.sequence()
    world.put("job_c")
    place = 0
    while True:
        place += 1
        stop_at(place)
        try:
            STEPS[step](world)
            stopped = False
        except _StopError:
            stopped = True
        stop_at(0)
        assert not world.check().findings
        if not stopped:
            break
    world.sequence()
    assert not world.check().findings
    assert place > 1


def test_kills_at_random_moments_lose_nothing(db_url: str, tmp_path: Path) -> None:
    """Twenty processes in a row on one database and one published folder, each killed while it works."""
    with opened(db_url, tmp_path):
        pass
    seen: set[str] = set()
    for number in range(KILLS):
        seen |= _killed_child(db_url, tmp_path, number)
        with opened(db_url, tmp_path) as world:
            assert world.check().findings == []
            world.publisher()
    assert len(seen) > KILLS
    with opened(db_url, tmp_path) as world:
        world.clock.advance(10**9)  # type: ignore[attr-defined] - the world gave a manual clock
        world.sequence()
        world.publish()
        assert world.check().findings == []
        logged = world.rows("select b.body from ledger_bodies b join ledger_entries e on e.id = b.id")
        records = [json.loads(row["body"]) for row in logged]
        assert seen <= {f"{record['action']} {record['resource']['id']}\n" for record in records}


def _killed_child(url: str, folder: Path, number: int) -> set[str]:
    """What a child acknowledged before it was killed, between 0 and 0.15 s after its first word."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.ledger.child", url, str(folder), str(number * 1_000_000)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines: list[str] = []
    assert child.stdout is not None
    assert child.stderr is not None
    first = child.stdout.readline()
    reader = threading.Thread(target=lambda: lines.extend(child.stdout or ()))
    reader.start()
    time.sleep((number * 37 % 150) / 1000)
    ended = child.poll()
    child.kill()
    child.wait(30)
    reader.join(30)
    assert ended is None, child.stderr.read()
    child.stdout.close()
    child.stderr.close()
    return {line for line in (first, *lines) if line.endswith("\n")}
