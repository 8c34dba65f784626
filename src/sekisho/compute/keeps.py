"""Handlers of what jobs refer to by name: secrets and images."""

from __future__ import annotations

import re
from typing import Any, Protocol

from sekisho.compute import tables_keepsakes as tables
from sekisho.compute.errors import BAD_LOCK
from sekisho.compute.model import (
    AddImage,
    DeleteSecret,
    ImagePage,
    ImageView,
    ListImages,
    ListSecrets,
    SecretPage,
    SecretView,
    SetSecret,
)
from sekisho.compute.submitters import teams_of
from sekisho.data import owner_of
from sekisho.identity import team_id
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.errors import InvalidInputError, NotFoundError, SekishoError
from sekisho.kernel.facts import Entity, Ref, Target
from sekisho.kernel.tx import Tx

_REQUIREMENT = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._-]+\])?==[A-Za-z0-9.+!_-]+( ; (?:(?! -)[^\\#])+)? \\"
)
_HASH = re.compile(r" +--hash=sha256:[0-9a-f]{64}( \\)?")

_NEEDS_HASHES = "each requirement needs its hashes"
_NOT_PINNED = "not a pinned requirement with hashes"


class SealingBox(Protocol):
    """Seals secrets for the database."""

    def seal(self, value: bytes, name: str) -> bytes:
        """Encrypted under the control plane's secrets key, bound to the name."""
        ...


class LockStore(Protocol):
    """Keeps lock files where sites can fetch them."""

    def put_bytes(self, content: bytes) -> str:
        """Store by digest; storing the same bytes twice changes nothing."""
        ...


def check_lock(lock: str) -> None:
    """Raise `compute.image.lock` unless every line pins one package and carries its hashes.

    Options (an index, a URL, an editable path) are refused: an image comes from what is named here and nothing else.
    """
    continued, found, number = False, False, 1
    for number, line in enumerate(lock.splitlines(), 1):
        if not continued and not line.split("#")[0].strip():
            continue
        if not (_HASH if continued else _REQUIREMENT).fullmatch(line):
            raise SekishoError(BAD_LOCK, line=number, what=_NEEDS_HASHES if continued else _NOT_PINNED)
        continued, found = line.endswith("\\"), True
    if continued or not found:
        raise SekishoError(BAD_LOCK, line=number, what=_NEEDS_HASHES)


class KeepActions:
    """The handlers, with the box for secrets and the store for locks."""

    def __init__(self, box: SealingBox, locks: LockStore) -> None:
        """Neither is reached before the charter said yes."""
        self._box = box
        self._locks = locks

    def set_secret(self, ctx: Ctx, command: SetSecret) -> SecretView:
        """The value is sealed before it reaches the database; the record names it and says no more."""
        owner = owner_of(ctx.principal)
        team = team_id(ctx.tx, owner, command.team) if command.team else ""
        if command.team and team not in teams_of(ctx.principal):
            raise InvalidInputError(field="team", what="not a team that you are in")
        _check_team(ctx, command.name)
        sealed = self._box.seal(command.value.encode(), f"{owner}/{command.name}")
        ctx.detail(secret=command.name)
        return tables.put_secret(ctx.tx, owner, (command.name, team, sealed), ctx.now_ms)

    def add_image(self, ctx: Ctx, command: AddImage) -> ImageView:
        """Name a lock file. Images already in use keep the lock they were submitted with."""
        check_lock(command.lock)
        content = command.lock.encode()
        digest = self._locks.put_bytes(content)
        ctx.detail(image=command.name, lock=digest)
        return tables.put_image(
            ctx.tx, owner_of(ctx.principal), command.name, (digest, len(content)), now_ms=ctx.now_ms
        )


def _check_team(ctx: Ctx, name: str) -> None:
    """A secret that belongs to a team is replaced and removed by that team's members only."""
    kept = [item.team for item in tables.list_secrets(ctx.tx, owner_of(ctx.principal)) if item.name == name]
    if any(team and team not in teams_of(ctx.principal) for team in kept):
        raise InvalidInputError(field="name", what="belongs to a team that you are not in")


def delete_secret(ctx: Ctx, command: DeleteSecret) -> bool:
    """Jobs that still name it are refused at submission, and their attempts when they ask."""
    _check_team(ctx, command.name)
    ctx.detail(secret=command.name)
    return tables.delete_secret(ctx.tx, owner_of(ctx.principal), command.name) == 1


def list_secrets(ctx: Ctx, command: ListSecrets) -> SecretPage:
    """Names of the asker's own organisation."""
    del command
    return SecretPage(tables.list_secrets(ctx.tx, owner_of(ctx.principal)))


def list_images(ctx: Ctx, command: ListImages) -> ImagePage:
    """Images of the asker's own organisation."""
    del command
    return ImagePage(tables.list_images(ctx.tx, owner_of(ctx.principal)))


def _own_secrets(tx: Tx, principal: Entity, command: ListSecrets) -> Target:
    del tx, command
    owner = owner_of(principal)
    return Target(resource=Entity(Ref("Secret", "all"), {"owner": Ref("Org", owner)}), stream=owner)


def _secret_target(tx: Tx, principal: Entity, command: SetSecret | DeleteSecret) -> Target:
    owner = owner_of(principal)
    if isinstance(command, DeleteSecret) and not any(
        item.name == command.name for item in tables.list_secrets(tx, owner)
    ):
        raise NotFoundError(id=command.name)
    return Target(resource=Entity(Ref("Secret", command.name), {"owner": Ref("Org", owner)}), stream=owner)


def _image_target(tx: Tx, principal: Entity, command: AddImage | ListImages) -> Target:
    del tx
    owner = owner_of(principal)
    name = command.name if isinstance(command, AddImage) else "all"
    entity = Entity(Ref("Image", name), {"owner": Ref("Org", owner), "level": 0})
    return Target(resource=entity, stream=owner)


def handlers(actions: KeepActions) -> tuple[Handler[Any], ...]:
    """Every command about secrets and images."""
    return (
        Handler(SetSecret, _secret_target, actions.set_secret),
        Handler(DeleteSecret, _secret_target, delete_secret),
        Handler(ListSecrets, _own_secrets, list_secrets),
        Handler(AddImage, _image_target, actions.add_image),
        Handler(ListImages, _image_target, list_images),
    )
