"""Where the server is and who asks: options, environment, then one file that only its owner can read.

A token from the file is sent to the server it was stored for and to no other, so that `--url` cannot carry it
to a stranger.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from sekisho_client.refusals import Refused

NAMES = ("url", "token", "language", "certificates", "custodian")
CUSTODIAN_VARIABLE = "SEKISHO_CUSTODIAN_URL"
LANGUAGES = ("en", "ja")
_OTHERS = 0o077
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Settings(NamedTuple):
    """What one run of the client goes by. `certificates` is a PEM file of authorities to trust instead.

    `custodian` is the address of the person's own keys: a server that names another one is not followed there.
    """

    url: str
    token: str
    language: str
    certificates: str
    custodian: str
    source: Mapping[str, str]
    """Where each of them comes from: option, environment, file, default."""


def path(environment: Mapping[str, str]) -> Path:
    """The file: `SEKISHO_CONFIG`, else below the user's configuration folder."""
    if environment.get("SEKISHO_CONFIG"):
        return Path(environment["SEKISHO_CONFIG"])
    base = environment.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "sekisho" / "config.json"


def read(file: Path) -> dict[str, str]:
    """What the file holds, or nothing when there is none; Refused when it is not a safe one."""
    try:
        with file.open("rb") as opened:
            status = os.fstat(opened.fileno())
            if status.st_mode & _OTHERS or status.st_uid != os.geteuid():
                raise Refused("config.exposed", path=str(file), hint=f"chmod 600 {file}")
            value = json.loads(opened.read())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        raise Refused("config.malformed", path=str(file)) from None
    if not isinstance(value, dict) or not all(
        name in NAMES and isinstance(text, str) for name, text in value.items()
    ):
        raise Refused("config.malformed", path=str(file))
    return value


def write(file: Path, values: Mapping[str, str]) -> None:
    """Replace the file in one step, with a mode that never was wider than 0600."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".config-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            json.dump(dict(sorted(values.items())), opened, ensure_ascii=False, indent=1)
            opened.write("\n")
            opened.flush()
            os.fsync(opened.fileno())
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load(environment: Mapping[str, str], *, url: str = "", language: str = "") -> Settings:
    """The settings of this run; `url` and `language` are what options said."""
    stored = read(path(environment))
    source = {}
    chosen_url, source["url"] = _first(
        ("option", url), ("environment", environment.get("SEKISHO_URL", "")), ("file", stored.get("url", ""))
    )
    token = environment.get("SEKISHO_TOKEN", "")
    source["token"] = "environment" if token else ""
    if not token and stored.get("token") and chosen_url.rstrip("/") == stored.get("url", "").rstrip("/"):
        token, source["token"] = stored["token"], "file"
    spoken, source["language"] = _first(
        ("option", language),
        ("environment", language_of(environment)),
        ("file", stored.get("language", "")),
        ("default", "en"),
    )
    certificates, source["certificates"] = _first(
        ("environment", environment.get("SEKISHO_CERTIFICATES", "")), ("file", stored.get("certificates", ""))
    )
    custodian, source["custodian"] = _first(
        ("environment", environment.get(CUSTODIAN_VARIABLE, "")), ("file", stored.get("custodian", ""))
    )
    return Settings(chosen_url, token, spoken, certificates, custodian, source)


def language_of(environment: Mapping[str, str]) -> str:
    """`SEKISHO_LANG`, else the locale's; nothing when it is neither Japanese nor English."""
    for name in ("SEKISHO_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        text = environment.get(name, "")
        if text:
            return text[:2].lower() if text[:2].lower() in LANGUAGES else ""
    return ""


def check_url(url: str) -> str:
    """The address without a trailing slash; Refused for plain HTTP off this machine and for what is no address."""
    if not url:
        raise Refused("config.no_server", hint="sekisho login --url https://...")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise Refused("client.address", url=url) from None
    plain = parts.scheme == "http" and is_loopback(host)
    other = parts.username or parts.password or parts.query or parts.fragment
    if not host or other or not (plain or parts.scheme == "https"):
        # What stands before an @ may be a password.
        raise Refused("client.address", url=f"{parts.scheme}://{host}" if host else url.rpartition("@")[2])
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host name means this machine."""
    return host in _LOOPBACK or (host.startswith("127.") and host.replace(".", "").isdecimal())


def _first(*candidates: tuple[str, str]) -> tuple[str, str]:
    return next(((value, name) for name, value in candidates if value), ("", ""))
