"""Handlers of keys in their owners' custody. What releases one to an attempt is compute's, which knows attempts."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from sekisho.data import rules, tables_keys
from sekisho.data.errors import KEY_STAND_IN, KEY_TAKEN
from sekisho.data.model_keys import (
    DestroyKey,
    KeyPage,
    KeyView,
    ListKeys,
    OneKey,
    RegisterKey,
    ResumeKey,
    RotateKey,
    ShowKey,
    StopKey,
)
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.errors import ConflictError, NotFoundError, SekishoError
from sekisho.kernel.facts import Entity, Ref, Target
from sekisho.kernel.tx import Tx
from sekisho_wire.custody import Facts


class KeyEntities:
    """Keys in custody, as the charter's slowly changing entities, beside the platform keys of sites."""

    def entities(self, tx: Tx) -> Iterable[Entity]:
        """One Key entity a registered key; a destroyed one opens nothing and is still what lies under it."""
        return map(rules.key_entity, tables_keys.every_key(tx))


def owner_of(principal: Entity) -> str:
    """The organisation somebody acts for; what they add belongs to it."""
    org = principal.attributes.get("org")
    return org.id if isinstance(org, Ref) else ""


def find_key(tx: Tx, key: str, owner: str = "") -> KeyView:
    """A key by id, or by name within the asker's organisation; NotFoundError otherwise."""
    found = tables_keys.find_key(tx, key, owner)
    if found is None:
        raise NotFoundError(id=key)
    return found


def own_key(tx: Tx, key: str, owner: str) -> KeyView:
    """A key of this organisation; another organisation's looks like none."""
    found = find_key(tx, key, owner)
    if found.owner != owner:
        raise NotFoundError(id=key)
    return found


def register(ctx: Ctx, command: RegisterKey) -> KeyView:
    """Add a key, as its custodian describes it; nothing here was measured."""
    rules.check_address(command.address, production=False)
    owner = owner_of(ctx.principal)
    facts = _facts(command, owner)
    if tables_keys.find_key(ctx.tx, command.name, owner):
        raise SekishoError(KEY_TAKEN, name=command.name)
    key = ctx.new_id("key")
    tables_keys.insert_key(ctx.tx, key, owner, (command, facts), now_ms=ctx.now_ms)
    ctx.detail(
        key=key,
        name=command.name,
        custody=facts.custody,
        country={"value": facts.country, "grade": "D"},
        stand_in=facts.custody == "development",
        statement=command.statement,
    )
    return find_key(ctx.tx, key)


def register_real(ctx: Ctx, command: RegisterKey) -> KeyView:
    """Add a key, unless it only stands in for one; problem `data.key_stand_in`. For production."""
    rules.check_address(command.address, production=True)
    if _facts(command, owner_of(ctx.principal)).custody == "development":
        raise SekishoError(KEY_STAND_IN)
    return register(ctx, command)


def stop(ctx: Ctx, command: StopKey) -> KeyView:
    """From this commit on nothing is released; running attempts hear of it with their next renewal."""
    return _move(ctx, command.key, {"serving"}, "stopped")


def resume(ctx: Ctx, command: ResumeKey) -> KeyView:
    """Released again, to whoever the charter lets have it then."""
    return _move(ctx, command.key, {"stopped"}, "serving")


def rotate(ctx: Ctx, command: RotateKey) -> KeyView:
    """What is under earlier versions stays there, and can be opened as long as the custodian keeps them."""
    key = find_key(ctx.tx, command.key, owner_of(ctx.principal))
    facts = rules.read_facts(command.statement, key.public_key, key.name, key.owner)
    rules.check_rotation(key, facts.newest)
    # What was destroyed stays so, whatever an older statement says.
    left = {*key.versions, *rules.live(facts)} - {*key.destroyed}
    tables_keys.set_versions(ctx.tx, key.id, left, key.destroyed)
    tables_keys.set_quorum(ctx.tx, key.id, facts.quorum)
    ctx.detail(key=key.id, version=facts.newest, statement=command.statement)
    return find_key(ctx.tx, key.id)


def destroy(ctx: Ctx, command: DestroyKey) -> KeyView:
    """The custodian's signed word goes into the record, with what it leaves: a key is gone with its last version."""
    key = find_key(ctx.tx, command.key, owner_of(ctx.principal))
    found = rules.check_destruction(command.evidence, key)
    left = {*key.versions} - {*found.versions}
    tables_keys.set_versions(ctx.tx, key.id, left, [*key.destroyed, *found.versions])
    if not left:
        tables_keys.set_state(ctx.tx, key.id, "destroyed")
    ctx.detail(
        key=key.id,
        versions=[*found.versions],
        remaining=[*sorted(left)],
        # Of a key that could leave its custodian, others may have a copy: this is about the custodian's.
        exportable=found.exportable or key.exportable,
        evidence=command.evidence,
    )
    return find_key(ctx.tx, key.id)


def _facts(command: RegisterKey, owner: str) -> Facts:
    return rules.read_facts(command.statement, command.public_key, command.name, owner)


def _move(ctx: Ctx, name: str, allowed: set[str], state: str) -> KeyView:
    key = find_key(ctx.tx, name, owner_of(ctx.principal))
    if key.state not in allowed:
        raise ConflictError(what=f"key {key.name} is {key.state}")
    tables_keys.set_state(ctx.tx, key.id, state)
    ctx.detail(key=key.id, state=state)
    return find_key(ctx.tx, key.id)


def _show(ctx: Ctx, command: ShowKey) -> KeyView:
    return find_key(ctx.tx, command.key, owner_of(ctx.principal))


def _list(ctx: Ctx, command: ListKeys) -> KeyPage:
    items, following = ctx.page(
        functools.partial(tables_keys.page_keys, ctx.tx),
        start=command.cursor,
        limit=command.limit,
        key=lambda key: key.id,
        seen=lambda key: ctx.allows(ShowKey, rules.key_entity(key)),
    )
    return KeyPage(items, following)


def _key_target(tx: Tx, principal: Entity, command: OneKey) -> Target:
    key = find_key(tx, command.key, owner_of(principal))
    return Target(resource=rules.key_entity(key), stream=key.owner)


def _own_keys(tx: Tx, principal: Entity, command: RegisterKey | ListKeys) -> Target:
    """A key that does not exist yet, or all of the asker's organisation."""
    del tx
    owner, custodian, said = owner_of(principal), "", None
    if isinstance(command, RegisterKey):
        custodian, said = command.custodian, _facts(command, owner)
    entity = Entity(
        Ref("Key", "new" if said else "all"),
        {
            "owner": Ref("Org", owner),
            "country": said.country if said else "",
            "custodian": Ref("Org", custodian or owner),
            "custody": said.custody if said else "",
            "exportable": said.exportable if said else False,
            "grade": rules.DECLARED,
        },
    )
    return Target(resource=entity, stream=owner)


def handlers(*, production: bool) -> tuple[Handler[Any], ...]:
    """Every command about keys that people ask. In production no stand-in becomes one."""
    return (
        Handler(RegisterKey, _own_keys, register_real if production else register),
        Handler(ShowKey, _key_target, _show),
        Handler(ListKeys, _own_keys, _list),
        Handler(StopKey, _key_target, stop),
        Handler(ResumeKey, _key_target, resume),
        Handler(RotateKey, _key_target, rotate),
        Handler(DestroyKey, _key_target, destroy),
    )
