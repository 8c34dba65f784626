"""The control policy: torques that are linear in what the arm sees, so that it can be read and checked by hand.

The features vanish exactly when the tip rests on the target. A policy without a constant part therefore pushes until
it is there, and one that was not trained does nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from arm import Array, Policy

ERROR_METRES = 0.1
SPEED_RADIANS = 5.0
ERRORS = ("ahead", "aside")
SPEEDS = ("shoulder", "elbow")
FEATURES = (
    *(f"{name}{bend}" for name in ERRORS for bend in ("", " cos elbow", " sin elbow")),
    *(f"{name} speed{bend}" for name in SPEEDS for bend in ("", " cos elbow")),
)
"""Each is about 1 for a large value: an error of 10 cm, a speed of 5 rad/s."""
SHAPE = (2, len(FEATURES))


def features(angles: Array, speeds: Array, error: Array) -> Array:
    """What the policy sees (n, features): the error (n, 2) as the forearm sees it, and the joints' speeds (n, 2)."""
    whole = angles[:, 0] + angles[:, 1]
    cosine, sine = np.cos(whole), np.sin(whole)
    bend, fold = np.cos(angles[:, 1]), np.sin(angles[:, 1])
    ahead = (cosine * error[:, 0] + sine * error[:, 1]) / ERROR_METRES
    aside = (cosine * error[:, 1] - sine * error[:, 0]) / ERROR_METRES
    shoulder, elbow = speeds[:, 0] / SPEED_RADIANS, speeds[:, 1] / SPEED_RADIANS
    columns = [ahead, ahead * bend, ahead * fold, aside, aside * bend, aside * fold]
    columns += [shoulder, shoulder * bend, elbow, elbow * bend]
    return np.stack(columns, axis=1)


def linear(weights: Array) -> Policy:
    """The policy of these weights: (2, features) for all arms alike, or (n, 2, features) with one set for each arm."""
    # einsum adds in one order on every machine; a product by BLAS would not.
    form = "naf,nf->na" if weights.ndim > len(SHAPE) else "af,nf->na"
    return lambda angles, speeds, error: np.einsum(form, weights, features(angles, speeds, error))
