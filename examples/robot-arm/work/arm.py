"""A two-joint arm on a bench, simulated by MuJoCo: it carries a workpiece of unknown weight to a hole of 1 mm.

Lengths in metres, angles in radians, torques in newton metres, masses in kilograms, times in seconds. The axes of both
joints are vertical, so weight loads the bearings and not the motors; what makes it hard is dry friction, the limits of
the motors, and a workpiece that may weigh as much as the forearm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np
from mujoco import batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Policy = Callable[[Array, Array, Array], Array]

# The simulator's compiled bindings carry no types.
simulator: Any = mujoco
UPPER, FOREARM = 0.20, 0.16
TORQUE_MAX = np.array([3.0, 1.2])
SUBSTEPS = 5
STEP_SECONDS = 0.002
DECISION_SECONDS = STEP_SECONDS * SUBSTEPS
DECISIONS = 100
"""A reach lasts one second: 100 decisions, 5 steps of the simulator each."""
TOLERANCE = 0.001
"""How far the tip may be from the hole's middle."""
SETTLED_DECISIONS = 10
"""For how many decisions at the end the tip has to stay within the tolerance to count as a success."""
REWARD_HALF = 0.01
"""At which distance a decision is worth half of what it is worth on the target."""
WORKPIECE_MAX = 0.4
_FULL_WORKPIECE_INERTIA = 1.6e-4
_DISTANCE_MIN = 0.08
_FOLD_MIN, _FOLD_MAX, _TURN_MAX = 0.5, 2.4, 2.0

MODEL = f"""
<mujoco model="bench-arm">
  <compiler angle="radian"/>
  <option timestep="{STEP_SECONDS}" integrator="implicitfast"/>
  <default>
    <geom type="capsule" contype="0" conaffinity="0"/>
    <joint type="hinge" axis="0 0 1" damping="0.02" armature="0.004"/>
    <motor ctrllimited="true"/>
  </default>
  <worldbody>
    <body name="upper">
      <joint name="shoulder" frictionloss="0.03"/>
      <geom fromto="0 0 0 {UPPER} 0 0" size="0.022" mass="0.9"/>
      <body name="forearm" pos="{UPPER} 0 0">
        <joint name="elbow" frictionloss="0.015"/>
        <geom fromto="0 0 0 {FOREARM} 0 0" size="0.016" mass="0.5"/>
        <body name="workpiece" pos="{FOREARM} 0 0">
          <inertial pos="0 0 0" mass="{WORKPIECE_MAX}" diaginertia="{" ".join([str(_FULL_WORKPIECE_INERTIA)] * 3)}"/>
          <site name="tip"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="shoulder" ctrlrange="{-TORQUE_MAX[0]} {TORQUE_MAX[0]}"/>
    <motor joint="elbow" ctrlrange="{-TORQUE_MAX[1]} {TORQUE_MAX[1]}"/>
  </actuator>
</mujoco>
"""


@dataclass(frozen=True, kw_only=True)
class Reaches:
    """What is asked of the arm, one line each: joint angles at the start (n, 2), holes (n, 2), workpieces (n,)."""

    start: Array
    target: Array
    workpiece: Array

    def __len__(self) -> int:
        """How many there are."""
        return len(self.workpiece)

    def repeated(self, times: int) -> Reaches:
        """The same reaches `times` over, one block after the other."""
        return Reaches(
            start=np.tile(self.start, (times, 1)),
            target=np.tile(self.target, (times, 1)),
            workpiece=np.tile(self.workpiece, times),
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of each reach: its reward (n,), and the largest distance while it should be still (n,)."""

    reward: Array
    distance: Array

    @property
    def success(self) -> NDArray[np.bool_]:
        """Whether the tip stayed within the tolerance at the end."""
        return self.distance <= TOLERANCE


def tip(angles: Array) -> Array:
    """Where the tip is (n, 2) for joint angles (n, 2)."""
    whole = angles[:, 0] + angles[:, 1]
    return np.stack(
        [
            UPPER * np.cos(angles[:, 0]) + FOREARM * np.cos(whole),
            UPPER * np.sin(angles[:, 0]) + FOREARM * np.sin(whole),
        ],
        axis=1,
    )


def draw(generator: np.random.Generator, count: int) -> Reaches:
    """Reaches by chance: the arm can get to every hole, and none lies where the tip already is."""
    start, goal = _postures(generator, count), _postures(generator, count)
    near = _near(start, goal)
    while near.any():
        goal[near] = _postures(generator, int(near.sum()))
        near = _near(start, goal)
    return Reaches(start=start, target=tip(goal), workpiece=generator.uniform(0.0, WORKPIECE_MAX, count))


def _postures(generator: np.random.Generator, count: int) -> Array:
    turn = generator.uniform(-_TURN_MAX, _TURN_MAX, count)
    fold = generator.uniform(_FOLD_MIN, _FOLD_MAX, count)
    return np.stack([turn, fold], axis=1)


def _near(start: Array, goal: Array) -> NDArray[np.bool_]:
    return np.linalg.norm(tip(start) - tip(goal), axis=1) < _DISTANCE_MIN


def rewards(distance: Array) -> Array:
    """What one decision is worth: 1 on the target, a half at 1 cm, never nothing, so that there is a way uphill."""
    return 1.0 / (1.0 + distance / REWARD_HALF)


class Bench:
    """Many arms side by side. Not to be shared between threads."""

    def __init__(self, count: int) -> None:
        """Room for `count` reaches at once, simulated by this thread alone."""
        self._batch = batch.Batch(simulator.MjModel.from_xml_string(MODEL), count, nthread=1)
        self._angles, self._speeds = self._batch.bind("qpos"), self._batch.bind("qvel")
        self._torques = self._batch.bind("ctrl")
        self._masses, self._inertias = self._batch.expand("body_mass"), self._batch.expand("body_inertia")
        self._workpiece = self._batch.model.body("workpiece").id

    def run(self, reaches: Reaches, policy: Policy) -> Outcome:
        """Reach once with each arm; `policy` answers shares of the largest torque from angles, speeds and errors."""
        self._prepare(reaches)
        total, worst = np.zeros(len(reaches)), np.zeros(len(reaches))
        error = reaches.target - tip(self._angles)
        for decision in range(DECISIONS):
            share = np.clip(policy(self._angles, self._speeds, error), -1.0, 1.0)
            self._torques[:] = share * TORQUE_MAX
            self._batch.step(nstep=SUBSTEPS)
            error = reaches.target - tip(self._angles)
            distance = np.hypot(error[:, 0], error[:, 1])
            total += rewards(distance)
            if decision >= DECISIONS - SETTLED_DECISIONS:
                np.maximum(worst, distance, out=worst)
        return Outcome(reward=total / DECISIONS, distance=worst)

    def _prepare(self, reaches: Reaches) -> None:
        """A workpiece keeps its size: its inertia grows with its mass."""
        # A simulation of no mass at the end of a chain still needs some inertia there.
        mass = np.maximum(reaches.workpiece, 1e-3)
        self._masses[:, self._workpiece] = mass
        self._inertias[:, self._workpiece] = (mass / WORKPIECE_MAX * _FULL_WORKPIECE_INERTIA)[:, None]
        self._batch.set_const()
        self._batch.reset(stage=simulator.mjtStage.mjSTAGE_NONE.value)
        self._angles[:] = reaches.start
        self._speeds[:] = 0.0
