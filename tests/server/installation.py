"""An installation that `sekishod` itself makes, for the tests of its commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sekisho.kernel import config
from sekisho.server.commands import main


class Answer(NamedTuple):
    """What a command left: exit status, standard output, standard error."""

    status: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        """The answer of a command that was asked for JSON."""
        return json.loads(self.output)


class Installation:
    """A data folder with its settings file. Commands run in this process, as `sekishod` would run them."""

    def __init__(self, folder: Path, db_url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.file = folder / "sekisho.toml"
        self._capsys = capsys
        self.write(db_url)
        self.tokens: list[str] = []

    def write(self, db_url: str, *, origin: str = "example.invalid/server", more: str = "") -> None:
        """The settings file; `db_url` empty for the embedded database."""
        lines = [f'data = "{self.data}"', "[database]", f'url = "{db_url}"', "[server]", "port = 0"]
        lines += ["[ledger]", f'origin = "{origin}"', more]
        self.file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @property
    def settings(self) -> config.Settings:
        return config.load(self.file, {})

    def run(self, *words: str) -> Answer:
        """`sekishod` with these words; the status is 2 where the command line itself was refused."""
        self._capsys.readouterr()
        try:
            status = main(["--config", str(self.file), "--lang", "en", *words])
        except SystemExit as refused:
            status = int(str(refused.code))
        captured = self._capsys.readouterr()
        return Answer(status, captured.out, captured.err)

    def init(self) -> Answer:
        """A new installation with two administrators, whose tokens are kept here."""
        answer = self.run(
            *("--json", "init", "--organisation", "Office", "--admin", "First", "--admin", "Second")
        )
        if answer.status == 0:
            self.tokens = [one["token"] for one in answer.json["administrators"]]
        return answer
