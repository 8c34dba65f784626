"""Worlds around the toy capability."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sekisho.kernel.context import Handler
from sekisho.kernel.db import Database, open_database
from sekisho.kernel.facts import Entity, Ref, Target
from sekisho.kernel.tx import Tx
from tests.support import toy


@pytest.fixture
def database(db_url: str) -> Iterator[Database]:
    """A migrated database of the kind asked for."""
    opened = open_database(db_url)
    yield opened
    opened.close()


@pytest.fixture
def toy_world(database: Database) -> toy.World:
    """A gate with nothing but toys around it."""
    return toy.World(database)


@pytest.fixture
def contended_world(database: Database) -> toy.World:
    """As `toy_world`, with callers of `PutThing` taking turns by the thing's name."""
    return toy.World(database, contention=lambda command: command.id)


@pytest.fixture
def level_world(database: Database) -> toy.World:
    """As `toy_world`, with everything shown at level 2."""
    world = toy.World(database)
    shown = next(handler for handler in toy.handlers() if handler.command is toy.ShowThing)

    def target(tx: Tx, principal: Entity, command: toy.ShowThing) -> Target:
        del tx, principal
        return Target(resource=Entity(Ref("Thing", command.id), {"level": 2}), stream=command.id)

    handlers = world.gate._handlers
    handlers[toy.ShowThing] = Handler(toy.ShowThing, target, shown.run)
    return world
