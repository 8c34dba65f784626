"""Backup and restore: a round trip, and everything that must not be put in a database's place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sekisho.app import Control, opened
from sekisho.identity import CreateOrganisation, CreateService, CreateServiceToken, ListOrganisations
from sekisho.kernel.facts import SYSTEM, Actor
from sekisho.ledger import CheckLedger
from sekisho.server.staging import without_password
from tests.server.installation import Answer, Installation


class Copied:
    """An installation with a backup of a moment, and something done since."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.backup = installation.folder / "copy"
        self.tokens = installation.folder / "tokens"
        self.tokens.write_text("\n".join(installation.tokens) + "\n", encoding="ascii")
        self.add("Before")
        self.made = installation.run("--json", "backup", str(self.backup))
        self.published = installation.folder / "published-then"
        shutil.copytree(installation.data / "published", self.published)

    def administrator(self, control: Control) -> Actor:
        return control.sign_in.authenticate(self.installation.tokens[0], "127.0.0.1")

    def add(self, name: str) -> None:
        """Something that is recorded and published."""
        with opened(self.installation.settings) as control:
            control.gate.perform(
                self.administrator(control),
                CreateOrganisation(
                    name=name, jurisdiction="JP", parent_jurisdiction="JP", foreign_control_pct=0
                ),
            )
            while control.advance_log():
                pass

    def names(self) -> set[str]:
        """Organisations that there are."""
        with opened(self.installation.settings) as control:
            page = control.gate.perform(self.administrator(control), ListOrganisations())
        return {one.name for one in page.items}

    def forget_what_was_published(self) -> None:
        """As on a new machine that got keys and backup, and the readers' copy of that time."""
        shutil.rmtree(self.installation.data / "published")
        shutil.copytree(self.published, self.installation.data / "published")

    def restore(self, *more: str) -> Answer:
        return self.installation.run(
            "--json", *more, "restore", str(self.backup), "--tokens", str(self.tokens)
        )


@pytest.fixture
def copied(installation: Installation) -> Copied:
    assert installation.init().status == 0
    return Copied(installation)


def test_a_backup_says_what_it_is_and_what_is_not_in_it(copied: Copied) -> None:
    assert copied.made.status == 0
    manifest = json.loads((copied.backup / "manifest.json").read_text(encoding="utf-8"))
    assert manifest == copied.made.json
    assert manifest["left_out"] == ["keys", "objects", "logs"]
    assert manifest["size"] > 0
    content = b"".join(path.read_bytes() for path in copied.backup.iterdir())
    keys = [path for path in (copied.installation.data / "keys").rglob("*") if path.is_file()]
    assert [path.name for path in keys if path.read_bytes() in content] == []
    assert sorted(path.name for path in copied.backup.iterdir()) == ["database", "manifest.json"]


def test_a_backup_never_writes_over_anything(copied: Copied) -> None:
    before = (copied.backup / "manifest.json").read_bytes()
    answer = copied.installation.run("backup", str(copied.backup))
    assert answer.status != 0
    assert (copied.backup / "manifest.json").read_bytes() == before
    assert list(copied.installation.folder.glob(".*draft")) == []


def test_there_and_back(copied: Copied) -> None:
    copied.add("After")
    copied.forget_what_was_published()
    answer = copied.restore()
    assert answer.status == 0, answer.errors
    assert copied.names() == {"Office", "Before"}
    with opened(copied.installation.settings) as control:
        control.check_published()
        while control.advance_log():
            pass
        assert control.gate.perform(SYSTEM, CheckLedger()).findings == []
        row = control.database.read(
            lambda tx: tx.one("select body from ledger_bodies where id = :id", id=answer.json["record"])
        )
    assert row is not None
    record = json.loads(row["body"])
    assert record["action"] == "ledger.log.restore"
    assert len(set(record["approvers"])) == 2
    assert record["detail"]["size"] >= copied.made.json["size"]
    copied.add("Later")
    assert copied.names() == {"Office", "Before", "Later"}


def test_the_replaced_database_is_kept(copied: Copied) -> None:
    copied.add("After")
    copied.forget_what_was_published()
    kept = copied.restore().json["kept"]
    url = copied.installation.settings.database_url
    if url.startswith("sqlite:"):
        url = f"{url.rpartition('/')[0]}/{kept}"
    else:
        path, _, rest = url.partition("?")
        url = f"{path.rpartition('/')[0]}/{kept}?{rest}"
    copied.installation.write(url)
    assert copied.names() == {"Office", "Before", "After"}


def test_a_restore_behind_what_was_published_is_refused(copied: Copied) -> None:
    copied.add("After")
    answer = copied.restore()
    assert answer.status != 0
    assert "[ledger.published_ahead]" in answer.errors
    assert copied.names() == {"Office", "Before", "After"}


def test_on_a_new_machine_keys_and_backup_are_enough(copied: Copied) -> None:
    shutil.rmtree(copied.installation.data / "published")
    assert copied.restore().status == 0
    assert copied.installation.run("fsck").status == 0


def test_without_the_keys_nothing_is_restored(copied: Copied) -> None:
    shutil.move(copied.installation.data / "keys", copied.installation.folder / "elsewhere")
    answer = copied.restore()
    assert answer.status != 0
    assert "[vault.broken]" in answer.errors


def test_wrong_tokens_are_refused_and_not_repeated(copied: Copied) -> None:
    first, second = copied.installation.tokens
    for text, code in (
        (first, "restore.two_people"),
        (f"{first}\n{first}", "restore.two_people"),
        (f"{first}\n{second}\n{second[:-1]}", "restore.two_people"),
        (f"{first}\n{second[:-2]}xx", "auth.required"),
        ("", "restore.two_people"),
    ):
        copied.tokens.write_text(text, encoding="ascii")
        answer = copied.restore()
        assert answer.status != 0, code
        assert f"[{code}]" in answer.errors
        assert first not in answer.errors
    copied.tokens.unlink()
    assert copied.restore().status != 0
    assert copied.names() == {"Office", "Before"}


def test_a_program_is_not_a_second_person(copied: Copied) -> None:
    with opened(copied.installation.settings) as control:
        who = copied.administrator(control)
        organisation = control.gate.perform(who, ListOrganisations()).items[0].id
        service = control.gate.perform(who, CreateService(name="robot", organisation=organisation)).id
        secret = control.gate.perform(who, CreateServiceToken(service=service, label="x")).secret
    shutil.rmtree(copied.backup)
    assert copied.installation.run("backup", str(copied.backup)).status == 0
    copied.tokens.write_text(f"{copied.installation.tokens[0]}\n{secret}\n", encoding="ascii")
    answer = copied.restore()
    assert "[restore.two_people]" in answer.errors


@pytest.mark.parametrize("damage", ["flipped", "short", "no database", "no manifest", "bad manifest"])
def test_a_damaged_backup_is_refused(copied: Copied, damage: str) -> None:
    copy, manifest = copied.backup / "database", copied.backup / "manifest.json"
    content = bytearray(copy.read_bytes())
    match damage:
        case "flipped":
            content[len(content) // 2] ^= 1
            copy.write_bytes(content)
        case "short":
            copy.write_bytes(content[:-100])
        case "no database":
            copy.unlink()
        case "no manifest":
            manifest.unlink()
        case _:
            manifest.write_text(
                manifest.read_text(encoding="utf-8").replace('"size"', '"length"'), encoding="utf-8"
            )
    answer = copied.restore()
    assert answer.status != 0
    assert "[backup.unreadable]" in answer.errors
    assert copied.names() == {"Office", "Before"}


def test_a_backup_of_another_log_is_refused(copied: Copied) -> None:
    url = copied.installation.settings.database.url
    copied.installation.write(url, origin="example.invalid/other")
    answer = copied.restore()
    assert "[backup.foreign]" in answer.errors


def test_a_restore_while_a_server_has_the_database_is_refused(copied: Copied) -> None:
    with opened(copied.installation.settings):
        answer = copied.restore()
    assert answer.status == 7
    assert "[restore.in_use]" in answer.errors
    assert copied.names() == {"Office", "Before"}


@pytest.mark.database("sqlite")
def test_a_broken_database_is_no_obstacle(copied: Copied) -> None:
    """The day on which a restore is needed."""
    file = Path(copied.installation.settings.database_url.removeprefix("sqlite:"))
    file.write_bytes(b"not a database" * 1000)
    for end in ("-wal", "-shm"):
        file.with_name(file.name + end).unlink(missing_ok=True)
    assert copied.restore().status == 0
    assert copied.names() == {"Office", "Before"}


@pytest.mark.database("sqlite")
def test_nothing_is_left_lying_about(copied: Copied) -> None:
    file = Path(copied.installation.settings.database_url.removeprefix("sqlite:"))
    copied.tokens.write_text("neither\nnor\n", encoding="ascii")
    copied.restore()
    assert [path.name for path in file.parent.glob("*restoring*")] == []


def test_a_password_is_not_in_a_command_line() -> None:
    shown, secrets = without_password("postgresql://me:s3%2Fcret@db.example:5432/x?sslmode=verify-full")
    assert shown == "postgresql://me@db.example:5432/x?sslmode=verify-full"
    assert secrets == {"PGPASSWORD": "s3/cret"}
    assert without_password("postgresql://me@/x?host=%2Frun") == ("postgresql://me@/x?host=%2Frun", {})
