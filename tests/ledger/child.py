"""A process that writes, orders, signs and publishes until it is killed; prints each acknowledged record."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import BusyError
from sekisho.kernel.facts import SYSTEM
from sekisho.ledger import SequenceBatch, SignCheckpoint
from tests.ledger.world import ANN, World, opened
from tests.support import toy

WRITERS = 4


def _write(world: World, writer: int, start: int) -> None:
    """New things, every eleventh dropped again, every fiftieth stream closed."""
    number = start
    while True:
        number += 1
        drops = number % 11 == 0
        name = f"job_{writer}_{number - drops}"
        try:
            if drops:
                world.gate.perform(ANN, toy.DropThing(id=name))
            else:
                world.gate.perform(ANN, toy.PutThing(id=name, amount=number))
            if number % 50 == 0:
                world.close(name)
        except BusyError:
            continue
        sys.stdout.write(f"toy.thing.{'drop' if drops else 'put'} {name}\n")
        sys.stdout.flush()


def main(url: str, folder: str, start: str) -> None:
    """Never returns: the parent kills this process."""
    with opened(url, Path(folder), clock=SystemClock()) as world:
        publisher = world.publisher()
        for writer in range(WRITERS):
            threading.Thread(target=_write, args=(world, writer, int(start)), daemon=True).start()
        while True:
            try:
                world.gate.perform(SYSTEM, SequenceBatch())
                world.gate.perform(SYSTEM, SignCheckpoint())
                publisher.advance(world.read_tiles)
            except BusyError:
                continue


if __name__ == "__main__":
    main(*sys.argv[1:])
