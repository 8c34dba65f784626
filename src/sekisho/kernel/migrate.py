"""Numbered SQL files of each module, applied once, in order, never edited afterwards.

Why not a migration library: `docs/decisions/0003-own-migration-runner.md`.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from importlib import resources

import msgspec

from sekisho.kernel.db import Database
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.tx import Tx
from sekisho_wire import problems
from sekisho_wire.problems import Exit, Text

_TABLE = (
    "create table if not exists kernel_migrations ("
    " module text not null, name text not null, digest text not null, applied_ms bigint not null,"
    " primary key (module, name));"
)
_SEQUENCE = {
    "sqlite": "integer primary key autoincrement",
    "postgres": "bigint generated always as identity primary key",
}

EDITED = problems.define(
    "database.migration_edited",
    500,
    Exit.INTERNAL,
    Text(
        "Schema file {name} of {module} was edited after it was applied. Add a new file instead.",
        "適用済みのスキーマファイル{name}（{module}）が書き換えられています。新しいファイルを追加してください。",
    ),
)
NEWER = problems.define(
    "database.newer",
    500,
    Exit.INTERNAL,
    Text(
        "The database was written by a newer version: {module} {name} is unknown here.",
        "データベースはより新しい版で作成されています：{module}の{name}が見つかりません。",
    ),
)


class SchemaFile(msgspec.Struct, frozen=True):
    """One file under `<module>/schema/`, named `NNNN_what.sql`."""

    module: str
    name: str
    text: str

    @property
    def digest(self) -> str:
        """Of the file as written, before `{sequence}` is spelled for a database."""
        return "sha256:" + hashlib.sha256(self.text.encode()).hexdigest()


def schema_files(modules: Sequence[str]) -> Iterator[SchemaFile]:
    """The files of `sekisho.<module>` for each module in the given order, each module's by number."""
    for module in modules:
        folder = resources.files("sekisho").joinpath(module, "schema")
        names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
        for name in names:
            yield SchemaFile(module, name, folder.joinpath(name).read_text(encoding="utf-8"))


def migrate(database: Database, modules: Sequence[str], now_ms: int) -> tuple[str, ...]:
    """Apply what is missing; answer the names applied. An edited or unknown file stops everything."""
    database.script(_TABLE, lambda _tx: None)
    files = {(file.module, file.name): file for file in schema_files(modules)}
    applied = database.read(lambda tx: tx.all("select module, name, digest from kernel_migrations"))
    for row in applied:
        known = files.pop((row["module"], row["name"]), None)
        if known is None:
            raise SekishoError(NEWER, module=row["module"], name=row["name"])
        if known.digest != row["digest"]:
            raise SekishoError(EDITED, module=known.module, name=known.name)
    for file in files.values():
        text = file.text.replace("{sequence}", _SEQUENCE[database.dialect])
        database.script(text, functools.partial(_note, file, now_ms))
    return tuple(f"{file.module}/{file.name}" for file in files.values())


def _note(file: SchemaFile, now_ms: int, tx: Tx) -> None:
    tx.run(
        "insert into kernel_migrations (module, name, digest, applied_ms) values (:module, :name, :digest, :now)",
        module=file.module,
        name=file.name,
        digest=file.digest,
        now=now_ms,
    )
