"""Settings: one place, unknown names refused, secrets never shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.kernel import config
from sekisho.kernel.config import Settings, load, shown
from sekisho.kernel.errors import SekishoError
from sekisho_wire.problems import Language


def written(folder: Path, text: str) -> Path:
    file = folder / "sekisho.toml"
    file.write_text(text, encoding="utf-8")
    return file


def refused(file: Path | None, environment: dict[str, str]) -> tuple[str, dict[str, Any]]:
    with pytest.raises(SekishoError) as caught:
        load(file, environment)
    error = caught.value
    if error.code == "config.invalid":
        japanese = str(error.filled(Language.JA)["what"])
        assert not japanese.isascii()
        assert "Expected" not in japanese
    return error.code, error.params


def test_nothing_set_is_the_defaults() -> None:
    settings = load(None, {"PATH": "/bin", "HOME": "/root"})
    assert settings == Settings()
    assert settings.database_url == "sqlite:var/sekisho.db"
    assert settings.objects_url.startswith("file:///")
    assert settings.server.host == "127.0.0.1"


def test_the_environment_goes_over_the_file(tmp_path: Path) -> None:
    file = written(
        tmp_path, 'country = "DE"\n[ledger]\norigin = "a"\ninterval_ms = 7\n[log]\nlevel = "debug"\n'
    )
    settings = load(file, {"SEKISHO_LEDGER_INTERVAL_MS": "9", "SEKISHO_DATABASE_URL": "sqlite:/x"})
    assert (settings.country, settings.ledger.origin, settings.log.level) == ("DE", "a", "debug")
    assert settings.ledger.interval_ms == 9
    assert settings.database_url == "sqlite:/x"


@pytest.mark.parametrize(
    "text",
    ["colour = 1\n", "[server]\ncolour = 1\n", "[colour]\na = 1\n", "[server.more]\na = 1\n"],
)
def test_an_unknown_name_in_the_file_is_refused(tmp_path: Path, text: str) -> None:
    assert refused(written(tmp_path, text), {})[0] == "config.invalid"


@pytest.mark.parametrize(
    "name",
    [
        "SEKISHO_COLOUR",
        "SEKISHO_SERVER_COLOUR",
        "SEKISHO_SERVER",
        "SEKISHO_",
        "SEKISHO_DATABASE",
        "SEKISHO_LEDGER_INTERVAL",
        "SEKISHO_SERVER__PORT",
    ],
)
def test_an_unknown_variable_is_refused_by_its_name(name: str) -> None:
    code, params = refused(None, {name: "x"})
    assert (code, params["name"]) == ("config.invalid", name)


def test_variables_of_other_programs_are_not_settings() -> None:
    others = dict.fromkeys(
        ["SEKISHO_DATA", "SEKISHO_LANG", "SEKISHO_TOKEN", "SEKISHO_URL", "SEKISHO_CONFIG"], "x"
    )
    assert load(None, others) == Settings()


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"SEKISHO_SERVER_PORT": "65536"}, "server.port"),
        ({"SEKISHO_SERVER_PORT": "http"}, "server.port"),
        ({"SEKISHO_LEDGER_INTERVAL_MS": "4"}, "ledger.interval_ms"),
        ({"SEKISHO_COMPUTE_LEASE_SECONDS": "1"}, "compute.lease_seconds"),
        ({"SEKISHO_ENVIRONMENT": "test"}, "environment"),
        ({"SEKISHO_COUNTRY": "Japan"}, "country"),
        ({"SEKISHO_LOG_LEVEL": "loud"}, "log.level"),
        ({"SEKISHO_OIDC_ROLES": "engineer"}, "oidc.roles"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(environment: dict[str, str], name: str) -> None:
    code, params = refused(None, environment)
    assert (code, params["name"]) == ("config.invalid", name)


@pytest.mark.parametrize("wrong", ["", "AB" * 32, "ab" * 31, "ab" * 48 + "\\n", "0x" + "ab" * 31])
def test_a_measurement_is_hexadecimal_of_one_of_two_lengths(tmp_path: Path, wrong: str) -> None:
    """One that no token could ever carry would look as if a machine were known."""
    file = written(tmp_path, f'[sites]\nmeasurements = ["{"ab" * 48}", "{"cd" * 32}"]\n')
    assert load(file, {}).sites.measurements == ("ab" * 48, "cd" * 32)
    assert refused(written(tmp_path, f'[sites]\nmeasurements = ["{wrong}"]\n'), {})[0] == "config.invalid"


def test_a_value_in_a_tables_place_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "server = 3\n")
    assert refused(file, {})[0] == "config.invalid"
    assert refused(file, {"SEKISHO_SERVER_PORT": "1"})[0] == "config.invalid"


@pytest.mark.parametrize("content", [b"a = = 1", b"\xff\xfe", b'data = "a', b"data = 'x'\ndata = 'y'"])
def test_a_file_that_cannot_be_read_is_named_without_its_path(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "sekisho.toml"
    file.write_bytes(content)
    code, params = refused(file, {})
    assert (code, params["file"]) == ("config.unreadable", "sekisho.toml")


def test_a_file_that_is_not_there_is_an_error() -> None:
    assert refused(Path("/nowhere/sekisho.toml"), {})[0] == "config.unreadable"


@given(secret=st.text(alphabet=st.characters(categories=["L", "N"]), min_size=12, max_size=40))
def test_no_secret_is_shown(secret: str) -> None:
    secret = "x9-" + secret
    environment = {
        "SEKISHO_DATABASE_URL": f"postgresql://u:{secret}@h/d",
        "SEKISHO_OIDC_CLIENT_SECRET": secret,
    }
    values = shown(load(None, environment))
    assert secret not in str(values)
    assert (values["database"]["url"], values["oidc"]["client_secret"]) == (config.HIDDEN, config.HIDDEN)


def test_every_setting_is_shown_and_those_that_sound_secret_are_hidden() -> None:
    values = shown(Settings())
    assert set(values) == {field.name for field in msgspec.structs.fields(Settings)}
    assert values["database"]["url"] == "", "what is not set is not hidden"
    names = {
        f"{section}.{name}" for section, inner in values.items() if isinstance(inner, dict) for name in inner
    }
    assert names >= config.SECRET
    assert {
        name for name in names if any(word in name for word in ("secret", "password", "token"))
    } <= config.SECRET


def test_the_file_that_is_named_goes_before_the_one_that_lies_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEKISHOD_CONFIG", raising=False)
    assert config.default_file() is None
    written(tmp_path, "")
    assert config.default_file() == Path("sekisho.toml")
    monkeypatch.setenv("SEKISHOD_CONFIG", "/etc/other.toml")
    assert config.default_file() == Path("/etc/other.toml")
