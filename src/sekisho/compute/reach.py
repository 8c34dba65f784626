"""Whether what a job names has come in for exactly what it is named as, and if not, where alone it lies.

Objects are kept by digest, here and in the store of each site, and a store that has a digest asks nobody whose it is.
So a digest that somebody has only named, a person or a site's agent, must never become part of an offer.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from sekisho.compute.spec import Input, JobSpec
from sekisho.data import ArtefactView, arrived_for, check_arrived, find_artefact, made_at
from sekisho.kernel.tx import Tx

_ARTEFACT = "art_"


class Arrived(Protocol):
    """The control plane's own store."""

    def __call__(self, into: str, digest: str, kind: str) -> bool:
        """Whether an object, and for a tree every file of it, came in here under this name."""
        ...


def within_reach(tx: Tx, spec: JobSpec, arrived: Arrived) -> JobSpec:
    """The spec, each input that came in nowhere else bound to the site whose attempt left it behind.

    Problem `data.incomplete` for a working folder or input whose bytes nobody has sent.
    """
    if spec.workdir:
        check_arrived("workdir", present=arrived(spec.workdir_id, spec.workdir.object, "tree"))
    inputs = [_bound(tx, item, arrived) for item in spec.inputs]
    return msgspec.structs.replace(spec, inputs=inputs)


def can_resume(tx: Tx, newest: ArtefactView, arrived: Arrived) -> bool:
    """Whether a training checkpoint came in here as a whole: what its agent said of it counts at its own site only."""
    return arrived(arrived_for(tx, newest.id), newest.object, newest.object_kind)


def _bound(tx: Tx, item: Input, arrived: Arrived) -> Input:
    """A dataset was looked through when it was sealed."""
    if not item.source.startswith(_ARTEFACT):
        return item
    artefact = find_artefact(tx, item.source)
    if arrived(arrived_for(tx, artefact.id), artefact.object, artefact.object_kind):
        return item
    site = made_at(tx, artefact.id)
    check_arrived(artefact.id, present=bool(site))
    return msgspec.structs.replace(item, site=site)
