"""Decisions about releases of keys against the gate's own commands, on the same installation, in turns.

A release is the whole of what the control plane does for one: message of an agent whose attempt reads data of level 2,
charter asked three times (is it this agent's attempt, may it run there now, may the data lie there), order and evidence
written, two records, in one transaction. The goal is against the gate's own command with a decision of its own
(`one_command_fresh` of `benchmarks.gate`); the figures also say what it is against one whose decision is remembered,
where a release, which asks the database for twice as much, comes out lower, and how many statements each sends, which
on a busy machine says more than time. Neither waits for a checkpoint.
"""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.gate import Bench
from benchmarks.harness import KINDS, Goal, Pair, durable, goal, paired
from sekisho.data import ReleaseKey
from sekisho.kernel.facts import Actor, Ref
from sekisho_wire.messages import Envelope
from sekisho_wire.signing import encode_public_key, seal
from tests.compute.sealed_world import SealedWorld, want
from tests.support.statements import counted

EACH = 10
"""Commands of each kind in one round."""
ROUNDS = 15


class Releases:
    """One attempt at a proven site that asks for its data key again and again, each time with a new one-time key.

    What the agent has to do for each is done before: the gate is measured, not its caller.
    """

    def __init__(self, world: SealedWorld, order: Envelope, count: int) -> None:
        """`order` is the offer that was taken, `count` how often it will be asked at most."""
        agent = world.home
        self._gate = world.gate
        self._actor = Actor(Ref("Agent", agent.id), via="seal")
        public = encode_public_key(agent.key.public_key())
        asked = [agent.envelope("main", order, want()) for _ in range(count)]
        self._commands = iter(
            [
                ReleaseKey(envelope=each, sealed=seal(agent.key, each).decode(), agent_key=public)
                for each in asked
            ]
        )

    def several(self, count: int) -> None:
        """So many releases, one after the other, as the agents' door asks for them."""
        for command in itertools.islice(self._commands, count):
            self._gate.perform(self._actor, command)


def statements(releases: Releases, bench: Bench) -> dict[str, float]:
    """How many statements one of each sends to the database, begin and commit apart."""
    with counted() as release:
        releases.several(1)
    with counted() as command:
        bench.many(1, fresh=True, callers=1)
    return {"release_statements": len(release), "command_statements": len(command)}


def compared(releases: Releases, bench: Bench, *, fresh: bool) -> Pair:
    """Both in turns, by one caller each."""
    return paired(
        functools.partial(releases.several, EACH),
        functools.partial(bench.many, EACH, fresh=fresh, callers=1),
        rounds=ROUNDS,
    )


def release_goals(figures: dict[str, float]) -> list[Goal]:
    """The ratio of both rates, one for each database."""
    goals: list[Goal] = []
    for kind in KINDS:
        with durable(kind) as (url,), TemporaryDirectory() as folder:
            world = SealedWorld(Path(folder), url).begin()
            try:
                _, order = world.staging()
                world.granted(order)
                releases = Releases(world, order, 2 * EACH * (ROUNDS + 1) + 1)
                bench = Bench(world.control, world.engineer.ref.id)
                pairs = [compared(releases, bench, fresh=fresh) for fresh in (True, False)]
                figures |= {f"{kind}_{name}": n for name, n in statements(releases, bench).items()}
            finally:
                world.close()
        goals.append(goal(f"{kind}_releases_of_commands", pairs[0].ratio, ">=", 0.5))
        figures |= {
            f"{kind}_releases_per_second": EACH / pairs[0].first_seconds,
            f"{kind}_commands_per_second": EACH / pairs[0].second_seconds,
            f"{kind}_releases_of_remembered_commands": pairs[1].ratio,
        }
    return goals
