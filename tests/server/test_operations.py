"""What an operator does before and beside serving: init, migrate, fsck, doctor, config."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sekisho import charter
from sekisho.app import opened
from sekisho.kernel.clock import ManualClock, SystemClock
from sekisho.kernel.facts import SYSTEM
from sekisho.ledger import SequenceBatch
from tests.charter import yard
from tests.server.installation import Installation


def test_init_makes_an_installation_that_is_in_order(installation: Installation) -> None:
    answer = installation.init()
    assert answer.status == 0
    assert len(set(installation.tokens)) == 2
    assert (installation.data / "trust.json").is_file()
    checked = installation.run("--json", "fsck")
    assert (checked.status, checked.json["findings"]) == (0, [])
    assert checked.json["records"] > 0
    with opened(installation.settings) as control:
        assert control.ready() == {"database": True, "charter": True}
        assert (installation.data / "orders.pub").read_text().strip() == control.seals.public_key


def test_the_keys_of_an_installation_are_its_owners_alone(installation: Installation) -> None:
    installation.init()
    keys = [path for path in (installation.data / "keys").rglob("*") if path.is_file()]
    assert keys
    assert {oct(path.stat().st_mode & 0o777) for path in keys} == {"0o600"}


def test_init_twice_is_refused_and_changes_nothing(installation: Installation) -> None:
    installation.init()
    trust = (installation.data / "trust.json").read_bytes()
    records = installation.run("--json", "fsck").json["records"]
    again = installation.run("init", "--organisation", "Other", "--admin", "A", "--admin", "B")
    assert again.status != 0
    assert "[ledger.key_exists]" in again.errors
    assert "hint: There is an installation already" in again.errors
    assert (installation.data / "trust.json").read_bytes() == trust
    assert installation.run("--json", "fsck").json["records"] == records


def test_init_needs_two_administrators(installation: Installation) -> None:
    answer = installation.run("init", "--organisation", "Office", "--admin", "Alone")
    assert answer.status == 2
    assert "[input.invalid]" in answer.errors
    assert not (installation.data / "keys").exists()


def test_doctor_says_what_is_missing_before_init_and_that_nothing_is_after(
    installation: Installation,
) -> None:
    before = installation.run("--json", "doctor")
    assert before.status == 1
    assert before.json["keys"]["ok"] is False
    installation.init()
    after = installation.run("--json", "doctor")
    assert {name for name, check in after.json.items() if not check["ok"]} <= {"disk"}
    assert after.json["charter"] == {"ok": True, "detail": "active"}


def test_doctor_says_when_the_clock_is_behind_the_newest_record(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = ManualClock(SystemClock().now_ms() + 3_600_000)
    with monkeypatch.context() as patched:
        patched.setattr("sekisho.app.SystemClock", lambda: ahead)
        installation.init()
        assert installation.run("--json", "doctor").json["clock"]["ok"] is True
    found = installation.run("--json", "doctor")
    assert found.status == 1
    assert found.json["clock"]["ok"] is False
    assert "before the newest record" in found.json["clock"]["detail"]


def test_doctor_names_the_commands_that_the_charter_in_force_does_not_know(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.init()
    assert installation.run("--json", "doctor").json["commands"]["ok"] is True
    more = (*charter.program_specs(), yard.spec("yard.lamp.light", "administer", resource="Account"))
    monkeypatch.setattr("sekisho.charter.actions.program_specs", lambda: more)
    found = installation.run("--json", "doctor")
    assert found.status == 1
    assert found.json["commands"] == {
        "ok": False,
        "detail": "closed until a charter drafted today is active: yard.lamp.light",
    }
    monkeypatch.setattr("sekisho.charter.actions.program_specs", tuple)
    assert "does not validate" in installation.run("--json", "doctor").json["commands"]["detail"]


def test_config_show_hides_secrets_and_shows_the_rest(installation: Installation) -> None:
    installation.write(
        "postgresql://someone:s3cret-word@db.invalid/sekisho",
        more='[oidc]\nissuer = "https://id.example"\nclient_secret = "another-s3cret"',
    )
    for words in (("config",), ("--json", "config"), ("config", "show")):
        answer = installation.run(*words)
        assert answer.status == 0
        assert "s3cret" not in answer.output + answer.errors
        assert "https://id.example" in answer.output
        assert "(hidden)" in answer.output


def test_an_unknown_setting_is_refused_by_name(installation: Installation) -> None:
    installation.write("", more="[telemetry]\nlevel = 1")
    answer = installation.run("config")
    assert answer.status == 2
    assert "telemetry" in answer.errors
    assert "[config.invalid]" in answer.errors


def test_migrate_applies_once(installation: Installation, tmp_path: Path) -> None:
    installation.write(f"sqlite:{tmp_path / 'empty.db'}")
    first = installation.run("--json", "migrate")
    assert first.status == 0
    assert "kernel/0001_kernel.sql" in first.json["applied"]
    assert installation.run("--json", "migrate").json["applied"] == []


@pytest.mark.database("sqlite")
def test_a_second_process_on_the_sqlite_file_is_refused(installation: Installation) -> None:
    installation.init()
    with opened(installation.settings):
        for verb in ("fsck", "migrate", "serve"):
            done = subprocess.run(
                [sys.executable, "-m", "sekisho.server", "--config", str(installation.file), verb],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 7, done.stderr
            assert "[database.in_use]" in done.stderr


def test_a_published_log_that_the_database_does_not_hold_is_not_continued(
    installation: Installation,
) -> None:
    """The published head is set beyond the database: serving stops before it starts."""
    installation.init()
    with opened(installation.settings) as control:
        assert control.gate.perform(SYSTEM, SequenceBatch()).taken == 0
        head = installation.data / "published" / "checkpoint"
        text = head.read_text(encoding="utf-8")
        head.write_text(text.replace(text.splitlines()[1], "9999999", 1), encoding="utf-8")
    answer = installation.run("serve")
    assert answer.status != 0
    assert "[ledger.published_" in answer.errors
