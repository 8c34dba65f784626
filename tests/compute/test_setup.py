"""`setup` from the job file to the offer: the text goes along, and a workdir only where it may be seen."""

from __future__ import annotations

from typing import Any

import pytest

from sekisho_wire import messages
from tests.compute.world import World, job_file

SETUP = "setup: |\n  pip install text-tools\n"


def offer_of(world: World, text: str, **fields: Any) -> messages.Offer:
    """The offer that a submitted job becomes at home."""
    world.submit(text, **fields)
    world.settle()
    (order,) = world.home.offers()
    assert isinstance(order.body, messages.Offer)
    return order.body


def test_the_text_reaches_the_site_as_it_was_written(world: World) -> None:
    offer = offer_of(world, job_file(more=SETUP))
    assert (offer.setup, offer.setup_workdir) == ("pip install text-tools\n", False)


def test_a_job_without_setup_says_nothing_of_it(world: World) -> None:
    offer = offer_of(world, job_file(), workdir=world.workdir())
    assert (offer.setup, offer.setup_workdir) == ("", False)
    assert offer.workdir is not None


@pytest.mark.parametrize(
    ("label", "seen"),
    [
        ({}, True),
        ({"level": 1}, False),
        ({"labels": ["press"]}, False),
        ({"residency": ["JP"]}, False),
    ],
)
def test_only_a_public_workdir_is_seen_by_setup(world: World, label: dict[str, Any], seen: bool) -> None:
    offer = offer_of(world, job_file(more=SETUP), workdir=world.workdir(**label))
    assert offer.workdir is not None
    assert offer.setup_workdir is seen


def test_data_of_a_higher_level_does_not_hide_a_public_workdir(world: World) -> None:
    """What counts is what the build would see, not what the payload sees later."""
    world.dataset("corpus")
    text = job_file(more=SETUP + "data: [{from: corpus, mount: /data}]\n")
    offer = offer_of(world, text, workdir=world.workdir())
    assert (offer.level, offer.setup_workdir) == (1, True)
