"""Kill -9 at random moments of gate, sequencer and publisher: nothing answered is lost, nothing half done stays."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sekisho import identity
from sekisho.app import Control, initialise, opened
from sekisho.identity import CreateOrganisation, CreateService, GrantRole
from sekisho.kernel import config
from sekisho.kernel.facts import SYSTEM, Actor
from sekisho.ledger import CheckLedger
from sekisho.sites import Fact, RegisterSite
from tests.journeys.killed import Launcher, Plan, launching
from tests.journeys.world import founding, settings_in, settle_log, until

KILLS = 200
CHECK_EVERY = 20
START_SECONDS, WORK_SECONDS = 0.2, 0.2
LOGGED = "select id from ledger_entries order by log_index"


class Scene:
    """An installation whose servers are killed, and what they had promised by then."""

    def __init__(self, plan: Plan, launcher: Launcher) -> None:
        self.plan = plan
        self.launcher = launcher
        self.chance = random.Random(20)

    @property
    def answered(self) -> list[str]:
        """Records of commands that were answered."""
        return Path(self.plan.answered).read_text(encoding="ascii").split()

    def kill_once(self) -> None:
        """Half of the kills fall anywhere from the first instruction on, half into the thick of the work."""
        child = self.launcher.go()
        if self.chance.random() < 0.5:
            time.sleep(self.chance.uniform(0, START_SECONDS))
        else:
            self.wait_for_work(child)
            time.sleep(self.chance.uniform(0, WORK_SECONDS))
        self.kill(child)

    def wait_for_work(self, child: int) -> None:
        """Until the next command is answered; a child that is gone before answers no more."""
        file, status = Path(self.plan.answered), Path(f"/proc/{child}/stat")
        before = file.stat().st_size
        until(
            lambda: file.stat().st_size > before or ") Z " in status.read_text(),
            seconds=60,
            what="an answered command",
        )

    def kill(self, child: int) -> None:
        """A child that ended by itself broke, which is a failure of its own."""
        os.kill(child, signal.SIGKILL)
        assert self.launcher.gone(child) == signal.SIGKILL

    def check(self) -> int:
        """Reopen, finish the log, look at everything; answers how many records there are."""
        answered = self.answered
        with opened(self.plan.settings) as control:
            control.check_published()
            settle_log(control)
            report = control.gate.perform(SYSTEM, CheckLedger())
            logged = {row["id"] for row in control.database.read(lambda tx: tx.all(LOGGED))}
        assert report.findings == []
        assert report.waiting == 0
        assert [record for record in answered if record not in logged] == []
        return report.records


@pytest.fixture
def scene(tmp_path: Path, db_url: str) -> Iterator[Scene]:
    settings = settings_in(tmp_path, db_url)
    with contextlib.ExitStack() as stack:
        genesis = initialise(settings, founding())
        engineers = _engineers(settings, genesis)
        plan = Plan(settings, engineers, str(tmp_path / "answered"))
        Path(plan.answered).touch()
        yield Scene(plan, stack.enter_context(launching(plan, tmp_path / "children.log")))


def _engineers(settings: config.Settings, genesis: identity.Genesis) -> tuple[str, str]:
    """Two organisations with an engineer each, and a site that one of them offers."""
    with opened(settings) as control:
        administrator = control.sign_in.authenticate(genesis.administrators[0].token, "127.0.0.1")
        first, second = (_engineer(control, administrator, name) for name in ("Ours", "Theirs"))
        control.gate.perform(
            administrator,
            RegisterSite(
                name="tokyo", operator=genesis.organisation, country=Fact(value="JP"), cpus=2, stand_in=True
            ),
        )
    return first, second


def _engineer(control: Control, administrator: Actor, name: str) -> str:
    perform = control.gate.perform
    organisation = perform(
        administrator,
        CreateOrganisation(name=name, jurisdiction="JP", parent_jurisdiction="JP", foreign_control_pct=0),
    )
    service = perform(administrator, CreateService(name=name.lower(), organisation=organisation.id)).id
    perform(administrator, GrantRole(account=service, role="engineer"))
    return service


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hundred_kills_lose_nothing_that_was_answered(scene: Scene) -> None:
    for number in range(1, KILLS + 1):
        scene.kill_once()
        if number % CHECK_EVERY == 0:
            scene.check()
    records = scene.check()
    assert records > KILLS
    assert len(set(scene.answered)) > KILLS


@pytest.mark.slow
@pytest.mark.database("postgres")
def test_two_processes_writing_at_once_lose_no_record(scene: Scene) -> None:
    """Both run the loops: one log, one sequencer at a time, no gap and no record left behind."""
    for _ in range(3):
        children = [scene.launcher.go(), scene.launcher.go()]
        for child in children:
            scene.wait_for_work(child)
        time.sleep(scene.chance.uniform(0.3, 0.7))
        for child in children:
            scene.kill(child)
    scene.check()
