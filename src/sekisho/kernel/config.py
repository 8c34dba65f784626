"""All settings in one place: a TOML file, then the environment on top. Unknown names are refused.

`SEKISHO_DATABASE_URL` sets `database.url`. Secrets are marked, so that `sekishod config show` never prints one.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, dataclass_transform

import msgspec
from msgspec import Meta

from sekisho.kernel.errors import SekishoError
from sekisho_wire import problems
from sekisho_wire.complaints import in_words
from sekisho_wire.problems import Exit, Text

PREFIX = "SEKISHO_"
FILE_NAME = "sekisho.toml"
HIDDEN = "(hidden)"

_NOT_SETTINGS = frozenset({"SEKISHO_DATA", "SEKISHO_LANG", "SEKISHO_TOKEN", "SEKISHO_URL", "SEKISHO_CONFIG"})
"""Variables of other programs that share the prefix. SEKISHO_DATA would be the setting `data`: it names the folder of
input data where a machine lends one, so the data folder is set in the file only."""

INVALID = problems.define(
    "config.invalid",
    400,
    Exit.USAGE,
    Text("Setting {name}: {what}", "設定{name}：{what}"),
)
_NEEDS_TABLE = Text("needs a table of settings", "設定の表が必要です")
_NO_SUCH = Text("there is no such setting", "そのような設定はありません")
UNREADABLE = problems.define(
    "config.unreadable",
    400,
    Exit.USAGE,
    Text("The settings in {file} cannot be read: {what}", "設定ファイル{file}を読み取れません：{what}"),
)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file."""


class Server(_Section):
    """Where the control plane listens."""

    host: str = "127.0.0.1"
    """Address to listen on. Off loopback a certificate is required."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 7600
    """Port to listen on; 0 takes a free one."""
    certificate: str = ""
    """PEM file of the TLS certificate chain."""
    key: str = ""
    """PEM file of the TLS key, readable by its owner only."""
    public_url: str = ""
    """How others reach this server, when that differs from the address it listens on."""


class Database(_Section):
    """Where decisions, queue and ledger are kept."""

    url: str = ""
    """PostgreSQL connection string; empty for the SQLite file in the data folder. Never printed."""


class Witness(_Section):
    """Somebody outside who cosigns the log's checkpoints."""

    name: Annotated[str, Meta(pattern=r"^[!-~]{1,100}\Z")]
    """What logs, metrics and `sekishod doctor` call it."""
    url: str
    """Where it answers; `/add-checkpoint` is put behind it. HTTPS off loopback."""
    vkey: str
    """Its verifier key (`name+id+base64`), as its operator handed it over."""


class TimeAuthority(_Section):
    """Somebody outside who states when a checkpoint existed (RFC 3161)."""

    name: Annotated[str, Meta(pattern=r"^[!-~]{1,100}\Z")]
    """What bundles, trust files and logs call it."""
    url: str
    """Where it takes requests. HTTPS off loopback."""
    certificates: tuple[str, ...]
    """PEM files: its own certificate, or that of who issues it."""


class Ledger(_Section):
    """The transparency log."""

    origin: str = "localhost/sekisho"
    """Name of the log, in every checkpoint and trust file. It never changes after `init`."""
    interval_ms: Annotated[int, Meta(ge=5, le=60_000)] = 100
    """How long records wait at most for the next checkpoint."""
    witnesses: tuple[Witness, ...] = ()
    """Who cosigns checkpoints: a list of tables with `name`, `url` and `vkey` (docs/how-to/run-a-witness.md)."""
    witness_interval_ms: Annotated[int, Meta(ge=10, le=3_600_000)] = 1000
    """How often a checkpoint is offered to the witnesses: the newest one that is older than each such moment."""
    timestamps: tuple[TimeAuthority, ...] = ()
    """Who stamps checkpoints: tables with `name`, `url` and `certificates` (docs/how-to/stamp-checkpoints.md)."""
    timestamp_interval_ms: Annotated[int, Meta(ge=1000, le=86_400_000)] = 3_600_000
    """How often a checkpoint is stamped by each of them."""


class Objects(_Section):
    """The control plane's own object store."""

    url: str = ""
    """`file://`, `s3://` or `az://` URL; empty for a folder in the data folder."""


class Oidc(_Section):
    """Sign-in through an identity provider; off without an issuer."""

    issuer: str = ""
    """The provider's issuer URL."""
    client_id: str = ""
    """This server's client id at the provider."""
    client_secret: str = ""
    """This server's client secret. Never printed."""
    organisation: str = ""
    """The organisation that people who sign in for the first time belong to."""
    groups_claim: str = "groups"
    """The claim that lists a person's groups."""
    roles: dict[str, list[str]] = {}
    """Group name to the roles it gives."""


class Listener(_Section):
    """Somebody outside the sites who signs which canaries arrived."""

    name: Annotated[str, Meta(pattern=r"^[!-~]{1,255}\Z")]
    """The name in its reports."""
    key: str
    """Its public key in base64url, as its operator handed it over."""


class Compute(_Section):
    """Attempts and their leases."""

    lease_seconds: Annotated[int, Meta(ge=2, le=3600)] = 60
    """How long an attempt runs on after its agent was last heard; it is placed again after 1.5 times that."""
    listeners: tuple[Listener, ...] = ()
    """Whose word on canaries counts as observed: tables with `name` and `key` (docs/how-to/run-a-listener.md)."""


class Sites(_Section):
    """What is believed about sites."""

    verifier_countries: tuple[Annotated[str, Meta(pattern="^[A-Z]{2}$")], ...] = ()
    """Countries, beside `country`, whose verifiers of hardware may be added. None of them is ever called."""
    measurements: tuple[Annotated[str, Meta(pattern=r"^([0-9a-f]{64}|[0-9a-f]{96})\Z")], ...] = ()
    """Launch measurements of the machines whose attestation counts, in hexadecimal; of any other it is declared (D)."""


class Log(_Section):
    """What the server says about itself."""

    level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$")] = "info"
    """Least severe level that is written."""
    form: Annotated[str, Meta(pattern="^(json|text)$")] = "json"
    """`json` for machines, `text` for a terminal."""


class Settings(_Section):
    """Everything that can be set."""

    environment: Annotated[str, Meta(pattern="^(production|development)$")] = "development"
    """Stand-in sites cannot be registered in production."""
    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")] = "JP"
    """Country the control plane itself stands in; declared (grade D) in the genesis record, fixed by it."""
    data: str = "var"
    """Folder of everything embedded: database, objects, logs, keys, published log.

    Several `serve` processes share one. Set in the file only: the variable SEKISHO_DATA is another program's.
    """
    server: Server = Server()
    """Where the control plane listens."""
    database: Database = Database()
    """Where decisions, queue and ledger are kept."""
    ledger: Ledger = Ledger()
    """The transparency log."""
    objects: Objects = Objects()
    """The control plane's own object store."""
    oidc: Oidc = Oidc()
    """Sign-in through an identity provider."""
    compute: Compute = Compute()
    """Attempts and their leases."""
    sites: Sites = Sites()
    """What is believed about sites."""
    log: Log = Log()
    """What the server says about itself."""

    @property
    def folder(self) -> Path:
        """The data folder as a path."""
        return Path(self.data)

    @property
    def database_url(self) -> str:
        """The database in use, with the embedded default filled in."""
        return self.database.url or f"sqlite:{self.folder / 'sekisho.db'}"

    @property
    def objects_url(self) -> str:
        """The object store in use, with the embedded default filled in."""
        return self.objects.url or f"file://{(self.folder / 'objects').absolute()}"


SECRET = frozenset({"database.url", "oidc.client_secret"})


def load(file: Path | None, environment: Mapping[str, str]) -> Settings:
    """Settings from a file (None: none) and the environment; `config.*` problems name what is wrong."""
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SekishoError(UNREADABLE, file=file.name, what=str(error)) from error
    for name, text in sorted(environment.items()):
        if name.startswith(PREFIX) and name not in _NOT_SETTINGS:
            _put(values, name, text)
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        what = in_words(message)
        raise SekishoError(INVALID, name=path.rstrip("`") or "(file)", texts={"what": what}) from error


def default_file() -> Path | None:
    """The file that `SEKISHOD_CONFIG` names, else `sekisho.toml` here when there is one."""
    named = os.environ.get("SEKISHOD_CONFIG")
    if named:
        return Path(named)
    here = Path(FILE_NAME)
    return here if here.is_file() else None


def shown(settings: Settings) -> dict[str, Any]:
    """Every setting as it is in force, secrets hidden."""
    values: dict[str, Any] = msgspec.to_builtins(settings)
    for name in SECRET:
        section, field = name.split(".")
        if values[section][field]:
            values[section][field] = HIDDEN
    return values


def _put(values: dict[str, Any], variable: str, text: str) -> None:
    """`SEKISHO_LEDGER_INTERVAL_MS` is `ledger.interval_ms`; a name that fits nothing is refused, not ignored."""
    name = variable.removeprefix(PREFIX).lower()
    for field in msgspec.structs.fields(Settings):
        if name == field.name and not _is_section(field.type):
            values[name] = text
            return
        if _is_section(field.type) and name.startswith(field.name + "_"):
            inner = name.removeprefix(field.name + "_")
            if inner in {item.name for item in msgspec.structs.fields(field.type)}:
                section = values.setdefault(field.name, {})
                if not isinstance(section, dict):
                    raise SekishoError(INVALID, name=field.name, texts={"what": _NEEDS_TABLE})
                section[inner] = text
                return
    raise SekishoError(INVALID, name=variable, texts={"what": _NO_SUCH})


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, _Section)
