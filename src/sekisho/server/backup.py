"""`backup` and `restore`: a consistent copy of the database in a folder, and the way back with two people.

A backup holds the database and a manifest, nothing else: keys are backed up apart, because whoever has both can
rewrite history; objects and logs of jobs lie in stores of their own. A restore is judged inside the restored database:
its own administrators, its own charter, its own log, which gets a record with both people. A copy that is older than
what this installation has published is refused, because going on from it would sign a second history under one name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from sekisho.app import Control, opened
from sekisho.kernel import config
from sekisho.kernel.clock import SystemClock, rfc3339
from sekisho.kernel.errors import ConflictError, InvalidInputError, SekishoError
from sekisho.kernel.facts import SYSTEM, Actor
from sekisho.kernel.proposals import ApproveProposal, Proposed
from sekisho.ledger import CheckLedger, RestoreLog, ShowCheckpoint
from sekisho.server.commands import Call
from sekisho.server.staging import staged
from sekisho.server.texts import SAYS
from sekisho_wire import problems
from sekisho_wire.problems import Exit, Text

MANIFEST, COPY = "manifest.json", "database"
MANIFEST_BYTES_MAX = 1 << 16
TOKENS_BYTES_MAX = 1 << 14
LEFT_OUT = ("keys", "objects", "logs")
"""What a backup does not hold, by its folder in the data folder."""

UNREADABLE = problems.define(
    "backup.unreadable",
    400,
    Exit.USAGE,
    Text("{folder} is not a whole backup: {what}", "{folder}は完全なバックアップではありません：{what}"),
)
FOREIGN = problems.define(
    "backup.foreign",
    409,
    Exit.CONFLICT,
    Text(
        "This backup is of {theirs}; this installation is {ours}.",
        "このバックアップは{theirs}のものです。この環境は{ours}です。",
    ),
)
TWO_PEOPLE = problems.define(
    "restore.two_people",
    403,
    Exit.DENIED,
    Text(
        "A restore needs the tokens of two different people, one a line.",
        "復元には、異なる2人のトークンを1行ずつ書いたファイルが必要です。",
    ),
)
DAMAGED = problems.define(
    "restore.damaged",
    409,
    Exit.CONFLICT,
    Text(
        "The backup's log does not hold: {code} at {place}, and {others} more findings.",
        "バックアップの台帳に不整合があります：{code}（{place}）、ほか{others}件。",
    ),
)
KEPT_APART = Text(
    "Not in it, to be kept apart: {names}. Without the keys nothing can be restored.",
    "次のものは含まれません。別に保管してください：{names}。鍵がなければ復元できません。",
)
REPLACED = Text("The replaced database is kept as {name}.", "以前のデータベースは{name}として残しています。")


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup says of itself. `size` and `root` are of the newest checkpoint before the copy was made."""

    version: str
    dialect: Annotated[str, Meta(pattern="^(sqlite|postgres)$")]
    origin: str
    time: str
    size: Annotated[int, Meta(ge=0)]
    root: str
    digest: Annotated[str, Meta(pattern="^sha256:[0-9a-f]{64}$")]
    left_out: list[str]


def backup(call: Call) -> int:
    """Write a copy and its manifest into a new folder; a backup that fails leaves no folder."""
    target = Path(call.arguments.target)
    if target.exists():
        raise ConflictError(what=f"{target.name} exists already")
    draft = target.with_name(f".{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(mode=0o700, parents=True)
        with opened(call.settings) as control:
            manifest = _write(control, draft)
        draft.rename(target)
    except OSError as error:
        raise InvalidInputError(field="target", what=f"{target.name}: {error.strerror}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    lines = [
        SAYS["backed_up"].render(call.language, {"folder": target}),
        KEPT_APART.render(call.language, {"names": ", ".join(LEFT_OUT)}),
    ]
    call.write(manifest, "\n".join(lines))
    return 0


def restore(call: Call) -> int:
    """Put a backup in the database's place once two administrators, its charter and its log agree."""
    source = Path(call.arguments.source)
    manifest, text = read_manifest(source)
    tokens = read_tokens(Path(call.arguments.tokens))
    _check_kind(call.settings, manifest)
    if _digest(source / COPY) != manifest.digest:
        raise SekishoError(UNREADABLE, folder=source.name, what="the copy has another digest")
    stamp = rfc3339(SystemClock().now_ms())[:19].replace("-", "").replace(":", "").lower()
    with staged(call.settings.database_url, stamp) as staging:
        staging.unpack(source / COPY)
        with opened(_at(call.settings, staging.url)) as control:
            record = _agreed(control, tokens, "sha256:" + hashlib.sha256(text).hexdigest())
        kept = staging.exchange()
    lines = [SAYS["restored"].render(call.language, {})]
    lines += [REPLACED.render(call.language, {"name": kept})] if kept else []
    call.write({"record": record, "kept": kept, "size": manifest.size}, "\n".join(lines))
    return 0


def read_manifest(folder: Path) -> tuple[Manifest, bytes]:
    """A backup's manifest and its bytes; `backup.unreadable` for anything else."""
    try:
        text = _read(folder / MANIFEST, MANIFEST_BYTES_MAX)
        if not (folder / COPY).is_file():
            raise SekishoError(UNREADABLE, folder=folder.name, what=f"no file {COPY}")
        return msgspec.json.decode(text, type=Manifest), text
    except OSError as error:
        raise SekishoError(UNREADABLE, folder=folder.name, what=f"no readable {MANIFEST}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SekishoError(UNREADABLE, folder=folder.name, what=f"{MANIFEST}: {error}") from error


def read_tokens(file: Path) -> tuple[str, str]:
    """Two different tokens, one a line; nothing of them is in the error."""
    try:
        lines = _read(file, TOKENS_BYTES_MAX).decode("ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(field="--tokens", what=f"{file.name}: {type(error).__name__}") from error
    if len(lines) != len({*lines}) or len(lines) != 2:  # noqa: PLR2004 - two people, always
        raise SekishoError(TWO_PEOPLE)
    return lines[0], lines[1]


def _read(file: Path, bytes_max: int) -> bytes:
    with file.open("rb") as opened_file:
        return opened_file.read(bytes_max)


def _write(control: Control, folder: Path) -> Manifest:
    """The checkpoint is read first, so that the copy holds at least what the manifest says."""
    checkpoint = control.gate.perform(SYSTEM, ShowCheckpoint())
    control.database.backup(str(folder / COPY))
    manifest = Manifest(
        version=metadata.version("sekisho"),
        dialect=control.database.dialect,
        origin=checkpoint.origin,
        time=rfc3339(control.clock.now_ms()),
        size=checkpoint.size,
        root=checkpoint.root,
        digest=_digest(folder / COPY),
        left_out=list(LEFT_OUT),
    )
    _store(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    return manifest


def _store(file: Path, content: bytes) -> None:
    with file.open("xb") as opened_file:
        opened_file.write(content)
        opened_file.flush()
        os.fsync(opened_file.fileno())


def _digest(file: Path) -> str:
    with file.open("rb") as opened_file:
        return "sha256:" + hashlib.file_digest(opened_file, "sha256").hexdigest()


def _check_kind(settings: config.Settings, manifest: Manifest) -> None:
    """A backup goes back to where it came from: same log, same kind of database."""
    dialect = "sqlite" if settings.database_url.startswith("sqlite:") else "postgres"
    for theirs, ours in ((manifest.origin, settings.ledger.origin), (manifest.dialect, dialect)):
        if theirs != ours:
            raise SekishoError(FOREIGN, theirs=theirs, ours=ours)


def _at(settings: config.Settings, url: str) -> config.Settings:
    return msgspec.structs.replace(settings, database=config.Database(url=url))


def _agreed(control: Control, tokens: tuple[str, str], manifest: str) -> str:
    """The restored database's own word: its log holds, nothing newer was published, two administrators want it."""
    control.check_published()
    people = _people(control.sign_in.authenticate, tokens)
    report = control.gate.perform(SYSTEM, CheckLedger())
    if report.findings:
        first = report.findings[0]
        raise SekishoError(DAMAGED, code=first.code, place=first.place, others=len(report.findings) - 1)
    proposed = control.gate.perform(people[0], RestoreLog(manifest=manifest))
    if not isinstance(proposed, Proposed):
        raise SekishoError(TWO_PEOPLE)
    done = control.gate.perform(people[1], ApproveProposal(proposal=proposed.proposal))
    return str(msgspec.json.decode(done)["record"])


def _people(authenticate: Callable[[str, str], Actor], tokens: tuple[str, str]) -> tuple[Actor, Actor]:
    """Two tokens of one person, or of a program, are not two people."""
    first, second = (authenticate(token, "sekishod restore") for token in tokens)
    if first.ref == second.ref or {first.ref.type, second.ref.type} != {"User"}:
        raise SekishoError(TWO_PEOPLE)
    return first, second
