"""Where server and token come from, and that a token never goes where it was not meant for."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from sekisho_client import settings
from sekisho_client.refusals import Refused
from tests.client.conftest import Ran
from tests.http.toyserver import Served

Run = Callable[..., Ran]


def test_the_order_of_sources(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    settings.write(file, {"url": "https://file.example", "token": "t", "language": "ja"})
    base = {"SEKISHO_CONFIG": str(file)}
    assert settings.load(base)[:3] == ("https://file.example", "t", "ja")
    asked = settings.load(
        {**base, "SEKISHO_URL": "https://env.example", "SEKISHO_TOKEN": "e", "LANG": "en_GB.UTF-8"}
    )
    assert asked[:3] == ("https://env.example", "e", "en")
    assert asked.source == {
        "url": "environment",
        "token": "environment",
        "language": "environment",
        "certificates": "",
        "custodian": "",
    }
    assert settings.load(base, url="https://option.example", language="en").source["language"] == "option"


def test_a_stored_token_goes_to_its_own_server_only(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    settings.write(file, {"url": "https://mine.example", "token": "secret"})
    base = {"SEKISHO_CONFIG": str(file)}
    assert settings.load(base, url="https://mine.example/").token == "secret"
    for other in ("https://mine.example.evil.example", "https://other.example", "https://mine.example:444"):
        assert settings.load(base, url=other).token == ""
    assert settings.load({**base, "SEKISHO_URL": "https://other.example"}).token == ""


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "config.json"
    settings.write(file, {"url": "https://mine.example", "token": "secret"})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(mode)
    with pytest.raises(Refused) as refused:
        settings.read(file)
    assert refused.value.code == "config.exposed"
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"token": 1}', '{"tokn": "x"}', "\xff"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.json"
    file.touch(0o600)
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(Refused) as refused:
        settings.read(file)
    assert refused.value.code == "config.malformed"


def test_a_broken_file_does_not_keep_help_away(run: Run, home: Path) -> None:
    home.parent.mkdir()
    home.write_text("{")
    assert run("--help").status == 0
    assert run("config", "--json").problem["code"] in {"config.exposed", "config.malformed"}


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({"SEKISHO_LANG": "ja", "LANG": "en_US.UTF-8"}, "ja"),
        ({"LC_ALL": "ja_JP.UTF-8", "LANG": "en_US"}, "ja"),
        ({"LC_MESSAGES": "ja_JP", "LANG": "en_US"}, "ja"),
        ({"LANG": "fr_FR.UTF-8"}, ""),
        ({"LANG": "C"}, ""),
        ({}, ""),
    ],
)
def test_the_language_of_an_environment(environment: dict[str, str], language: str) -> None:
    assert settings.language_of(environment) == language


def test_config_keeps_and_forgets(run: Run, home: Path) -> None:
    assert run("config", "set", "language", "ja").status == 0
    assert run("config", "set", "url", "https://one.example/").status == 0
    stored = json.loads(home.read_text())
    assert stored == {"language": "ja", "url": "https://one.example"}
    settings.write(home, {**stored, "token": "secret"})
    shown = run("config", "--json").json
    assert {row["name"]: row["value"] for row in shown["items"]}["token"] == "***"
    assert "secret" not in json.dumps(shown)
    assert run("config", "set", "url", "https://two.example").status == 0
    assert "token" not in json.loads(home.read_text())
    assert run("config", "set", "language", "").status == 0
    assert "language" not in json.loads(home.read_text())


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("language", "fr", "config.value"),
        ("url", "http://example.com", "client.address"),
        ("certificates", "/nonexistent.pem", "input.no_file"),
        ("custodian", "http://example.com", "client.address"),
        ("token", "x", "input.bad_value"),
    ],
)
def test_config_refuses(run: Run, home: Path, *, name: str, value: str, code: str) -> None:
    assert run("config", "set", name, value, "--json").problem["code"] == code
    assert not home.exists()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("localhost:7620", "localhost:7620 is"),
        ("ann:secret@keys.example", "keys.example is"),
        ("//x", "://x is"),
    ],
)
def test_an_address_without_a_scheme_is_shown_as_it_was_written(run: Run, value: str, shown: str) -> None:
    said = run("config", "set", "custodian", value, "--json").problem
    assert said["code"] == "client.address"
    assert said["detail"].startswith(shown)


@pytest.mark.usefixtures("toy_catalogue")
def test_login_and_logout(server: Served, run: Run, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("ann-token\n")
    assert run("login", "--url", server.url, "--token-file", str(file)).status == 0
    assert json.loads(home.read_text()) == {"token": "ann-token", "url": server.url}
    assert run("things").status == 0
    assert run("status", "--json").json["token"] == "file"
    assert run("logout").status == 0
    assert json.loads(home.read_text()) == {"url": server.url}
    assert run("things").status == 4
    assert run("logout").status == 0


def test_login_without_a_terminal_needs_a_file(
    server: Served, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert run("login", "--url", server.url, "--json").problem["code"] == "input.missing"


@pytest.mark.parametrize("token", ["", "two words", "ü", "a\x07b"])
def test_what_cannot_be_a_token_is_not_kept(
    server: Served, run: Run, home: Path, *, tmp_path: Path, token: str
) -> None:
    file = tmp_path / "token"
    file.write_text(token)
    problem = run("login", "--url", server.url, "--token-file", str(file), "--json").problem
    assert problem["code"] in {"config.value", "input.missing"}
    assert not home.exists()


def test_status_of_a_server_that_is_not_ready(ann: Served, run: Run) -> None:
    assert run("status").status == 0
    ann.ready["charter"] = False
    try:
        ran = run("status")
        assert ran.status == 7
        assert "Not ready: charter" in ran.out
        value = json.loads(run("status", "--json").out)
        assert (value["ready"], value["checks"]["charter"]) == (False, False)
    finally:
        ann.ready["charter"] = True
