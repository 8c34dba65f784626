"""What people declare about organisations and persons: always grade D, always with an author and a moment."""

from __future__ import annotations

from collections.abc import Sequence

from sekisho.identity import model as m
from sekisho.identity import model_people as people
from sekisho.identity import rules, tables
from sekisho.kernel.context import Ctx
from sekisho.kernel.errors import InvalidInputError

ORGANISATION_FACTS = (
    "jurisdiction",
    "parent",
    "parent_jurisdiction",
    "foreign_control_pct",
    "legal_exposure",
    "certs",
)

Declaration = m.CreateOrganisation | m.UpdateOrganisation | m.NewOrganisation


def declare(ctx: Ctx, organisation: str, given: Declaration, about: tuple[str, int]) -> None:
    """Write every fact about an organisation that is given (not None). `about`: source, end (0: none).

    A better grade than D takes a signature or a measurement of somebody else's and is never typed in.
    """
    for name in ORGANISATION_FACTS:
        value = getattr(given, name)
        if value is not None:
            state(ctx, ("Org", organisation), (name, value), about)


def declare_person(
    ctx: Ctx, person: str, given: people.CreatePerson | people.UpdatePerson | people.NewPerson
) -> None:
    """Write a person's residence and clearances where given; clearances need their end."""
    source = "" if isinstance(given, people.NewPerson) else given.source
    anew = isinstance(given, people.UpdatePerson)
    if given.residence or (anew and given.residence is not None):
        state(ctx, ("User", person), ("residence", given.residence), (source, 0))
    clearances = None if isinstance(given, people.NewPerson) else given.clearances
    if not clearances and not (anew and clearances is not None):
        return
    until_ms = 0 if isinstance(given, people.NewPerson) else given.clearance_until_ms
    if clearances and not until_ms:
        raise InvalidInputError(field="clearance_until_ms", what="a clearance needs its end")
    state(ctx, ("User", person), ("clearances", clearances or []), (source, until_ms if clearances else 0))


def state(
    ctx: Ctx,
    subject: tuple[str, str],
    what: tuple[str, str | int | bool | Sequence[str]],
    about: tuple[str, int],
) -> None:
    """Write one declared fact: (type, id), (name, value), (source, end); its end removes it in the background."""
    (subject_type, subject_id), (name, value), (source, expires_ms) = subject, what, about
    if expires_ms and expires_ms <= ctx.now_ms:
        raise InvalidInputError(field="expires_ms", what="lies in the past")
    fact = rules.Fact(
        value=value if isinstance(value, str | int) else sorted(set(value)),
        grade="D",
        issuer=ctx.actor.ref.id,
        source=source,
        observed_ms=ctx.now_ms,
        expires_ms=expires_ms,
    )
    tables.put_fact(ctx.tx, subject_id, name, (subject_type, fact))
    if expires_ms:
        ctx.later(m.ExpireFact(subject=subject_id, name=name), delay_ms=expires_ms - ctx.now_ms)
