"""`init`, `fsck`, `doctor`, `config`: what an operator does before and beside serving."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import msgspec

from sekisho.app import Control, Folders, opened
from sekisho.app import initialise as make_installation
from sekisho.charter import CharterError, drift
from sekisho.identity import Begin, NewOrganisation, NewPerson
from sekisho.kernel import config as settings_module
from sekisho.kernel.clock import rfc3339
from sekisho.kernel.errors import InvalidInputError, SekishoError
from sekisho.kernel.facts import SYSTEM
from sekisho.ledger import CheckLedger, newest_time_ms, witness_states
from sekisho.server.commands import Call
from sekisho.server.texts import SAYS
from sekisho_wire.problems import Exit, Language

FREE_BYTES_MIN = 1 << 30
PYTHON_MIN = (3, 11)


def initialise(call: Call) -> int:
    """A new installation; prints the two first tokens, which nobody can read again."""
    arguments, settings = call.arguments, call.settings
    if len(arguments.admin) != 2:  # noqa: PLR2004 - two people, always
        raise InvalidInputError(field="--admin", what="needs to be given exactly twice")
    begin = Begin(
        organisation=NewOrganisation(
            name=arguments.organisation,
            jurisdiction=arguments.jurisdiction,
            parent_jurisdiction=arguments.jurisdiction,
            foreign_control_pct=0,
        ),
        administrators=[
            NewPerson(display_name=name, residence=arguments.jurisdiction) for name in arguments.admin
        ],
        charter=_charter(arguments.charter),
    )
    genesis = make_installation(settings, begin)
    lines = [SAYS["initialised"].render(call.language, {"folder": settings.folder})]
    for name, administrator in zip(arguments.admin, genesis.administrators, strict=True):
        lines.append(SAYS["token"].render(call.language, {"name": name, "token": administrator.token}))
    lines.append(SAYS["trust"].render(call.language, {"file": Folders(settings.folder).trust}))
    call.write(genesis, "\n".join(lines))
    return 0


def fsck(call: Call) -> int:
    """Read everything and compare; exit status 1 when anything is not as it must be."""
    with opened(call.settings) as control:
        report = control.gate.perform(SYSTEM, CheckLedger())
    lines = [
        SAYS["finding"].render(call.language, msgspec.structs.asdict(finding)) for finding in report.findings
    ]
    if not report.findings:
        lines = [SAYS["clean"].render(call.language, msgspec.structs.asdict(report))]
    call.write(report, "\n".join(lines))
    return int(Exit.FAILED) if report.findings else 0


def doctor(call: Call) -> int:
    """What this machine has and lacks; exit status 1 when something needed is missing."""
    checks = list(_checks(call.settings, call.language))
    good = all(fine for _, fine, _ in checks)
    text = "\n".join(f"{'✓' if fine else '✗'} {name:<12} {detail}" for name, fine, detail in checks)
    call.write({name: {"ok": fine, "detail": detail} for name, fine, detail in checks}, text)
    return 0 if good else int(Exit.FAILED)


def config(call: Call) -> int:
    """Every setting in force; secrets are hidden."""
    values = settings_module.shown(call.settings)
    lines: list[str] = []
    for name, value in values.items():
        if isinstance(value, dict):
            lines += [
                f"{name}.{inner} = {msgspec.json.encode(item).decode()}" for inner, item in value.items()
            ]
        else:
            lines.append(f"{name} = {msgspec.json.encode(value).decode()}")
    call.write(values, "\n".join(lines))
    return 0


def _charter(file: str) -> str:
    if not file:
        return resources.files("sekisho.charter").joinpath("charters/japan.cedar").read_text(encoding="utf-8")
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            field="--charter", what=f"{Path(file).name}: {type(error).__name__}"
        ) from error


def _checks(settings: settings_module.Settings, language: Language) -> Iterator[tuple[str, bool, str]]:
    """Name, whether it is well, and what was seen."""
    yield "python", sys.version_info >= PYTHON_MIN, sys.version.split()[0]
    folder = settings.folder
    yield "data", folder.is_dir(), str(folder)
    free = shutil.disk_usage(folder if folder.is_dir() else Path.cwd()).free
    yield "disk", free >= FREE_BYTES_MIN, f"{free >> 20} MiB free"
    yield "keys", (folder / "keys").is_dir(), "made by `sekishod init`"
    try:
        with opened(settings) as control:
            ready = control.ready()
            yield "database", ready["database"], control.database.dialect
            yield "charter", ready["charter"], "active" if ready["charter"] else "none: run `sekishod init`"
            yield ("clock", *_clock(control))
            if ready["charter"]:
                yield ("commands", *_commands(control))
                yield from _witnesses(control, language)
    except SekishoError as error:
        yield "database", False, error.code


def _witnesses(control: Control, language: Language) -> Iterator[tuple[str, bool, str]]:
    """What each witness did last, or what is wrong with it."""
    for state in control.database.read(lambda tx: witness_states(tx, control.witnesses)):
        if state.finding is None:
            yield f"witness {state.name}", True, state.seen
        else:
            sentence = state.finding.text.render(language, {"size": state.finding_size})
            yield f"witness {state.name}", False, f"{sentence} [{state.finding.code}]; {state.seen}"


def _clock(control: Control) -> tuple[bool, str]:
    """The machine's clock against the newest record: one that is behind would give ids and times out of order."""
    newest, now = control.database.read(newest_time_ms), control.clock.now_ms()
    if newest is None or newest <= now:
        return True, rfc3339(now)
    return False, f"{rfc3339(now)} is {newest - now} ms before the newest record"


def _commands(control: Control) -> tuple[bool, str]:
    """What this program can do and the charter in force, drafted under another, keeps closed."""
    try:
        found = control.database.read(lambda tx: drift(control.engine, tx))
    except CharterError as error:
        return False, f"the charter in force does not validate under this program: {error.code}"
    if found is None or not found.newer:
        return True, "all known to the charter"
    return False, f"closed until a charter drafted today is active: {', '.join(found.newer)}"
