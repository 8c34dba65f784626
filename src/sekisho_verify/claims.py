"""What the records claim: decisions, sites, place, wall; what is absent; what the auditor demands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sekisho_verify.checks import is_closed
from sekisho_verify.detail import LEVEL_MAX, ROUTES, Detail, Place, read_canaries
from sekisho_verify.errors import Exit, VerifyError
from sekisho_verify.lines import (
    ABSENT,
    ATTESTED,
    DECLARED,
    FAILED,
    MEASURED,
    NOTE,
    OK,
    SIGNED,
    Case,
    Line,
    failed,
    once,
)
from sekisho_verify.record import Record

CANARY_OPEN = "wall.canary_open"

_DEMANDED = {
    "place": "a measured place",
    "attestation": "attested hardware",
    "observation": "a wall that a known listener observed",
}


class DecisionError(VerifyError):
    """A record in which something was done that had been denied."""

    exit_code = Exit.DECISION


class PlaceError(VerifyError):
    """A place that contradicts what was chosen or where the data may be."""

    exit_code = Exit.PLACE


class EgressError(VerifyError):
    """An attempt that ran behind a wall with an open route."""

    exit_code = Exit.EGRESS


class DemandError(VerifyError):
    """Less than the trust file demands."""

    exit_code = Exit.DEMAND


def decisions(case: Case) -> list[Line]:
    """Every decision, equal ones together, and that nothing denied or failed has an effect."""
    lines: list[Line] = []
    for number, record in enumerate(case.bundle.records):
        try:
            _check_decision(record)
        except DecisionError as error:
            lines.append(failed("decision", error.at(f"records/{number:06}.json")))
    groups = Counter((r.action, r.decision, r.outcome, r.rules, r.charter) for r in case.bundle.records)
    for (action, decision, outcome, rules, charter), count in groups.items():
        fields = {
            "action": action,
            "outcome": outcome,
            "count": count,
            "rules": ", ".join(rules),
            "charter": charter,
        }
        state = OK if decision == "allow" else NOTE
        lines.append(Line("decision", state, f"decision.{decision}", fields))
    return lines


def sites(case: Case) -> list[Line]:
    """The sites considered; one that was denied must never have been chosen."""
    lines: list[Line] = []
    for number, detail in enumerate(case.bundle.details):
        for choice in detail.sites:
            if choice.chosen and not choice.allowed:
                error = DecisionError("decision.denied_site", f"{choice.site} was denied and yet chosen")
                lines.append(failed("site", error.at(f"records/{number:06}.json")))
    considered = dict.fromkeys(choice for detail in case.bundle.details for choice in detail.sites)
    for choice in considered:
        fields = {
            "site": choice.site,
            "name": choice.name or choice.site,
            "country": choice.country,
            "rules": ", ".join(choice.rules),
        }
        code = "site.chosen" if choice.chosen else "site.allowed" if choice.allowed else "site.denied"
        lines.append(Line("site", OK if choice.allowed else NOTE, code, fields))
    return lines


def place(case: Case) -> list[Line]:
    """Where attempts were, as declared, against the sites chosen and the countries the data may be in.

    A site of no known country is outside every residency.
    """
    declared: dict[Place, None] = {}
    lines: list[Line] = []
    chosen = {Place(c.site, c.country) for detail in case.bundle.details for c in detail.sites if c.chosen}
    for number, detail in enumerate(case.bundle.details):
        here = [Place(choice.site, choice.country) for choice in detail.sites if choice.chosen]
        if detail.place:
            here.append(detail.place)
        declared |= dict.fromkeys(here)
        try:
            _check_place(case, detail, here, chosen)
        except PlaceError as error:
            lines.append(failed("place", error.at(f"records/{number:06}.json")))
    if not lines and not declared:
        return [Line("place", ABSENT, "place.none")]
    return lines or _place_lines(case, declared)


def wall(case: Case) -> list[Line]:
    """Canaries as the site's agent reports them; an attempt that ran with an open route fails."""
    said = {number: message.body for number, message in case.messages.items()}
    lines: list[Line] = []
    reports: list[Line] = []
    for number, detail in enumerate(case.bundle.details):
        try:
            results = _canaries(detail, said.get(number, {}))
            if results is not None:
                _check_wall(case, results, _reason(detail, said.get(number, {})))
                reports.append(_wall_line(results))
        except VerifyError as error:
            lines.append(failed("wall", error.at(f"records/{number:06}.json")))
    return lines or once(reports) or [Line("wall", ABSENT, "wall.none")]


def demands(case: Case, shown: Sequence[Line]) -> list[Line]:
    """What the trust file asks for beyond integrity: quorum, closed streams, consistency, time, place, attestation.

    `shown` are the lines of every other check: a demand is met by what was shown, never by what was said.
    """
    trust = case.trust
    if trust is None:
        return []
    wanted = trust.demand
    errors: list[DemandError] = []
    # Name and key id: the log may sign under the name that one of its witnesses has.
    witnesses = {(key.name, key.key_id) for key in trust.witnesses}
    cosigned = sum((line.name, line.key_id) in witnesses for line in case.bundle.note.signatures)
    if cosigned < trust.quorum:
        errors.append(
            DemandError("demand.quorum", f"{cosigned} cosignatures where {trust.quorum} are demanded")
        )
    if wanted.closed and not is_closed(case):
        errors.append(DemandError("demand.closed", "a closed stream is demanded, this one is open"))
    if wanted.timestamp and not is_shown(shown, "timestamp", SIGNED):
        errors.append(DemandError("demand.timestamp", "a time stamp by a trusted authority is demanded"))
    if wanted.consistency and not (trust.seen and _reaches(case, trust.seen.size)):
        errors.append(DemandError("demand.consistency", "consistency with a head seen before is demanded"))
    for what, part, grade, bar in (
        ("place", "transcript", MEASURED, wanted.max_level_without_place),
        ("attestation", "attestation", ATTESTED, wanted.max_level_without_attestation),
        ("observation", "egress", MEASURED, wanted.max_level_without_observation),
    ):
        holds = is_shown(shown, part, grade) and not (part == "attestation" and _unattested(case, shown))
        if bar < LEVEL_MAX and not 0 <= case.level <= bar and not holds:
            errors.append(DemandError(f"demand.{what}", f"{_DEMANDED[what]} is demanded above level {bar}"))
    return [failed("demand", error) for error in errors] or [Line("demand", OK, "demand.met")]


def _unattested(case: Case, shown: Iterable[Line]) -> set[str]:
    """Sites that some record chose and whose hardware no line shows: that of another site says nothing of them."""
    attested = {
        line.fields["site"]
        for line in shown
        if (line.part, line.state, line.grade) == ("attestation", OK, ATTESTED)
    }
    return {
        choice.site for detail in case.bundle.details for choice in detail.sites if choice.chosen
    } - attested


def is_shown(lines: Iterable[Line], part: str, grade: str) -> bool:
    """Whether a part holds at this grade: some line of it is ok and has the grade, none failed or misses its file."""
    mine = [line for line in lines if line.part == part]
    return any((line.state, line.grade) == (OK, grade) for line in mine) and not any(
        line.state in {FAILED, ABSENT} for line in mine
    )


def _check_decision(record: Record) -> None:
    if record.decision == "deny" and record.outcome == "done":
        raise DecisionError("decision.denied_done", "denied and yet done")
    if record.effects and (record.decision == "deny" or record.outcome in {"denied", "failed"}):
        raise DecisionError("decision.denied_effect", "denied or failed and yet with an effect")


def _check_place(case: Case, detail: Detail, here: list[Place], chosen: set[Place]) -> None:
    if detail.place and chosen and detail.place not in chosen:
        raise PlaceError("place.not_chosen", f"at {detail.place.site}, which no record chose")
    for at in here:
        if case.residency is not None and at.country not in case.residency:
            raise PlaceError("place.residency", f"{at.site} is in {at.country}, where the data may not be")


def _place_lines(case: Case, declared: Iterable[Place]) -> list[Line]:
    names = {c.site: c.name for detail in case.bundle.details for c in detail.sites if c.name}
    return [
        Line(
            "place",
            NOTE,
            "place.declared",
            {"site": at.site, "name": names.get(at.site, at.site), "country": at.country},
            DECLARED,
        )
        for at in declared
    ]


def _canaries(detail: Detail, said: Mapping[str, object]) -> Mapping[str, str] | None:
    """Results of one record; where the agent's own message has them too, both must agree."""
    signed = read_canaries(said["canaries"]) if "canaries" in said else None
    if signed is not None and detail.canaries is not None and detail.canaries != signed:
        raise EgressError("egress.differs", "canaries that differ from the agent's signed message")
    return signed or detail.canaries or None


def _reason(detail: Detail, said: Mapping[str, object]) -> str:
    """Why the attempt ended; the agent's signed word wins over the record's."""
    reason = said.get("reason", detail.reason)
    return reason if isinstance(reason, str) else ""


def _check_wall(case: Case, results: Mapping[str, str], reason: str) -> None:
    routes = [route for route in ROUTES if results.get(route) == "open"]
    if routes and case.protected and reason != CANARY_OPEN:
        raise EgressError("egress.open", f"the attempt ran with open routes: {', '.join(routes)}")


def _wall_line(results: Mapping[str, str]) -> Line:
    closed = sum(result == "closed" for result in results.values())
    rest = ", ".join(
        f"{route} {results.get(route, 'untried')}" for route in ROUTES if results.get(route) != "closed"
    )
    fields = {"closed": closed, "routes": len(ROUTES), "rest": rest}
    return Line("wall", NOTE, "wall.partly" if rest else "wall.closed", fields, DECLARED)


def _reaches(case: Case, seen_size: int) -> bool:
    return case.bundle.consistency is not None or seen_size == case.bundle.checkpoint.size
