"""An agent cannot call somebody else's encrypted object its own, and have it opened behind its own job's walls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sekisho.data import ListArtefacts
from sekisho_verify.canonical import digest
from sekisho_wire import messages
from sekisho_wire.messages import Envelope
from tests.compute.sealed_world import SealedWorld, recipient, want
from tests.compute.world import FINISHED, MODEL, code_of, job_file, started
from tests.support import custody

FACTORY = "data: [{from: factory, mount: /data}, {to: model, mount: /out}]\n"
HEADER = digest(b"a header of its own")


@pytest.fixture
def sealed(tmp_path: Path, db_url: str) -> Iterator[SealedWorld]:
    """`patients` is level 2 and its header is `custody.ENVELOPE`; `factory`, under the same key, is level 1."""
    made = SealedWorld(tmp_path, db_url).begin()
    made.dataset("factory", level=1)
    yield made
    made.close()


def running(sealed: SealedWorld) -> tuple[str, Envelope]:
    """A job over `factory` at level 1, with a key to seal with."""
    job, order = sealed.offered(job_file(more=FACTORY))
    sealed.home.say(order, messages.Accept(), want(headers=[], make=1, recipient=recipient()))
    sealed.home.say(order, messages.Staged(), started())
    return job, order


def saved(envelope: str) -> messages.CheckpointSaved:
    """A checkpoint that is said to be in this envelope."""
    return messages.CheckpointSaved(object=digest(b"c"), size_bytes=3, envelope=envelope)


@pytest.mark.parametrize("of", ["dataset", "input", "attempt"])
def test_a_checkpoint_in_an_envelope_of_something_else_is_refused(sealed: SealedWorld, of: str) -> None:
    """The next attempt of the job would have it opened as its own: level 2 behind the walls of level 1."""
    job, order = running(sealed)
    known = {
        "dataset": lambda: custody.ENVELOPE,
        "input": lambda: sealed.rows("select envelope from data_datasets where name = 'factory'")[0][
            "envelope"
        ],
        "attempt": lambda: left_by_another(sealed),
    }[of]()
    assert code_of(lambda: sealed.home.say(order, saved(known))) == "attempt.unsealed"
    assert sealed.perform(sealed.engineer, ListArtefacts(job=job)).items == []
    sealed.home.say(order, saved(digest(b"own")), saved(digest(b"own")))


def left_by_another(sealed: SealedWorld) -> str:
    """The envelope of what another job's attempt left behind."""
    _, order = running(sealed)
    sealed.home.say(order, saved(HEADER))
    return HEADER


def test_an_output_in_an_envelope_of_something_else_fails_the_job(sealed: SealedWorld) -> None:
    job, order = running(sealed)
    log = messages.LogReport(bytes=5, dropped=0, digest=digest(b"log"), envelope=HEADER)
    output = msgspec.structs.replace(MODEL, envelope=custody.ENVELOPE)
    sealed.home.say(order, msgspec.structs.replace(FINISHED, outputs=[output], log=log))
    assert sealed.reason(job) == ("failed", "key.unsealed")
    assert sealed.perform(sealed.engineer, ListArtefacts(job=job)).items == []


def test_a_log_in_an_envelope_of_something_else_is_no_artefact(sealed: SealedWorld) -> None:
    job, order = running(sealed)
    log = messages.LogReport(bytes=5, dropped=0, digest=digest(b"log"), envelope=custody.ENVELOPE)
    sealed.home.say(
        order,
        msgspec.structs.replace(FINISHED, outputs=[msgspec.structs.replace(MODEL, envelope=HEADER)], log=log),
    )
    assert [item.kind for item in sealed.perform(sealed.engineer, ListArtefacts(job=job)).items] == ["output"]


def test_a_job_without_a_key_leaves_nothing_in_envelopes(sealed: SealedWorld) -> None:
    """What it calls so stands in nobody's way."""
    job, order = sealed.offered()
    sealed.home.say(order, messages.Accept(), messages.Staged(), started(), saved(digest(b"next")))
    (left,) = sealed.perform(sealed.engineer, ListArtefacts(job=job)).items
    assert (left.key, left.envelope) == ("", "")
