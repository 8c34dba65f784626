"""All handlers of compute in one list; each file beside this one holds the handlers of one noun."""

from __future__ import annotations

from typing import Any

import msgspec

from sekisho.compute import arrays, attempts, jobs, keeps, orders, releases, rounds
from sekisho.kernel.context import Handler


class ComputeActions(msgspec.Struct, frozen=True):
    """One object for each noun, made by `app.py` with what it needs from outside the database."""

    jobs: jobs.JobActions
    rounds: rounds.RoundActions
    attempts: attempts.AttemptActions
    orders: orders.OrderActions
    keeps: keeps.KeepActions
    releases: releases.ReleaseActions


def handlers(actions: ComputeActions) -> tuple[Handler[Any], ...]:
    """Every command of compute."""
    return (
        *jobs.handlers(actions.jobs),
        *arrays.handlers(),
        *rounds.handlers(actions.rounds),
        *attempts.handlers(actions.attempts),
        *orders.handlers(actions.orders),
        *keeps.handlers(actions.keeps),
        *releases.handlers(actions.releases),
    )
