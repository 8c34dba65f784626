"""Checks of the job's own modules, for the interpreter of the job's environment (which has no test runner).

    image/bin/python checks.py

prints one JSON line a check, `{"check": name, "error": null or a traceback}`; exit status 1 when one failed.
The repository's tests run this file and show each check as a test.
"""

# A check is a test: its name is its sentence, and the values it expects are literals on purpose.
# ruff: noqa: D103, PLR2004

from __future__ import annotations

import json
import math
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "work"))

import arm
import checkpoint
import loop
import numpy as np
import plan
import policy
import search
from checkpoint import Point, State
from failures import TrainError

SEEDS = range(20)
SEARCH = search.Search(rate=0.1, noise=0.2, directions=6, best=3)


def require(condition: object, message: str = "it does not hold") -> None:
    """Fail the check; `assert` would vanish under -O."""
    if not bool(condition):
        raise AssertionError(message)


def require_error(code: str, action: Callable[[], object]) -> None:
    """The action is refused with this code."""
    try:
        action()
    except TrainError as error:
        require(error.code == code, f"{error.code} instead of {code}")
        return
    raise AssertionError(f"{code} was not raised")


def chance(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def lively(seed: int = 1) -> arm.Array:
    """Weights that move the arm, and not towards the target."""
    return chance(seed).standard_normal(policy.SHAPE)


def check_the_tip_is_where_the_simulator_says() -> None:
    model = arm.simulator.MjModel.from_xml_string(arm.MODEL)
    data = arm.simulator.MjData(model)
    for angles in chance(2).uniform(-3, 3, (50, 2)):
        data.qpos[:] = angles
        arm.simulator.mj_forward(model, data)
        theirs = data.site("tip").xpos
        require(np.allclose(arm.tip(angles[None])[0], theirs[:2], atol=1e-12), f"at {angles}")
        require(theirs[2] == 0, "the arm is planar")


def check_every_hole_can_be_reached_and_none_lies_at_the_tip() -> None:
    for seed in SEEDS:
        reaches = arm.draw(chance(seed), 100)
        distance = np.hypot(*reaches.target.T)
        require(distance.max() <= arm.UPPER + arm.FOREARM)
        require(distance.min() >= abs(arm.UPPER - arm.FOREARM))
        require(np.linalg.norm(arm.tip(reaches.start) - reaches.target, axis=1).min() >= 0.08)
        require(reaches.workpiece.min() >= 0 and reaches.workpiece.max() <= arm.WORKPIECE_MAX)


def check_a_reach_does_not_depend_on_its_neighbours() -> None:
    reaches = arm.draw(chance(3), 8)
    together = arm.Bench(8).run(reaches, policy.linear(lively()))
    for one in range(8):
        alone = arm.Reaches(
            start=reaches.start[one : one + 1],
            target=reaches.target[one : one + 1],
            workpiece=reaches.workpiece[one : one + 1],
        )
        single = arm.Bench(1).run(alone, policy.linear(lively()))
        require(single.reward[0] == together.reward[one])
        require(single.distance[0] == together.distance[one])


def check_a_bench_remembers_nothing_of_the_last_reaches() -> None:
    bench, reaches = arm.Bench(8), arm.draw(chance(4), 8)
    first = bench.run(reaches, policy.linear(lively(1)))
    bench.run(arm.draw(chance(5), 8), policy.linear(lively(2)))
    require(np.array_equal(bench.run(reaches, policy.linear(lively(1))).reward, first.reward))


def check_the_weight_of_the_workpiece_matters() -> None:
    reaches = arm.draw(chance(6), 40)
    distances = []
    for mass in (0.0, arm.WORKPIECE_MAX):
        same = arm.Reaches(start=reaches.start, target=reaches.target, workpiece=np.full(40, mass))
        distances.append(
            arm.Bench(40).run(same, lambda _angles, _speeds, error: 10 * error[:, ::-1]).distance
        )
    require(not np.allclose(*distances, atol=1e-4), "the weight changes nothing")


def check_the_reward_is_worth_climbing_everywhere() -> None:
    distance = np.linspace(0, 1, 1000)
    reward = arm.rewards(distance)
    require((np.diff(reward) < 0).all() and reward[0] == 1 and reward[-1] > 0)
    require(math.isclose(float(arm.rewards(np.array([arm.REWARD_HALF]))[0]), 0.5))


def check_the_features_vanish_at_rest_on_the_target_and_only_there() -> None:
    angles = chance(7).uniform(-3, 3, (100, 2))
    nothing = np.zeros((100, 2))
    require(not policy.features(angles, nothing, nothing).any())
    for moved in (
        policy.features(angles, nothing + 0.01, nothing),
        policy.features(angles, nothing, nothing + 0.001),
    ):
        require(np.abs(moved).max(axis=1).min() > 0)
    require(moved.shape == (100, len(policy.FEATURES)))


def check_the_forearm_sees_the_same_error_however_the_base_is_turned() -> None:
    generator = chance(8)
    angles, error = generator.uniform(-2, 2, (50, 2)), generator.standard_normal((50, 2))
    turn = 0.7
    turned = error @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    still = np.zeros((50, 2))
    before = policy.features(angles, still, error)
    after = policy.features(angles + np.array([turn, 0.0]), still, turned)
    require(np.allclose(before, after, atol=1e-12))


def check_one_policy_for_all_is_that_policy_for_each() -> None:
    generator = chance(9)
    angles, speeds, error = (generator.standard_normal((5, 2)) for _ in range(3))
    each = policy.linear(np.repeat(lively()[None], 5, axis=0))(angles, speeds, error)
    require(np.allclose(policy.linear(lively())(angles, speeds, error), each, rtol=1e-12))


def check_trials_lie_evenly_around_the_weights() -> None:
    weights = lively()
    tried = search.changes(SEARCH, policy.SHAPE, seed=1, iteration=0)
    found = search.trials(weights, tried, SEARCH.noise)
    require(found.shape == (2 * SEARCH.directions, *policy.SHAPE))
    require(np.allclose(found[: SEARCH.directions] + found[SEARCH.directions :], 2 * weights))


def check_an_update_is_what_plain_arithmetic_says() -> None:
    for seed in SEEDS:
        generator = chance(seed)
        tried = generator.standard_normal((SEARCH.directions, 2, 3))
        rewards = generator.standard_normal(2 * SEARCH.directions)
        pairs = [(rewards[n], rewards[n + SEARCH.directions], tried[n]) for n in range(SEARCH.directions)]
        kept = sorted(pairs, key=lambda pair: -max(pair[0], pair[1]))[: SEARCH.best]
        used = [value for forwards, backwards, _ in kept for value in (forwards, backwards)]
        middle = sum(used) / len(used)
        deviation = math.sqrt(sum((value - middle) ** 2 for value in used) / len(used))
        expected = np.zeros((2, 3))
        for forwards, backwards, change in kept:
            expected += SEARCH.rate / (SEARCH.best * deviation) * (forwards - backwards) * change
        require(np.allclose(search.updated(np.zeros((2, 3)), tried, rewards, SEARCH), expected))


def check_an_update_does_not_care_for_the_unit_of_the_reward() -> None:
    for seed in SEEDS:
        generator = chance(seed)
        tried, rewards = generator.standard_normal((6, 2, 3)), generator.standard_normal(12)
        first = search.updated(np.zeros((2, 3)), tried, rewards, SEARCH)
        require(np.allclose(search.updated(np.zeros((2, 3)), tried, 1000 * rewards + 7, SEARCH), first))


def check_equal_rewards_change_nothing() -> None:
    tried = search.changes(SEARCH, policy.SHAPE, seed=1, iteration=0)
    require(np.array_equal(search.updated(lively(), tried, np.ones(12), SEARCH), lively()))


def check_chance_depends_on_seed_iteration_and_purpose() -> None:
    drawn = {
        (seed, iteration, purpose): float(search.generator(seed, iteration, purpose=purpose).random())
        for seed in range(3)
        for iteration in range(3)
        for purpose in (1, 2)
    }
    require(len(set(drawn.values())) == len(drawn))
    require(drawn[1, 2, 1] == float(search.generator(1, 2, purpose=1).random()))


def check_the_curve_begins_before_training_and_ends_with_it() -> None:
    for iterations in (1, 2, 23, 24, 25, 1000):
        points = sorted(loop.curve_iterations(iterations))
        require(points[0] == 0 and points[-1] == iterations)
        require(len(points) == min(loop.CURVE_POINTS, iterations) + 1)


def check_a_checkpoint_comes_back_bit_by_bit(folder: Path) -> None:
    state = State(weights=lively() / 3, iteration=7, curve=[Point(reaches=5, reward=0.1, success=0.25)])
    size = checkpoint.save(folder, state, run="a")
    found = checkpoint.load(folder, policy.SHAPE, run="a")
    require(found is not None and np.array_equal(found.weights, state.weights))
    require(found is not None and (found.iteration, found.curve) == (7, state.curve))
    require([path.name for path in folder.iterdir()] == ["state.json"], "an unfinished file was left")
    require(size == (folder / "state.json").stat().st_size)


def check_no_checkpoint_is_none(folder: Path) -> None:
    require(checkpoint.load(folder, policy.SHAPE, run="a") is None)


def check_a_foreign_checkpoint_is_refused(folder: Path) -> None:
    checkpoint.save(folder, State(weights=lively()), run="a")
    require_error("train.checkpoint.foreign", lambda: checkpoint.load(folder, policy.SHAPE, run="b"))
    require_error("train.checkpoint.foreign", lambda: checkpoint.load(folder, (2, 3), run="a"))


def check_a_damaged_checkpoint_is_refused(folder: Path) -> None:
    checkpoint.save(folder, State(weights=lively()), run="a")
    path = folder / "state.json"
    whole = path.read_text()
    value = json.loads(whole)
    damaged = [whole[: len(whole) // 2], "[]", "null", "[" * 100_000, whole.replace('"weights"', '"w"')]
    damaged += [json.dumps(value | {"weights": [[math.inf]]}), json.dumps(value | {"iteration": -1})]
    damaged += [json.dumps(value | {"curve": [{"odd": 1}]}), json.dumps(value | {"v": 2})]
    for text in damaged:
        path.write_text(text)
        require_error("train.checkpoint.damaged", lambda: checkpoint.load(folder, policy.SHAPE, run="a"))


def name(index: int, size: int, reaches: int) -> str:
    part = plan.tried(index, size)
    return loop.Settings(out_folder=Path(), checkpoint_folder=None, reaches=reaches, part=part).run


def check_a_run_is_named_by_what_decides_it() -> None:
    require(name(1, 8, 100) == name(1, 9, 100), "the size of the array changes no part of it")
    require(len({name(1, 8, 100), name(2, 8, 100), name(1, 8, 101)}) == 3)


def main() -> int:
    """Run every check in a folder of its own; returns the exit status."""
    failed = False
    for name, check in list(globals().items()):
        if not name.startswith("check_"):
            continue
        error = None
        with tempfile.TemporaryDirectory() as folder:
            try:
                check(Path(folder)) if check.__code__.co_argcount else check()
            except Exception:  # noqa: BLE001 - whatever it is, it is this check's result
                error = traceback.format_exc()
                failed = True
        sys.stdout.write(json.dumps({"check": name, "error": error}) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
