"""The run itself: iterations until the budget is spent, then the figures on reaches that were never trained on."""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import arm
import checkpoint
import mujoco
import numpy as np
import policy
import search
from checkpoint import Point, State
from failures import TrainError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from threading import Event

    from plan import Try

REACHES_A_TRIAL = 4
"""Each trial change is judged by the same few reaches, forwards and backwards, so that luck does not decide."""
SAVED_EVERY_SECONDS = 5.0
CURVE_POINTS = 24
VALIDATION_REACHES, HELD_OUT_REACHES = 32, 200
# Seeds of their own, far from any index: every part of the array is measured on the same reaches.
_VALIDATION_SEED, _HELD_OUT_SEED = 2_000_001, 2_000_002


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one run is asked for: the result is a function of `part` and `reaches`, on one type of machine.

    `checkpoint_folder` None means that a stopped run starts anew.
    """

    out_folder: Path
    checkpoint_folder: Path | None
    reaches: int
    part: Try

    @property
    def search(self) -> search.Search:
        """The search that this part of the array tries."""
        part = self.part
        return search.Search(rate=part.rate, noise=part.noise, directions=part.directions, best=part.best)

    @property
    def reaches_an_iteration(self) -> int:
        """Both ways of every trial change, each over a few reaches."""
        return 2 * self.part.directions * REACHES_A_TRIAL

    @property
    def iterations(self) -> int:
        """Whole iterations within the budget of reaches; every part gets the same budget, whatever it tries."""
        return max(1, self.reaches // self.reaches_an_iteration)

    @property
    def run(self) -> str:
        """The name of the run: what its result depends on."""
        parts = {
            "part": asdict(self.part) | {"size": 0},
            "reaches": self.reaches,
            "model": arm.MODEL,
            "features": policy.FEATURES,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Stopped(Exception):  # noqa: N818 - it is no error: the run was asked to stop and has saved what it had
    """The run was asked to stop; its checkpoint, where it has a folder for one, is written."""


class Trainer:
    """The iterations of one attempt. Owns the state; nobody else changes it."""

    def __init__(self, settings: Settings, say: Callable[..., None]) -> None:
        """Take up a checkpoint of this run where there is one, else start from a policy that does nothing."""
        self.settings, self._say = settings, say
        self._bench = arm.Bench(settings.reaches_an_iteration)
        self._measuring = Measure(_VALIDATION_SEED, VALIDATION_REACHES)
        saved = None
        if settings.checkpoint_folder is not None:
            saved = checkpoint.load(settings.checkpoint_folder, policy.SHAPE, run=settings.run)
        self.state = saved or State(weights=np.zeros(policy.SHAPE))
        if saved is not None:
            say("resumed", step=self.reaches, iteration=saved.iteration)

    @property
    def reaches(self) -> int:
        """Reaches simulated in training so far, over all attempts."""
        return self.state.iteration * self.settings.reaches_an_iteration

    def train(self, stop: Event) -> None:
        """Iterate until the budget is spent. Raises `Stopped` once `stop` is set and the state is saved."""
        saved = time.monotonic()
        points = curve_iterations(self.settings.iterations)
        while True:
            if self.state.iteration in points and not self._measured():
                self._measure()
            if self.state.iteration >= self.settings.iterations:
                return
            if stop.is_set():
                self.save()
                raise Stopped
            self._iterate()
            if time.monotonic() - saved >= SAVED_EVERY_SECONDS:
                self.save()
                saved = time.monotonic()

    def _iterate(self) -> None:
        settings, state = self.settings, self.state
        seed, iteration = settings.part.seed, state.iteration
        tried = search.changes(settings.search, policy.SHAPE, seed=seed, iteration=iteration)
        weights = search.trials(state.weights, tried, settings.search.noise)
        reaches = arm.draw(search.generator(seed, iteration, purpose=2), REACHES_A_TRIAL)
        policies = policy.linear(np.repeat(weights, REACHES_A_TRIAL, axis=0))
        outcome = self._bench.run(reaches.repeated(len(weights)), policies)
        rewards = outcome.reward.reshape(len(weights), REACHES_A_TRIAL).mean(axis=1)
        state.weights = search.updated(state.weights, tried, rewards, settings.search)
        if not np.isfinite(state.weights).all():
            raise TrainError(
                "train.weights.not_finite", f"a weight of iteration {iteration + 1} is not a number"
            )
        state.iteration += 1

    def _measured(self) -> bool:
        """A run that was stopped right at a point of the curve does not measure it twice."""
        return bool(self.state.curve) and self.state.curve[-1].reaches == self.reaches

    def _measure(self) -> None:
        reward, success, _ = self._measuring(self.state.weights)
        self.state.curve.append(Point(reaches=self.reaches, reward=reward, success=success))
        settings = self.settings
        self._say(
            "progress",
            step=self.reaches,
            of_steps=settings.iterations * settings.reaches_an_iteration,
            reward=reward,
            success=success,
            index=settings.part.index,
        )

    def save(self) -> None:
        """Write the checkpoint where the run has a folder for it."""
        folder = self.settings.checkpoint_folder
        if folder is not None:
            size_bytes = checkpoint.save(folder, self.state, run=self.settings.run)
            self._say("checkpoint", step=self.reaches, size_bytes=size_bytes)


class Measure:
    """Measures policies on reaches of its own, always the same."""

    def __init__(self, seed: int, count: int) -> None:
        """`seed` decides the reaches."""
        self._bench = arm.Bench(count)
        self._reaches = arm.draw(np.random.default_rng(seed), count)

    def __call__(self, weights: arm.Array) -> tuple[float, float, float]:
        """Mean reward, share of successes, and the median of the distance at the end in millimetres."""
        outcome = self._bench.run(self._reaches, policy.linear(weights))
        distance_mm = 1000 * float(np.median(outcome.distance))
        return round(float(outcome.reward.mean()), 4), float(outcome.success.mean()), round(distance_mm, 3)


def curve_iterations(iterations: int) -> frozenset[int]:
    """After which iterations the curve has a point: evenly, the first before any training, the last at the end."""
    count = min(CURVE_POINTS, iterations)
    return frozenset(math.ceil(iterations * number / count) for number in range(count + 1))


def figures(weights: arm.Array) -> dict[str, float | int]:
    """What is reported of a policy, on reaches that no part of the array trained on, beside an untrained one."""
    measure = Measure(_HELD_OUT_SEED, HELD_OUT_REACHES)
    reward, success, distance_mm = measure(weights)
    untrained_reward, untrained_success, _ = measure(np.zeros(policy.SHAPE))
    return {
        "held_out_reaches": HELD_OUT_REACHES,
        "held_out_reward": reward,
        "held_out_success": success,
        "held_out_distance_mm": distance_mm,
        "untrained_reward": untrained_reward,
        "untrained_success": untrained_success,
        "tolerance_mm": 1000 * arm.TOLERANCE,
    }


def run(settings: Settings, stop: Event, say: Callable[..., None]) -> None:
    """Train and write `policy.json`, `curve.json` and `result.json`. Raises `Stopped` and `TrainError`.

    The files hold no clock and no name of a machine: who runs the same index again gets the same bytes.
    """
    started = time.monotonic()
    say("start", **asdict(settings.part), mujoco=mujoco.__version__)
    trainer = Trainer(settings, say)
    trainer.train(stop)
    trainer.save()
    weights = trainer.state.weights
    found = figures(weights)
    out = settings.out_folder
    shape = {"features": list(policy.FEATURES), "torque_max_nm": arm.TORQUE_MAX.tolist()}
    checkpoint.write_whole(out / "policy.json", {"v": 1, **shape, "weights": weights.tolist()})
    points = [asdict(point) for point in trainer.state.curve]
    checkpoint.write_whole(out / "curve.json", {"v": 1, "index": settings.part.index, "points": points})
    whole = {"v": 1, **asdict(settings.part), "reaches": trainer.reaches, **found}
    checkpoint.write_whole(out / "result.json", whole | {"mujoco": mujoco.__version__, "run": settings.run})
    say("done", index=settings.part.index, **found, total_s=round(time.monotonic() - started, 1))
