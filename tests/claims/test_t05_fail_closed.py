"""T5: every doubt about a place is a no: nobody known, nothing stated, nothing fresh, nowhere to record."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sekisho.kernel.facts import Entity, Ref, Request
from sekisho.sites import AddProof
from sekisho_verify import canonical
from tests.claims.placing import LEVEL_2, Placing

MINUTE_MS = 60_000


def question(here: Placing, **changes: Any) -> Request:
    """What a placement asks about a job of level 2 at the site, or something near it."""
    job = Entity(
        Ref("Job", "job_1"),
        {
            "owner": Ref("Org", here.world.office),
            "level": 2,
            "labels": frozenset[str](),
            "residency": frozenset({"JP"}),
        },
    )
    site = here.yard.place.id
    context = {
        "site": Ref("Site", site),
        "key": Ref("Key", f"platform-{site}"),
        "egress": "none",
        "egress_attested": False,
    }
    asked = Request(
        principal=Entity(
            here.world.engineer.ref,
            {
                "org": Ref("Org", here.world.office),
                "roles": frozenset({"engineer"}),
            },
        ),
        action="compute.job.place",
        resource=job,
        context=context,
        now_ms=here.world.clock.now_ms(),
    )
    return msgspec.structs.replace(asked, **changes)


def rules(here: Placing, asked: Request) -> tuple[str, ...]:
    """The rules of a refusal; nothing where the charter says yes."""
    decision = here.world.database.read(lambda tx: here.world.control.engine.decide(tx, asked))
    return () if decision.allowed else decision.rules


def test_t05_whatever_is_unknown_missing_or_over_is_denied(placing: Placing) -> None:
    here = placing
    here.yard.prove()
    asked = question(here)
    assert rules(here, asked) == ()
    for name, ref in (("site", Ref("Site", "site_gone")), ("key", Ref("Key", "platform-site_gone"))):
        assert rules(here, msgspec.structs.replace(asked, context={**asked.context, name: ref})) != ()
    for name in asked.context:
        context = {key: value for key, value in asked.context.items() if key != name}
        assert rules(here, msgspec.structs.replace(asked, context=context)) != ()
    for name in asked.resource.attributes:
        attributes = {key: value for key, value in asked.resource.attributes.items() if key != name}
        bare = msgspec.structs.replace(asked.resource, attributes=attributes)
        assert rules(here, msgspec.structs.replace(asked, resource=bare)) != ()
    standing = here.yard.shown().standing
    assert standing is not None
    for now_ms, denied in (
        (standing.expires_ms, False),
        (standing.expires_ms + 1, True),
        (standing.observed_ms - 1, True),
    ):
        found = rules(here, msgspec.structs.replace(asked, now_ms=now_ms))
        assert (found == ("C02-location-proof",)) is denied


def test_t05_an_expired_proof_holds_nothing_even_before_it_is_swept_away(placing: Placing) -> None:
    placing.yard.prove()
    placing.world.clock.advance(15 * MINUTE_MS)
    job = placing.world.submit(LEVEL_2).id
    placing.world.hear()
    placing.round()
    assert placing.state(job) == "waiting"


def test_t05_without_a_ledger_no_proof_stands_and_nothing_is_placed(
    placing: Placing, monkeypatch: pytest.MonkeyPatch
) -> None:
    placing.yard.ask()
    transcripts = {name: placing.yard.task(name) for name in ("north", "south", "east")}

    def broken(*_arguments: object) -> None:
        raise OSError("the ledger is away")

    with monkeypatch.context() as patch:
        patch.setattr(placing.world.gate._recorder, "append", broken)
        for name, task in transcripts.items():
            data = canonical.to_base64url(placing.yard.held(name, task).write())
            with pytest.raises(OSError, match="away"):
                placing.world.perform(
                    placing.yard.carriers["exchange"],
                    AddProof(site=task.target, request=task.request, transcripts=[data]),
                )
    assert placing.yard.shown().standing is None
    job = placing.submit()
    assert placing.state(job) == "waiting"
